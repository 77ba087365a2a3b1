//! What a fuzzer runs: readers fed with bytes that nobody vouches for. They return or fail; a
//! panic, a hang or a huge allocation is a bug. Checksums are left out where they would only keep
//! a fuzzer away from the code behind them.

use bytes::Bytes;

use crate::{
    Block, BlockMeta, ChunkError, EncodedBlock, Needle, ObjectMeta, Piece, Projection, Search,
};

/// Reads a whole object: everything that describes it and every row.
///
/// # Errors
/// If the object is damaged.
pub fn object(bytes: &Bytes) -> Result<(), ChunkError> {
    let meta = ObjectMeta::parse_object(bytes)?;
    for ordinal in 0..meta.block_count() {
        meta.streams_of(ordinal)?;
        let mut search = Search::default();
        search.add(vec![Needle::new("literal")], false);
        meta.may_have(ordinal, &search)?;
        let pieces = vec![Piece {
            offset: 0,
            bytes: bytes.clone(),
        }];
        let block = meta.open(ordinal, pieces)?;
        for run in 0..block.meta().runs().len() {
            rows(&block, run)?;
        }
    }
    Ok(())
}

/// Reads a block's meta, and the body behind it as stored frames.
///
/// # Errors
/// If the bytes contradict themselves.
pub fn block(meta: &[u8], body: &Bytes) -> Result<(), ChunkError> {
    let mut meta = BlockMeta::parse(0, &Bytes::copy_from_slice(meta))?;
    meta.body_off = 0;
    for frame in &mut meta.frames {
        let start = usize::try_from(frame.offset)
            .unwrap_or(usize::MAX)
            .min(body.len());
        let end = start.saturating_add(frame.len as usize).min(body.len());
        frame.crc = codec::frame::checksum(body.get(start..end).unwrap_or_default());
    }
    let _ = meta.fetch_ranges(Projection::ALL, &[], Some(model::TimeRange::new(0, 1)));
    let pieces = vec![Piece {
        offset: 0,
        bytes: body.clone(),
    }];
    let block = Block::new(meta.into(), pieces);
    for needle in [Needle::new("a"), Needle::new("1 x")] {
        if let Ok(rows) = block.find_rows(&needle) {
            let _ = block.lines_of(&rows);
        }
        let _ = block.meta().find_ranges(&needle);
    }
    let _ = block.meta().patterns_ranges();
    let _ = block.patterns();
    for run in 0..block.meta().runs().len() {
        rows(&block, run)?;
    }
    Ok(())
}

/// The meta of a block as bytes: a seed for [`block`].
#[must_use]
pub fn meta_of(block: &EncodedBlock) -> Vec<u8> {
    block.meta().to_bytes()
}

/// Every row of a run, which a block that decodes without complaint always has.
fn rows(block: &Block, run: usize) -> Result<(), ChunkError> {
    let rows = block.rows(run, Projection::ALL, None)?;
    let mut metadata = rows.metadata().reader();
    (0..rows.len()).for_each(|row| {
        metadata.get(row);
    });
    debug_assert!(rows.to_entries().is_some(), "columns of a run disagree");
    Ok(())
}
