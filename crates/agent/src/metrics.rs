//! What the agent tells about itself, by promtail's names where dashboards know them. Files are
//! labels here, as they are in promtail, and vanish with the file.

use std::fmt;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Why entries were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DropReason {
    /// The server refused them for good.
    IngesterError,
    /// The server refused them for their rate, and the configuration drops such.
    RateLimited,
    /// The batch had too many streams.
    StreamLimited,
    /// The line was too long.
    LineTooLong,
    /// The agent's own rate of lines.
    ReadRate,
    /// The client's queue had no room, while that of another had.
    QueueFull,
}

impl DropReason {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::IngesterError => "ingester_error",
            Self::RateLimited => "rate_limited",
            Self::StreamLimited => "stream_limited",
            Self::LineTooLong => "line_too_long",
            Self::ReadRate => "readline_rate",
            Self::QueueFull => "queue_full",
        }
    }
}

impl EncodeLabelValue for DropReason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.name())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabels {
    path: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HostLabels {
    host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TenantLabels {
    host: String,
    tenant: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DropLabels {
    host: String,
    tenant: String,
    reason: DropReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MutateLabels {
    host: String,
    tenant: String,
    reason: DropReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status_code: u16,
    host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// Why a record of the journal makes no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoLine {
    /// It is longer than a record may be.
    TooLong,
    /// It is not JSON, or says not where in the journal it is.
    Malformed,
    /// It has no text.
    NoMessage,
    /// Relabelling drops it, or leaves no labels.
    NoLabels,
}

impl NoLine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::NoMessage => "no_message",
            Self::NoLabels => "empty_labels",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    error: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;
type Durations = Family<StatusLabels, Histogram, fn() -> Histogram>;

/// Everything that an agent, and the next one after a reload, counts.
#[derive(Clone, Debug)]
pub struct AgentMetrics {
    pub(crate) agent: Metrics,
    pub(crate) stages: crate::stages::Metrics,
}

impl AgentMetrics {
    /// Registers all metrics; once per process. `registry` must not add a prefix to names.
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            agent: Metrics::register(registry),
            stages: crate::stages::Metrics::register(registry),
        }
    }

    /// Counts that a new configuration was taken over, or was not.
    pub fn reloaded(&self, is_taken: bool) {
        let counter = if is_taken {
            &self.agent.reloads
        } else {
            &self.agent.reloads_failed
        };
        counter.inc();
    }
}

/// All metrics of the agent.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    read_lines: Family<PathLabels, Counter>,
    read_bytes: Family<PathLabels, Gauge>,
    file_bytes: Family<PathLabels, Gauge>,
    lag_bytes: Family<PathLabels, Gauge>,
    lag_seconds: Family<PathLabels, Seconds>,
    pub(crate) files_active: Gauge,
    pub(crate) targets_active: Gauge,
    targets_failed: Family<ReasonLabels, Counter>,
    pub(crate) files_lost: Counter,
    pub(crate) bytes_lost: Counter,
    pub(crate) files_deleted_open: Gauge,
    pub(crate) positions_broken: Counter,
    pub(crate) positions_failed: Counter,
    sent_entries: Family<HostLabels, Counter>,
    sent_bytes: Family<HostLabels, Counter>,
    encoded_bytes: Family<HostLabels, Counter>,
    owed_bytes: Family<HostLabels, Gauge>,
    dropped_entries: Family<DropLabels, Counter>,
    dropped_bytes: Family<DropLabels, Counter>,
    mutated_entries: Family<MutateLabels, Counter>,
    mutated_bytes: Family<MutateLabels, Counter>,
    retries: Family<TenantLabels, Counter>,
    durations: Durations,
    pub(crate) journal_lines: Counter,
    journal_errors: Family<ErrorLabels, Counter>,
    pub(crate) reloads: Counter,
    pub(crate) reloads_failed: Counter,
}

impl Metrics {
    /// Registers all metrics.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(0.005, 2.0, 12));
        let metrics = Self {
            read_lines: Family::default(),
            read_bytes: Family::default(),
            file_bytes: Family::default(),
            lag_bytes: Family::default(),
            lag_seconds: Family::default(),
            files_active: Gauge::default(),
            targets_active: Gauge::default(),
            targets_failed: Family::default(),
            files_lost: Counter::default(),
            bytes_lost: Counter::default(),
            files_deleted_open: Gauge::default(),
            positions_broken: Counter::default(),
            positions_failed: Counter::default(),
            sent_entries: Family::default(),
            sent_bytes: Family::default(),
            encoded_bytes: Family::default(),
            owed_bytes: Family::default(),
            dropped_entries: Family::default(),
            dropped_bytes: Family::default(),
            mutated_entries: Family::default(),
            mutated_bytes: Family::default(),
            retries: Family::default(),
            durations: Family::new_with_constructor(buckets),
            journal_lines: Counter::default(),
            journal_errors: Family::default(),
            reloads: Counter::default(),
            reloads_failed: Counter::default(),
        };
        metrics.register_files(registry);
        metrics.register_clients(registry);
        metrics.register_journal(registry);
        metrics.register_process(registry);
        metrics
    }

    fn register_files(&self, r: &mut Registry) {
        // The library puts `_total` after the names of counters.
        r.register("promtail_read_lines", "Lines read", self.read_lines.clone());
        r.register(
            "promtail_read_bytes_total",
            "Bytes read",
            self.read_bytes.clone(),
        );
        r.register(
            "promtail_file_bytes_total",
            "Bytes in the file",
            self.file_bytes.clone(),
        );
        let help = "Bytes of the file, and of those before it, that are not acknowledged";
        r.register("skald_agent_lag_bytes", help, self.lag_bytes.clone());
        let help = "For how long there have been bytes that are not acknowledged";
        r.register("skald_agent_lag_seconds", help, self.lag_seconds.clone());
        r.register(
            "promtail_files_active_total",
            "Files that are read",
            self.files_active.clone(),
        );
        let help = "Targets of which files are looked for";
        r.register(
            "promtail_targets_active_total",
            help,
            self.targets_active.clone(),
        );
        let help = "Targets and files of which nothing is collected";
        r.register("promtail_targets_failed", help, self.targets_failed.clone());
        let help = "Files that could not be read to their end";
        r.register("skald_agent_files_lost", help, self.files_lost.clone());
        let help = "Bytes of files that were gone before they were read";
        r.register("skald_agent_bytes_lost", help, self.bytes_lost.clone());
        let help = "Deleted files that are held open until they are delivered";
        r.register(
            "skald_agent_deleted_files_open",
            help,
            self.files_deleted_open.clone(),
        );
        let help = "Positions files that were found broken";
        r.register(
            "skald_agent_positions_broken",
            help,
            self.positions_broken.clone(),
        );
        let help = "Positions that could not be saved";
        r.register(
            "skald_agent_positions_failed",
            help,
            self.positions_failed.clone(),
        );
    }

    fn register_clients(&self, r: &mut Registry) {
        r.register(
            "promtail_sent_entries",
            "Entries taken",
            self.sent_entries.clone(),
        );
        r.register(
            "promtail_sent_bytes",
            "Bytes of entries taken",
            self.sent_bytes.clone(),
        );
        let help = "Bytes of requests";
        r.register("promtail_encoded_bytes", help, self.encoded_bytes.clone());
        let help = "Bytes of entries that are read and not acknowledged";
        r.register("skald_agent_owed_bytes", help, self.owed_bytes.clone());
        r.register(
            "promtail_dropped_entries",
            "Entries dropped",
            self.dropped_entries.clone(),
        );
        let help = "Bytes of entries dropped";
        r.register("promtail_dropped_bytes", help, self.dropped_bytes.clone());
        r.register(
            "promtail_mutated_entries",
            "Entries cut",
            self.mutated_entries.clone(),
        );
        r.register(
            "promtail_mutated_bytes",
            "Bytes cut",
            self.mutated_bytes.clone(),
        );
        r.register(
            "promtail_batch_retries",
            "Tries after the first",
            self.retries.clone(),
        );
        let help = "Durations of requests";
        r.register(
            "promtail_request_duration_seconds",
            help,
            self.durations.clone(),
        );
    }

    fn register_journal(&self, r: &mut Registry) {
        r.register(
            "promtail_journal_target_lines",
            "Records of the journal that are lines",
            self.journal_lines.clone(),
        );
        r.register(
            "promtail_journal_target_parsing_errors",
            "Records of the journal that are no lines",
            self.journal_errors.clone(),
        );
    }

    fn register_process(&self, r: &mut Registry) {
        let help = "Configurations that were taken over while running";
        r.register("promtail_config_reload_success", help, self.reloads.clone());
        let help = "Configurations that were not taken over";
        r.register(
            "promtail_config_reload_fail",
            help,
            self.reloads_failed.clone(),
        );
        let build = Info::new(vec![("version", server::VERSION)]);
        r.register("promtail_build", "What this is", build);
    }

    /// Counts a target or file of which nothing is collected.
    pub(crate) fn target_failed(&self, reason: &'static str, count: usize) {
        self.targets_failed
            .get_or_create(&ReasonLabels { reason })
            .inc_by(count as u64);
    }

    /// Counts a record of the journal that makes no line.
    pub(crate) fn no_line(&self, why: NoLine) {
        let labels = ErrorLabels { error: why.name() };
        self.journal_errors.get_or_create(&labels).inc();
    }

    /// The metrics of a file.
    pub(crate) fn file(&self, path: &Path) -> FileMetrics {
        let labels = PathLabels {
            path: path.display().to_string(),
        };
        FileMetrics {
            lines: self.read_lines.get_or_create(&labels).clone(),
            metrics: self.clone(),
            labels,
        }
    }

    /// The metrics of a client, which is known by the host of its address.
    pub(crate) fn client(&self, host: &str) -> ClientMetrics {
        ClientMetrics {
            metrics: self.clone(),
            host: host.to_owned(),
        }
    }
}

/// The metrics of a file, which vanish when this is dropped.
#[derive(Debug)]
pub(crate) struct FileMetrics {
    metrics: Metrics,
    labels: PathLabels,
    lines: Counter,
}

/// How a file stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct FileState {
    pub(crate) read_bytes: u64,
    pub(crate) file_bytes: u64,
    pub(crate) lag_bytes: u64,
    pub(crate) lag: Duration,
}

impl FileMetrics {
    pub(crate) fn read(&self, lines: u64) {
        self.lines.inc_by(lines);
    }

    pub(crate) fn state(&self, state: FileState) {
        let as_gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let (metrics, labels) = (&self.metrics, &self.labels);
        metrics
            .read_bytes
            .get_or_create(labels)
            .set(as_gauge(state.read_bytes));
        metrics
            .file_bytes
            .get_or_create(labels)
            .set(as_gauge(state.file_bytes));
        metrics
            .lag_bytes
            .get_or_create(labels)
            .set(as_gauge(state.lag_bytes));
        metrics
            .lag_seconds
            .get_or_create(labels)
            .set(state.lag.as_secs_f64());
    }
}

impl Drop for FileMetrics {
    fn drop(&mut self) {
        self.metrics.read_lines.remove(&self.labels);
        self.metrics.read_bytes.remove(&self.labels);
        self.metrics.file_bytes.remove(&self.labels);
        self.metrics.lag_bytes.remove(&self.labels);
        self.metrics.lag_seconds.remove(&self.labels);
    }
}

/// The metrics of a client.
#[derive(Clone, Debug)]
pub(crate) struct ClientMetrics {
    metrics: Metrics,
    host: String,
}

impl ClientMetrics {
    fn host(&self) -> HostLabels {
        HostLabels {
            host: self.host.clone(),
        }
    }

    pub(crate) fn sent(&self, entries: usize, bytes: usize) {
        let host = self.host();
        self.metrics
            .sent_entries
            .get_or_create(&host)
            .inc_by(entries as u64);
        self.metrics
            .sent_bytes
            .get_or_create(&host)
            .inc_by(bytes as u64);
    }

    pub(crate) fn encoded(&self, bytes: usize) {
        self.metrics
            .encoded_bytes
            .get_or_create(&self.host())
            .inc_by(bytes as u64);
    }

    pub(crate) fn owed(&self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.metrics
            .owed_bytes
            .get_or_create(&self.host())
            .set(bytes);
    }

    /// A request; status 0 is one without an answer.
    pub(crate) fn requested(&self, status_code: u16, took: Duration) {
        let labels = StatusLabels {
            status_code,
            host: self.host.clone(),
        };
        self.metrics
            .durations
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }

    pub(crate) fn retried(&self, tenant: Option<&str>) {
        let labels = TenantLabels {
            host: self.host.clone(),
            tenant: tenant.unwrap_or_default().to_owned(),
        };
        self.metrics.retries.get_or_create(&labels).inc();
    }

    pub(crate) fn dropped(
        &self,
        tenant: Option<&str>,
        reason: DropReason,
        entries: usize,
        bytes: usize,
    ) {
        let labels = DropLabels {
            host: self.host.clone(),
            tenant: tenant.unwrap_or_default().to_owned(),
            reason,
        };
        self.metrics
            .dropped_entries
            .get_or_create(&labels)
            .inc_by(entries as u64);
        self.metrics
            .dropped_bytes
            .get_or_create(&labels)
            .inc_by(bytes as u64);
    }

    /// A line that was cut by so many bytes.
    pub(crate) fn cut(&self, tenant: Option<&str>, bytes: usize) {
        let labels = MutateLabels {
            host: self.host.clone(),
            tenant: tenant.unwrap_or_default().to_owned(),
            reason: DropReason::LineTooLong,
        };
        self.metrics.mutated_entries.get_or_create(&labels).inc();
        self.metrics
            .mutated_bytes
            .get_or_create(&labels)
            .inc_by(bytes as u64);
    }
}
