//! Blocks that are being read, past the caches of queries: each is wanted once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use chunk::{Block, ObjectMeta, Piece, Projection};
use model::TenantId;
use storage::{Catalog, ObjectRef, PartitionState, key};

use crate::CompactError;
use crate::survey::RunRef;

/// Blocks that stay open for the next streams, bounded by the bytes that they take.
pub(crate) struct OpenBlocks<'a> {
    catalog: &'a Catalog,
    objects: BTreeMap<u128, ObjectRef>,
    open: VecDeque<Open>,
    bytes: u64,
    bytes_max: u64,
}

struct Open {
    object: u128,
    ordinal: u32,
    block: Arc<Block>,
    bytes: u64,
}

impl<'a> OpenBlocks<'a> {
    /// Nothing open yet, of the live objects of a partition.
    pub(crate) fn new(
        catalog: &'a Catalog,
        tenant: &TenantId,
        day: i64,
        state: &PartitionState,
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
            open: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
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
        let is_wanted = |open: &Open| open.object == run.object && open.ordinal == run.block;
        if let Some(open) = self.open.iter().find(|open| is_wanted(open)) {
            return Ok(Arc::clone(&open.block));
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
        // A block of several runs keeps what it has decoded.
        let weight = range.end - range.start + block_meta.shared_bytes(Projection::ALL);
        let block = Arc::new(Block::new(block_meta, vec![piece]));
        self.keep(run, &block, weight);
        Ok(block)
    }

    fn keep(&mut self, run: &RunRef, block: &Arc<Block>, bytes: u64) {
        while self.bytes.saturating_add(bytes) > self.bytes_max {
            let Some(oldest) = self.open.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes;
        }
        self.bytes += bytes;
        self.open.push_back(Open {
            object: run.object,
            ordinal: run.block,
            block: Arc::clone(block),
            bytes,
        });
    }
}
