//! Where a face is: a rectangle and five landmarks, in pixels of the picture, from its top left corner.

use serde::Serialize;

/// An upright rectangle. Edges may lie outside the picture: a detector completes faces that the edge cuts.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Rect {
    /// Left edge.
    pub left: f32,
    /// Upper edge.
    pub top: f32,
    /// Right edge, not less than `left`.
    pub right: f32,
    /// Lower edge, not less than `top`.
    pub bottom: f32,
}

impl Rect {
    /// Width in pixels; for a face about the distance between the ears.
    pub fn width(&self) -> f32 {
        self.right - self.left
    }

    /// Height in pixels.
    pub fn height(&self) -> f32 {
        self.bottom - self.top
    }

    /// Area in square pixels.
    pub fn area(&self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// The middle.
    pub fn centre(&self) -> [f32; 2] {
        [(self.left + self.right) / 2.0, (self.top + self.bottom) / 2.0]
    }

    /// Intersection over union, 0 to 1.
    pub fn iou(&self, other: &Self) -> f32 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        let shared = width.max(0.0) * height.max(0.0);
        let all = self.area() + other.area() - shared;
        if all > 0.0 { shared / all } else { 0.0 }
    }

    /// The share of this rectangle, 0 to 1, that lies inside a picture of `width` x `height`.
    pub fn share_inside(&self, width: u32, height: u32) -> f32 {
        let across = self.right.min(width as f32) - self.left.max(0.0);
        let down = self.bottom.min(height as f32) - self.top.max(0.0);
        let area = self.area();
        if area > 0.0 { across.max(0.0) * down.max(0.0) / area } else { 0.0 }
    }
}

/// The five landmarks of a face, each `[x, y]`: the subject's right eye (left in the picture), left eye, tip
/// of the nose, right and left corner of the mouth.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Landmarks(pub [[f32; 2]; 5]);

impl Landmarks {
    /// Pixels between the pupils.
    pub fn pupil_distance(&self) -> f32 {
        let [right, left, ..] = self.0;
        (left[0] - right[0]).hypot(left[1] - right[1])
    }

    /// Whether every coordinate is a number.
    pub fn is_finite(&self) -> bool {
        self.0.iter().flatten().all(|value| value.is_finite())
    }
}

/// A face as the detector found it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct DetectedFace {
    /// Where.
    pub rect: Rect,
    /// Eyes, nose, mouth.
    pub landmarks: Landmarks,
    /// How sure the detector is, 0 to 1.
    pub score: f32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_overlap() {
        let one = Rect { left: 0.0, top: 0.0, right: 10.0, bottom: 10.0 };
        let other = Rect { left: 5.0, top: 0.0, right: 15.0, bottom: 10.0 };
        // 50 shared of 150.
        assert!((one.iou(&other) - 1.0 / 3.0).abs() < 1e-6);
        assert_eq!(one.iou(&Rect { left: 20.0, top: 0.0, right: 30.0, bottom: 10.0 }), 0.0);
        assert_eq!(Rect::default().iou(&Rect::default()), 0.0);
        assert_eq!(Rect { left: -5.0, ..one }.share_inside(100, 100), 10.0 / 15.0);
    }
}
