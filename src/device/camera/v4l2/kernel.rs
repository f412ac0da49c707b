//! What the driver asks of the kernel: the structures of `linux/videodev2.h` (the 64-bit ABI, which is the same on
//! aarch64 and x86-64) and one safe function for each request. All `unsafe` of asking is here.

use std::ffi::c_int;
use std::mem::offset_of;
use std::os::fd::BorrowedFd;

use rustix::io::{Result, retry_on_intr};
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

/// Planes that a buffer can have (`VIDEO_MAX_PLANES`).
pub(super) const MAX_PLANES: usize = 8;

/// Whether a node keeps a picture in one piece of memory or in several (`V4L2_BUF_TYPE_VIDEO_CAPTURE` and
/// `_MPLANE`). Board ISPs are of the second kind, also where a picture has one plane only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum BufferKind {
    Single = 1,
    Multi = 9,
}

/// Bits of [`Capability::capabilities`] and [`Capability::device_caps`].
pub(super) mod capability {
    pub const VIDEO_CAPTURE: u32 = 0x1;
    pub const VIDEO_OUTPUT: u32 = 0x2;
    pub const VIDEO_CAPTURE_MPLANE: u32 = 0x1000;
    pub const VIDEO_OUTPUT_MPLANE: u32 = 0x2000;
    pub const VIDEO_M2M_MPLANE: u32 = 0x4000;
    pub const VIDEO_M2M: u32 = 0x8000;
    pub const META_CAPTURE: u32 = 0x0080_0000;
    pub const META_OUTPUT: u32 = 0x0800_0000;
    pub const STREAMING: u32 = 0x0400_0000;
    pub const DEVICE_CAPS: u32 = 0x8000_0000;
}

/// Bits of [`Buffer::flags`].
pub(super) mod buffer_flag {
    pub const ERROR: u32 = 0x40;
}

/// [`CaptureParameters::capability`]: the rate can be set.
pub(super) const TIME_PER_FRAME: u32 = 0x1000;

/// `V4L2_MEMORY_MMAP`.
const MEMORY_MAPPED: u32 = 1;

/// `V4L2_FIELD_NONE`: whole pictures.
pub(super) const FIELD_NONE: u32 = 1;

/// Structures of which any bytes, zeroes too, are a value.
///
/// # Safety
/// Only for structures of integers and arrays of them.
pub(super) unsafe trait Plain: Copy {
    /// All bytes zero, as the kernel wants what it does not read.
    fn zeroed() -> Self {
        // SAFETY: the trait's promise.
        unsafe { std::mem::zeroed() }
    }
}

macro_rules! structure {
    ($(#[$about:meta])* $name:ident, $size:literal { $($(#[$note:meta])* $visible:vis $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy)]
        #[repr(C)]
        pub(super) struct $name { $($(#[$note])* $visible $field: $type,)* }
        // SAFETY: its fields are integers, arrays of them, and structures of this macro.
        unsafe impl Plain for $name {}
        const _: () = assert!(size_of::<$name>() == $size, "not the kernel's structure");
    };
}

structure!(
    /// `v4l2_capability`
    Capability, 104 {
        pub driver: [u8; 16],
        pub card: [u8; 32],
        pub bus_info: [u8; 32],
        _version: u32,
        /// Of the whole device, with all its nodes.
        pub capabilities: u32,
        /// Of this node, if [`capability::DEVICE_CAPS`] is among those.
        pub device_caps: u32,
        _reserved: [u32; 3],
    }
);

structure!(
    /// `v4l2_fmtdesc`
    FormatDescription, 64 {
        pub index: u32,
        pub kind: u32,
        _flags: u32,
        pub description: [u8; 32],
        pub pixel_format: u32,
        _mbus_code: u32,
        _reserved: [u32; 3],
    }
);

structure!(
    /// `v4l2_frmsizeenum`
    FrameSize, 44 {
        pub index: u32,
        pub pixel_format: u32,
        /// 1 discrete, 2 continuous, 3 stepwise.
        pub shape: u32,
        /// Discrete: width, height. Else: least, largest, step of the width, then of the height.
        pub values: [u32; 6],
        _reserved: [u32; 2],
    }
);

structure!(
    /// `v4l2_frmivalenum`
    FrameInterval, 52 {
        pub index: u32,
        pub pixel_format: u32,
        pub width: u32,
        pub height: u32,
        /// 1 discrete, 2 continuous, 3 stepwise.
        pub shape: u32,
        /// Discrete: a fraction of a second. Else: shortest, longest, step.
        pub values: [u32; 6],
        _reserved: [u32; 2],
    }
);

structure!(
    /// `v4l2_format` with a `v4l2_pix_format`
    SingleFormat, 208 {
        kind: u32,
        _alignment: u32,
        pub width: u32,
        pub height: u32,
        pub pixel_format: u32,
        pub field: u32,
        pub bytes_per_line: u32,
        pub size_image: u32,
        _colour: [u32; 6],
        _rest: [u32; 38],
    }
);

structure!(
    /// `v4l2_plane_pix_format`
    PlaneFormat, 20 {
        pub size_image: u32,
        pub bytes_per_line: u32,
        _reserved: [u16; 6],
    }
);

structure!(
    /// `v4l2_format` with a `v4l2_pix_format_mplane`
    MultiFormat, 208 {
        kind: u32,
        _alignment: u32,
        pub width: u32,
        pub height: u32,
        pub pixel_format: u32,
        pub field: u32,
        _colorspace: u32,
        pub planes: [PlaneFormat; MAX_PLANES],
        pub plane_count: u8,
        _colour: [u8; 11],
        _rest: [u32; 2],
    }
);

structure!(
    /// `v4l2_streamparm` with a `v4l2_captureparm`
    CaptureParameters, 204 {
        kind: u32,
        pub capability: u32,
        _capture_mode: u32,
        /// Seconds for a frame, as a fraction.
        pub time_per_frame: [u32; 2],
        _rest: [u32; 46],
    }
);

structure!(
    /// `v4l2_requestbuffers`
    RequestBuffers, 20 {
        pub count: u32,
        kind: u32,
        memory: u32,
        _capabilities: u32,
        _flags: u32,
    }
);

structure!(
    /// `v4l2_plane`
    Plane, 64 {
        /// Bytes of picture, those before `data_offset` included.
        pub bytes_used: u32,
        /// Bytes of memory.
        pub length: u32,
        /// A union; with mapped memory its first four bytes are where to map.
        place: [u8; 8],
        /// Where the picture begins.
        pub data_offset: u32,
        _reserved: [u32; 11],
    }
);

structure!(
    /// `v4l2_buffer`
    Buffer, 88 {
        pub index: u32,
        kind: u32,
        pub bytes_used: u32,
        pub flags: u32,
        _field: u32,
        /// Seconds and microseconds.
        pub timestamp: [i64; 2],
        _timecode: [u32; 4],
        pub sequence: u32,
        memory: u32,
        /// A union: where to map, or the address of the planes.
        place: [u8; 8],
        /// Bytes of memory, or the number of planes.
        pub length: u32,
        _reserved: [u32; 2],
    }
);

structure!(
    /// `v4l2_query_ext_ctrl`
    QueryControl, 232 {
        pub id: u32,
        pub kind: u32,
        pub name: [u8; 32],
        pub minimum: i64,
        pub maximum: i64,
        pub step: u64,
        pub default: i64,
        pub flags: u32,
        pub element_size: u32,
        pub elements: u32,
        pub dimensions: u32,
        _sizes: [u32; 4],
        _reserved: [u32; 32],
    }
);

structure!(
    /// `v4l2_querymenu`
    QueryMenu, 44 {
        pub id: u32,
        pub index: u32,
        /// A union: the name, or with integer menus a number in its first eight bytes.
        pub name: [u8; 32],
        _reserved: u32,
    }
);

structure!(
    /// `v4l2_ext_control`, which the header packs: its union is not aligned.
    Control, 20 {
        id: u32,
        size: u32,
        _reserved: u32,
        /// A union: 32 bits, 64 bits or an address.
        value: [u8; 8],
    }
);

structure!(
    /// `v4l2_ext_controls`
    Controls, 32 {
        _which: u32,
        count: u32,
        _error_index: u32,
        _request: i32,
        _reserved: u32,
        _alignment: u32,
        /// The address of the controls.
        controls: usize,
    }
);

// The places of what the kernel reads and writes, where the sizes alone would not give a mistake away.
const _: () = {
    assert!(offset_of!(Capability, device_caps) == 88);
    assert!(offset_of!(FormatDescription, pixel_format) == 44);
    assert!(offset_of!(FrameSize, values) == 12);
    assert!(offset_of!(FrameInterval, values) == 20);
    assert!(offset_of!(SingleFormat, width) == 8 && offset_of!(SingleFormat, size_image) == 28);
    assert!(offset_of!(MultiFormat, planes) == 28 && offset_of!(MultiFormat, plane_count) == 188);
    assert!(offset_of!(CaptureParameters, time_per_frame) == 12);
    assert!(offset_of!(RequestBuffers, memory) == 8);
    assert!(offset_of!(Plane, place) == 8 && offset_of!(Plane, data_offset) == 16);
    assert!(offset_of!(Buffer, timestamp) == 24 && offset_of!(Buffer, sequence) == 56);
    assert!(offset_of!(Buffer, memory) == 60 && offset_of!(Buffer, place) == 64);
    assert!(offset_of!(Buffer, length) == 72);
    assert!(offset_of!(QueryControl, minimum) == 40 && offset_of!(QueryControl, flags) == 72);
    assert!(offset_of!(QueryMenu, name) == 8);
    assert!(offset_of!(Control, value) == 12);
    assert!(offset_of!(Controls, controls) == 24);
};

/// Numbers of the requests.
mod number {
    use super::*;

    pub const QUERYCAP: Opcode = opcode::read::<Capability>(b'V', 0);
    pub const ENUM_FMT: Opcode = opcode::read_write::<FormatDescription>(b'V', 2);
    pub const S_FMT: Opcode = opcode::read_write::<SingleFormat>(b'V', 5);
    pub const S_FMT_MULTI: Opcode = opcode::read_write::<MultiFormat>(b'V', 5);
    pub const REQBUFS: Opcode = opcode::read_write::<RequestBuffers>(b'V', 8);
    pub const QUERYBUF: Opcode = opcode::read_write::<Buffer>(b'V', 9);
    pub const QBUF: Opcode = opcode::read_write::<Buffer>(b'V', 15);
    pub const DQBUF: Opcode = opcode::read_write::<Buffer>(b'V', 17);
    pub const STREAMON: Opcode = opcode::write::<c_int>(b'V', 18);
    pub const STREAMOFF: Opcode = opcode::write::<c_int>(b'V', 19);
    pub const G_PARM: Opcode = opcode::read_write::<CaptureParameters>(b'V', 21);
    pub const S_PARM: Opcode = opcode::read_write::<CaptureParameters>(b'V', 22);
    pub const QUERYMENU: Opcode = opcode::read_write::<QueryMenu>(b'V', 37);
    pub const G_EXT_CTRLS: Opcode = opcode::read_write::<Controls>(b'V', 71);
    pub const S_EXT_CTRLS: Opcode = opcode::read_write::<Controls>(b'V', 72);
    pub const ENUM_FRAMESIZES: Opcode = opcode::read_write::<FrameSize>(b'V', 74);
    pub const ENUM_FRAMEINTERVALS: Opcode = opcode::read_write::<FrameInterval>(b'V', 75);
    pub const QUERY_EXT_CTRL: Opcode = opcode::read_write::<QueryControl>(b'V', 103);
}

macro_rules! request {
    ($(#[$about:meta])* $visible:vis $name:ident, $number:ident, $type:ty) => {
        $(#[$about])*
        $visible fn $name(node: BorrowedFd<'_>, value: &mut $type) -> Result<()> {
            // SAFETY: the kernel reads and writes no more than this structure, whose size is part of the number, and
            // any bytes are a value of it. Where it holds an address, the functions below see to what is there.
            retry_on_intr(|| unsafe { ioctl(node, Updater::<{ number::$number }, $type>::new(value)) })
        }
    };
}

request!(
    /// Which of its formats a node has; `INVAL` behind the last.
    pub(super) describe_format, ENUM_FMT, FormatDescription
);
request!(
    /// The sizes of a format; `INVAL` behind the last, `NOTTY` from drivers that do not say.
    pub(super) describe_size, ENUM_FRAMESIZES, FrameSize
);
request!(
    /// The rates of a size, in the same way.
    pub(super) describe_interval, ENUM_FRAMEINTERVALS, FrameInterval
);
request!(
    /// Sets the format of a node of the kind [`BufferKind::Single`]; what comes back is what it will deliver.
    pub(super) set_single_format, S_FMT, SingleFormat
);
request!(
    /// The same for [`BufferKind::Multi`].
    pub(super) set_multi_format, S_FMT_MULTI, MultiFormat
);
request!(
    /// The rate.
    pub(super) capture_parameters, G_PARM, CaptureParameters
);
request!(
    /// Sets the rate; what comes back is what it will deliver.
    pub(super) set_capture_parameters, S_PARM, CaptureParameters
);
request!(
    /// Asks for buffers, or with 0 gives them back.
    pub(super) request_buffers, REQBUFS, RequestBuffers
);
request!(
    /// What a control is.
    pub(super) describe_control, QUERY_EXT_CTRL, QueryControl
);
request!(
    /// What an entry of a menu is; `INVAL` where there is none.
    pub(super) describe_entry, QUERYMENU, QueryMenu
);
request!(query_buffer_at, QUERYBUF, Buffer);
request!(queue_at, QBUF, Buffer);
request!(dequeue_at, DQBUF, Buffer);
request!(get_controls, G_EXT_CTRLS, Controls);
request!(set_controls, S_EXT_CTRLS, Controls);
request!(query_capability, QUERYCAP, Capability);

/// What a node is and can.
pub(super) fn capability(node: BorrowedFd<'_>) -> Result<Capability> {
    let mut capability = Capability::zeroed();
    query_capability(node, &mut capability)?;
    Ok(capability)
}

/// Starts the stream.
pub(super) fn stream_on(node: BorrowedFd<'_>, kind: BufferKind) -> Result<()> {
    // SAFETY: the kernel reads one `int`.
    retry_on_intr(|| unsafe { ioctl(node, Setter::<{ number::STREAMON }, c_int>::new(kind as c_int)) })
}

/// Stops the stream; no buffer is queued any more.
pub(super) fn stream_off(node: BorrowedFd<'_>, kind: BufferKind) -> Result<()> {
    // SAFETY: the kernel reads one `int`.
    retry_on_intr(|| unsafe { ioctl(node, Setter::<{ number::STREAMOFF }, c_int>::new(kind as c_int)) })
}

impl SingleFormat {
    /// Nothing said yet.
    pub(super) fn new() -> Self {
        Self { kind: BufferKind::Single as u32, ..Self::zeroed() }
    }
}

impl MultiFormat {
    /// Nothing said yet.
    pub(super) fn new() -> Self {
        Self { kind: BufferKind::Multi as u32, ..Self::zeroed() }
    }
}

impl CaptureParameters {
    /// Nothing said yet.
    pub(super) fn new(kind: BufferKind) -> Self {
        Self { kind: kind as u32, ..Self::zeroed() }
    }
}

impl RequestBuffers {
    /// So many buffers, to be mapped.
    pub(super) fn new(kind: BufferKind, count: u32) -> Self {
        Self { count, kind: kind as u32, memory: MEMORY_MAPPED, ..Self::zeroed() }
    }
}

impl Plane {
    /// Where the memory of this plane is to be mapped.
    pub(super) fn offset(&self) -> u32 {
        offset(self.place)
    }
}

impl Buffer {
    fn new(kind: BufferKind, index: u32) -> Self {
        Self { kind: kind as u32, memory: MEMORY_MAPPED, index, ..Self::zeroed() }
    }

    /// Where the memory of a buffer in one piece is to be mapped.
    pub(super) fn offset(&self) -> u32 {
        offset(self.place)
    }
}

fn offset(place: [u8; 8]) -> u32 {
    let [a, b, c, d, ..] = place;
    u32::from_ne_bytes([a, b, c, d])
}

/// Makes a request about a buffer whose planes, if it has any, are told in `planes`. On success `buffer.length` is
/// the number of planes for [`BufferKind::Multi`], at most [`MAX_PLANES`].
fn about_buffer(
    request: fn(BorrowedFd<'_>, &mut Buffer) -> Result<()>,
    node: BorrowedFd<'_>,
    kind: BufferKind,
    buffer: &mut Buffer,
    planes: &mut [Plane; MAX_PLANES],
    count: u32,
) -> Result<()> {
    if kind == BufferKind::Multi {
        // The kernel copies at most `length` planes to and from this address during the request; they are borrowed
        // for as long. It looks at the address for this kind only.
        buffer.place = planes.as_mut_ptr().expose_provenance().to_ne_bytes();
        buffer.length = count.min(MAX_PLANES as u32);
    }
    let answer = request(node, buffer);
    if kind == BufferKind::Multi {
        buffer.place = [0; 8];
        buffer.length = buffer.length.min(MAX_PLANES as u32);
    }
    answer
}

/// Where and how large a buffer is.
pub(super) fn query_buffer(
    node: BorrowedFd<'_>,
    kind: BufferKind,
    index: u32,
    planes: &mut [Plane; MAX_PLANES],
) -> Result<Buffer> {
    let mut buffer = Buffer::new(kind, index);
    about_buffer(query_buffer_at, node, kind, &mut buffer, planes, MAX_PLANES as u32)?;
    Ok(buffer)
}

/// Hands a buffer to the driver, to be filled.
pub(super) fn queue(node: BorrowedFd<'_>, kind: BufferKind, index: u32, plane_count: usize) -> Result<()> {
    let mut planes = [Plane::zeroed(); MAX_PLANES];
    let mut buffer = Buffer::new(kind, index);
    about_buffer(queue_at, node, kind, &mut buffer, &mut planes, plane_count as u32)
}

/// Takes a filled buffer from the driver; `AGAIN` if there is none yet.
pub(super) fn dequeue(
    node: BorrowedFd<'_>,
    kind: BufferKind,
    planes: &mut [Plane; MAX_PLANES],
) -> Result<Buffer> {
    let mut buffer = Buffer::new(kind, 0);
    about_buffer(dequeue_at, node, kind, &mut buffer, planes, MAX_PLANES as u32)?;
    Ok(buffer)
}

fn about_control(
    request: fn(BorrowedFd<'_>, &mut Controls) -> Result<()>,
    node: BorrowedFd<'_>,
    control: &mut Control,
) -> Result<()> {
    // The kernel copies one control to and from this address during the request; it is borrowed for as long.
    let mut controls = Controls {
        count: 1,
        controls: std::ptr::from_mut(control).expose_provenance(),
        ..Controls::zeroed()
    };
    request(node, &mut controls)
}

/// The value of a control that is a number; `wide` for those of 64 bits.
pub(super) fn control_number(node: BorrowedFd<'_>, id: u32, wide: bool) -> Result<i64> {
    let mut control = Control { id, ..Control::zeroed() };
    about_control(get_controls, node, &mut control)?;
    let [a, b, c, d, ..] = control.value;
    Ok(if wide { i64::from_ne_bytes(control.value) } else { i64::from(i32::from_ne_bytes([a, b, c, d])) })
}

/// Sets a control that is a number; for those of 32 bits the value must be within them.
pub(super) fn set_control_number(node: BorrowedFd<'_>, id: u32, wide: bool, value: i64) -> Result<()> {
    let mut control = Control { id, ..Control::zeroed() };
    if wide {
        control.value = value.to_ne_bytes();
    } else {
        let value = i32::try_from(value).map_err(|_| rustix::io::Errno::RANGE)?;
        control.value[..4].copy_from_slice(&value.to_ne_bytes());
    }
    about_control(set_controls, node, &mut control)
}

/// The value of a control that is a text of at most `size` bytes with its closing zero.
pub(super) fn control_text(node: BorrowedFd<'_>, id: u32, size: u32) -> Result<Vec<u8>> {
    let mut text = vec![0_u8; size as usize];
    let mut control = Control { id, size, ..Control::zeroed() };
    // The kernel writes at most `size` bytes to this address during the request.
    control.value = text.as_mut_ptr().expose_provenance().to_ne_bytes();
    about_control(get_controls, node, &mut control)?;
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    text.truncate(end);
    Ok(text)
}

/// Sets a control that is a text.
pub(super) fn set_control_text(node: BorrowedFd<'_>, id: u32, text: &str) -> Result<()> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    let size = u32::try_from(bytes.len()).map_err(|_| rustix::io::Errno::RANGE)?;
    let mut control = Control { id, size, ..Control::zeroed() };
    // The kernel reads `size` bytes at this address during the request, and may write as many.
    control.value = bytes.as_mut_ptr().expose_provenance().to_ne_bytes();
    about_control(set_controls, node, &mut control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_numbers_of_the_kernel() {
        // Printed by a C program that includes <linux/videodev2.h>, the same for x86_64 and aarch64.
        let numbers = [
            (number::QUERYCAP, 0x8068_5600),
            (number::ENUM_FMT, 0xc040_5602),
            (number::S_FMT, 0xc0d0_5605),
            (number::S_FMT_MULTI, 0xc0d0_5605),
            (number::REQBUFS, 0xc014_5608),
            (number::QUERYBUF, 0xc058_5609),
            (number::QBUF, 0xc058_560f),
            (number::DQBUF, 0xc058_5611),
            (number::STREAMON, 0x4004_5612),
            (number::STREAMOFF, 0x4004_5613),
            (number::G_PARM, 0xc0cc_5615),
            (number::S_PARM, 0xc0cc_5616),
            (number::QUERYMENU, 0xc02c_5625),
            (number::G_EXT_CTRLS, 0xc020_5647),
            (number::S_EXT_CTRLS, 0xc020_5648),
            (number::ENUM_FRAMESIZES, 0xc02c_564a),
            (number::ENUM_FRAMEINTERVALS, 0xc034_564b),
            (number::QUERY_EXT_CTRL, 0xc0e8_5667),
        ];
        for (ours, kernels) in numbers {
            assert_eq!(ours, kernels, "{kernels:#x}");
        }
    }
}
