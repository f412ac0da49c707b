//! What is looked at, in the order in which a technician would.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{Finding, Words};
use crate::clock::{AdjustedClock, SystemClock};
use crate::config::{self, Camera, CameraRole, Config};
use crate::device::input::Input;
use crate::device::{self, gpio};
use crate::error::{Error, Kind, Result};
use crate::platform::terminal_ws::address::Address;
use crate::store::{Options, Store};
use crate::update::health::{DATA_LOST, data_lost};
use crate::vision::Models;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Less than this is too little for the store, in MiB.
const LITTLE_DISK_MIB: u64 = 64;

/// Less than this is too little for the models beside everything else, in MiB.
const LITTLE_MEMORY_MIB: u64 = 64;

/// The agent, as far as its devices are concerned.
#[derive(Debug, Clone, Copy)]
pub enum Agent<'a> {
    /// It does not run: the devices are free to be looked at.
    Away,
    /// It runs and holds the devices; this is its status (`GET /api/v1/status`).
    Running(&'a Value),
}

impl<'a> Agent<'a> {
    /// A part of the status; `Null` without an agent, or where it says nothing.
    fn says(self, pointer: &str) -> &'a Value {
        const NOTHING: &Value = &Value::Null;
        match self {
            Agent::Away => NOTHING,
            Agent::Running(status) => status.pointer(pointer).unwrap_or(NOTHING),
        }
    }

    fn runs(self) -> bool {
        matches!(self, Agent::Running(_))
    }
}

/// Looks at everything. May take some seconds: a server that does not answer is waited for.
pub fn examine(config: &Config, agent: Agent<'_>) -> Vec<Finding> {
    let mut findings = vec![
        running(config, agent),
        store(config, agent),
        disk(config),
        memory(),
        device::system::examine_clock(),
    ];
    findings.extend(data_partition(Path::new(DATA_LOST)));
    findings.push(models(config));
    if config.camera.is_empty() {
        let none = Finding::about("camera", Words::new("摄像头", "cameras"), "[[camera]]");
        findings.push(none.failed(
            Words::new("没有配置摄像头", "none is configured"),
            Words::new("在配置文件中添加 [[camera]]", "add a [[camera]] table to the configuration"),
        ));
    }
    for (index, camera) in config.camera.iter().enumerate() {
        findings.push(look_through(camera, index, agent));
    }
    findings.extend(wires(config, agent));
    findings.push(device::pcsc::examine(&config.device));
    findings.push(device::voice::examine(&config.device, config.terminal.language));
    findings.push(device::watchdog::examine(&config.device.watchdog));
    findings.push(machine(config));
    findings.push(network(config));
    findings.extend(platforms(config, agent));
    findings.push(update(config, agent));
    findings.push(page(config, agent));
    findings.extend(crate::service::document_reader::examine(config, agent.runs()));
    findings
}

/// Whether the agent runs.
fn running(config: &Config, agent: Agent<'_>) -> Finding {
    let way =
        config.service.admin.as_ref().map_or("service.admin".to_owned(), |admin| admin.listen.to_string());
    let finding = Finding::about("agent", Words::new("门禁程序", "agent"), way);
    match agent {
        Agent::Running(status) => {
            let seconds = status["uptime_s"].as_u64().unwrap_or_default();
            let version = status["version"].as_str().unwrap_or("?");
            finding.well(Words::new(
                format!("运行中，版本 {version}，已运行 {seconds} 秒"),
                format!("runs, version {version}, for {seconds} s"),
            ))
        }
        Agent::Away => finding.attention(
            Words::new("未运行，或没有管理接口", "does not run, or has no admin service"),
            Words::new(
                "systemctl start menshen；看日志：journalctl -u menshen",
                "systemctl start menshen; its log: journalctl -u menshen",
            ),
        ),
    }
}

fn store(config: &Config, agent: Agent<'_>) -> Finding {
    let folder = &config.terminal.data_dir;
    let finding = Finding::about("store", Words::new("数据库", "store"), folder.display().to_string());
    let repair = || {
        Words::new(
            "停止门禁程序后运行 menshen check --repair",
            "stop the agent and run menshen check --repair",
        )
    };
    let counted = |people: u64, records: u64| {
        Words::new(format!("{people} 人，{records} 条记录"), format!("{people} people, {records} records"))
    };
    let said = agent.says("/store");
    if let (Some(people), Some(records)) = (said["people"].as_u64(), said["records"].as_u64()) {
        let failed = agent
            .says("/notices")
            .as_array()
            .into_iter()
            .flatten()
            .find(|notice| notice["kind"] == "store_failed");
        return match failed {
            Some(notice) => {
                finding.failed(Words::same(notice["text"].as_str().unwrap_or("?").to_owned()), repair())
            }
            None => finding.well(counted(people, records)),
        };
    }
    if !folder.join("store.sqlite").exists() {
        return finding.attention(
            Words::new("尚不存在", "is not there yet"),
            Words::new("首次启动时建立", "the first start makes it"),
        );
    }
    let options = Options { data_dir: folder.clone(), config: config.store.clone() };
    let counts = Store::open_read_only(&options).and_then(|store| store.counts());
    finding.of(counts.map(|counts| counted(counts.people, counts.records)), repair())
}

/// Where this start of the machine could not mount its data partition; `file` says so.
fn data_partition(file: &Path) -> Option<Finding> {
    let why = data_lost(file)?;
    let finding =
        Finding::about("data", Words::new("数据分区", "data partition"), file.display().to_string());
    Some(finding.failed(
        Words::new(format!("未挂载，人员与记录不可用：{why}"), why),
        Words::new(
            "数据未被改写：重启；仍如此则检查或更换存储卡",
            "nothing on it was changed: restart; if it stays, repair the partition or replace the card",
        ),
    ))
}

fn disk(config: &Config) -> Finding {
    let folder = &config.terminal.data_dir;
    let finding = Finding::about("disk", Words::new("磁盘", "disk"), folder.display().to_string());
    if !folder.exists() {
        return finding.attention(
            Words::new("数据目录尚不存在", "the data folder does not exist yet"),
            Words::new("首次启动时建立", "the first start makes it"),
        );
    }
    let free = match free_mib(folder) {
        Ok(free) => free,
        Err(error) => {
            return finding.failed(
                Words::from(&error),
                Words::new("检查存储卡", "check the disk or the card that holds it"),
            );
        }
    };
    if rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_err() {
        return finding.attention(
            Words::new("当前用户不能写入", "cannot be written by this user"),
            Words::new(
                "若门禁程序也以此用户运行，请更正目录属主",
                "if the agent runs as this user, correct the owner of the folder",
            ),
        );
    }
    let limit = config.store.hard_limit_mib;
    let found = Words::new(
        format!("剩余 {free} MiB，数据库上限 {limit} MiB"),
        format!("{free} MiB free, the store may grow to {limit} MiB"),
    );
    if free < LITTLE_DISK_MIB {
        finding.failed(found, Words::new("空间太少，请清理", "that is too little: free some space"))
    } else {
        finding.well(found)
    }
}

/// What is free for this user, in MiB.
pub(crate) fn free_mib(folder: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(folder).map_err(|error| {
        Error::caused(Kind::Io, format!("{} cannot be looked at", folder.display()), error)
    })?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize) >> 20)
}

fn memory() -> Finding {
    let finding = Finding::about("memory", Words::new("内存", "memory"), "/proc/meminfo");
    let facts = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let mib = |name: &str| {
        let line = facts.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? >> 10)
    };
    match (mib("MemAvailable"), mib("MemTotal")) {
        (Some(free), Some(whole)) => {
            let found = Words::new(
                format!("可用 {free} MiB，共 {whole} MiB"),
                format!("{free} MiB available of {whole} MiB"),
            );
            if free < LITTLE_MEMORY_MIB {
                finding
                    .attention(found, Words::new("内存不足，请重启设备", "very little: restart the machine"))
            } else {
                finding.well(found)
            }
        }
        _ => finding.attention(
            Words::new("无法读取", "cannot be read"),
            Words::new("检查 /proc 是否挂载", "see whether /proc is mounted"),
        ),
    }
}

fn models(config: &Config) -> Finding {
    let folder = &config.vision.models_dir;
    let finding = Finding::about("models", Words::new("模型", "models"), folder.display().to_string());
    let found = Models::open(folder, &config.vision.onnxruntime).map(|models| {
        let manifest = models.manifest();
        let liveness = manifest.liveness.as_ref().map_or("-", |model| model.name.as_str());
        Words::new(
            format!("{}，{}，活体 {liveness}", manifest.detector.name, models.embedder_id()),
            format!("{}, {}, liveness {liveness}", manifest.detector.name, models.embedder_id()),
        )
    });
    finding.of(
        found,
        Words::new(
            "检查 vision.models_dir，或重新安装模型",
            "check vision.models_dir, or install the models anew",
        ),
    )
}

fn look_through(camera: &Camera, index: usize, agent: Agent<'_>) -> Finding {
    let role = match camera.role {
        CameraRole::Visible => ("可见光", "visible light"),
        CameraRole::Infrared => ("红外", "infrared"),
        CameraRole::Document => ("证件", "document"),
    };
    let what = Words::new(format!("摄像头 {index}（{}）", role.0), format!("camera {index} ({})", role.1));
    let finding = Finding::about(format!("camera.{index}"), what, camera.source.clone());
    let advice = || {
        Words::new(
            "检查排线、电源与 camera.source",
            "check the cable, its power, and camera.source in the configuration",
        )
    };
    let said = agent.says("/cameras").get(index);
    match said.and_then(|said| said["state"].as_str()) {
        Some("watching") => finding.well(Words::new("工作中", "delivers pictures to the agent")),
        Some("lost") => {
            let error = said.and_then(|said| said["error"].as_str()).unwrap_or("?");
            finding.failed(Words::same(error.to_owned()), advice())
        }
        Some(_) if agent.runs() && camera.role != CameraRole::Visible => finding.attention(
            Words::new("门禁程序未使用", "the agent does not use it"),
            Words::new("无需处理", "nothing to do"),
        ),
        Some(_) => finding.attention(
            Words::new("正在启动", "the agent is opening it"),
            Words::new("稍后再看", "look again in a moment"),
        ),
        None => match device::camera::explain(camera, index, Arc::new(SystemClock)) {
            Ok(found) => finding.well(found),
            Err(error) => {
                let advice = device::camera::advice(error.kind());
                finding.failed(Words::from(&error), advice)
            }
        },
    }
}

/// One wire: the words for it, how it is configured, and the kind of event that tells of it.
struct Wire<'a> {
    key: &'static str,
    what: Words,
    source: &'a str,
    event: &'static str,
}

fn wires(config: &Config, agent: Agent<'_>) -> Vec<Finding> {
    let device = &config.device;
    let wire = |key, chinese, english, source, event| Wire {
        key,
        what: Words::new(chinese, english),
        source,
        event,
    };
    let looked = [
        (
            wire("relay", "继电器", "relay", &device.relay, "relay"),
            open(|| device::relay::open(&device.relay).and_then(|_| device::gpio::examine(&device.relay))),
        ),
        (
            wire("lamp", "补光灯", "lamp", &device.lamp, "lamp"),
            open(|| device::lamp::open(&device.lamp).and_then(|_| device::gpio::examine(&device.lamp))),
        ),
        (
            wire("wiegand_out", "韦根输出", "Wiegand output", &device.wiegand_out, "wiegand"),
            open(|| {
                let name = &device.wiegand_out;
                device::wiegand_out::open(name).and_then(|_| device::gpio::examine(name))
            }),
        ),
        (
            wire("wiegand_in", "韦根输入", "Wiegand input", &device.wiegand_in, "wiegand_in"),
            open(|| device::wiegand_in::open(&device.wiegand_in)),
        ),
        (
            wire("rs485", "RS485", "RS485", &device.rs485, "rs485"),
            open(|| device::rs485::open(&device.rs485, &device.rs485_direction)),
        ),
        (
            wire("screen", "屏幕", "screen", &device.screen, "screen"),
            open(|| device::screen::open(&device.screen)),
        ),
        (
            wire("thermometer", "测温", "thermometer", &device.thermometer, "thermometer"),
            open(|| device::thermometer::open(&device.thermometer)),
        ),
    ];
    let mut findings: Vec<Finding> =
        looked.into_iter().map(|(wire, open)| examine_wire(wire, &*open, agent)).collect();
    for (key, chinese, english, source, event) in [
        ("id_reader", "身份证阅读器", "document reader", &device.id_reader, "id_reader"),
        ("qr_reader", "二维码阅读器", "QR reader", &device.qr_reader, "qr_reader"),
    ] {
        let readers = || device::reader::Readers::open(device).and_then(|_| device::gpio::examine(source));
        let wire = Wire { key, what: Words::new(chinese, english), source, event };
        let finding = examine_wire(wire, &readers, agent);
        findings.push(match key {
            "id_reader" => examine_id_reader(finding, config, agent),
            "qr_reader" if !agent.runs() => examine_code_reader(finding, config),
            _ => finding,
        });
    }
    findings.extend(examine_photo_decoder(device));
    findings.extend(examine_authorities(config));
    findings.extend(examine_held_up_portraits(config));
    for (input, chinese, english, source) in [
        (Input::ExitButton, "出门按钮", "exit button", &device.exit_button),
        (Input::DoorContact, "门磁", "door contact", &device.door_contact),
        (Input::Tamper, "防拆", "tamper contact", &device.tamper),
    ] {
        findings.push(examine_input(input, Words::new(chinese, english), source, agent));
    }
    findings
}

/// What reads documents, as far as it can be looked at without taking it from an agent that runs.
fn examine_id_reader(finding: Finding, config: &Config, agent: Agent<'_>) -> Finding {
    let device = &config.device;
    let name = device.id_reader.as_str();
    let parts = device::pcsc::part(name);
    if name == "camera" || parts.is_some() {
        return match (document_camera(config), parts) {
            (Err(error), _) => finding.failed(
                Words::from(&error),
                Words::new(
                    "检查 [[camera]] role = \"document\" 与 vision.models_dir",
                    "check [[camera]] role = \"document\", and vision.models_dir, in the configuration",
                ),
            ),
            (Ok(()), Some(part)) => device::pcsc::look_for(part, finding, "id_reader"),
            (Ok(()), None) if agent.runs() => finding,
            (Ok(()), None) => {
                finding.well(Words::new("由证件摄像头识读", "documents are read by the document camera"))
            }
        };
    }
    match name.split_once(':') {
        Some(("sdt", _)) if !agent.runs() => ask_module(finding, device),
        // A service has room for one page more.
        Some(("document_reader", _)) => finding.of(
            device::id_reader::remote::ask(name)
                .map(|()| Words::new("服务有应答", "a document reader service answers there")),
            Words::new(
                "检查该服务是否运行，以及 device.id_reader 的地址",
                "see whether that service runs, and check the address in device.id_reader",
            ),
        ),
        _ => finding,
    }
}

/// Whether there are a document camera and the model that reads lines for machines.
fn document_camera(config: &Config) -> Result<()> {
    let fail = |what: &str| Err(Error::new(Kind::Config, what.to_owned()));
    if !config.camera.iter().any(|camera| camera.role == CameraRole::Document) {
        return fail("there is no document camera");
    }
    let models = Models::open(&config.vision.models_dir, &config.vision.onnxruntime)?;
    match models.manifest().mrz {
        Some(_) => Ok(()),
        None => fail("there is no model for the lines for machines: [mrz] of the manifest of models"),
    }
}

/// Whose signatures in chips are believed, where there is a reader of chips.
fn examine_authorities(config: &Config) -> Option<Finding> {
    let folder = &config.documents.csca_dir;
    if folder.is_empty() && device::pcsc::part(&config.device.id_reader).is_none() {
        return None;
    }
    let source = if folder.is_empty() { "none".to_owned() } else { folder.clone() };
    let finding = Finding::about(
        "csca_dir",
        Words::new("护照签发机关证书", "signing authorities of passports"),
        source,
    );
    let advice = || {
        Words::new(
            "见 docs/documents.md：把各国 CSCA 证书放入 documents.csca_dir",
            "docs/documents.md: put the states' CSCA certificates into documents.csca_dir",
        )
    };
    if folder.is_empty() {
        return Some(finding.attention(
            Words::new(
                "未配置：不信任任何签发机关，芯片不能证明真伪",
                "none: nobody is believed, chips are not proof",
            ),
            advice(),
        ));
    }
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).datetime();
    Some(match device::chip::Trust::open(&config.documents) {
        Err(error) => finding.failed(Words::from(&error), advice()),
        Ok(trust) => {
            let (all, expired) = (trust.len(), trust.out_of_date(now));
            let found = Words::new(
                format!("{all} 个机关，其中 {expired} 个证书不在有效期"),
                format!("{all} authorities, {expired} of them out of date"),
            );
            match all > expired {
                true => finding.well(found),
                // Documents that they have signed may still be valid, or the gate's clock is wrong.
                false => finding.attention(found, advice()),
            }
        }
    })
}

/// Whoever is compared with the photo of a document must be alive, or the page's own portrait would do.
fn examine_held_up_portraits(config: &Config) -> Option<Finding> {
    let settings = &config.settings;
    if !settings.rules.mode.takes_documents() || settings.face.live_level > 0 {
        return None;
    }
    let finding = Finding::about(
        "live_level",
        Words::new("人证比对活体", "liveness beside documents"),
        "settings.face.live_level = 0".to_owned(),
    );
    Some(finding.attention(
        Words::new(
            "活体检测关闭：举起证件上的照片也可通过",
            "liveness is off: the portrait of the document, held up, passes as its holder",
        ),
        Words::new(
            "设置 settings.face.live_level 为 1，或由平台下发 LiveSwitch",
            "set settings.face.live_level to 1, or LiveSwitch on the platform",
        ),
    ))
}

/// A module for identity cards is asked for its number: nobody else has it, and asking moves nothing.
fn ask_module(finding: Finding, device: &config::Device) -> Finding {
    let asked = device::id_reader::sdt::ask(&device.id_reader, device).map(|serial| {
        let number = if serial.is_empty() { "-" } else { serial.as_str() };
        Words::new(format!("有应答，模块编号 {number}"), format!("answers; its number is {number}"))
    });
    finding.of(
        asked,
        Words::new(
            "检查电源、TX/RX 接线、波特率与 device.id_reader",
            "check its power, TX to RX, its speed, and device.id_reader in the configuration",
        ),
    )
}

/// A scanner says nothing before a code is held before it: its port is opened. The camera as a reader needs one.
fn examine_code_reader(finding: Finding, config: &Config) -> Finding {
    let advice = || {
        Words::new(
            "检查接线、波特率与 device.qr_reader",
            "check its wires, its speed, and device.qr_reader in the configuration",
        )
    };
    match config.device.qr_reader.as_str() {
        "camera" if config.camera.iter().any(|camera| camera.role == CameraRole::Visible) => {
            finding.well(Words::new("由可见光摄像头识读", "codes are read by the visible camera"))
        }
        "camera" => finding.failed(
            Words::new("没有可见光摄像头", "there is no visible camera"),
            Words::new("检查 [[camera]]", "check [[camera]] in the configuration"),
        ),
        name if name.starts_with("serial:") => {
            let opened = device::code_reader::examine(&config.device);
            let well = || {
                Words::new(
                    "串口可以打开；请扫一个码试试",
                    "its port can be opened; hold a code before it to try it",
                )
            };
            finding.of(opened.map(|()| well()), advice())
        }
        _ => finding,
    }
}

/// The decoder of photos, where there is a module that reads some.
fn examine_photo_decoder(device: &config::Device) -> Option<Finding> {
    let program = &device.id_photo_decoder;
    let source =
        if program.as_os_str().is_empty() { "none".to_owned() } else { program.display().to_string() };
    let finding = Finding::about(
        "id_photo_decoder",
        Words::new("身份证照片解码", "decoder of identity cards' photos"),
        source,
    );
    if !device.id_reader.starts_with("sdt:") {
        return None;
    }
    if program.as_os_str().is_empty() {
        let without =
            Words::new("未配置：身份证照片不可用", "none: identity cards are read without their photos");
        return Some(finding.absent(without));
    }
    let access = rustix::fs::Access::EXEC_OK;
    let found = rustix::fs::access(program.as_path(), access)
        .map(|()| Words::new("存在，可执行", "is there and may be run"))
        .map_err(|errno| {
            let error = std::io::Error::from(errno);
            Error::caused(Kind::Device, format!("{} cannot be run", program.display()), error)
        });
    Some(finding.of(
        found,
        Words::new(
            "检查 device.id_photo_decoder：绝对路径，可执行",
            "check device.id_photo_decoder: an absolute path of a program that this user may run",
        ),
    ))
}

/// An input: what it is in, which tells whether it is wired the right way round.
fn examine_input(input: Input, what: Words, source: &str, agent: Agent<'_>) -> Finding {
    // Alone, so that the others do not hide it.
    let alone = || {
        let mut device = config::Device {
            exit_button: "none".into(),
            door_contact: "none".into(),
            tamper: "none".into(),
            ..config::Device::default()
        };
        *match input {
            Input::ExitButton => &mut device.exit_button,
            Input::DoorContact => &mut device.door_contact,
            Input::Tamper => &mut device.tamper,
        } = source.to_owned();
        device::input::Inputs::open(&device).and_then(|_| device::gpio::examine(source))
    };
    let key = input.as_str();
    let finding = examine_wire(Wire { key, what, source, event: "input" }, &alone, agent);
    let said = agent.says("/inputs").as_array().into_iter().flatten().find(|said| said["input"] == key);
    match said {
        Some(said) if said["error"].is_string() => {
            let error = said["error"].as_str().unwrap_or("?").to_owned();
            let advice = Words::new(
                format!("检查接线与配置 device.{key}"),
                format!("check its wires, and device.{key} in the configuration"),
            );
            finding.failed(Words::same(error), advice)
        }
        Some(said) if source != "none" => {
            let state = said["state"].as_str().unwrap_or("?").to_owned();
            finding.well(Words::new(format!("现在：{state}"), format!("now {state}")))
        }
        _ => finding,
    }
}

/// An attempt to open a device that lets go of it at once.
fn open<'a, T>(open: impl Fn() -> Result<T> + 'a) -> Box<dyn Fn() -> Result<()> + 'a> {
    Box::new(move || open().map(drop))
}

fn examine_wire(wire: Wire<'_>, open: &dyn Fn() -> Result<()>, agent: Agent<'_>) -> Finding {
    let finding = Finding::about(wire.key, wire.what, wire.source.to_owned());
    if wire.source == "none" {
        return finding;
    }
    let advice = || {
        Words::new(
            format!("检查接线与配置 device.{}", wire.key),
            format!("check its wires, and device.{} in the configuration", wire.key),
        )
    };
    // What the agent holds is not taken from it: it has said how it goes.
    if agent.runs() {
        let said = &agent.says("/devices")[wire.event];
        if said["state"] == "failed" || said["error"].is_string() {
            let error = said["error"].as_str().unwrap_or("?").to_owned();
            return finding.failed(Words::same(error), advice());
        }
    } else if let Err(error) = open() {
        return finding.failed(Words::from(&error), advice());
    }
    if wire.source.starts_with("sim") {
        return finding.well(Words::new("模拟：没有接线", "simulated: nothing is wired to it"));
    }
    match agent {
        Agent::Running(_) => {
            finding.well(Words::new("门禁程序正在使用，没有故障", "the agent holds it and reports no fault"))
        }
        Agent::Away => finding.of(look(wire.source), advice()),
    }
}

/// Whether what a configuration names is on this machine, without taking it: a line that is taken may move a door.
fn look(source: &str) -> Result<Words> {
    let lines = source.split(',').count();
    if let Some(name) = gpio::Name::parse(source, lines, &gpio::WORDS) {
        let place = gpio::find(&name)?;
        let (chip, lines) = (&place.chip, &place.offsets);
        return Ok(Words::new(
            format!("存在：{chip} {lines:?}"),
            format!("is there: {chip}, lines {lines:?}"),
        ));
    }
    let path = source.split_once(":/").map(|(_, path)| format!("/{path}"));
    let Some(path) = path.filter(|path| path.starts_with("/dev/")) else {
        return Ok(Words::new(
            "名称有效，运行后可知好坏",
            "the name is valid; how it works shows when the agent runs",
        ));
    };
    let access = rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK;
    rustix::fs::access(path.as_str(), access).map_err(|error| {
        let what = match error {
            rustix::io::Errno::NOENT => "is not there: see which there are with ls /dev/tty*",
            rustix::io::Errno::ACCESS => "may not be used by this user: add it to the group of the device",
            _ => "cannot be used",
        };
        Error::caused(Kind::Device, format!("{path} {what}"), std::io::Error::from(error))
    })?;
    Ok(Words::new("存在，可读写", "is there and may be used"))
}

/// The machine, and whether it may be restarted.
fn machine(config: &Config) -> Finding {
    let name = &config.device.system;
    let finding = Finding::about("machine", Words::new("主机", "machine"), name.clone());
    let clock = AdjustedClock::new(Arc::new(SystemClock));
    let outcome = device::system::open(name, clock, &config.terminal.data_dir).and_then(|machine| match name
        .as_str()
    {
        "none" => Ok(None),
        _ => machine.may_restart().map(Some),
    });
    match outcome {
        Ok(None) => finding.absent(Words::new("不由门禁管理", "the gate does not manage it")),
        Ok(Some(())) => finding.well(Words::new("可以重启与校时", "may be restarted and its clock set")),
        Err(error) => finding.failed(
            Words::from(&error),
            Words::new("见 docs/install.md 的权限说明", "docs/install.md has the permissions it needs"),
        ),
    }
}

fn network(config: &Config) -> Finding {
    let finding = Finding::about("network", Words::new("网络", "network"), config.device.system.clone());
    let clock = AdjustedClock::new(Arc::new(SystemClock));
    let cards = match device::system::open(&config.device.system, clock, &config.terminal.data_dir) {
        Ok(machine) => machine.interfaces(),
        Err(error) => {
            return finding
                .failed(Words::from(&error), Words::new("更正 device.system", "correct device.system"));
        }
    };
    let with_address: Vec<String> = cards
        .iter()
        .filter(|card| !card.address.is_empty())
        .map(|card| format!("{} {}", card.name, card.address))
        .collect();
    if !with_address.is_empty() {
        return finding.well(Words::same(with_address.join(", ")));
    }
    let names: Vec<&str> = cards.iter().map(|card| card.name.as_str()).collect();
    let found = match names.is_empty() {
        true => Words::new("没有网卡", "there is no network card"),
        false => {
            Words::new(format!("{} 没有地址", names.join(" ")), format!("{} has no address", names.join(" ")))
        }
    };
    finding.attention(found, Words::new("检查网线与 DHCP", "check the cable and the DHCP server"))
}

fn platforms(config: &Config, agent: Agent<'_>) -> Vec<Finding> {
    let said = |name: &str| {
        agent
            .says("/platforms")
            .as_array()
            .into_iter()
            .flatten()
            .find(|platform| platform["platform"] == name)
    };
    let mut findings = Vec::new();
    let mut note = |key: &'static str,
                    name: &str,
                    what: Words,
                    server: &str,
                    reach: &dyn Fn() -> Result<Words>| {
        let finding = Finding::about(key, what, server.to_owned());
        let advice = || {
            Words::new(
                "检查地址、网线与平台；记录会保存并补传",
                "check the address, the cable and the platform; records wait and are sent later",
            )
        };
        let state = said(name).and_then(|said| said["state"].as_str());
        findings.push(match state {
            Some(state @ ("connected" | "registered" | "logged_in" | "reached")) => {
                let word = |language| {
                    crate::text::page::find(&format!("platform.{state}"), language).unwrap_or(state)
                };
                let (chinese, english) =
                    (word(crate::text::Language::Chinese), word(crate::text::Language::English));
                finding.well(Words::new(chinese.to_owned(), english.to_owned()))
            }
            _ => match (reach(), state) {
                (Ok(_), Some("lost")) => finding.attention(
                    Words::new("地址可达，但链路断开", "its address answers, but the link is lost"),
                    Words::new("检查序列号与平台登记", "see whether the platform knows this serial number"),
                ),
                (outcome, _) => finding.of(outcome, advice()),
            },
        });
    };
    if let Some(qyzn) = &config.platform.qyzn {
        note("platform.qyzn", "qyzn", Words::new("QYZN 平台", "QYZN platform"), &qyzn.server, &|| {
            reach(&qyzn.server)
        });
    }
    if let Some(terminal_ws) = &config.platform.terminal_ws {
        note(
            "platform.terminal_ws",
            "terminal_ws",
            Words::new("WebSocket 平台", "WebSocket platform"),
            &terminal_ws.url,
            &|| {
                let Address { host, port, .. } = Address::parse(&terminal_ws.url, &config.terminal.serial)?;
                match host.contains(':') {
                    true => reach(&format!("[{host}]:{port}")),
                    false => reach(&format!("{host}:{port}")),
                }
            },
        );
    }
    if findings.is_empty() {
        findings.push(Finding::about("platform", Words::new("平台", "platform"), "[platform]"));
    }
    findings
}

fn reach(server: &str) -> Result<Words> {
    let unreachable =
        |error: std::io::Error| Error::caused(Kind::Network, format!("{server} cannot be reached"), error);
    let address = server
        .to_socket_addrs()
        .map_err(unreachable)?
        .next()
        .ok_or_else(|| Error::new(Kind::Network, format!("{server} has no address")))?;
    TcpStream::connect_timeout(&address, PATIENCE).map_err(unreachable)?;
    Ok(Words::new("接受连接", "accepts connections"))
}

fn update(config: &Config, agent: Agent<'_>) -> Finding {
    let installer = config.update.installer.as_str();
    let finding = Finding::about("update", Words::new("升级", "update"), installer.to_owned());
    match installer {
        "none" => finding.absent(Words::new(
            "没有安装程序：须手工升级",
            "no installer: new versions are put there by hand",
        )),
        "sim" => finding.well(Words::new("模拟：不改变系统", "simulated: nothing is changed")),
        _ if agent.says("/update")["state"] == "failed" => {
            let error = agent.says("/update")["error"].as_str().unwrap_or("?").to_owned();
            finding.attention(
                Words::new(format!("最近一次升级失败：{error}"), format!("the last upgrade failed: {error}")),
                Words::new("menshen update status", "menshen update status"),
            )
        }
        _ => finding.well(Words::new("已配置", "configured")),
    }
}

fn page(config: &Config, agent: Agent<'_>) -> Finding {
    let what = Words::new("管理页", "page");
    let Some(admin) = &config.service.admin else {
        let finding = Finding::about("page", what, "service.admin");
        return finding.attention(
            Words::new("未配置：串口台只能做部分操作", "not configured: the console can do little"),
            Words::new("设置 service.admin", "set service.admin"),
        );
    };
    let finding = Finding::about("page", what, admin.listen.to_string());
    if agent.runs() {
        return finding.well(Words::new("门禁程序在此监听", "the agent listens there"));
    }
    listens(finding, admin.listen)
}

fn listens(finding: Finding, listen: SocketAddr) -> Finding {
    match std::net::TcpListener::bind(listen) {
        Ok(_) => finding.well(Words::new("空闲", "is free for the agent")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => finding.attention(
            Words::new("已被占用，但不应答", "is in use by a program that does not answer as the agent"),
            Words::new("ss -ltnp 查看占用者", "ss -ltnp says which program it is"),
        ),
        Err(error) => finding.failed(
            Words::same(error.to_string()),
            Words::new("更正 service.admin.listen", "correct service.admin.listen"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn a_data_partition_that_is_lost_is_a_failure_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data-lost");
        assert_eq!(data_partition(&file), None);
        std::fs::write(&file, "/dev/vda4 cannot be repaired\n").unwrap();
        let finding = data_partition(&file).unwrap();
        assert_eq!((finding.key.as_ref(), finding.state), ("data", State::Failed));
        for words in [&finding.found.chinese, &finding.found.english] {
            assert!(words.ends_with("/dev/vda4 cannot be repaired"), "{words}");
        }
    }
}
