//! How much there is, without looking at the data.

use std::ops::AddAssign;

use model::TimeRange;

use crate::{BlockRef, Index, IndexError, RoaringBitmap, SeriesRef};

/// What a selection of series has in a range of time. A block that is in it only partly counts
/// with the part of its rows and bytes that it would have if they were spread evenly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Series with at least one block in the range.
    pub streams: u64,
    /// Runs of rows in blocks.
    pub blocks: u64,
    /// Rows.
    pub rows: u64,
    /// Bytes of their lines and of their structured metadata.
    pub bytes: u64,
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.streams += other.streams;
        self.blocks += other.blocks;
        self.rows = self.rows.saturating_add(other.rows);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

impl Stats {
    /// What one block adds, its stream not counted.
    #[must_use]
    pub fn of_block(block: &BlockRef, range: TimeRange) -> Self {
        if !range.overlaps(block.min_ts_ns, block.max_ts_ns) {
            return Self::default();
        }
        let part = |whole: u64| {
            if range.covers(block.min_ts_ns, block.max_ts_ns) {
                return whole;
            }
            let inside = i128::from(range.end_ns.min(block.max_ts_ns.saturating_add(1)))
                - i128::from(range.start_ns.max(block.min_ts_ns));
            let span = i128::from(block.max_ts_ns) - i128::from(block.min_ts_ns) + 1;
            let share = i128::from(whole) * inside / span.max(1);
            u64::try_from(share).unwrap_or(0).min(whole)
        };
        Self {
            streams: 0,
            blocks: 1,
            rows: part(block.rows),
            bytes: part(block.raw_bytes),
        }
    }
}

impl Index {
    /// What one series has in the range.
    ///
    /// # Errors
    /// If there is no such series or its page is damaged.
    pub fn series_stats(&self, series: SeriesRef, range: TimeRange) -> Result<Stats, IndexError> {
        let totals = self.totals(series)?;
        if !range.overlaps(totals.min_ts_ns, totals.max_ts_ns) {
            return Ok(Stats::default());
        }
        if range.covers(totals.min_ts_ns, totals.max_ts_ns) {
            return Ok(Stats {
                streams: 1,
                blocks: totals.blocks,
                rows: totals.rows,
                bytes: totals.raw_bytes,
            });
        }
        let mut stats = Stats::default();
        for block in self.blocks(series)? {
            stats += Stats::of_block(block, range);
        }
        stats.streams = u64::from(stats.blocks > 0);
        Ok(stats)
    }

    /// What all these series have in the range.
    ///
    /// # Errors
    /// As [`Self::series_stats`].
    pub fn stats(&self, series: &RoaringBitmap, range: TimeRange) -> Result<Stats, IndexError> {
        let mut stats = Stats::default();
        for number in series {
            stats += self.series_stats(number, range)?;
        }
        Ok(stats)
    }
}
