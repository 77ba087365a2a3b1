//! A stream's newest rows: their time, and hashes that tell a copy of one of them from another row.
//!
//! A stream may have any number of rows of one time, and some keep it for very long. So what does
//! not fit a few places counts as memory of the heads, and is given up when that is short.

use std::collections::HashSet;

use prometheus_client::metrics::gauge::Gauge;

use crate::memory::Counted;

/// Hashes that need no table.
const FEW: usize = 16;
/// Bytes of a place of the table: a hash, and one that says whether there is a hash.
const PLACE_BYTES: usize = size_of::<u64>() + 1;

/// The newest rows.
#[derive(Debug, Default)]
pub(super) struct Newest {
    time_ns: Option<i64>,
    few: Vec<u64>,
    many: Option<Box<Many>>,
    /// Bytes of the tables of all streams.
    all_bytes: Gauge,
}

#[derive(Debug)]
struct Many {
    hashes: HashSet<u64, foldhash::fast::RandomState>,
    bytes: Counted,
}

impl Newest {
    /// Those of a stream without rows. `all_bytes` are those of all streams' tables.
    pub(super) fn new(all_bytes: Gauge) -> Self {
        Self {
            all_bytes,
            ..Self::default()
        }
    }

    /// The time of the newest row.
    pub(super) fn time_ns(&self) -> Option<i64> {
        self.time_ns
    }

    /// Rows of a newer time begin.
    pub(super) fn begin(&mut self, time_ns: i64) {
        self.time_ns = Some(time_ns);
        self.few.clear();
        self.many = None;
    }

    /// Adds the hash of a row; whether it is new.
    pub(super) fn insert(&mut self, hash: u64) -> bool {
        if self.few.contains(&hash) {
            return false;
        }
        if self.few.len() < FEW {
            self.few.push(hash);
            return true;
        }
        let many = self.many.get_or_insert_with(|| {
            Box::new(Many {
                hashes: HashSet::default(),
                bytes: Counted::new(self.all_bytes.clone()),
            })
        });
        let is_new = many.hashes.insert(hash);
        // Of eight places one stays free.
        let places = many.hashes.capacity().div_ceil(7) * 8;
        many.bytes.set(places * PLACE_BYTES);
        is_new
    }

    /// Forgets all hashes but a few. From now on a copy of a row that was there before may pass for
    /// a new row, so it must not come to lie in one head with it.
    pub(super) fn forget(&mut self) {
        self.many = None;
    }

    /// Bytes of hashes that [`Self::forget`] sets free.
    pub(super) fn bytes(&self) -> usize {
        self.many.as_ref().map_or(0, |many| many.bytes.get())
    }
}
