//! Data objects: blocks of log lines, their layouts, and the footer that finds them. Bytes in,
//! bytes out: no I/O, no clock, no threads.
//!
//! An *object* (`.lgob`) holds *blocks*; a block holds *runs*, each the rows of one stream in time
//! order; a run's rows are columns: time, line length, line, structured metadata. One large stream
//! fills a block alone, many small ones share it, because small blocks compress badly.
//!
//! ```text
//! object := header(24) | block bodies | sections | directory | trailer(48)
//! sections: info, streams, block metas, outlines
//! body   := frame | frame | …          frame = one compressed piece with a CRC32C, at most 1 MiB raw
//! ```
//! The frames of a body are ordered by how often queries want them: the pool of small pieces, the
//! time column, metadata, line lengths, lines. Counting rows reads the front of a body only, and
//! often nothing: the [`BlockMeta`] has counters per run. The *outlines* say of several blocks
//! together what may be in their lines (`outline.rs`), so that a search for a rare word reads few
//! block metas; objects of small blocks, and those from before there were outlines, have none.
//!
//! A block says how its lines are laid out ([`Layout`]). *Plain* is lines one after the other. The
//! structured layouts, *text* and *JSON*, take the variable parts out of lines: what is left is few
//! templates, and the parts become columns, each stored as what it is, numbers, dates, identifiers,
//! addresses, words of a dictionary (`shape.rs` says how; `draft.rs` is the way there, `values.rs`
//! the way back). That is half the bytes, and a literal is found in templates and dictionaries
//! without putting lines together (`search.rs`). Lines that have no structure stay plain.
//!
//! *Writing.* [`encode_block`] turns runs into an [`EncodedBlock`], which is searchable at once
//! ([`EncodedBlock::open`]) and is added to an [`ObjectWriter`] when it is time to store it.
//!
//! *Reading.* [`ObjectMeta::parse`] takes the end of an object, [`BlockMeta::fetch_ranges`] says
//! which bytes a [`Projection`] needs, and [`Block::rows`] decodes what was fetched.
//!
//! *Searching.* [`ObjectMeta::may_have`] rules out blocks, [`BlockMeta::search_ranges`] says which
//! bytes of the others a [`Search`] needs, [`Block::search`] finds its rows, and [`Block::lines_of`] gives only their lines. Who reads few fields of a line
//! looks at [`BlockMeta::templates`] and gets them with [`Block::reduced_lines`]. Who counts kinds of
//! lines gets them with [`Block::patterns`].
//!
//! *Invariants.* A length is capped before memory is taken for it. Every stored byte is covered by
//! a checksum that is verified before the byte is believed. A damaged object gives an error that
//! names its part, never a panic. What a version wrote stays readable (`testdata/`).

mod block;
mod draft;
mod encode;
mod error;
mod format;
pub mod fuzz;
mod level;
mod meta;
mod metadata;
mod object;
mod outline;
mod pattern;
mod rows;
mod rowset;
mod search;
mod shape;
mod values;

pub use block::{
    Block, KeptParts, LinePatterns, LineTemplate, Piece, ReducedLines, Reduction, RowTimes,
    RunSamples, WholeLines,
};
pub use codec::Codec;
pub use encode::{
    EncodeOptions, EncodedBlock, LinesMemory, LinesPolicy, Run, encode_block, metadata_bytes,
};
pub use error::{ChunkError, Part};
pub use level::{LEVEL_KEY, LEVELS, LevelCounts};
pub use meta::{BlockMeta, Layout, MetadataKey, Projection, RunMeta};
pub use metadata::{MetadataReader, RunMetadata};
pub use object::{
    BlockInfo, FinishedObject, HEADER_LEN, ObjectMeta, ObjectWriter, StreamInfo, TRAILER_LEN,
    Trailer,
};
pub use pattern::{PatternToken, VARIABLE, pattern_tokens, put_pattern};
pub use rows::{FoundLines, RunRows};
pub use rowset::RowSet;
pub use search::{Needle, Search};

/// Rows of one block.
pub const MAX_BLOCK_ROWS: usize = 1 << 24;
/// Bytes of all lines of one block.
pub const MAX_BLOCK_RAW_BYTES: usize = 256 << 20;
/// Bytes of all columns of one block.
pub const MAX_BODY_RAW_BYTES: usize = 1 << 30;
/// Runs of one block.
pub const MAX_BLOCK_RUNS: usize = 1 << 20;
/// Metadata keys of one block.
pub const MAX_COLUMNS: usize = 4096;
