//! What the compactor tells about itself: `skald_compactor_*`.

use std::fmt;
use std::fmt::Write as _;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// How the compaction of a partition ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// Committed.
    Ok,
    /// Another compactor was faster.
    Conflict,
    /// Anything else.
    Error,
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Ok => "ok",
            Self::Conflict => "conflict",
            Self::Error => "error",
        })
    }
}

/// Why a row is not in what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Dropped {
    /// Another replica had it too.
    Duplicate,
    /// Its tenant asked for it.
    Deleted,
    /// It is older than it is to be kept.
    Expired,
}

impl EncodeLabelValue for Dropped {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Duplicate => "duplicate",
            Self::Deleted => "deleted",
            Self::Expired => "expired",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DroppedLabels {
    reason: Dropped,
}

/// Counters of the compactor. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Metrics {
    jobs: Family<OutcomeLabels, Counter>,
    rows_dropped: Family<DroppedLabels, Counter>,
    pub(crate) job_seconds: Histogram,
    pub(crate) objects_read: Counter,
    pub(crate) objects_written: Counter,
    pub(crate) bytes_read: Counter,
    pub(crate) bytes_written: Counter,
    pub(crate) blocks_fetched: Counter,
    pub(crate) blocks_copied: Counter,
    pub(crate) blocks_encoded: Counter,
    pub(crate) objects_expired: Counter,
    pub(crate) files_swept: Counter,
    pub(crate) orphans_swept: Counter,
    pub(crate) files_discarded: Counter,
    pub(crate) indexes_mended: Counter,
    pub(crate) deletes_processed: Counter,
    pub(crate) deletes_damaged: Gauge,
    pub(crate) partitions: Gauge,
    pub(crate) partitions_failed: Gauge,
    pub(crate) damaged_objects: Gauge,
    pub(crate) last_cycle_seconds: Gauge,
}

fn job_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.05, 3.0, 10))
}

impl Metrics {
    /// Counters that nobody reads.
    #[must_use]
    pub fn unregistered() -> Self {
        Self {
            jobs: Family::default(),
            rows_dropped: Family::default(),
            job_seconds: job_seconds(),
            objects_read: Counter::default(),
            objects_written: Counter::default(),
            bytes_read: Counter::default(),
            bytes_written: Counter::default(),
            blocks_fetched: Counter::default(),
            blocks_copied: Counter::default(),
            blocks_encoded: Counter::default(),
            objects_expired: Counter::default(),
            files_swept: Counter::default(),
            orphans_swept: Counter::default(),
            files_discarded: Counter::default(),
            indexes_mended: Counter::default(),
            deletes_processed: Counter::default(),
            deletes_damaged: Gauge::default(),
            partitions: Gauge::default(),
            partitions_failed: Gauge::default(),
            damaged_objects: Gauge::default(),
            last_cycle_seconds: Gauge::default(),
        }
    }

    /// Counters that appear in `registry` as `skald_compactor_*`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::unregistered();
        let of = registry.sub_registry_with_prefix("skald_compactor");
        let m = metrics.clone();
        of.register("jobs", "Commits to a partition, by how they ended", m.jobs);
        of.register(
            "rows_dropped",
            "Rows that were not written again, by why",
            m.rows_dropped,
        );
        of.register("job_seconds", "Time from plan to commit", m.job_seconds);
        of.register("objects_read", "Data objects replaced", m.objects_read);
        of.register("objects_written", "Data objects written", m.objects_written);
        of.register("bytes_read", "Bytes of objects replaced", m.bytes_read);
        of.register("bytes_written", "Bytes of objects written", m.bytes_written);
        of.register(
            "blocks_fetched",
            "Blocks read, again if they had to be closed in between",
            m.blocks_fetched,
        );
        of.register(
            "blocks_copied",
            "Blocks copied byte for byte",
            m.blocks_copied,
        );
        of.register("blocks_encoded", "Blocks written anew", m.blocks_encoded);
        of.register(
            "objects_expired",
            "Data objects dropped whole because of their age",
            m.objects_expired,
        );
        of.register(
            "files_swept",
            "Replaced files deleted from the store",
            m.files_swept,
        );
        of.register(
            "orphans_swept",
            "Files deleted that were never referred to",
            m.orphans_swept,
        );
        of.register(
            "files_discarded",
            "Files deleted because the job that wrote them failed",
            m.files_discarded,
        );
        of.register(
            "indexes_mended",
            "Label indexes made again from their objects",
            m.indexes_mended,
        );
        of.register(
            "deletes_processed",
            "Delete requests carried out",
            m.deletes_processed,
        );
        of.register(
            "deletes_damaged",
            "Delete requests that cannot be read or understood, as of the last cycle",
            m.deletes_damaged,
        );
        of.register("partitions", "Partitions of the last cycle", m.partitions);
        of.register(
            "partitions_failed",
            "Partitions of the last cycle that could not be compacted",
            m.partitions_failed,
        );
        of.register(
            "damaged_objects",
            "Data objects that could not be read when that was last tried",
            m.damaged_objects,
        );
        of.register(
            "last_cycle_timestamp_seconds",
            "When the last cycle ended",
            m.last_cycle_seconds,
        );
        metrics
    }

    pub(crate) fn job(&self, outcome: Outcome) {
        self.jobs.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    pub(crate) fn dropped(&self, reason: Dropped, rows: u64) {
        self.rows_dropped
            .get_or_create(&DroppedLabels { reason })
            .inc_by(rows);
    }
}
