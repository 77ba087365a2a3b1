//! The label indexes of a partition. One that cannot be read is made again: what it says, the
//! objects say too.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chunk::{BlockInfo, ChunkError, FinishedObject, ObjectMeta};
use futures::{StreamExt, TryStreamExt};
use index::{Index, IndexBuilder, IndexError};
use model::TenantId;
use parking_lot::Mutex;
use storage::{IndexFile, ObjectFile, ObjectRef, PartitionState, StorageError, add_to_index, key};

use crate::{CompactError, Compactor};

/// Index files that are loaded at once.
const LOADS_AT_ONCE: usize = 4;
/// Index files that are remembered to be sound.
const SOUND_MAX: usize = 100_000;

/// Index files that were read to their ends. They never change.
#[derive(Debug, Default)]
pub(crate) struct Sound(Mutex<HashSet<u128>>);

impl Sound {
    /// Whether all index files of a partition were.
    pub(crate) fn has_all(&self, state: &PartitionState) -> bool {
        let sound = self.0.lock();
        state.indexes.keys().all(|id| sound.contains(id))
    }

    pub(crate) fn add(&self, id: u128) {
        let mut sound = self.0.lock();
        if sound.len() >= SOUND_MAX {
            sound.clear();
        }
        sound.insert(id);
    }

    /// A file that is read again may have suffered since.
    pub(crate) fn forget(&self) {
        self.0.lock().clear();
    }

    fn has(&self, id: u128) -> bool {
        self.0.lock().contains(&id)
    }
}

/// A label index in memory.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) index: Arc<Index>,
    /// The file that it came from; `None` if it was just made and is not stored yet.
    pub(crate) file: Option<u128>,
}

/// The label indexes of a partition, which together name all runs of its objects.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    pub(crate) all: Vec<Loaded>,
    /// Files that are damaged, or have a part in what was made again.
    pub(crate) superseded: Vec<u128>,
}

impl Indexes {
    /// Whether the files of the partition are to be replaced by these.
    pub(crate) fn is_mended(&self) -> bool {
        !self.superseded.is_empty() || self.all.iter().any(|loaded| loaded.file.is_none())
    }
}

impl Compactor {
    /// Loads all label indexes of a partition; what they do not name, because one of them cannot be
    /// read, is looked up in the objects.
    pub(crate) async fn indexes(
        &self,
        tenant: &TenantId,
        day: i64,
        state: &PartitionState,
    ) -> Result<Indexes, CompactError> {
        let files: Vec<IndexFile> = state.indexes.values().cloned().collect();
        // By value: a closure over references would make the future not provably `Send`.
        let loads = files.into_iter().map(|file| async move {
            let index = self.sound_index(tenant, day, &file).await?;
            Ok::<_, CompactError>((file.id, index))
        });
        let loaded: Vec<(u128, Option<Arc<Index>>)> = futures::stream::iter(loads)
            .buffered(LOADS_AT_ONCE)
            .try_collect()
            .await?;
        let mut indexes = Indexes::default();
        for (file, index) in loaded {
            match index {
                Some(index) => indexes.all.push(Loaded {
                    index,
                    file: Some(file),
                }),
                None => indexes.superseded.push(file),
            }
        }
        let unnamed = unnamed(state, &indexes);
        if !unnamed.is_empty() {
            self.mend(tenant, day, &unnamed, &mut indexes).await?;
        }
        Ok(indexes)
    }

    /// Makes the label indexes of some objects again, and what other files say of them void.
    async fn mend(
        &self,
        tenant: &TenantId,
        day: i64,
        unnamed: &[&ObjectFile],
        indexes: &mut Indexes,
    ) -> Result<(), CompactError> {
        let ids: HashSet<u128> = unnamed.iter().map(|file| file.id).collect();
        let names_some = |loaded: &mut Loaded| {
            let mut objects = loaded.index.objects().iter();
            objects.any(|object| ids.contains(&object.id))
        };
        let partly: Vec<Loaded> = indexes.all.extract_if(.., names_some).collect();
        let superseded = partly.iter().filter_map(|loaded| loaded.file);
        indexes.superseded.extend(superseded);
        let others = |id| !ids.contains(&id);
        let mut builder = index::merge(partly.iter().map(|loaded| &*loaded.index), others)?;
        for file in unnamed {
            self.describe(tenant, day, file, &mut builder).await?;
        }
        for file in builder.build_all()? {
            indexes.all.push(Loaded {
                index: Arc::new(Index::parse(file)?),
                file: None,
            });
        }
        self.metrics.indexes_mended.inc();
        Ok(())
    }

    /// An index, read to its end; `None` if it is damaged.
    async fn sound_index(
        &self,
        tenant: &TenantId,
        day: i64,
        file: &IndexFile,
    ) -> Result<Option<Arc<Index>>, CompactError> {
        let damage = match self.catalog.index(tenant, day, file).await {
            Ok(index) if self.sound.has(file.id) => return Ok(Some(index)),
            Ok(index) => {
                let whole = Arc::clone(&index);
                let read = tokio::task::spawn_blocking(move || read_all(&whole)).await;
                match read.map_err(|_| CompactError::Worker)? {
                    Ok(()) => {
                        self.sound.add(file.id);
                        return Ok(Some(index));
                    }
                    Err(error) => error.to_string(),
                }
            }
            Err(error @ (StorageError::Corrupt { .. } | StorageError::NotFound { .. })) => {
                error.to_string()
            }
            Err(error) => return Err(error.into()),
        };
        let key = key::index_key(tenant, day, file.id);
        tracing::warn!(
            key,
            error = damage,
            "a label index is damaged, and made again"
        );
        Ok(None)
    }

    /// Adds what an object says of itself to an index.
    async fn describe(
        &self,
        tenant: &TenantId,
        day: i64,
        file: &ObjectFile,
        builder: &mut IndexBuilder,
    ) -> Result<(), CompactError> {
        let key = key::data_key(tenant, day, file.id);
        let object = ObjectRef {
            key: key.clone(),
            id: file.id,
            meta_off: file.meta_off,
            meta_len: file.meta_len,
        };
        let meta = self.catalog.objects().meta(&object).await?;
        let described = described(&meta, file).map_err(|error| StorageError::Corrupt {
            key: key.clone(),
            reason: error.to_string(),
        })?;
        add_to_index(builder, key, &described);
        Ok(())
    }
}

/// Live objects that no index names, or, if an index is damaged, not all of whose rows are known.
fn unnamed<'a>(state: &'a PartitionState, indexes: &Indexes) -> Vec<&'a ObjectFile> {
    let mut rows: HashMap<u128, u64> = HashMap::new();
    for loaded in &indexes.all {
        for object in loaded.index.objects() {
            *rows.entry(object.id).or_default() += object.rows;
        }
    }
    let is_unnamed = |file: &&ObjectFile| match rows.get(&file.id) {
        Some(rows) => !indexes.superseded.is_empty() && *rows != file.rows,
        None => true,
    };
    state.objects.values().filter(is_unnamed).collect()
}

/// Whether all of an index can be read: most of it is only looked at when it is asked for.
fn read_all(index: &Index) -> Result<(), IndexError> {
    for series in 0..index.series_count() {
        index.labels(series)?;
        index.blocks(series)?;
    }
    Ok(())
}

/// An object without its bytes.
fn described(meta: &ObjectMeta, file: &ObjectFile) -> Result<FinishedObject, ChunkError> {
    let block = |ordinal| {
        Ok(BlockInfo {
            meta: meta.block(ordinal)?,
            streams: meta.streams_of(ordinal)?,
        })
    };
    Ok(FinishedObject {
        object_id: file.id,
        pieces: Vec::new(),
        len: file.size_bytes,
        meta_off: file.meta_off,
        meta_len: file.meta_len,
        blocks: (0..meta.block_count())
            .map(block)
            .collect::<Result<_, _>>()?,
    })
}
