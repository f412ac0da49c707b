//! Facts of the machine, read from the kernel.

use std::fmt::Write as _;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Lines of the kernel's log that are kept.
const KERNEL_LINES: usize = 200;

/// The first line of a file; empty if it cannot be read.
pub(super) fn first_line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

/// What the system calls itself (`os-release`).
pub(super) fn system_name() -> String {
    let facts = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = facts.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or_default().trim_matches('"').to_owned()
}

/// Memory, load and disk.
pub(super) fn facts(data_dir: &Path) -> String {
    let mut facts = String::new();
    for path in ["/proc/uptime", "/proc/loadavg", "/proc/self/mountinfo", "/proc/meminfo"] {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| format!("cannot be read: {error}\n"));
        // Writing to memory does not fail.
        let _ = write!(facts, "# {path}\n{text}\n");
    }
    for folder in [Path::new("/"), data_dir] {
        let _ = match rustix::fs::statvfs(folder) {
            Ok(stat) => writeln!(
                facts,
                "# {}: {} of {} MiB free, {} of {} files free",
                folder.display(),
                stat.f_bavail.saturating_mul(stat.f_frsize) >> 20,
                stat.f_blocks.saturating_mul(stat.f_frsize) >> 20,
                stat.f_favail,
                stat.f_files,
            ),
            Err(error) => writeln!(facts, "# {}: {error}", folder.display()),
        };
    }
    facts
}

/// The end of the kernel's log, or why it cannot be read.
pub(super) fn kernel_log() -> String {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let log = std::fs::File::options().read(true).custom_flags(flags).open("/dev/kmsg");
    let mut log = match log {
        Ok(log) => log,
        Err(error) => return format!("not permitted here: {error}\n"),
    };
    let mut lines = std::collections::VecDeque::new();
    // The kernel's largest record, `CONSOLE_EXT_LOG_MAX`.
    let mut record = [0; 8192];
    loop {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) => {
                let text = String::from_utf8_lossy(&record[..length]);
                let (head, line) = text.split_once(';').unwrap_or(("", &text));
                let micros =
                    head.split(',').nth(2).and_then(|micros| micros.parse::<u64>().ok()).unwrap_or(0);
                if lines.len() == KERNEL_LINES {
                    lines.pop_front();
                }
                let line = line.lines().next().unwrap_or_default();
                lines.push_back(format!("[{}.{:03}] {line}\n", micros / 1_000_000, micros / 1000 % 1000));
            }
            // Records that were overwritten while we read: the next is there.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PIPE.raw_os_error()) => {}
            // WouldBlock is the end.
            Err(_) => break,
        }
    }
    lines.into_iter().collect()
}
