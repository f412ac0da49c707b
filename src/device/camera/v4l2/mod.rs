//! Cameras of the kernel (Video4Linux2), in one piece of memory and in several.
//!
//! Written over the kernel's own interface: of the crates, `v4l` 0.14 knows nodes in one piece only and has not
//! changed since 2023, `v4l2r` 0.0.8 names no licence in its manifest, and both need libclang to build, also for
//! another target.

mod controls;
mod format;
mod kernel;
mod node;
mod stream;
mod time;

pub use controls::{Control, ControlFlags, ControlKind, Controls, MenuEntry, Value, automatic_of, id};
pub use format::{Choice, FourCc, Interval, Offer, Rates, Sizes, Wanted, choose};
pub(super) use node::beside;
pub use node::{Found, Purpose, Selector, list};
pub(super) use stream::Stream;

use crate::clock::SharedClock;
use crate::config;
use crate::device::camera::Camera;
use crate::error::Result;

/// Opens a camera in the format of this name alone, where `camera.format` would leave a choice: `NM12` and not
/// `NV12`. For trying out a driver.
pub fn open_as(camera: &config::Camera, fourcc: &str, clock: SharedClock) -> Result<Box<dyn Camera>> {
    let node = node::Node::find(&Selector::parse(&camera.source)?)?;
    let mut offers = node.offers()?;
    offers.retain(|offer| offer.fourcc.to_string() == fourcc);
    Ok(Box::new(Stream::start(node, &offers, &Wanted::of(camera), 0, clock)?))
}
