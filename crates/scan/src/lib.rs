//! Runs a query over the rows of one stream: those in a head, in blocks just encoded and in stored
//! blocks. Synchronous and pure CPU; who calls it decides on threads and fetches bytes before.
//!
//! A [`Source`] is a part of the stream's rows in time order. Sources that overlap in time are
//! merged and rows that several of them have (replicas write the same row to several objects) are
//! given once; sources that do not overlap are run one after the other, and opened only when their
//! turn comes, so that a query with a limit leaves most of them alone.
//!
//! [`scan_logs`] gives lines, [`scan_samples`] samples of a range aggregation, [`scan_patterns`]
//! patterns of lines and how many there are. All read as little as they can. Line filters that are literals ([`Prefilter`]) become a set of rows before any stage
//! runs: structured blocks find it without their lines, of other sources all lines are searched at
//! once. Of structured blocks, stages that parse JSON or logfmt see only the fields that they read
//! (`reduced.rs`), and the lines of a log query are put together when their turn comes. Counts come
//! from the counters of whole runs, from the set of rows, from how many rows there are until the end
//! of each step, or from the time column ([`SampleShape`] says when).
//!
//! *Invariants.* The answer is that of the pipeline run over every row, whatever is skipped. A
//! source has a row once. Memory for decoded rows is taken from the caller's
//! [`Reservation`](model::Reservation) before they are decoded. Cancellation is asked for before
//! every row that the stages see, as of one line they may make much, and at least every
//! [`CHECK_ROWS`] rows or [`CHECK_BYTES`] bytes of lines.
//!
//! Start at `merge.rs`, which decides what is decoded and in which order rows are seen.

mod accumulate;
mod context;
mod cursor;
mod deletes;
mod error;
mod logs;
mod merge;
mod patterns;
mod prefilter;
mod pushdown;
mod reduced;
mod samples;
mod shape;
mod source;

pub use accumulate::Accumulate;
pub use context::{Context, ScanStats};
pub use deletes::{CompiledDeletes, Deletes, StreamDeletes, Undeleted};
pub use error::{ScanError, out_of_memory};
pub use logs::{LogRow, LogScan, LogStages, scan_logs};
pub use patterns::{LinesLeft, PatternRows, PatternScan, PatternSink, scan_patterns};
pub use prefilter::Prefilter;
pub use pushdown::Pushdown;
pub use samples::{
    SamplePlan, SampleScan, SampleSink, SampleStages, Values, plan_samples, scan_samples,
};
pub use shape::{SampleShape, SampleValue};
pub use source::Source;

/// Rows looked at between two questions whether to go on.
pub const CHECK_ROWS: usize = 4096;
/// Bytes of lines put together between two questions whether to go on, if lines are about of one
/// size.
pub const CHECK_BYTES: usize = 4 << 20;
