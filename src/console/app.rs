//! What the console knows and what a key does. It knows no terminal and no network: keys, answers and events go in,
//! orders come out, and `draw.rs` shows what is left.
//!
//! Nothing here grows for ever: every list has a bound.

use std::collections::VecDeque;
use std::path::PathBuf;

use serde_json::Value;

use super::keys::Key;
use crate::config::Config;
use crate::text::Language;
use crate::text::console::Say;

/// Lines of the log that are kept.
const LOG_LINES: usize = 200;

/// Events of the door that are kept.
const WIRE_LINES: usize = 12;

/// Names of tracks that are kept.
const NAMES: usize = 16;

/// Cameras whose last face is kept.
const CAMERAS: usize = 16;

/// Letters of an answer that is typed.
const TYPED: usize = 120;

/// Earlier pages that can be gone back to.
const PAGES: usize = 10_000;

/// Something to have done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// `GET /api/v1/status`.
    Status,
    /// The log after a line.
    Log(u64),
    /// A page of people after a row, as many as this, that a text is part of.
    People(Option<i64>, usize, String),
    /// Removes a person: origin and id.
    RemovePerson(String, String),
    /// A page of records before one, as many as this.
    Records(Option<i64>, usize),
    /// Opens the door once.
    OpenDoor,
    /// The network cards.
    Network,
    /// Slots, versions and the last upgrade.
    Update,
    /// Looks at everything.
    Doctor,
    /// Writes a bundle.
    Diagnose(PathBuf),
    /// Resets the gate.
    Reset,
    /// Restarts the gate.
    Restart,
    /// Changes the address of a platform's server.
    SetServer(String, String),
    /// Installs a package.
    Install(PathBuf),
}

/// What a key or an answer leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Have this done.
    Ask(Ask),
    /// Draw everything anew.
    Redraw,
    /// The end.
    Leave,
}

/// What is on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// The list of the others.
    Menu,
    /// The gate in short.
    Status,
    /// The log as it comes.
    Log,
    /// The cameras and who stands before them.
    Cameras,
    /// Opens the door.
    Door,
    /// Who is enrolled.
    People,
    /// One of them.
    Person,
    /// What happened.
    Records,
    /// One of these.
    Record,
    /// Network cards.
    Network,
    /// Platforms and their servers.
    Platforms,
    /// The version and its successor.
    Update,
    /// Findings.
    Doctor,
    /// The bundle.
    Diagnosis,
    /// The end of everything that was enrolled.
    Reset,
}

/// The menu: key, name, screen.
pub const MENU: &[(char, Say, Option<Screen>)] = &[
    ('1', Say::Status, Some(Screen::Status)),
    ('2', Say::Log, Some(Screen::Log)),
    ('3', Say::Cameras, Some(Screen::Cameras)),
    ('4', Say::Door, Some(Screen::Door)),
    ('5', Say::People, Some(Screen::People)),
    ('6', Say::Records, Some(Screen::Records)),
    ('7', Say::Network, Some(Screen::Network)),
    ('8', Say::Platforms, Some(Screen::Platforms)),
    ('9', Say::Update, Some(Screen::Update)),
    ('d', Say::Doctor, Some(Screen::Doctor)),
    ('b', Say::Diagnosis, Some(Screen::Diagnosis)),
    ('f', Say::Reset, Some(Screen::Reset)),
    ('l', Say::OtherLanguage, None),
    ('q', Say::Leave, None),
];

/// Whether the agent answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agent {
    /// Nobody knows yet.
    Unknown,
    /// It does.
    Here,
    /// It does not, and why.
    Away(String),
}

/// A question that is being answered at the bottom of the screen.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// The question.
    pub question: Say,
    /// What has been typed.
    pub typed: String,
    purpose: Purpose,
}

#[derive(Debug, Clone)]
enum Purpose {
    /// Dangerous: done when this very word was typed.
    Confirm(&'static str, Ask),
    Search,
    PackageFile,
    BundleFile,
    WhichPlatform,
    NewServer(String),
}

/// The last face before a camera.
#[derive(Debug, Clone)]
pub struct LastFace {
    /// Box in pixels of the frame: left, top, width, height.
    pub rect: [i64; 4],
    /// Liveness, once it is judged.
    pub live: Option<i64>,
    /// Which visitor.
    pub track: u64,
    /// When, in seconds since the epoch.
    pub seen: i64,
}

/// A list that comes page by page.
#[derive(Debug, Clone, Default)]
pub struct Pages {
    /// What the page shows.
    pub rows: Vec<Value>,
    /// Where the pages before this one began.
    before: Vec<Option<i64>>,
    /// Where this one begins.
    from: Option<i64>,
    /// Where the next one begins, if there is one.
    next: Option<i64>,
    /// Which row is chosen.
    pub selected: usize,
    /// Whether an answer has come.
    pub known: bool,
}

impl Pages {
    /// Which page this is, from 1.
    pub fn number(&self) -> usize {
        self.before.len() + 1
    }

    fn take(&mut self, rows: &Value, next: &Value) {
        self.rows = rows.as_array().cloned().unwrap_or_default();
        self.next = next.as_i64();
        self.known = true;
        self.selected = self.selected.min(self.rows.len().saturating_sub(1));
    }

    fn chosen(&self) -> Option<&Value> {
        self.rows.get(self.selected)
    }

    /// Moves to the next page; whether there is one.
    fn forward(&mut self) -> bool {
        if self.next.is_none() || self.before.len() == PAGES {
            return false;
        }
        self.before.push(self.from);
        self.from = self.next;
        self.selected = 0;
        true
    }

    fn back(&mut self) -> bool {
        let Some(from) = self.before.pop() else { return false };
        self.from = from;
        self.selected = 0;
        true
    }
}

/// The console.
#[derive(Debug)]
pub struct App {
    /// The configuration as it is in force.
    pub config: Config,
    /// Where it is.
    pub config_file: PathBuf,
    /// The language of the texts.
    pub language: Language,
    /// Whether the terminal has ASCII alone.
    pub ascii: bool,
    /// What is shown.
    pub screen: Screen,
    /// Which line of the menu is chosen.
    pub chosen: usize,
    /// How far a long text is scrolled.
    pub scroll: usize,
    /// Lines that a page of a list has; set by who draws.
    pub room: usize,
    /// Whether the agent answers.
    pub agent: Agent,
    /// Its last status.
    pub status: Value,
    /// Lines of the log.
    pub log: VecDeque<String>,
    log_last: u64,
    /// The last face of each camera.
    pub faces: Vec<Option<LastFace>>,
    names: VecDeque<(u64, String)>,
    /// Events of the door's wires.
    pub wires: VecDeque<String>,
    /// People.
    pub people: Pages,
    /// What people are searched for.
    pub search: String,
    /// Records.
    pub records: Pages,
    /// The person or record that is shown alone.
    pub one: Value,
    /// Network cards.
    pub network: Value,
    /// Slots, versions and the last upgrade.
    pub update: Value,
    /// Findings.
    pub findings: Value,
    /// A question.
    pub prompt: Option<Prompt>,
    /// What became of the last order.
    pub message: String,
    /// An order is under way.
    pub working: bool,
}

impl App {
    /// The console of a gate.
    pub fn new(config: Config, config_file: PathBuf, language: Language, ascii: bool) -> Self {
        Self {
            language: if ascii { Language::English } else { language },
            ascii,
            config,
            config_file,
            screen: Screen::Menu,
            chosen: 0,
            scroll: 0,
            room: 1,
            agent: Agent::Unknown,
            status: Value::Null,
            log: VecDeque::new(),
            log_last: 0,
            faces: Vec::new(),
            names: VecDeque::new(),
            wires: VecDeque::new(),
            people: Pages::default(),
            search: String::new(),
            records: Pages::default(),
            one: Value::Null,
            network: Value::Null,
            update: Value::Null,
            findings: Value::Null,
            prompt: None,
            message: String::new(),
            working: false,
        }
    }

    /// A text in the language of the console.
    pub fn say(&self, say: Say) -> &'static str {
        say.text(self.language)
    }

    /// Whether the events of the gate are of use now.
    pub fn watches(&self) -> bool {
        matches!(self.screen, Screen::Cameras | Screen::Door)
    }

    /// What has to be asked for again and again.
    pub fn polls(&self) -> Ask {
        match self.screen {
            Screen::Log => Ask::Log(self.log_last),
            _ => Ask::Status,
        }
    }

    /// Whether it has to be asked for often.
    pub fn lively(&self) -> bool {
        matches!(self.screen, Screen::Status | Screen::Log | Screen::Cameras | Screen::Door)
    }

    /// Seconds that the gate's zone is ahead of UTC.
    pub fn offset_s(&self) -> i32 {
        let configured = i32::from(self.config.settings.time.utc_offset_minutes) * 60;
        self.status["utc_offset_s"].as_i64().and_then(|s| i32::try_from(s).ok()).unwrap_or(configured)
    }

    /// A key was pressed.
    pub fn key(&mut self, key: Key) -> Vec<Effect> {
        match key {
            Key::Redraw => return vec![Effect::Redraw],
            Key::Leave => return vec![Effect::Leave],
            _ => {}
        }
        match self.prompt.take() {
            Some(prompt) => self.answer_prompt(prompt, key),
            None => {
                // What an order that is still under way has to say is not said away.
                if !self.working {
                    self.message.clear();
                }
                match self.screen {
                    Screen::Menu => self.menu_key(key),
                    _ => self.screen_key(key),
                }
            }
        }
    }

    fn menu_key(&mut self, key: Key) -> Vec<Effect> {
        match key {
            Key::Up => self.chosen = (self.chosen + MENU.len() - 1) % MENU.len(),
            Key::Down => self.chosen = (self.chosen + 1) % MENU.len(),
            Key::Enter | Key::Right => return self.choose(self.chosen),
            Key::Char(typed) => {
                let typed = typed.to_ascii_lowercase();
                if let Some(at) = MENU.iter().position(|(key, ..)| *key == typed) {
                    self.chosen = at;
                    return self.choose(at);
                }
            }
            _ => {}
        }
        Vec::new()
    }

    fn choose(&mut self, at: usize) -> Vec<Effect> {
        let Some((key, _, screen)) = MENU.get(at) else { return Vec::new() };
        match screen {
            Some(screen) => self.enter(*screen),
            None if *key == 'q' => vec![Effect::Leave],
            None => {
                // A terminal without Chinese letters stays with English.
                if !self.ascii {
                    self.language = match self.language {
                        Language::Chinese => Language::English,
                        Language::English => Language::Chinese,
                    };
                }
                Vec::new()
            }
        }
    }

    fn enter(&mut self, screen: Screen) -> Vec<Effect> {
        self.screen = screen;
        self.scroll = 0;
        if self.watches() {
            // What is remembered comes again.
            self.wires.clear();
        }
        let mut asks = match screen {
            Screen::Log => {
                self.log.clear();
                self.log_last = 0;
                return vec![Effect::Ask(Ask::Log(0))];
            }
            Screen::People => {
                (self.people, self.search) = (Pages::default(), String::new());
                vec![self.ask_people()]
            }
            Screen::Records => {
                self.records = Pages::default();
                vec![self.ask_records()]
            }
            Screen::Network => vec![Ask::Network],
            Screen::Doctor => vec![Ask::Doctor],
            Screen::Update => vec![Ask::Update],
            _ => Vec::new(),
        };
        asks.push(Ask::Status);
        asks.into_iter().map(|ask| self.order(ask)).collect()
    }

    fn order(&mut self, ask: Ask) -> Effect {
        if !matches!(ask, Ask::Status | Ask::Log(_)) {
            self.working = true;
            self.message = self.say(Say::Working).to_owned();
        }
        Effect::Ask(ask)
    }

    fn ask_people(&self) -> Ask {
        Ask::People(self.people.from, self.room.clamp(1, 100), self.search.clone())
    }

    fn ask_records(&self) -> Ask {
        Ask::Records(self.records.from, self.room.clamp(1, 100))
    }

    fn screen_key(&mut self, key: Key) -> Vec<Effect> {
        let letter = match key {
            Key::Char(letter) => letter.to_ascii_lowercase(),
            _ => '\0',
        };
        match (self.screen, key, letter) {
            (Screen::Person, Key::Escape | Key::Left, _) => self.screen = Screen::People,
            (Screen::Record, Key::Escape | Key::Left, _) => self.screen = Screen::Records,
            (_, Key::Escape | Key::Left, _) | (_, _, 'q') => {
                self.screen = Screen::Menu;
                // A question of the screen that was left is nobody's.
                return vec![Effect::Ask(Ask::Status)];
            }
            (Screen::People | Screen::Records, ..) => return self.list_key(key, letter),
            (Screen::Person, _, 'x') => {
                let text = |field: &str| self.one[field].as_str().unwrap_or_default().to_owned();
                let ask = Ask::RemovePerson(text("origin"), text("id"));
                self.confirm(Say::DeleteConfirm, "DELETE", ask, true);
            }
            (Screen::Door, _, 'o') => self.confirm(Say::DoorConfirm, "OPEN", Ask::OpenDoor, true),
            (Screen::Reset, _, 'x') => self.confirm(Say::ResetConfirm, "RESET", Ask::Reset, false),
            (Screen::Platforms, _, 'r') => self.confirm(Say::RestartConfirm, "RESTART", Ask::Restart, true),
            (Screen::Platforms, _, 's') => match self.servers().len() {
                0 => self.message = self.say(Say::NoPlatform).to_owned(),
                1 => {
                    let name = self.servers()[0].0.to_owned();
                    self.ask_for(Say::NewServer, Purpose::NewServer(name));
                }
                _ => self.ask_for(Say::WhichPlatform, Purpose::WhichPlatform),
            },
            (Screen::Update, _, 'i') => self.ask_for(Say::PackageFile, Purpose::PackageFile),
            (Screen::Diagnosis, _, 'w') => {
                self.ask_for(Say::DiagnosisFile, Purpose::BundleFile);
                let proposed = self.bundle_file();
                if let Some(prompt) = &mut self.prompt {
                    prompt.typed = proposed;
                }
            }
            (Screen::Doctor, _, 'a') if !self.working => return vec![self.order(Ask::Doctor)],
            (_, Key::Up, _) => self.scroll = self.scroll.saturating_sub(1),
            (_, Key::Down, _) => self.scroll = self.scroll.saturating_add(1),
            (_, Key::PageUp, _) => self.scroll = self.scroll.saturating_sub(self.room),
            (_, Key::PageDown, _) => self.scroll = self.scroll.saturating_add(self.room),
            _ => {}
        }
        Vec::new()
    }

    /// Where a bundle is written if nobody says otherwise.
    fn bundle_file(&self) -> String {
        let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
        std::env::temp_dir()
            .join(format!("menshen-{}-{now}.tar", self.config.terminal.serial))
            .display()
            .to_string()
    }

    fn list_key(&mut self, key: Key, letter: char) -> Vec<Effect> {
        let people = self.screen == Screen::People;
        let pages = if people { &mut self.people } else { &mut self.records };
        let turned = match (key, letter) {
            (Key::Up, _) => {
                pages.selected = pages.selected.saturating_sub(1);
                false
            }
            (Key::Down, _) => {
                pages.selected = (pages.selected + 1).min(pages.rows.len().saturating_sub(1));
                false
            }
            (Key::Enter | Key::Right, _) => {
                if let Some(chosen) = pages.chosen() {
                    self.one = chosen.clone();
                    self.screen = if people { Screen::Person } else { Screen::Record };
                    self.scroll = 0;
                }
                false
            }
            // A page that is on its way is waited for.
            (Key::PageDown, _) | (_, 'n') => !self.working && pages.forward(),
            (Key::PageUp, _) | (_, 'p') => !self.working && pages.back(),
            (_, '/') if people => {
                self.ask_for(Say::SearchFor, Purpose::Search);
                false
            }
            _ => false,
        };
        if !turned {
            return Vec::new();
        }
        let ask = if people { self.ask_people() } else { self.ask_records() };
        vec![self.order(ask)]
    }

    fn ask_for(&mut self, question: Say, purpose: Purpose) {
        self.prompt = Some(Prompt { question, typed: String::new(), purpose });
    }

    /// Asks for a word before something that cannot be undone, or moves the door.
    fn confirm(&mut self, question: Say, word: &'static str, ask: Ask, needs_agent: bool) {
        if needs_agent && self.agent != Agent::Here {
            self.message = self.say(Say::AgentNeeded).to_owned();
        } else if self.working {
            self.message = self.say(Say::Busy).to_owned();
        } else {
            self.ask_for(question, Purpose::Confirm(word, ask));
        }
    }

    fn answer_prompt(&mut self, mut prompt: Prompt, key: Key) -> Vec<Effect> {
        match key {
            Key::Char(letter) => {
                if prompt.typed.chars().count() < TYPED {
                    prompt.typed.push(letter);
                }
                self.prompt = Some(prompt);
                Vec::new()
            }
            Key::Backspace => {
                prompt.typed.pop();
                self.prompt = Some(prompt);
                Vec::new()
            }
            Key::Enter => self.answered(prompt),
            // Esc, and anything that nobody types on purpose: a noisy line must not confirm anything.
            _ => {
                self.message = self.say(Say::Cancelled).to_owned();
                Vec::new()
            }
        }
    }

    fn answered(&mut self, prompt: Prompt) -> Vec<Effect> {
        let typed = prompt.typed.trim().to_owned();
        match prompt.purpose {
            Purpose::Confirm(word, ask) => {
                if prompt.typed != word {
                    self.message = self.say(Say::Cancelled).to_owned();
                    return Vec::new();
                }
                vec![self.order(ask)]
            }
            Purpose::Search => {
                self.people = Pages::default();
                self.search = typed;
                let ask = self.ask_people();
                vec![self.order(ask)]
            }
            _ if typed.is_empty() => {
                self.message = self.say(Say::Cancelled).to_owned();
                Vec::new()
            }
            Purpose::PackageFile => {
                self.confirm(Say::InstallConfirm, "INSTALL", Ask::Install(typed.into()), true);
                Vec::new()
            }
            Purpose::BundleFile => vec![self.order(Ask::Diagnose(typed.into()))],
            Purpose::WhichPlatform => {
                let at = typed.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
                match at.and_then(|at| self.servers().get(at).map(|(name, _)| (*name).to_owned())) {
                    Some(name) => self.ask_for(Say::NewServer, Purpose::NewServer(name)),
                    None => self.message = self.say(Say::Cancelled).to_owned(),
                }
                Vec::new()
            }
            Purpose::NewServer(name) => {
                self.confirm(Say::ChangeConfirm, "CHANGE", Ask::SetServer(name, typed), false);
                Vec::new()
            }
        }
    }

    /// Platforms of the configuration and their servers.
    pub fn servers(&self) -> Vec<(&'static str, &str)> {
        let platform = &self.config.platform;
        let qyzn = platform.qyzn.iter().map(|qyzn| ("qyzn", qyzn.server.as_str()));
        let terminal_ws = platform.terminal_ws.iter().map(|ws| ("terminal_ws", ws.url.as_str()));
        qyzn.chain(terminal_ws).collect()
    }

    /// An order has been carried out, or has failed with this text.
    pub fn answer(&mut self, ask: Ask, outcome: Result<Value, Failed>) -> Vec<Effect> {
        match (&ask, &outcome) {
            (Ask::Status, Ok(status)) => {
                self.agent = Agent::Here;
                self.status = status.clone();
                return Vec::new();
            }
            (Ask::Status, Err(failed)) => {
                self.agent = Agent::Away(failed.text.clone());
                self.status = Value::Null;
                return Vec::new();
            }
            (Ask::Log(after), outcome) => {
                self.take_log(*after, outcome);
                return Vec::new();
            }
            _ => {}
        }
        self.working = false;
        self.message.clear();
        let value = match outcome {
            Ok(value) => value,
            Err(failed) => {
                self.message = failed.text;
                return Vec::new();
            }
        };
        match ask {
            Ask::People(..) => self.people.take(&value["people"], &value["next"]),
            Ask::Records(..) => self.records.take(&value["records"], &value["next"]),
            Ask::Network => self.network = value,
            Ask::Doctor => self.findings = value,
            Ask::Update => self.update = value,
            Ask::RemovePerson(..) => {
                if self.screen == Screen::Person {
                    self.screen = Screen::People;
                }
                let again = self.ask_people();
                let effect = self.order(again);
                self.message = self.say(Say::Deleted).to_owned();
                return vec![effect];
            }
            Ask::OpenDoor => self.message = self.say(Say::DoorOrdered).to_owned(),
            Ask::Diagnose(file) => {
                self.message = format!("{} {}", self.say(Say::DiagnosisWritten), file.display());
            }
            Ask::Reset => {
                let say = if value["done"] == true { Say::ResetDone } else { Say::ResetOrdered };
                self.message = self.say(say).to_owned();
            }
            Ask::Restart => self.message = self.say(Say::RestartOrdered).to_owned(),
            Ask::SetServer(name, server) => {
                match name.as_str() {
                    "qyzn" => {
                        self.config.platform.qyzn.iter_mut().for_each(|qyzn| qyzn.server.clone_from(&server))
                    }
                    _ => {
                        self.config.platform.terminal_ws.iter_mut().for_each(|ws| ws.url.clone_from(&server))
                    }
                }
                self.message = self.say(Say::Changed).to_owned();
            }
            Ask::Install(_) => {
                let effect = self.order(Ask::Update);
                self.message = self.say(Say::Installed).to_owned();
                return vec![effect];
            }
            Ask::Status | Ask::Log(_) => {}
        }
        Vec::new()
    }

    fn take_log(&mut self, after: u64, outcome: &Result<Value, Failed>) {
        // An answer to an earlier question would be shown twice.
        if self.screen != Screen::Log || after != self.log_last {
            return;
        }
        let value = match outcome {
            Ok(value) => value,
            Err(failed) => {
                self.message = failed.text.clone();
                return;
            }
        };
        let offset = self.offset_s();
        for line in value["lines"].as_array().into_iter().flatten() {
            if self.log.len() == LOG_LINES {
                self.log.pop_front();
            }
            self.log.push_back(crate::log::shown(line, offset));
            // Whoever reads further up stays there.
            if self.scroll > 0 {
                self.scroll += 1;
            }
        }
        self.scroll = self.scroll.min(LOG_LINES);
        // Without the agent there are no numbers: the whole is read each time.
        match value["last"].as_u64() {
            Some(last) => self.log_last = last,
            None => {
                let keep = value["lines"].as_array().map_or(0, Vec::len);
                while self.log.len() > keep {
                    self.log.pop_front();
                }
            }
        }
    }

    /// Something happened at the gate.
    pub fn event(&mut self, event: &Value) {
        match event["kind"].as_str() {
            Some("face") => self.face(event),
            Some("verdict") => {
                let name = event["name"].as_str().unwrap_or_else(|| self.say(Say::Stranger)).to_owned();
                if let Some(track) = event["track"].as_u64() {
                    if self.names.len() == NAMES {
                        self.names.pop_front();
                    }
                    self.names.push_back((track, name));
                }
            }
            Some(kind @ ("relay" | "wiegand" | "rs485" | "door" | "input")) => {
                if self.wires.len() == WIRE_LINES {
                    self.wires.pop_front();
                }
                let time = super::draw::clock_of(&event["time"], self.offset_s());
                let what = ["state", "bits", "bytes", "error", "by"]
                    .into_iter()
                    .filter_map(|field| event[field].as_str())
                    .collect::<Vec<_>>()
                    .join(" ");
                self.wires.push_back(format!("{time}  {kind}  {what}"));
            }
            _ => {}
        }
    }

    fn face(&mut self, event: &Value) {
        let camera = event["camera"].as_u64().and_then(|camera| usize::try_from(camera).ok());
        let Some(camera) = camera.filter(|camera| *camera < CAMERAS) else { return };
        let faces = event["faces"].as_array();
        // The largest is who stands there.
        let largest =
            faces.into_iter().flatten().max_by_key(|face| face["box"][2].as_f64().unwrap_or(0.0) as i64);
        let Some(face) = largest else { return };
        let side = |at: usize| face["box"][at].as_f64().unwrap_or_default() as i64;
        if self.faces.len() <= camera {
            self.faces.resize(camera + 1, None);
        }
        self.faces[camera] = Some(LastFace {
            rect: [side(0), side(1), side(2), side(3)],
            live: face["liveness"].as_f64().map(|live| live as i64),
            track: face["track"].as_u64().unwrap_or_default(),
            seen: jiff::Timestamp::now().as_second(),
        });
    }

    /// Who a track was found to be.
    pub fn name_of(&self, track: u64) -> Option<&str> {
        self.names.iter().rev().find(|(known, _)| *known == track).map(|(_, name)| name.as_str())
    }
}

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// In words.
    pub text: String,
}
