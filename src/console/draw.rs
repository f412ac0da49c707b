//! How the console looks: 24 lines of 80 columns, and less where there is less.
//!
//! A title, the body, a line for messages and questions, a line of keys.

use jiff::Timestamp;
use jiff::tz::Offset;
use serde_json::Value;

use super::app::{Agent, App, MENU, Screen};
use super::grid::{Grid, fit};
use crate::access::Reason;
use crate::doctor::State;
use crate::text::console::Say;
use crate::text::{Language, page, reason};

/// Lines that are no body.
const FRAME: usize = 4;

/// The body of a screen.
#[derive(Default)]
struct Body {
    lines: Vec<String>,
    /// Which line is chosen.
    selected: Option<usize>,
    /// Whether the end is shown rather than the beginning, and scrolling goes up from there.
    from_end: bool,
}

impl Body {
    fn say(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// A name and a value.
    fn fact(&mut self, name: &str, value: impl AsRef<str>) {
        self.lines.push(format!("  {} {}", fit(name, 18), value.as_ref()));
    }

    fn gap(&mut self) {
        self.lines.push(String::new());
    }
}

/// `12:00:00` of an instant in JSON, on the gate's wall.
pub fn clock_of(time: &Value, offset_s: i32) -> String {
    local(time, offset_s).map_or_else(|| "--:--:--".into(), |time| time.strftime("%H:%M:%S").to_string())
}

fn local(time: &Value, offset_s: i32) -> Option<jiff::Zoned> {
    let time: Timestamp = time.as_str()?.parse().ok()?;
    Some(in_zone(time, offset_s))
}

fn in_zone(time: Timestamp, offset_s: i32) -> jiff::Zoned {
    time.to_zoned(Offset::from_seconds(offset_s).unwrap_or(Offset::UTC).to_time_zone())
}

/// A JSON value as people read it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{name} {}", plain(value)))
            .collect::<Vec<_>>()
            .join(" "),
        other => other.to_string(),
    }
}

/// Draws the console of `width` by `height`; `now` is for the clock in the title.
pub fn draw(app: &mut App, width: usize, height: usize, now: Timestamp) -> Grid {
    let mut grid = Grid::new(width, height, app.ascii);
    let (width, height) = (grid.width(), grid.height());
    if height < FRAME + 1 || width < 20 {
        grid.put(0, 0, app.say(Say::TooSmall));
        return grid;
    }
    let room = height - FRAME;
    app.room = match app.screen {
        Screen::People | Screen::Records => room.saturating_sub(2).max(1),
        _ => room,
    };
    grid.put_reverse(0, &title(app, width, now));
    let body = body(app, width);
    let first = first_line(app, &body, room);
    for (line, text) in body.lines.iter().enumerate().skip(first).take(room) {
        if body.selected == Some(line) {
            grid.put_reverse(1 + line - first, text);
        } else {
            grid.put(1 + line - first, 0, text);
        }
    }
    let message = match &app.prompt {
        Some(prompt) => prompted(app.say(prompt.question), &prompt.typed, width),
        None if !app.message.is_empty() => app.message.clone(),
        None => match &app.agent {
            Agent::Away(_) => app.say(Say::AgentAway).to_owned(),
            Agent::Unknown => app.say(Say::AgentStarting).to_owned(),
            Agent::Here => String::new(),
        },
    };
    grid.put(height - 3, 0, &"-".repeat(width));
    grid.put(height - 2, 0, &message);
    grid.put(height - 1, 0, app.say(keys(app)));
    grid
}

/// A question with what was typed; its end when it is too long for the line.
fn prompted(question: &str, typed: &str, width: usize) -> String {
    let room = width.saturating_sub(2 * question.chars().count() + 3).max(8);
    let letters = typed.chars().count();
    let shown: String = typed.chars().skip(letters.saturating_sub(room)).collect();
    format!("{question} {shown}_")
}

/// The first line of the body that is shown.
fn first_line(app: &mut App, body: &Body, room: usize) -> usize {
    let most = body.lines.len().saturating_sub(room);
    if let Some(selected) = body.selected {
        return selected.saturating_sub(room.saturating_sub(1)).min(most);
    }
    app.scroll = app.scroll.min(most);
    if body.from_end { most - app.scroll } else { app.scroll }
}

fn title(app: &App, width: usize, now: Timestamp) -> String {
    let clock = in_zone(now, app.offset_s()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let terminal = &app.config.terminal;
    let left = format!(
        " {} {} {}  {}",
        app.say(Say::Title),
        terminal.model,
        terminal.serial,
        app.say(name(app.screen))
    );
    if width < clock.len() + 12 {
        return left;
    }
    format!("{}{clock} ", fit(&left, width - clock.len() - 1))
}

fn name(screen: Screen) -> Say {
    match screen {
        Screen::Menu => Say::Menu,
        Screen::Status => Say::Status,
        Screen::Log => Say::Log,
        Screen::Cameras => Say::Cameras,
        Screen::Door => Say::Door,
        Screen::People | Screen::Person => Say::People,
        Screen::Records | Screen::Record => Say::Records,
        Screen::Network => Say::Network,
        Screen::Platforms => Say::Platforms,
        Screen::Update => Say::Update,
        Screen::Doctor => Say::Doctor,
        Screen::Diagnosis => Say::Diagnosis,
        Screen::Reset => Say::Reset,
    }
}

fn keys(app: &App) -> Say {
    if app.prompt.is_some() {
        return Say::KeysPrompt;
    }
    match app.screen {
        Screen::Menu => Say::KeysMenu,
        Screen::Status | Screen::Cameras | Screen::Network => Say::KeysBack,
        Screen::Log | Screen::Record => Say::KeysScroll,
        Screen::Door => Say::KeysDoor,
        Screen::People => Say::KeysPeople,
        Screen::Person => Say::KeysPerson,
        Screen::Records => Say::KeysRecords,
        Screen::Platforms => Say::KeysPlatforms,
        Screen::Update => Say::KeysUpdate,
        Screen::Doctor => Say::KeysDoctor,
        Screen::Diagnosis => Say::KeysDiagnosis,
        Screen::Reset => Say::KeysReset,
    }
}

fn body(app: &App, width: usize) -> Body {
    let mut body = Body::default();
    let needs_agent = matches!(
        app.screen,
        Screen::Status
            | Screen::Cameras
            | Screen::Door
            | Screen::People
            | Screen::Person
            | Screen::Records
            | Screen::Record
    );
    if let (true, Agent::Away(why)) = (needs_agent, &app.agent) {
        body.say(app.say(Say::AgentNeeded));
        body.gap();
        body.say(why.clone());
        return body;
    }
    match app.screen {
        Screen::Menu => menu(app, &mut body),
        Screen::Status => status(app, &mut body),
        Screen::Log => {
            body.from_end = true;
            body.lines.extend(app.log.iter().cloned());
        }
        Screen::Cameras => cameras(app, &mut body),
        Screen::Door => door(app, &mut body),
        Screen::People => people(app, &mut body, width),
        Screen::Records => records(app, &mut body, width),
        Screen::Person | Screen::Record => one(app, &mut body),
        Screen::Network => network(app, &mut body),
        Screen::Platforms => platforms(app, &mut body),
        Screen::Update => update(app, &mut body),
        Screen::Doctor => doctor(app, &mut body, width),
        Screen::Diagnosis => {
            body.gap();
            body.say(app.say(Say::DiagnosisHint));
        }
        Screen::Reset => {
            body.gap();
            for say in [Say::ResetHint1, Say::ResetHint2, Say::ResetHint3] {
                body.say(app.say(say));
            }
        }
    }
    body
}

fn menu(app: &App, body: &mut Body) {
    for (at, (key, name, _)) in MENU.iter().enumerate() {
        let mark = if at == app.chosen { '>' } else { ' ' };
        let name = if *name == Say::OtherLanguage && app.ascii { Say::NoOtherLanguage } else { *name };
        body.say(format!(" {mark} {key}  {}", app.say(name)));
    }
    body.selected = Some(app.chosen);
}

/// A word of the API in the language of the console.
fn word<'a>(app: &App, group: &str, state: &'a Value) -> std::borrow::Cow<'a, str> {
    let state = state.as_str().unwrap_or("unknown");
    if group == "reason"
        && let Some(why) = Reason::ALL.into_iter().find(|why| why.as_str() == state)
    {
        return reason(why, app.language).into();
    }
    match page::find(&format!("{group}.{state}"), app.language) {
        Some(text) => text.into(),
        None => state.into(),
    }
}

/// Seconds as `3 d 4 h 5 min`.
fn span(app: &App, seconds: u64) -> String {
    let unit = |name: &str| page::find(&format!("unit.{name}"), app.language).unwrap_or_default();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match days {
        0 => format!("{hours} {} {minutes} {}", unit("hour"), unit("minute")),
        _ => format!("{days} {} {hours} {}", unit("day"), unit("hour")),
    }
}

fn status(app: &App, body: &mut Body) {
    let status = &app.status;
    if status.is_null() {
        return;
    }
    body.fact(app.say(Say::Serial), plain(&status["serial"]));
    body.fact(app.say(Say::Model), plain(&status["model"]));
    body.fact(app.say(Say::Version), plain(&status["version"]));
    body.fact(app.say(Say::Uptime), span(app, status["uptime_s"].as_u64().unwrap_or_default()));
    body.gap();
    let store = &status["store"];
    body.fact(
        app.say(Say::People),
        format!("{}   {} {}", plain(&store["people"]), app.say(Say::Faces), plain(&store["faces"])),
    );
    body.fact(app.say(Say::Records), plain(&store["records"]));
    body.fact(app.say(Say::DoorState), word(app, "door", &status["door"]["state"]));
    for camera in status["cameras"].as_array().into_iter().flatten() {
        body.fact(app.say(Say::Cameras), camera_line(app, camera));
    }
    for platform in status["platforms"].as_array().into_iter().flatten() {
        body.fact(app.say(Say::Platform), platform_line(app, platform));
    }
    let verdict = &status["last_verdict"];
    if !verdict.is_null() {
        let text = &verdict["text"][language_tag(app.language)];
        let time = clock_of(&verdict["time"], app.offset_s());
        let name = verdict["name"].as_str().unwrap_or_default();
        body.fact(app.say(Say::LastVerdict), format!("{time}  {}  {name}", plain(text)));
    }
    for notice in status["notices"].as_array().into_iter().flatten() {
        let kind = word(app, "notice", &notice["kind"]);
        let about = [&notice["about"], &notice["text"], &notice["count"]].map(plain).join(" ");
        body.fact(app.say(Say::Notices), format!("{kind}{about}"));
    }
}

fn language_tag(language: Language) -> &'static str {
    match language {
        Language::Chinese => "zh-CN",
        Language::English => "en",
    }
}

fn camera_line(app: &App, camera: &Value) -> String {
    let rate = camera["fps"].as_f64().map(|fps| format!("  {fps:.1} {}", app.say(Say::FramesPerSecond)));
    let error = camera["error"].as_str().map(|error| format!("  {error}"));
    format!(
        "{} {}  {}{}{}",
        plain(&camera["camera"]),
        word(app, "camera", &camera["role"]),
        word(app, "camera", &camera["state"]),
        rate.unwrap_or_default(),
        error.unwrap_or_default(),
    )
}

fn platform_line(app: &App, platform: &Value) -> String {
    let waiting = platform["outbox"].as_u64().map(|waiting| format!("  {} {waiting}", app.say(Say::Waiting)));
    format!(
        "{}  {}  {}{}",
        plain(&platform["platform"]),
        word(app, "platform", &platform["state"]),
        plain(&platform["server"]),
        waiting.unwrap_or_default(),
    )
}

fn cameras(app: &App, body: &mut Body) {
    for (index, camera) in app.status["cameras"].as_array().into_iter().flatten().enumerate() {
        body.say(format!(" {}", camera_line(app, camera)));
        let Some(Some(face)) = app.faces.get(index) else {
            body.say(format!("     {}: -", app.say(Say::LastFace)));
            continue;
        };
        let [left, top, width, height] = face.rect;
        let live = face.live.map_or_else(|| app.say(Say::NotJudged).to_owned(), |live| live.to_string());
        let name = app.name_of(face.track).unwrap_or("?");
        let ago = (Timestamp::now().as_second() - face.seen).max(0);
        body.say(format!(
            "     {}: {} {width}x{height} {} ({left},{top}), {} {live}, {name}  {ago} s",
            app.say(Say::LastFace),
            app.say(Say::Face),
            app.say(Say::At),
            app.say(Say::Live),
        ));
    }
}

fn door(app: &App, body: &mut Body) {
    body.gap();
    body.say(format!(" {}", app.say(Say::DoorHint)));
    body.fact(app.say(Say::DoorState), word(app, "door", &app.status["door"]["state"]));
    body.gap();
    body.say(format!(" {}:", app.say(Say::LastOfDoor)));
    body.lines.extend(app.wires.iter().map(|line| format!("   {line}")));
}

fn people(app: &App, body: &mut Body, width: usize) {
    let count = plain(&app.status["store"]["people"]);
    let search = match app.search.as_str() {
        "" => String::new(),
        text => format!("   {}: {text}", app.say(Say::SearchedFor)),
    };
    body.say(format!(
        " {} {count}   {} {}{search}",
        app.say(Say::Enrolled),
        app.say(Say::Page),
        app.people.number()
    ));
    body.gap();
    if app.people.rows.is_empty() {
        if app.people.known {
            body.say(format!(" {}", app.say(Say::NobodyFound)));
        }
        return;
    }
    let wide = width.saturating_sub(34).max(8) / 2;
    for person in &app.people.rows {
        body.say(format!(
            " {} {} {} {} {}",
            fit(&plain(&person["origin"]), 11),
            fit(&plain(&person["id"]), wide),
            fit(&plain(&person["name"]), wide),
            fit(&plain(&person["kind"]), 8),
            person["faces"].as_array().map_or(0, Vec::len),
        ));
    }
    body.selected = Some(2 + app.people.selected);
}

fn records(app: &App, body: &mut Body, width: usize) {
    body.say(format!(
        " {} {}   {} {}",
        app.say(Say::Records),
        plain(&app.status["store"]["records"]),
        app.say(Say::Page),
        app.records.number()
    ));
    body.gap();
    if app.records.rows.is_empty() {
        if app.records.known {
            body.say(format!(" {}", app.say(Say::NoRecords)));
        }
        return;
    }
    let wide = width.saturating_sub(48).max(8);
    for record in &app.records.rows {
        let offset = record["utc_offset_s"].as_i64().and_then(|s| i32::try_from(s).ok()).unwrap_or_default();
        let at = local(&record["at"], offset)
            .map_or_else(String::new, |at| at.strftime("%m-%d %H:%M:%S").to_string());
        let opened = if record["opened"] == true { Say::Opened } else { Say::Shut };
        let score = record["score"].as_f64().map_or_else(|| "-".into(), |score| format!("{score:.0}"));
        body.say(format!(
            " {} {at} {} {} {} {}",
            fit(&plain(&record["id"]), 7),
            fit(app.say(opened), 6),
            fit(&score, 3),
            fit(&plain(&record["name"]), 10),
            fit(&word(app, "reason", &record["reason"]), wide),
        ));
    }
    body.selected = Some(2 + app.records.selected);
}

fn one(app: &App, body: &mut Body) {
    for (field, value) in app.one.as_object().into_iter().flatten() {
        let text = plain(value);
        if field != "row" && !text.is_empty() {
            body.fact(field, text);
        }
    }
}

fn network(app: &App, body: &mut Body) {
    let cards = app.network.as_array().map(Vec::as_slice).unwrap_or_default();
    if cards.is_empty() && app.network.is_array() {
        body.say(format!(" {}", app.say(Say::NoCards)));
    }
    for card in cards {
        body.fact(app.say(Say::Card), format!("{}  {}", plain(&card["name"]), plain(&card["mac"])));
        body.fact(app.say(Say::Address), plain(&card["address"]));
        body.fact(app.say(Say::Mask), plain(&card["mask"]));
        body.fact(app.say(Say::Gateway), plain(&card["gateway"]));
        body.fact("DNS", plain(&card["dns"]));
        body.gap();
    }
    body.say(format!(" {}", app.say(Say::NetworkWhere)));
}

fn platforms(app: &App, body: &mut Body) {
    body.fact(app.say(Say::Configuration), app.config_file.display().to_string());
    body.gap();
    let servers = app.servers();
    if servers.is_empty() {
        body.say(format!(" {}", app.say(Say::NoPlatform)));
    }
    for (number, (name, server)) in servers.iter().enumerate() {
        body.say(format!(" {}  {}  {server}", number + 1, name));
    }
    body.gap();
    for platform in app.status["platforms"].as_array().into_iter().flatten() {
        let error = plain(&platform["error"]);
        body.fact(app.say(Say::Platform), format!("{}  {error}", platform_line(app, platform)));
    }
}

fn update(app: &App, body: &mut Body) {
    body.fact(app.say(Say::Version), env!("CARGO_PKG_VERSION"));
    body.fact(app.say(Say::Installer), &app.config.update.installer);
    let standing = &app.update;
    for (say, field) in [(Say::Booted, "booted"), (Say::Primary, "primary"), (Say::Trial, "trial")] {
        let slot = plain(&standing[field]);
        if !slot.is_empty() {
            body.fact(app.say(say), slot);
        }
    }
    for slot in standing["slots"].as_array().into_iter().flatten() {
        body.say(format!("    {}", plain(slot)));
    }
    let attempt = plain(&standing["attempt"]);
    body.fact(app.say(Say::LastUpdate), if attempt.is_empty() { app.say(Say::Nothing) } else { &attempt });
    // While one is under way, how far it is.
    let last = &app.status["update"];
    if !last.is_null() {
        let told =
            ["state", "version", "percent", "what", "error"].map(|field| plain(&last[field])).join("  ");
        body.fact("", told);
    }
    let error = plain(&standing["error"]);
    if !error.is_empty() {
        body.fact("", error);
    }
}

/// A long text in lines of `width` columns, all but the first set in.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    const INDENT: usize = 7;
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for character in text.chars() {
        let wide = super::grid::columns(character);
        if used + wide > width && used > INDENT {
            lines.push(std::mem::replace(&mut line, " ".repeat(INDENT)));
            used = INDENT;
        }
        line.push(character);
        used += wide;
    }
    lines.push(line);
    lines
}

fn doctor(app: &App, body: &mut Body, width: usize) {
    let tag = language_tag(app.language);
    for finding in app.findings.as_array().into_iter().flatten() {
        let state = &finding["state"];
        let mark = [State::Well, State::Absent, State::Attention, State::Failed]
            .into_iter()
            .find(|known| serde_json::json!(known) == *state)
            .map_or("?   ", State::mark);
        let found = format!(
            "{mark} {} [{}] {}",
            plain(&finding["what"][tag]),
            plain(&finding["looked_for"][tag]),
            plain(&finding["found"][tag]),
        );
        body.lines.extend(wrapped(&found, width));
        let advice = plain(&finding["advice"][tag]);
        if !advice.is_empty() {
            body.lines.extend(wrapped(&format!("       {}: {advice}", app.say(Say::ToDo)), width));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_findings_are_wrapped_by_columns() {
        assert_eq!(wrapped("short", 20), ["short"]);
        assert_eq!(wrapped("ok   张三李四王五 x", 13), ["ok   张三李四", "       王五 x"]);
        let lines = wrapped(&"a".repeat(30), 13);
        assert_eq!(lines, ["aaaaaaaaaaaaa", "       aaaaaa", "       aaaaaa", "       aaaaa"]);
    }

    #[test]
    fn every_screen_is_drawn_at_every_size() {
        let mut app = App::new(Default::default(), "menshen.toml".into(), Language::Chinese, false);
        app.agent = Agent::Here;
        for (_, _, screen) in MENU {
            app.screen = screen.unwrap_or(Screen::Menu);
            for (width, height) in [(0, 0), (1, 1), (20, 5), (21, 6), (80, 24), (9999, 9999)] {
                let grid = draw(&mut app, width, height, Timestamp::UNIX_EPOCH);
                assert!(grid.width() <= 200 && grid.height() <= 80);
            }
        }
    }
}
