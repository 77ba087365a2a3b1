//! Blocks that are being read, past the caches of queries.
//!
//! A block of several streams is decoded when the first of them is reached, and wanted again for
//! the others. Which that are is known, so where not all can stay open, those go that are wanted
//! last: what ingesters write in a hurry has streams from all over the alphabet in each block.

use std::collections::BTreeMap;
use std::sync::Arc;

use chunk::{Block, BlockMeta, ObjectMeta, Piece, Projection};
use model::TenantId;
use storage::{Catalog, ObjectRef, PartitionState, key};

use crate::CompactError;
use crate::survey::{RunRef, Survey};

/// Object and ordinal of a block.
type BlockId = (u128, u32);

/// Blocks that stay open for the next streams, bounded by the bytes that they take.
pub(crate) struct OpenBlocks<'a> {
    catalog: &'a Catalog,
    objects: BTreeMap<u128, ObjectRef>,
    /// Per block the streams that want it, by number, the last first.
    wanted: BTreeMap<BlockId, Vec<u32>>,
    /// The number of the stream that is being read.
    stream: u32,
    open: BTreeMap<BlockId, Arc<Block>>,
    bytes_max: u64,
    /// How many were fetched, some several times.
    pub(crate) fetched: u64,
}

impl<'a> OpenBlocks<'a> {
    /// Nothing open yet, of the live objects of a partition, for streams that are read in their
    /// order.
    pub(crate) fn new(
        catalog: &'a Catalog,
        (tenant, day): (&TenantId, i64),
        state: &PartitionState,
        streams: &Survey,
        bytes_max: u64,
    ) -> Self {
        let objects = state.objects.values().map(|file| {
            let object = ObjectRef {
                key: key::data_key(tenant, day, file.id),
                id: file.id,
                meta_off: file.meta_off,
                meta_len: file.meta_len,
            };
            (file.id, object)
        });
        Self {
            catalog,
            objects: objects.collect(),
            wanted: wanted(streams),
            stream: 0,
            open: BTreeMap::new(),
            bytes_max,
            fetched: 0,
        }
    }

    /// Goes on to the stream of this number. What only those before it wanted is closed.
    pub(crate) fn reach(&mut self, stream: u32) {
        self.stream = stream;
        let wanted = &self.wanted;
        let last = |id: &BlockId| wanted.get(id).and_then(|streams| streams.first());
        self.open
            .retain(|id, _| last(id).is_some_and(|last| *last >= stream));
    }

    /// The number of the stream that wants a block next, after this one.
    fn next(&self, id: &BlockId) -> Option<u32> {
        let streams = self.wanted.get(id)?;
        let later = streams.partition_point(|number| *number > self.stream);
        streams.get(later.checked_sub(1)?).copied()
    }

    /// Where the run's object is.
    fn object(&self, run: &RunRef) -> Result<&ObjectRef, CompactError> {
        self.objects.get(&run.object).ok_or_else(|| {
            let id = key::id_text(run.object);
            CompactError::Unequal(format!("the label index names {id}, which is gone"))
        })
    }

    /// The key of the run's object.
    pub(crate) fn key(&self, run: &RunRef) -> &str {
        self.objects
            .get(&run.object)
            .map_or("", |object| &object.key)
    }

    /// What the run's object says about itself.
    pub(crate) async fn meta(&self, run: &RunRef) -> Result<Arc<ObjectMeta>, CompactError> {
        let object = self.object(run)?;
        Ok(self.catalog.objects().meta(object).await?)
    }

    /// An error about the run's block.
    pub(crate) fn damaged(&self, run: &RunRef, source: chunk::ChunkError) -> CompactError {
        CompactError::Block {
            key: self.key(run).to_owned(),
            block: run.block,
            source,
        }
    }

    /// The run's block, whole.
    pub(crate) async fn block(&mut self, run: &RunRef) -> Result<Arc<Block>, CompactError> {
        let id = (run.object, run.block);
        if let Some(block) = self.open.get(&id) {
            return Ok(Arc::clone(block));
        }
        let meta = self.meta(run).await?;
        let block_meta = meta
            .block(run.block as usize)
            .map_err(|error| self.damaged(run, error))?;
        let range = block_meta.body_range();
        let key = &self.object(run)?.key;
        let bytes = self.catalog.store().get_range(key, range.clone()).await?;
        let piece = Piece {
            offset: range.start,
            bytes,
        };
        self.make_room(range.end - range.start + kept_bytes(&block_meta));
        let block = Arc::new(Block::new(block_meta, vec![piece]));
        self.open.insert(id, Arc::clone(&block));
        self.fetched += 1;
        Ok(block)
    }

    /// Closes blocks, those first that are wanted last, until so many bytes fit in.
    fn make_room(&mut self, bytes: u64) {
        let sizes = self.open.iter().map(|(id, block)| {
            let next = self.next(id).unwrap_or(u32::MAX);
            (next, *id, block.heap_bytes() as u64)
        });
        let mut open: Vec<(u32, BlockId, u64)> = sizes.collect();
        open.sort_unstable();
        let mut all: u64 = open.iter().map(|(.., bytes)| bytes).sum();
        while all.saturating_add(bytes) > self.bytes_max
            && let Some((_, id, freed)) = open.pop()
        {
            self.open.remove(&id);
            all -= freed;
        }
    }
}

/// What a block of several runs keeps for the next of them, once it is decoded. What that takes
/// meanwhile is taken from the memory for rows.
fn kept_bytes(meta: &BlockMeta) -> u64 {
    let columns = Projection {
        lines: false,
        lengths: false,
        ..Projection::ALL
    };
    match meta.runs().len() {
        0 | 1 => 0,
        _ => meta.raw_bytes() + meta.shared_bytes(columns),
    }
}

/// Per block the numbers of the streams that have rows in it, the last first.
fn wanted(streams: &Survey) -> BTreeMap<BlockId, Vec<u32>> {
    let mut wanted: BTreeMap<BlockId, Vec<u32>> = BTreeMap::new();
    for (number, runs) in (0u32..).zip(streams.values()) {
        for run in runs {
            let of_block = wanted.entry((run.object, run.block)).or_default();
            of_block.push(number);
        }
    }
    wanted.values_mut().for_each(|of_block| of_block.reverse());
    wanted
}
