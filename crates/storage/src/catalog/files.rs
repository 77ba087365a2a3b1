//! Data objects and index files on their way in, parsed index files on their way out.

use std::sync::Arc;

use bytes::Bytes;
use chunk::FinishedObject;
use futures::{StreamExt, TryStreamExt};
use index::{Index, IndexBuilder, ObjectEntry, RunStats};
use model::TenantId;

use super::Catalog;
use crate::disk::{FileId, FileKind};
use crate::error::StorageError;
use crate::key::{data_key, index_key};
use crate::manifest::{IndexFile, ManifestEntry, ObjectFile};
use crate::snapshot::Partition;

/// Index files of one partition that are loaded at once.
const INDEXES_AT_ONCE: usize = 8;
/// How much larger an index file is likely to be once its pages are decompressed, which happens
/// later, bit by bit, but the cache wants to know a weight at once.
const INDEX_GROWTH: u64 = 3;

/// The id of a further file of an index: as old as the first, and always the same, so that what is
/// written again after a failure has the same names.
fn part_id(id: u128, part: u128) -> u128 {
    id ^ part
}

/// An index with what it is reckoned to hold in memory.
fn weighed(index: Index) -> (Arc<Index>, u64) {
    let now = index.heap_bytes() as u64;
    (Arc::new(index), now.saturating_mul(1 + INDEX_GROWTH))
}

impl Catalog {
    /// The parsed index file of a partition, from the cache or the store.
    ///
    /// # Errors
    /// If the store fails, or the file is damaged; the error names its key.
    pub async fn index(
        &self,
        tenant: &TenantId,
        day: i64,
        file: &IndexFile,
    ) -> Result<Arc<Index>, StorageError> {
        let load = async {
            let key = index_key(tenant, day, file.id);
            let bytes = self.index_bytes(&key, file).await?;
            let parsed = tokio::task::spawn_blocking(move || Index::parse(bytes)).await;
            let index = parsed
                .map_err(|_| StorageError::corrupt(&key, "parsing it ended abnormally"))?
                .map_err(|error| StorageError::corrupt(&key, error))?;
            Ok(weighed(index))
        };
        let index = self.0.indexes.get_or_load(&file.id, load).await?;
        let used = Arc::downgrade(&index);
        self.0.used_indexes.lock().insert(file.id, used);
        Ok(index)
    }

    /// Takes in how much the indexes in use have decompressed, as long as they are kept.
    pub(super) fn weigh_indexes(&self) {
        let used = std::mem::take(&mut *self.0.used_indexes.lock());
        for (id, index) in used {
            let Some(index) = index.upgrade() else {
                continue;
            };
            let bytes = index.heap_bytes() as u64;
            let known = self.0.indexes.weight_of(&id, &index);
            if known.is_some_and(|known| known != bytes) {
                self.0.indexes.insert(id, Arc::clone(&index), bytes);
            }
            // Besides this one and the cache somebody has it, and may go on.
            if Arc::strong_count(&index) > 2 {
                let used = Arc::downgrade(&index);
                self.0.used_indexes.lock().entry(id).or_insert(used);
            }
        }
    }

    async fn index_bytes(&self, key: &str, file: &IndexFile) -> Result<Bytes, StorageError> {
        let id = FileId {
            kind: FileKind::Index,
            id: file.id,
        };
        let whole = 0..file.size_bytes;
        let whole = std::slice::from_ref(&whole);
        let store = &self.0.store;
        let is_intact = |_, bytes: &Bytes| Index::is_intact(bytes);
        let read = store.get_parts(id, key, file.size_bytes, whole, is_intact);
        let read = read.await?;
        Ok(read.into_iter().next().unwrap_or_default())
    }

    /// The parsed index files of a partition that overlap its range, in no particular order.
    ///
    /// # Errors
    /// As [`Self::index`], for the first that fails.
    pub async fn indexes(&self, partition: &Partition) -> Result<Vec<Arc<Index>>, StorageError> {
        let files: Vec<IndexFile> = partition.indexes().cloned().collect();
        let loads = files
            .iter()
            .map(|file| self.index(partition.tenant(), partition.day(), file));
        futures::stream::iter(loads)
            .buffered(INDEXES_AT_ONCE)
            .try_collect()
            .await
    }

    /// Writes a data object and says what a manifest entry has to say of it. It exists for readers
    /// once an entry that adds it is committed.
    ///
    /// # Errors
    /// If the store fails, or the object has no row.
    pub async fn put_object(
        &self,
        tenant: &TenantId,
        day: i64,
        object: &FinishedObject,
    ) -> Result<ObjectFile, StorageError> {
        let file = ObjectFile::of(object, self.0.clock.now_ns())?;
        let key = data_key(tenant, day, object.object_id);
        let pieces = object.pieces.clone();
        self.0.store.put_pieces(&key, pieces).await?;
        Ok(file)
    }

    /// Writes a label index and says what a manifest entry has to say of its files: of one, named
    /// `id`, or of several, named after it, if one file cannot hold it. They exist for readers once
    /// an entry that adds them is committed.
    ///
    /// # Errors
    /// If the store fails, or the index has no row.
    pub async fn put_index(
        &self,
        tenant: &TenantId,
        day: i64,
        id: u128,
        builder: IndexBuilder,
    ) -> Result<Vec<IndexFile>, StorageError> {
        let build = move || -> Result<Vec<(Bytes, Index)>, index::IndexError> {
            let files = builder.build_all()?.into_iter();
            files
                .map(|bytes| Ok((bytes.clone(), Index::parse(bytes)?)))
                .collect()
        };
        let built = tokio::task::spawn_blocking(build).await;
        let key = index_key(tenant, day, id);
        let built = built
            .map_err(|_| StorageError::Invalid(format!("{key}: building it ended abnormally")))?
            .map_err(|error| StorageError::Invalid(format!("{key}: {error}")))?;
        let mut files = Vec::with_capacity(built.len());
        for ((bytes, index), part) in built.into_iter().zip(0..) {
            let id = part_id(id, part);
            let file = IndexFile::of(id, &index, bytes.len() as u64, self.0.clock.now_ns())?;
            self.0.store.put(&index_key(tenant, day, id), bytes).await?;
            let (index, weight) = weighed(index);
            self.0.indexes.insert(id, index, weight);
            files.push(file);
        }
        Ok(files)
    }

    /// Publishes a data object: writes it, writes a label index of it, and commits both with what
    /// `entry` has besides. All rows of the object must lie in the day. Returns the number of
    /// the manifest entry.
    ///
    /// Made again after a failure, it has no further effect.
    ///
    /// # Errors
    /// As [`Self::commit`] and [`Self::put_object`].
    pub async fn publish(
        &self,
        tenant: &TenantId,
        day: i64,
        object: &FinishedObject,
        mut entry: ManifestEntry,
    ) -> Result<u64, StorageError> {
        let file = self.put_object(tenant, day, object).await?;
        let mut builder = IndexBuilder::new();
        add_to_index(&mut builder, data_key(tenant, day, file.id), object);
        let indexes = self.put_index(tenant, day, file.id, builder).await?;
        entry.add_objects.push(file);
        entry.add_indexes.extend(indexes);
        self.commit(tenant, day, entry).await
    }
}

/// Adds all runs of an object to an index.
pub fn add_to_index(builder: &mut IndexBuilder, key: String, object: &FinishedObject) {
    let number = builder.add_object(ObjectEntry {
        key,
        id: object.object_id,
        size: object.len,
        meta_off: object.meta_off,
        meta_len: object.meta_len,
        ..ObjectEntry::default()
    });
    for block in &object.blocks {
        let runs = block.meta.runs().iter().zip(0_u32..);
        for ((run, ordinal), labels) in runs.zip(&block.streams) {
            let stats = RunStats {
                run: ordinal,
                min_ts_ns: run.min_ts_ns,
                max_ts_ns: run.max_ts_ns,
                rows: u64::from(run.rows),
                raw_bytes: run.raw_bytes.saturating_add(run.metadata_bytes),
            };
            builder.add_block(labels, number, block.meta.ordinal(), stats);
        }
    }
}
