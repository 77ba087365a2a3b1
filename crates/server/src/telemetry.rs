//! The process's own log: to stderr for people or collectors, and as lines of JSON to a file that
//! the process can collect itself.

mod file;
mod level;
mod lines;
mod spool;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::units::ByteSize;
use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::Registry;
use spool::Spool;

pub use file::RotatingFile;
pub use level::LogLevel;
pub use lines::LineFile;

/// The file's name in the log directory.
const FILE_NAME: &str = "skald.log";

/// How lines on stderr look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One object per line.
    Json,
}

/// The process's own log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged: a level, and others for some targets: `info,querier=debug`.
    pub level: LogLevel,
    /// How lines on stderr look.
    pub format: LogFormat,
    /// Whether lines also go to a file in the data directory.
    pub file: bool,
    /// The file is renamed and begun anew at this size.
    pub file_size_max: ByteSize,
    /// How many renamed files are kept.
    pub files_max: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: LogLevel::default(),
            format: LogFormat::default(),
            file: true,
            file_size_max: ByteSize::mib(32),
            files_max: 3,
        }
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The file cannot be opened.
    #[error("cannot write the log file {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The process has a log already.
    #[error("the log is set up already")]
    Twice,
}

/// The log of a process, set up. Cloning shares it.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    level: parking_lot::Mutex<LogLevel>,
    filter: Option<reload::Handle<Targets, tracing_subscriber::Registry>>,
    spools: Vec<Spool>,
    file: Option<PathBuf>,
}

impl Telemetry {
    /// Sets up the log of this process: stderr, and a file in `directory` if there is one and the
    /// configuration wants it. Panics are logged from then on.
    ///
    /// # Errors
    /// If the file cannot be opened or the process has a log already.
    pub fn init(config: &LogConfig, directory: Option<&Path>) -> Result<Self, TelemetryError> {
        let file = directory
            .filter(|_| config.file)
            .map(|dir| dir.join(FILE_NAME));
        let to_file = file
            .as_deref()
            .map(|path| open_file(path, config))
            .transpose()?;
        let to_stderr = Spool::start("log-stderr", std::io::stderr());
        let (filter, handle) = reload::Layer::new(config.level.targets());
        tracing_subscriber::registry()
            .with(filter)
            .with(stderr_layer(config.format, to_stderr.clone()))
            .with(to_file.clone().map(json_layer))
            .try_init()
            .map_err(|_| TelemetryError::Twice)?;
        log_panics();
        Ok(Self(Arc::new(Inner {
            level: parking_lot::Mutex::new(config.level.clone()),
            filter: Some(handle),
            spools: [Some(to_stderr), to_file].into_iter().flatten().collect(),
            file,
        })))
    }

    /// No log at all, for processes within a test.
    #[must_use]
    pub fn disabled() -> Self {
        Self(Arc::new(Inner {
            level: parking_lot::Mutex::default(),
            filter: None,
            spools: Vec::new(),
            file: None,
        }))
    }

    /// The file that lines go to.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// What is logged now.
    #[must_use]
    pub fn level(&self) -> LogLevel {
        self.0.level.lock().clone()
    }

    /// Changes what is logged, at once.
    pub fn set_level(&self, level: LogLevel) {
        if let Some(filter) = &self.0.filter
            && let Err(error) = filter.reload(level.targets())
        {
            tracing::error!(%error, "cannot change the log level");
            return;
        }
        *self.0.level.lock() = level;
    }

    /// Registers the metrics of the log.
    pub fn register(&self, registry: &mut Registry) {
        let dropped = prometheus_client::metrics::counter::Counter::<u64>::default();
        for spool in &self.0.spools {
            spool.count_drops(dropped.clone());
        }
        registry.register(
            "skald_log_lines_dropped",
            "Lines of the process's own log that were dropped because the sink was too slow",
            dropped,
        );
    }

    /// Waits, not for long, until what was logged is written.
    pub fn flush(&self) {
        for spool in &self.0.spools {
            spool.flush();
        }
    }
}

fn open_file(path: &Path, config: &LogConfig) -> Result<Spool, TelemetryError> {
    let failed = |source| TelemetryError::File {
        path: path.to_owned(),
        source,
    };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    let file =
        RotatingFile::open(path, config.file_size_max.0, config.files_max).map_err(failed)?;
    Ok(Spool::start("log-file", file))
}

type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

fn stderr_layer<S>(format: LogFormat, spool: Spool) -> BoxedLayer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let terminal = std::io::stderr().is_terminal();
    let as_text = match format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    if !as_text {
        return json_layer(spool);
    }
    // https://no-color.org
    let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    fmt::layer().with_ansi(colours).with_writer(spool).boxed()
}

fn json_layer<S>(spool: Spool) -> BoxedLayer<S>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(spool)
        .boxed()
}

fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("panic without a text");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = std::backtrace::Backtrace::capture();
        let backtrace = match backtrace.status() {
            std::backtrace::BacktraceStatus::Captured => Some(backtrace.to_string()),
            _ => None,
        };
        tracing::error!(place, backtrace, "panic: {message}");
    }));
}
