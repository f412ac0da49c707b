//! A loudspeaker behind ALSA: any device of it by its name (`default`, `plughw:1`, `hw:CARD=Codec`, …).
//!
//! The device is opened for each sentence and closed after it: one that was pulled out and put in again speaks the
//! next one, and other programs may use it in between.

use std::path::Path;
use std::time::Duration;

use alsa::mixer::{Selem, SelemChannelId};
use alsa::pcm::{Access, Format, HwParams, PCM, State};
use alsa::{Direction, Mixer, Round, ValueOr};
use rustix::io::Errno;

use super::folder::Folder;
use super::play::{Sink, Unheard, play};
use super::volume;
use super::wav::Sound;
use super::{Voice, check_sentences};
use crate::error::{Error, Kind, Result};
use crate::text::Language;

/// How much sound the device holds, in microseconds: enough for a busy machine, and gone at once after a stop.
const BUFFER_US: u32 = 200_000;

/// The elements of a mixer that may be the loudspeaker's, the likeliest first. Without any of them it is the first
/// that has a volume.
const ELEMENTS: [&str; 6] = ["Master", "Speaker", "PCM", "Headphone", "Playback", "Digital"];

/// The beep: 1 kHz for 120 ms, with 5 ms at both ends in which it rises and falls, so that it does not click.
const BEEP_HZ: f64 = 1000.0;
const BEEP_MS: u32 = 120;
const BEEP_EDGE_MS: u32 = 5;
const BEEP_RATE: u32 = 16_000;
/// Half of what sentences reach: a tone is louder than speech of the same height.
const BEEP_HEIGHT: f64 = 14_500.0;

/// The loudspeaker.
#[derive(Debug)]
pub struct AlsaVoice {
    device: String,
    /// The card whose mixer has its volume, as ALSA names it.
    card: String,
    folder: Folder,
    volume: u8,
    beep: Sound,
}

impl AlsaVoice {
    /// The device of this name, with its sentences in `folder`. Neither need be there yet; the log tells of sentences
    /// that are not. `Config` for a name that can be none.
    pub fn new(device: &str, folder: &Path) -> Result<Self> {
        let possible = !device.is_empty()
            && device.len() <= 128
            && device.chars().all(|c| c.is_ascii_graphic() && c != '\'');
        if !possible {
            return Err(Error::new(
                Kind::Config,
                format!(
                    "device.voice: {device:?} is no name of an ALSA device: `aplay -L` shows those there are"
                ),
            ));
        }
        for language in [Language::Chinese, Language::English] {
            if let Err(error) = check_sentences(folder, language) {
                tracing::warn!(%error, language = language.code(), "the voice does not have every sentence");
            }
        }
        Ok(Self {
            device: device.to_owned(),
            card: card(device),
            folder: Folder::new(folder),
            volume: volume::MOST,
            beep: beep(),
        })
    }

    /// Opens the device, or says what is wrong with it; nothing is heard.
    pub fn examine(&self) -> Result<String> {
        quietly(|| {
            let open = self.open(BEEP_RATE)?;
            let how = if open.converted { ", converted by ALSA" } else { "" };
            let volume = match mixer(&self.card) {
                Some(mixer) => match element(&mixer)
                    .and_then(|element| element.get_id().get_name().ok().map(str::to_owned))
                {
                    Some(name) => format!("volume by the mixer's {name}"),
                    None => "volume in software".to_owned(),
                },
                None => "volume in software".to_owned(),
            };
            Ok(format!("alsa:{}{how}, {volume}", self.device))
        })
    }

    fn failed(&self, what: impl std::fmt::Display, errno: Errno) -> Error {
        let advice = match errno {
            Errno::NOENT | Errno::NODEV | Errno::NXIO => {
                "is it plugged in, and device.voice its name? `aplay -L` shows those there are"
            }
            Errno::ACCESS | Errno::PERM => "may this user use it (group audio)?",
            Errno::BUSY => "another program has it",
            _ => "check its cable and `dmesg`",
        };
        Error::new(Kind::Device, format!("the loudspeaker alsa:{} {what} ({errno}): {advice}", self.device))
    }

    /// Opens the device for one channel of 16 bits at `rate`. One that does not do this by itself is asked through
    /// ALSA's own converter.
    fn open(&self, rate: u32) -> Result<Open> {
        let cannot = |error: alsa::Error| self.failed("cannot be opened", errno(error));
        let direct = PCM::new(&self.device, Direction::Playback, true).map_err(cannot)?;
        if prepare(&direct, rate).is_ok() {
            return Ok(Open { pcm: direct, converted: false });
        }
        // A device of hardware can be opened once at a time.
        drop(direct);
        let name = format!("plug:'{}'", self.device);
        let pcm = PCM::new(&name, Direction::Playback, true).map_err(cannot)?;
        prepare(&pcm, rate).map_err(|error| {
            self.failed(format_args!("does not take one channel of 16 bits at {rate} Hz"), errno(error))
        })?;
        Ok(Open { pcm, converted: true })
    }

    fn play(&self, sound: &Sound) -> Result<()> {
        quietly(|| {
            let mut open = self.open(sound.rate)?;
            let gain = if self.set_mixer(self.volume)? && self.volume > 0 {
                volume::gain(volume::MOST)
            } else {
                volume::gain(self.volume)
            };
            let samples = volume::at_gain(&sound.samples, gain);
            play(&mut open.pcm, &samples, sound.rate).map_err(|unheard| match unheard {
                Unheard::Hangs => Error::new(
                    Kind::Timeout,
                    format!(
                        "the loudspeaker alsa:{} takes no sound: is another program holding it? see `dmesg`",
                        self.device
                    ),
                ),
                Unheard::Failed(errno) => self.failed("failed while it spoke", errno),
            })
        })
    }

    /// Gives the mixer the volume; false where there is none, and samples are scaled instead. On an error it is as it
    /// was.
    fn set_mixer(&self, volume: u8) -> Result<bool> {
        let Some(mixer) = mixer(&self.card) else { return Ok(false) };
        let Some(element) = element(&mixer) else { return Ok(false) };
        let before = Before::of(&element);
        let outcome = set(&element, volume);
        if let Err(error) = outcome {
            before.put_back(&element);
            return Err(self.failed(format_args!("does not take the volume {volume}"), errno(error)));
        }
        Ok(true)
    }
}

impl Voice for AlsaVoice {
    fn set_volume(&mut self, volume: u8) -> Result<()> {
        if volume > volume::MOST {
            return Err(Error::new(Kind::Input, format!("the volume must be 0 to 15, not {volume}")));
        }
        quietly(|| self.set_mixer(volume))?;
        self.volume = volume;
        Ok(())
    }

    fn say(&mut self, text: &str, language: Language) -> Result<()> {
        let sound = self.folder.sound(text, language)?;
        self.play(&sound)
    }

    fn beep(&mut self) -> Result<()> {
        self.play(&self.beep)
    }
}

/// A device that is open.
struct Open {
    pcm: PCM,
    /// ALSA converts for it.
    converted: bool,
}

impl Sink for PCM {
    fn write(&mut self, samples: &[i16]) -> std::result::Result<usize, Errno> {
        self.io_i16().and_then(|io| io.writei(samples)).map_err(errno)
    }

    fn wait(&mut self, within: Duration) -> std::result::Result<(), Errno> {
        let within = u32::try_from(within.as_millis()).unwrap_or(u32::MAX).max(1);
        PCM::wait(self, Some(within)).map(drop).map_err(errno)
    }

    fn recover(&mut self, from: Errno) -> std::result::Result<(), Errno> {
        // The sound goes on after it: what the device had is lost, what was not handed over is not.
        PCM::recover(self, -from.raw_os_error(), true).map_err(errno)
    }

    fn drain(&mut self) -> std::result::Result<(), Errno> {
        match PCM::drain(self).map_err(errno) {
            // A card that does not wait says so always: its state tells when the last sample was heard.
            Err(Errno::AGAIN) if matches!(self.state(), State::Setup | State::Prepared | State::XRun) => {
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn drop(&mut self) {
        // It is closed next.
        let _ = PCM::drop(self);
    }
}

/// What the system calls an error of ALSA.
fn errno(error: alsa::Error) -> Errno {
    Errno::from_raw_os_error(error.errno().abs())
}

fn prepare(pcm: &PCM, rate: u32) -> std::result::Result<(), alsa::Error> {
    let params = HwParams::any(pcm)?;
    params.set_access(Access::RWInterleaved)?;
    params.set_format(Format::s16())?;
    params.set_channels(1)?;
    params.set_rate(rate, ValueOr::Nearest)?;
    params.set_buffer_time_near(BUFFER_US, ValueOr::Nearest)?;
    pcm.hw_params(&params)?;
    drop(params);
    pcm.prepare()
}

/// Runs `work` with what ALSA's library would print going to the log instead.
fn quietly<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let said = alsa::Output::local_error_handler().ok();
    let outcome = work();
    if let (Err(_), Some(said)) = (&outcome, &said) {
        let said = said.borrow().to_string();
        if !said.trim().is_empty() {
            tracing::debug!(alsa = said.trim(), "what ALSA said");
        }
    }
    outcome
}

/// The card that a device belongs to, for its mixer: `hw:1` for `plughw:1,0`, `hw:Codec` for
/// `sysdefault:CARD=Codec,DEV=0`; `default` where the name has none.
fn card(device: &str) -> String {
    let card = device
        .split_once(':')
        .and_then(|(_, arguments)| arguments.split(',').next())
        .map(|first| first.strip_prefix("CARD=").unwrap_or(first))
        .filter(|card| {
            !card.is_empty() && card.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        });
    card.map_or_else(|| "default".to_owned(), |card| format!("hw:{card}"))
}

/// The mixer of a card, if it has one.
fn mixer(card: &str) -> Option<Mixer> {
    Mixer::new(card, true).ok()
}

/// The element that is the loudspeaker's volume, if there is one.
fn element(mixer: &Mixer) -> Option<Selem<'_>> {
    let elements = || mixer.iter().filter_map(Selem::new).filter(Selem::has_playback_volume);
    let named = |name: &&str| {
        elements().find(|element| element.get_id().get_name().is_ok_and(|found| found == *name))
    };
    ELEMENTS.iter().find_map(named).or_else(|| elements().next())
}

fn set(element: &Selem<'_>, volume: u8) -> std::result::Result<(), alsa::Error> {
    let (least, most) = element.get_playback_db_range();
    let range = element.get_playback_volume_range();
    match volume::level(volume, (least.0, most.0)) {
        Some(level) if most.0 > least.0 => {
            element.set_playback_db_all(alsa::mixer::MilliBel(level), Round::Floor)?;
        }
        Some(_) => element.set_playback_volume_all(volume::plain_level(volume, range))?,
        None => element.set_playback_volume_all(range.0)?,
    }
    if element.has_playback_switch() {
        element.set_playback_switch_all(i32::from(volume > 0))?;
    }
    Ok(())
}

/// How an element stood.
struct Before {
    volumes: Vec<(SelemChannelId, i64)>,
    switches: Vec<(SelemChannelId, i32)>,
}

impl Before {
    fn of(element: &Selem<'_>) -> Self {
        let channels =
            || SelemChannelId::all().iter().copied().filter(|channel| element.has_playback_channel(*channel));
        let volumes =
            channels().filter_map(|channel| Some((channel, element.get_playback_volume(channel).ok()?)));
        let switches = channels()
            .filter(|_| element.has_playback_switch())
            .filter_map(|channel| Some((channel, element.get_playback_switch(channel).ok()?)));
        Self { volumes: volumes.collect(), switches: switches.collect() }
    }

    /// As far as it can: the refusal is what is told.
    fn put_back(&self, element: &Selem<'_>) {
        for (channel, volume) in &self.volumes {
            let _ = element.set_playback_volume(*channel, *volume);
        }
        for (channel, switch) in &self.switches {
            let _ = element.set_playback_switch(*channel, *switch);
        }
    }
}

fn beep() -> Sound {
    let (count, edge) = (BEEP_RATE * BEEP_MS / 1000, f64::from(BEEP_RATE * BEEP_EDGE_MS / 1000));
    let sample = |index: u32| {
        let from_end = f64::from(index.min(count - 1 - index));
        let angle = f64::from(index) * BEEP_HZ * std::f64::consts::TAU / f64::from(BEEP_RATE);
        (angle.sin() * BEEP_HEIGHT * (from_end / edge).min(1.0)).round() as i16
    };
    Sound { rate: BEEP_RATE, samples: (0..count).map(sample).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mixer_is_that_of_the_device_s_card() {
        for (device, of) in [
            ("default", "default"),
            ("hw:0", "hw:0"),
            ("plughw:1,0", "hw:1"),
            ("hw:CARD=Codec,DEV=0", "hw:Codec"),
            ("sysdefault:CARD=rockchiprk809co", "hw:rockchiprk809co"),
            ("plug:'dmix:1'", "default"),
            ("dmix:", "default"),
        ] {
            assert_eq!(card(device), of, "{device}");
        }
    }

    #[test]
    fn the_beep_is_one_kilohertz_without_a_click() {
        let beep = beep();
        assert_eq!((beep.rate, beep.samples.len()), (16_000, 1920));
        // 120 periods: it rises through zero once in each.
        let rises = beep.samples.windows(2).filter(|two| two[0] < 0 && two[1] >= 0).count();
        assert!((118..=120).contains(&rises), "{rises}");
        let steps = beep.samples.windows(2).map(|two| two[0].abs_diff(two[1])).max().unwrap();
        assert!(steps <= 5700, "{steps}");
        assert!(beep.samples[0].abs() < 10 && beep.samples[1919].abs() < 100);
        assert_eq!(beep.samples.iter().max(), Some(&14_500));
    }
}
