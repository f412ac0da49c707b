//! A card service of the test's own: pcscd in the foreground, with its own folder of readers and its own socket, and readers
//! of vpcd that take virtual cards. It runs in a mount namespace, because its socket has a fixed path.
#![allow(dead_code, reason = "each test uses its part")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::process::{PATIENCE, Process};

/// Where a test finds its folder when it runs in a process of its own.
const FOLDER: &str = "MENSHEN_TEST_PCSCD";

/// Mounts the test's folder over that of the socket, and becomes pcscd.
const START: &str = "mount -t tmpfs none /run && mkdir /run/pcscd && mount --bind \"$1/ipc\" /run/pcscd && \
                     exec pcscd --foreground --info --config \"$1/readers\"";

/// Runs a test in a process of its own: the client's library takes the path of the socket from the environment, once. `name`
/// is the test's own.
pub fn alone(name: &str, test: impl FnOnce(&Path)) {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return test(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .env(FOLDER, folder.path())
        .env("PCSCLITE_CSOCK_NAME", folder.path().join("ipc/pcscd.comm"))
        .output()
        .unwrap();
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{failed}");
}

/// The service, until it is dropped.
pub struct Pcscd {
    process: Process,
}

impl Pcscd {
    /// Starts it with the readers that `folder` has, and waits until it is ready.
    pub fn start(folder: &Path) -> Self {
        for part in ["ipc", "readers"] {
            std::fs::create_dir_all(folder.join(part)).unwrap();
        }
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", START, "sh"]).arg(folder);
        let mut process = Process::start(command);
        process.line("\"daemon ready\" (scripts/setup.sh test installs pcscd)", |line| {
            line.contains("daemon ready")
        });
        // It says so just before it listens.
        let until = Instant::now() + PATIENCE;
        while UnixStream::connect(folder.join("ipc/pcscd.comm")).is_err() {
            assert!(Instant::now() < until, "pcscd does not listen");
            std::thread::yield_now();
        }
        Self { process }
    }

    /// Waits until it has noticed that a card was taken out, once for each. A card of before counts as taken out for its
    /// clients as soon as it fails; one that is put in before the service has looked again (0.4 s) would go unnoticed.
    pub fn notices_removal(&mut self) {
        self.process.line("a card's removal", |line| line.contains("Card Removed From"));
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) {
        self.process.kill();
    }
}

/// Plugs in a reader called `name`, the only one (vpcd knows its readers by their slots alone): the service has it from its
/// next start on, with the slots `NAME 00 00` and `NAME 00 01`. Answers where the cards of the first connect.
pub fn plug(folder: &Path, name: &str) -> SocketAddr {
    std::fs::create_dir_all(folder.join("readers")).unwrap();
    let port = free_pair();
    let text = format!(
        "FRIENDLYNAME \"{name}\"\nDEVICENAME /dev/null:{port}\n\
         LIBPATH /usr/lib/pcsc/drivers/serial/libifdvpcd.so\nCHANNELID {port}\n"
    );
    std::fs::write(folder.join("readers/reader"), text).unwrap();
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A port that is free now, as is the one after it: a reader of vpcd has two slots.
fn free_pair() -> u16 {
    loop {
        let first = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port + 1)).is_ok() {
            return port;
        }
    }
}
