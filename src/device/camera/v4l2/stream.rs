//! A stream of frames from mapped buffers.

use std::ffi::c_void;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::format::{Agreed, Choice, Filled, Interval, Offer, Said, Wanted, choose};
use super::kernel::{
    self, Buffer, BufferKind, CaptureParameters, FIELD_NONE, MAX_PLANES, MultiFormat, Plain as _, Plane,
    RequestBuffers, SingleFormat, TIME_PER_FRAME, buffer_flag,
};
use super::node::{Node, Selector, refused};
use super::time::{Now, Pace, Sequence};
use crate::clock::SharedClock;
use crate::config;
use crate::device::camera::Camera;
use crate::error::{Error, Kind, Result};
use crate::frame::{Frame, PixelFormat};

/// Buffers that are asked for: one is read, one is filled, two wait.
const BUFFERS: u32 = 4;

/// More than any driver gives.
const MOST_BUFFERS: u32 = 32;

/// How long the first frame may take: sensors are powered up, exposure is found.
const FIRST_WITHIN: Duration = Duration::from_secs(4);

/// How long any other frame may take, if three periods are not longer.
const NEXT_WITHIN: Duration = Duration::from_secs(2);

/// After so many damaged frames one after the other, something is wrong that opening anew may put right.
const DAMAGED_IN_A_ROW: u32 = 30;

/// Memory that the kernel shares with us; the camera's driver writes to it.
struct Mapping {
    address: NonNull<c_void>,
    length: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and `Mapping` alone unmaps it.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(node: BorrowedFd<'_>, offset: u32, length: usize) -> rustix::io::Result<Self> {
        if length == 0 {
            return Err(Errno::INVAL);
        }
        // SAFETY: the kernel chooses an address where nothing is.
        let address = unsafe {
            mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, node, u64::from(offset))
        }?;
        Ok(Self { address: NonNull::new(address).ok_or(Errno::NOMEM)?, length })
    }

    /// Puts `length` bytes from `offset` behind those of `out`. `Input` if they are not all within.
    fn copy(&self, offset: usize, length: usize, out: &mut Vec<u8>) -> Result<()> {
        if offset.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(Error::new(Kind::Input, "a frame is damaged: it ends outside of its buffer"));
        }
        out.reserve(length);
        // SAFETY: source: within the mapping, which lives as long as `self`. The driver does not write to a buffer
        // between dequeueing and queueing; where a loopback's writer does all the same, bytes are torn, and any
        // byte is a value. No reference to the memory is made. Target: `reserve` has made room for `length` bytes
        // behind `len`, and they are initialised before `set_len` counts them. The two do not overlap: one is the
        // allocator's, the other was mapped by us.
        unsafe {
            let from = self.address.as_ptr().cast::<u8>().add(offset);
            std::ptr::copy_nonoverlapping(from, out.as_mut_ptr().add(out.len()), length);
            out.set_len(out.len() + length);
        }
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` at this address with this length, and nothing refers to it any more.
        if let Err(errno) = unsafe { munmap(self.address.as_ptr(), self.length) } {
            tracing::error!(%errno, "a camera's buffer could not be unmapped");
        }
    }
}

/// The mapped planes of one buffer.
type Mapped = Vec<Mapping>;

/// A camera that streams.
pub(in crate::device::camera) struct Stream {
    node: Node,
    kind: BufferKind,
    agreed: Agreed,
    rate: Option<Interval>,
    buffers: Vec<Mapped>,
    sequence: Sequence,
    pace: Pace,
    /// Capture of the frame before, which no frame precedes.
    last: Option<Instant>,
    damaged: u32,
    index: usize,
    clock: SharedClock,
}

/// A filled buffer that is out of the driver's hands.
struct Taken {
    buffer: Buffer,
    planes: [Plane; MAX_PLANES],
}

impl Stream {
    /// Finds the camera, agrees on a format with it and starts it.
    pub(in crate::device::camera) fn open(
        selector: &Selector,
        camera: &config::Camera,
        index: usize,
        clock: SharedClock,
    ) -> Result<Self> {
        let node = Node::find(selector)?;
        let wanted = Wanted::of(camera);
        let offers = node.offers()?;
        Self::start(node, &offers, &wanted, index, clock)
    }

    /// The same where these are the only offers.
    pub(super) fn start(
        node: Node,
        offers: &[Offer],
        wanted: &Wanted,
        index: usize,
        clock: SharedClock,
    ) -> Result<Self> {
        let kind = node.kind()?;
        let choice = choose(offers, wanted).map_err(|error| at(node.path(), &error))?;
        let agreed = set_format(&node, kind, &choice)?;
        let rate =
            set_rate(&node, kind, choice.rate.unwrap_or(Interval { numerator: 1, denominator: wanted.fps }))?;
        let mut stream = Self {
            node,
            kind,
            agreed,
            rate,
            buffers: Vec::new(),
            sequence: Sequence::default(),
            pace: Pace::new(wanted.fps),
            last: None,
            damaged: 0,
            index,
            clock,
        };
        stream.map()?;
        for buffer in 0..stream.buffers.len() {
            stream.queue(buffer)?;
        }
        kernel::stream_on(stream.node.as_fd(), kind)
            .map_err(|errno| refused(stream.node.path(), "does not start", errno))?;
        stream.tell(offers, wanted);
        Ok(stream)
    }

    /// What was agreed on, for logs and `menshen doctor`.
    pub(in crate::device::camera) fn agreed(&self) -> String {
        let Agreed { fourcc, width, height, .. } = self.agreed;
        let rate = self.rate.map(|rate| format!(" at {rate} a second")).unwrap_or_default();
        format!("{} ({}), {width} x {height} {fourcc}{rate}", self.node.path().display(), self.node.card())
    }

    fn tell(&self, offers: &[Offer], wanted: &Wanted) {
        let agreed = self.agreed();
        tracing::info!(camera = self.index, buffers = self.buffers.len(), agreed, "the camera is started");
        let Agreed { width, height, .. } = self.agreed;
        let as_wanted =
            (wanted.width == 0 || wanted.width == width) && (wanted.height == 0 || wanted.height == height);
        if !as_wanted {
            let formats = offers.len();
            tracing::warn!(
                camera = self.index,
                formats,
                "the camera has no {} x {}: it delivers {width} x {height} (`menshen camera list` shows its sizes)",
                wanted.width,
                wanted.height
            );
        }
    }

    /// Asks for buffers and maps them.
    fn map(&mut self) -> Result<()> {
        let path = self.node.path();
        let mut request = RequestBuffers::new(self.kind, BUFFERS);
        kernel::request_buffers(self.node.as_fd(), &mut request)
            .map_err(|errno| refused(path, "gives no buffers", errno))?;
        if request.count < 2 || request.count > MOST_BUFFERS {
            return Err(Error::new(
                Kind::Device,
                format!("the camera {} gives {} buffers: see `dmesg`", path.display(), request.count),
            ));
        }
        let needed = self.agreed.plane_bytes();
        for index in 0..request.count {
            let mut planes = [Plane::zeroed(); MAX_PLANES];
            let buffer = kernel::query_buffer(self.node.as_fd(), self.kind, index, &mut planes)
                .map_err(|errno| refused(path, "does not show its buffers", errno))?;
            let places: Vec<(u32, u32)> = match self.kind {
                BufferKind::Single => vec![(buffer.offset(), buffer.length)],
                BufferKind::Multi => planes
                    .iter()
                    .take(buffer.length as usize)
                    .map(|plane| (plane.offset(), plane.length))
                    .collect(),
            };
            let enough = places.len() == self.agreed.planes
                && places.iter().zip(needed).all(|((_, length), needed)| *length as usize >= needed);
            if !enough {
                let lengths: Vec<u32> = places.iter().map(|(_, length)| *length).collect();
                return Err(Error::new(
                    Kind::Device,
                    format!(
                        "the camera {} has buffers of {lengths:?} bytes for frames of {needed:?}: its driver is at \
                         fault; try another camera.format or size",
                        path.display()
                    ),
                ));
            }
            let mapped = places
                .into_iter()
                .map(|(offset, length)| Mapping::new(self.node.as_fd(), offset, length as usize))
                .collect::<rustix::io::Result<Mapped>>()
                .map_err(|errno| refused(path, "does not share its buffers", errno))?;
            self.buffers.push(mapped);
        }
        Ok(())
    }

    fn queue(&self, buffer: usize) -> Result<()> {
        // At most `MOST_BUFFERS`.
        let index = u32::try_from(buffer).unwrap_or_default();
        kernel::queue(self.node.as_fd(), self.kind, index, self.agreed.planes)
            .map_err(|errno| refused(self.node.path(), "takes no buffer", errno))
    }

    /// How long the next frame may take.
    fn patience(&self) -> Duration {
        let three =
            self.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64((3.0 / rate.fps()).min(10.0)));
        three.max(if self.last.is_none() { FIRST_WITHIN } else { NEXT_WITHIN })
    }

    /// The next filled buffer.
    fn take(&self) -> Result<Taken> {
        let patience = self.patience();
        let until = Instant::now() + patience;
        let path = self.node.path();
        loop {
            let mut planes = [Plane::zeroed(); MAX_PLANES];
            match kernel::dequeue(self.node.as_fd(), self.kind, &mut planes) {
                Ok(buffer) => return Ok(Taken { buffer, planes }),
                Err(Errno::AGAIN) => {}
                Err(errno) => return Err(refused(path, "delivers no more", errno)),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::new(
                    Kind::Device,
                    format!(
                        "the camera {} has stalled: no frame for {:.0} s: check its cable and its power",
                        path.display(),
                        patience.as_secs_f64()
                    ),
                ));
            }
            let mut ready = [PollFd::new(&self.node, PollFlags::IN)];
            let timeout = rustix::time::Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut ready, Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(refused(path, "cannot be waited for", errno)),
            }
            let said = ready[0].revents();
            if !said.contains(PollFlags::IN)
                && said.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL)
            {
                // What it is is told by one more attempt.
                let mut planes = [Plane::zeroed(); MAX_PLANES];
                return match kernel::dequeue(self.node.as_fd(), self.kind, &mut planes) {
                    Ok(buffer) => Ok(Taken { buffer, planes }),
                    Err(Errno::AGAIN) => Err(refused(path, "has failed", Errno::IO)),
                    Err(errno) => Err(refused(path, "delivers no more", errno)),
                };
            }
        }
    }

    /// Copies the picture of a filled buffer.
    fn copy(&self, taken: &Taken, out: &mut Vec<u8>) -> Result<()> {
        let damaged = |what: &str| Error::new(Kind::Input, format!("a frame is damaged: {what}"));
        if taken.buffer.flags & buffer_flag::ERROR != 0 {
            return Err(damaged("the driver says so"));
        }
        let mapped = self
            .buffers
            .get(taken.buffer.index as usize)
            .ok_or_else(|| damaged("it is in a buffer that is not ours"))?;
        let mut filled = [Filled { offset: 0, used: taken.buffer.bytes_used as usize, mapped: 0 }; 2];
        for (plane, (filled, memory)) in filled.iter_mut().zip(mapped).enumerate() {
            if self.kind == BufferKind::Multi {
                let said = &taken.planes[plane];
                (filled.offset, filled.used) = (said.data_offset as usize, said.bytes_used as usize);
            }
            filled.mapped = memory.length;
        }
        join(&self.agreed, &filled, mapped, out)
    }

    /// A frame out of a filled buffer; `None` if it is one more than was asked for.
    fn frame(&mut self, taken: &Taken, mut data: Vec<u8>) -> Result<Result<Frame, Vec<u8>>> {
        let (number, dropped) = self.sequence.next(taken.buffer.sequence);
        if dropped > 0 {
            tracing::debug!(camera = self.index, dropped, "the camera's driver dropped frames");
        }
        let (captured, wall) = Now::take(self.clock.now()).captured(taken.buffer.timestamp);
        let captured = self.last.map_or(captured, |last| captured.max(last));
        self.last = Some(captured);
        if !self.pace.wants(captured) {
            return Ok(Err(data));
        }
        self.copy(taken, &mut data)?;
        let Agreed { pixels, width, height, strides, .. } = self.agreed;
        let frame = match pixels {
            PixelFormat::Jpeg => Frame::jpeg(data, captured, wall, number, self.index)?,
            _ => Frame::raw(data, pixels, width, height, strides[0], captured, wall, number, self.index)?,
        };
        Ok(Ok(frame))
    }

    /// Counts damaged frames, and makes another error of too many.
    fn judge<T>(&mut self, outcome: Result<T>) -> Result<T> {
        match outcome {
            Err(error) if error.kind() == Kind::Input => {
                self.damaged += 1;
                if self.damaged < DAMAGED_IN_A_ROW {
                    return Err(error);
                }
                Err(Error::caused(
                    Kind::Device,
                    format!(
                        "the camera {} delivers damaged frames only: check its cable, or try another camera.format",
                        self.node.path().display()
                    ),
                    error,
                ))
            }
            Ok(value) => {
                self.damaged = 0;
                Ok(value)
            }
            other => other,
        }
    }
}

impl Camera for Stream {
    fn capture(&mut self, mut buffer: Vec<u8>) -> Result<Frame> {
        loop {
            let taken = self.take()?;
            let outcome = self.frame(&taken, buffer);
            // Back to the driver first: a damaged frame must not cost it a buffer.
            self.queue(taken.buffer.index as usize)?;
            match self.judge(outcome)? {
                Ok(frame) => return Ok(frame),
                Err(unused) => buffer = unused,
            }
        }
    }

    fn pass(&mut self) -> Result<()> {
        let taken = self.take()?;
        self.sequence.next(taken.buffer.sequence);
        let (captured, _) = Now::take(self.clock.now()).captured(taken.buffer.timestamp);
        self.last = Some(self.last.map_or(captured, |last| captured.max(last)));
        self.queue(taken.buffer.index as usize)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The buffers are unmapped and the node is closed next, which stops it as well; an unplugged camera cannot
        // be stopped any more.
        let _ = kernel::stream_off(self.node.as_fd(), self.kind);
    }
}

/// Copies the planes of a picture, one behind the other, into `out`. `Input` if the kernel's numbers cannot be.
fn join(agreed: &Agreed, filled: &[Filled; 2], mapped: &[Mapping], out: &mut Vec<u8>) -> Result<()> {
    out.clear();
    let needed = agreed.plane_bytes();
    for (plane, memory) in mapped.iter().enumerate().take(agreed.planes) {
        let (offset, length) = filled[plane].part(needed[plane])?;
        let [stride, own] = [agreed.strides[0], agreed.strides[plane]];
        if stride == own {
            memory.copy(offset, length, out)?;
            continue;
        }
        // A frame has one stride: the lines of colour get that of the brightness.
        for line in 0..length / own {
            let end = out.len() + stride;
            memory.copy(offset + line * own, stride.min(own), out)?;
            out.resize(end, 0);
        }
    }
    Ok(())
}

fn at(path: &Path, error: &Error) -> Error {
    Error::new(error.kind(), format!("the camera {}: {}", path.display(), error.message()))
}

/// Sets the format and checks what comes back.
fn set_format(node: &Node, kind: BufferKind, choice: &Choice) -> Result<Agreed> {
    let not_set = |errno| refused(node.path(), &format!("does not take the format {}", choice.fourcc), errno);
    let said = match kind {
        BufferKind::Single => {
            let mut format = SingleFormat::new();
            (format.width, format.height) = choice.size;
            (format.pixel_format, format.field) = (choice.fourcc.0, FIELD_NONE);
            kernel::set_single_format(node.as_fd(), &mut format).map_err(not_set)?;
            Said {
                fourcc: format.pixel_format,
                width: format.width,
                height: format.height,
                field: format.field,
                planes: 1,
                strides: [format.bytes_per_line, 0],
            }
        }
        BufferKind::Multi => {
            let mut format = MultiFormat::new();
            (format.width, format.height) = choice.size;
            (format.pixel_format, format.field) = (choice.fourcc.0, FIELD_NONE);
            kernel::set_multi_format(node.as_fd(), &mut format).map_err(not_set)?;
            Said {
                fourcc: format.pixel_format,
                width: format.width,
                height: format.height,
                field: format.field,
                planes: usize::from(format.plane_count),
                strides: [format.planes[0].bytes_per_line, format.planes[1].bytes_per_line],
            }
        }
    };
    Agreed::check(&said).map_err(|error| at(node.path(), &error))
}

/// Sets the rate and answers with what is in force; `None` if the driver does not say.
fn set_rate(node: &Node, kind: BufferKind, rate: Interval) -> Result<Option<Interval>> {
    let mut parameters = CaptureParameters::new(kind);
    match kernel::capture_parameters(node.as_fd(), &mut parameters) {
        Ok(()) => {}
        // Drivers without a rate.
        Err(Errno::NOTTY | Errno::INVAL) => return Ok(None),
        Err(errno) => return Err(refused(node.path(), "does not say its rate", errno)),
    }
    if parameters.capability & TIME_PER_FRAME == 0 {
        return Ok(Interval::of(parameters.time_per_frame));
    }
    let mut wanted = CaptureParameters::new(kind);
    wanted.time_per_frame = [rate.numerator, rate.denominator];
    match kernel::set_capture_parameters(node.as_fd(), &mut wanted) {
        Ok(()) => Ok(Interval::of(wanted.time_per_frame)),
        Err(Errno::NOTTY | Errno::INVAL) => Ok(Interval::of(parameters.time_per_frame)),
        Err(errno) => Err(refused(node.path(), "does not take a rate", errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory of these bytes, as if the kernel had shared it.
    fn mapping(bytes: &[u8]) -> Mapping {
        let file = tempfile::tempfile().unwrap();
        rustix::io::write(&file, bytes).unwrap();
        Mapping::new(file.as_fd(), 0, bytes.len()).unwrap()
    }

    #[test]
    fn planes_are_joined_with_one_stride() {
        // 4 x 2 pixels: two lines of brightness, one of colour. `_` is padding, `x` is before the picture.
        let table: [(&str, &[u8], &[u8], [usize; 2], [usize; 2], &[u8]); 4] = [
            ("the same", b"abcdefgh", b"UVuv", [4, 4], [0, 0], b"abcdefghUVuv"),
            ("padded alike", b"abcd_efgh_", b"UVuv_", [5, 5], [0, 0], b"abcd_efgh_UVuv_"),
            ("colour is longer, behind a head", b"xxabcdefgh", b"xUVuv__", [4, 6], [2, 1], b"abcdefghUVuv"),
            ("colour is shorter", b"abcd__efgh__", b"UVuv_", [6, 5], [0, 0], b"abcd__efgh__UVuv_\0"),
        ];
        for (name, luma, chroma, strides, offsets, joined) in table {
            let agreed = Agreed {
                pixels: PixelFormat::Nv12,
                fourcc: super::super::FourCc(0),
                width: 4,
                height: 2,
                strides,
                planes: 2,
            };
            let mapped = [mapping(luma), mapping(chroma)];
            let filled = [luma, chroma].map(<[u8]>::len);
            let filled = [0, 1].map(|plane| Filled {
                offset: offsets[plane],
                used: filled[plane],
                mapped: filled[plane],
            });
            // What a buffer was used for before does not matter.
            let mut out = vec![9; 100];
            join(&agreed, &filled, &mapped, &mut out).unwrap();
            assert_eq!(out, joined, "{name}");
            let now = (Instant::now(), jiff::Timestamp::UNIX_EPOCH);
            Frame::raw(out.clone(), PixelFormat::Nv12, 4, 2, strides[0], now.0, now.1, 1, 0).unwrap();
            let short = [filled[0], Filled { used: filled[1].used - 1 - offsets[1], ..filled[1] }];
            let error = join(&agreed, &short, &mapped, &mut out).unwrap_err();
            assert_eq!(error.kind(), Kind::Input, "{name}");
        }
    }

    #[test]
    fn mapped_memory_is_copied_within_its_bounds() {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..=255).cycle().take(8192).collect();
        rustix::io::write(&file, &bytes).unwrap();
        let mapping = Mapping::new(file.as_fd(), 4096, 4096).unwrap();
        let mut out = vec![7];
        mapping.copy(10, 4, &mut out).unwrap();
        mapping.copy(4095, 1, &mut out).unwrap();
        mapping.copy(4096, 0, &mut out).unwrap();
        assert_eq!(out, [7, 10, 11, 12, 13, 255]);
        for (offset, length) in [(4096, 1), (0, 4097), (usize::MAX, 2), (1, usize::MAX)] {
            let error = mapping.copy(offset, length, &mut out).unwrap_err();
            assert_eq!(error.kind(), Kind::Input, "{offset}, {length}");
        }
        assert_eq!(out.len(), 6);
        assert!(Mapping::new(file.as_fd(), 0, 0).is_err());
    }
}
