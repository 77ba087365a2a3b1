//! Data objects for readers: what describes them and their blocks, cached.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use chunk::{Block, BlockMeta, ObjectMeta, Piece, Search};
use index::ObjectEntry;

use crate::cache::ByteCache;
use crate::config::CacheConfig;
use crate::disk::{FileId, FileKind};
use crate::error::StorageError;
use crate::metrics::CacheName;
use crate::store::Store;

/// Parts of the cache of blocks; see [`ByteCache::new`].
const BLOCK_SHARDS: usize = 4;
/// A block that is pushed out stays without what it has decoded if that makes up all but one of so
/// many parts of its weight.
const LIGHTENED_PART: u64 = 2;
/// A block that has decoded more than its lines are is kept without that, unless there is room; less
/// than this is kept in any case.
const SMALL_BYTES: u64 = 64 << 10;
/// How much larger a meta region is likely to be decoded: decoding happens later, bit by bit, but
/// the cache wants to know the weight at once.
const META_GROWTH: u64 = 4;

/// Where a data object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    /// Its key.
    pub key: String,
    /// Its id.
    pub id: u128,
    /// Where its meta region starts.
    pub meta_off: u64,
    /// How long its meta region is.
    pub meta_len: u64,
}

impl From<&ObjectEntry> for ObjectRef {
    fn from(entry: &ObjectEntry) -> Self {
        Self {
            key: entry.key.clone(),
            id: entry.id,
            meta_off: entry.meta_off,
            meta_len: entry.meta_len,
        }
    }
}

/// A block, and which bytes of it, positions in its object.
pub type BlockParts = (Arc<BlockMeta>, Vec<Range<u64>>);

/// An object's id, and which of its blocks.
type BlockKey = (u128, u32);

/// Reads data objects through caches bounded by bytes. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Objects {
    store: Store,
    metas: Arc<ByteCache<u128, ObjectMeta>>,
    blocks: Arc<ByteCache<BlockKey, Block>>,
}

impl Objects {
    pub(crate) fn new(store: Store, config: &CacheConfig) -> Self {
        let (meta, blocks) = (config.metadata.0, config.blocks.0);
        let metrics = store.metrics().clone();
        Self {
            metas: Arc::new(ByteCache::new(
                CacheName::Metadata,
                meta,
                1,
                metrics.clone(),
            )),
            blocks: Arc::new(ByteCache::lightening(
                CacheName::Blocks,
                blocks,
                BLOCK_SHARDS,
                metrics,
            )),
            store,
        }
    }

    /// What an object says about itself.
    ///
    /// # Errors
    /// If the store fails, or the object is damaged; the error names its key.
    pub async fn meta(&self, object: &ObjectRef) -> Result<Arc<ObjectMeta>, StorageError> {
        let load = async {
            let end = object.meta_off.saturating_add(object.meta_len);
            let region = object.meta_off..end;
            let is_intact = |_, bytes: &Bytes| ObjectMeta::is_intact(bytes);
            let read = self.read(object, std::slice::from_ref(&region), is_intact);
            let read = read.await?;
            let bytes = read.into_iter().next().unwrap_or_default();
            let corrupt =
                |reason: &dyn std::fmt::Display| StorageError::corrupt(&object.key, reason);
            let meta = ObjectMeta::parse(bytes).map_err(|error| corrupt(&error))?;
            if meta.object_id() != object.id || meta.object_len() != end {
                return Err(corrupt(&"the meta region is of another object"));
            }
            let weight = meta.heap_bytes() as u64 + META_GROWTH * object.meta_len;
            Ok((Arc::new(meta), weight))
        };
        self.metas.get_or_load(&object.id, load).await
    }

    /// A block of an object with these bytes of it, positions in the object as
    /// [`BlockMeta::fetch_ranges`] gives them. Queries that want the same block share it, and what
    /// it has decoded. Who is done with it says so by [`Self::weigh`].
    ///
    /// # Errors
    /// If the store fails, or the object is shorter than its blocks.
    pub async fn block(
        &self,
        object: &ObjectRef,
        meta: &Arc<BlockMeta>,
        ranges: &[Range<u64>],
    ) -> Result<Arc<Block>, StorageError> {
        let block = self.held_or_new(object, meta);
        self.fetch(object, &block, ranges).await?;
        Ok(block)
    }

    /// As [`Self::block`], several blocks of an object, in the same order: what is not in memory of
    /// them is read in one go.
    ///
    /// # Errors
    /// As [`Self::block`].
    pub async fn blocks(
        &self,
        object: &ObjectRef,
        wanted: &[BlockParts],
    ) -> Result<Vec<Arc<Block>>, StorageError> {
        let blocks = wanted
            .iter()
            .map(|(meta, _)| self.held_or_new(object, meta));
        let blocks: Vec<Arc<Block>> = blocks.collect();
        let ranges = wanted.iter().map(|(_, ranges)| ranges.as_slice());
        self.fetch_all(object, blocks.iter().zip(ranges)).await?;
        Ok(blocks)
    }

    fn held_or_new(&self, object: &ObjectRef, meta: &Arc<BlockMeta>) -> Arc<Block> {
        let held = self.blocks.get(&(object.id, meta.ordinal()));
        held.unwrap_or_else(|| Arc::new(Block::new(Arc::clone(meta), Vec::new())))
    }

    /// What is in memory of a block.
    #[must_use]
    pub fn held(&self, object: u128, ordinal: u32) -> Option<Arc<Block>> {
        self.blocks.get(&(object, ordinal))
    }

    /// Reads those of the bytes of a block that it does not have, in as few requests as it takes.
    ///
    /// # Errors
    /// As [`Self::block`].
    pub async fn fetch(
        &self,
        object: &ObjectRef,
        block: &Arc<Block>,
        ranges: &[Range<u64>],
    ) -> Result<(), StorageError> {
        self.fetch_all(object, std::iter::once((block, ranges)))
            .await
    }

    async fn fetch_all(
        &self,
        object: &ObjectRef,
        wanted: impl Iterator<Item = (&Arc<Block>, &[Range<u64>])>,
    ) -> Result<(), StorageError> {
        let missing = wanted.map(|(block, ranges)| (block, block.missing(ranges)));
        let missing: Vec<_> = missing.filter(|(_, ranges)| !ranges.is_empty()).collect();
        let parts = missing
            .iter()
            .flat_map(|(block, ranges)| ranges.iter().map(|range| (block.meta(), range.clone())));
        let (metas, ranges): (Vec<&Arc<BlockMeta>>, Vec<Range<u64>>) = parts.unzip();
        if ranges.is_empty() {
            return Ok(());
        }
        let is_intact = |number: usize, bytes: &Bytes| {
            let part = metas.get(number).zip(ranges.get(number));
            part.is_none_or(|(meta, range)| meta.is_intact(range, bytes))
        };
        let read = self.read(object, &ranges, is_intact).await?;
        let mut read = read.into_iter();
        for (block, ranges) in missing {
            let pieces = ranges.into_iter().zip(&mut read);
            let pieces = pieces.map(|(range, bytes)| Piece {
                offset: range.start,
                bytes,
            });
            block.add_pieces(pieces.collect());
            let key = (object.id, block.meta().ordinal());
            self.keep(key, Arc::clone(block));
        }
        Ok(())
    }

    async fn read(
        &self,
        object: &ObjectRef,
        parts: &[Range<u64>],
        is_intact: impl Fn(usize, &Bytes) -> bool,
    ) -> Result<Vec<Bytes>, StorageError> {
        let file = FileId {
            kind: FileKind::Data,
            id: object.id,
        };
        let len = object.meta_off.saturating_add(object.meta_len);
        let store = &self.store;
        store
            .get_parts(file, &object.key, len, parts, is_intact)
            .await
    }

    /// Takes in that a block need not be read for a search: it has no such line.
    pub fn rule_out(&self, object: &ObjectRef, meta: &Arc<BlockMeta>, search: &Search) {
        let key = (object.id, meta.ordinal());
        let held = self.blocks.peek(&key);
        let block = held.unwrap_or_else(|| Arc::new(Block::new(Arc::clone(meta), Vec::new())));
        block.rule_out(search);
        self.keep(key, block);
    }

    /// Takes in how much a block has decoded, if it is still the one that is kept.
    pub fn weigh(&self, object: u128, block: &Arc<Block>) {
        let key = (object, block.meta().ordinal());
        let known = self.blocks.weight_of(&key, block);
        if known.is_some_and(|known| known != block.heap_bytes() as u64) {
            self.keep(key, Arc::clone(block));
        }
    }

    /// Keeps a block no longer, as its bytes turned out to be damaged: they may be whole in the
    /// store, and are read again when they are wanted.
    pub fn forget(&self, object: u128, ordinal: u32) {
        self.blocks.remove(&(object, ordinal));
    }

    fn keep(&self, key: BlockKey, block: Arc<Block>) {
        let bytes = block.heap_bytes() as u64;
        let most = block.meta().raw_bytes().max(SMALL_BYTES);
        let (block, bytes) = match bytes <= most || self.blocks.has_room(bytes) {
            true => (block, bytes),
            false => {
                let undecoded = block.undecoded();
                let bytes = undecoded.heap_bytes() as u64;
                (Arc::new(undecoded), bytes)
            }
        };
        // What is pushed out loses what can be decoded again first: reading it again would cost more.
        self.blocks
            .insert_and_lighten(key, block, bytes, |block, bytes| {
                let undecoded = block.undecoded();
                let light = undecoded.heap_bytes() as u64;
                (light <= bytes / LIGHTENED_PART).then_some((undecoded, light))
            });
    }

    /// Which part of the wanted bytes of a block is in memory; nothing is read.
    #[must_use]
    pub fn cached_bytes(&self, object: u128, block: &BlockMeta, ranges: &[Range<u64>]) -> u64 {
        let Some(held) = self.blocks.peek(&(object, block.ordinal())) else {
            return 0;
        };
        let missing = held.missing(ranges);
        let in_memory = ranges.iter().filter(|range| !missing.contains(range));
        in_memory.map(|range| range.end - range.start).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::DiskCache;
    use crate::testing::{Faults, FaultyStore, Spoil};
    use crate::{Catalog, Clock, ManifestEntry, Metrics, Snapshot, StorageConfig};
    use chunk::{EncodeOptions, ObjectWriter, Projection, Run, encode_block};
    use model::{Entries, LabelSet, MatchOp, Matcher, TenantId, TimeRange};
    use object_store::local::LocalFileSystem;

    const DAY: i64 = 20_000;
    const START_NS: i64 = DAY * TimeRange::DAY_NS;

    fn catalog(dir: &std::path::Path) -> (Catalog, Faults) {
        catalog_of(dir, |store| store)
    }

    fn catalog_of(dir: &std::path::Path, with: impl FnOnce(Store) -> Store) -> (Catalog, Faults) {
        let local = LocalFileSystem::new_with_prefix(dir).unwrap();
        let faults = Faults::default();
        let store = Store::with_object_store(
            Arc::new(FaultyStore::new(Arc::new(local), faults.clone())),
            &StorageConfig::default().requests,
            Metrics::unregistered(),
        );
        let clock = Clock::new(|| START_NS + 3_600_000_000_000);
        let catalog = Catalog::new(with(store), &StorageConfig::default(), clock);
        (catalog, faults)
    }

    fn labels(app: &str) -> LabelSet {
        LabelSet::from_pairs([("app", app)])
    }

    fn entries(line: &str, rows: i64) -> Entries {
        let mut entries = Entries::default();
        for row in 0..rows {
            let line = format!("{line} {row}");
            assert!(entries.push(START_NS + row * 1000, line.as_bytes(), &LabelSet::default()));
        }
        entries
    }

    fn object(id: u128) -> chunk::FinishedObject {
        let (a, b) = (entries("alpha", 5000), entries("beta", 5000));
        let (app_a, app_b) = (labels("a"), labels("b"));
        let mut writer = ObjectWriter::new(id);
        for (labels, entries) in [(&app_a, &a), (&app_b, &b)] {
            let run = Run::new(labels, entries);
            writer.add_block(encode_block(&[run], &EncodeOptions::default()).unwrap());
        }
        writer.finish().unwrap()
    }

    async fn read(
        catalog: &Catalog,
        snapshot: &Snapshot,
        app: &str,
    ) -> Result<Entries, StorageError> {
        let matcher = Matcher::new("app", MatchOp::Equal, app).unwrap();
        let mut found = Entries::default();
        for partition in snapshot.partitions() {
            for index in catalog.indexes(partition).await? {
                for series in index
                    .select(std::slice::from_ref(&matcher), &|| true)
                    .unwrap()
                {
                    for block in index.blocks(series).unwrap() {
                        let object = ObjectRef::from(index.object(block.object).unwrap());
                        assert_eq!(partition.object_ref(object.id).as_ref(), Some(&object));
                        let meta = catalog.objects().meta(&object).await?;
                        let block_meta = meta.block(block.block as usize).unwrap();
                        let ranges = block_meta.fetch_ranges(Projection::ALL, &[], None);
                        let opened = catalog
                            .objects()
                            .block(&object, &block_meta, &ranges)
                            .await?;
                        let rows = opened
                            .rows(block.run as usize, Projection::ALL, None)
                            .unwrap();
                        assert!(found.append(&rows.to_entries().unwrap()));
                    }
                }
            }
        }
        Ok(found)
    }

    #[tokio::test]
    async fn a_published_object_is_found_and_read_and_warm_asks_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, _) = catalog(dir.path());
        let tenant = TenantId::single();
        let entry = ManifestEntry::new("ingester-0", START_NS);
        let seq = writer
            .publish(&tenant, DAY, &object(7), entry.clone())
            .await;
        assert_eq!(seq.unwrap(), 1);
        let again = writer.publish(&tenant, DAY, &object(7), entry).await;
        assert_eq!(again.unwrap(), 1);
        let (reader, faults) = catalog(dir.path());
        let range = TimeRange::new(START_NS, START_NS + 10);
        let snapshot = reader.snapshot(&tenant, range, &[]).await.unwrap();
        assert_eq!(
            read(&reader, &snapshot, "a").await.unwrap(),
            entries("alpha", 5000)
        );
        let requests = faults.requests();
        let snapshot = reader.snapshot(&tenant, range, &[]).await.unwrap();
        assert_eq!(
            read(&reader, &snapshot, "a").await.unwrap(),
            entries("alpha", 5000)
        );
        assert_eq!(faults.requests(), requests);
        assert_eq!(
            read(&reader, &snapshot, "b").await.unwrap(),
            entries("beta", 5000)
        );
        let later = TimeRange::new(START_NS + TimeRange::DAY_NS / 2, i64::MAX);
        let nothing = reader.snapshot(&tenant, later, &[]).await.unwrap();
        assert!(nothing.partitions().is_empty());
    }

    #[tokio::test]
    async fn a_block_is_shared_and_keeps_what_was_found_however_much_it_decodes() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, _) = catalog(dir.path());
        let tenant = TenantId::single();
        let entry = ManifestEntry::new("ingester-0", START_NS);
        let published = writer.publish(&tenant, DAY, &object(7), entry).await;
        published.unwrap();
        let (reader, faults) = catalog(dir.path());
        let range = TimeRange::new(START_NS, START_NS + 10);
        let snapshot = reader.snapshot(&tenant, range, &[]).await.unwrap();
        let partition = &snapshot.partitions()[0];
        let object = partition.object_ref(7).unwrap();
        let objects = reader.objects();
        let meta = objects.meta(&object).await.unwrap().block(0).unwrap();
        let ranges = meta.fetch_ranges(Projection::ALL, &[], None);
        let block = objects.block(&object, &meta, &ranges).await.unwrap();
        let held = objects.held(7, 0).unwrap();
        assert!(Arc::ptr_eq(&block, &held));
        let mut search = Search::default();
        search.add(vec![chunk::Needle::new("alpha 4999")], false);
        assert!(held.found(&search).is_none());
        assert_eq!(block.search(&search).unwrap().count(), 1);
        objects.weigh(7, &block);
        let requests = faults.requests();
        let again = objects.block(&object, &meta, &ranges).await.unwrap();
        assert_eq!(again.found(&search).map(|rows| rows.count()), Some(1));
        assert_eq!(faults.requests(), requests);
        let light = again.undecoded();
        assert!(light.heap_bytes() <= again.heap_bytes());
        assert_eq!(light.found(&search).map(|rows| rows.count()), Some(1));
    }

    /// With and without a cache on the local disk, which must not keep what was spoilt.
    #[tokio::test]
    async fn what_goes_wrong_on_the_way_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, _) = catalog(dir.path());
        let tenant = TenantId::single();
        let entry = ManifestEntry::new("ingester-0", START_NS);
        let published = writer.publish(&tenant, DAY, &object(7), entry).await;
        published.unwrap();
        let range = TimeRange::new(START_NS, START_NS + 10);
        let spoils = [Spoil::Flip, Spoil::Cut, Spoil::Lose];
        let cases = spoils
            .into_iter()
            .flat_map(|spoil| [(spoil, false), (spoil, true)]);
        for (spoil, has_disk) in cases {
            // The index, the meta region and the block, in this order.
            for reads in 0..3 {
                let pages = tempfile::tempdir().unwrap();
                let disk = DiskCache::open(pages.path(), 1 << 30, Metrics::unregistered()).unwrap();
                let open = || {
                    catalog_of(dir.path(), |store| match has_disk {
                        true => store.with_disk(disk.clone()),
                        false => store,
                    })
                };
                let (reader, faults) = open();
                let snapshot = reader.snapshot(&tenant, range, &[]).await.unwrap();
                faults.spoil_after(reads, spoil);
                let found = read(&reader, &snapshot, "a").await;
                assert_eq!(found.unwrap(), entries("alpha", 5000), "{spoil:?} {reads}");
                // Pages are larger than parts, so that others may have what is spoilt.
                let again = reader.store().metrics().read_again.get();
                assert!(again == 1 || has_disk, "{spoil:?} {reads}");
                // What is kept on the disk is no worse.
                let found = read(&open().0, &snapshot, "a").await;
                assert_eq!(found.unwrap(), entries("alpha", 5000), "{spoil:?} {reads}");
            }
        }
    }

    #[tokio::test]
    async fn damaged_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, _) = catalog(dir.path());
        let tenant = TenantId::single();
        let entry = ManifestEntry::new("ingester-0", START_NS);
        writer
            .publish(&tenant, DAY, &object(7), entry)
            .await
            .unwrap();
        let range = TimeRange::new(START_NS, START_NS + 10);
        let data = crate::key::data_key(&tenant, DAY, 7);
        let index = crate::key::index_key(&tenant, DAY, 7);
        for (key, keep) in [(&data, 100), (&index, 40)] {
            let path = dir.path().join(key);
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..keep]).unwrap();
            let (reader, _) = catalog(dir.path());
            let snapshot = reader.snapshot(&tenant, range, &[]).await.unwrap();
            let error = read(&reader, &snapshot, "a").await.unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("{key} is damaged")),
                "{error}"
            );
        }
    }
}
