//! In which order the rows of several sources are visited.

use std::collections::HashSet;

use model::{Direction, row_hash};

use crate::source::{Opened, Reader};

/// A row: number of its source, number in the source.
pub(crate) type Place = (usize, usize);

/// Whether two of the sources have rows of the same time or interleave.
pub(crate) fn overlap(sources: &[Opened]) -> bool {
    let mut spans: Vec<(i64, i64)> = sources.iter().filter_map(Opened::span).collect();
    spans.sort_unstable();
    spans
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if b.0 <= a.1))
}

/// The sources' numbers in the order of their times, for sources that do not overlap.
pub(crate) fn by_time(sources: &[Opened], direction: Direction) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sources.len()).collect();
    order.sort_by_key(|number| sources.get(*number).and_then(Opened::span));
    if direction == Direction::Backward {
        order.reverse();
    }
    order
}

/// All rows of sources that overlap, in time order, copies left out.
pub(crate) fn merged(sources: &[Opened], direction: Direction) -> Vec<Place> {
    let mut places: Vec<(i64, usize, usize)> = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        places.extend((0..source.len()).map(|row| (source.timestamp_ns(row), number, row)));
    }
    places.sort_unstable();
    let mut readers: Vec<Reader<'_>> = sources.iter().map(Opened::reader).collect();
    let mut kept = Vec::with_capacity(places.len());
    let mut seen = HashSet::new();
    for group in places.chunk_by(|a, b| a.0 == b.0) {
        seen.clear();
        for (_, number, row) in group {
            let is_new = group.len() == 1 || {
                let Some(reader) = readers.get_mut(*number) else {
                    continue;
                };
                let (line, metadata) = reader.row(*row);
                seen.insert(row_hash(line, metadata))
            };
            if is_new {
                kept.push((*number, *row));
            }
        }
    }
    if direction == Direction::Backward {
        kept.reverse();
    }
    kept
}
