//! `menshen doctor`: what was looked for, what was found, what to do.

use std::process::ExitCode;

use hyper::Method;
use menshen::config::Config;
use menshen::doctor::{self, Finding};
use menshen::service::admin::client::Client;
use menshen::text::Language;
use menshen::{Error, Kind, Result};

use super::{ConfigArgs, say};

/// Says of each device and part what was looked for, what was found, and what to do.
///
/// While the agent runs, it is asked about the devices that it holds.
///
/// Exit codes: 0 nothing has failed, 1 something has, 2 wrong usage.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Prints JSON: an array of findings, whose keys are stable
    #[arg(long)]
    json: bool,
    /// Language of the findings: zh-CN or en
    #[arg(long, value_parser = language, default_value = "en")]
    language: Language,
}

/// A language by its name.
pub fn language(name: &str) -> Result<Language, String> {
    match name {
        "zh-CN" | "zh" => Ok(Language::Chinese),
        "en" => Ok(Language::English),
        other => Err(format!("{other:?} is no language of this gate: zh-CN or en")),
    }
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let config = args.config.load()?;
    let findings = examine(&config);
    let well = findings.iter().all(|finding| finding.state.is_well());
    if args.json {
        let text = serde_json::to_string_pretty(&findings)
            .map_err(|error| Error::caused(Kind::Io, "the findings cannot be written", error))?;
        say(text)?;
    } else {
        for finding in &findings {
            print(finding, args.language)?;
        }
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(finding: &Finding, language: Language) -> Result<()> {
    let mark = finding.state.mark();
    let [what, looked_for, found] =
        [&finding.what, &finding.looked_for, &finding.found].map(|words| words.in_language(language));
    say(format_args!("{mark}  {what} [{looked_for}]: {found}"))?;
    match &finding.advice {
        Some(advice) => say(format_args!("      -> {}", advice.in_language(language))),
        None => Ok(()),
    }
}

/// The findings, with the agent's word on what it holds if it runs.
pub fn examine(config: &Config) -> Vec<Finding> {
    let status = config.service.admin.as_ref().and_then(|admin| {
        Client::new(admin).and_then(|client| client.request(Method::GET, "/api/v1/status", None::<&()>)).ok()
    });
    doctor::examine(config, status.as_ref().map_or(doctor::Agent::Away, doctor::Agent::Running))
}
