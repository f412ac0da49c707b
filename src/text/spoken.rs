//! The sentences that visitors hear. A gate speaks them from files that `scripts/voice.sh` makes of
//! [`LIST`], so that it needs no synthesiser and says the same at every door.

use std::collections::HashSet;

use super::{
    Language, document_unread, door_failed, no_answer, one_moment, platform_refused, platform_unreachable,
};
use super::{prompt, reason, turned_away, welcome};
use crate::access::{CredentialKind, Reason};

/// What `scripts/voice.sh` reads: for each sentence a line with its key, its language and its text, with tabs
/// between. A test holds it to [`sentences`].
pub const LIST: &str = include_str!("spoken.tsv");

/// One sentence in one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// Lower-case letters, digits, `-` and `_`; with the language it names the file.
    pub key: String,
    /// Its language.
    pub language: Language,
    /// As the table of texts has it.
    pub text: &'static str,
}

impl Sentence {
    /// `welcome-1.zh-CN.wav`.
    pub fn file(&self) -> String {
        format!("{}.{}.wav", self.key, self.language.code())
    }
}

/// All sentences of a language. What two occasions have in common is there once, under the key of the first.
pub fn sentences(language: Language) -> Vec<Sentence> {
    const PROMPTS: [(CredentialKind, &str); 4] = [
        (CredentialKind::Face, "face"),
        (CredentialKind::Card, "card"),
        (CredentialKind::Document, "document"),
        (CredentialKind::Qr, "qr"),
    ];
    let reasons =
        Reason::ALL.into_iter().map(|one| (format!("reason-{}", one.as_str()), reason(one, language)));
    let prompts = PROMPTS.into_iter().map(|(kind, word)| (format!("prompt-{word}"), prompt(kind, language)));
    let welcomes = (1..=8).map(|number| (format!("welcome-{number}"), welcome(number, language)));
    let refusals = (1..=2).map(|number| (format!("turned_away-{number}"), turned_away(number, language)));
    let others = [
        ("one_moment", one_moment(language)),
        ("no_answer", no_answer(language)),
        ("door_failed", door_failed(language)),
        ("platform_unreachable", platform_unreachable(language)),
        ("platform_refused", platform_refused(language)),
        ("document_unread", document_unread(language)),
    ];
    let others = others.into_iter().map(|(key, text)| (key.to_owned(), text));
    let mut known = HashSet::new();
    reasons
        .chain(prompts)
        .chain(welcomes)
        .chain(refusals)
        .chain(others)
        .filter(|(_, text)| known.insert(*text))
        .map(|(key, text)| Sentence { key, language, text })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_for_the_script_is_the_table() {
        let all = [Language::Chinese, Language::English].into_iter().flat_map(sentences);
        let expected: String = all
            .map(|sentence| format!("{}\t{}\t{}\n", sentence.key, sentence.language.code(), sentence.text))
            .collect();
        assert_eq!(LIST, expected, "src/text/spoken.tsv must be:\n{expected}");
    }

    #[test]
    fn keys_name_one_sentence_and_one_file() {
        for language in [Language::Chinese, Language::English] {
            let all = sentences(language);
            let keys: HashSet<&str> = all.iter().map(|sentence| &*sentence.key).collect();
            assert_eq!(keys.len(), all.len());
            let plain = |key: &str| {
                key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
            };
            assert!(keys.iter().all(|key| plain(key)), "{keys:?}");
        }
        let first =
            sentences(Language::Chinese).into_iter().find(|sentence| sentence.key == "welcome-1").unwrap();
        assert_eq!((first.text, first.file().as_str()), ("识别成功", "welcome-1.zh-CN.wav"));
    }
}
