//! Measures an index of 100,000 series with 20 labels: `cargo run --release -p index --example index_speed`

use std::error::Error;
use std::time::Instant;

use index::{Index, IndexBuilder, ObjectEntry, RunStats};
use model::{LabelSet, MatchOp, Matcher, TimeRange};

fn main() -> Result<(), Box<dyn Error>> {
    let mut builder = IndexBuilder::new();
    for id in 0..50u128 {
        builder.add_object(ObjectEntry {
            id,
            key: format!("data/{id}"),
            ..ObjectEntry::default()
        });
    }
    let start = Instant::now();
    for series in 0..100_000u32 {
        for block in 0..3 {
            let min_ts_ns = i64::from(series % 1000) * 1_000_000_007;
            let max_ts_ns = min_ts_ns + 600_000_000_000;
            let run = RunStats {
                run: series % 100,
                min_ts_ns,
                max_ts_ns,
                rows: 1000,
                raw_bytes: 120_000,
            };
            builder.add_block(&labels(series), block * 7, series / 100, run);
        }
    }
    println!("add: {:?}", start.elapsed());
    let start = Instant::now();
    let file = builder.build()?;
    println!("build: {:?}, {} bytes", start.elapsed(), file.len());
    let start = Instant::now();
    let index = Index::parse(file.clone())?;
    let parse = start.elapsed();
    for (name, op, value) in [
        ("pod", MatchOp::Equal, "pod-0001869f"),
        ("namespace", MatchOp::Equal, "namespace-3"),
        ("namespace", MatchOp::Regex, "namespace-3|namespace-4"),
        ("pod", MatchOp::Regex, "pod-.*77"),
        ("pod", MatchOp::NotEqual, "pod-1"),
    ] {
        let fresh = Index::parse(file.clone())?;
        let matchers = [Matcher::new(name, op, value)?];
        let start = Instant::now();
        let selected = fresh.select(&matchers)?;
        let cold = start.elapsed();
        let start = Instant::now();
        fresh.select(&matchers)?;
        println!(
            "select {}: {} series, cold {cold:?}, warm {:?}",
            matchers[0],
            selected.len(),
            start.elapsed()
        );
    }
    println!("parse: {parse:?}");
    let start = Instant::now();
    let stats = index.stats(&index.all(), TimeRange::new(0, 700_000_000_000))?;
    println!("stats of all: {:?} {stats:?}", start.elapsed());
    let start = Instant::now();
    for series in 0..index.series_count() {
        index.series(series)?;
    }
    println!(
        "labels of all: {:?}, {} bytes held",
        start.elapsed(),
        index.heap_bytes()
    );
    let start = Instant::now();
    let values = index.label_values("pod", None)?.len();
    println!("label values: {:?}, {values}", start.elapsed());
    Ok(())
}

fn labels(series: u32) -> LabelSet {
    let mut pairs: Vec<(String, String)> = (0..16)
        .map(|n| {
            (
                format!("label_{n:02}"),
                format!("value-{}", series % (n * n + 1)),
            )
        })
        .collect();
    pairs.push(("pod".into(), format!("pod-{series:08x}")));
    pairs.push(("namespace".into(), format!("namespace-{}", series / 10_000)));
    pairs.push(("service_name".into(), format!("service-{}", series / 100)));
    pairs.push(("cluster".into(), "one".into()));
    LabelSet::from_pairs(pairs)
}
