//! The log: to standard error, where systemd or a person reads it, with a level that can change while it runs.

pub mod recent;

use std::sync::Arc;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, reload};

use crate::config;
use crate::error::{Error, Kind, Result};

pub use recent::shown;

/// What is logged at `log_level` 0, 1 and 2 of QYZN `system_reboot`. Warnings stay: they are what a technician
/// is called for.
const LEVELS: [&str; 3] = ["info,menshen=debug", "info", "warn"];

/// The level of the log. Cheap to clone; without a log that was started it changes nothing.
#[derive(Clone, Default)]
pub struct LogLevel {
    log: Option<Arc<(String, reload::Handle<EnvFilter, Registry>)>>,
}

impl LogLevel {
    /// Logs at `level` (0 most, 2 least) from now on, or as the configuration says.
    pub fn set(&self, level: Option<u8>) {
        let Some(log) = &self.log else { return };
        let (configured, handle) = &**log;
        let filter =
            level.and_then(|level| LEVELS.get(usize::from(level))).map_or(&configured[..], |level| level);
        let changed = EnvFilter::try_new(filter)
            .map_err(|error| error.to_string())
            .and_then(|filter| handle.reload(filter).map_err(|error| error.to_string()));
        if let Err(error) = changed {
            tracing::warn!(error, "the level of the log cannot be changed");
        }
    }
}

/// Starts the log of this process. `Config` for a filter that cannot be used.
pub fn start(log: &config::Log) -> Result<LogLevel> {
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let (subscriber, level) = subscriber(log, ansi, std::io::stderr)?;
    subscriber.try_init().map_err(|error| Error::caused(Kind::Config, "the log cannot be started", error))?;
    Ok(level)
}

fn subscriber<W>(
    log: &config::Log,
    ansi: bool,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync, LogLevel)>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| {
        Error::caused(Kind::Config, format!("log.filter = {:?} cannot be used", log.filter), error)
    })?;
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let level = LogLevel { log: Some(Arc::new((log.filter.clone(), handle))) };
    Ok((registry.with(lines(log.json, ansi, writer)).with(recent::Keep), level))
}

/// The form of the lines.
fn lines<S, W>(json: bool, ansi: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    if json { layer.json().boxed() } else { layer.with_ansi(ansi).boxed() }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// Lines in memory.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    #[test]
    fn the_level_changes_at_once_and_back() {
        let lines = Lines::default();
        let writer = lines.clone();
        let config = config::Log { filter: "error".into(), json: true };
        let (subscriber, level) = subscriber(&config, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let speak = || {
                tracing::debug!("debug-line");
                tracing::info!("info-line");
                tracing::warn!("warn-line");
                tracing::error!("error-line");
                let text = lines.take();
                ["debug-line", "info-line", "warn-line", "error-line"].map(|line| text.contains(line))
            };
            assert_eq!(speak(), [false, false, false, true], "as configured");
            level.set(Some(0));
            assert_eq!(speak(), [true; 4]);
            level.set(Some(1));
            assert_eq!(speak(), [false, true, true, true]);
            level.set(Some(2));
            assert_eq!(speak(), [false, false, true, true]);
            level.set(None);
            assert_eq!(speak(), [false, false, false, true]);
        });
    }

    #[test]
    fn a_filter_that_cannot_be_used_is_refused_by_name() {
        let config = config::Log { filter: "menshen=loud".into(), json: false };
        let error = subscriber(&config, false, std::io::stderr).err().unwrap();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.to_string().contains("menshen=loud"), "{error}");
        LogLevel::default().set(Some(0));
    }
}
