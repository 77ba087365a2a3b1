//! Searching blocks on a thread of its own.

use std::sync::Arc;

use chunk::{Block, ChunkError, Layout, Projection, RowSet, Search};
use model::{Code, CodedError};

use super::kept::OpenBlock;
use crate::query::Context;

/// The rows that were found in a block, or why it could not be searched.
pub(super) type Searched = Result<Arc<RowSet>, ChunkError>;

/// Searches blocks that can be searched without their lines, those that were not searched for the
/// same before.
///
/// # Errors
/// If there is no memory, or the querier stops. Of a block that cannot be searched the others are.
pub(super) async fn search(
    context: &Context,
    blocks: &[&OpenBlock],
    wanted: &Search,
) -> Result<Vec<Option<Searched>>, CodedError> {
    let known = blocks.iter().map(|open| open.block.found(wanted).map(Ok));
    let mut found: Vec<Option<Searched>> = known.collect();
    let can_be = |block: &Block| block.meta().layout() != Layout::Plain;
    let unknown = blocks.iter().zip(&found).enumerate();
    let unknown = unknown.filter(|(_, (open, known))| known.is_none() && can_be(&open.block));
    let new: Vec<(usize, OpenBlock)> = unknown
        .map(|(at, (open, _))| (at, OpenBlock::clone(open)))
        .collect();
    if new.is_empty() {
        return Ok(found);
    }
    let permit = context.querier.scan_permit(&context.tenant).await?;
    let (search, searching) = (wanted.clone(), context.clone());
    let searching = tokio::task::spawn_blocking(move || {
        let rows = new.iter().map(|(at, open)| {
            let rows = search_one(&searching, open, &search)?;
            Ok((*at, rows))
        });
        let rows: Result<Vec<(usize, Searched)>, CodedError> = rows.collect();
        drop(permit);
        rows
    });
    let rows = searching
        .await
        .map_err(|_| CodedError::new(Code::Internal, "a search ended abnormally"))?;
    for (at, rows) in rows? {
        if let Some(found) = found.get_mut(at) {
            *found = Some(rows);
        }
    }
    Ok(found)
}

/// Searches a block within the query's memory.
fn search_one(
    context: &Context,
    open: &OpenBlock,
    search: &Search,
) -> Result<Searched, CodedError> {
    let OpenBlock { block, held, .. } = open;
    let meta = block.meta();
    // What lines are put together from, which is what is searched.
    let parts = meta.decoded_bytes(0, Projection::LENGTHS);
    held.grow(context, parts.saturating_sub(meta.raw_bytes()))?;
    let rows = block.search(search);
    context
        .querier
        .catalog()
        .objects()
        .weigh(open.object, block);
    held.settle(context, block.heap_bytes())?;
    Ok(rows)
}
