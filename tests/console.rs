//! `menshen console` as a technician uses it: keys typed on a terminal of 80 columns and 24 lines, and what is on
//! its screen.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod process;
    pub mod serial;
}

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use support::process::{Agent, PATIENCE, http, menshen, prepared};
use support::serial::Terminal;

const SERIAL: &str = "FEDCBA9876543210";

/// The title over the menu.
const MENU: &str = "FEDCBA9876543210  Menu";
const MENU_ZH: &str = "FEDCBA9876543210  主菜单";

/// A gate in a folder of its own, with a camera that shows people and one person enrolled.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn config(&self, frames: &Path) -> String {
        format!(
            "[terminal]\ndata_dir = {data:?}\n[[camera]]\nrole = \"visible\"\nsource = \"files:{frames}\"\nfps = 5\n\
             [platform.qyzn]\nserver = \"127.0.0.1:9\"\n",
            data = self.folder.path().join("data"),
            frames = frames.display(),
        )
    }

    /// The gate runs.
    fn agent(&self, frames: &Path) -> Agent {
        let mut agent = Agent::start(self.folder.path(), &self.config(frames));
        agent.event("ready", |event| event["task"] == "agent" && event["state"] == "ready");
        agent
    }

    fn configured(&self) -> PathBuf {
        let file = self.folder.path().join("menshen.toml");
        if !file.exists() {
            let page = support::process::free_address();
            let config = format!(
                "{}[vision]\nmodels_dir = {:?}\n[service]\nadmin = {{ listen = \"{page}\" }}\n",
                self.config(&frames()),
                prepared("models"),
            );
            std::fs::write(&file, config).unwrap();
        }
        file
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = menshen();
        command.arg("console").arg("--config").arg(self.configured()).args(more);
        command.env("LANG", "C.UTF-8").env_remove("LC_ALL").env_remove("LC_CTYPE").env("TERM", "vt100");
        command
    }

    fn console(&self, more: &[&str]) -> Terminal {
        Terminal::start(&self.command(more), 80, 24, None)
    }

    fn enrol(&self, id: &str, name: &str) {
        let picture = prepared(".setup/test/pictures/p01-1.jpg");
        let output = menshen()
            .args(["enroll", "--id", id, "--name", name, "--card", "0012345678"])
            .arg(picture)
            .arg("--config")
            .arg(self.configured())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

fn frames() -> PathBuf {
    prepared(".setup/demo/frames")
}

/// A folder with one picture of an empty wall.
fn wall(place: &Place) -> PathBuf {
    let folder = place.folder.path().join("wall");
    std::fs::create_dir_all(&folder).unwrap();
    let picture = image::RgbImage::from_pixel(320, 240, image::Rgb([90, 90, 90]));
    picture.save(folder.join("1.jpg")).unwrap();
    folder
}

#[test]
fn every_item_is_on_the_screen_in_english() {
    let place = Place::new();
    place.enrol("p-7", "张三");
    let mut agent = place.agent(&frames());
    let mut console = place.console(&["--language", "en"]);
    let menu = console.sees(&["Menshen MS01", SERIAL, "1  Status", "f  Factory reset", "q  Leave"]);
    dump("menu", &menu);
    let status = console.press("1", &["Serial number", SERIAL, "Up for", "Watching", "frames/s", "qyzn"]);
    dump("status", &status);
    console.press("\x1b", &[MENU, "> 1"]);

    dump("log", &console.press("2", &["Live log", "Arrows scroll", "ready"]));
    console.press("\x1b", &[MENU]);

    let cameras = console.press("3", &["visible light", "frames/s", "last face: face ", " at (", "live "]);
    dump("cameras", &cameras);
    console.press("\x1b", &[MENU]);

    console.press("4", &["the door opens", "Door"]);
    console.press("o", &["Type OPEN and Enter"]);
    console.press("open\r", &["Cancelled: nothing was changed"]);
    assert_eq!(agent.heard("relay").filter(|event| event["by"] == "technician").count(), 0);
    console.press("o", &["Type OPEN and Enter"]);
    console.press("OPEN\r", &["The door was told to open"]);
    agent.event("the relay", |event| event["kind"] == "relay" && event["state"] == "on");
    let door = console.sees(&["relay  on"]);
    dump("door", &door);
    console.press("\x1b", &[MENU]);

    let people = console.press("5", &["Enrolled 1", "local", "p-7", "张三"]);
    dump("people", &people);
    console.press("/", &["Search for an id or name:"]);
    console.press("nobody\r", &["Nobody found", "Search: nobody"]);
    console.press("/", &["Search for an id or name:"]);
    console.press("P-7\r", &["Search: P-7", "张三"]);
    dump("person", &console.press("\r", &["0012345678", "x removes"]));
    console.press("x", &["Type DELETE and Enter"]);
    console.press("\x1b[A", &["Cancelled"]);
    assert!(agent.get("/api/v1/people")["people"][0]["id"] == "p-7");
    console.press("x", &["Type DELETE and Enter"]);
    console.press("DELETE\r", &["Nobody found"]);
    assert_eq!(agent.get("/api/v1/people")["people"].as_array().unwrap().len(), 0);
    console.press("\x1b", &[MENU]);

    agent.event("a record", |event| event["kind"] == "record" && event["state"] == "stored");
    let records = console.press("6", &["Records", "page 1", "shut", "Not registered"]);
    dump("records", &records);
    dump("record", &console.press("\r", &["latency_ms", "reason"]));
    console.press("\x1b", &["page 1"]);
    console.press("\x1b", &[MENU]);

    dump("network", &console.press("7", &["Network", "menshen network set"]));
    console.press("\x1b", &[MENU]);

    let platforms = console.press("8", &["127.0.0.1:9", "menshen.toml", "qyzn"]);
    dump("platforms", &platforms);
    console.press("s", &["New address of the server:"]);
    console.press("nonsense\r", &["Type CHANGE and Enter"]);
    console.press("CHANGE\r", &["by hand"]);
    console.press("s", &["New address of the server:"]);
    console.press("127.0.0.1:10\r", &["Type CHANGE and Enter"]);
    console.press("CHANGE\r", &["Written; it counts after a restart", "127.0.0.1:10"]);
    assert!(std::fs::read_to_string(place.configured()).unwrap().contains("server = \"127.0.0.1:10\"\n"));
    console.press("\x1b", &[MENU]);

    dump("update", &console.press("9", &["Version", env!("CARGO_PKG_VERSION"), "Installer", "none"]));
    console.press("\x1b", &[MENU]);

    let doctor = console.press("d", &["agent", "runs, version", "relay", "camera 0"]);
    dump("doctor", &doctor);
    console.press("\x1b", &[MENU]);

    console.press("b", &["No pictures, names"]);
    console.press("w", &["Write to the file:", ".tar_"]);
    let bundle = place.folder.path().join("b.tar");
    console.type_in(&"\x7f".repeat(120));
    console.press(&format!("{}\r", bundle.display()), &["The bundle was written to"]);
    assert!(std::fs::metadata(&bundle).unwrap().len() > 1024);
    console.press("\x1b", &[MENU]);

    // The arrows choose as well; the last line is the end.
    console.press("\x1b[A\x1b[A", &["> 9"]);
    console.press("\x1bOB\x1bOB\x1bOB\x1bOB\x1bOB", &["> q"]);
    console.type_in("\r");
    assert!(console.ends().success());
    console.comes_back();
    assert!(console.settings_are_as_before());
}

#[test]
fn chinese_letters_are_as_wide_as_two() {
    let place = Place::new();
    place.enrol("p-7", "张三");
    let agent = place.agent(&wall(&place));
    let mut console = place.console(&["--language", "zh-CN"]);
    dump("menu-zh", &console.sees(&["门神 MS01", "1  状态", "f  恢复出厂", "主菜单"]));
    // The clock ends in the same column as in English: wide letters were counted as two.
    let first = console.screen().lines().next().unwrap().to_owned();
    let columns: usize = first.chars().map(|letter| if letter.is_ascii() { 1 } else { 2 }).sum();
    assert_eq!(columns, 80 - usize::from(!first.ends_with(' ')), "{first:?}");
    dump("status-zh", &console.press("1", &["序列号", "已运行", "工作中", "帧/秒", "待上传"]));
    console.press("\x1b", &[MENU_ZH]);
    dump("people-zh", &console.press("5", &["已登记 1", "张三"]));
    console.press("/", &["查找编号或姓名："]);
    console.press("张\r", &["查找: 张", "p-7"]);
    console.press("\x1b", &[MENU_ZH]);
    dump("doctor-zh", &console.press("d", &["门禁程序", "运行中，版本", "继电器"]));
    console.press("\x1b", &[MENU_ZH]);
    dump("reset-zh", &console.press("f", &["将删除", "将保留", "无法撤销"]));
    console.press("\x1b", &[MENU_ZH]);
    dump("english", &console.press("l", &[MENU, "1  Status"]));
    console.press("l", &[MENU_ZH, "1  状态"]);
    drop(agent);
    console.sees(&["门禁程序未运行"]);
    console.press("q", &[]);
    assert!(console.ends().success());
}

#[test]
fn a_terminal_without_unicode_gets_ascii_alone() {
    let place = Place::new();
    place.enrol("p-7", "张三");
    let _agent = place.agent(&wall(&place));
    let mut command = place.command(&["--language", "zh-CN"]);
    command.env("LANG", "C");
    let mut console = Terminal::start(&command, 80, 24, None);
    assert!(console.sees(&["1  Status"]).is_ascii());
    assert!(console.press("5", &["Enrolled 1", "p-7"]).is_ascii());
    // There is no other language to change to.
    console.press("\x1b", &[MENU]);
    console.press("l", &["> l"]);
    assert!(console.screen().is_ascii());
    console.type_in("q");
    assert!(console.ends().success());
}

#[test]
fn without_an_agent_the_rest_still_works() {
    let place = Place::new();
    let mut console = place.console(&["--language", "en"]);
    console.sees(&["The agent does not run: log, network, doctor"]);
    for (key, title) in [("1", "  Status  "), ("3", "  Cameras  "), ("5", "  People  "), ("6", "  Records  ")]
    {
        console.press(key, &[title, "this item needs it"]);
        console.press("\x1b", &[MENU]);
    }
    console.press("4", &["this item needs it"]);
    console.press("o", &["The agent does not run"]);
    assert!(!console.screen().contains("OPEN"));
    console.press("\x1b", &[MENU]);
    console.press("2", &["Arrows scroll"]);
    console.press("\x1b", &[MENU]);
    console.press("7", &["menshen network set"]);
    console.press("\x1b", &[MENU]);
    console.press("d", &["does not run, or has no admin service", "first start makes it"]);
    console.press("\x1b", &[MENU]);
    console.press("f", &["cannot be undone"]);
    console.press("x", &["Type RESET and Enter"]);
    console.press("RESET\r", &["The gate has been reset"]);
    console.press("\x1b", &[MENU]);
    console.type_in("\x03");
    assert!(console.ends().success());
    console.comes_back();
    assert!(console.settings_are_as_before());
}

#[test]
fn a_reset_through_the_running_agent_empties_the_gate_and_keeps_who_it_is() {
    let place = Place::new();
    place.enrol("p-7", "张三");
    let agent = place.agent(&wall(&place));
    let key = std::fs::read(place.folder.path().join("data/device.key")).unwrap();
    let run = agent.get("/api/v1/status")["run"].clone();
    let mut console = place.console(&["--language", "en"]);
    console.press("f", &["cannot be undone"]);
    console.press("x", &["Type RESET and Enter"]);
    console.press("RESET\r", &["Ordered: the gate restarts and is empty then"]);
    let until = std::time::Instant::now() + PATIENCE;
    let status = loop {
        if std::net::TcpStream::connect(agent.page).is_ok()
            && let Ok((200, body)) = std::panic::catch_unwind(|| http(agent.page, "GET", "/api/v1/status"))
            && let Ok(status) = serde_json::from_slice::<serde_json::Value>(&body)
            && status["run"] != run
        {
            break status;
        }
        assert!(std::time::Instant::now() < until, "the agent does not begin anew");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!((&status["store"]["people"], &status["serial"]), (&0.into(), &SERIAL.into()));
    assert_ne!(std::fs::read(place.folder.path().join("data/device.key")).unwrap(), key);
    console.press("\x1b", &[MENU]);
    console.press("5", &["Enrolled 0", "Nobody found"]);
}

#[test]
fn garbage_on_the_line_does_nothing_and_harms_nothing() {
    let place = Place::new();
    place.enrol("p-7", "张三");
    let mut agent = place.agent(&wall(&place));
    let mut console = place.console(&["--language", "en"]);
    console.sees(&["1  Status"]);
    // A generator of Marsaglia's (xorshift64), so that a failure can be seen again.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..24_u64 {
        let bytes: Vec<u8> = (0..256)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let byte = state.to_le_bytes()[3];
                // Ctrl-C, Ctrl-D and q are the end on purpose. Half of the rounds have letters and Enter alone.
                let byte = if round % 2 == 0 {
                    byte
                } else {
                    b"\r\x1b[ABxosdf456789OPENRESETDELTwni/"[usize::from(byte) % 32]
                };
                if matches!(byte, 3 | 4 | b'q' | b'Q') { b'\r' } else { byte }
            })
            .collect();
        console.bytes_in(&bytes);
        // The line must not be written faster than it is read.
        console.type_in("\x1b");
    }
    // Two pauses are two lone Esc: whatever was open is closed, and the menu is there.
    let mut menu = console.sees_within(Duration::from_millis(400), |screen| screen.contains("q  Leave"));
    let until = std::time::Instant::now() + PATIENCE;
    while menu.is_err() && std::time::Instant::now() < until {
        console.type_in("\x1b");
        menu = console.sees_within(Duration::from_millis(400), |screen| screen.contains("q  Leave"));
    }
    let menu = menu.unwrap_or_else(|screen| panic!("no menu after the noise:\n{screen}"));
    assert!(menu.contains("Factory reset") || menu.contains("恢复出厂"));
    assert!(console.child.try_wait().unwrap().is_none(), "it still runs");
    assert_eq!(agent.get("/api/v1/people")["people"][0]["id"], "p-7");
    assert!(agent.event_within(Duration::from_millis(200), |event| event["by"] == "technician").is_none());
    assert_eq!(
        agent.heard("relay").filter(|event| event["state"] == "on").count(),
        0,
        "the door has not moved"
    );
    assert!(!place.folder.path().join("data/factory-reset").exists());
    console.type_in("q");
    assert!(console.ends().success());
    assert!(console.settings_are_as_before());
}

#[test]
fn odd_sizes_are_drawn_and_the_usual_one_again() {
    let place = Place::new();
    let _agent = place.agent(&wall(&place));
    let mut console = place.console(&["--language", "zh-CN"]);
    console.sees(&["1  状态"]);
    for (columns, lines) in [(1, 1), (7, 3), (20, 5), (40, 10), (33, 25), (200, 70), (65, 24)] {
        console.resize(columns, lines);
        if columns >= 20 {
            console.sees(&["> 1"]);
        }
    }
    console.resize(40, 8);
    console.type_in("\x1b[A");
    console.sees(&["> q"]);
    console.resize(80, 24);
    console.sees(&["1  状态", "q  退出"]);
    console.press("\x0c", &["1  状态"]);
    // A line that does not say its size is taken for 80 by 24.
    let mut other = Terminal::start(&place.command(&["--language", "en"]), 0, 0, None);
    other.sees(&["q  Leave"]);
    other.type_in("q");
    assert!(other.ends().success());
}

#[test]
fn the_terminal_is_given_back_whatever_ends_the_console() {
    use rustix::process::Signal;
    let place = Place::new();
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let mut console = place.console(&["--language", "en"]);
        console.sees(&["1  Status"]);
        assert!(!console.settings_are_as_before() && !console.is_given_back());
        console.signal(signal);
        assert!(console.ends().success(), "{signal:?}");
        console.comes_back();
        assert!(console.settings_are_as_before(), "{signal:?}");
    }
    // In the middle of a question, the line is cut.
    let mut console = place.console(&["--language", "en"]);
    console.press("f", &["cannot be undone"]);
    console.press("x", &["Type RESET and Enter"]);
    console.type_in("RES");
    console.hang_up();
    assert!(console.ends().success());
    assert!(!place.folder.path().join("data/factory-reset").exists());
}

#[test]
fn a_console_that_nobody_uses_ends() {
    let place = Place::new();
    let file = place.configured();
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{config}[console]\nidle_s = 2\n")).unwrap();
    let mut console = place.console(&["--language", "en"]);
    console.sees(&["1  Status"]);
    assert!(console.ends().success());
    console.comes_back();
    assert!(console.settings_are_as_before());
    console.sees(&["Nobody was there: the console has ended"]);
}

#[test]
fn a_refresh_fits_the_line() {
    let place = Place::new();
    place.enrol("p-7", "张三");
    let mut agent = place.agent(&frames());
    let mut console = Terminal::start(&place.command(&["--language", "zh-CN"]), 80, 24, Some(115_200));
    console.sees(&["1  状态", "q 退出"]);
    let first = console.bytes();
    // Once around: each screen costs what it shows, and less than the 2 kB of a whole one.
    let mut costs = Vec::new();
    for (key, text) in [("1", "序列号"), ("3", "最近人脸"), ("5", "已登记"), ("7", "网卡"), ("8", "配置文件")]
    {
        let before = console.bytes();
        console.press(key, &[text]);
        costs.push((text, console.bytes() - before));
        console.press("\x1b", &[MENU_ZH]);
    }
    // Faces come and go: ten seconds of the liveliest screen.
    console.press("3", &["最近人脸"]);
    let before = console.bytes();
    for _ in 0..20 {
        agent.event("a face", |event| event["kind"] == "face");
    }
    let until = std::time::Instant::now() + Duration::from_secs(5);
    while agent.event_within(until.saturating_duration_since(std::time::Instant::now()), |_| false).is_some()
    {
    }
    let second = (console.bytes() - before) as f64 / 5.0;
    println!("first screen {first} bytes; screens {costs:?}; cameras {second:.0} bytes a second");
    assert!(first < 2500, "{first}");
    assert!(costs.iter().all(|(_, bytes)| *bytes < 2500), "{costs:?}");
    assert!(second < 1000.0, "{second}");
}

#[test]
fn a_console_without_a_terminal_says_so() {
    let place = Place::new();
    let output = place.command(&[]).stdin(std::process::Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("needs a terminal"));
}

/// Screens are kept for whoever asks: `MENSHEN_SCREENS=DIR`.
fn dump(name: &str, screen: &str) {
    if let Some(folder) = std::env::var_os("MENSHEN_SCREENS") {
        std::fs::write(Path::new(&folder).join(format!("{name}.txt")), screen).unwrap();
    }
}
