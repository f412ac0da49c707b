//! `menshen check`.

use std::process::ExitCode;

use menshen::store::{self, CheckReport, Done};
use menshen::{Error, Kind, Result};

use super::{ConfigArgs, say};

/// The exit code when something was found that nothing was done about.
const DAMAGED: u8 = 5;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Repairs what can be repaired; the agent must not be running
    #[arg(long)]
    repair: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let config = args.config.load()?;
    let options = store::Options { data_dir: config.terminal.data_dir, config: config.store };
    let report = store::check(&options, args.repair)?;
    if args.json {
        let text = serde_json::to_string_pretty(&report)
            .map_err(|error| Error::caused(Kind::Io, "the report cannot be written", error))?;
        say(text)?;
    } else {
        print(&report)?;
    }
    Ok(if report.in_order() { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
}

fn print(report: &CheckReport) -> Result<()> {
    for finding in &report.findings {
        let row = finding.row.map(|row| format!(" row {row}")).unwrap_or_default();
        let done = match finding.done {
            Done::Nothing => "nothing was done: run with --repair",
            Done::Repaired => "repaired",
            Done::Removed => "removed",
            Done::Reenrol => "will be enrolled again from its picture",
        };
        say(format_args!("{}{row}: {}; {done}", finding.table, finding.problem))?;
    }
    if let Some(counts) = &report.counts {
        say(format_args!(
            "{} people, {} faces, {} records, {} bytes",
            counts.people, counts.faces, counts.records, counts.bytes
        ))?;
    }
    say(match (report.findings.is_empty(), report.in_order()) {
        (true, _) => "the store is in order",
        (false, true) => "the store is in order again",
        (false, false) => "the store is damaged",
    })
}
