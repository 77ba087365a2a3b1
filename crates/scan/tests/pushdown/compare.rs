//! The two ways to an answer: the pipeline run over every row, and what blocks find themselves. The
//! fuzz target `pushdown` compares them as well.

#![allow(unreachable_pub, reason = "the fuzz target looks at it from outside")]

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use chunk::{EncodeOptions, LinesPolicy, Projection, Run, encode_block};
use logql::pipeline::{Extractor, Pipeline};
use logql::syntax::ast::Expr;
use model::{Budget, Direction, Entries, LabelSet, TimeRange};
use scan::{
    Context, LogRow, LogScan, Prefilter, Pushdown, SampleScan, SampleShape, SampleSink, ScanError,
    ScanStats, Source, Span, Values, scan_logs, scan_samples,
};

const NOW_NS: i64 = 1_000_000;
/// Rows of the same step are added up by counters at once.
const STEP: i64 = 40;

/// A row: time, line, metadata.
pub type Row = (i64, String, LabelSet);

fn entries(rows: &[Row]) -> Entries {
    let mut entries = Entries::default();
    for (time, line, metadata) in rows {
        assert!(entries.push(*time, line.as_bytes(), metadata));
    }
    entries
}

/// The rows as they come, in a block of their own, in one that is shared, and in one of which
/// others have decoded all lines.
pub fn sources(rows: &[Row]) -> [Source; 5] {
    let (web, other) = (
        LabelSet::from_pairs([("app", "web")]),
        LabelSet::from_pairs([("app", "other")]),
    );
    let entries = entries(rows);
    let run = |labels, entries| Run::new(labels, entries);
    let block = |runs: &[Run<'_>], lines| {
        let options = EncodeOptions {
            lines,
            ..EncodeOptions::default()
        };
        Source::Block {
            block: Arc::new(encode_block(runs, &options).unwrap().open()),
            run: runs.len() - 1,
        }
    };
    let shared = || {
        let runs = [run(&other, &entries), run(&web, &entries)];
        block(&runs, LinesPolicy::Structured)
    };
    let decoded = shared();
    if let Source::Block { block, .. } = &decoded {
        block.rows(0, Projection::ALL, None).unwrap();
    }
    [
        block(&[run(&web, &entries)], LinesPolicy::Structured),
        shared(),
        decoded,
        block(&[run(&web, &entries)], LinesPolicy::Plain),
        Source::Rows(Arc::new(entries)),
    ]
}

/// The rows in two structured blocks that overlap: some of them in one, some in the other, and some
/// in both, as replicas write them. Of rows that are the same, the first.
pub fn overlapping(rows: &mut Vec<Row>) -> Vec<Source> {
    let mut seen = HashSet::new();
    rows.retain(|row| seen.insert(row.clone()));
    let part = |is_in: &dyn Fn(i64) -> bool| {
        let part: Vec<_> = rows.iter().filter(|row| is_in(row.0)).cloned().collect();
        (!part.is_empty()).then(|| {
            let [block, ..] = sources(&part);
            block
        })
    };
    let parts = [
        part(&|time| time % 2 == 0 || time % 5 == 0),
        part(&|time| time % 2 != 0 || time % 15 == 0),
    ];
    parts.into_iter().flatten().collect()
}

/// Sums and counts by labels and step.
#[derive(Debug, Default, PartialEq)]
pub struct Sums(BTreeMap<(LabelSet, i64), f64>);

impl SampleSink for Sums {
    fn sample(
        &mut self,
        labels: &LabelSet,
        time: i64,
        value: f64,
        _: Option<u64>,
    ) -> ControlFlow<()> {
        *self.0.entry((labels.clone(), time / STEP)).or_default() += value;
        ControlFlow::Continue(())
    }

    fn samples(&mut self, labels: &LabelSet, times: &[i64], values: Values<'_>) -> ControlFlow<()> {
        assert!(times.is_sorted());
        for (at, time) in times.iter().enumerate() {
            let value = match values {
                Values::Ones => 1.0,
                Values::Each(values) => values[at],
            };
            self.sample(labels, *time, value, None)?;
        }
        ControlFlow::Continue(())
    }

    fn span(&mut self, labels: &LabelSet, span: Span) -> Option<ControlFlow<()>> {
        let is_one = span.min_ts_ns / STEP == span.max_ts_ns / STEP;
        is_one.then(|| self.sample(labels, span.min_ts_ns, span.sum, None))
    }
}

fn with_context<T>(
    f: impl FnOnce(&mut Context<'_>) -> Result<T, ScanError>,
) -> Result<T, ScanError> {
    let budget = Budget::new("test", 64 << 20);
    let mut memory = budget.reservation();
    let mut stats = ScanStats::default();
    let result = f(&mut Context {
        is_cancelled: &|| false,
        memory: &mut memory,
        stats: &mut stats,
    });
    assert_eq!(memory.bytes(), 0, "all memory is given back");
    result
}

/// The pipeline run over every row; the error is that of some row.
pub fn by_rows(query: &str, rows: &[Row], range: TimeRange) -> Result<Sums, ()> {
    let Ok(Expr::Metric(expr)) = logql::syntax::parse(query) else {
        panic!("{query}")
    };
    let leaves = logql::metric::leaf_contexts(&expr);
    let extractor =
        Extractor::new(leaves[0].aggregation, leaves[0].reduce_to.as_ref(), NOW_NS).unwrap();
    let mut stages = extractor.for_stream(&LabelSet::from_pairs([("app", "web")]));
    let mut sums = Sums::default();
    for (time, line, metadata) in rows.iter().filter(|(time, ..)| range.contains(*time)) {
        match stages.process(*time, line.as_bytes(), metadata) {
            None => {}
            Some(Err(_)) => return Err(()),
            Some(Ok((value, labels))) => drop(sums.sample(labels, *time, value, None)),
        }
    }
    Ok(sums)
}

pub fn pushed_down(query: &str, sources: &[Source], range: TimeRange) -> Result<Sums, ()> {
    let Ok(Expr::Metric(expr)) = logql::syntax::parse(query) else {
        panic!("{query}")
    };
    let leaves = logql::metric::leaf_contexts(&expr);
    let (prefilter, left) = Prefilter::split_aggregation(leaves[0].aggregation);
    let extractor = Extractor::new(&left, leaves[0].reduce_to.as_ref(), NOW_NS).unwrap();
    let mut stages = extractor.for_stream(&LabelSet::from_pairs([("app", "web")]));
    let scan = SampleScan {
        range,
        shape: SampleShape::of(&left),
        prefilter: &prefilter,
        reader: extractor.reader(),
        hashes: false,
    };
    let mut sums = Sums::default();
    match with_context(|context| scan_samples(sources, &scan, &mut stages, context, &mut sums)) {
        Ok(()) => Ok(sums),
        Err(ScanError::Sample(_)) => Err(()),
        Err(other) => panic!("{query}: {other}"),
    }
}

/// A line that passed: time, text, labels.
pub type Line = (i64, Vec<u8>, String);

pub fn lines_by_rows(log: &str, rows: &[Row]) -> Vec<Line> {
    let log = logql::syntax::parse_log(log).unwrap();
    let pipeline = Pipeline::new(&log, NOW_NS).unwrap();
    let mut stages = pipeline.for_stream(&LabelSet::from_pairs([("app", "web")]));
    let mut lines = Vec::new();
    for (time, line, metadata) in rows {
        if let Some((line, labels)) = stages.process(*time, line.as_bytes(), metadata) {
            lines.push((*time, line.into_owned(), labels.merged().to_string()));
        }
    }
    lines
}

pub fn lines_pushed_down(
    log: &str,
    sources: &[Source],
    direction: Direction,
    limit: usize,
) -> Vec<Line> {
    let log = logql::syntax::parse_log(log).unwrap();
    let (prefilter, left) = Prefilter::split_log(&log);
    let pipeline = Pipeline::new(&left, NOW_NS).unwrap();
    let mut stages = pipeline.for_stream(&LabelSet::from_pairs([("app", "web")]));
    let scan = LogScan {
        range: TimeRange::new(0, i64::MAX),
        direction,
        limit,
        prefilter: &prefilter,
        hashes: true,
        pushdown: Pushdown::On,
    };
    let mut lines = Vec::new();
    let mut sink = |row: LogRow<'_>| {
        lines.push((
            row.timestamp_ns,
            row.line.to_vec(),
            row.labels.merged().to_string(),
        ));
        ControlFlow::Continue(())
    };
    with_context(|context| scan_logs(sources, &scan, &mut stages, context, &mut sink)).unwrap();
    lines
}
