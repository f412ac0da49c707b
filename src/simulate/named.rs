//! What a simulated platform does wrong, as a command line or a script names it.

use std::str::FromStr;

use crate::error::{Error, Kind, Result};

/// One misbehaviour: `name` or `name=value`.
pub(super) struct Named<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// What stands behind the `=`.
    pub(super) value: Option<&'a str>,
}

impl<'a> Named<'a> {
    /// All of a text, which has commas between them.
    pub(super) fn all(text: &'a str) -> impl Iterator<Item = Self> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(|item| {
            let (name, value) =
                item.split_once('=').map_or((item, None), |(name, value)| (name, Some(value)));
            Self { name, value }
        })
    }

    /// Its number, or `default` where it has none.
    pub(super) fn number<T: FromStr>(&self, default: Option<T>) -> Result<T> {
        match self.value {
            Some(value) => value.parse().ok(),
            None => default,
        }
        .ok_or_else(|| {
            let name = self.name;
            Error::new(Kind::Input, format!("{name} needs a number, as in {name}=3"))
        })
    }

    /// It is none of `names`.
    pub(super) fn unknown(&self, names: &str) -> Error {
        Error::new(Kind::Input, format!("{:?} is no misbehaviour; there are {names}", self.name))
    }
}
