//! The decoder slot of identity cards' photos. The photo in the chip is compressed in a way that only the makers of the
//! modules may hand out (WLT): whoever has their library names a program that decodes with it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use image::{ImageFormat, ImageReader, Limits};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Resource, Rlimit, Signal};

use crate::error::{Context as _, Error, Kind, Result};

/// How long the program may take: a decoder takes some 10 ms.
const WITHIN: Duration = Duration::from_secs(3);

/// Largest picture that it may give, in bytes: the photo is 102 x 126 pixels.
const MOST_BYTES: usize = 1 << 20;

/// Memory that it may have, in bytes: addresses, as the kernel counts.
const MEMORY: u64 = 256 << 20;

/// Longest side of that picture.
const LONGEST_SIDE: u32 = 2048;

/// Quality of the JPEG that is made of it.
const QUALITY: u8 = 92;

/// Before it is looked again whether the program has ended.
const ENDED: Duration = Duration::from_millis(2);

/// A program that decodes photos.
#[derive(Debug)]
pub struct PhotoDecoder {
    program: PathBuf,
    /// What went wrong last, as it was told.
    told: Option<String>,
}

impl PhotoDecoder {
    /// What `device.id_photo_decoder` names; `None` where it is empty. `Config` for a path that is not absolute.
    pub fn open(program: &Path) -> Result<Option<Self>> {
        if program.as_os_str().is_empty() {
            return Ok(None);
        }
        if !program.is_absolute() {
            return Err(Error::new(
                Kind::Config,
                format!(
                    "device.id_photo_decoder = {:?}: name the program by its absolute path",
                    program.display().to_string()
                ),
            ));
        }
        Ok(Some(Self { program: program.to_owned(), told: None }))
    }

    /// The photo as a JPEG; `None` if it cannot be decoded. Why is told in the log, once until it is another reason.
    pub fn decode(&mut self, wlt: &[u8]) -> Option<Arc<[u8]>> {
        match decode(&self.program, wlt) {
            Ok(jpeg) => {
                self.told = None;
                Some(jpeg.into())
            }
            Err(error) => {
                let why = error.to_string();
                if self.told.as_ref() != Some(&why) {
                    tracing::warn!(why, "the photo of an identity card was not decoded: it is left out");
                    self.told = Some(why);
                }
                None
            }
        }
    }
}

/// Runs the program and makes a JPEG of what it gives.
fn decode(program: &Path, wlt: &[u8]) -> Result<Vec<u8>> {
    let picture =
        run(program, wlt).context(|| format!("the decoder {} of photos failed", program.display()))?;
    jpeg(&picture).context(|| format!("the decoder {} of photos gives no picture", program.display()))
}

/// The program, which does not outlive this.
struct Running {
    child: Child,
    /// Whether its end has been taken note of; until then its number is nobody else's.
    reaped: bool,
}

impl Running {
    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        // It and whatever it has started.
        if let Some(group) = self.pid() {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

fn run(program: &Path, wlt: &[u8]) -> Result<Vec<u8>> {
    let until = Instant::now() + WITHIN;
    let child = Command::new(program)
        .env_clear()
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context(|| "it cannot be started: is it there, and may it be run by this user?")?;
    let mut running = Running { child, reaped: false };
    if let Some(process) = running.pid() {
        // Before it gets its input. What it gives goes through a pipe: it needs no file.
        for (resource, most) in [
            (Resource::Cpu, WITHIN.as_secs() + 1),
            (Resource::As, MEMORY),
            (Resource::Fsize, 0),
            (Resource::Core, 0),
        ] {
            // It is killed when its time is over in any case.
            let limit = Rlimit { current: Some(most), maximum: Some(most) };
            let _ = rustix::process::prlimit(Some(process), resource, limit);
        }
    }
    if let Some(mut input) = running.child.stdin.take() {
        // It fits into the pipe, so that this does not wait; who does not read it need not.
        let _ = input.write_all(wlt);
    }
    let output = running.child.stdout.take().map(std::os::fd::OwnedFd::from).map(File::from);
    let picture = output.map(|mut output| collect(&mut output, until)).transpose()?.unwrap_or_default();
    loop {
        let ended = running.child.try_wait()?;
        running.reaped = ended.is_some();
        match ended {
            Some(status) if status.success() => return Ok(picture),
            Some(status) => {
                let how = match (status.code(), status.signal()) {
                    (Some(code), _) => format!("it ended with code {code}"),
                    (None, signal) => format!("it was ended by signal {}", signal.unwrap_or_default()),
                };
                return Err(Error::new(Kind::Device, how));
            }
            None if Instant::now() >= until => return Err(too_slow()),
            None => std::thread::sleep(ENDED),
        }
    }
}

fn too_slow() -> Error {
    Error::new(Kind::Timeout, format!("it has not ended within {} s", WITHIN.as_secs()))
}

/// All that comes until the other end is closed.
fn collect(output: &mut File, until: Instant) -> Result<Vec<u8>> {
    let (mut all, mut some) = (Vec::new(), [0; 4096]);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = rustix::time::Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(0),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&output.as_fd(), PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(too_slow()),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(std::io::Error::from(errno).into()),
        }
        let read = output.read(&mut some)?;
        if read == 0 {
            return Ok(all);
        }
        all.extend_from_slice(some.get(..read).unwrap_or_default());
        if all.len() > MOST_BYTES {
            return Err(Error::new(Kind::Input, format!("it gives more than {MOST_BYTES} bytes")));
        }
    }
}

/// A JPEG of a picture that is JPEG, PNG or BMP.
fn jpeg(picture: &[u8]) -> Result<Vec<u8>> {
    let wrong = |error: image::ImageError| Error::caused(Kind::Input, "it cannot be read", error);
    let format = image::guess_format(picture).map_err(wrong)?;
    if !matches!(format, ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::Bmp) {
        return Err(Error::new(Kind::Input, "it is neither JPEG nor PNG nor BMP"));
    }
    let mut reader = ImageReader::with_format(std::io::Cursor::new(picture), format);
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(LONGEST_SIDE), Some(LONGEST_SIDE));
    reader.limits(limits);
    let pixels = reader.decode().map_err(wrong)?.into_rgb8();
    let side =
        |side: u32| u16::try_from(side).map_err(|error| Error::caused(Kind::Input, "it is too large", error));
    let (width, height) = (side(pixels.width())?, side(pixels.height())?);
    let mut bytes = Vec::with_capacity(16 << 10);
    jpeg_encoder::Encoder::new(&mut bytes, QUALITY)
        .encode(pixels.as_raw(), width, height, jpeg_encoder::ColorType::Rgb)
        .map_err(|error| Error::caused(Kind::Input, "it cannot be written as JPEG", error))?;
    Ok(bytes)
}
