//! What a scan gets from the query that it is a part of.

use model::Reservation;

use crate::ScanError;

/// What was done to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanStats {
    /// Sources of which rows were decoded or looked at.
    pub sources: u64,
    /// Sources of which rows were counted without a look at each.
    pub counted_sources: u64,
    /// Rows whose time was looked at.
    pub rows: u64,
    /// Bytes of lines searched or given to the pipeline.
    pub line_bytes: u64,
    /// Bytes decoded from blocks.
    pub decoded_bytes: u64,
    /// Rows given to the pipeline.
    pub processed_rows: u64,
    /// Lines or samples given out.
    pub results: u64,
    /// Rows dropped because another source has them too.
    pub duplicates: u64,
}

impl std::ops::AddAssign for ScanStats {
    fn add_assign(&mut self, other: Self) {
        self.sources += other.sources;
        self.counted_sources += other.counted_sources;
        self.rows += other.rows;
        self.line_bytes += other.line_bytes;
        self.decoded_bytes += other.decoded_bytes;
        self.processed_rows += other.processed_rows;
        self.results += other.results;
        self.duplicates += other.duplicates;
    }
}

/// What a scan gets from the query that it is a part of.
pub struct Context<'a> {
    /// Whether the answer is not wanted any more.
    pub is_cancelled: &'a dyn Fn() -> bool,
    /// Where memory for decoded rows comes from.
    pub memory: &'a mut Reservation,
    /// Is added to.
    pub stats: &'a mut ScanStats,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("stats", self.stats)
            .finish_non_exhaustive()
    }
}

impl Context<'_> {
    pub(crate) fn check(&self) -> Result<(), ScanError> {
        if (self.is_cancelled)() {
            Err(ScanError::Cancelled)
        } else {
            Ok(())
        }
    }
}
