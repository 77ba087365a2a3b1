//! Streams whose definition was damaged, as other segments name them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use model::LabelSet;

use crate::wal::Record;
use crate::wal::segment::{Next, SegmentReader};

/// What the segments of a log say about streams.
#[derive(Debug, Default)]
pub(super) struct Definitions(HashMap<u64, Option<LabelSet>>);

impl Definitions {
    /// Reads what is there of all segments. Those that are replayed and in the store may be gone.
    pub(super) fn read(directory: &Path, segments: &[(u64, Option<u64>)], owner: u128) -> Self {
        let mut definitions = Self::default();
        for (number, len) in segments {
            if let Ok(reader) = SegmentReader::open(directory, *number, *len, owner) {
                definitions.add_segment(reader);
            }
        }
        definitions
    }

    fn add_segment(&mut self, mut reader: SegmentReader) {
        loop {
            match reader.next() {
                Ok(Next::Record(Record::Streams(streams), _)) => self.add(streams),
                Ok(Next::Record(Record::Rows(_), _) | Next::Damaged { .. }) => {}
                // What it means is said when the segment is replayed.
                Ok(Next::End | Next::Torn { .. }) | Err(_) => return,
            }
        }
    }

    fn add(&mut self, streams: Vec<(u64, LabelSet)>) {
        for (stream, labels) in streams {
            match self.0.entry(stream) {
                Entry::Vacant(entry) => {
                    entry.insert(Some(labels));
                }
                // Rows that may be of either stream must not be given to one.
                Entry::Occupied(mut entry) => {
                    if entry.get().as_ref() != Some(&labels) {
                        entry.insert(None);
                    }
                }
            }
        }
    }

    /// The labels of a stream, if they are sure.
    pub(super) fn get(&self, stream: u64) -> Option<&LabelSet> {
        self.0.get(&stream)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_is_named_in_two_ways_is_not_known() {
        let labels = |app: &'static str| LabelSet::from_pairs([("app", app)]);
        let mut definitions = Definitions::default();
        definitions.add(vec![(1, labels("a")), (2, labels("b"))]);
        definitions.add(vec![(1, labels("a")), (2, labels("c"))]);
        definitions.add(vec![(2, labels("b"))]);
        assert_eq!(definitions.get(1), Some(&labels("a")));
        assert_eq!((definitions.get(2), definitions.get(3)), (None, None));
    }
}
