//! What the store tells about itself: `skald_storage_*`.

use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Label values that are the names of a variant.
macro_rules! label_values {
    ($(#[$doc:meta])* $vis:vis $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name { $($(#[$variant_doc])* $variant,)* }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)* })
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                write!(encoder, "{self}")
            }
        }
    };
}

label_values! {
    /// What is done with the store.
    pub Operation {
        /// Read an object or ranges of it.
        Get = "get",
        /// Write an object.
        Put = "put",
        /// Write an object unless one is there.
        Create = "create",
        /// Ask for an object's size.
        Head = "head",
        /// List keys.
        List = "list",
        /// Delete an object.
        Delete = "delete",
    }
}

label_values! {
    /// How a request ended.
    pub(crate) Outcome {
        /// As asked.
        Ok = "ok",
        /// No such object.
        NotFound = "not_found",
        /// An object was there.
        Exists = "exists",
        /// Not allowed.
        Denied = "denied",
        /// No answer in time.
        Timeout = "timeout",
        /// Anything else.
        Error = "error",
    }
}

label_values! {
    /// Which cache.
    pub CacheName {
        /// Parsed index files.
        Index = "index",
        /// Parsed meta regions of data objects.
        Metadata = "metadata",
        /// Byte ranges of data objects.
        Blocks = "blocks",
        /// What stored rows amounted to in queries.
        Results = "results",
        /// Pages of files on the local disk.
        Disk = "disk",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: Operation,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: Operation,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    cache: CacheName,
}

/// Counters of the store, its caches and the catalog. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    retries: Family<OperationLabels, Counter>,
    pub(crate) hedged: Counter,
    pub(crate) hedges_won: Counter,
    pub(crate) read_again: Counter,
    bytes: Family<OperationLabels, Counter>,
    seconds: Family<OperationLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    cache_hits: Family<CacheLabels, Counter>,
    cache_misses: Family<CacheLabels, Counter>,
    cache_bytes: Family<CacheLabels, Gauge>,
    pub(crate) commits: Counter,
    pub(crate) commit_races: Counter,
    pub(crate) entries_replayed: Counter,
    pub(crate) partitions: Gauge,
    pub(crate) poll_failures: Counter,
    pub(crate) manifests_repaired: Counter,
}

fn request_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.5, 12))
}

impl Metrics {
    /// Counters that nobody reads.
    #[must_use]
    pub fn unregistered() -> Self {
        Self {
            requests: Family::default(),
            retries: Family::default(),
            hedged: Counter::default(),
            hedges_won: Counter::default(),
            read_again: Counter::default(),
            bytes: Family::default(),
            seconds: Family::new_with_constructor(request_seconds),
            in_flight: Gauge::default(),
            cache_hits: Family::default(),
            cache_misses: Family::default(),
            cache_bytes: Family::default(),
            commits: Counter::default(),
            commit_races: Counter::default(),
            entries_replayed: Counter::default(),
            partitions: Gauge::default(),
            poll_failures: Counter::default(),
            manifests_repaired: Counter::default(),
        }
    }

    /// Counters that appear in `registry` as `skald_storage_*`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::unregistered();
        let storage = registry.sub_registry_with_prefix("skald_storage");
        storage.register(
            "requests",
            "Requests to the object store",
            metrics.requests.clone(),
        );
        storage.register(
            "retries",
            "Requests to the object store made again after a failure",
            metrics.retries.clone(),
        );
        storage.register(
            "hedged_reads",
            "Reads that were slow and asked for a second time",
            metrics.hedged.clone(),
        );
        storage.register(
            "hedged_reads_won",
            "Second reads that answered first",
            metrics.hedges_won.clone(),
        );
        storage.register(
            "read_again",
            "Reads made again because what was read was missing, short or not what was written",
            metrics.read_again.clone(),
        );
        storage.register(
            "bytes",
            "Bytes read from and written to the object store",
            metrics.bytes.clone(),
        );
        storage.register(
            "request_seconds",
            "Time of one request to the object store",
            metrics.seconds.clone(),
        );
        storage.register(
            "requests_in_flight",
            "Requests to the object store under way",
            metrics.in_flight.clone(),
        );
        storage.register(
            "cache_hits",
            "Look-ups that a cache answered",
            metrics.cache_hits.clone(),
        );
        storage.register(
            "cache_misses",
            "Look-ups that a cache did not answer",
            metrics.cache_misses.clone(),
        );
        storage.register(
            "cache_bytes",
            "Bytes held by a cache",
            metrics.cache_bytes.clone(),
        );
        storage.register(
            "commits",
            "Manifest entries committed by this process",
            metrics.commits.clone(),
        );
        storage.register(
            "commit_races",
            "Commits that found their place taken and tried the next",
            metrics.commit_races.clone(),
        );
        storage.register(
            "manifest_entries_replayed",
            "Manifest entries and checkpoints read",
            metrics.entries_replayed.clone(),
        );
        storage.register(
            "partitions",
            "Partitions whose manifest is in memory",
            metrics.partitions.clone(),
        );
        storage.register(
            "poll_failures",
            "Polls for new manifest entries that failed",
            metrics.poll_failures.clone(),
        );
        storage.register(
            "manifests_repaired",
            "Damaged manifest files whose content was made again from a listing",
            metrics.manifests_repaired.clone(),
        );
        metrics
    }

    pub(crate) fn request_started(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    pub(crate) fn request_ended(&self, operation: Operation, outcome: Outcome, took: Duration) {
        self.requests
            .get_or_create(&RequestLabels { operation, outcome })
            .inc();
        self.seconds
            .get_or_create(&OperationLabels { operation })
            .observe(took.as_secs_f64());
    }

    pub(crate) fn retried(&self, operation: Operation) {
        self.retries
            .get_or_create(&OperationLabels { operation })
            .inc();
    }

    pub(crate) fn transferred(&self, operation: Operation, bytes: u64) {
        self.bytes
            .get_or_create(&OperationLabels { operation })
            .inc_by(bytes);
    }

    pub(crate) fn cache_looked_up(&self, cache: CacheName, hits: u64, misses: u64) {
        if hits > 0 {
            self.cache_hits
                .get_or_create(&CacheLabels { cache })
                .inc_by(hits);
        }
        if misses > 0 {
            self.cache_misses
                .get_or_create(&CacheLabels { cache })
                .inc_by(misses);
        }
    }

    pub(crate) fn cache_holds(&self, cache: CacheName, bytes: u64) {
        self.cache_bytes
            .get_or_create(&CacheLabels { cache })
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

/// Counts a request as under way until it is dropped, also when its future is.
pub(crate) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
