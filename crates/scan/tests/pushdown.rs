//! What structured blocks tell without putting lines together is what the pipeline says about every
//! line.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failure is a panic"
)]

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use chunk::{EncodeOptions, LinesPolicy, Projection, Run, encode_block};
use logql::pipeline::{Extractor, Pipeline};
use logql::syntax::ast::Expr;
use model::{Budget, Direction, Entries, LabelSet, TimeRange};
use proptest::prelude::*;
use proptest::sample::select;
use scan::{
    Context, LogRow, LogScan, Prefilter, SampleScan, SampleShape, SampleSink, ScanError, ScanStats,
    Source, Span, Values, scan_logs, scan_samples,
};

const NOW_NS: i64 = 1_000_000;
/// Rows of the same step are added up by counters at once.
const STEP: i64 = 40;

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec![
            "200", "404", "500", "-1", "12.5", "007", "1e3", "3ms", "true", "null", ""
        ])
        .prop_map(str::to_owned),
        select(vec![
            "GET",
            "get",
            "error",
            "connection refused",
            "a=b",
            "x\\\"y",
            "é",
            "k s"
        ])
        .prop_map(str::to_owned),
        "[a-c]{0,2}",
        (0..1000u32).prop_map(|n| n.to_string()),
        (0..3u8).prop_map(|n| format!("10.0.0.{n}")),
        any::<u32>().prop_map(|n| format!("{n:08x}{n:08x}")),
    ]
}

/// A line of a few layouts; each has fields that some queries read.
fn line() -> impl Strategy<Value = String> {
    let key = || {
        select(vec![
            "status", "method", "msg", "a", "a_b", "level", "dur", "app",
        ])
    };
    let pairs = || prop::collection::vec((key(), value()), 0..6);
    let is_bare = |value: &str| {
        let number = value.parse::<f64>().is_ok() && !value.starts_with('0');
        number || value == "true" || value == "null"
    };
    let member = move |(key, value): &(&str, String)| match is_bare(value) {
        true => format!("\"{key}\":{value}"),
        false => format!("\"{key}\": \"{value}\""),
    };
    let json = (pairs(), pairs(), 0..4u8).prop_map(move |(outer, inner, form)| {
        let join =
            |pairs: &[(&str, String)]| pairs.iter().map(member).collect::<Vec<_>>().join(",");
        match form {
            0 => format!("{{{},\"a\":{{{}}}}}", join(&outer), join(&inner)),
            1 => format!("{{\"list\":[1,{{{}}}],{}", join(&inner), join(&outer)),
            _ => format!("{{{}}}", join(&outer)),
        }
    });
    let pair = move |(key, value): &(&str, String)| {
        let is_word = !value.contains([' ', '"', '\\']);
        if is_word {
            format!("{key}={value}")
        } else {
            format!("{key}=\"{value}\"")
        }
    };
    let logfmt = (pairs(), any::<bool>()).prop_map(move |(pairs, odd)| {
        let all = pairs.iter().map(pair).collect::<Vec<_>>().join(" ");
        if odd { format!("{all} odd, 5 =x") } else { all }
    });
    let text = prop::collection::vec(value(), 0..5).prop_map(|words| words.join(" "));
    prop_oneof![3 => json, 3 => logfmt, 2 => text]
}

fn rows() -> impl Strategy<Value = Vec<(i64, String, LabelSet)>> {
    let metadata = prop_oneof![
        6 => Just(LabelSet::default()),
        1 => select(vec!["info", "error"]).prop_map(|v| LabelSet::from_pairs([("detected_level", v)])),
        1 => select(vec!["500", "x"]).prop_map(|v| LabelSet::from_pairs([("status", v)])),
    ];
    // Lines are taken from a few, so that templates and values come again.
    let few = prop::collection::vec(line(), 1..8);
    let picks = prop::collection::vec((0..3i64, any::<prop::sample::Index>(), metadata), 1..80);
    (few, picks, prop::collection::vec(line(), 0..6)).prop_map(|(few, picks, more)| {
        let mut time = 0;
        let picked = picks.into_iter().map(|(delta, index, metadata)| {
            time += delta;
            (time, few[index.index(few.len())].clone(), metadata)
        });
        let mut rows: Vec<_> = picked.collect();
        for line in more {
            time += 1;
            rows.push((time, line, LabelSet::default()));
        }
        rows
    })
}

fn line_filters() -> impl Strategy<Value = String> {
    let literal = select(vec![
        "error",
        "GET",
        "status",
        "500",
        "\\\"status\\\":5",
        "a=b",
        "=",
        " ",
        "10.0.0.1",
        "refused",
        "ab",
        "é",
    ]);
    let filter = prop_oneof![
        (select(vec!["|=", "!="]), literal.clone())
            .prop_map(|(op, text)| format!("{op} \"{text}\"")),
        (literal.clone(), literal).prop_map(|(a, b)| format!("|= \"{a}\" or \"{b}\"")),
        select(vec![
            "|~ `(?i)get|ERROR`",
            "!~ `(?i)ks`",
            "|~ `status.*(200|404)`",
            "|~ `[0-9]{3}`",
            "|~ `\"?status`",
            "!~ `^a`",
            "|~ `(?i)K S`",
            "|> `<_>status<_>`",
            "|~ `connection (refused|reset)`",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(filter, 0..3).prop_map(|filters| filters.join(" "))
}

fn parsers() -> impl Strategy<Value = String> {
    select(vec![
        "",
        "",
        "",
        "| json",
        "| json",
        "| logfmt",
        "| logfmt",
        "| logfmt --strict",
        "| logfmt --keep-empty",
        "| json s=\"status\"",
        "| json | logfmt",
        "| regexp `status.(?P<status>[0-9]+)`",
        "| decolorize",
    ])
    .prop_map(str::to_owned)
}

fn label_filters() -> impl Strategy<Value = String> {
    let filter = select(vec![
        "| status >= 300",
        "| status=\"500\"",
        "| method=~\"GET|get\"",
        "| a_b != \"\"",
        "| dur > 10ms",
        "| level=\"error\" or status > 400",
        "| app_extracted=\"a\"",
        "| drop status",
        "| keep method, status",
        "| __error__=\"\"",
        "| detected_level=\"error\"",
        "| a_status=\"500\"",
    ]);
    prop::collection::vec(filter, 0..3).prop_map(|filters| filters.join(" "))
}

fn metric_query() -> impl Strategy<Value = String> {
    let around = select(vec![
        ("sum(", ")"),
        ("sum by (method)(", ")"),
        ("sum by (status, app)(", ")"),
        ("sum by (detected_level)(", ")"),
        ("sum without (a)(", ")"),
        ("", ""),
        ("max by (a_b)(", ")"),
        ("sum by (app_extracted)(", ")"),
    ]);
    let op = select(vec!["count_over_time", "rate", "bytes_over_time"]);
    let unwrap = select(vec![
        "",
        "",
        "| unwrap status",
        "| unwrap duration(dur) | __error__=\"\"",
    ]);
    (
        around,
        op,
        line_filters(),
        parsers(),
        label_filters(),
        unwrap,
    )
        .prop_map(|((open, close), op, lines, parser, labels, unwrap)| {
            let op = if unwrap.is_empty() {
                op
            } else {
                "sum_over_time"
            };
            format!("{open}{op}({{app=\"web\"}} {lines} {parser} {labels} {unwrap} [1m]){close}")
        })
}

fn entries(rows: &[(i64, String, LabelSet)]) -> Entries {
    let mut entries = Entries::default();
    for (time, line, metadata) in rows {
        assert!(entries.push(*time, line.as_bytes(), metadata));
    }
    entries
}

/// The rows as they come, in a block of their own, in one that is shared, and in one of which
/// others have decoded all lines.
fn sources(rows: &[(i64, String, LabelSet)]) -> [Source; 5] {
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
fn overlapping(rows: &mut Vec<(i64, String, LabelSet)>) -> Vec<Source> {
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
struct Sums(BTreeMap<(LabelSet, i64), f64>);

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
fn by_rows(query: &str, rows: &[(i64, String, LabelSet)], range: TimeRange) -> Result<Sums, ()> {
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

fn pushed_down(query: &str, sources: &[Source], range: TimeRange) -> Result<Sums, ()> {
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

type Line = (i64, Vec<u8>, String);

fn lines_by_rows(log: &str, rows: &[(i64, String, LabelSet)]) -> Vec<Line> {
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

fn lines_pushed_down(
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn samples_are_those_of_every_row(
        rows in rows(),
        queries in prop::collection::vec(metric_query(), 8),
        (start, len) in (0..20i64, 1..200i64),
    ) {
        let range = TimeRange::new(start, start + len);
        let sources = sources(&rows);
        for query in &queries {
            let expected = by_rows(query, &rows, range);
            for (number, source) in sources.iter().enumerate() {
                let found = pushed_down(query, std::slice::from_ref(source), range);
                prop_assert_eq!(&found, &expected, "{} in source {}", query, number);
            }
        }
        let mut rows = rows;
        let sources = overlapping(&mut rows);
        for query in &queries {
            let expected = by_rows(query, &rows, range);
            let found = pushed_down(query, &sources, range);
            prop_assert_eq!(&found, &expected, "{} in two blocks", query);
        }
    }

    #[test]
    fn lines_are_those_of_every_row(
        rows in rows(),
        stages in prop::collection::vec((line_filters(), parsers(), label_filters()), 6),
        limit in 0..6usize,
        direction in select(vec![Direction::Forward, Direction::Backward]),
    ) {
        let mut once = rows.clone();
        let (sources, two) = (sources(&rows), overlapping(&mut once));
        for (lines, parser, labels) in &stages {
            let log = format!("{{app=\"web\"}} {lines} {parser} {labels}");
            let expected = |rows: &[(i64, String, LabelSet)]| {
                let mut expected = lines_by_rows(&log, rows);
                if direction == Direction::Backward {
                    expected.reverse();
                }
                if limit > 0 {
                    expected.truncate(limit);
                }
                expected
            };
            let found = lines_pushed_down(&log, &two, direction, limit);
            prop_assert_eq!(found, expected(&once), "{} in two blocks", log);
            let expected = expected(&rows);
            for (number, source) in sources.iter().enumerate() {
                let found = lines_pushed_down(&log, std::slice::from_ref(source), direction, limit);
                prop_assert_eq!(&found, &expected, "{} in source {}", log, number);
            }
        }
    }
}
