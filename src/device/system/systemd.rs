//! A machine run by systemd: `timedatectl`, `systemctl` and `busctl` are called as a technician would call them.
//! They ask the machine's own services over D-Bus, which permit it or not (`docs/install.md` has the rules).

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use super::networkd::Files;
use super::{NetworkSettings, NtpServer, Restart, System};
use crate::error::{Context, Error, Kind, Result};

/// How long one program may take. A service that must be started first takes a second on a slow board.
const WITHIN: Duration = Duration::from_secs(10);

/// How often it is looked whether a program has ended.
const LOOK: Duration = Duration::from_millis(10);

/// As much of a program's words as is of use.
const WORDS: u64 = 4096;

/// The only port that systemd-timesyncd asks (its configuration has no word for another).
const NTP_PORT: u16 = 123;

/// The file that tells systemd-timesyncd its server. It is in `/run`, which the machine forgets when it
/// restarts: the store is what remembers, and the gate writes it anew.
const DROP_IN: &str = "50-menshen.conf";

/// What programs say when they may not (`LC_ALL=C`).
const NOT_PERMITTED: [&str; 5] =
    ["access denied", "not permitted", "permission denied", "authentication", "not authorized"];

/// The machine under systemd.
pub struct Systemd {
    /// Folder of the programs; `None` looks in the PATH.
    programs: Option<PathBuf>,
    /// Folder of drop-ins of systemd-timesyncd.
    drop_ins: PathBuf,
    /// The file of the machine's zone.
    local_time: PathBuf,
    /// Addresses of the network cards.
    network: Files,
    within: Duration,
}

impl Systemd {
    /// This machine; what is to outlive its restart is kept in `data_dir`.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            programs: None,
            drop_ins: "/run/systemd/timesyncd.conf.d".into(),
            local_time: "/etc/localtime".into(),
            network: Files::new("/run/systemd/network", data_dir.join("network")),
            within: WITHIN,
        }
    }

    /// A machine whose programs are in `programs` and may take as long as `within`, and which keeps the rest
    /// in `folder`: for trying out what happens with programs that fail or hang.
    pub fn at(programs: &Path, folder: &Path, within: Duration) -> Self {
        Self {
            programs: Some(programs.to_owned()),
            drop_ins: folder.join("timesyncd.conf.d"),
            local_time: folder.join("localtime"),
            network: Files::new(folder.join("network.run"), folder.join("network")),
            within,
        }
    }

    /// Runs a program; answers with what it printed. Its arguments never pass a shell.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let path = self.programs.as_ref().map_or_else(|| program.into(), |folder| folder.join(program));
        // Files in memory rather than pipes: what the program leaves running cannot hold them up.
        let (mut output, mut errors) = (scratch("output")?, scratch("errors")?);
        let mut child = Command::new(&path)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(errors.try_clone()?)
            // Of its own, so that it can be ended with what it has started.
            .process_group(0)
            .spawn()
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Error::new(
                    Kind::Device,
                    format!("there is no {program} on this machine (device.system = \"systemd\" needs it)"),
                ),
                _ => Error::caused(Kind::Device, format!("{program} cannot be run: {error}"), error),
            })?;
        let until = Instant::now() + self.within;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() >= until {
                let group = rustix::process::Pid::from_child(&child);
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
                let _ = child.wait();
                return Err(Error::new(
                    Kind::Timeout,
                    format!("{program} did not end within {} s", self.within.as_secs_f32()),
                ));
            }
            std::thread::sleep(LOOK);
        };
        let output = words(&mut output)?;
        if status.success() {
            return Ok(output);
        }
        Err(failure(program, status, &words(&mut errors)?, &output))
    }

    /// Whether the machine follows NTP.
    fn follows(&self) -> Result<bool> {
        Ok(self.run("timedatectl", &["show", "--property=NTP", "--value"])?.trim() == "yes")
    }

    /// Has systemd-networkd read its files anew, and give a card what they say.
    fn reconfigure(&self, card: &str) -> Result<()> {
        self.run("networkctl", &["reload"])?;
        self.run("networkctl", &["reconfigure", card]).map(drop)
    }

    fn switch_ntp(&self, on: bool) -> Result<()> {
        let on = if on { "true" } else { "false" };
        self.run("timedatectl", &["--no-ask-password", "set-ntp", on]).map(drop)
    }

    /// Puts the drop-in in place, or takes it away.
    fn write_drop_in(&self, text: Option<&[u8]>) -> Result<()> {
        let path = self.drop_ins.join(DROP_IN);
        let outcome = match text {
            Some(text) => std::fs::create_dir_all(&self.drop_ins).and_then(|()| {
                let new = path.with_extension("new");
                std::fs::write(&new, text)?;
                // The time service is another user, whatever this one's umask is.
                std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o644))?;
                std::fs::rename(&new, &path)
            }),
            None => match std::fs::remove_file(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                outcome => outcome,
            },
        };
        outcome.map_err(|error| {
            let why = match error.kind() {
                std::io::ErrorKind::PermissionDenied => "not permitted",
                _ => "failed",
            };
            Error::caused(
                Kind::Device,
                format!("{why}: {} cannot be written: {error}", path.display()),
                error,
            )
        })
    }
}

/// A file in memory.
fn scratch(name: &str) -> Result<File> {
    let file = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(std::io::Error::from)
        .context(|| "there is no memory for the words of a program")?;
    Ok(File::from(file))
}

/// What a program wrote.
fn words(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(WORDS).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a program that failed has said, in one line.
fn failure(program: &str, status: ExitStatus, errors: &str, output: &str) -> Error {
    let said = [errors, output].into_iter().flat_map(str::lines).map(str::trim).find(|line| !line.is_empty());
    let said: String = match said {
        Some(line) => line.chars().filter(|c| !c.is_control()).take(200).collect(),
        None => status.to_string(),
    };
    let lower = said.to_ascii_lowercase();
    let why =
        if NOT_PERMITTED.iter().any(|words| lower.contains(words)) { "not permitted" } else { "failed" };
    Error::new(Kind::Device, format!("{why}: {program}: {said}"))
}

/// Puts what was attempted before why it failed, in one message: a platform is told the outermost one only.
fn attempt<T>(what: &str, outcome: Result<T>) -> Result<T> {
    outcome.map_err(|error| Error::new(error.kind(), format!("{what}: {error}")))
}

/// Says that something could not be put back as it was before an order that failed.
fn put_back(outcome: Result<()>) {
    if let Err(error) = outcome {
        tracing::error!(%error, "the machine could not be put back as it was");
    }
}

/// The name of a zone of whole hours. The sign is that of POSIX: what is west counts up.
fn zone_name(minutes: i16) -> Result<String> {
    let hours = minutes / 60;
    if minutes % 60 != 0 || !(-12..=14).contains(&hours) {
        return Err(Error::new(
            Kind::Device,
            format!("the machine has no zone {minutes} minutes ahead of UTC: use whole hours from -12 to 14"),
        ));
    }
    Ok(match hours {
        0 => "Etc/UTC".to_owned(),
        east @ 1.. => format!("Etc/GMT-{east}"),
        west => format!("Etc/GMT+{}", -west),
    })
}

impl System for Systemd {
    fn set_clock(&self, now: Timestamp) -> Result<()> {
        // With its own zone, which leaves that of the machine out of it.
        let time = format!("{} UTC", Offset::UTC.to_datetime(now).strftime("%Y-%m-%d %H:%M:%S.%3f"));
        let set = || {
            // It refuses while the machine follows NTP, and the other way round NTP would set it back.
            let followed = self.follows()?;
            let given_way = if followed { self.switch_ntp(false) } else { Ok(()) };
            let outcome = given_way
                .and_then(|()| self.run("timedatectl", &["--no-ask-password", "set-time", &time]).map(drop));
            if outcome.is_err() && followed {
                put_back(self.switch_ntp(true));
            }
            outcome
        };
        attempt("the clock cannot be set", set())
    }

    fn set_zone(&self, minutes: i16) -> Result<()> {
        let set = || {
            let zone = zone_name(minutes)?;
            self.run("timedatectl", &["--no-ask-password", "set-timezone", &zone]).map(drop)
        };
        attempt("the zone cannot be set", set())
    }

    fn zone(&self) -> Option<i16> {
        let zone = match std::fs::read(&self.local_time) {
            Ok(rules) => TimeZone::tzif("local", &rules).ok()?,
            // So says localtime(5).
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => TimeZone::UTC,
            Err(_) => return None,
        };
        i16::try_from(zone.to_offset(Timestamp::now()).seconds() / 60).ok()
    }

    fn follow_ntp(&self, server: Option<&NtpServer>) -> Result<()> {
        let path = self.drop_ins.join(DROP_IN);
        let follow = || {
            let text = match server {
                Some(server) if !matches!(server.port, 0 | NTP_PORT) => {
                    return Err(Error::new(
                        Kind::Device,
                        format!(
                            "ntpPort {}: this machine's time service asks port {NTP_PORT} only",
                            server.port
                        ),
                    ));
                }
                Some(server) if !server.host.is_empty() => {
                    // A host of the settings has no blank and no line end: see `Settings::check`.
                    Some(format!("# Written by menshen.\n[Time]\nNTP=\nNTP={}\n", server.host))
                }
                _ => None,
            };
            let before = std::fs::read(&path).ok();
            // One that does not tell followed if the gate had told it a server.
            let followed = self.follows().unwrap_or(before.is_some());
            // Off and on: the service reads its files when it starts.
            let mut switched = false;
            let outcome = self.write_drop_in(text.as_deref().map(str::as_bytes)).and_then(|()| {
                let off = self.switch_ntp(false);
                // What did not answer may have been done all the same.
                switched = off.as_ref().err().is_none_or(|error| error.kind() == Kind::Timeout);
                off?;
                if server.is_some() { self.switch_ntp(true) } else { Ok(()) }
            });
            if outcome.is_err() {
                put_back(self.write_drop_in(before.as_deref()));
                if switched {
                    put_back(self.switch_ntp(false));
                }
                if switched && followed {
                    put_back(self.switch_ntp(true));
                }
            }
            outcome
        };
        let what = if server.is_some() { "NTP cannot be followed" } else { "NTP cannot be switched off" };
        attempt(what, follow())
    }

    fn may_restart(&self) -> Result<()> {
        let asked = self.run(
            "busctl",
            &[
                "--timeout=5",
                "call",
                "org.freedesktop.login1",
                "/org/freedesktop/login1",
                "org.freedesktop.login1.Manager",
                "CanReboot",
            ],
        );
        match asked {
            // `na`, `no`, or `challenge`: somebody would have to enter a password.
            Ok(answer) if !answer.contains("\"yes\"") => Err(Error::new(
                Kind::Device,
                format!("the machine cannot be restarted: not permitted: login1 says {}", answer.trim()),
            )),
            Ok(_) => Ok(()),
            Err(error) => {
                // Without login1 only root may, and only the attempt tells.
                tracing::debug!(%error, "login1 could not be asked whether the machine may be restarted");
                Ok(())
            }
        }
    }

    fn restart(&self) -> Result<Restart> {
        let ordered = self.run("systemctl", &["--no-ask-password", "reboot"]);
        attempt("the machine cannot be restarted", ordered)?;
        Ok(Restart::Machine)
    }

    fn kept_network(&self) -> Vec<NetworkSettings> {
        self.network.kept()
    }

    fn use_network(&self, settings: &NetworkSettings) -> Result<()> {
        let set = || {
            self.network.use_settings(settings)?;
            // Also where the file was so already: the card may not have it.
            self.reconfigure(settings.name()).inspect_err(|_| {
                put_back(
                    self.network.put_back(settings.name()).and_then(|_| self.reconfigure(settings.name())),
                );
            })
        };
        attempt("the network cannot be set", set())
    }

    fn keep_network(&self, settings: &NetworkSettings) -> Result<()> {
        attempt("the settings of the network cannot be kept", self.network.keep(settings))
    }

    fn put_network_back(&self, name: &str) -> Result<()> {
        let back = self.network.put_back(name).and_then(|_| self.reconfigure(name));
        attempt("the network cannot be put back", back)
    }

    fn settle_network(&self) -> Result<()> {
        let settle = || {
            for card in self.network.cards() {
                if self.network.put_back(&card)? {
                    self.reconfigure(&card)?;
                }
            }
            Ok(())
        };
        attempt("the network is not what was kept of it", settle())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with programs that note their arguments, each in a line of its own, and then do what `does` says.
    struct Machine {
        folder: tempfile::TempDir,
        systemd: Systemd,
    }

    const SHORT: Duration = Duration::from_millis(200);

    impl Machine {
        fn new(does: &str) -> Self {
            Self::within(does, WITHIN)
        }

        fn within(does: &str, within: Duration) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let machine = Self { systemd: Systemd::at(folder.path(), folder.path(), within), folder };
            for program in ["timedatectl", "systemctl", "busctl", "networkctl"] {
                machine.program(program, does);
            }
            machine
        }

        fn program(&self, name: &str, does: &str) {
            let path = self.folder.path().join(name);
            let calls = self.folder.path().join("calls");
            let text = format!(
                "#!/bin/sh\n{{ printf '%s' '{name}'; for a in \"$@\"; do printf ' <%s>' \"$a\"; done; echo; }} >> '{}'\n{does}\n",
                calls.display()
            );
            // Written by another program: a file that this process has open for writing, if only in a child that
            // another test is just starting, cannot be run.
            let plain = path.with_extension("text");
            std::fs::write(&plain, text).unwrap();
            let installed = Command::new("install").args(["-m", "755"]).arg(&plain).arg(&path).status();
            assert!(installed.unwrap().success());
        }

        fn calls(&self) -> Vec<String> {
            let path = self.folder.path().join("calls");
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let _ = std::fs::remove_file(&path);
            text.lines().map(str::to_owned).collect()
        }

        fn drop_in(&self) -> Option<String> {
            std::fs::read_to_string(self.folder.path().join("timesyncd.conf.d").join(DROP_IN)).ok()
        }
    }

    fn at() -> Timestamp {
        "2026-03-02T04:00:00.123456Z".parse().unwrap()
    }

    const ASK: &str = "timedatectl <show> <--property=NTP> <--value>";
    const NTP_OFF: &str = "timedatectl <--no-ask-password> <set-ntp> <false>";
    const NTP_ON: &str = "timedatectl <--no-ask-password> <set-ntp> <true>";
    // systemd-analyze timestamp "2026-03-02 04:00:00.123 UTC": @1772424000.123000
    const SET: &str = "timedatectl <--no-ask-password> <set-time> <2026-03-02 04:00:00.123 UTC>";

    #[test]
    fn the_clock_is_set_in_utc_and_ntp_gives_way() {
        let machine = Machine::new("[ \"$1\" = show ] && echo no; exit 0");
        machine.systemd.set_clock(at()).unwrap();
        assert_eq!(machine.calls(), [ASK, SET]);
        machine.program("timedatectl", "[ \"$1\" = show ] && echo yes; exit 0");
        machine.systemd.set_clock(at()).unwrap();
        assert_eq!(machine.calls(), [ASK, NTP_OFF, SET]);
        // Refused: what was switched off is on again.
        machine.program(
            "timedatectl",
            "[ \"$1\" = show ] && echo yes; [ \"$2\" = set-time ] && { echo 'Failed to set time: Access denied' >&2; exit 1; }; exit 0",
        );
        let error = machine.systemd.set_clock(at()).unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (
                Kind::Device,
                "the clock cannot be set: not permitted: timedatectl: Failed to set time: Access denied"
            )
        );
        assert_eq!(machine.calls(), [ASK, NTP_OFF, SET, NTP_ON]);
    }

    #[test]
    fn zones_are_whole_hours_with_the_sign_of_posix() {
        let machine = Machine::new("exit 0");
        for (minutes, name) in [
            (480, "Etc/GMT-8"),
            (-720, "Etc/GMT+12"),
            (840, "Etc/GMT-14"),
            (0, "Etc/UTC"),
            (-60, "Etc/GMT+1"),
        ] {
            machine.systemd.set_zone(minutes).unwrap();
            assert_eq!(machine.calls(), [format!("timedatectl <--no-ask-password> <set-timezone> <{name}>")]);
            // The zone is what its name says: the database is the machine's own.
            if let Ok(rules) = std::fs::read(Path::new("/usr/share/zoneinfo").join(name)) {
                std::fs::write(machine.folder.path().join("localtime"), rules).unwrap();
                assert_eq!(machine.systemd.zone(), Some(minutes), "{name}");
            }
        }
        for minutes in [345, -30, 900, -780] {
            let error = machine.systemd.set_zone(minutes).unwrap_err();
            assert_eq!(error.kind(), Kind::Device, "{minutes}");
            assert!(error.message().contains("whole hours"), "{error}");
        }
        assert_eq!(machine.calls(), [""; 0]);
        let _ = std::fs::remove_file(machine.folder.path().join("localtime"));
        assert_eq!(machine.systemd.zone(), Some(0), "without the file it is UTC");
        std::fs::write(machine.folder.path().join("localtime"), "not a zone").unwrap();
        assert_eq!(machine.systemd.zone(), None);
    }

    #[test]
    fn ntp_is_followed_by_a_drop_in_and_put_back_when_refused() {
        let machine = Machine::new("exit 0");
        let server = |host: &str, port| NtpServer { host: host.into(), port };
        machine.systemd.follow_ntp(Some(&server("192.168.1.250", 123))).unwrap();
        let text = "# Written by menshen.\n[Time]\nNTP=\nNTP=192.168.1.250\n";
        assert_eq!(machine.drop_in().as_deref(), Some(text));
        assert_eq!(machine.calls(), [ASK, NTP_OFF, NTP_ON]);
        // Another port cannot be asked: nothing happens.
        let error = machine.systemd.follow_ntp(Some(&server("10.0.0.1", 3030))).unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        assert!(error.message().contains("ntpPort 3030"), "{error}");
        assert_eq!((machine.calls(), machine.drop_in().as_deref()), (vec![], Some(text)));
        // Not permitted: the file is as it was.
        machine.program(
            "timedatectl",
            "echo 'Failed to set ntp: Interactive authentication required.' >&2; exit 1",
        );
        let error = machine.systemd.follow_ntp(Some(&server("10.0.0.1", 0))).unwrap_err();
        assert!(error.message().starts_with("NTP cannot be followed: not permitted: "), "{error}");
        assert_eq!(machine.drop_in().as_deref(), Some(text));
        assert_eq!(machine.calls(), [ASK, NTP_OFF]);
        // Its own choice, and none.
        machine.program("timedatectl", "exit 0");
        machine.systemd.follow_ntp(Some(&server("", 0))).unwrap();
        assert_eq!(
            (machine.calls(), machine.drop_in()),
            (vec![ASK.into(), NTP_OFF.into(), NTP_ON.into()], None)
        );
        machine.systemd.follow_ntp(None).unwrap();
        assert_eq!(machine.calls(), [ASK, NTP_OFF]);
    }

    #[test]
    fn a_server_that_cannot_be_followed_leaves_the_one_before() {
        let machine = Machine::new("[ \"$1\" = show ] && echo no; exit 0");
        let server = |host: &str| NtpServer { host: host.into(), port: 0 };
        machine.systemd.follow_ntp(Some(&server("192.168.1.250"))).unwrap();
        let before = machine.drop_in();
        assert!(before.is_some());
        machine.calls();
        // It lets NTP be switched off, and on only where the server is the one of before.
        let refuse = format!(
            "[ \"$1\" = show ] && echo yes; [ \"$3\" = true ] && ! grep -q 192.168.1.250 '{}' && exit 1; exit 0",
            machine.folder.path().join("timesyncd.conf.d").join(DROP_IN).display()
        );
        machine.program("timedatectl", &refuse);
        let error = machine.systemd.follow_ntp(Some(&server("10.0.0.1"))).unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        assert_eq!(machine.drop_in(), before);
        assert_eq!(machine.calls(), [ASK, NTP_OFF, NTP_ON, NTP_OFF, NTP_ON]);
        // Nothing was followed before: it is off again.
        machine.program("timedatectl", &refuse.replace("echo yes", "echo no"));
        machine.systemd.follow_ntp(Some(&server("10.0.0.1"))).unwrap_err();
        assert_eq!(machine.calls(), [ASK, NTP_OFF, NTP_ON, NTP_OFF]);
        // Switching it off does not answer, and may have been done.
        let hangs = Machine::within(
            "[ \"$1\" = show ] && echo yes; [ \"$3\" = false ] && exec sleep 1000; exit 0",
            SHORT,
        );
        let error = hangs.systemd.follow_ntp(None).unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout);
        assert_eq!(hangs.calls(), [ASK, NTP_OFF, NTP_OFF, NTP_ON]);
        let error = hangs.systemd.set_clock(at()).unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout);
        assert_eq!(hangs.calls(), [ASK, NTP_OFF, NTP_ON]);
    }

    #[test]
    fn the_machine_restarts_if_login1_permits() {
        let machine = Machine::new("echo 's \"yes\"'");
        machine.systemd.may_restart().unwrap();
        assert_eq!(
            machine.calls(),
            ["busctl <--timeout=5> <call> <org.freedesktop.login1> </org/freedesktop/login1> \
                <org.freedesktop.login1.Manager> <CanReboot>"]
        );
        assert_eq!(machine.systemd.restart().unwrap(), Restart::Machine);
        assert_eq!(machine.calls(), ["systemctl <--no-ask-password> <reboot>"]);
        machine.program("busctl", "echo 's \"challenge\"'");
        let error = machine.systemd.may_restart().unwrap_err();
        assert!(error.message().contains("not permitted: login1 says s \"challenge\""), "{error}");
        machine.program("systemctl", "echo 'Call to Reboot failed: Access denied' >&2; exit 1");
        let error = machine.systemd.restart().unwrap_err();
        assert_eq!(
            error.message(),
            "the machine cannot be restarted: not permitted: systemctl: Call to Reboot failed: Access denied"
        );
    }

    const RELOAD: &str = "networkctl <reload>";
    const ETH0: &str = "networkctl <reconfigure> <eth0>";

    fn card(address: &str) -> NetworkSettings {
        let order = crate::device::system::NetworkOrder {
            name: "eth0".into(),
            address: address.into(),
            ..Default::default()
        };
        NetworkSettings::of(&order).unwrap()
    }

    #[test]
    fn an_address_is_used_at_once_and_kept_only_when_it_is_kept() {
        let machine = Machine::new("exit 0");
        let file = |folder: &str| {
            std::fs::read_to_string(machine.folder.path().join(folder).join("10-menshen-eth0.network")).ok()
        };
        let (first, second) = (card("192.168.1.20/24"), card("192.168.1.30/24"));
        machine.systemd.use_network(&first).unwrap();
        assert_eq!(machine.calls(), [RELOAD, ETH0]);
        assert_eq!((file("network.run"), file("network")), (Some(first.file()), None));
        let path = machine.folder.path().join("network.run/10-menshen-eth0.network");
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o644, "systemd-networkd is another user");
        // Nobody has kept it: a start, as after a power cut, leaves nothing of it.
        machine.systemd.settle_network().unwrap();
        assert_eq!(machine.calls(), [RELOAD, ETH0]);
        assert_eq!((file("network.run"), machine.systemd.kept_network()), (None, vec![]));
        machine.systemd.settle_network().unwrap();
        assert_eq!(machine.calls(), [""; 0], "there is nothing to do");
        // Kept, and the next one put back.
        machine.systemd.use_network(&first).unwrap();
        machine.systemd.keep_network(&first).unwrap();
        machine.systemd.use_network(&second).unwrap();
        assert_eq!(
            (file("network.run"), machine.systemd.kept_network()),
            (Some(second.file()), vec![first.clone()])
        );
        machine.calls();
        machine.systemd.put_network_back("eth0").unwrap();
        assert_eq!(machine.calls(), [RELOAD, ETH0]);
        assert_eq!(file("network.run"), Some(first.file()));
        // The machine forgets what is in /run; a start puts it there.
        std::fs::remove_dir_all(machine.folder.path().join("network.run")).unwrap();
        machine.systemd.settle_network().unwrap();
        assert_eq!(
            (machine.calls(), file("network.run")),
            (vec![RELOAD.into(), ETH0.into()], Some(first.file()))
        );
        // Somebody else's file of the same kind is not ours to read.
        std::fs::write(machine.folder.path().join("network/10-menshen-eth9.network"), "[Match]\n").unwrap();
        assert_eq!(machine.systemd.kept_network(), [first]);
    }

    #[test]
    fn an_address_that_is_refused_leaves_the_one_before() {
        let machine = Machine::new("exit 0");
        let file = || {
            std::fs::read_to_string(machine.folder.path().join("network.run/10-menshen-eth0.network")).ok()
        };
        let (first, second) = (card("192.168.1.20/24"), card("192.168.1.30/24"));
        machine.systemd.use_network(&first).unwrap();
        machine.systemd.keep_network(&first).unwrap();
        machine.calls();
        machine.program(
            "networkctl",
            "[ \"$1\" = reload ] && exit 0; grep -q 1.30 '@' && { echo 'Failed to reconfigure: Access denied' >&2; exit 1; }; exit 0"
                .replace('@', &machine.folder.path().join("network.run/10-menshen-eth0.network").display().to_string())
                .as_str(),
        );
        let error = machine.systemd.use_network(&second).unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (
                Kind::Device,
                "the network cannot be set: not permitted: networkctl: Failed to reconfigure: Access denied"
            )
        );
        assert_eq!(machine.calls(), [RELOAD, ETH0, RELOAD, ETH0]);
        assert_eq!(file(), Some(first.file()));
        // A folder that the agent may not write, as far as a test that may do all can make one.
        let folder = machine.folder.path().join("network.run");
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::write(&folder, "").unwrap();
        let error = machine.systemd.use_network(&second).unwrap_err();
        assert!(error.message().starts_with("the network cannot be set: "), "{error}");
        assert_eq!(machine.calls(), [""; 0]);
    }

    #[test]
    fn a_program_that_hangs_or_is_not_there_is_given_up() {
        // What it leaves running holds its output open.
        let machine = Machine::within("sleep 1000 & sleep 1000", SHORT);
        let error = machine.systemd.set_zone(480).unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout);
        assert!(error.message().contains("timedatectl did not end within 0.2 s"), "{error}");
        let nowhere = Systemd::at(Path::new("/nowhere"), machine.folder.path(), SHORT);
        let error = nowhere.set_zone(480).unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        assert!(error.message().contains("there is no timedatectl on this machine"), "{error}");
        // Silent failure, and more words than anybody wants.
        let machine = Machine::new("exit 3");
        let error = machine.systemd.set_zone(480).unwrap_err();
        assert!(error.message().contains("failed: timedatectl: exit status: 3"), "{error}");
        machine.program("timedatectl", "yes failing | head -c 1000000 >&2; exit 1");
        let error = machine.systemd.set_zone(480).unwrap_err();
        assert!(error.message().ends_with("failed: timedatectl: failing"), "{error}");
    }

    #[test]
    fn arguments_pass_no_shell() {
        let machine = Machine::new("exit 0");
        machine.systemd.run("timedatectl", &["$(reboot); `id` 'a' \"b\" *"]).unwrap();
        assert_eq!(machine.calls(), ["timedatectl <$(reboot); `id` 'a' \"b\" *>"]);
    }
}
