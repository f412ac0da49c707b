//! `menshen voice`: tries the loudspeaker.

use std::process::ExitCode;

use clap::Subcommand;
use menshen::device::voice;
use menshen::text::Language;
use menshen::text::spoken::sentences;
use menshen::{Error, Kind, Result};

use super::{ConfigArgs, say};

/// Tries the loudspeaker of device.voice, also while the agent runs.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no such sentence, or no voice.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Lists the sentences with their keys
    List(ListArgs),
    /// Says one of them
    Say(SayArgs),
    /// Beeps
    Beep(PlayArgs),
}

#[derive(clap::Args)]
struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(clap::Args)]
struct PlayArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// 0 (silent) to 15
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(0..=15))]
    volume: u8,
}

#[derive(clap::Args)]
struct SayArgs {
    #[command(flatten)]
    play: PlayArgs,
    /// As `menshen voice list` has it, such as welcome-1
    key: String,
    /// In English, whatever the language of the gate is
    #[arg(long)]
    english: bool,
}

fn open(args: &PlayArgs) -> Result<(Box<dyn voice::Voice>, Language)> {
    let config = args.config.load()?;
    let none = || {
        Error::new(Kind::NotFound, "this gate has no voice: device.voice is \"none\" in its configuration")
    };
    let mut voice = voice::open(&config.device.voice, &config.device.voice_dir)?.ok_or_else(none)?;
    voice.set_volume(args.volume)?;
    Ok((voice, config.terminal.language))
}

pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.what {
        What::List(args) => {
            for sentence in sentences(args.config.load()?.terminal.language) {
                say(format_args!("{}  {}", sentence.key, sentence.text))?;
            }
        }
        What::Say(args) => {
            let (mut voice, language) = open(&args.play)?;
            let language = if args.english { Language::English } else { language };
            let all = sentences(language);
            let sentence = all.iter().find(|sentence| sentence.key == args.key).ok_or_else(|| {
                Error::new(
                    Kind::NotFound,
                    format!("there is no sentence {:?}: see `menshen voice list`", args.key),
                )
            })?;
            voice.say(sentence.text, language)?;
            say(format_args!("said: {}", sentence.text))?;
        }
        What::Beep(args) => {
            open(args)?.0.beep()?;
            say("beeped")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
