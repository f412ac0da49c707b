//! The one error of the agent: a kind that a caller can act on, and the steps that led to it in words.

use std::borrow::Cow;
use std::fmt;

/// What went wrong, as far as a caller would act differently on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A configuration or a setting that cannot be used.
    Config,
    /// What somebody sent or gave us is malformed or out of range.
    Input,
    /// No face, a bad face or more than one in a picture that must show one person.
    Face,
    /// A thing that must exist does not.
    NotFound,
    /// A thing that must be new exists already.
    Exists,
    /// Too much is going on; try again later.
    Busy,
    /// Something did not happen in time.
    Timeout,
    /// A model, its runtime or the manifest.
    Model,
    /// A camera, a reader, a relay or another wire of the gate.
    Device,
    /// The store: its file, its schema, its key.
    Store,
    /// The disk is full, or a limit of the file system was reached.
    Full,
    /// A network peer.
    Network,
    /// The operating system.
    Io,
    /// The agent is shutting down.
    Stopped,
}

/// An error with its kind and the steps that led to it, the outermost first.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: Cow<'static, str>,
    source: Option<Box<dyn std::error::Error + Send + Sync + 'static>>,
}

/// Result of nearly everything in the agent.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; the message says what failed, where, and what to do next.
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same with the error that caused it.
    pub fn caused(
        kind: Kind,
        message: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    /// What a caller can act on.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The outermost message alone, for an answer to a peer that should not learn our paths.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut source = std::error::Error::source(self);
        while let Some(step) = source {
            // An `Error` inside prints its own chain; anything else is one step.
            write!(f, ": {step}")?;
            if step.is::<Error>() {
                break;
            }
            source = step.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::caused(io_kind(&error), "the operating system refused", error)
    }
}

/// The kind of an I/O error: a full disk and an absent file are acted on differently from the rest.
pub fn io_kind(error: &std::io::Error) -> Kind {
    match error.kind() {
        std::io::ErrorKind::StorageFull
        | std::io::ErrorKind::QuotaExceeded
        | std::io::ErrorKind::FileTooLarge => Kind::Full,
        std::io::ErrorKind::NotFound => Kind::NotFound,
        std::io::ErrorKind::TimedOut => Kind::Timeout,
        _ => Kind::Io,
    }
}

/// Adds a step to an error on its way up.
pub trait Context<T> {
    /// Keeps the kind of an [`Error`]; an I/O error gets its own kind.
    fn context<M: Into<Cow<'static, str>>>(self, message: impl FnOnce() -> M) -> Result<T>;
    /// The same under a kind of the caller's.
    fn context_as<M: Into<Cow<'static, str>>>(self, kind: Kind, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T> Context<T> for Result<T, Error> {
    fn context<M: Into<Cow<'static, str>>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| Error::caused(error.kind, message(), error))
    }

    fn context_as<M: Into<Cow<'static, str>>>(self, kind: Kind, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| Error::caused(kind, message(), error))
    }
}

impl<T> Context<T> for Result<T, std::io::Error> {
    fn context<M: Into<Cow<'static, str>>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| Error::caused(io_kind(&error), message(), error))
    }

    fn context_as<M: Into<Cow<'static, str>>>(self, kind: Kind, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| Error::caused(kind, message(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_the_whole_way_once() {
        let inner: Result<()> =
            Err(std::io::Error::from(std::io::ErrorKind::NotFound)).context(|| "no key at /k");
        let outer = inner.context(|| "the store cannot be opened").unwrap_err();
        assert_eq!(outer.kind(), Kind::NotFound);
        assert_eq!(outer.to_string(), "the store cannot be opened: no key at /k: entity not found");
    }
}
