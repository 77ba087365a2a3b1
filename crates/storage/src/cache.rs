//! Caches bounded by bytes.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

use crate::error::StorageError;
use crate::metrics::{CacheName, Metrics};

/// Entries that the cache makes room for at the start; it grows as needed.
const ENTRIES_GUESS: usize = 256;
/// The part of a cache that is for values that were used again.
const HOT_PART: f64 = 0.97;
/// The same where values are lightened: as long as those that were used before are heavy, there has
/// to be room for the light ones.
const HOT_PART_LIGHTENING: f64 = 0.8;

/// A value with its weight, reckoned once.
struct Weighed<V> {
    value: Arc<V>,
    bytes: u64,
}

impl<V> Clone for Weighed<V> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            bytes: self.bytes,
        }
    }
}

#[derive(Clone)]
struct ByBytes;

impl<K, V> Weighter<K, Weighed<V>> for ByBytes {
    fn weight(&self, _key: &K, value: &Weighed<V>) -> u64 {
        // Zero would mean that the value is never evicted.
        value.bytes.max(1)
    }
}

/// Gathers what is pushed out.
#[derive(Clone)]
struct PushedOut;

impl<K, V> Lifecycle<K, Weighed<V>> for PushedOut {
    type RequestState = Vec<(K, Weighed<V>)>;

    fn on_evict(&self, gathered: &mut Self::RequestState, key: K, value: Weighed<V>) {
        gathered.push((key, value));
    }
}

/// A cache bounded by the bytes of its values.
pub struct ByteCache<K, V> {
    cache: Cache<K, Weighed<V>, ByBytes, DefaultHashBuilder, PushedOut>,
    name: CacheName,
    metrics: Metrics,
}

impl<K: Eq + Hash + Clone, V> ByteCache<K, V> {
    /// `shards` is 1 where single values may be a large part of the whole: a value larger than a
    /// shard is not kept.
    pub fn new(name: CacheName, bytes: u64, shards: usize, metrics: Metrics) -> Self {
        Self::with_hot_part(name, bytes, shards, HOT_PART, metrics)
    }

    /// As [`Self::new`], for use with [`Self::insert_and_lighten`].
    pub(crate) fn lightening(name: CacheName, bytes: u64, shards: usize, metrics: Metrics) -> Self {
        Self::with_hot_part(name, bytes, shards, HOT_PART_LIGHTENING, metrics)
    }

    fn with_hot_part(
        name: CacheName,
        bytes: u64,
        shards: usize,
        hot_part: f64,
        metrics: Metrics,
    ) -> Self {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(ENTRIES_GUESS)
            .weight_capacity(bytes)
            .hot_allocation(hot_part)
            .shards(shards)
            .build();
        let hasher = DefaultHashBuilder::default();
        let cache = match options {
            Ok(options) => Cache::with_options(options, ByBytes, hasher, PushedOut),
            Err(_) => Cache::with(ENTRIES_GUESS, bytes, ByBytes, hasher, PushedOut),
        };
        Self {
            cache,
            name,
            metrics,
        }
    }

    /// The cached value.
    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        let found = self.cache.get(key).map(|found| found.value);
        let hits = u64::from(found.is_some());
        self.metrics.cache_looked_up(self.name, hits, 1 - hits);
        found
    }

    /// The cached value, without counting as a use of it.
    pub fn peek(&self, key: &K) -> Option<Arc<V>> {
        self.cache.peek(key).map(|found| found.value)
    }

    /// What this value weighed when it was put in, if it is the one that is there.
    pub fn weight_of(&self, key: &K, value: &Arc<V>) -> Option<u64> {
        let kept = self.cache.peek(key)?;
        Arc::ptr_eq(&kept.value, value).then_some(kept.bytes)
    }

    /// Whether the cache would be no more than three quarters full with so many bytes more.
    pub fn has_room(&self, bytes: u64) -> bool {
        let most = self.cache.capacity() / 4 * 3;
        self.cache.weight().saturating_add(bytes) <= most
    }

    /// Takes a value out.
    pub fn remove(&self, key: &K) {
        self.cache.remove(key);
        self.metrics.cache_holds(self.name, self.cache.weight());
    }

    /// Puts a value in, in place of the one that is there.
    pub fn insert(&self, key: K, value: Arc<V>, bytes: u64) {
        self.cache.insert(key, Weighed { value, bytes });
        self.metrics.cache_holds(self.name, self.cache.weight());
    }

    /// As [`Self::insert`]; of a value that is pushed out by that, a lighter one is kept in its place
    /// if `lighten` makes one of it and of what it weighs.
    pub fn insert_and_lighten(
        &self,
        key: K,
        value: Arc<V>,
        bytes: u64,
        lighten: impl Fn(&V, u64) -> Option<(V, u64)>,
    ) {
        let mut pushed_out = Vec::new();
        let own = Weighed { value, bytes };
        self.cache.insert_with_lifecycle(key, own, &mut pushed_out);
        while let Some((key, heavy)) = pushed_out.pop() {
            let Some((light, bytes)) = lighten(&heavy.value, heavy.bytes) else {
                continue;
            };
            // Somebody else may have put it in meanwhile.
            if bytes < heavy.bytes && self.cache.peek(&key).is_none() {
                let value = Arc::new(light);
                let light = Weighed { value, bytes };
                self.cache
                    .insert_with_lifecycle(key, light, &mut pushed_out);
            }
        }
        self.metrics.cache_holds(self.name, self.cache.weight());
    }

    /// The cached value, or the one that `load` gives, with its weight. Who asks for the same key
    /// meanwhile waits for that one load.
    ///
    /// # Errors
    /// Those of `load`.
    pub(crate) async fn get_or_load(
        &self,
        key: &K,
        load: impl Future<Output = Result<(Arc<V>, u64), StorageError>>,
    ) -> Result<Arc<V>, StorageError> {
        let guard = match self.cache.get_value_or_guard_async(key).await {
            Ok(found) => {
                self.metrics.cache_looked_up(self.name, 1, 0);
                return Ok(found.value);
            }
            Err(guard) => guard,
        };
        self.metrics.cache_looked_up(self.name, 0, 1);
        let (value, bytes) = load.await?;
        let weighed = Weighed {
            value: Arc::clone(&value),
            bytes,
        };
        // Fails only if the key was removed meanwhile, and then nobody wants it cached.
        let _ = guard.insert(weighed);
        self.metrics.cache_holds(self.name, self.cache.weight());
        Ok(value)
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        self.cache.weight()
    }
}

impl<K, V> fmt::Debug for ByteCache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ByteCache({})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_bound_is_in_bytes_and_a_failed_load_is_not_kept() {
        let metrics = Metrics::unregistered();
        let cache: ByteCache<u32, u32> = ByteCache::new(CacheName::Index, 1000, 1, metrics);
        let failed = cache
            .get_or_load(&1, async { Err(StorageError::Invalid("no".to_owned())) })
            .await;
        assert!(failed.is_err());
        for key in 0..100 {
            let loaded = cache.get_or_load(&key, async { Ok((Arc::new(key), 100)) });
            assert_eq!(*loaded.await.unwrap(), key);
        }
        assert!(cache.bytes() <= 1000);
        let too_large = cache.get_or_load(&1000, async { Ok((Arc::new(7), 5000)) });
        assert_eq!(*too_large.await.unwrap(), 7);
        assert!(cache.bytes() <= 1000);
    }

    #[test]
    fn what_is_pushed_out_is_kept_if_it_can_be_lightened() {
        let metrics = Metrics::unregistered();
        let cache: ByteCache<u64, u64> = ByteCache::lightening(CacheName::Blocks, 1000, 1, metrics);
        let lighten = |value: &u64, bytes| (bytes == 100).then_some((*value + 1000, 10));
        for key in 0..50 {
            cache.insert_and_lighten(key, Arc::new(key), 100, lighten);
        }
        assert!(cache.bytes() <= 1000);
        let kept: Vec<u64> = (0..50)
            .filter_map(|key| cache.peek(&key))
            .map(|value| *value)
            .collect();
        assert!(kept.len() >= 45, "{}", kept.len());
        for key in 50..1000 {
            cache.insert_and_lighten(key, Arc::new(key), 100, lighten);
        }
        assert!(cache.bytes() <= 1000);
    }
}
