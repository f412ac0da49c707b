//! A template: what an embedder makes of an aligned face.

use crate::error::{Error, Kind, Result};

/// An L2-normalised embedding. In the store it is fixed-point, 16 bits a value (with 512 values a step of some 5e-6,
/// far below what the embedder itself varies between two runs on different processors).
#[derive(Debug, Clone, PartialEq)]
pub struct Template(Vec<f32>);

impl Template {
    /// Normalises `values`; `Model` if there are none, if one is not finite, or if all are zero.
    pub fn normalised(mut values: Vec<f32>) -> Result<Self> {
        let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        if !norm.is_normal() {
            return Err(Error::new(Kind::Model, "the embedder gave no usable template"));
        }
        values.iter_mut().for_each(|value| *value /= norm);
        Ok(Self(values))
    }

    /// The values, of length 1 together.
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// Cosine similarity, -1 to 1. The two must be of the same model.
    pub fn cosine(&self, other: &Self) -> f32 {
        self.0.iter().zip(&other.0).map(|(a, b)| a * b).sum()
    }

    /// The stored form: the values so scaled that the largest is 32767 or -32767, rounded, as little-endian `i16`.
    /// [`Template::from_bytes`] brings the length back to 1.
    pub fn to_bytes(&self) -> Vec<u8> {
        // At least one value is not 0: the length is 1.
        let largest = self.0.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let scale = 32767.0 / largest;
        self.0.iter().flat_map(|value| ((value * scale).round() as i16).to_le_bytes()).collect()
    }

    /// The reverse of [`Template::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(2) {
            return Err(Error::new(Kind::Store, format!("a template of {} bytes is damaged", bytes.len())));
        }
        let values = bytes
            .chunks_exact(2)
            .map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) / 32767.0)
            .collect();
        Self::normalised(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_store() {
        let template = Template::normalised(vec![3.0, -4.0]).unwrap();
        assert_eq!(template.values(), [0.6, -0.8]);
        // 0.6 / 0.8 * 32767 = 24575.25 and -32767, little-endian.
        assert_eq!(template.to_bytes(), [0xff, 0x5f, 0x01, 0x80]);
        let back = Template::from_bytes(&template.to_bytes()).unwrap();
        assert!((back.cosine(&template) - 1.0).abs() < 1e-6);
        assert_eq!(Template::from_bytes(&[1]).unwrap_err().kind(), Kind::Store);
        assert_eq!(Template::normalised(vec![0.0; 4]).unwrap_err().kind(), Kind::Model);
    }
}
