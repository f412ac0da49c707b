//! x
#![allow(missing_docs, unused_variables)]
use super::gallery::*;
use super::*;
use crate::Result;
use crate::gate::settings::FaceSettings;
use crate::store::*;
pub struct Watcher;
pub struct TrackId(pub u64);
pub struct LookParams;
impl From<&FaceSettings> for LookParams {
    fn from(f: &FaceSettings) -> Self {
        Self
    }
}
pub struct SeenFace {
    pub track: TrackId,
    pub rect: Rect,
    pub detect_score: f32,
    pub compared: bool,
    pub found: Option<Found<FaceRow, PersonRow>>,
    pub liveness: Option<f32>,
}
pub struct Look {
    pub faces: Vec<SeenFace>,
    pub lost: Vec<TrackId>,
}
impl Watcher {
    pub fn new(models: &Models, config: &crate::config::Vision) -> Result<Self> {
        unimplemented!()
    }
    pub fn look(
        &mut self,
        frame: &Frame,
        params: &LookParams,
        gallery: &Gallery<FaceRow, PersonRow>,
    ) -> Result<Look> {
        unimplemented!()
    }
}
