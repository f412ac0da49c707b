//! The voice through ALSA without a sound card: what its `file` plugin gets is the sentence at its volume.

mod support {
    pub mod process;
}

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use menshen::device::voice::{AlsaVoice, Voice};
use menshen::text::Language;
use support::process::{menshen, prepared};

/// A folder with ALSA's configuration, in which `out/KIND.raw` is what a loudspeaker would have heard.
struct Loudspeakers(tempfile::TempDir);

impl Loudspeakers {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        std::fs::create_dir(&out).unwrap();
        let out = out.display();
        // "mono" takes what it gets; "card" is one channel at 16 kHz to whoever opens it, and has two at 48 kHz; "pair"
        // takes exactly two channels.
        let text = format!(
            "</usr/share/alsa/alsa.conf>\n\
             pcm.nobody {{ type null }}\n\
             pcm.mono {{ type file slave.pcm nobody file \"{out}/mono.raw\" format raw }}\n\
             pcm.wide {{ type file slave.pcm nobody file \"{out}/card.raw\" format raw }}\n\
             pcm.card {{ type plug slave {{ pcm wide format S16_LE rate 48000 channels 2 }} }}\n\
             pcm.pair {{ type multi slaves.a {{ pcm wide channels 2 }} \
             bindings.0 {{ slave a channel 0 }} bindings.1 {{ slave a channel 1 }} }}\n"
        );
        std::fs::write(folder.path().join("asound.conf"), text).unwrap();
        Self(folder)
    }

    fn alsa(&self, command: &mut Command) {
        command.env("ALSA_CONFIG_PATH", self.0.path().join("asound.conf"));
    }

    fn heard(&self, name: &str) -> Vec<i16> {
        samples(&std::fs::read(self.0.path().join("out").join(format!("{name}.raw"))).unwrap())
    }

    fn forget(&self, name: &str) {
        std::fs::remove_file(self.0.path().join("out").join(format!("{name}.raw"))).unwrap();
    }

    /// `menshen voice` at a gate with this device and these sentences.
    fn voice(&self, device: &str, sentences: &Path, arguments: &[&str]) -> Output {
        let config = self.0.path().join("menshen.toml");
        let text = format!("[device]\nvoice = \"{device}\"\nvoice_dir = {sentences:?}\n");
        std::fs::write(&config, text).unwrap();
        let mut command = menshen();
        self.alsa(&mut command);
        command.arg("voice").args(arguments).arg("--config").arg(config).output().unwrap()
    }
}

fn samples(bytes: &[u8]) -> Vec<i16> {
    bytes.chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]])).collect()
}

/// The samples of a file of the set-up, which begin behind the 44 bytes of its header.
fn sentence(file: &str) -> Vec<i16> {
    samples(&std::fs::read(prepared(".setup/voice").join(file)).unwrap()[44..])
}

/// What went out is `wanted` times `factor`, rounded, and nothing more than silence behind it.
fn assert_heard(heard: &[i16], wanted: &[i16], factor: f64) {
    assert!(heard.len() >= wanted.len(), "{} of {} samples", heard.len(), wanted.len());
    for (index, (heard, wanted)) in heard.iter().zip(wanted).enumerate() {
        let wanted = f64::from(*wanted) * factor;
        assert!((f64::from(*heard) - wanted).abs() <= 1.0, "sample {index}: {heard} for {wanted}");
    }
    assert!(heard[wanted.len()..].iter().all(|sample| *sample == 0));
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_sentence_is_heard_at_its_volume() {
    let loudspeakers = Loudspeakers::new();
    let sentences = prepared(".setup/voice");
    // Decibels below the loudest: 0, 14, 28, and silence.
    for (volume, factor) in [("15", 1.0), ("8", 0.199_526), ("1", 0.039_811), ("0", 0.0)] {
        let output = loudspeakers.voice("alsa:mono", &sentences, &["say", "welcome-1", "--volume", volume]);
        assert!(output.status.success(), "{}", said(&output));
        assert_heard(&loudspeakers.heard("mono"), &sentence("welcome-1.zh-CN.wav"), factor);
        loudspeakers.forget("mono");
    }
    let output =
        loudspeakers.voice("alsa:mono", &sentences, &["say", "welcome-1", "--english", "--volume", "15"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "said: Recognised\n");
    assert_heard(&loudspeakers.heard("mono"), &sentence("welcome-1.en.wav"), 1.0);
    loudspeakers.forget("mono");
    let output = loudspeakers.voice("alsa:mono", &sentences, &["beep", "--volume", "15"]);
    assert!(output.status.success(), "{}", said(&output));
    let beep = loudspeakers.heard("mono");
    let last = beep.iter().rposition(|sample| *sample != 0).unwrap();
    assert!((1900..1920).contains(&last), "120 ms: {last}");
    assert_eq!(beep.iter().max(), Some(&14_500));
}

#[test]
fn a_card_of_another_rate_hears_the_same() {
    let loudspeakers = Loudspeakers::new();
    let output =
        loudspeakers.voice("alsa:card", &prepared(".setup/voice"), &["say", "welcome-1", "--volume", "15"]);
    assert!(output.status.success(), "{}", said(&output));
    let heard = loudspeakers.heard("card");
    assert!(heard.chunks_exact(2).all(|both| both[0] == both[1]), "both channels say the same");
    let left: Vec<f64> = heard.iter().step_by(2).map(|sample| f64::from(*sample)).collect();
    let wanted: Vec<f64> = sentence("welcome-1.zh-CN.wav").into_iter().map(f64::from).collect();
    // Three times the samples, and all that was said is there: less would be a sentence cut off at its end.
    assert!(left.len() >= 3 * wanted.len() - 3 * 160, "{} for {}", left.len(), wanted.len());
    let energy = |samples: &[f64]| samples.iter().map(|sample| sample * sample).sum::<f64>();
    let ratio = energy(&left) / energy(&wanted) / 3.0;
    assert!((0.7..1.1).contains(&ratio), "{ratio}");
}

#[test]
fn what_is_wrong_is_said() {
    let loudspeakers = Loudspeakers::new();
    let sentences = prepared(".setup/voice");
    let output = loudspeakers.voice("alsa:nowhere", &sentences, &["beep"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("the loudspeaker alsa:nowhere cannot be opened"), "{}", said(&output));
    assert!(said(&output).contains("is it plugged in"), "{}", said(&output));
    let output = loudspeakers.voice("alsa:mono", &sentences, &["say", "goodbye"]);
    assert_eq!(output.status.code(), Some(3));
    let output = loudspeakers.voice("none", &sentences, &["beep"]);
    assert_eq!(output.status.code(), Some(3));
    // A folder of another day.
    let broken = loudspeakers.0.path().join("broken");
    std::fs::create_dir(&broken).unwrap();
    let whole = std::fs::read(sentences.join("welcome-1.zh-CN.wav")).unwrap();
    std::fs::write(broken.join("welcome-1.zh-CN.wav"), &whole[..whole.len() / 2]).unwrap();
    let output = loudspeakers.voice("alsa:mono", &broken, &["say", "welcome-1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("is cut short"), "{}", said(&output));
    assert!(!loudspeakers.0.path().join("out/mono.raw").exists(), "nothing was heard");
}

/// Tells the part of the test that runs in a process of its own where it is: ALSA reads the environment, which a
/// process with threads must not change.
const INSIDE: &str = "MENSHEN_TEST_LOUDSPEAKERS";

#[test]
fn a_loudspeaker_that_was_pulled_out_speaks_again() {
    let Some(folder) = std::env::var_os(INSIDE).map(PathBuf::from) else {
        let loudspeakers = Loudspeakers::new();
        let mut inside = Command::new(std::env::current_exe().unwrap());
        loudspeakers.alsa(&mut inside);
        inside.args(["--exact", "a_loudspeaker_that_was_pulled_out_speaks_again"]);
        let output = inside.env(INSIDE, loudspeakers.0.path()).output().unwrap();
        assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), said(&output));
        assert_heard(&loudspeakers.heard("mono"), &sentence("prompt-card.zh-CN.wav"), 0.398_107);
        return;
    };
    // A device that does not take one channel is asked through ALSA's own converter.
    let examined = |device: &str| AlsaVoice::new(device, &prepared(".setup/voice")).unwrap().examine();
    assert_eq!(examined("mono").unwrap(), "alsa:mono, volume in software");
    assert_eq!(examined("pair").unwrap(), "alsa:pair, converted by ALSA, volume in software");
    examined("nowhere").unwrap_err();
    let mut voice = AlsaVoice::new("mono", &prepared(".setup/voice")).unwrap();
    voice.set_volume(11).unwrap();
    // ALSA knows it no more, as when a card is pulled out; its library reads another file's configuration anew.
    let (here, away) = (folder.join("asound.conf"), folder.join("away.conf"));
    std::fs::rename(&here, &away).unwrap();
    std::fs::write(&here, "</usr/share/alsa/alsa.conf>\n").unwrap();
    let error = voice.say("请刷卡", Language::Chinese).unwrap_err();
    assert_eq!(error.kind(), menshen::Kind::Device, "{error}");
    assert!(error.message().contains("is it plugged in"), "{error}");
    voice.beep().unwrap_err();
    // A volume that cannot be is refused, and the one before holds.
    voice.set_volume(16).unwrap_err();
    std::fs::rename(&away, &here).unwrap();
    voice.say("请刷卡", Language::Chinese).unwrap();
}
