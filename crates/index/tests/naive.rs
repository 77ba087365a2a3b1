//! Every answer is the one that a search through plain lists gives.

use std::collections::{BTreeMap, BTreeSet};

use index::{Index, MAX_NAMES, RoaringBitmap, merge, mergeable};
use model::{LabelSet, MatchOp, Matcher, TimeRange};
use proptest::prelude::*;

mod sample;
use sample::{Run, builder};

fn arbitrary_labels() -> impl Strategy<Value = LabelSet> {
    let pair = ("[abc]", "[xyé]{0,2}");
    prop::collection::vec(pair, 0..4).prop_map(LabelSet::from_pairs)
}

fn arbitrary_runs() -> impl Strategy<Value = Vec<Run>> {
    let times = (-50..50i64, 0..40i64).prop_map(|(start, len)| (start, start + len));
    prop::collection::vec(
        (arbitrary_labels(), 0..3u32, 0..3u32, times, 1..100u64),
        0..40,
    )
}

#[allow(clippy::unwrap_used, reason = "in tests a failure is a panic")]
fn arbitrary_matchers() -> impl Strategy<Value = Vec<Matcher>> {
    let op = prop_oneof![
        Just(MatchOp::Equal),
        Just(MatchOp::NotEqual),
        Just(MatchOp::Regex),
        Just(MatchOp::NotRegex)
    ];
    let value = prop_oneof![
        "[xyé]{0,2}",
        Just(".*".to_owned()),
        Just(".+".to_owned()),
        Just("x|yy".to_owned()),
        Just("x|".to_owned()),
        Just("x.?".to_owned())
    ];
    let matcher =
        ("[abcd]", op, value).prop_map(|(name, op, value)| Matcher::new(name, op, value).unwrap());
    prop::collection::vec(matcher, 0..4)
}

/// Label sets in order, with their runs; of runs that name the same block the first counts.
fn naive(runs: &[Run]) -> BTreeMap<LabelSet, Vec<&Run>> {
    let mut series: BTreeMap<LabelSet, Vec<&Run>> = BTreeMap::new();
    for run in runs {
        series.entry(run.0.clone()).or_default().push(run);
    }
    series
}

/// A block is in an index once; generated runs may name it twice.
fn without_repeated_blocks(runs: Vec<Run>) -> Vec<Run> {
    let mut seen = BTreeSet::new();
    runs.into_iter()
        .filter(|run| seen.insert((run.0.clone(), run.1, run.2)))
        .collect()
}

proptest! {
    #[test]
    fn selection_is_that_of_the_matchers(
        runs in arbitrary_runs(),
        matchers in arbitrary_matchers(),
        names in prop::collection::vec("[abcd]", 1..3),
    ) {
        let file = builder(3, &runs).build().unwrap();
        prop_assert!(index::fuzz::file(&file, &matchers).is_ok());
        let index = Index::parse(file).unwrap();
        let series: Vec<LabelSet> = naive(&runs).into_keys().collect();
        prop_assert_eq!(index.series_count() as usize, series.len());
        let passes = |labels: &LabelSet| matchers.iter().all(|matcher| matcher.matches(labels));
        let expected: RoaringBitmap =
            (0..).zip(&series).filter(|(_, labels)| passes(labels)).map(|(n, _)| n).collect();
        let selected = index.select(&matchers, &|| true).unwrap();
        prop_assert_eq!(&selected, &expected);
        for (number, labels) in (0..).zip(&series) {
            prop_assert_eq!(&index.labels(number).unwrap(), labels);
        }
        let among = || series.iter().filter(|labels| passes(labels));
        let expected: BTreeSet<&str> = among().flatten().map(|label| &*label.name).collect();
        let found = index.label_names(Some(&selected));
        prop_assert!(found.iter().map(|name| &**name).eq(expected));
        for name in names {
            let expected: BTreeSet<&str> = among().filter_map(|labels| labels.get(&name)).collect();
            let found = index.label_values(&name, Some(&selected), &|| true).unwrap();
            prop_assert!(found.iter().map(|value| &**value).eq(expected));
        }
    }

    #[test]
    fn blocks_and_statistics_are_those_added(
        runs in arbitrary_runs(),
        start in -60..60i64,
        len in 0..100i64,
    ) {
        let runs = without_repeated_blocks(runs);
        let index = Index::parse(builder(3, &runs).build().unwrap()).unwrap();
        let range = TimeRange::new(start, start + len);
        for (number, (_, runs)) in (0..).zip(naive(&runs)) {
            let blocks = index.blocks(number).unwrap();
            prop_assert!(blocks.is_sorted_by_key(|block| block.min_ts_ns));
            let mut found: Vec<_> = blocks
                .iter()
                .map(|at| (at.object, at.block, (at.min_ts_ns, at.max_ts_ns), at.rows))
                .collect();
            let mut expected: Vec<_> = runs.iter().map(|run| (run.1, run.2, run.3, run.4)).collect();
            found.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
            let whole = runs.iter().filter(|run| range.overlaps(run.3.0, run.3.1)).count() as u64;
            let stats = index.series_stats(number, range).unwrap();
            prop_assert_eq!((stats.blocks, stats.streams), (whole, u64::from(whole > 0)));
            let all: u64 = runs.iter().map(|run| run.4).sum();
            prop_assert!(stats.rows <= all);
            let series = index.series(number).unwrap();
            prop_assert_eq!((series.rows, series.raw_bytes), (all, all * 100));
        }
    }

    #[test]
    fn merging_parts_is_building_the_whole(
        runs in arbitrary_runs(),
        cut in 0..40usize,
        gone in 0..4u32,
    ) {
        let runs = without_repeated_blocks(runs);
        let (a, b) = runs.split_at(cut.min(runs.len()));
        let parts = [a, b, a].map(|runs| Index::parse(builder(3, runs).build().unwrap()).unwrap());
        let keep = |id: u128| id != 1_000 + u128::from(gone);
        let merged = merge(&parts, keep).unwrap().build().unwrap();
        let merged = Index::parse(merged).unwrap();
        let kept: Vec<Run> = runs.iter().filter(|run| run.1 != gone).cloned().collect();
        prop_assert_eq!(merged.series_count() as usize, naive(&kept).len());
        for (number, (labels, runs)) in (0..).zip(naive(&kept)) {
            prop_assert_eq!(merged.labels(number).unwrap(), labels);
            let mut found: Vec<_> = merged
                .blocks(number)
                .unwrap()
                .iter()
                .map(|at| (merged.object(at.object).unwrap().id, at.block, at.min_ts_ns))
                .collect();
            let mut expected: Vec<_> =
                runs.iter().map(|run| (1_000 + u128::from(run.1), run.2, run.3.0)).collect();
            found.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = index::fuzz::file(&bytes.into(), &[]);
    }
}

#[test]
fn a_block_of_an_object_that_was_not_added_is_refused() {
    let runs = [(LabelSet::default(), 3, 0, (0, 1), 1)];
    assert!(builder(3, &runs).build().is_err());
}

#[test]
fn a_block_half_inside_the_range_counts_half() {
    let runs = [(LabelSet::from_pairs([("a", "b")]), 0, 0, (0, 99), 1_000)];
    let index = Index::parse(builder(1, &runs).build().unwrap()).unwrap();
    let stats = index.stats(&index.all(), TimeRange::new(50, 500)).unwrap();
    assert_eq!(
        (stats.streams, stats.blocks, stats.rows, stats.bytes),
        (1, 1, 500, 50_000)
    );
}

/// Streams with label names that no other has.
fn runs_with_own_names(streams: std::ops::Range<u32>, names: u32) -> Vec<Run> {
    streams
        .map(|stream| {
            let own = (0..names).map(|name| (format!("n{stream}_{name}"), "v".to_owned()));
            let labels = own.chain([("app".to_owned(), "x".to_owned())]);
            let labels = LabelSet::from_pairs(labels);
            (labels, stream % 3, stream, (0, 9), 1)
        })
        .collect()
}

/// The series of some files with what is known of their blocks.
#[allow(clippy::unwrap_used, reason = "in tests a failure is a panic")]
fn series_of(files: &[Index]) -> BTreeMap<LabelSet, Vec<(u128, u32, u64)>> {
    let mut all: BTreeMap<LabelSet, Vec<_>> = BTreeMap::new();
    for index in files {
        for series in 0..index.series_count() {
            let blocks = index.blocks(series).unwrap().iter().map(|at| {
                let id = index.object(at.object).unwrap().id;
                (id, at.block, at.rows)
            });
            let labels = index.labels(series).unwrap();
            all.entry(labels).or_default().extend(blocks);
        }
    }
    all
}

#[test]
fn what_one_file_cannot_hold_becomes_several() {
    let runs = runs_with_own_names(0..70, 1_000);
    assert!(runs.len() * 1_000 > MAX_NAMES);
    assert!(builder(3, &runs).build().is_err());
    let files = builder(3, &runs).build_all().unwrap();
    let files: Vec<Index> = files
        .into_iter()
        .map(|file| Index::parse(file).unwrap())
        .collect();
    assert_eq!(files.len(), 2);
    let expected = runs.iter().map(|(labels, object, block, _, rows)| {
        let run = (1_000 + u128::from(*object), *block, *rows);
        (labels.clone(), vec![run])
    });
    assert_eq!(series_of(&files), expected.collect());
    let rows = |index: &Index| -> u64 { index.objects().iter().map(|o| o.rows).sum() };
    assert_eq!(files.iter().map(rows).sum::<u64>(), 70);
    let selected = |index: &Index| {
        let matcher = Matcher::new("app", MatchOp::Equal, "x").unwrap();
        index.select(&[matcher], &|| true).unwrap().len()
    };
    assert_eq!(files.iter().map(selected).sum::<u64>(), 70);
}

#[test]
fn files_are_merged_as_far_as_one_can_hold_them() {
    let file = |streams, names| {
        let runs = runs_with_own_names(streams, names);
        Index::parse(builder(3, &runs).build().unwrap()).unwrap()
    };
    let files = [
        file(0..10, 2),
        file(0..40, 1_000),
        file(40..80, 1_000),
        file(90..95, 2),
    ];
    assert_eq!(mergeable(&files), [vec![0, 1, 3], vec![2]]);
    let merged = merge([&files[0], &files[1], &files[3]], |_| true);
    assert!(merged.unwrap().build().is_ok());
}

#[test]
fn labels_take_room_by_series_and_not_by_name() {
    let runs = runs_with_own_names(0..1_000, 5);
    let index = Index::parse(builder(3, &runs).build().unwrap()).unwrap();
    for series in 0..1_000 {
        assert_eq!(index.labels(series).unwrap().len(), 6);
    }
    let bytes = index.heap_bytes();
    // A column for each of 5,000 names would be 20 MB.
    assert!(bytes < 8_000_000, "{bytes} bytes");
}
