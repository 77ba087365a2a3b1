//! Searching blocks on a thread of its own.

use std::sync::Arc;

use chunk::{Block, ChunkError, Layout, RowSet, Search};
use model::{Code, CodedError};

use crate::query::Context;

/// The rows that were found in a block, or why it could not be searched.
pub(super) type Searched = Result<Arc<RowSet>, ChunkError>;

/// Searches blocks, each with the id of its object, that can be searched without their lines, those
/// that were not searched for the same before.
///
/// # Errors
/// If the querier stops. Of a block that cannot be searched the others are.
pub(super) async fn search(
    context: &Context,
    blocks: Vec<(u128, &Arc<Block>)>,
    wanted: &Search,
) -> Result<Vec<Option<Searched>>, CodedError> {
    let known = blocks.iter().map(|(_, block)| block.found(wanted).map(Ok));
    let mut found: Vec<Option<Searched>> = known.collect();
    let can_be = |block: &Block| block.meta().layout() != Layout::Plain;
    let unknown = blocks.iter().zip(&found).enumerate();
    let unknown = unknown.filter(|(_, ((_, block), known))| known.is_none() && can_be(block));
    let new: Vec<(usize, u128, Arc<Block>)> = unknown
        .map(|(at, ((object, block), _))| (at, *object, Arc::clone(block)))
        .collect();
    if new.is_empty() {
        return Ok(found);
    }
    let permit = context.querier.scan_permit(&context.tenant).await?;
    let objects = context.querier.catalog().objects().clone();
    let search = wanted.clone();
    let searching = tokio::task::spawn_blocking(move || {
        let rows = new.iter().map(|(at, object, block)| {
            let rows = block.search(&search);
            objects.weigh(*object, block);
            (*at, rows)
        });
        let rows: Vec<(usize, Searched)> = rows.collect();
        drop(permit);
        rows
    });
    let rows = searching
        .await
        .map_err(|_| CodedError::new(Code::Internal, "a search ended abnormally"))?;
    for (at, rows) in rows {
        if let Some(found) = found.get_mut(at) {
            *found = Some(rows);
        }
    }
    Ok(found)
}
