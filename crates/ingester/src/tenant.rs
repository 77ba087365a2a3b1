//! A tenant: its streams, its blocks that wait for a flush, and what it has in the store.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use model::units::DurationNs;
use model::{LabelSet, Matcher, TenantId, TimeRange};
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;

use crate::block::Block;
use crate::epoch::Epochs;
use crate::stream::{EpochDays, Stream, StreamSnapshot};

/// Parts of the map of streams, each with a lock.
const SHARDS: usize = 16;
/// Every reader of the store has seen a manifest entry that is older.
pub(crate) const READER_LAG_MAX: DurationNs = DurationNs::from_secs(3600);

/// Streams by fingerprint; nearly always one each.
type Shard = HashMap<u64, SmallVec<[Arc<Stream>; 1]>, foldhash::fast::RandomState>;

/// A tenant's rows in memory.
#[derive(Debug)]
pub(crate) struct Tenant {
    /// Whose.
    pub(crate) id: TenantId,
    shards: [Mutex<Shard>; SHARDS],
    streams: AtomicU64,
    /// Taken for reading while a query takes its snapshot, for writing when a flush is committed:
    /// no query sees the moment between "in memory" and "in the store".
    committed: RwLock<Committed>,
    blocks: Mutex<Vec<Waiting>>,
    /// When something was last pushed or committed.
    used_ns: AtomicI64,
}

/// The newest manifest entry that is known to have rows of this ingester, by day.
type Committed = BTreeMap<i64, u64>;

/// What a query needs of a tenant.
#[derive(Debug, Default)]
pub(crate) struct TenantSnapshot {
    /// Every row of matching streams that is in memory.
    pub(crate) streams: Vec<StreamSnapshot>,
    /// The objects that will have these rows, or have them by now.
    pub(crate) holding: Vec<u128>,
    /// Manifest entries with rows that are not in memory any more.
    pub(crate) committed: Vec<(i64, u64)>,
}

/// A block that waits for a flush.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// The block.
    pub(crate) block: Arc<Block>,
    /// The streams that refer to it.
    pub(crate) streams: Vec<Arc<Stream>>,
}

/// Why there may be no more streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamLimit {
    /// The tenant has as many as it may.
    Count(u64),
    /// There is no memory for more.
    Memory,
}

impl Tenant {
    fn new(id: TenantId) -> Self {
        Self {
            id,
            shards: Default::default(),
            streams: AtomicU64::new(0),
            committed: RwLock::default(),
            blocks: Mutex::default(),
            used_ns: AtomicI64::new(i64::MIN),
        }
    }

    fn shard(&self, fingerprint: u64) -> Option<&Mutex<Shard>> {
        self.shards.get(fingerprint as usize % SHARDS)
    }

    /// The stream with these labels, made with `make` if it is new and the tenant may have it, of
    /// which there is only a question if there is memory. A limit of 0 is none.
    pub(crate) fn stream(
        &self,
        labels: &LabelSet,
        limit: u64,
        has_memory: bool,
        make: impl FnOnce() -> Stream,
    ) -> Result<(Arc<Stream>, bool), StreamLimit> {
        let fingerprint = labels.fingerprint();
        let Some(shard) = self.shard(fingerprint) else {
            return Err(StreamLimit::Count(limit));
        };
        let mut shard = shard.lock();
        if let Some(streams) = shard.get(&fingerprint)
            && let Some(stream) = streams.iter().find(|stream| stream.labels() == labels)
        {
            return Ok((Arc::clone(stream), false));
        }
        if !has_memory {
            return Err(StreamLimit::Memory);
        }
        let more = |count: u64| (limit == 0 || count < limit).then_some(count + 1);
        let order = Ordering::Relaxed;
        self.streams
            .fetch_update(order, order, more)
            .map_err(|_| StreamLimit::Count(limit))?;
        let stream = Arc::new(make());
        shard
            .entry(fingerprint)
            .or_default()
            .push(Arc::clone(&stream));
        Ok((stream, true))
    }

    /// All streams.
    pub(crate) fn streams(&self) -> Vec<Arc<Stream>> {
        let mut all = Vec::with_capacity(self.streams.load(Ordering::Relaxed) as usize);
        for shard in &self.shards {
            all.extend(shard.lock().values().flatten().cloned());
        }
        all
    }

    /// Forgets streams that have nothing in memory and were not pushed to since. Returns how many.
    pub(crate) fn forget(&self, since_ns: i64) -> u64 {
        let mut forgotten = 0;
        for shard in &self.shards {
            shard.lock().retain(|_, streams| {
                let before = streams.len();
                streams.retain(|stream| !stream.forget(since_ns));
                forgotten += (before - streams.len()) as u64;
                !streams.is_empty()
            });
        }
        self.streams.fetch_sub(forgotten, Ordering::Relaxed);
        forgotten
    }

    /// What a query needs, all as of the same moment.
    pub(crate) fn snapshot(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
        epochs: &Epochs,
    ) -> TenantSnapshot {
        let committed = self.committed.read();
        let mut held = EpochDays::new();
        let streams = self.streams();
        // To see that a stream has nothing in memory is cheaper than to look at its labels.
        let wanted = streams
            .iter()
            .filter(|stream| stream.has_rows() && matches_any(selectors, stream.labels()));
        let streams = wanted
            .filter_map(|stream| stream.snapshot(range, &mut held))
            .collect();
        let days = range.days();
        let committed = committed
            .iter()
            .filter(|(day, seq)| days.contains(day) && **seq > 0);
        TenantSnapshot {
            streams,
            holding: held
                .into_iter()
                .map(|(epoch, day)| epochs.object_id(epoch, &self.id, day))
                .collect(),
            committed: committed.map(|(day, seq)| (*day, *seq)).collect(),
        }
    }

    /// Whether anything is known about what this ingester has in the store for a day.
    pub(crate) fn knows_day(&self, day: i64) -> bool {
        self.committed.read().contains_key(&day)
    }

    /// The newest manifest entry of a day that may have rows of this ingester.
    pub(crate) fn learn_day(&self, day: i64, seq: u64) {
        let mut committed = self.committed.write();
        let newest = committed.entry(day).or_default();
        *newest = seq.max(*newest);
    }

    /// A block was encoded.
    pub(crate) fn add_block(&self, waiting: Waiting) {
        self.blocks.lock().push(waiting);
    }

    /// The blocks of a flush, by day. They stay until they are committed.
    pub(crate) fn blocks_of(&self, epoch: u64) -> BTreeMap<i64, Vec<Waiting>> {
        let mut days: BTreeMap<i64, Vec<Waiting>> = BTreeMap::new();
        for waiting in self
            .blocks
            .lock()
            .iter()
            .filter(|waiting| waiting.block.epoch == epoch)
        {
            days.entry(waiting.block.day)
                .or_default()
                .push(waiting.clone());
        }
        days
    }

    /// The object with these blocks is committed: from this moment on queries find its rows in the
    /// store and not here.
    pub(crate) fn commit(&self, day: i64, seq: u64, blocks: &[Waiting], now_ns: i64) {
        self.used_ns.fetch_max(now_ns, Ordering::Relaxed);
        let mut committed = self.committed.write();
        for waiting in blocks {
            waiting.block.set_committed();
        }
        let newest = committed.entry(day).or_default();
        *newest = seq.max(*newest);
        drop(committed);
        self.blocks
            .lock()
            .retain(|waiting| !waiting.block.is_committed());
        for stream in blocks.iter().flat_map(|waiting| &waiting.streams) {
            stream.drop_committed();
        }
    }
}

fn matches_any(selectors: &[Vec<Matcher>], labels: &LabelSet) -> bool {
    let matches = |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches(labels));
    selectors.is_empty() || selectors.iter().any(matches)
}

/// All tenants.
#[derive(Debug, Default)]
pub(crate) struct Tenants(RwLock<HashMap<TenantId, Arc<Tenant>>>);

impl Tenants {
    /// A tenant that has pushed something.
    pub(crate) fn get(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.0.read().get(id).cloned()
    }

    /// A tenant that pushes, new or not.
    pub(crate) fn get_or_add(&self, id: &TenantId, now_ns: i64) -> Arc<Tenant> {
        let tenant = self.get(id).unwrap_or_else(|| {
            let mut tenants = self.0.write();
            let tenant = tenants.entry(id.clone());
            Arc::clone(tenant.or_insert_with(|| Arc::new(Tenant::new(id.clone()))))
        });
        tenant.used_ns.fetch_max(now_ns, Ordering::Relaxed);
        tenant
    }

    /// Forgets tenants that have no streams and of which every reader of the store has seen what
    /// was committed.
    pub(crate) fn forget(&self, now_ns: i64) {
        let since_ns = now_ns.saturating_sub(READER_LAG_MAX.0);
        let is_idle = |tenant: &Arc<Tenant>| {
            // Whoever else has it may be adding a stream.
            Arc::strong_count(tenant) == 1
                && tenant.streams.load(Ordering::Relaxed) == 0
                && tenant.used_ns.load(Ordering::Relaxed) < since_ns
        };
        self.0.write().retain(|_, tenant| !is_idle(tenant));
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Tenant>> {
        self.0.read().values().cloned().collect()
    }
}
