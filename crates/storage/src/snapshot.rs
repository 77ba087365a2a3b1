//! What a reader sees: the same from its first look to its last.

use std::sync::Arc;

use model::{TenantId, TimeRange};

use crate::key::{data_key, index_key};
use crate::manifest::{IndexFile, ObjectFile, PartitionState};
use crate::objects::ObjectRef;

/// The partitions of a tenant that a time range touches, as they were at one moment.
///
/// Whatever is committed later does not change it, and the files it names stay readable for the
/// grace period of the compactor.
#[derive(Clone, Debug)]
pub struct Snapshot {
    tenant: TenantId,
    partitions: Vec<Partition>,
}

impl Snapshot {
    pub(crate) fn new(tenant: TenantId, partitions: Vec<Partition>) -> Self {
        Self { tenant, partitions }
    }

    /// Whose.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Its days in order. Days without a file that overlaps the range are left out.
    #[must_use]
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }
}

/// A tenant's day, as it was after one manifest entry.
#[derive(Clone, Debug)]
pub struct Partition {
    tenant: TenantId,
    day: i64,
    range: TimeRange,
    state: Arc<PartitionState>,
}

impl Partition {
    pub(crate) fn new(
        tenant: TenantId,
        day: i64,
        range: TimeRange,
        state: Arc<PartitionState>,
    ) -> Self {
        let whole = day_range(day);
        Self {
            tenant,
            day,
            range: whole.intersect(&range),
            state,
        }
    }

    /// Whose.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Which day, in days since the Unix epoch.
    #[must_use]
    pub fn day(&self) -> i64 {
        self.day
    }

    /// The part of the asked range that lies in this day.
    #[must_use]
    pub fn range(&self) -> TimeRange {
        self.range
    }

    /// Number of the last manifest entry seen.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.state.seq
    }

    /// Everything known of the partition.
    #[must_use]
    pub fn state(&self) -> &PartitionState {
        &self.state
    }

    /// Live index files with rows in the range.
    pub fn indexes(&self) -> impl Iterator<Item = &IndexFile> {
        let overlaps = |file: &&IndexFile| self.range.overlaps(file.min_ts_ns, file.max_ts_ns);
        self.state.indexes.values().filter(overlaps)
    }

    /// Live data objects with rows in the range.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectFile> {
        let overlaps = |file: &&ObjectFile| self.range.overlaps(file.min_ts_ns, file.max_ts_ns);
        self.state.objects.values().filter(overlaps)
    }

    /// The live data object of an id.
    #[must_use]
    pub fn object(&self, id: u128) -> Option<&ObjectFile> {
        self.state.objects.get(&id)
    }

    /// Where a live data object is.
    #[must_use]
    pub fn object_ref(&self, id: u128) -> Option<ObjectRef> {
        self.object(id).map(|file| ObjectRef {
            key: self.data_key(id),
            id,
            meta_off: file.meta_off,
            meta_len: file.meta_len,
        })
    }

    /// The key of one of its data objects.
    #[must_use]
    pub fn data_key(&self, id: u128) -> String {
        data_key(&self.tenant, self.day, id)
    }

    /// The key of one of its index files.
    #[must_use]
    pub fn index_key(&self, id: u128) -> String {
        index_key(&self.tenant, self.day, id)
    }
}

/// The times of a day.
pub(crate) fn day_range(day: i64) -> TimeRange {
    let start_ns = day.saturating_mul(TimeRange::DAY_NS);
    TimeRange::new(start_ns, start_ns.saturating_add(TimeRange::DAY_NS))
}
