//! What the watching thread tells the sessions of one frame.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use jpeg_encoder::{ColorType, Encoder};

use crate::error::{Error, Kind, Result};
use crate::frame::{Frame, PixelFormat};
use crate::store::{FaceRow, PersonRow};
use crate::vision::liveness::Judgement;
use crate::vision::picture::Picture;
use crate::vision::template::Template;

/// JPEG quality of pictures that the camera did not deliver as JPEG.
const JPEG_QUALITY: u8 = 85;

/// One frame with faces in it.
pub(super) struct Sighting {
    /// When the frame was captured, for durations.
    pub(super) captured: Instant,
    /// When it was captured by the gate's clock.
    pub(super) at: Timestamp,
    /// The frame itself, for the record.
    pub(super) snap: Snap,
    /// Faces in it.
    pub(super) faces: Vec<VisibleFace>,
    /// Tracks that have ended.
    pub(super) lost: Vec<u64>,
}

/// A face in the frame.
pub(super) struct VisibleFace {
    /// Which of the visitors it is.
    pub(super) track: u64,
    /// The template of it in this frame, if one was made.
    pub(super) template: Option<Template>,
    /// What the gallery said, with the thresholds applied.
    pub(super) compared: Compared,
    /// Liveness 0 to 100, once enough has been seen.
    pub(super) liveness: Option<f32>,
    /// What that means at the level in force.
    pub(super) judgement: Judgement,
}

/// What the gallery said of a face.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Compared {
    /// It was not asked: the face is too small, blurred or turned away, or needs no new look.
    Not,
    /// Nobody reaches the threshold.
    Stranger { score: f32 },
    /// Two people do, and are too near to each other.
    Ambiguous { score: f32 },
    /// One person, and the rows under which other platforms know the same one.
    Person { face: FaceRow, person: PersonRow, score: f32, also: Vec<(FaceRow, PersonRow)> },
}

/// A frame that may become the picture of a record.
#[derive(Clone)]
pub(super) struct Snap(pub(super) Arc<Frame>);

impl Snap {
    /// The picture as JPEG; `None` if it cannot be made, which is logged.
    pub(super) async fn jpeg(self) -> Option<Vec<u8>> {
        if self.0.format() == PixelFormat::Jpeg {
            return Some(self.0.data().to_vec());
        }
        let encoded = tokio::task::spawn_blocking(move || jpeg(&self.0)).await;
        match encoded {
            Ok(Ok(jpeg)) => Some(jpeg),
            Ok(Err(error)) => {
                tracing::error!(%error, "the picture of a record could not be encoded");
                None
            }
            Err(error) => {
                tracing::error!(%error, "the picture of a record could not be encoded");
                None
            }
        }
    }
}

/// A frame as JPEG.
pub(super) fn jpeg(frame: &Frame) -> Result<Vec<u8>> {
    if frame.format() == PixelFormat::Jpeg {
        return Ok(frame.data().to_vec());
    }
    let mut picture = Picture::new();
    picture.decode_frame(frame)?;
    let (width, height) = picture.size();
    encode(picture.pixels(), width, height)
}

/// Red, green and blue as JPEG.
pub(super) fn encode(pixels: &[u8], width: u32, height: u32) -> Result<Vec<u8>> {
    let side = |pixels: u32| u16::try_from(pixels).map_err(|_| too_large());
    let mut jpeg = Vec::new();
    Encoder::new(&mut jpeg, JPEG_QUALITY)
        .encode(pixels, side(width)?, side(height)?, ColorType::Rgb)
        .map_err(|error| Error::caused(Kind::Input, "a frame could not be encoded", error))?;
    Ok(jpeg)
}

fn too_large() -> Error {
    Error::new(Kind::Input, "a frame is too large for JPEG")
}
