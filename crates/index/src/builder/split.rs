//! What one file cannot hold, and what it can.

use std::collections::HashSet;
use std::sync::Arc;

use super::{IndexBuilder, Map};
use crate::{Index, MAX_NAMES, MAX_OBJECTS, MAX_SERIES};

/// Two builders that have together what this one has: half of the series each, in their order, so
/// that label sets which are alike stay together; or half of the blocks of a single series. `None`
/// if there is nothing to divide.
pub(super) fn halves(builder: IndexBuilder) -> Option<[IndexBuilder; 2]> {
    let objects = builder.objects;
    let mut series: Vec<_> = builder.series.into_iter().collect();
    series.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let second = match series.as_mut_slice() {
        [(labels, blocks)] if blocks.len() > 1 => {
            vec![(labels.clone(), blocks.split_off(blocks.len() / 2))]
        }
        [] | [_] => return None,
        _ => series.split_off(series.len() / 2),
    };
    Some([series, second].map(|series| {
        let mut half = IndexBuilder::new();
        let mut numbers: Map<u32, u32> = Map::default();
        for (labels, mut blocks) in series {
            for block in &mut blocks {
                let known = numbers.get(&block.object).copied();
                // What was not added stays so: the file is refused for it.
                let number = known.or_else(|| {
                    let entry = objects.get(block.object as usize)?;
                    Some(half.add_object(entry.clone()))
                });
                numbers.extend(number.map(|number| (block.object, number)));
                block.object = number.unwrap_or(u32::MAX);
            }
            half.series.insert(labels, blocks);
        }
        half
    }))
}

/// What is known of files that are merged into one.
#[derive(Default)]
struct Together {
    files: Vec<usize>,
    names: HashSet<Arc<str>>,
    series: usize,
    objects: usize,
}

impl Together {
    /// Takes in a file unless one file could not hold what there is then.
    fn take(&mut self, number: usize, index: &Index) -> bool {
        let names = index.label_names(None);
        let new = names.iter().filter(|name| !self.names.contains(*name));
        let sums = [
            (self.names.len(), new.count(), MAX_NAMES),
            (self.series, index.series_count() as usize, MAX_SERIES),
            (self.objects, index.objects().len(), MAX_OBJECTS),
        ];
        let fits = sums.iter().all(|(have, more, max)| have + more <= *max);
        if !fits && !self.files.is_empty() {
            return false;
        }
        self.files.push(number);
        self.names.extend(names);
        self.series += index.series_count() as usize;
        self.objects += index.objects().len();
        true
    }
}

/// Which files [`merge`](super::merge) can make one of: their numbers, in groups. A file that fits
/// to no other is a group of its own.
#[must_use]
pub fn mergeable<'a>(indexes: impl IntoIterator<Item = &'a Index>) -> Vec<Vec<usize>> {
    let mut groups: Vec<Together> = Vec::new();
    for (number, index) in indexes.into_iter().enumerate() {
        if !groups.iter_mut().any(|group| group.take(number, index)) {
            let mut group = Together::default();
            group.take(number, index);
            groups.push(group);
        }
    }
    groups.into_iter().map(|group| group.files).collect()
}
