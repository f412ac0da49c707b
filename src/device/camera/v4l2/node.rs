//! Nodes of cameras: which there are, which one a name means, what each offers.

use std::fmt;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;

use super::format::{FourCc, Offer, Rates, Sizes};
use super::kernel::{self, BufferKind, FormatDescription, FrameInterval, FrameSize, Plain as _, capability};
use crate::error::{Error, Kind, Result};

/// Where nodes are.
const NODES: &str = "/dev";

/// Where their names by place are, which stay the same whatever is plugged in first.
const BY_PATH: &str = "/dev/v4l/by-path";

/// No driver has as many formats, sizes or rates; one that never says "no more" must not hold the thread.
const MOST_ENTRIES: u32 = 256;

/// Which camera is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The node itself, or a link to it.
    Node(PathBuf),
    /// The whole name of a card, or its beginning; with several the lowest node.
    Card(String),
}

impl Selector {
    /// `/dev/video0`, `/dev/v4l/by-path/…`, `card=NAME`, each also behind `v4l2:`. `Config` for anything else.
    pub fn parse(name: &str) -> Result<Self> {
        let short = name.strip_prefix("v4l2:").unwrap_or(name);
        match short.strip_prefix("card=") {
            Some(card) if !card.trim().is_empty() => Ok(Self::Card(card.trim().to_owned())),
            None if short.starts_with('/') => Ok(Self::Node(short.into())),
            _ => Err(Error::new(
                Kind::Config,
                format!(
                    "{name:?} names no camera: use v4l2:/dev/video0, v4l2:/dev/v4l/by-path/… or v4l2:card=NAME \
                     (`menshen camera list` shows them)"
                ),
            )),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(path) => write!(f, "{}", path.display()),
            Self::Card(name) => write!(f, "card {name:?}"),
        }
    }
}

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Pictures come out of it.
    Camera,
    /// What a camera measures besides its pictures.
    Metadata,
    /// Pictures go into it.
    Output,
    /// A codec or a scaler: pictures go in and come out.
    Codec,
    /// Something else: a radio, teletext.
    Other,
}

impl Purpose {
    /// For a sentence.
    pub fn word(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::Metadata => "metadata node",
            Self::Output => "output node",
            Self::Codec => "codec",
            Self::Other => "node of another kind",
        }
    }

    /// From the capabilities of a node; with it how a camera keeps its buffers.
    fn of(capabilities: u32) -> (Self, Option<BufferKind>) {
        let has = |bits: u32| capabilities & bits != 0;
        // Old drivers of codecs say capture and output instead; a loopback that is not exclusive says so too, and
        // is a camera.
        if has(capability::VIDEO_M2M | capability::VIDEO_M2M_MPLANE) {
            (Self::Codec, None)
        } else if has(capability::VIDEO_CAPTURE) {
            (Self::Camera, Some(BufferKind::Single))
        } else if has(capability::VIDEO_CAPTURE_MPLANE) {
            (Self::Camera, Some(BufferKind::Multi))
        } else if has(capability::VIDEO_OUTPUT | capability::VIDEO_OUTPUT_MPLANE) {
            (Self::Output, None)
        } else if has(capability::META_CAPTURE | capability::META_OUTPUT) {
            (Self::Metadata, None)
        } else {
            (Self::Other, None)
        }
    }
}

/// An open node.
#[derive(Debug)]
pub(super) struct Node {
    node: OwnedFd,
    path: PathBuf,
    card: String,
    driver: String,
    bus: String,
    purpose: Purpose,
    kind: Option<BufferKind>,
    streams: bool,
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.node.as_fd()
    }
}

/// What the system said about a node, in words, with what to do. `Busy` if another program has it, `NotFound` if it
/// is not there, `Io` if this user may not open it, else `Device`.
pub(super) fn refused(path: &Path, what: &str, errno: Errno) -> Error {
    let (kind, advice) = match errno {
        Errno::NOENT => (Kind::NotFound, "is the camera plugged in?"),
        Errno::ACCESS | Errno::PERM => (Kind::Io, "may this user open it (group video)?"),
        Errno::BUSY => (Kind::Busy, "another program has it"),
        Errno::NODEV | Errno::NXIO => (Kind::Device, "it was unplugged"),
        Errno::NOTTY | Errno::ISDIR => {
            (Kind::Device, "it is no camera: name a node of `menshen camera list`")
        }
        Errno::NOSPC => {
            (Kind::Device, "the USB bus has no room: use another port, or a smaller size or rate")
        }
        _ => (Kind::Device, "see `dmesg`"),
    };
    Error::new(kind, format!("the camera {} {what} ({errno}): {advice}", path.display()))
}

impl Node {
    /// Opens whatever is at `path`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        // Not blocking: a frame that never comes must not hold the thread.
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let node = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| refused(path, "cannot be opened", errno))?;
        let said =
            kernel::capability(node.as_fd()).map_err(|errno| refused(path, "says not what it is", errno))?;
        let capabilities = if said.capabilities & capability::DEVICE_CAPS != 0 {
            said.device_caps
        } else {
            said.capabilities
        };
        let (purpose, kind) = Purpose::of(capabilities);
        Ok(Self {
            node,
            path: path.to_owned(),
            card: text(&said.card),
            driver: text(&said.driver),
            bus: text(&said.bus_info),
            purpose,
            kind,
            streams: capabilities & capability::STREAMING != 0,
        })
    }

    /// The camera that is meant.
    pub(super) fn find(selector: &Selector) -> Result<Self> {
        let name = match selector {
            Selector::Node(path) => {
                let node = Self::open(path)?;
                node.kind()?;
                return Ok(node);
            }
            Selector::Card(name) => name,
        };
        let mut refused = None;
        for path in paths(Path::new(NODES)) {
            match Self::open(&path) {
                Ok(node) if node.purpose == Purpose::Camera && node.card.starts_with(name.as_str()) => {
                    return Ok(node);
                }
                Ok(_) => {}
                // Unplugged between the list and this.
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => refused = Some(error),
            }
        }
        let more = refused.map(|error| format!("; {}", error.message())).unwrap_or_default();
        Err(Error::new(Kind::NotFound, format!("no camera has a card {name:?}: is it plugged in?{more}")))
    }

    /// How it keeps its buffers; `Device` if it is none that frames can be taken from.
    pub(super) fn kind(&self) -> Result<BufferKind> {
        match self.kind {
            Some(kind) if self.streams => Ok(kind),
            Some(_) => Err(Error::new(
                Kind::Device,
                format!("the camera {} does not stream: it cannot be used", self.path.display()),
            )),
            None => Err(Error::new(
                Kind::Device,
                format!("{} is no camera but a {}", self.path.display(), self.purpose.word()),
            )),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn card(&self) -> &str {
        &self.card
    }

    /// What it delivers.
    pub(super) fn offers(&self) -> Result<Vec<Offer>> {
        let kind = self.kind()?;
        let mut offers: Vec<Offer> = Vec::new();
        for index in 0..MOST_ENTRIES {
            let mut said = FormatDescription::zeroed();
            (said.index, said.kind) = (index, kind as u32);
            match kernel::describe_format(self.as_fd(), &mut said) {
                Ok(()) => {}
                Err(Errno::INVAL | Errno::NOTTY) => break,
                Err(errno) => return Err(refused(&self.path, "does not say what it delivers", errno)),
            }
            let fourcc = FourCc(said.pixel_format);
            // Some drivers name one for each of their bus formats.
            if offers.iter().any(|offer| offer.fourcc == fourcc) {
                continue;
            }
            offers.push(Offer {
                fourcc,
                description: text(&said.description),
                usable: fourcc.pixels().is_some(),
                // The rest is of no use, and a driver may have a hundred formats.
                sizes: if fourcc.pixels().is_some() { self.sizes(fourcc) } else { Vec::new() },
            });
        }
        Ok(offers)
    }

    /// The sizes of a format, none if the driver does not say.
    fn sizes(&self, fourcc: FourCc) -> Vec<Sizes> {
        let mut all = Vec::new();
        for index in 0..MOST_ENTRIES {
            let mut said = FrameSize::zeroed();
            (said.index, said.pixel_format) = (index, fourcc.0);
            if kernel::describe_size(self.as_fd(), &mut said).is_err() {
                break;
            }
            if let Some(mut sizes) = Sizes::of(&said) {
                sizes.rates = self.rates(fourcc, sizes.largest);
                all.push(sizes);
            }
            // Only discrete sizes have more than one entry.
            if said.shape != 1 {
                break;
            }
        }
        all
    }

    /// The rates of a size, none if the driver does not say.
    fn rates(&self, fourcc: FourCc, (width, height): (u32, u32)) -> Vec<Rates> {
        let mut all = Vec::new();
        for index in 0..MOST_ENTRIES {
            let mut said = FrameInterval::zeroed();
            (said.index, said.pixel_format, said.width, said.height) = (index, fourcc.0, width, height);
            if kernel::describe_interval(self.as_fd(), &mut said).is_err() {
                break;
            }
            all.extend(Rates::of(&said));
            if said.shape != 1 {
                break;
            }
        }
        all
    }
}

/// A text of the kernel, which ends with the first zero.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
}

/// The `videoN` of a folder, by number.
fn paths(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_prefix("video")?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// Adds to an error what cameras there are, where another one was looked for. Opens every node: for a technician who
/// waits, not for each attempt of an agent.
pub(in crate::device::camera) fn beside(error: Error) -> Error {
    if !matches!(error.kind(), Kind::NotFound | Kind::Device) {
        return error;
    }
    let cameras: Vec<String> = nodes()
        .into_iter()
        .filter(|found| found.purpose == Some(Purpose::Camera) || found.error.is_some())
        .map(|found| match found.error {
            None => format!("{} ({})", found.node.display(), found.card),
            Some(_) => format!("{} (cannot be opened)", found.node.display()),
        })
        .collect();
    let there = match cameras.as_slice() {
        [] => "there are no cameras at all".into(),
        [one] => format!("there is {one}"),
        many => format!("there are {}", many.join(", ")),
    };
    Error::new(error.kind(), format!("{}; {there}", error.message()))
}

/// A node that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// Its path.
    pub node: PathBuf,
    /// Its names by place, under `/dev/v4l/by-path`.
    pub by_path: Vec<PathBuf>,
    /// Name of the card.
    pub card: String,
    /// Its driver.
    pub driver: String,
    /// Where it is plugged in.
    pub bus: String,
    /// What it is for; `None` if it cannot be opened.
    pub purpose: Option<Purpose>,
    /// Whether its pictures are kept in several pieces of memory.
    pub multi_planar: bool,
    /// What a camera delivers.
    pub formats: Vec<Offer>,
    /// Why nothing is known of it.
    pub error: Option<String>,
}

/// All nodes, without what they deliver.
fn nodes() -> Vec<Found> {
    let links: Vec<(PathBuf, PathBuf)> = fs::read_dir(BY_PATH)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((fs::canonicalize(entry.path()).ok()?, entry.path())))
        .collect();
    paths(Path::new(NODES))
        .into_iter()
        .map(|path| {
            let mut by_path: Vec<_> =
                links.iter().filter(|(node, _)| *node == path).map(|(_, link)| link.clone()).collect();
            by_path.sort();
            let node = Node::open(&path);
            let error = node.as_ref().err().map(ToString::to_string);
            let node = node.ok();
            let of = |field: fn(&Node) -> &String| node.as_ref().map(field).cloned().unwrap_or_default();
            Found {
                by_path,
                card: of(|node| &node.card),
                driver: of(|node| &node.driver),
                bus: of(|node| &node.bus),
                purpose: node.as_ref().map(|node| node.purpose),
                multi_planar: node.as_ref().is_some_and(|node| node.kind == Some(BufferKind::Multi)),
                formats: Vec::new(),
                error,
                node: path,
            }
        })
        .collect()
}

/// All nodes of this machine, with what the cameras among them deliver. None that another program streams from is
/// disturbed.
pub fn list() -> Vec<Found> {
    let mut all = nodes();
    for found in all.iter_mut().filter(|found| found.purpose == Some(Purpose::Camera)) {
        match Node::open(&found.node).and_then(|node| node.offers()) {
            Ok(offers) => found.formats = offers,
            Err(error) => found.error = Some(error.to_string()),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cameras_are_named_in_three_ways() {
        let node = |path: &str| Selector::Node(path.into());
        let table = [
            ("v4l2:/dev/video0", node("/dev/video0")),
            ("/dev/video12", node("/dev/video12")),
            (
                "v4l2:/dev/v4l/by-path/platform-fe800000.usb-usb-0:1:1.0-video-index0",
                node("/dev/v4l/by-path/platform-fe800000.usb-usb-0:1:1.0-video-index0"),
            ),
            ("v4l2:card=HD Webcam: HD Webcam", Selector::Card("HD Webcam: HD Webcam".into())),
            ("card= Gate ", Selector::Card("Gate".into())),
        ];
        for (name, selector) in table {
            assert_eq!(Selector::parse(name).unwrap(), selector, "{name}");
        }
        for name in ["v4l2:video0", "v4l2:", "v4l2:card=", "v4l2:card= ", "usb:1", ""] {
            let error = Selector::parse(name).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.to_string().contains("camera list"), "{error}");
        }
    }

    #[test]
    fn only_nodes_that_pictures_come_out_of_are_cameras() {
        // Capabilities as `v4l2-ctl --all` shows them, of this node alone.
        let table = [
            // uvcvideo, its picture and its metadata.
            (0x0420_0001, (Purpose::Camera, Some(BufferKind::Single))),
            (0x04a0_0000, (Purpose::Metadata, None)),
            // vivid in both modes; its output.
            (0x0523_0001, (Purpose::Camera, Some(BufferKind::Single))),
            (0x0523_1000, (Purpose::Camera, Some(BufferKind::Multi))),
            (0x0522_0002, (Purpose::Output, None)),
            (0x0522_2000, (Purpose::Output, None)),
            // rkisp_mainpath; its statistics; a codec of the same chip.
            (0x0420_1000, (Purpose::Camera, Some(BufferKind::Multi))),
            (0x0480_0000, (Purpose::Metadata, None)),
            (0x0420_4000, (Purpose::Codec, None)),
            (0x0420_8000, (Purpose::Codec, None)),
            // v4l2loopback that is not exclusive.
            (0x0520_8003 & !0x8000, (Purpose::Camera, Some(BufferKind::Single))),
            // Teletext.
            (0x0502_0010, (Purpose::Other, None)),
        ];
        for (capabilities, purpose) in table {
            assert_eq!(Purpose::of(capabilities), purpose, "{capabilities:#x}");
        }
    }

    #[test]
    fn nodes_are_taken_by_number() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["video10", "video2", "video", "videoX", "v4l-subdev0", "video0", "media0"] {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        let names: Vec<_> =
            paths(folder.path()).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["video0", "video2", "video10"]);
        assert!(paths(&folder.path().join("absent")).is_empty());
    }

    #[test]
    fn what_is_no_camera_says_so() {
        let error = Node::open(Path::new("/dev/null")).unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        assert!(error.to_string().contains("it is no camera"), "{error}");
        let absent = Selector::parse("v4l2:/dev/video4242").unwrap();
        let error = Node::find(&absent).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(error.to_string().ends_with("plugged in?"), "{error}");
        assert!(beside(error).to_string().contains("plugged in?; there "));
        let error = Node::find(&Selector::Card("nobody's camera".into())).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(error.to_string().contains("\"nobody's camera\""), "{error}");
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        let table = [
            (Errno::NOENT, Kind::NotFound, "plugged in?"),
            (Errno::ACCESS, Kind::Io, "group video"),
            (Errno::BUSY, Kind::Busy, "another program"),
            (Errno::NODEV, Kind::Device, "unplugged"),
            (Errno::NOSPC, Kind::Device, "USB bus"),
            (Errno::IO, Kind::Device, "dmesg"),
        ];
        for (errno, kind, advice) in table {
            let error = refused(Path::new("/dev/video0"), "cannot be opened", errno);
            assert_eq!(error.kind(), kind, "{errno}");
            assert!(error.to_string().contains(advice) && error.to_string().contains("/dev/video0"));
        }
    }
}
