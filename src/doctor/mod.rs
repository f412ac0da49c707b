//! What a technician is told about a gate: for each device and part, what was looked for, what was found, and what
//! to do. The command, the console and the diagnosis bundle show the same findings.
//!
//! A driver says what it finds with a function of its own, `examine`, that makes [`Finding`]s and disturbs nothing:
//! it must not move a relay, and must not take a device that the running agent holds. [`examine`] calls them all.

mod checks;

use std::borrow::Cow;

use serde::{Serialize, Serializer};

use crate::error::Error;
use crate::text::Language;

pub use checks::{Agent, examine};

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is as it should be.
    Well,
    /// The configuration says that there is none.
    Absent,
    /// It works, and a technician should know something about it.
    Attention,
    /// It does not work.
    Failed,
}

impl State {
    /// Four letters for the beginning of a line.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Well => "ok  ",
            Self::Absent => "-   ",
            Self::Attention => "note",
            Self::Failed => "FAIL",
        }
    }

    /// Whether nothing has to be done.
    pub fn is_well(self) -> bool {
        self != State::Failed
    }
}

/// Words for a technician in both languages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Words {
    /// Chinese.
    #[serde(rename = "zh-CN")]
    pub chinese: Cow<'static, str>,
    /// English.
    #[serde(rename = "en")]
    pub english: Cow<'static, str>,
}

impl Words {
    /// In both languages.
    pub fn new(chinese: impl Into<Cow<'static, str>>, english: impl Into<Cow<'static, str>>) -> Self {
        Self { chinese: chinese.into(), english: english.into() }
    }

    /// The same in both: a path, a number, an error of the operating system.
    pub fn same(text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        Self { chinese: text.clone(), english: text }
    }

    /// In one language.
    pub fn in_language(&self, language: Language) -> &str {
        match language {
            Language::Chinese => &self.chinese,
            Language::English => &self.english,
        }
    }
}

impl From<&Error> for Words {
    /// Errors are in English everywhere.
    fn from(error: &Error) -> Self {
        Self::same(error.to_string())
    }
}

/// What was found out about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its stable name: `relay`, `camera.0`, `platform.qyzn`.
    pub key: Cow<'static, str>,
    /// What people call it.
    pub what: Words,
    /// How it is.
    pub state: State,
    /// What was looked for: as the configuration names it.
    pub looked_for: Words,
    /// What was found.
    pub found: Words,
    /// What to do; empty when nothing is to be done.
    pub advice: Option<Words>,
}

impl Finding {
    /// About `key`, which people call `what`; `looked_for` is how the configuration names it. It is absent until
    /// one of the other functions says otherwise.
    pub fn about(
        key: impl Into<Cow<'static, str>>,
        what: Words,
        looked_for: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            key: key.into(),
            what,
            state: State::Absent,
            looked_for: Words::same(looked_for),
            found: Words::new("未配置", "not configured"),
            advice: None,
        }
    }

    /// It is as it should be.
    pub fn well(self, found: Words) -> Self {
        Self { state: State::Well, found, advice: None, ..self }
    }

    /// The configuration says that there is none, and what that means.
    pub fn absent(self, found: Words) -> Self {
        Self { state: State::Absent, found, advice: None, ..self }
    }

    /// It works, and a technician should know something.
    pub fn attention(self, found: Words, advice: Words) -> Self {
        Self { state: State::Attention, found, advice: Some(advice), ..self }
    }

    /// It does not work.
    pub fn failed(self, found: Words, advice: Words) -> Self {
        Self { state: State::Failed, found, advice: Some(advice), ..self }
    }

    /// Well, or failed with the error's words and `advice`.
    pub fn of(self, outcome: Result<Words, Error>, advice: Words) -> Self {
        match outcome {
            Ok(found) => self.well(found),
            Err(error) => self.failed(Words::from(&error), advice),
        }
    }
}

impl Serialize for Finding {
    /// `well` besides `state`, for a script that only asks whether somebody has to come.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut fields = serializer.serialize_struct("Finding", 7)?;
        fields.serialize_field("key", &self.key)?;
        fields.serialize_field("what", &self.what)?;
        fields.serialize_field("state", &self.state)?;
        fields.serialize_field("well", &self.state.is_well())?;
        fields.serialize_field("looked_for", &self.looked_for)?;
        fields.serialize_field("found", &self.found)?;
        fields.serialize_field("advice", &self.advice)?;
        fields.end()
    }
}
