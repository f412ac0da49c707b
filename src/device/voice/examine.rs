//! What a technician is told about the voice.

use super::{AlsaVoice, check_sentences, open};
use crate::config::Device;
use crate::doctor::{Finding, Words};
use crate::error::Result;
use crate::text::Language;

/// Looks at the loudspeaker, and at the sentences of the gate's language. Nothing is heard; the agent may run.
pub fn examine(device: &Device, language: Language) -> Finding {
    let finding = Finding::about("voice", Words::new("语音", "voice"), device.voice.clone());
    let configuration = || Words::new("检查配置 device.voice", "check device.voice in the configuration");
    let Some(name) = device.voice.strip_prefix("alsa:") else {
        return match open(&device.voice, &device.voice_dir) {
            Ok(None) => finding,
            Ok(Some(_)) => finding.well(Words::new("模拟：没有接线", "simulated: nothing is wired to it")),
            Err(error) => finding.failed(Words::from(&error), configuration()),
        };
    };
    let found: Result<String> = AlsaVoice::new(name, &device.voice_dir).and_then(|voice| voice.examine());
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            return finding.failed(
                Words::from(&error),
                Words::new(
                    "检查扬声器接线与 device.voice，再试 menshen voice beep",
                    "check its cable and device.voice, then try menshen voice beep",
                ),
            );
        }
    };
    match check_sentences(&device.voice_dir, language) {
        Ok(count) => finding
            .well(Words::new(format!("{found}，{count} 条语音"), format!("{found}, {count} sentences"))),
        Err(error) => finding.failed(
            Words::from(&error),
            Words::new(
                "检查 device.voice_dir；用 scripts/voice.sh 重新生成语音文件",
                "check device.voice_dir; scripts/voice.sh makes the sentences",
            ),
        ),
    }
}
