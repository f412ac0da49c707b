//! `menshen doctor`: what was looked for, what was found, what to do.

use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use menshen::clock::{AdjustedClock, SystemClock};
use menshen::config::{Camera, Config};
use menshen::platform::terminal_ws::address::Address;
use menshen::vision::Models;
use menshen::{Error, Kind, Result, device};
use serde::Serialize;

use super::{ConfigArgs, say};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// How one thing is.
#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    well: bool,
    found: String,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let config = args.config.load()?;
    let findings = examine(&config);
    let well = findings.iter().all(|finding| finding.well);
    if args.json {
        let text = serde_json::to_string_pretty(&findings)
            .map_err(|error| Error::caused(Kind::Io, "the findings cannot be written", error))?;
        say(text)?;
    } else {
        for finding in &findings {
            let mark = if finding.well { "ok  " } else { "FAIL" };
            say(format_args!("{mark}  {}: {}", finding.what, finding.found))?;
        }
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The machine, and whether it may be restarted.
fn machine(name: &str, data_dir: &std::path::Path) -> Result<String> {
    let clock = AdjustedClock::new(Arc::new(SystemClock));
    let machine = device::system::open(name, clock, data_dir)?;
    if name != "none" {
        machine.may_restart()?;
    }
    Ok(name.to_owned())
}

fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut note = |what: String, outcome: Result<String>| {
        let well = outcome.is_ok();
        let found = outcome.unwrap_or_else(|error| error.to_string());
        findings.push(Finding { what, well, found });
    };
    note("data folder".into(), data_folder(config));
    note("models".into(), models(config));
    for (index, camera) in config.camera.iter().enumerate() {
        note(format!("camera {index}"), look_through(camera, index));
    }
    if config.camera.is_empty() {
        note("cameras".into(), Err(Error::new(Kind::Config, "none is configured: add a [[camera]] table")));
    }
    let relay = device::relay::open(&config.device.relay);
    note("relay".into(), relay.map(|_| config.device.relay.clone()));
    let wiegand = device::wiegand::open(&config.device.wiegand_out);
    note("Wiegand output".into(), wiegand.map(|_| config.device.wiegand_out.clone()));
    note("voice".into(), voice(config));
    note("watchdog".into(), device::watchdog::examine(&config.device.watchdog));
    note("clock".into(), clock());
    note("machine".into(), machine(&config.device.system, &config.terminal.data_dir));
    if let Some(qyzn) = &config.platform.qyzn {
        note("QYZN platform".into(), reach(&qyzn.server));
    }
    if let Some(terminal_ws) = &config.platform.terminal_ws {
        let address = Address::parse(&terminal_ws.url, &config.terminal.serial);
        let reached = address.and_then(|Address { host, port, .. }| match host.contains(':') {
            true => reach(&format!("[{host}]:{port}")),
            false => reach(&format!("{host}:{port}")),
        });
        note("WebSocket platform".into(), reached);
    }
    if let Some(admin) = &config.service.admin {
        note("page".into(), page(admin.listen));
    }
    findings
}

/// The loudspeaker, and the sentences that visitors of this gate hear.
fn voice(config: &Config) -> Result<String> {
    let folder = &config.device.voice_dir;
    let Some(name) = config.device.voice.strip_prefix("alsa:") else {
        return device::voice::open(&config.device.voice, folder).map(|_| config.device.voice.clone());
    };
    let found = device::voice::AlsaVoice::new(name, folder)?.examine()?;
    let sentences = device::voice::check_sentences(folder, config.terminal.language)?;
    Ok(format!("{found}, {sentences} sentences in {}", folder.display()))
}

/// The machine's clock, and the one that runs on while it is off.
fn clock() -> Result<String> {
    /// Seconds that a real-time clock may be off.
    const OFF: i64 = 60;
    let now = jiff::Timestamp::now();
    if let Some(lost) = menshen::clock::lost(now) {
        return Err(Error::new(Kind::Device, lost));
    }
    let Ok(text) = std::fs::read_to_string("/sys/class/rtc/rtc0/since_epoch") else {
        return Ok(format!(
            "{now}; no real-time clock: after a power cut the time comes from a platform or NTP"
        ));
    };
    let off = text
        .trim()
        .parse::<i64>()
        .map_or(i64::MAX, |seconds| seconds.saturating_sub(now.as_second()).saturating_abs());
    if off > OFF {
        return Err(Error::new(
            Kind::Device,
            format!(
                "the real-time clock is off by {off} s: `timedatectl` tells of both; setting the time sets it too"
            ),
        ));
    }
    Ok(format!("{now}, and so the real-time clock"))
}

fn data_folder(config: &Config) -> Result<String> {
    let folder = &config.terminal.data_dir;
    if !folder.exists() {
        return Ok(format!("{} does not exist yet: the first start makes it", folder.display()));
    }
    let stat = rustix::fs::statvfs(folder).map_err(|error| {
        Error::caused(Kind::Io, format!("{} cannot be looked at", folder.display()), error)
    })?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize) >> 20;
    let needed = config.store.hard_limit_mib;
    if rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_err() {
        return Err(Error::new(Kind::Io, format!("{} cannot be written by this user", folder.display())));
    }
    let shortage = if free < 64 { "; that is too little: free some space" } else { "" };
    let text = format!("{}, {free} MiB free, the store may grow to {needed} MiB{shortage}", folder.display());
    if free < 64 { Err(Error::new(Kind::Full, text)) } else { Ok(text) }
}

fn models(config: &Config) -> Result<String> {
    let models = Models::open(&config.vision.models_dir, &config.vision.onnxruntime)?;
    let manifest = models.manifest();
    let liveness = manifest.liveness.as_ref().map_or("none", |model| model.name.as_str());
    Ok(format!("{}, {}, liveness {liveness}", manifest.detector.name, models.embedder_id()))
}

fn look_through(camera: &Camera, index: usize) -> Result<String> {
    let mut device = device::camera::open(camera, index, Arc::new(SystemClock))?;
    let frame = device.capture(Vec::new())?;
    let (width, height) = frame.size();
    Ok(format!("{} delivers {width} x {height} {:?}", camera.source, frame.format()))
}

fn reach(server: &str) -> Result<String> {
    let unreachable = |error: std::io::Error| {
        Error::caused(
            Kind::Network,
            format!("{server} cannot be reached: check the address, the cable and the platform"),
            error,
        )
    };
    let address = server
        .to_socket_addrs()
        .map_err(unreachable)?
        .next()
        .ok_or_else(|| Error::new(Kind::Network, format!("{server} has no address")))?;
    TcpStream::connect_timeout(&address, PATIENCE).map_err(unreachable)?;
    Ok(format!("{server} accepts connections"))
}

fn page(listen: std::net::SocketAddr) -> Result<String> {
    match std::net::TcpListener::bind(listen) {
        Ok(_) => Ok(format!("{listen} is free for the agent")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Ok(format!("{listen} is in use, by the agent if it runs"))
        }
        Err(error) => Err(Error::caused(Kind::Network, format!("the page cannot listen on {listen}"), error)),
    }
}
