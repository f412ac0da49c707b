//! `menshen console`: what a technician sees on the serial port.
//!
//! A client of the running agent, over its admin service: it holds no device and no store, so that it can neither
//! disturb the gate nor be more than its token allows. Where no agent runs it says so, and still offers what needs
//! none.
//!
//! | file | what it does |
//! |---|---|
//! | `keys.rs` | bytes of the line as keys |
//! | `app.rs` | what the console knows, and what a key does |
//! | `draw.rs` | the screens |
//! | `grid.rs` | the bytes from one screen to the next |
//! | `terminal.rs` | the terminal, taken and given back |
//! | `orders.rs` | what is asked of the agent |

pub mod app;
pub mod draw;
pub mod grid;
pub mod keys;
pub mod orders;
pub mod terminal;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::error::{Context, Result};
use crate::text::Language;
use crate::text::console::Say;
use app::{App, Ask, Effect, Failed};
use keys::{ESCAPE_ALONE, Key, Keys};
use orders::Orders;
use terminal::{Input, Terminal};

/// Between two screens that nobody asked for with a key.
const REFRESH: Duration = Duration::from_millis(500);

/// Between two questions about a screen that lives, and about one that does not.
const POLL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// Between two attempts to listen to an agent that does not answer.
const LISTEN_AGAIN: Duration = Duration::from_secs(2);

/// Messages that wait for the console; bytes of the line wait in the kernel, events are dropped.
const WAITING: usize = 256;

/// Orders that wait for their thread.
const ORDERS: usize = 4;

/// How the console is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The configuration.
    pub config: Config,
    /// Where it is.
    pub config_file: PathBuf,
    /// The language of the texts.
    pub language: Language,
    /// Whether the terminal has ASCII alone.
    pub ascii: bool,
    /// Columns and lines, where the terminal does not say.
    pub size: Option<(usize, usize)>,
}

/// Whether a locale, by the variables that name it, has Chinese letters.
pub fn locale_has_unicode(variable: impl Fn(&str) -> Option<String>) -> bool {
    // POSIX: the first that is set and not empty counts.
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(variable)
        .find(|value| !value.is_empty())
        .is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            value.contains("utf-8") || value.contains("utf8")
        })
}

/// What wakes the console.
enum Message {
    Input(Input),
    Done(Ask, Result<Value, Failed>),
    Event(Value),
}

/// The threads that carry out orders.
struct Hands {
    orders: std::sync::mpsc::SyncSender<Ask>,
    polls: std::sync::mpsc::SyncSender<Ask>,
    /// Which listening counts; another number ends the thread that listens.
    listening: Arc<AtomicU64>,
    way: Orders,
    messages: mpsc::Sender<Message>,
}

/// Runs until the technician leaves, the line hangs up, the process is told to end, or nobody has been there for
/// `console.idle_s`. The terminal is as it was then. `Device` without a terminal.
pub fn run(options: Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context(|| "the runtime cannot be started")?;
    let idle = Duration::from_secs(options.config.console.idle_s);
    let app = App::new(options.config.clone(), options.config_file.clone(), options.language, options.ascii);
    let goodbye = app.say(Say::Idle);
    let end = runtime.block_on(live(app, &options, idle))?;
    // Threads that wait for an answer are left behind.
    runtime.shutdown_background();
    if end == End::Idle {
        eprintln!("{goodbye}");
    }
    Ok(())
}

/// Why the console ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Left,
    HungUp,
    Told,
    Idle,
}

async fn live(mut app: App, options: &Options, idle: Duration) -> Result<End> {
    // Taken before the terminal, so that none is missed while it is ours.
    let step = || "the signals cannot be listened to";
    let mut terminate = signal(SignalKind::terminate()).context(step)?;
    let mut interrupt = signal(SignalKind::interrupt()).context(step)?;
    let mut quit = signal(SignalKind::quit()).context(step)?;
    let mut hang_up = signal(SignalKind::hangup()).context(step)?;
    let mut resized = signal(SignalKind::window_change()).context(step)?;
    let mut continued = signal(SignalKind::from_raw(CONTINUED)).context(step)?;

    let (messages, mut inbox) = mpsc::channel(WAITING);
    let hands = Hands::new(Orders::new(&options.config, &options.config_file), messages.clone())?;
    let terminal = Terminal::take()?;
    terminal::read(move |input| messages.blocking_send(Message::Input(input)).is_ok())?;
    let mut keys = Keys::default();
    let mut parsed: Vec<Key> = Vec::new();
    let (mut last_key, mut next_poll) = (Instant::now(), Instant::now());
    // Something may have changed since the last screen; when one is due at the latest.
    let (mut changed, mut due) = (true, Instant::now());
    let mut listening = false;
    loop {
        let now = Instant::now();
        if changed && now >= due {
            let (width, height) = options.size.unwrap_or_else(Terminal::size);
            terminal.show(draw::draw(&mut app, width, height, jiff::Timestamp::now()));
            (changed, due) = (false, now + REFRESH);
        }
        if app.watches() != listening {
            listening = app.watches();
            hands.listen(listening);
        }
        if now >= next_poll {
            hands.poll(app.polls());
            next_poll = now + if app.lively() { POLL.0 } else { POLL.1 };
        }
        let second = now + Duration::from_secs(1);
        let wake = [
            Some(next_poll),
            changed.then_some(due),
            keys.waits().then_some(now + ESCAPE_ALONE),
            Some(second),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(second);
        tokio::select! {
            message = inbox.recv() => match message {
                Some(Message::Input(Input::Bytes(bytes))) => keys.feed(&bytes, Instant::now(), &mut parsed),
                Some(Message::Input(Input::HungUp)) | None => return Ok(End::HungUp),
                Some(Message::Done(ask, outcome)) => {
                    let effects = app.answer(ask, outcome);
                    hands.follow(&mut app, effects, &terminal, &mut due);
                    changed = true;
                }
                Some(Message::Event(event)) => {
                    app.event(&event);
                    changed = true;
                }
            },
            () = tokio::time::sleep_until(wake.into()) => changed = true,
            _ = terminate.recv() => return Ok(End::Told),
            _ = interrupt.recv() => return Ok(End::Told),
            _ = quit.recv() => return Ok(End::Told),
            _ = hang_up.recv() => return Ok(End::HungUp),
            _ = resized.recv() => {
                terminal.forget();
                (changed, due) = (true, Instant::now());
            }
            // Whoever stopped us has written on the screen.
            _ = continued.recv() => {
                terminal.forget();
                (changed, due) = (true, Instant::now());
            }
        }
        keys.silence(Instant::now(), &mut parsed);
        for key in parsed.drain(..) {
            // A noisy line is nobody.
            if key != Key::Unknown {
                last_key = Instant::now();
            }
            let before = app.screen;
            let effects = app.key(key);
            if effects.contains(&Effect::Leave) {
                return Ok(End::Left);
            }
            hands.follow(&mut app, effects, &terminal, &mut due);
            if app.screen != before {
                next_poll = next_poll.min(Instant::now() + POLL.0);
            }
            (changed, due) = (true, Instant::now());
        }
        if !idle.is_zero() && last_key.elapsed() >= idle {
            return Ok(End::Idle);
        }
    }
}

/// `SIGCONT`, signal(7).
const CONTINUED: i32 = 18;

impl Hands {
    fn new(way: Orders, messages: mpsc::Sender<Message>) -> Result<Self> {
        let thread = |name: &str| -> Result<std::sync::mpsc::SyncSender<Ask>> {
            let (sender, asked) = std::sync::mpsc::sync_channel::<Ask>(ORDERS);
            let (way, messages) = (way.clone(), messages.clone());
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || {
                    while let Ok(ask) = asked.recv() {
                        let outcome = way.carry_out(&ask).map_err(|error| Failed { text: error.to_string() });
                        if messages.blocking_send(Message::Done(ask, outcome)).is_err() {
                            return;
                        }
                    }
                })
                .context(|| "a thread of the console cannot be started")?;
            Ok(sender)
        };
        Ok(Self {
            orders: thread("console-orders")?,
            polls: thread("console-polls")?,
            listening: Arc::default(),
            way: way.clone(),
            messages: messages.clone(),
        })
    }

    /// Asks how things stand; a question that waits already is enough.
    fn poll(&self, ask: Ask) {
        let _ = self.polls.try_send(ask);
    }

    fn follow(&self, app: &mut App, effects: Vec<Effect>, terminal: &Terminal, due: &mut Instant) {
        for effect in effects {
            match effect {
                Effect::Ask(ask @ (Ask::Status | Ask::Log(_))) => self.poll(ask),
                Effect::Ask(ask) => {
                    if self.orders.try_send(ask).is_err() {
                        app.message = app.say(Say::Busy).to_owned();
                    }
                }
                Effect::Redraw => {
                    terminal.forget();
                    *due = Instant::now();
                }
                Effect::Leave => {}
            }
        }
    }

    /// Begins or ends to listen to the events: nobody there costs the gate nothing.
    fn listen(&self, begin: bool) {
        let number = self.listening.fetch_add(1, Ordering::SeqCst) + 1;
        if !begin {
            return;
        }
        let (counts, way, messages) = (Arc::clone(&self.listening), self.way.clone(), self.messages.clone());
        let wanted = move || counts.load(Ordering::SeqCst) == number && !messages.is_closed();
        let messages = self.messages.clone();
        // Without the thread there are no events; everything else goes on.
        let _ = std::thread::Builder::new().name("console-events".into()).spawn(move || {
            while wanted() {
                if let Ok(client) = way.client() {
                    // The agent may be away: then it is tried again.
                    let _ = client.listen(|event| {
                        if let Some(event) = event {
                            // A face that is not shown is followed by the next.
                            let _ = messages.try_send(Message::Event(event));
                        }
                        wanted()
                    });
                }
                let until = Instant::now() + LISTEN_AGAIN;
                while wanted() && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        });
    }
}

#[cfg(test)]
mod tests;
