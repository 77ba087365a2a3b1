//! Each stage alone over lines as services write them: lines and bytes per second on one core.
//!
//! `cargo bench -p logql --bench stages`

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use logql::metric::leaf_contexts;
use logql::pipeline::{Extractor, Pipeline};
use logql::syntax::ast::Expr;
use model::LabelSet;

const LINES: usize = 2000;
const NOW_NS: i64 = 1_768_435_200_000_000_000;

fn main() {
    divan::main();
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % n
    }
}

fn lines(mut line: impl FnMut(&mut Numbers) -> String) -> Vec<String> {
    let mut numbers = Numbers(7);
    (0..LINES).map(|_| line(&mut numbers)).collect()
}

const LEVELS: [&str; 4] = ["info", "info", "warn", "error"];
const PATHS: [&str; 3] = ["/api/v1/items", "/api/v1/users/42", "/search?q=log+lines"];

fn pick<'a>(from: &[&'a str], numbers: &mut Numbers) -> &'a str {
    from.get(numbers.below(from.len() as u64) as usize)
        .copied()
        .unwrap_or_default()
}

fn logfmt() -> Vec<String> {
    lines(|n| {
        format!(
            "ts=2026-01-15T00:33:16.{:03}Z level={} caller=http.go:{} msg=\"request completed\" \
             method=GET path=\"{}\" status={} duration={}ms size={} user=user{} traceID={:016x}",
            n.below(1000),
            pick(&LEVELS, n),
            n.below(400),
            pick(&PATHS, n),
            200 + n.below(400),
            n.below(5000),
            n.below(100_000),
            n.below(500),
            n.below(u64::MAX)
        )
    })
}

fn json() -> Vec<String> {
    lines(|n| {
        format!(
            "{{\"ts\":\"2026-01-15T00:33:16.{:03}Z\",\"level\":\"{}\",\"logger\":\"http.access\",\
             \"msg\":\"request completed\",\"request\":{{\"method\":\"GET\",\"path\":\"{}\",\"host\":\
             \"shop.example.com\"}},\"status\":{},\"duration_ms\":{},\"size\":{},\"user\":\"user{}\",\
             \"trace_id\":\"{:016x}\"}}",
            n.below(1000),
            pick(&LEVELS, n),
            pick(&PATHS, n),
            200 + n.below(400),
            n.below(5000),
            n.below(100_000),
            n.below(500),
            n.below(u64::MAX)
        )
    })
}

fn access() -> Vec<String> {
    lines(|n| {
        format!(
            "10.{}.{}.{} - - [15/Jan/2026:00:33:16 +0000] \"GET {} HTTP/1.1\" {} {} \
             \"https://shop.example.com/\" \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\" {}",
            n.below(256),
            n.below(256),
            n.below(256),
            pick(&PATHS, n),
            200 + n.below(400),
            n.below(100_000),
            n.below(1000)
        )
    })
}

fn counted<'a, 'b>(bencher: Bencher<'a, 'b>, lines: &[String]) -> Bencher<'a, 'b> {
    let bytes: usize = lines.iter().map(String::len).sum();
    bencher
        .counter(BytesCount::new(bytes))
        .counter(ItemsCount::new(lines.len()))
}

fn stream() -> LabelSet {
    LabelSet::from_pairs([("app", "shop"), ("env", "prod"), ("pod", "shop-7d9c-x2")])
}

/// Runs stages over lines.
fn stages(bencher: Bencher<'_, '_>, lines: &[String], stages: &str) {
    let log = logql::syntax::parse_log(&format!("{{app=\"shop\"}} {stages}"));
    let pipeline = log.map(|log| Pipeline::new(&log, NOW_NS));
    let Ok(Ok(pipeline)) = pipeline else {
        return;
    };
    let mut rows = pipeline.for_stream(&stream());
    let metadata = LabelSet::from_pairs([("detected_level", "info")]);
    counted(bencher, lines).bench_local(|| {
        for line in lines {
            black_box(rows.process(NOW_NS, line.as_bytes(), &metadata));
        }
    });
}

/// Takes samples from lines.
fn samples(bencher: Bencher<'_, '_>, lines: &[String], query: &str) {
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
    counted(bencher, lines).bench_local(|| {
        for line in lines {
            black_box(rows.process(NOW_NS, line.as_bytes(), &metadata).is_some());
        }
    });
}

#[divan::bench]
fn no_stage(bencher: Bencher<'_, '_>) {
    stages(bencher, &logfmt(), "");
}

#[divan::bench(args = [
    r#"|= "no such text""#,
    r#"|= "level=error""#,
    r#"!= "level=error""#,
    r#"|= "panic" or "fatal" or "oops""#,
])]
fn line_filter(bencher: Bencher<'_, '_>, filter: &str) {
    stages(bencher, &logfmt(), filter);
}

#[divan::bench(args = [
    r#"|~ "level=(error|warn)""#,
    r#"|~ "(?i)LEVEL=ERROR""#,
    r#"|~ "(?i)panic|fatal""#,
    r#"|~ "status=5\\d\\d""#,
])]
fn regex_filter(bencher: Bencher<'_, '_>, filter: &str) {
    stages(bencher, &logfmt(), filter);
}

#[divan::bench(args = [r#"|> "<_> level=error <_>""#, r#"|= ip("10.0.0.0/16")"#])]
fn other_filter(bencher: Bencher<'_, '_>, filter: &str) {
    stages(bencher, &access(), filter);
}

#[divan::bench(args = [
    "sum by (level) (rate({a=\"b\"} | logfmt [1m]))",
    "sum by (status) (rate({a=\"b\"} | logfmt status=\"status\" [1m]))",
    "sum(sum_over_time({a=\"b\"} | logfmt | unwrap duration(duration) [1m]))",
])]
fn logfmt_one_field(bencher: Bencher<'_, '_>, query: &str) {
    samples(bencher, &logfmt(), query);
}

#[divan::bench(args = ["| logfmt", "| logfmt | level=\"error\"", "| logfmt | status >= 500"])]
fn logfmt_all(bencher: Bencher<'_, '_>, stage: &str) {
    stages(bencher, &logfmt(), stage);
}

#[divan::bench(args = [
    "sum by (level) (rate({a=\"b\"} | json [1m]))",
    "sum by (status) (rate({a=\"b\"} | json [1m]))",
    "sum by (path) (rate({a=\"b\"} | json path=\"request.path\" [1m]))",
    "sum(sum_over_time({a=\"b\"} | json | unwrap duration_ms [1m]))",
])]
fn json_one_field(bencher: Bencher<'_, '_>, query: &str) {
    samples(bencher, &json(), query);
}

#[divan::bench(args = ["| json", "| json | level=\"error\"", "| json | status >= 500"])]
fn json_all(bencher: Bencher<'_, '_>, stage: &str) {
    stages(bencher, &json(), stage);
}

#[divan::bench]
fn pattern(bencher: Bencher<'_, '_>) {
    let query = r#"sum by (status) (rate({a="b"} | pattern "<_> - - [<_>] \"<method> <path> <_>\" <status> <_>" [1m]))"#;
    samples(bencher, &access(), query);
}

#[divan::bench]
fn regexp(bencher: Bencher<'_, '_>) {
    let query = r#"sum by (status) (rate({a="b"} | regexp "\" (?P<status>\\d{3}) " [1m]))"#;
    samples(bencher, &access(), query);
}

#[divan::bench(args = [
    "| line_format \"{{.app}} {{.pod}}: {{__line__}}\"",
    "| line_format \"{{.app}} {{.detected_level | upper}}\"",
])]
fn line_format(bencher: Bencher<'_, '_>, stage: &str) {
    stages(bencher, &logfmt(), stage);
}

#[divan::bench(args = ["| label_format app=`{{.app}}-{{.env}}`", "| drop pod", "| decolorize"])]
fn labels(bencher: Bencher<'_, '_>, stage: &str) {
    stages(bencher, &logfmt(), stage);
}
