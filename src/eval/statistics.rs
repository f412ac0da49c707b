//! Error rates out of two lists of scores, as ISO/IEC 19795-1 defines them: a comparison is accepted from a threshold
//! on.

use serde::Serialize;

/// The two lists, each rising.
#[derive(Debug, Clone, Default)]
pub struct Scores {
    genuine: Vec<f32>,
    impostor: Vec<f32>,
}

/// Where the two errors are equally frequent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EqualErrorRate {
    /// The rate, 0 to 1.
    pub rate: f64,
    /// The threshold at which it is reached, or the first one beyond.
    pub threshold: f32,
}

/// How many of the genuine are accepted when at most a share of the impostors is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Operation {
    /// Share of the genuine that is accepted, 0 to 1.
    pub tar: f64,
    /// Share of the impostors that is accepted: at most what was asked for.
    pub far: f64,
    /// The least threshold that does it.
    pub threshold: f32,
}

impl Scores {
    /// Takes the two lists. Scores that are no numbers are left out.
    pub fn new(mut genuine: Vec<f32>, mut impostor: Vec<f32>) -> Self {
        for list in [&mut genuine, &mut impostor] {
            list.retain(|score| !score.is_nan());
            list.sort_unstable_by(f32::total_cmp);
        }
        Self { genuine, impostor }
    }

    /// Scores of two of the same, rising.
    pub fn genuine(&self) -> &[f32] {
        &self.genuine
    }

    /// Scores of two who are not, rising.
    pub fn impostor(&self) -> &[f32] {
        &self.impostor
    }

    /// False accept rate: share of the impostors at or above a threshold. `None` without impostors.
    pub fn far(&self, threshold: f32) -> Option<f64> {
        let below = self.impostor.partition_point(|score| *score < threshold);
        share(self.impostor.len() - below, self.impostor.len())
    }

    /// False reject rate: share of the genuine below a threshold. `None` without genuine.
    pub fn frr(&self, threshold: f32) -> Option<f64> {
        share(self.genuine.partition_point(|score| *score < threshold), self.genuine.len())
    }

    /// The equal error rate. The errors change in steps; where one overtakes the other between two thresholds, the
    /// crossing of the straight lines between them counts. `None` unless both lists have scores.
    pub fn equal_error_rate(&self) -> Option<EqualErrorRate> {
        let mut thresholds: Vec<f32> = self.genuine.iter().chain(&self.impostor).copied().collect();
        thresholds.sort_unstable_by(f32::total_cmp);
        thresholds.dedup();
        // Beyond the last score everybody is refused.
        thresholds.push(thresholds.last()?.next_up());
        // Below the first everybody is accepted.
        let (mut far, mut frr) = (1.0, 0.0);
        for threshold in thresholds {
            let (next_far, next_frr) = (self.far(threshold)?, self.frr(threshold)?);
            if next_frr >= next_far {
                let (before, after): (f64, f64) = (far - frr, next_frr - next_far);
                let part = if before + after > 0.0 { before / (before + after) } else { 1.0 };
                return Some(EqualErrorRate { rate: far + (next_far - far) * part, threshold });
            }
            (far, frr) = (next_far, next_frr);
        }
        None
    }

    /// What is accepted of the genuine at a false accept rate of at most `far`. `None` unless both lists have scores
    /// and the impostors are enough for one of them to be that share: a rate of 1e-4 cannot be seen in 500 pairs.
    pub fn at_far(&self, far: f64) -> Option<Operation> {
        let total = self.impostor.len();
        // A little more, so that 0.1 of 10 is 1 in spite of rounding.
        let accepted = (far * total as f64 * (1.0 + 1e-9)).floor() as usize;
        if accepted == 0 || self.genuine.is_empty() {
            return None;
        }
        // The least threshold above the best score that must be refused; equal scores go together.
        let threshold = match total.checked_sub(accepted + 1) {
            Some(refused) => self.impostor[refused].next_up(),
            None => *self.impostor.first()?,
        };
        Some(Operation { tar: 1.0 - self.frr(threshold)?, far: self.far(threshold)?, threshold })
    }

    /// The curve of both errors, from accepting everybody to nobody: `[far, tar]`, at every score.
    pub fn curve(&self) -> Vec<[f64; 2]> {
        let mut thresholds: Vec<f32> = self.genuine.iter().chain(&self.impostor).copied().collect();
        thresholds.sort_unstable_by(f32::total_cmp);
        thresholds.dedup();
        thresholds.extend(thresholds.last().map(|last| last.next_up()));
        let point = |threshold: f32| Some([self.far(threshold)?, 1.0 - self.frr(threshold)?]);
        thresholds.into_iter().filter_map(point).collect()
    }
}

fn share(part: usize, all: usize) -> Option<f64> {
    (all > 0).then(|| part as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten impostors 0.0, 0.1 … 0.9 and five genuine 0.45, 0.55, 0.65, 0.75, 0.95.
    fn scores() -> Scores {
        Scores::new(
            vec![0.95, 0.45, 0.75, 0.55, 0.65],
            (0..10).rev().map(|tenths| tenths as f32 / 10.0).collect(),
        )
    }

    #[test]
    fn counts_the_errors_of_a_threshold() {
        let scores = scores();
        // 0.5 to 0.9 are accepted: 5 of 10; 0.45 is refused: 1 of 5.
        assert_eq!((scores.far(0.5), scores.frr(0.5)), (Some(0.5), Some(0.2)));
        // At the threshold is accepted.
        assert_eq!((scores.far(0.9), scores.frr(0.95)), (Some(0.1), Some(0.8)));
        assert_eq!((scores.far(1.0), scores.frr(0.0)), (Some(0.0), Some(0.0)));
        let empty = Scores::new(vec![f32::NAN], vec![]);
        assert_eq!((empty.far(0.5), empty.frr(0.5), empty.equal_error_rate()), (None, None, None));
    }

    #[test]
    fn finds_where_the_errors_are_equal() {
        // At 0.65: FAR = 3/10 (0.7, 0.8, 0.9), FRR = 2/5; just before, at 0.6: FAR = 4/10, FRR = 2/5, equal.
        assert_eq!(scores().equal_error_rate().unwrap(), EqualErrorRate { rate: 0.4, threshold: 0.6 });
        // Without overlap there is a threshold without error: the least genuine score.
        let apart = Scores::new(vec![0.8, 0.7], vec![0.2, 0.1, 0.3]);
        assert_eq!(apart.equal_error_rate().unwrap(), EqualErrorRate { rate: 0.0, threshold: 0.7 });
        // The wrong way round everybody is an error.
        let reversed = Scores::new(vec![0.1], vec![0.9]);
        assert_eq!(reversed.equal_error_rate().unwrap().rate, 1.0);
        // Crossing within a step: thresholds 0.2 (FAR 1/2, FRR 0) and 0.4 (FAR 1/2, FRR 1/3), 0.5 (FAR 0, FRR 1/3):
        // lines from (1/2, 1/3) to (0, 1/3) cross at 1/3.
        let step = Scores::new(vec![0.2, 0.6, 0.7], vec![0.1, 0.4]);
        let found = step.equal_error_rate().unwrap();
        assert!((found.rate - 1.0 / 3.0).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn finds_the_threshold_of_a_rate() {
        let scores = scores();
        // One of ten may pass: 0.9 passes, 0.8 must not; of the genuine only 0.95 and 0.8 < x.
        let one = scores.at_far(0.1).unwrap();
        assert_eq!((one.far, one.threshold), (0.1, 0.8_f32.next_up()));
        assert!((one.tar - 0.2).abs() < 1e-12);
        // Three of ten: above 0.6; 0.65, 0.75 and 0.95 of five.
        let three = scores.at_far(0.3).unwrap();
        assert_eq!(three.far, 0.3);
        assert!((three.tar - 0.6).abs() < 1e-12);
        // Ten impostors say nothing of a hundredth.
        assert_eq!(scores.at_far(0.01), None);
        let all = scores.at_far(1.0).unwrap();
        assert_eq!((all.far, all.tar, all.threshold), (1.0, 1.0, 0.0));
        // Equal scores are accepted or refused together: of four at 0.5 none may pass when only two may.
        let ties = Scores::new(vec![0.5, 0.6], vec![0.5, 0.5, 0.5, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]);
        let two = ties.at_far(0.2).unwrap();
        assert_eq!((two.far, two.tar, two.threshold), (0.0, 0.5, 0.5_f32.next_up()));
    }

    #[test]
    fn draws_the_curve_from_everybody_to_nobody() {
        let curve = Scores::new(vec![0.2, 0.8], vec![0.1, 0.8]).curve();
        assert_eq!(curve, [[1.0, 1.0], [0.5, 1.0], [0.5, 0.5], [0.0, 0.0]]);
    }
}
