//! What the console on the serial line says.

use super::Language;

/// Makes the texts and the function that chooses one.
macro_rules! texts {
    ($($name:ident: $chinese:literal, $english:literal;)*) => {
        /// A text of the console.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Say {
            $(#[doc = $english] $name,)*
        }

        impl Say {
            /// All of them.
            pub const ALL: &[Say] = &[$(Say::$name,)*];

            /// In one language.
            pub fn text(self, language: Language) -> &'static str {
                match self {
                    $(Say::$name => super::in_language($chinese, $english, language),)*
                }
            }
        }
    };
}

texts! {
    Title: "门神", "Menshen";
    Menu: "主菜单", "Menu";
    Status: "状态", "Status";
    Log: "实时日志", "Live log";
    Cameras: "摄像头", "Cameras";
    Door: "开门测试", "Door test";
    People: "人员", "People";
    Records: "记录", "Records";
    Network: "网络", "Network";
    Platforms: "平台设置", "Platforms";
    Update: "升级", "Update";
    Doctor: "检查设备", "Doctor";
    Diagnosis: "导出诊断包", "Diagnosis bundle";
    Reset: "恢复出厂", "Factory reset";
    OtherLanguage: "English", "中文";
    NoOtherLanguage: "终端没有 UTF-8", "English only: the terminal has no UTF-8";
    Leave: "退出", "Leave";
    KeysMenu: "数字或字母选择  上下键与回车  q 退出", "Digit or letter chooses   Arrows and Enter   q leaves";
    KeysBack: "Esc 返回", "Esc goes back";
    KeysScroll: "上下键滚动  Esc 返回", "Arrows scroll   Esc goes back";
    KeysPeople: "上下键选择  回车 详情  n/p 翻页  / 查找  Esc 返回", "Arrows choose  Enter shows  n/p page  / searches  Esc back";
    KeysPerson: "x 删除  Esc 返回", "x removes   Esc goes back";
    KeysRecords: "上下键选择  回车 详情  n/p 翻页  Esc 返回", "Arrows choose   Enter shows   n/p page   Esc back";
    KeysDoor: "o 开门  Esc 返回", "o opens the door   Esc goes back";
    KeysPlatforms: "s 改服务器地址  r 重启门禁  Esc 返回", "s changes a server   r restarts the gate   Esc back";
    KeysUpdate: "i 安装升级包  Esc 返回", "i installs a package   Esc goes back";
    KeysDiagnosis: "w 写入文件  Esc 返回", "w writes the file   Esc goes back";
    KeysReset: "x 恢复出厂  Esc 返回", "x resets   Esc goes back";
    KeysDoctor: "上下键滚动  a 再查一次  Esc 返回", "Arrows scroll   a looks again   Esc goes back";
    KeysPrompt: "回车 确定  Esc 取消", "Enter confirms   Esc cancels";
    AgentAway: "门禁程序未运行：可用日志、网络、检查、诊断包与恢复出厂", "The agent does not run: log, network, doctor, bundle and reset still work";
    AgentNeeded: "门禁程序未运行，此项不可用", "The agent does not run: this item needs it";
    AgentStarting: "正在连接门禁程序...", "Asking the agent...";
    Working: "请稍候...", "One moment...";
    Busy: "上一条命令尚未完成", "The last order is not finished yet";
    Nothing: "无", "nothing";
    Serial: "序列号", "Serial number";
    Model: "型号", "Model";
    Version: "版本", "Version";
    Uptime: "已运行", "Up for";
    Faces: "人脸", "Faces";
    DoorState: "门", "Door";
    Platform: "平台", "Platform";
    Server: "服务器", "Server";
    Waiting: "待上传", "to send";
    LastVerdict: "最近识别", "Last verdict";
    Notices: "注意", "Attention";
    FramesPerSecond: "帧/秒", "frames/s";
    LastFace: "最近人脸", "last face";
    Face: "人脸", "face";
    At: "位于", "at";
    Live: "活体", "live";
    NotJudged: "未判定", "not judged";
    Stranger: "陌生人", "stranger";
    DoorHint: "继电器将吸合一次，门会打开。", "The relay is pulled once: the door opens.";
    DoorConfirm: "输入 OPEN 并回车开门：", "Type OPEN and Enter to open the door:";
    DoorOrdered: "已下达开门命令", "The door was told to open";
    LastOfDoor: "继电器与韦根的最近事件", "Last events of relay and Wiegand";
    Enrolled: "已登记", "Enrolled";
    SearchFor: "查找编号或姓名：", "Search for an id or name:";
    SearchedFor: "查找", "Search";
    NobodyFound: "没有找到人员", "Nobody found";
    DeleteConfirm: "输入 DELETE 并回车删除此人：", "Type DELETE and Enter to remove this person:";
    Deleted: "已删除", "Removed";
    NoRecords: "没有记录", "No records";
    Opened: "开门", "opened";
    Shut: "未开", "shut";
    Card: "网卡", "Card";
    Address: "地址", "Address";
    Mask: "掩码", "Mask";
    Gateway: "网关", "Gateway";
    NoCards: "没有网卡", "There is no network card";
    NetworkWhere: "修改网络：menshen network set", "To change it: menshen network set";
    Configuration: "配置文件", "Configuration";
    NoPlatform: "配置文件中没有平台", "No platform in the configuration";
    WhichPlatform: "改哪一个？输入其序号：", "Which one? Type its number:";
    NewServer: "新的服务器地址：", "New address of the server:";
    ChangeConfirm: "输入 CHANGE 并回车写入：", "Type CHANGE and Enter to write it:";
    Changed: "已写入，重启门禁后生效", "Written; it counts after a restart of the gate";
    RestartConfirm: "输入 RESTART 并回车重启：", "Type RESTART and Enter to restart the gate:";
    RestartOrdered: "已下达重启命令", "The restart is ordered";
    Installer: "安装程序", "Installer";
    Booted: "运行中", "Running";
    Primary: "下次启动", "Next start";
    Trial: "试运行", "On trial";
    LastUpdate: "最近一次升级", "Last update";
    PackageFile: "升级包文件：", "File of the package:";
    InstallConfirm: "输入 INSTALL 并回车安装：", "Type INSTALL and Enter to install it:";
    Installed: "已开始安装", "The installation was begun";
    DiagnosisHint: "不含照片、姓名、编号、证件号、卡号与密码。", "No pictures, names, ids, document or card numbers, no passwords are in it.";
    DiagnosisFile: "写入文件：", "Write to the file:";
    DiagnosisWritten: "诊断包已写入", "The bundle was written to";
    ResetHint1: "将删除：人员、照片、记录、平台下发的设置、密钥。", "Removes people, pictures, records, settings of the platforms, and keys.";
    ResetHint2: "将保留：序列号与配置文件、网络设置。", "Keeps the serial number, the configuration file and the network.";
    ResetHint3: "断电也会在下次启动时完成。无法撤销。", "A power cut does not stop it: the next start goes on. It cannot be undone.";
    ResetConfirm: "输入 RESET 并回车恢复出厂：", "Type RESET and Enter to reset the gate:";
    ResetOrdered: "已下达，门禁重启后清空", "Ordered: the gate restarts and is empty then";
    ResetDone: "已恢复出厂", "The gate has been reset";
    Cancelled: "已取消，没有任何改动", "Cancelled: nothing was changed";
    TooSmall: "终端太小", "The terminal is too small";
    Idle: "长时间无操作，已退出", "Nobody was there: the console has ended";
    Page: "页", "page";
    ToDo: "处理", "do";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_said_in_both_languages() {
        for say in Say::ALL {
            let (chinese, english) = (say.text(Language::Chinese), say.text(Language::English));
            // The name of the other language is for those who speak it.
            let (chinese, english) =
                if *say == Say::OtherLanguage { (english, chinese) } else { (chinese, english) };
            assert!(english.is_ascii() && !english.is_empty(), "{english}");
            assert!(!chinese.is_ascii(), "{chinese}");
        }
    }
}
