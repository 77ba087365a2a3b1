//! What a query made of the rows of a run, remembered for the next time that it is asked.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use model::LabelSet;

use super::Block;

/// What is remembered of a block takes at most one of so many parts of the bytes of its lines.
const REMEMBERED_PART: u64 = 16;
/// And in any case so much.
const REMEMBERED_LEAST: u64 = 64 << 10;

/// Bytes of a label besides its text.
const LABEL_BYTES: usize = 64;

/// Which samples a query takes from the rows of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunSamples {
    /// Labels of the series.
    pub series: Vec<LabelSet>,
    /// Each sample that differs from others: which of the series it is of, and its value. `None` is
    /// that of rows that are none.
    pub samples: Vec<Option<(u32, f64)>>,
    /// Per row which of these it is.
    pub of_row: Vec<u32>,
}

impl RunSamples {
    /// The sample of row `at` of the run.
    #[must_use]
    #[inline]
    pub fn get(&self, at: usize) -> Option<(u32, f64)> {
        let number = *self.of_row.get(at)?;
        *self.samples.get(number as usize)?
    }

    fn heap_bytes(&self) -> usize {
        let of_labels = |labels: &LabelSet| labels.len() * LABEL_BYTES + labels.text_len();
        size_of::<Self>()
            + self.series.iter().map(of_labels).sum::<usize>()
            + size_of_val(&*self.samples)
            + size_of_val(&*self.of_row)
    }
}

/// Of which run, and what was asked.
type Key = (usize, Arc<str>);

/// Samples of runs, the latest last.
#[derive(Clone, Debug, Default)]
pub(super) struct Remembered {
    all: VecDeque<(Key, Arc<RunSamples>)>,
    bytes: usize,
}

impl Remembered {
    fn get(&self, run: usize, known_by: &str) -> Option<Arc<RunSamples>> {
        let is_it = |((of, by), _): &&(Key, _)| *of == run && **by == *known_by;
        self.all
            .iter()
            .rev()
            .find(is_it)
            .map(|(_, found)| Arc::clone(found))
    }

    fn keep(&mut self, key: Key, samples: Arc<RunSamples>, most: usize) {
        self.bytes += bytes_of(&key, &samples);
        self.all.push_back((key, samples));
        while self.bytes > most
            && let Some((key, oldest)) = self.all.pop_front()
        {
            self.bytes -= bytes_of(&key, &oldest);
        }
    }

    /// Bytes held.
    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes + self.all.len() * size_of::<(Key, Arc<RunSamples>)>()
    }
}

/// What was asked counts with each run, although runs share it: it may be long.
fn bytes_of((_, known_by): &Key, samples: &RunSamples) -> usize {
    known_by.len() + samples.heap_bytes()
}

impl Block {
    /// What is remembered of the samples of a run. `known_by` says what was asked.
    #[must_use]
    pub fn samples_of(&self, run: usize, known_by: &str) -> Option<Arc<RunSamples>> {
        let remembered = self.remembered.lock();
        let remembered = remembered.unwrap_or_else(PoisonError::into_inner);
        remembered.get(run, known_by)
    }

    /// Remembers the samples of a run, in place of those of others that are remembered for the
    /// longest.
    pub fn remember_samples(&self, run: usize, known_by: Arc<str>, samples: Arc<RunSamples>) {
        let most = (self.meta.raw_bytes() / REMEMBERED_PART).max(REMEMBERED_LEAST) as usize;
        let remembered = self.remembered.lock();
        let mut remembered = remembered.unwrap_or_else(PoisonError::into_inner);
        remembered.keep((run, known_by), samples, most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered_as_far_as_there_is_room() {
        let samples = |rows: usize| {
            Arc::new(RunSamples {
                of_row: vec![0; rows],
                ..RunSamples::default()
            })
        };
        let mut remembered = Remembered::default();
        let by: Arc<str> = "a".into();
        for run in 0..10 {
            remembered.keep((run, Arc::clone(&by)), samples(100), 2000);
        }
        assert_eq!(remembered.get(5, "a"), None);
        assert_eq!(remembered.get(9, "a"), Some(samples(100)));
        assert_eq!(remembered.get(9, "b"), None);
        assert!(remembered.bytes <= 2000);
        remembered.keep((10, by), samples(1000), 2000);
        assert_eq!((remembered.all.len(), remembered.bytes), (0, 0));
    }
}
