//! The one table of what the service says: the constants of [`crate::text::document_reader`] in the gate's language, with
//! the owner's own. What pages are told as a constant is, letter by letter, what they are told as a status or a message.

use std::collections::{BTreeMap, HashMap};

use crate::text::Language;
use crate::text::document_reader::{Constant, constant, constants};

/// The table.
pub(super) struct Texts {
    language: Language,
    by_name: BTreeMap<String, String>,
    names: HashMap<Constant, &'static str>,
}

impl Texts {
    /// The constants in `language`; those of the owner come before.
    pub(super) fn new(language: Language, own: &BTreeMap<String, String>) -> Self {
        let mut by_name: BTreeMap<String, String> =
            constants().map(|(one, name)| (name.to_owned(), constant(one, language).to_owned())).collect();
        by_name.extend(own.iter().map(|(name, text)| (name.clone(), text.clone())));
        Self { language, by_name, names: constants().collect() }
    }

    pub(super) fn language(&self) -> Language {
        self.language
    }

    /// What is said.
    pub(super) fn of(&self, constant: Constant) -> &str {
        self.names.get(&constant).and_then(|name| self.named(name)).unwrap_or_default()
    }

    /// The constant that a page asks for.
    pub(super) fn named(&self, name: &str) -> Option<&str> {
        self.by_name.get(name).map(String::as_str)
    }
}
