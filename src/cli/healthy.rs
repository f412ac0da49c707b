//! `menshen healthy`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use menshen::service::admin::client::Client;
use menshen::update::attempt::{Notes, Trouble};
use menshen::update::choice::{Copies, FOLDER, Slot};
use menshen::update::health::Health;
use menshen::update::{Installer as _, Mark, rauc::Rauc};
use menshen::{Error, Kind, Result};

use super::{ConfigArgs, say};

/// Between two questions.
const LOOK: Duration = Duration::from_secs(1);

/// Asks the agent of this gate whether it is healthy, until it is, or until the time is up.
///
/// With --confirm it decides whether a new version stays. A healthy system is marked as good, and gets all its
/// attempts to boot again. A system on trial that is not healthy in time ends this with 1: the unit that runs it
/// restarts the machine then, and the boot loader goes back when the attempts are used up. A system that was good
/// before stays good: a broken camera must not send a gate to an older version.
///
/// Exit codes: 0 healthy (or, with --confirm, not on trial), 1 not healthy.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Seconds until it must be healthy; without it one look decides
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    within: u64,
    /// Seconds for which it must stay healthy, in one run of the agent
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    steady: u64,
    /// Marks the system as good, or leaves its trouble for the one that follows
    #[arg(long)]
    confirm: bool,
    /// Where the boot partition is mounted
    #[arg(long, value_name = "DIR", default_value = FOLDER, hide = true)]
    boot: PathBuf,
    /// The kernel's command line, which names the slot that runs
    #[arg(long, value_name = "FILE", default_value = "/proc/cmdline", hide = true)]
    command_line: PathBuf,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let booted = std::fs::read_to_string(&args.command_line).ok().and_then(|line| Slot::booted(&line));
    let trial = Copies::new(&args.boot).read().ok().and_then(|choice| choice.trial);
    let on_trial = booted.is_some() && booted == trial;
    let outcome = args.config.load().and_then(|config| {
        let admin = config.service.admin.as_ref().ok_or_else(|| {
            Error::new(Kind::Config, "the agent is asked through service.admin, which is not configured")
        })?;
        let notes = Notes::new(config.terminal.data_dir.join("update"));
        Ok((Client::new(admin)?, notes))
    });
    let (client, notes) = match outcome {
        Ok(parts) => parts,
        Err(error) if !args.confirm => return Err(error),
        // What cannot even be asked cannot leave a note either.
        Err(error) => return decide(on_trial, &error.to_string(), None, None),
    };
    match wait(&client, Duration::from_secs(args.within), Duration::from_secs(args.steady)) {
        Ok(()) if args.confirm => {
            let nothing: Option<&()> = None;
            match client.request(hyper::Method::POST, "/api/v1/update/confirm", nothing) {
                Ok(_) => {
                    say("healthy: this system is good")?;
                    Ok(ExitCode::SUCCESS)
                }
                Err(error) if on_trial => {
                    let why = format!("it is healthy, and cannot be marked as good: {error}");
                    let trouble = Trouble { slot: booted, why: why.clone() };
                    decide(on_trial, &why, Some(&client), Some((&notes, trouble)))
                }
                // To fail here would restart the machine, for ever.
                Err(error) => {
                    eprintln!("menshen: its slot cannot be marked as good: {error}");
                    say("healthy: it was good before and stays")?;
                    Ok(ExitCode::SUCCESS)
                }
            }
        }
        Ok(()) => {
            say("healthy")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(why) if args.confirm => {
            decide(on_trial, &why, Some(&client), Some((&notes, Trouble { slot: booted, why: why.clone() })))
        }
        Err(why) => {
            say(format_args!("not healthy: {why}"))?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What becomes of a system that is not healthy.
fn decide(
    on_trial: bool,
    why: &str,
    client: Option<&Client>,
    trouble: Option<(&Notes, Trouble)>,
) -> Result<ExitCode> {
    eprintln!("menshen: this system is not healthy: {why}");
    if on_trial {
        if let Some((notes, trouble)) = trouble
            && let Err(error) = notes.keep_trouble(&trouble)
        {
            eprintln!("menshen: the reason cannot be left for the system of before: {error}");
        }
        eprintln!("menshen: it is on trial and has failed");
        return Ok(ExitCode::FAILURE);
    }
    let nothing: Option<&()> = None;
    let confirmed = client
        .ok_or_else(|| Error::new(Kind::Config, "there is no agent to ask"))
        .and_then(|client| client.request(hyper::Method::POST, "/api/v1/update/confirm", nothing).map(drop));
    if confirmed.is_err()
        && let Err(error) = Rauc::default().mark(Mark::Good)
    {
        eprintln!("menshen: its slot cannot be marked as good: {error}");
    }
    say("it was good before and stays")?;
    Ok(ExitCode::SUCCESS)
}

/// Waits until it is healthy, and has been for `steady` in one run; otherwise why it is not.
fn wait(client: &Client, within: Duration, steady: Duration) -> Result<(), String> {
    let until = Instant::now() + within;
    let mut since: Option<(Instant, String)> = None;
    loop {
        let why = match look(client) {
            Ok((run, health)) if health.healthy => {
                let begun = match since.take() {
                    Some((begun, same)) if same == run => begun,
                    _ => Instant::now(),
                };
                if begun.elapsed() >= steady {
                    return Ok(());
                }
                since = Some((begun, run));
                format!("it was healthy for {} s only", begun.elapsed().as_secs())
            }
            Ok((_, health)) => {
                since = None;
                health.reasons.join("; ")
            }
            Err(error) => {
                since = None;
                error.to_string()
            }
        };
        if Instant::now() >= until {
            return Err(why);
        }
        std::thread::sleep(LOOK);
    }
}

fn look(client: &Client) -> Result<(String, Health)> {
    let nothing: Option<&()> = None;
    let answer = client.request(hyper::Method::GET, "/api/v1/health", nothing)?;
    let run = answer["run"].as_str().unwrap_or_default().to_owned();
    let reasons = answer["reasons"].as_array().into_iter().flatten();
    let reasons = reasons.filter_map(|reason| reason.as_str().map(str::to_owned)).collect();
    Ok((run, Health { healthy: answer["healthy"] == true, reasons }))
}
