//! An access controller at the other end of an OSDP line: libosdp's own.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use libosdp::{
    Channel, ChannelError, ControlPanelBuilder, OsdpCommand, OsdpEvent, OsdpFlag, PdCapability, PdId,
    PdInfoBuilder,
};

use super::pty::Pty;

const PATIENCE: Duration = Duration::from_secs(60);

/// The library keeps its end for ever, and must not keep the line.
struct End(Weak<Pty>);

impl Channel for End {
    fn get_id(&self) -> i32 {
        1
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ChannelError> {
        match self.0.upgrade().map_or(0, |line| line.read_now(buffer)) {
            0 => Err(ChannelError::WouldBlock),
            read => Ok(read),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, ChannelError> {
        let line = self.0.upgrade().ok_or(ChannelError::TransportError)?;
        rustix::io::write(&line.end, bytes).map_err(|_| ChannelError::TransportError)
    }

    fn flush(&mut self) -> Result<(), ChannelError> {
        Ok(())
    }

    fn close(&mut self) -> Result<(), ChannelError> {
        Ok(())
    }
}

enum Ask {
    Send(OsdpCommand, Sender<bool>),
    Links(Sender<(bool, bool)>),
    Facts(Sender<(PdId, Vec<PdCapability>)>),
}

/// The controller, on a thread of its own.
pub struct Controller {
    asks: Sender<Ask>,
    events: Receiver<OsdpEvent>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Controller {
    /// Polls the device with address 0. `secure`: it does not speak outside the channel of its key.
    pub fn start(line: &Arc<Pty>, key: [u8; 16], secure: bool) -> Self {
        let mut info =
            PdInfoBuilder::new().address(0).unwrap().baud_rate(9600).unwrap().secure_channel_key(key);
        if secure {
            info = info.flag(OsdpFlag::EnforceSecure);
        }
        // Answers to the one before are not for this one.
        while line.read_now(&mut [0; 256]) > 0 {}
        let end = Box::new(End(Arc::downgrade(line)));
        let mut panel = ControlPanelBuilder::new().add_channel(end, vec![info]).build().unwrap();
        let (asks, asked) = channel();
        let (heard, events) = channel();
        panel.set_event_callback(move |_, event| {
            // The test may have ended.
            let _ = heard.send(event);
            0
        });
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                panel.refresh();
                while let Ok(ask) = asked.try_recv() {
                    match ask {
                        Ask::Send(command, sent) => {
                            let _ = sent.send(panel.send_command(0, command).is_ok());
                        }
                        Ask::Links(links) => {
                            let _ = links.send((panel.is_online(0), panel.is_sc_active(0)));
                        }
                        Ask::Facts(facts) => {
                            use libosdp::PdCapEntity as Entity;
                            let none = || Entity::new(0, 0);
                            let asked = [
                                PdCapability::OutputControl(none()),
                                PdCapability::CardDataFormat(none()),
                                PdCapability::LedControl(none()),
                                PdCapability::AudibleOutput(none()),
                                PdCapability::TextOutput(none()),
                                PdCapability::ContactStatusMonitoring(none()),
                                PdCapability::CommunicationSecurity(none()),
                            ];
                            let told = asked.map(|asked| panel.get_capability(0, asked).unwrap());
                            let _ = facts.send((panel.get_pd_id(0).unwrap(), told.to_vec()));
                        }
                    }
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self { asks, events, stop, thread: Some(thread) }
    }

    fn ask<T>(&self, ask: impl FnOnce(Sender<T>) -> Ask) -> T {
        let (sender, answer) = channel();
        self.asks.send(ask(sender)).unwrap();
        answer.recv_timeout(PATIENCE).unwrap()
    }

    /// Whether it is online, and whether the secure channel is up.
    pub fn links(&self) -> (bool, bool) {
        self.ask(Ask::Links)
    }

    /// Waits until the secure channel is up.
    pub fn secured(&self) {
        let until = Instant::now() + PATIENCE;
        while self.links() != (true, true) {
            assert!(Instant::now() < until, "the secure channel does not come up: {:?}", self.links());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Orders a command, once the one before has gone out.
    pub fn send(&self, command: OsdpCommand) {
        let until = Instant::now() + PATIENCE;
        while !self.ask(|sent| Ask::Send(command.clone(), sent)) {
            assert!(Instant::now() < until, "the command is not taken: {command:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the device says it is.
    pub fn facts(&self) -> (PdId, Vec<PdCapability>) {
        self.ask(Ask::Facts)
    }

    /// The next event that the device tells.
    pub fn event(&self) -> OsdpEvent {
        self.events.recv_timeout(PATIENCE).expect("the device tells something")
    }

    /// The next card, as (bits, bytes, whether Wiegand).
    pub fn card(&self) -> (usize, Vec<u8>, bool) {
        loop {
            if let OsdpEvent::CardRead(card) = self.event() {
                return (card.nr_bits, card.data, card.format == libosdp::OsdpCardFormats::Wiegand);
            }
        }
    }

    /// What it has heard and nobody asked for.
    pub fn heard(&self) -> Vec<OsdpEvent> {
        self.events.try_iter().collect()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Its own panic is the test's report already.
        let _ = self.thread.take().unwrap().join();
    }
}
