//! Records that should be there and are not: their numbers say so. Within a run each record has the
//! next number.

use std::time::{SystemTime, UNIX_EPOCH};

use model::{Entries, TenantId, TimeRange};

use super::Replay;
use crate::losses::Lost;
use crate::wal::{LostRows, RUN_SHIFT};

/// What is known of records that are missing.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// What damaged records say of their rows, until their numbers are passed.
    pub(super) heads: Vec<LostRows>,
    /// Whether something damaged comes behind the last record.
    pub(super) is_open: bool,
    /// The segment that is read.
    segment: u64,
    /// When it was written last, if that is known.
    written_ns: Option<i64>,
}

impl Missing {
    /// A segment begins.
    pub(super) fn begin(&mut self, segment: u64, written: Option<SystemTime>) {
        let since = written.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        self.written_ns = since.and_then(|since| i64::try_from(since.as_nanos()).ok());
        self.segment = segment;
    }
}

impl Replay<'_> {
    /// Says what is gone between the record before and the one with this number.
    pub(super) fn note_missing(&mut self, seq: u64) {
        let run = seq >> RUN_SHIFT;
        if self.seq >> RUN_SHIFT != run {
            self.end_run(run << RUN_SHIFT);
        }
        let before = self.seq.max(run << RUN_SHIFT);
        let records = seq.saturating_sub(before + 1);
        let known = self.lose_heads(before, seq);
        // Without the state nobody knows what was removed because it is in the store.
        if records > 0 && !self.left.is_state_lost {
            tracing::error!(
                records,
                before = seq,
                "records of the log are missing, what was acknowledged in them is lost"
            );
            self.inner.metrics.replay.lost_records.inc_by(records);
            if known < records {
                self.lose(None, 0, records - known);
            }
        }
    }

    /// No record with a number below this comes any more. Whether there was one where something is
    /// damaged nobody knows, unless it says so.
    pub(super) fn end_run(&mut self, end: u64) {
        let known = self.lose_heads(self.seq, end);
        if std::mem::take(&mut self.missing.is_open) && known == 0 {
            self.lose(None, 0, 0);
        }
    }

    /// The rows of damaged records with numbers between two are lost. Returns of how many records.
    fn lose_heads(&mut self, after: u64, before: u64) -> u64 {
        let mut heads = std::mem::take(&mut self.missing.heads);
        heads.sort_by_key(|head| head.seq);
        heads.dedup_by_key(|head| head.seq);
        let (passed, left): (Vec<_>, Vec<_>) =
            heads.into_iter().partition(|head| head.seq < before);
        self.missing.heads = left;
        let mut records = 0;
        for head in passed.iter().filter(|head| head.seq > after) {
            self.lose(Some(&head.tenant), head.rows, 0);
            self.inner.metrics.replay.lost_rows.inc_by(head.rows);
            records += 1;
        }
        records
    }

    fn lose(&self, tenant: Option<&TenantId>, rows: u64, records: u64) {
        let written_ns = self.missing.written_ns;
        let lost = Lost {
            rows,
            records,
            times: None,
            pushed_before_ns: Some(written_ns.unwrap_or_else(|| self.inner.clock.now_ns())),
        };
        self.inner.losses.add(self.missing.segment, tenant, &lost);
    }

    /// Rows of a stream that no record names are lost.
    pub(super) fn lose_unnamed(&mut self, tenant: &TenantId, entries: &Entries) {
        let times = entries.timestamps_ns();
        let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else {
            return;
        };
        self.lost_rows += times.len() as u64;
        let lost = Lost {
            rows: times.len() as u64,
            times: Some(TimeRange::new(*first, last.saturating_add(1))),
            ..Lost::default()
        };
        self.inner
            .losses
            .add(self.missing.segment, Some(tenant), &lost);
    }
}
