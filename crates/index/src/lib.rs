//! Label index files (`.lgix`): which streams a tenant has in a day, and in which blocks their rows
//! are. Only label sets are indexed; what else helps a search lives in the data objects.
//!
//! ```text
//! file := sections: info, objects, names, values*, postings*, series*, blocks* | directory | trailer(48)
//! ```
//! - A *series* is a stream of this file, numbered in the order of its label set, so that streams
//!   which are alike are neighbours and bitmaps of them are short.
//! - *names* are the label names with the series that have them; the *values* of a name are sorted,
//!   in pages of 1,024, and the *postings* page of the same number has the series of each.
//! - *series* pages have labels and totals of 4,096 series as columns, *blocks* pages their blocks.
//!
//! [`IndexBuilder`] writes a file, or several of what one cannot hold. [`Index::parse`] checks directory, names and objects of one that
//! is in memory whole; pages are decompressed when a question needs them, so that an equality
//! matcher costs two small pages however many series there are. [`merge`] makes one file of many
//! and leaves out objects that are gone; [`mergeable`] says of which that can be made.
//!
//! *Invariants.* A file is immutable and can be rebuilt from the data objects. Every section is
//! covered by a CRC32C that is verified before its bytes are believed; damage gives an error that
//! names the section, never a panic. Lengths are capped before memory is taken.

mod builder;
mod error;
pub mod fuzz;
mod names;
mod postings;
mod reader;
mod select;
mod series;
mod stats;

pub use builder::{IndexBuilder, RunStats, merge, mergeable};
pub use error::{IndexError, Part};
pub use reader::{Index, ObjectEntry};
pub use select::GoesOn;
pub use series::{BlockRef, SeriesEntry};
pub use stats::Stats;

/// A set of series numbers.
pub use roaring::RoaringBitmap;

/// A number of a series in one index file.
pub type SeriesRef = u32;

const MAGIC: [u8; 4] = *b"LGIX";
const VERSION: u16 = 1;

const KIND_INFO: u8 = 1;
const KIND_OBJECTS: u8 = 2;
const KIND_NAMES: u8 = 3;
const KIND_VALUES: u8 = 4;
const KIND_POSTINGS: u8 = 5;
const KIND_SERIES: u8 = 6;
const KIND_BLOCKS: u8 = 7;

/// Values of a page.
const PAGE_VALUES: usize = 1024;
/// Series of a page.
const PAGE_SERIES: usize = 4096;

/// Series of one file.
pub const MAX_SERIES: usize = 1 << 26;
/// Label names of one file.
pub const MAX_NAMES: usize = 1 << 16;
/// Values of one label name.
pub const MAX_VALUES: usize = 1 << 26;
/// Objects of one file.
pub const MAX_OBJECTS: usize = 1 << 20;
/// Labels of the series of one page.
pub const MAX_PAGE_LABELS: usize = 1 << 24;
/// Blocks of the series of one page.
pub const MAX_PAGE_BLOCKS: usize = 1 << 22;
