//! Blocks of lines as services write them: bytes of lines encoded, decoded and searched per second
//! on one core.
//!
//! `cargo bench -p chunk --bench blocks`
#![allow(clippy::unwrap_used, reason = "a benchmark that fails ends")]

use std::fmt;

use chunk::{
    Block, EncodeOptions, EncodedBlock, LinesPolicy, Needle, Projection, Run, encode_block,
};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use model::{Entries, LabelSet};

/// Raw bytes of a block.
const BLOCK_BYTES: usize = 4 << 20;
const START_NS: i64 = 1_768_435_200_000_000_000;

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

    fn hex(&mut self) -> u64 {
        self.below(1 << 31) << 31 | self.below(1 << 31)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Json,
    Logfmt,
    Access,
    Words,
}

const KINDS: [Kind; 4] = [Kind::Json, Kind::Logfmt, Kind::Access, Kind::Words];
const LEVELS: [&str; 5] = ["info", "info", "info", "warn", "error"];
const MESSAGES: [&str; 6] = [
    "request completed",
    "cache miss for key",
    "connection reset by peer",
    "retrying after timeout",
    "user logged in",
    "payment accepted",
];
const PATHS: [&str; 4] = [
    "/api/v1/items",
    "/api/v1/users",
    "/search",
    "/static/app.js",
];

impl Kind {
    fn line(self, n: &mut Numbers) -> String {
        match self {
            Self::Json => format!(
                "{{\"ts\":\"2026-01-15T00:33:16.{:06}Z\",\"level\":\"{}\",\"msg\":\"{}\",\
                 \"status\":{},\"duration_ms\":{}.{},\"user_id\":{},\"trace_id\":\"{:032x}\",\
                 \"path\":\"{}/{}\"}}",
                n.below(1_000_000),
                n.pick(&LEVELS),
                n.pick(&MESSAGES),
                200 + n.below(5) * 100,
                n.below(900),
                n.below(10),
                n.below(50_000),
                n.hex(),
                n.pick(&PATHS),
                n.below(3000),
            ),
            Self::Logfmt => format!(
                "ts=2026-01-15T00:33:16.{:03}Z level={} caller=http.go:{} msg=\"{}\" method=GET \
                 path=\"{}\" status={} duration={}ms user=user{} traceID={:016x}",
                n.below(1000),
                n.pick(&LEVELS),
                n.below(400),
                n.pick(&MESSAGES),
                n.pick(&PATHS),
                200 + n.below(400),
                n.below(5000),
                n.below(500),
                n.hex(),
            ),
            Self::Access => format!(
                "10.{}.{}.{} - - [15/Jan/2026:00:33:{:02} +0000] \"GET {}/{} HTTP/1.1\" {} {} \
                 \"-\" \"Mozilla/5.0 (X11; Linux x86_64) rv:{}.0\"",
                n.below(4),
                n.below(40),
                n.below(200),
                n.below(60),
                n.pick(&PATHS),
                n.below(900),
                200 + n.below(4) * 100,
                n.below(90_000),
                90 + n.below(30),
            ),
            Self::Words => format!(
                "I0115 00:33:16.{:06} {:7} controller.go:{}] {} worker {} of queue {} ({} waiting)",
                n.below(1_000_000),
                n.below(30_000),
                n.below(900),
                n.pick(&MESSAGES),
                n.below(16),
                n.pick(&["default", "ingest", "mail"]),
                n.below(1000),
            ),
        }
    }

    fn entries(self) -> Entries {
        let (mut entries, mut numbers) = (Entries::default(), Numbers(7));
        let mut time_ns = START_NS;
        while entries.lines().len() < BLOCK_BYTES {
            time_ns += numbers.below(3_000_000) as i64;
            let line = self.line(&mut numbers);
            assert!(entries.push(time_ns, line.as_bytes(), &LabelSet::default()));
        }
        entries
    }

    fn block(self, lines: LinesPolicy) -> (EncodedBlock, usize) {
        let entries = self.entries();
        (encode(&entries, lines), entries.lines().len())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

fn encode(entries: &Entries, lines: LinesPolicy) -> EncodedBlock {
    let labels = LabelSet::from_pairs([("app", "bench")]);
    let run = Run::new(&labels, entries);
    let options = EncodeOptions {
        lines,
        ..EncodeOptions::default()
    };
    encode_block(&[run], &options).unwrap()
}

fn encoding(bencher: Bencher<'_, '_>, kind: Kind, lines: LinesPolicy) {
    let entries = kind.entries();
    let raw = entries.lines().len();
    bencher
        .counter(BytesCount::new(raw))
        .bench_local(|| encode(black_box(&entries), lines));
}

#[divan::bench(args = KINDS)]
fn encode_structured(bencher: Bencher<'_, '_>, kind: Kind) {
    encoding(bencher, kind, LinesPolicy::Structured);
}

#[divan::bench(args = KINDS)]
fn encode_plain(bencher: Bencher<'_, '_>, kind: Kind) {
    encoding(bencher, kind, LinesPolicy::Plain);
}

#[divan::bench(args = KINDS)]
fn decode_structured(bencher: Bencher<'_, '_>, kind: Kind) {
    let (block, raw) = kind.block(LinesPolicy::Structured);
    bencher
        .counter(BytesCount::new(raw))
        .bench_local(|| block.open().rows(0, Projection::ALL, None).unwrap());
}

/// A block that nothing was decoded of before.
fn search(bencher: Bencher<'_, '_>, kind: Kind, needle: &str) {
    let (block, raw) = kind.block(LinesPolicy::Structured);
    let needle = Needle::new(needle);
    let opened = |block: &EncodedBlock| -> Block { block.open() };
    bencher
        .counter(BytesCount::new(raw))
        .bench_local(|| opened(&block).find_rows(black_box(&needle)).unwrap());
}

#[divan::bench(args = KINDS)]
fn search_absent_word(bencher: Bencher<'_, '_>, kind: Kind) {
    search(bencher, kind, "zweiundvierzig");
}

#[divan::bench(args = KINDS)]
fn search_absent_id(bencher: Bencher<'_, '_>, kind: Kind) {
    search(bencher, kind, "4bf92f3577b34da6a3ce929d0e0e4736");
}

#[divan::bench(args = KINDS)]
fn search_frequent_word(bencher: Bencher<'_, '_>, kind: Kind) {
    search(bencher, kind, "timeout");
}

/// A block that was searched before.
#[divan::bench(args = KINDS)]
fn search_again(bencher: Bencher<'_, '_>, kind: Kind) {
    let (block, raw) = kind.block(LinesPolicy::Structured);
    let (block, needle) = (block.open(), Needle::new("timeout"));
    bencher
        .counter(BytesCount::new(raw))
        .bench_local(|| block.find_rows(black_box(&needle)).unwrap());
}
