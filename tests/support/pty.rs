//! Pseudo terminals that stand for serial lines: the gate has one end, the test the other.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A line; dropped, it is unplugged.
pub struct Pty {
    pub end: OwnedFd,
    pub path: PathBuf,
}

impl Pty {
    pub fn new() -> Self {
        let end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&end).unwrap();
        unlockpt(&end).unwrap();
        rustix::fs::fcntl_setfl(&end, rustix::fs::OFlags::NONBLOCK).unwrap();
        let path = ptsname(&end, Vec::new()).unwrap().into_string().unwrap().into();
        Self { end, path }
    }

    pub fn write(&self, bytes: &[u8]) {
        assert_eq!(rustix::io::write(&self.end, bytes).unwrap(), bytes.len());
    }

    /// What is there now; nothing also while the gate has the line closed.
    pub fn read_now(&self, buffer: &mut [u8]) -> usize {
        match rustix::io::read(&self.end, buffer) {
            Ok(read) => read,
            Err(Errno::AGAIN | Errno::IO) => 0,
            Err(errno) => panic!("{errno}"),
        }
    }

    /// Waits until the gate has closed the line.
    pub fn closed(&self) {
        let timeout = rustix::time::Timespec { tv_sec: 30, tv_nsec: 0 };
        let mut line = [PollFd::new(&self.end, PollFlags::empty())];
        poll(&mut line, Some(&timeout)).unwrap();
        assert!(line[0].revents().contains(PollFlags::HUP), "the line stays open");
    }

    /// Exactly so many bytes.
    pub fn read(&self, bytes: usize) -> Vec<u8> {
        let until = Instant::now() + Duration::from_secs(30);
        let mut read = vec![0; bytes];
        let mut filled = 0;
        while filled < bytes {
            filled += self.read_now(&mut read[filled..]);
            assert!(Instant::now() < until, "only {filled} of {bytes} bytes came: {read:02x?}");
            if filled < bytes {
                let timeout = rustix::time::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
                poll(&mut [PollFd::new(&self.end, PollFlags::IN)], Some(&timeout)).unwrap();
            }
        }
        read
    }
}
