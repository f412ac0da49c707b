//! What the page of the technician says.

use serde_json::{Map, Value};

use super::{Language, call_result, call_state, reason};
use crate::access::Reason;
use crate::intercom::{Outcome, State};

/// Key, Chinese, English.
const TEXTS: &[(&str, &str, &str)] = &[
    ("title", "门神", "Menshen"),
    ("subtitle", "人脸识别门禁", "Face-recognition gate"),
    ("language.other", "English", "中文"),
    ("language.switch", "切换为英文", "Switch to Chinese"),
    ("skip", "跳到通行记录", "Skip to the records"),
    ("agent.here", "已连接", "Connected"),
    ("agent.connecting", "正在连接…", "Connecting…"),
    ("agent.away", "与门禁的连接已中断，正在重新连接…", "The gate does not answer. Reconnecting…"),
    ("agent.gap", "本页来不及显示，略过了一些事件", "This page was too slow and has skipped some events"),
    ("live", "实时画面", "Live picture"),
    ("live.waiting", "等待画面…", "Waiting for a picture…"),
    ("live.paused", "页面隐藏时暂停", "Paused while the page is hidden"),
    ("live.busy", "观看的人太多，稍后重试", "Too many are watching; trying again soon"),
    ("live.picture", "摄像头实时画面", "Live picture of the camera"),
    ("verdict", "识别结果", "Verdict"),
    ("verdict.none", "等待来访者", "Waiting for a visitor"),
    ("verdict.pass", "通过", "Pass"),
    ("verdict.refuse", "拒绝", "Refused"),
    ("verdict.await", "请继续验证", "One more credential, please"),
    ("await.face", "请看摄像头", "Please look at the camera"),
    ("await.card", "请刷卡", "Please present your card"),
    ("await.document", "请出示证件", "Please present your document"),
    ("await.qr", "请出示二维码", "Please present your QR code"),
    ("score", "相似度", "Score"),
    ("latency", "用时", "Latency"),
    ("milliseconds", "毫秒", "ms"),
    ("stranger", "陌生人", "Stranger"),
    ("technician", "管理员开门", "Opened by the technician"),
    ("called", "住户开门", "Opened by the called party"),
    ("door", "门", "Door"),
    ("door.on", "已打开", "Open"),
    ("door.off", "已关闭", "Shut"),
    ("door.failed", "继电器故障", "Relay failed"),
    ("door.unknown", "未知", "Unknown"),
    ("door.open", "开门", "Open the door"),
    ("door.ordered", "已下达开门命令", "The door was told to open"),
    ("door.refused", "开门失败：", "The door did not open: "),
    ("platform", "平台", "Platform"),
    ("platform.none", "未配置平台", "No platform configured"),
    ("platform.connecting", "连接中", "Connecting"),
    ("platform.connected", "已连接", "Connected"),
    ("platform.registered", "已注册", "Registered"),
    ("platform.logged_in", "已登录", "Logged in"),
    ("platform.reached", "已连接", "Reached"),
    ("platform.lost", "已断开", "Lost"),
    ("platform.unknown", "未知", "Unknown"),
    ("platform.outbox", "待上传", "Waiting to be sent"),
    ("call", "呼叫住户", "Call a room"),
    ("call.room", "房号", "Room"),
    ("call.dial", "呼叫", "Call"),
    ("call.hang_up", "挂断", "Hang up"),
    ("call.refused", "呼叫失败：", "The call was not made: "),
    ("call.opened", "住户已开门", "The called party opened the door"),
    ("call.open_failed", "住户开门失败", "The called party could not open the door"),
    ("gate", "设备", "Gate"),
    ("gate.serial", "序列号", "Serial number"),
    ("gate.version", "版本", "Version"),
    ("gate.uptime", "已运行", "Up for"),
    ("gate.people", "人员", "People"),
    ("gate.faces", "人脸", "Faces"),
    ("gate.records", "记录", "Records"),
    ("gate.camera", "摄像头", "Camera"),
    ("camera.starting", "启动中", "Starting"),
    ("camera.watching", "工作中", "Watching"),
    ("camera.lost", "无信号", "No signal"),
    ("camera.unknown", "未知", "Unknown"),
    ("camera.visible", "可见光", "visible light"),
    ("camera.infrared", "红外", "infrared"),
    ("camera.document", "证件", "document"),
    ("unit.day", "天", "d"),
    ("unit.hour", "时", "h"),
    ("unit.minute", "分", "min"),
    ("wires", "输出与信号", "Wires"),
    ("wires.none", "尚无信号", "Nothing yet"),
    ("wire.relay", "继电器", "Relay"),
    ("wire.wiegand", "韦根", "Wiegand"),
    ("wire.rs485", "RS485", "RS485"),
    ("wire.voice", "语音", "Voice"),
    ("wire.screen", "屏幕", "Screen"),
    ("wire.platform", "平台", "Platform"),
    ("wire.on", "吸合", "on"),
    ("wire.off", "断开", "off"),
    ("wire.failed", "故障", "failed"),
    ("wire.time_offset", "时钟偏差", "clock differs"),
    ("wire.record_refused", "平台拒收记录", "refuses a record"),
    ("bits", "位", "bits"),
    ("records", "通行记录", "Records"),
    ("records.none", "尚无记录", "No records yet"),
    ("records.more", "更多", "Show more"),
    ("record.opened", "已开门", "Door opened"),
    ("record.shut", "未开门", "Door stayed shut"),
    ("record.waiting", "待上传", "Not yet sent"),
    ("record.sent", "已上传", "Sent"),
    ("record.picture", "抓拍照片", "Picture of the record"),
    ("record.no_picture", "无照片", "No picture"),
    ("notices", "需要注意", "Needs attention"),
    ("notice.task_failed", "程序部件出错，正在重启：", "A part of the agent failed and is started again: "),
    ("notice.camera_lost", "摄像头无信号：", "A camera gives no picture: "),
    ("notice.relay_failed", "继电器没有响应：", "The relay does not answer: "),
    ("notice.gate_hangs", "程序停滞，看门狗将重启：", "A part of the gate hangs; the watchdog restarts it: "),
    ("notice.watchdog_failed", "看门狗不可用：", "The watchdog does not work: "),
    ("notice.door_forced", "门被强行打开：", "The door was forced: "),
    ("notice.door_held", "门打开时间过长：", "The door stands open for too long: "),
    ("notice.tamper", "设备外壳被打开：", "The gate's case is open: "),
    ("notice.input_failed", "输入线路异常：", "An input has a problem: "),
    ("notice.record_refused", "平台拒收了一条记录：", "The platform refuses a record: "),
    ("notice.update_failed", "升级失败：", "An upgrade failed: "),
    ("notice.data_lost", "数据分区未挂载，无人可通行：", "Nobody can pass: "),
    ("notice.store_failed", "存储出错：", "The store has a problem: "),
    (
        "notice.records_dropped",
        "存储已满，丢弃的未上传记录数：",
        "The store was full; records dropped unsent: ",
    ),
    ("notice.salvaged", "数据库曾损坏并已修复", "The store was damaged and has been rebuilt"),
    ("token.title", "请输入访问令牌", "Enter the access token"),
    ("token.label", "令牌", "Token"),
    (
        "token.hint",
        "令牌保存在 service.admin.token_file 指定的文件中",
        "It is in the file that service.admin.token_file names",
    ),
    ("token.enter", "进入", "Continue"),
    ("token.wrong", "令牌不正确", "This is not the token"),
];

/// Every text by language and key, with the reasons as `reason.…` and calls as `call.state.…` and `call.result.…`,
/// for a page to choose from.
pub fn all() -> Value {
    let of = |language: Language| {
        let texts = TEXTS.iter().map(|(key, chinese, english)| {
            let text = match language {
                Language::Chinese => chinese,
                Language::English => english,
            };
            ((*key).to_owned(), Value::from(*text))
        });
        let reasons = Reason::ALL
            .into_iter()
            .map(|why| (format!("reason.{}", why.as_str()), Value::from(reason(why, language))));
        let calls = [State::Idle, State::Dialling, State::Ringing, State::Talking]
            .map(|state| (word("call.state", &state), Value::from(call_state(state, language))))
            .into_iter()
            .chain(
                Outcome::ALL
                    .map(|result| (word("call.result", &result), call_result(result, language).into())),
            );
        Value::Object(texts.chain(reasons).chain(calls).collect::<Map<_, _>>())
    };
    serde_json::json!({ "zh-CN": of(Language::Chinese), "en": of(Language::English) })
}

/// One text by its key, for the console, which shows the same words.
pub fn find(key: &str, language: Language) -> Option<&'static str> {
    let (_, chinese, english) = TEXTS.iter().find(|(known, ..)| *known == key)?;
    Some(super::in_language(chinese, english, language))
}

/// The key of a text for something that has a word in the API.
fn word(group: &str, thing: &impl serde::Serialize) -> String {
    let word = serde_json::to_value(thing).unwrap_or_default();
    format!("{group}.{}", word.as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_twice_and_no_text_empty() {
        let mut keys: Vec<_> = TEXTS.iter().map(|(key, ..)| key).collect();
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
        assert!(TEXTS.iter().all(|(_, chinese, english)| !chinese.is_empty() && !english.is_empty()));
        assert_eq!(all()["zh-CN"]["reason.stranger"], "陌生人，未登记");
    }
}
