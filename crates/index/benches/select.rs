//! Label indexes: series selected per call on one core, of a day with 100,000 series of 20 labels.
//!
//! `cargo bench -p index --bench select`
#![allow(clippy::unwrap_used, reason = "a benchmark that fails ends")]

use std::fmt;
use std::sync::LazyLock;

use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use index::{Index, IndexBuilder, ObjectEntry, RunStats};
use model::{LabelSet, MatchOp, Matcher, TimeRange};

const SERIES: u32 = 100_000;
const BLOCKS_PER_SERIES: u32 = 3;
const MINUTE_NS: i64 = 60_000_000_000;

/// Built once: that takes longer than all that is measured.
static FILE: LazyLock<Bytes> = LazyLock::new(|| builder().build().unwrap());

fn main() {
    divan::main();
}

/// What a query asks of streams.
#[derive(Clone, Copy)]
struct Selector {
    name: &'static str,
    op: MatchOp,
    value: &'static str,
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.matcher())
    }
}

impl Selector {
    fn matcher(self) -> Matcher {
        Matcher::new(self.name, self.op, self.value).unwrap()
    }
}

const fn selector(name: &'static str, op: MatchOp, value: &'static str) -> Selector {
    Selector { name, op, value }
}

/// From one series to nearly all, from one value to all of a label.
const SELECTORS: [Selector; 5] = [
    selector("pod", MatchOp::Equal, "pod-0001869f"),
    selector("namespace", MatchOp::Equal, "namespace-3"),
    selector("namespace", MatchOp::Regex, "namespace-3|namespace-4"),
    selector("pod", MatchOp::Regex, "pod-.*77"),
    selector("pod", MatchOp::NotEqual, "pod-1"),
];

/// An index that was just fetched: nothing of it is decoded yet.
#[divan::bench(args = SELECTORS)]
fn select_cold(bencher: Bencher<'_, '_>, selector: Selector) {
    let matchers = [selector.matcher()];
    bencher
        .with_inputs(|| Index::parse(FILE.clone()).unwrap())
        .bench_refs(|index| index.select(black_box(&matchers), &|| true).unwrap().len());
}

/// An index that is in the cache.
#[divan::bench(args = SELECTORS)]
fn select_warm(bencher: Bencher<'_, '_>, selector: Selector) {
    let (index, matchers) = (Index::parse(FILE.clone()).unwrap(), [selector.matcher()]);
    index.select(&matchers, &|| true).unwrap();
    bencher.bench(|| index.select(black_box(&matchers), &|| true).unwrap().len());
}

/// What `index/stats` and volumes need.
#[divan::bench]
fn stats_of_all(bencher: Bencher<'_, '_>) {
    let index = Index::parse(FILE.clone()).unwrap();
    let range = TimeRange::new(0, 12 * MINUTE_NS);
    bencher
        .counter(ItemsCount::new(SERIES))
        .bench(|| index.stats(&index.all(), black_box(range)).unwrap());
}

/// The labels of every series of an index that was just fetched.
#[divan::bench]
fn labels_of_all(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(SERIES))
        .with_inputs(|| Index::parse(FILE.clone()).unwrap())
        .bench_refs(|index| {
            for series in 0..index.series_count() {
                black_box(index.series(series).unwrap());
            }
        });
}

/// The values of a label of which each series has another.
#[divan::bench]
fn label_values(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(SERIES))
        .with_inputs(|| Index::parse(FILE.clone()).unwrap())
        .bench_refs(|index| index.label_values("pod", None, &|| true).unwrap().len());
}

fn builder() -> IndexBuilder {
    let mut builder = IndexBuilder::new();
    for id in 0..50u128 {
        builder.add_object(ObjectEntry {
            id,
            key: format!("data/{id}"),
            ..ObjectEntry::default()
        });
    }
    for series in 0..SERIES {
        for block in 0..BLOCKS_PER_SERIES {
            let min_ts_ns = i64::from(series % 1000) * 1_000_000_007;
            let run = RunStats {
                run: series % 100,
                min_ts_ns,
                max_ts_ns: min_ts_ns + 10 * MINUTE_NS,
                rows: 1000,
                raw_bytes: 120_000,
            };
            builder.add_block(&labels(series), block * 7, series / 100, run);
        }
    }
    builder
}

fn labels(series: u32) -> LabelSet {
    let common = (0..16u32).map(|n| {
        let value = format!("value-{}", series % (n * n + 1));
        (format!("label_{n:02}"), value)
    });
    let own = [
        ("pod", format!("pod-{series:08x}")),
        ("namespace", format!("namespace-{}", series / 10_000)),
        ("service_name", format!("service-{}", series / 100)),
        ("cluster", "one".to_owned()),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value));
    LabelSet::from_pairs(common.chain(own))
}
