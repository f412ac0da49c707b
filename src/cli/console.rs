//! `menshen console`.

use std::process::ExitCode;

use menshen::Result;
use menshen::console::{self, Options};
use menshen::text::Language;

use super::ConfigArgs;
use super::doctor::language;

/// The text screen for the serial line: status, log, cameras, door, people, records, network, platforms, update,
/// doctor, diagnosis, factory reset.
///
/// Needs a terminal of 80 columns and 24 lines that understands what a VT100 does. It is a client of the running
/// agent (service.admin).
///
/// Exit codes: 0 left, 1 failed, 2 wrong usage.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// English in ASCII letters alone; chosen by itself where the locale has no UTF-8
    #[arg(long)]
    ascii: bool,
    /// Language: zh-CN or en; the gate's own if not given
    #[arg(long, value_parser = language)]
    language: Option<Language>,
    /// Columns and lines, for a line that does not say them and a terminal of another size
    #[arg(long, value_name = "80x24", value_parser = size)]
    size: Option<(usize, usize)>,
}

fn size(text: &str) -> Result<(usize, usize), String> {
    text.split_once('x')
        .and_then(|(columns, lines)| Some((columns.parse().ok()?, lines.parse().ok()?)))
        .filter(|(columns, lines)| (20..=200).contains(columns) && (5..=80).contains(lines))
        .ok_or_else(|| format!("{text:?} is no size such as 80x24 (20x5 to 200x80)"))
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let config = args.config.load()?;
    let ascii = args.ascii || !console::locale_has_unicode(|name| std::env::var(name).ok());
    console::run(Options {
        language: args.language.unwrap_or(config.terminal.language),
        config,
        config_file: args.config.path().to_owned(),
        ascii,
        size: args.size,
    })?;
    Ok(ExitCode::SUCCESS)
}
