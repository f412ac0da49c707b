//! Calibration: from the cosine of two templates, which means something else for every embedder, to the score of the
//! protocols, 0 to 100, where 80 stands for a false accept rate of 1e-4.

use crate::error::{Error, Kind, Result};

/// A map of straight lines that never falls, from cosine to score, with its reverse.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    points: Vec<[f32; 2]>,
}

impl Calibration {
    /// From `[cosine, score]` points, as the manifest lists them (`models/models.toml`,
    /// `[embedder.calibration]`). `Model` unless there are at least two, cosines within -1..=1 and increasing,
    /// scores from 0 to 100 and never falling.
    pub fn new(points: Vec<[f32; 2]>) -> Result<Self> {
        let wrong =
            |what: &str| Err(Error::new(Kind::Model, format!("the calibration cannot be used: {what}")));
        let [[first, from], .., [last, to]] = points[..] else {
            return wrong("it needs at least two points");
        };
        // Also catches what is not a number.
        let rising = points.windows(2).all(|two| two[0][0] < two[1][0]);
        if !(first >= -1.0 && last <= 1.0 && rising) {
            return wrong("its cosines must increase within -1 to 1");
        }
        if from != 0.0 || to != 100.0 || !points.windows(2).all(|two| two[0][1] <= two[1][1]) {
            return wrong("its scores must go from 0 to 100 and never fall");
        }
        Ok(Self { points })
    }

    /// The score of a cosine, 0 to 100. Outside the points it is that of the nearest; 0 for what is not a number.
    pub fn score(&self, cosine: f32) -> f32 {
        let behind = self.points.partition_point(|point| point[0] <= cosine);
        match (behind.checked_sub(1).map(|before| self.points[before]), self.points.get(behind)) {
            (Some([cosine_a, score_a]), Some([cosine_b, score_b])) => {
                score_a + (score_b - score_a) * ((cosine - cosine_a) / (cosine_b - cosine_a))
            }
            (Some(last), None) => last[1],
            (None, _) => 0.0,
        }
    }

    /// The least cosine whose score is at least `score`: what a threshold on scores asks of a cosine. Scores beyond 0
    /// and 100 count as these.
    pub fn cosine(&self, score: f32) -> f32 {
        let behind = self.points.partition_point(|point| point[1] < score);
        let Some([cosine_b, score_b]) = self.points.get(behind).or(self.points.last()).copied() else {
            return 1.0;
        };
        match behind.checked_sub(1).and_then(|before| self.points.get(before)) {
            Some([cosine_a, score_a]) if score_b > *score_a => {
                let share = ((score - score_a) / (score_b - score_a)).min(1.0);
                cosine_a + (cosine_b - cosine_a) * share
            }
            _ => cosine_b,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn calibration() -> Calibration {
        Calibration::new(vec![[-1.0, 0.0], [0.0, 0.0], [0.5, 80.0], [0.75, 95.0], [1.0, 100.0]]).unwrap()
    }

    #[test]
    fn goes_through_its_points_and_between_them() {
        let calibration = calibration();
        for (cosine, score) in [
            (-1.0, 0.0),
            (-0.3, 0.0),
            (0.0, 0.0),
            (0.25, 40.0),
            (0.5, 80.0),
            (0.625, 87.5),
            (0.75, 95.0),
            (1.0, 100.0),
            (1.5, 100.0),
            (-2.0, 0.0),
        ] {
            assert_eq!(calibration.score(cosine), score, "score of {cosine}");
        }
        assert_eq!(calibration.score(f32::NAN), 0.0);
        for (score, cosine) in
            [(0.0, -1.0), (-5.0, -1.0), (40.0, 0.25), (80.0, 0.5), (87.5, 0.625), (100.0, 1.0), (120.0, 1.0)]
        {
            assert_eq!(calibration.cosine(score), cosine, "cosine of {score}");
        }
        // On a flat piece the least cosine counts.
        let flat = Calibration::new(vec![[0.0, 0.0], [0.25, 50.0], [0.5, 50.0], [0.75, 100.0]]).unwrap();
        assert_eq!(flat.cosine(50.0), 0.25);
        assert_eq!(flat.cosine(75.0), 0.625);
        assert_eq!(flat.score(0.9), 100.0);
        assert_eq!(flat.cosine(0.0), 0.0);
    }

    #[test]
    fn refuses_points_that_are_no_map() {
        for points in [
            vec![],
            vec![[0.0, 0.0]],
            vec![[0.0, 0.0], [0.0, 100.0]],
            vec![[0.5, 0.0], [0.2, 100.0]],
            vec![[-1.1, 0.0], [1.0, 100.0]],
            vec![[-1.0, 0.0], [1.1, 100.0]],
            vec![[-1.0, 1.0], [1.0, 100.0]],
            vec![[-1.0, 0.0], [1.0, 99.0]],
            vec![[-1.0, 0.0], [0.0, 60.0], [0.5, 50.0], [1.0, 100.0]],
            vec![[f32::NAN, 0.0], [1.0, 100.0]],
            vec![[-1.0, 0.0], [0.0, f32::NAN], [1.0, 100.0]],
            vec![[-1.0, 0.0], [f32::NAN, 50.0], [1.0, 100.0]],
        ] {
            assert_eq!(Calibration::new(points.clone()).unwrap_err().kind(), Kind::Model, "{points:?}");
        }
    }

    proptest! {
        #[test]
        fn never_falls_and_comes_back(a in -1.0_f32..1.0, b in -1.0_f32..1.0, score in 0.1_f32..100.0) {
            let calibration = calibration();
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(calibration.score(low) <= calibration.score(high));
            prop_assert!((calibration.score(calibration.cosine(score)) - score).abs() < 1e-3);
        }
    }
}
