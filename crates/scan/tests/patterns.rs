//! Whatever the sources, patterns are those of the lines, and every row counts once.
#![allow(clippy::unwrap_used, reason = "in tests a failure is a panic")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use chunk::{EncodeOptions, LinesPolicy, Run, encode_block, put_pattern};
use model::{Budget, Entries, LabelSet, TimeRange, row_hash};
use proptest::prelude::*;
use scan::{
    Context, Deletes, LinesLeft, PatternRows, PatternScan, ScanStats, Source, scan_patterns,
};

const STEP: i64 = 3;

/// A row: time, line, metadata.
type Row = (i64, String, LabelSet);

/// Lines by level, pattern and step.
type Counts = BTreeMap<(String, Vec<u8>, i64), u64>;

fn arbitrary_row() -> impl Strategy<Value = Row> {
    let level = prop_oneof![Just(""), Just("info"), Just("error")];
    let metadata = (level, "[xy]?").prop_map(|(level, trace)| {
        LabelSet::from_pairs([("detected_level", level.to_owned()), ("trace", trace)])
    });
    let line = prop_oneof![
        "[ab1=\"]{0,6}",
        "msg=\"[ab]{1,2} took [0-9]{1,2}ms\" n=[a1]"
    ];
    (0..12i64, line, metadata)
}

/// Rows, and per row the sources that have it: at least one.
fn arbitrary_rows() -> impl Strategy<Value = Vec<(Row, u8)>> {
    prop::collection::vec((arbitrary_row(), 1..32u8), 0..60).prop_map(|mut rows| {
        rows.sort_by_key(|((time, ..), _)| *time);
        let mut seen = std::collections::HashSet::new();
        rows.retain(|(row, _)| seen.insert(row.clone()));
        rows
    })
}

fn entries<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Entries {
    let mut entries = Entries::default();
    for (time, line, metadata) in rows {
        assert!(entries.push(*time, line.as_bytes(), metadata));
    }
    entries
}

fn block(rows: &Entries, lines: LinesPolicy, is_shared: bool) -> Source {
    let labels = [("a", "stream"), ("b", "stream")].map(|pair| LabelSet::from_pairs([pair]));
    let mut runs = vec![Run::new(&labels[0], rows)];
    if is_shared {
        runs.push(Run::new(&labels[1], rows));
    }
    let options = EncodeOptions {
        lines,
        ..EncodeOptions::default()
    };
    Source::Block {
        block: Arc::new(encode_block(&runs, &options).unwrap().open()),
        run: runs.len() - 1,
    }
}

/// A head and blocks of each layout, alone and shared.
fn sources(rows: &[(Row, u8)]) -> Vec<Source> {
    let part = |bit: u8| {
        let has = rows.iter().filter(move |(_, sources)| sources & bit != 0);
        entries(has.map(|(row, _)| row))
    };
    let mut sources = vec![Source::Rows(Arc::new(part(1)))];
    let (plain, structured) = (LinesPolicy::Plain, LinesPolicy::Structured);
    for (bit, lines, is_shared) in [
        (2, plain, false),
        (4, plain, true),
        (8, structured, false),
        (16, structured, true),
    ] {
        let rows = part(bit);
        if !rows.is_empty() {
            sources.push(block(&rows, lines, is_shared));
        }
    }
    sources
}

/// What is found, and the hashes of rows.
fn found(
    sources: &[Source],
    range: TimeRange,
    hashes: bool,
    deletes: &Deletes,
    lines: &LinesLeft,
) -> (Counts, Vec<u64>) {
    let scan = PatternScan {
        range,
        step_ns: STEP,
        hashes,
        lines,
    };
    let (mut counts, mut found) = (Counts::new(), Vec::new());
    let mut sink = |rows: PatternRows<'_>| {
        let step = rows.timestamp_ns.div_euclid(STEP);
        assert!(hashes || rows.timestamp_ns == step * STEP);
        let key = (rows.level.to_owned(), rows.pattern.to_vec(), step);
        *counts.entry(key).or_default() += rows.rows;
        found.extend(rows.row_hash);
        ControlFlow::Continue(())
    };
    let mut memory = Budget::new("test", 1 << 30).reservation();
    let mut context = Context {
        is_cancelled: &|| false,
        memory: &mut memory,
        stats: &mut ScanStats::default(),
    };
    let mut deletes = deletes.for_stream_in(&LabelSet::default(), range);
    scan_patterns(sources, &scan, &mut deletes, &mut context, &mut sink).unwrap();
    found.sort_unstable();
    (counts, found)
}

fn expected<'a>(rows: impl Iterator<Item = &'a Row>) -> (Counts, Vec<u64>) {
    let (mut counts, mut hashes) = (Counts::new(), Vec::new());
    for (time, line, metadata) in rows {
        let mut pattern = Vec::new();
        put_pattern(line.as_bytes(), &mut pattern);
        let level = metadata.get("detected_level").unwrap_or_default();
        let key = (level.to_owned(), pattern, time.div_euclid(STEP));
        *counts.entry(key).or_default() += 1;
        hashes.push(row_hash(line.as_bytes(), metadata));
    }
    hashes.sort_unstable();
    (counts, hashes)
}

proptest! {
    #[test]
    fn every_row_counts_once(rows in arbitrary_rows(), start in 0..6i64, end in 5..14i64) {
        let sources = sources(&rows);
        let range = TimeRange::new(start, end);
        let inside = rows.iter().map(|(row, _)| row).filter(|row| range.contains(row.0));
        let (counts, hashes) = expected(inside);
        let lines = LinesLeft::new(u64::MAX);
        let all = found(&sources, range, false, &Deletes::default(), &lines);
        prop_assert_eq!(all, (counts.clone(), Vec::new()));
        let all = found(&sources, range, true, &Deletes::default(), &lines);
        prop_assert_eq!(all, (counts, hashes));
        prop_assert_eq!(lines.left_out(), 0);
    }

    #[test]
    fn deleted_rows_do_not_count(rows in arbitrary_rows()) {
        let range = TimeRange::new(0, 100);
        let deletes = Deletes::new([(r#"{} |= "took""#, TimeRange::new(2, 8), 0)]).unwrap();
        let is_kept = |row: &&Row| !(2..8).contains(&row.0) || !row.1.contains("took");
        let (counts, _) = expected(rows.iter().map(|(row, _)| row).filter(is_kept));
        let lines = LinesLeft::new(u64::MAX);
        let (found, _) = found(&sources(&rows), range, false, &deletes, &lines);
        prop_assert_eq!(found, counts);
    }
}

#[test]
fn of_lines_without_templates_the_newest_are_looked_at() {
    let row = |time: i64| (time, "a".repeat(time as usize), LabelSet::default());
    let rows: Vec<Row> = (0..20).map(row).collect();
    let entries = entries(&rows);
    let range = TimeRange::new(0, 100);
    for source in [
        Source::Rows(Arc::new(entries.clone())),
        block(&entries, LinesPolicy::Plain, false),
    ] {
        let lines = LinesLeft::new(5);
        let (counts, _) = found(&[source], range, false, &Deletes::default(), &lines);
        assert_eq!(counts, expected(rows[15..].iter()).0);
        assert_eq!((lines.left_out(), lines.is_empty()), (15, true));
    }
    let lines = LinesLeft::new(0);
    let source = block(&entries, LinesPolicy::Structured, false);
    let (counts, _) = found(&[source], range, false, &Deletes::default(), &lines);
    assert_eq!(counts, expected(rows.iter()).0);
    assert_eq!(lines.left_out(), 0);
}
