//! Each stage alone over lines as services write them: lines and bytes per second on one core.
//!
//! `cargo bench -p logql --bench stages` makes such lines. With `SKALD_BENCH_CORPUS` set to the
//! directory of a corpus that `logbench gen` made, they are lines of that.

mod corpus;
mod made;

use std::sync::OnceLock;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use logql::metric::leaf_contexts;
use logql::pipeline::{Extractor, Pipeline};
use logql::syntax::ast::Expr;
use model::LabelSet;

const NOW_NS: i64 = 1_768_435_200_000_000_000;
/// Bytes of lines of one shape that a stage works on: more than caches of one core hold.
const BYTES: usize = 4 << 20;
/// Names the directory of a corpus.
const CORPUS: &str = "SKALD_BENCH_CORPUS";

fn main() -> std::io::Result<()> {
    if let Some(directory) = std::env::var_os(CORPUS) {
        let lines = corpus::lines(directory.as_ref())?;
        LINES.get_or_init(|| lines);
    }
    println!("lines: {}", lines());
    divan::main();
    Ok(())
}

/// The lines that stages work on.
static LINES: OnceLock<Lines> = OnceLock::new();

fn lines() -> &'static Lines {
    LINES.get_or_init(made::lines)
}

/// Lines by shape.
#[derive(Default)]
struct Lines {
    json: Batch,
    logfmt: Batch,
    /// Of web servers.
    access: Batch,
    /// Of every shape, as they come.
    any: Batch,
}

impl Lines {
    /// Takes a line in where it belongs, while there is room.
    fn add(&mut self, line: &str) {
        let shape = if line.starts_with('{') {
            Some(&mut self.json)
        } else if line.contains(" level=") && line.contains(" msg=") {
            Some(&mut self.logfmt)
        } else if line.contains("] \"") && line.contains(" HTTP/") {
            Some(&mut self.access)
        } else {
            None
        };
        for batch in shape.into_iter().chain([&mut self.any]) {
            batch.add(line);
        }
    }

    fn is_full(&self) -> bool {
        let mut batches = [&self.json, &self.logfmt, &self.access, &self.any].into_iter();
        batches.all(|batch| batch.bytes >= BYTES)
    }
}

impl std::fmt::Display for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let batches = [
            ("json", &self.json),
            ("logfmt", &self.logfmt),
            ("access", &self.access),
            ("any", &self.any),
        ];
        for (name, batch) in batches {
            let mean = batch.bytes / batch.lines.len().max(1);
            write!(f, "{name} {} of {mean} bytes; ", batch.lines.len())?;
        }
        Ok(())
    }
}

/// Some lines.
#[derive(Default)]
struct Batch {
    lines: Vec<String>,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, line: &str) {
        if self.bytes < BYTES {
            self.bytes += line.len();
            self.lines.push(line.to_owned());
        }
    }
}

fn counted<'a, 'b>(bencher: Bencher<'a, 'b>, batch: &Batch) -> Bencher<'a, 'b> {
    bencher
        .counter(BytesCount::new(batch.bytes))
        .counter(ItemsCount::new(batch.lines.len()))
}

fn stream() -> LabelSet {
    LabelSet::from_pairs([("app", "shop"), ("env", "prod"), ("pod", "shop-7d9c-x2")])
}

/// Runs stages over lines.
fn stages(bencher: Bencher<'_, '_>, batch: &Batch, stages: &str) {
    let log = logql::syntax::parse_log(&format!("{{app=\"shop\"}} {stages}"));
    let pipeline = log.map(|log| Pipeline::new(&log, NOW_NS));
    let Ok(Ok(pipeline)) = pipeline else {
        return;
    };
    let mut rows = pipeline.for_stream(&stream());
    let metadata = LabelSet::from_pairs([("detected_level", "info")]);
    counted(bencher, batch).bench_local(|| {
        for line in &batch.lines {
            black_box(rows.process(NOW_NS, line.as_bytes(), &metadata));
        }
    });
}

/// Takes samples from lines.
fn samples(bencher: Bencher<'_, '_>, batch: &Batch, query: &str) {
    let Ok(Expr::Metric(expr)) = logql::syntax::parse(query) else {
        return;
    };
    let leaves = leaf_contexts(&expr);
    let extractors = leaves
        .iter()
        .map(|leaf| Extractor::new(leaf.aggregation, leaf.reduce_to.as_ref(), NOW_NS));
    let Some(Ok(extractor)) = extractors.into_iter().next() else {
        return;
    };
    let mut rows = extractor.for_stream(&stream());
    let metadata = LabelSet::from_pairs([("detected_level", "info")]);
    counted(bencher, batch).bench_local(|| {
        for line in &batch.lines {
            black_box(rows.process(NOW_NS, line.as_bytes(), &metadata).is_some());
        }
    });
}

#[divan::bench]
fn no_stage(bencher: Bencher<'_, '_>) {
    stages(bencher, &lines().any, "");
}

#[divan::bench(args = [
    r#"|= "no such text""#,
    r#"|= "level=error""#,
    r#"!= "level=error""#,
    r#"|= "panic" or "fatal" or "oops""#,
])]
fn line_filter(bencher: Bencher<'_, '_>, filter: &str) {
    stages(bencher, &lines().any, filter);
}

#[divan::bench(args = [
    r#"|~ "(?i)LEVEL=ERROR""#,
    r#"|~ "(?i)panic|fatal""#,
    r#"|~ "(?i)connection (refused|reset)""#,
])]
fn case_insensitive_regex(bencher: Bencher<'_, '_>, filter: &str) {
    stages(bencher, &lines().any, filter);
}

#[divan::bench(args = [r#"|~ "level=(error|warn)""#, r#"|~ "status=5\\d\\d""#])]
fn regex(bencher: Bencher<'_, '_>, filter: &str) {
    stages(bencher, &lines().any, filter);
}

#[divan::bench(args = [r#"|> "<_> level=error <_>""#, r#"|= ip("10.0.0.0/16")"#])]
fn other_filter(bencher: Bencher<'_, '_>, filter: &str) {
    stages(bencher, &lines().any, filter);
}

#[divan::bench(args = [
    "sum by (level) (rate({a=\"b\"} | logfmt [1m]))",
    "sum by (status) (rate({a=\"b\"} | logfmt status=\"status\" [1m]))",
    "sum(sum_over_time({a=\"b\"} | logfmt | unwrap duration_ms [1m]))",
])]
fn logfmt_one_field(bencher: Bencher<'_, '_>, query: &str) {
    samples(bencher, &lines().logfmt, query);
}

#[divan::bench(args = ["| logfmt", "| logfmt | level=\"error\"", "| logfmt | status >= 500"])]
fn logfmt_all(bencher: Bencher<'_, '_>, stage: &str) {
    stages(bencher, &lines().logfmt, stage);
}

#[divan::bench(args = [
    "sum by (level) (rate({a=\"b\"} | json [1m]))",
    "sum by (status) (rate({a=\"b\"} | json [1m]))",
    "sum by (resource) (rate({a=\"b\"} | json resource=\"objectRef.resource\" [1m]))",
    "sum(sum_over_time({a=\"b\"} | json | unwrap duration_ms [1m]))",
])]
fn json_one_field(bencher: Bencher<'_, '_>, query: &str) {
    samples(bencher, &lines().json, query);
}

#[divan::bench(args = ["| json", "| json | level=\"error\"", "| json | status >= 500"])]
fn json_all(bencher: Bencher<'_, '_>, stage: &str) {
    stages(bencher, &lines().json, stage);
}

#[divan::bench]
fn pattern(bencher: Bencher<'_, '_>) {
    let query = r#"sum by (status) (rate({a="b"} | pattern "<_> - - [<_>] \"<method> <path> <_>\" <status> <_>" [1m]))"#;
    samples(bencher, &lines().access, query);
}

#[divan::bench]
fn regexp(bencher: Bencher<'_, '_>) {
    let query = r#"sum by (status) (rate({a="b"} | regexp "\" (?P<status>\\d{3}) " [1m]))"#;
    samples(bencher, &lines().access, query);
}

#[divan::bench(args = [
    "| line_format \"{{.app}} {{.pod}}: {{__line__}}\"",
    "| line_format \"{{.app}} {{.detected_level | upper}}\"",
])]
fn line_format(bencher: Bencher<'_, '_>, stage: &str) {
    stages(bencher, &lines().any, stage);
}

#[divan::bench(args = ["| label_format app=`{{.app}}-{{.env}}`", "| drop pod", "| decolorize"])]
fn labels(bencher: Bencher<'_, '_>, stage: &str) {
    stages(bencher, &lines().any, stage);
}
