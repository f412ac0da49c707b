//! `menshen log`: the last lines of the gate's log.

use std::process::ExitCode;
use std::time::Duration;

use menshen::Result;
use menshen::console::orders::Orders;

use super::people::plain;
use super::{ConfigArgs, say};

/// Between two looks at the log.
const LOOK: Duration = Duration::from_secs(1);

/// The last lines of the gate's log: those that the running agent keeps in memory, or else the journal of its service.
///
/// Exit codes: 0 done, 1 there is no log to be had, 2 wrong usage.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// How many lines at most
    #[arg(short = 'n', long, default_value_t = 50, value_name = "NUMBER")]
    lines: usize,
    /// Goes on with what comes, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let config = args.config.load()?;
    let offset_s = i32::from(config.settings.time.utc_offset_minutes) * 60;
    let orders = Orders::new(&config, args.config.path());
    let mut after = 0;
    let mut most = args.lines;
    loop {
        let answer = orders.log(after)?;
        let lines = answer["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
        for line in &lines[lines.len().saturating_sub(most)..] {
            if args.json {
                say(line)?;
            } else {
                say(plain(&menshen::log::shown(line, offset_s)))?;
            }
        }
        // A journal has no numbers to go on from.
        let Some(last) = answer["last"].as_u64().filter(|_| args.follow) else {
            return Ok(ExitCode::SUCCESS);
        };
        // A number that has gone down is another run of the agent.
        after = if last < after { 0 } else { last };
        most = usize::MAX;
        std::thread::sleep(LOOK);
    }
}
