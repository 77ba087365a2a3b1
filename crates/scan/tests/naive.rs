//! Whatever the sources, the answer is that of the stages run over every row in order.
#![allow(clippy::unwrap_used, reason = "in tests a failure is a panic")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use chunk::{Block, EncodeOptions, LinesPolicy, Needle, Projection, Run, Search, encode_block};
use model::{Budget, Direction, Entries, LabelSet, RowLabels, TimeRange, row_hash};
use proptest::prelude::*;
use scan::{
    Context, LogRow, LogScan, LogStages, Prefilter, Pushdown, SamplePlan, SampleScan, SampleShape,
    SampleSink, SampleStages, SampleValue, ScanError, ScanStats, Source, Values, plan_samples,
    scan_logs, scan_samples,
};

/// A step of a metric query.
const STEP_NS: i64 = 3;

/// A row: time, line, metadata.
type Row = (i64, Vec<u8>, LabelSet);

fn arbitrary_row() -> impl Strategy<Value = Row> {
    let level = prop_oneof![Just(""), Just("info"), Just("error"), Just("strange")];
    let metadata = (level, "[xy]?").prop_map(|(level, trace)| {
        LabelSet::from_pairs([("detected_level", level.to_owned()), ("trace", trace)])
    });
    (
        0..12i64,
        "[ab1]{0,3}".prop_map(String::into_bytes),
        metadata,
    )
}

/// Rows, and per row the sources that have it: at least one.
fn arbitrary_rows() -> impl Strategy<Value = Vec<(Row, u8)>> {
    prop::collection::vec((arbitrary_row(), 1..64u8), 0..40).prop_map(|mut rows| {
        rows.sort_by_key(|((time, ..), _)| *time);
        // A source has a row once, and rows are told apart by what they contain.
        let mut seen = std::collections::HashSet::new();
        rows.retain(|(row, _)| seen.insert(row.clone()));
        rows
    })
}

fn entries<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Entries {
    let mut entries = Entries::default();
    for (time, line, metadata) in rows {
        assert!(entries.push(*time, line, metadata));
    }
    entries
}

/// Up to six sources: a head, a head out of order, a block alone, a run in a shared block, and the
/// same with structured lines.
fn sources(rows: &[(Row, u8)]) -> Vec<Source> {
    let part = |bit: u8| {
        rows.iter()
            .filter(move |(_, sources)| sources & bit != 0)
            .map(|(row, _)| row)
    };
    let other = (
        LabelSet::from_pairs([("other", "stream")]),
        entries(part(1)),
    );
    let mut sources = vec![Source::Rows(Arc::new(entries(part(1))))];
    let mut shuffled: Vec<&Row> = part(2).collect();
    // Rows of the same time keep their order, which is that of a stable sort.
    shuffled.sort_by_key(|(time, ..)| (time * 7) % 5);
    sources.push(Source::Rows(Arc::new(entries(shuffled))));
    let (plain, structured) = (LinesPolicy::Plain, LinesPolicy::Structured);
    for (bit, shared, lines) in [
        (4, false, plain),
        (8, true, plain),
        (16, false, structured),
        (32, true, structured),
    ] {
        let rows = entries(part(bit));
        if rows.is_empty() {
            continue;
        }
        let labels = LabelSet::from_pairs([("a", "stream")]);
        let mut runs = vec![Run::new(&labels, &rows)];
        if shared && !other.1.is_empty() {
            runs.insert(0, Run::new(&other.0, &other.1));
        }
        let run = runs.len() - 1;
        let options = EncodeOptions {
            lines,
            ..EncodeOptions::default()
        };
        let block = encode_block(&runs, &options).unwrap().open();
        sources.push(Source::Block {
            block: Arc::new(block),
            run,
        });
    }
    sources
}

/// Keeps lines with an `a` and makes them upper case; labels are the metadata.
#[derive(Default)]
struct Upper {
    labels: Arc<RowLabels>,
}

impl LogStages for Upper {
    fn process<'a>(
        &'a mut self,
        _: i64,
        line: &'a [u8],
        metadata: &'a LabelSet,
    ) -> Option<(Cow<'a, [u8]>, &'a Arc<RowLabels>)> {
        self.labels = Arc::new(RowLabels {
            metadata: metadata.clone(),
            ..RowLabels::default()
        });
        let line = line.contains(&b'a').then(|| line.to_ascii_uppercase())?;
        Some((line.into(), &self.labels))
    }
}

/// One sample per row, or per line with an `a`; labels are the metadata keys wanted.
struct Counter {
    value: SampleValue,
    keys: Vec<&'static str>,
    needs_a: bool,
    labels: LabelSet,
}

impl Counter {
    fn new(value: SampleValue, keys: &[&'static str], needs_a: bool) -> Self {
        Self {
            value,
            keys: keys.to_vec(),
            needs_a,
            labels: LabelSet::default(),
        }
    }
}

impl SampleStages for Counter {
    fn process<'a>(
        &'a mut self,
        _: i64,
        line: &'a [u8],
        metadata: &'a LabelSet,
    ) -> Option<Result<(f64, &'a LabelSet), String>> {
        if self.needs_a && !line.contains(&b'a') {
            return None;
        }
        self.labels = metadata.without(|key| !self.keys.contains(&key));
        let value = match self.value {
            SampleValue::Rows => 1.0,
            _ => line.len() as f64,
        };
        Some(Ok((value, &self.labels)))
    }
}

/// Sums by labels and step.
#[derive(Debug, PartialEq)]
struct Sums {
    step_ns: i64,
    sums: BTreeMap<(LabelSet, i64), f64>,
    hashes: Vec<u64>,
}

impl Default for Sums {
    fn default() -> Self {
        Self::of_step(STEP_NS)
    }
}

impl Sums {
    fn of_step(step_ns: i64) -> Self {
        Self {
            step_ns,
            sums: BTreeMap::new(),
            hashes: Vec::new(),
        }
    }

    fn add(&mut self, labels: &LabelSet, time: i64, value: f64) {
        *self
            .sums
            .entry((labels.clone(), time.div_euclid(self.step_ns)))
            .or_default() += value;
    }
}

impl SampleSink for Sums {
    fn sample(
        &mut self,
        labels: &LabelSet,
        timestamp_ns: i64,
        value: f64,
        row_hash: Option<u64>,
    ) -> ControlFlow<()> {
        self.add(labels, timestamp_ns, value);
        self.hashes.extend(row_hash);
        ControlFlow::Continue(())
    }

    fn samples(
        &mut self,
        labels: &LabelSet,
        timestamps_ns: &[i64],
        values: Values<'_>,
    ) -> ControlFlow<()> {
        assert!(timestamps_ns.is_sorted());
        for (at, time) in timestamps_ns.iter().enumerate() {
            let value = match values {
                Values::Ones => 1.0,
                Values::Each(values) => values[at],
            };
            self.add(labels, *time, value);
        }
        ControlFlow::Continue(())
    }

    fn cuts(&self, min_ns: i64, max_ns: i64, most: usize) -> Option<Vec<i64>> {
        let steps = min_ns.div_euclid(self.step_ns)..max_ns.div_euclid(self.step_ns);
        let ends = steps.map(|step| (step + 1) * self.step_ns - 1);
        let cuts: Vec<i64> = ends.chain([max_ns]).collect();
        (cuts.len() <= most).then_some(cuts)
    }
}

fn with_context<T>(f: impl FnOnce(&mut Context<'_>) -> Result<T, ScanError>) -> (T, ScanStats) {
    let budget = Budget::new("test", 1 << 20);
    let mut memory = budget.reservation();
    let mut stats = ScanStats::default();
    let mut context = Context {
        is_cancelled: &|| false,
        memory: &mut memory,
        stats: &mut stats,
    };
    let result = f(&mut context).unwrap();
    assert_eq!(memory.bytes(), 0, "all memory is given back");
    (result, stats)
}

/// Lets lines with an `a` through.
fn with_a() -> Prefilter {
    let mut search = Search::default();
    search.add(vec![Needle::new("a")], false);
    search.into()
}

/// Rows in the order of the first source that has each: what the merge promises.
fn in_order(rows: &[(Row, u8)], range: TimeRange) -> Vec<Row> {
    let mut rows: Vec<&(Row, u8)> = rows
        .iter()
        .filter(|(row, _)| range.contains(row.0))
        .collect();
    rows.sort_by_key(|(row, sources)| (row.0, sources.trailing_zeros()));
    rows.into_iter().map(|(row, _)| row.clone()).collect()
}

proptest! {
    #[test]
    fn lines_are_those_of_every_row_in_order(
        rows in arbitrary_rows(),
        start in -1..13i64,
        len in 0..14i64,
        backward: bool,
        limit in 0..10usize,
        prefilter: bool,
    ) {
        let range = TimeRange::new(start, start + len);
        let direction = if backward { Direction::Backward } else { Direction::Forward };
        let prefilter = if prefilter { with_a() } else { Prefilter::default() };
        let scan = LogScan { range, direction, limit, prefilter: &prefilter, hashes: true, pushdown: Pushdown::On };
        let mut found: Vec<(i64, Vec<u8>, LabelSet, u64)> = Vec::new();
        let mut sink = |row: LogRow<'_>| {
            let metadata = row.labels.metadata.clone();
            found.push((row.timestamp_ns, row.line.to_vec(), metadata, row.row_hash.unwrap()));
            ControlFlow::Continue(())
        };
        with_context(|context| {
            scan_logs(&sources(&rows), &scan, &mut Upper::default(), context, &mut sink)
        });

        let mut all = in_order(&rows, range);
        if backward {
            all.reverse();
        }
        let expected: Vec<_> = all
            .into_iter()
            .filter(|(_, line, _)| line.contains(&b'a'))
            .map(|(time, line, metadata)| {
                let hash = row_hash(&line, &metadata);
                (time, line.to_ascii_uppercase(), metadata, hash)
            })
            .take(if limit == 0 { usize::MAX } else { limit })
            .collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn samples_are_those_of_every_row(
        rows in arbitrary_rows(),
        // Times in nanoseconds, in milliseconds and in minutes, and a little off these.
        (unit, off) in (prop_oneof![Just(1i64), Just(1_000_000), Just(60_000_000_000)], 0..2i64),
        start in -1..13i64,
        len in 0..14i64,
        bytes: bool,
        by_level: bool,
        by_trace: bool,
        needs_a: bool,
        pushdown: bool,
        prefilter: bool,
        hashes: bool,
    ) {
        let mut rows = rows;
        rows.iter_mut().for_each(|((time, ..), _)| *time *= unit);
        let range = TimeRange::new(start * unit + off, (start + len) * unit + off);
        let step_ns = STEP_NS * unit + off;
        let value = if bytes { SampleValue::Bytes } else { SampleValue::Rows };
        let keys: Vec<&'static str> = [(by_level, "detected_level"), (by_trace, "trace")]
            .into_iter()
            .filter_map(|(wanted, key)| wanted.then_some(key))
            .collect();
        let shape = if pushdown {
            SampleShape { value, takes_all: !needs_a, reads_lines: needs_a }
        } else {
            SampleShape::UNKNOWN
        };
        // Lines without a `1`, and those with an `a` unless the stages see to that.
        let mut search = Search::default();
        if prefilter {
            search.add(vec![Needle::new("1")], true);
            search.add(vec![Needle::any_case("A").unwrap(), Needle::new("ba")], false);
        }
        let passes = |line: &[u8]| !prefilter || (line.contains(&b'a') && !line.contains(&b'1'));
        let prefilter = Prefilter::from(search);
        let scan = SampleScan { range, shape, prefilter: &prefilter, reader: None, known_by: None, hashes };
        let mut found = Sums::of_step(step_ns);
        let mut stages = Counter::new(value, &keys, needs_a);
        with_context(|context| {
            scan_samples(&sources(&rows), &scan, &mut stages, context, &mut found)
        });

        let mut expected = Sums::of_step(step_ns);
        for (time, line, metadata) in in_order(&rows, range) {
            if !passes(&line) {
                continue;
            }
            if let Some(Ok((value, labels))) = stages.process(time, &line, &metadata) {
                let hash = hashes.then(|| row_hash(&line, &metadata));
                let _ = expected.sample(labels, time, value, hash);
            }
        }
        found.hashes.sort_unstable();
        expected.hashes.sort_unstable();
        prop_assert_eq!(found, expected);
    }
}

fn opened(rows: &[Row]) -> Arc<Block> {
    let labels = LabelSet::default();
    let entries = entries(rows);
    let run = Run::new(&labels, &entries);
    Arc::new(
        encode_block(&[run], &EncodeOptions::default())
            .unwrap()
            .open(),
    )
}

fn block(rows: &[Row]) -> Source {
    Source::Block {
        block: opened(rows),
        run: 0,
    }
}

fn row(time: i64, line: &str, level: &str) -> Row {
    (
        time,
        line.as_bytes().to_vec(),
        LabelSet::from_pairs([("detected_level", level)]),
    )
}

fn count(sources: &[Source], keys: &[&'static str], found: &mut Sums) -> ScanStats {
    let prefilter = Prefilter::default();
    let shape = SampleShape {
        value: SampleValue::Rows,
        takes_all: true,
        reads_lines: false,
    };
    let range = TimeRange::new(0, 100);
    let scan = SampleScan {
        range,
        shape,
        prefilter: &prefilter,
        reader: None,
        known_by: None,
        hashes: false,
    };
    let mut stages = Counter::new(SampleValue::Rows, keys, false);
    with_context(|context| scan_samples(sources, &scan, &mut stages, context, found)).1
}

#[test]
fn counts_by_level_of_whole_blocks_decode_nothing() {
    let rows = [
        row(0, "x", "info"),
        row(1, "y", "error"),
        row(2, "z", "info"),
    ];
    let mut found = Sums::default();
    let stats = count(&[block(&rows)], &["detected_level"], &mut found);
    assert_eq!((stats.counted_sources, stats.decoded_bytes), (1, 0));
    assert_eq!(
        plan(&rows, &["detected_level"], &mut Sums::default()),
        SamplePlan::Counted
    );
    let sums: Vec<_> = found
        .sums
        .iter()
        .map(|((labels, _), n)| (labels.to_string(), *n))
        .collect();
    let expected = [
        (r#"{detected_level="error"}"#, 1.0),
        (r#"{detected_level="info"}"#, 2.0),
    ];
    assert!(
        sums.iter()
            .map(|(labels, n)| (labels.as_str(), *n))
            .eq(expected)
    );
}

/// What has to be fetched to count these rows by these keys.
fn plan(rows: &[Row], keys: &[&'static str], sink: &mut Sums) -> SamplePlan {
    let prefilter = Prefilter::default();
    let shape = SampleShape {
        value: SampleValue::Rows,
        takes_all: true,
        reads_lines: false,
    };
    let range = TimeRange::new(0, 100);
    let scan = SampleScan {
        range,
        shape,
        prefilter: &prefilter,
        reader: None,
        known_by: None,
        hashes: false,
    };
    let mut stages = Counter::new(SampleValue::Rows, keys, false);
    plan_samples(opened(rows).meta(), None, 0, &scan, &mut stages, sink).unwrap()
}

#[test]
fn only_what_counts_is_fetched() {
    let rows = [row(0, "x", "info"), row(50, "y", "error")];
    let fetch = |keys| plan(&rows, keys, &mut Sums::default());
    assert_eq!(fetch(&[]), SamplePlan::Fetch(Projection::TIMESTAMPS));
    assert_eq!(
        fetch(&["detected_level"]),
        SamplePlan::Fetch(Projection::METADATA)
    );
}

#[test]
fn counts_of_blocks_over_several_steps_decode_times_only() {
    let lines = "x".repeat(1000);
    let rows: Vec<Row> = (0..50).map(|time| row(time, &lines, "info")).collect();
    let mut found = Sums::default();
    let stats = count(&[block(&rows)], &[], &mut found);
    assert_eq!((stats.counted_sources, stats.sources), (1, 0));
    assert!(stats.decoded_bytes < 1000, "{} bytes", stats.decoded_bytes);
    assert_eq!(found.sums.values().sum::<f64>(), 50.0);
}

#[test]
fn a_limit_leaves_later_blocks_alone() {
    let blocks: Vec<Source> = (0..5i64)
        .map(|n| block(&[row(n * 10, "a", "info"), row(n * 10 + 1, "a", "info")]))
        .collect();
    let prefilter = Prefilter::default();
    for direction in [Direction::Forward, Direction::Backward] {
        let range = TimeRange::new(0, 100);
        let scan = LogScan {
            range,
            direction,
            limit: 3,
            prefilter: &prefilter,
            hashes: false,
            pushdown: Pushdown::On,
        };
        let mut times = Vec::new();
        let mut sink = |row: LogRow<'_>| {
            times.push(row.timestamp_ns);
            ControlFlow::Continue(())
        };
        let ((), stats) = with_context(|context| {
            scan_logs(&blocks, &scan, &mut Upper::default(), context, &mut sink)
        });
        assert_eq!(stats.sources, 2);
        let expected = if direction == Direction::Forward {
            [0, 1, 10]
        } else {
            [41, 40, 31]
        };
        assert_eq!(times, expected);
    }
}

#[test]
fn a_cancelled_scan_and_one_without_memory_end_early() {
    let sources = [block(&[row(0, "a", "info")])];
    let prefilter = Prefilter::default();
    let range = TimeRange::new(0, 100);
    let direction = Direction::Forward;
    let scan = LogScan {
        range,
        direction,
        limit: 0,
        prefilter: &prefilter,
        hashes: false,
        pushdown: Pushdown::On,
    };
    let run = |cancelled: bool, bytes: u64| {
        let mut memory = Budget::new("test", bytes).reservation();
        let is_cancelled = || cancelled;
        let mut stats = ScanStats::default();
        let mut context = Context {
            is_cancelled: &is_cancelled,
            memory: &mut memory,
            stats: &mut stats,
        };
        let mut sink = |_: LogRow<'_>| ControlFlow::Continue(());
        scan_logs(
            &sources,
            &scan,
            &mut Upper::default(),
            &mut context,
            &mut sink,
        )
    };
    assert_eq!(run(true, 1000), Err(ScanError::Cancelled));
    assert!(matches!(run(false, 1), Err(ScanError::Memory(_))));
    assert_eq!(run(false, 1000), Ok(()));
}

/// Of one line stages may make much.
#[test]
fn stages_see_no_row_of_a_query_that_was_cancelled() {
    const SEEN: u64 = 3;
    let rows: Vec<Row> = (0..100).map(|time| row(time, "a", "info")).collect();
    let in_memory = Source::Rows(Arc::new(entries(&rows)));
    for source in [in_memory, block(&rows)] {
        let seen = std::cell::Cell::new(0);
        let budget = Budget::new("test", 1 << 20);
        let (mut memory, mut stats) = (budget.reservation(), ScanStats::default());
        let mut context = Context {
            is_cancelled: &|| seen.get() == SEEN,
            memory: &mut memory,
            stats: &mut stats,
        };
        let scan = LogScan {
            range: TimeRange::new(0, 100),
            direction: Direction::Forward,
            limit: 0,
            prefilter: &Prefilter::default(),
            hashes: false,
            pushdown: Pushdown::On,
        };
        let mut sink = |_: LogRow<'_>| {
            seen.set(seen.get() + 1);
            ControlFlow::Continue(())
        };
        let stages = &mut Upper::default();
        let end = scan_logs(&[source], &scan, stages, &mut context, &mut sink);
        assert_eq!((end, seen.get()), (Err(ScanError::Cancelled), SEEN));
    }
}
