//! Structured layouts give back their rows, whatever these are.
#![allow(clippy::unwrap_used, reason = "in tests a failure is a panic")]

use std::sync::Arc;

use chunk::{Block, EncodeOptions, EncodedBlock, Layout, LinesPolicy, Piece, Projection};
use model::{Entries, LabelSet, TimeRange};
use proptest::prelude::*;

mod sample;
use sample::lines::{Kind, lines};
use sample::{Stream, encode};

fn options() -> EncodeOptions {
    EncodeOptions {
        lines: LinesPolicy::Structured,
        ..EncodeOptions::default()
    }
}

fn entries<L: AsRef<[u8]>>(lines: impl IntoIterator<Item = L>) -> Entries {
    let mut entries = Entries::default();
    for (row, line) in lines.into_iter().enumerate() {
        entries.push(row as i64, line.as_ref(), &LabelSet::default());
    }
    entries
}

fn streams(runs: Vec<Entries>) -> Vec<Stream> {
    let labels = |n: usize| LabelSet::from_pairs([("run", n.to_string())]);
    let runs = runs.into_iter().filter(|entries| !entries.is_empty());
    runs.enumerate()
        .map(|(n, rows)| (labels(n), rows))
        .collect()
}

fn expect_rows(block: &Block, streams: &[Stream]) {
    for (run, (_, entries)) in streams.iter().enumerate() {
        let rows = block.rows(run, Projection::ALL, None).unwrap();
        assert_eq!(rows.line_ends(), entries.line_ends());
        assert!(rows.lines() == entries.lines(), "run {run}");
    }
}

fn round_trip(runs: Vec<Entries>) -> EncodedBlock {
    let streams = streams(runs);
    let block = encode(&streams, &options());
    expect_rows(&block.open(), &streams);
    block
}

#[test]
fn log_lines_come_back_structured() {
    for kind in Kind::ALL {
        let block = round_trip(vec![entries(lines(kind, 3_000, 1))]);
        let expected = match kind {
            Kind::Json | Kind::NestedJson | Kind::Mixed => Layout::Json,
            _ => Layout::Text,
        };
        assert_eq!(block.meta().layout(), expected, "{kind:?}");
        let runs = (0..20).map(|seed| entries(lines(kind, seed * 17 % 50, seed as u64)));
        round_trip(runs.collect());
    }
}

#[test]
fn edges_come_back() {
    let long = "x1 ".repeat(600);
    let deep = format!("{}1{}", "{\"a\":".repeat(40), "}".repeat(40));
    let wide: String = (0..600).map(|n| format!("\"k{n}\":{n},")).collect();
    let wide = format!("{{{wide}\"end\":true}}");
    let edges = [
        "",
        "\u{1}",
        "\u{4}\u{4}",
        "a \u{1} b 5",
        "5",
        "5 5",
        "\"\"",
        "=",
        "a=",
        "=1=2",
        "{}",
        "{\"\":\"\"}",
        "\\\"",
        "\\\"x\\\"",
        "{\"a\":1}\u{2}",
        "1:2:3",
        "00:00:00",
        "18446744073709551616",
        &long,
        &deep,
        &wide,
    ];
    for edge in edges {
        round_trip(vec![entries([edge])]);
        round_trip(vec![entries([edge; 40])]);
        let numbered: Vec<String> = (0..60).map(|n| format!("{edge}{n}")).collect();
        round_trip(vec![entries(numbered)]);
    }
    round_trip(vec![entries(edges), entries(edges), entries(["", ""])]);
}

#[test]
fn too_many_templates_and_columns_are_kept_as_they_are() {
    let letters = |n: usize| -> String {
        (0..4)
            .map(|at| (b'a' + (n / 26usize.pow(at) % 26) as u8) as char)
            .collect()
    };
    let templates: Vec<String> = (0..20_000).map(|n| format!("{} {n}", letters(n))).collect();
    round_trip(vec![entries(&templates)]);
    let keys: Vec<String> = (0..9_000)
        .map(|n| format!("{{\"{}\":{n},\"a\":\"b\"}}", letters(n)))
        .collect();
    round_trip(vec![entries(&keys)]);
}

#[test]
fn lines_without_structure_stay_plain() {
    let noise = (0..20_000u32).map(|n| format!("\u{1}{:x}", n.wrapping_mul(2_654_435_761)));
    let streams = streams(vec![entries(noise)]);
    for lines in [LinesPolicy::Structured, LinesPolicy::Probe] {
        let block = encode(&streams, &EncodeOptions { lines, ..options() });
        assert_eq!(block.meta().layout(), Layout::Plain);
    }
    let probe = EncodeOptions {
        lines: LinesPolicy::Probe,
        ..options()
    };
    let streams = self::streams(vec![entries(lines(Kind::Json, 5_000, 3))]);
    assert_eq!(encode(&streams, &probe).meta().layout(), Layout::Json);
}

/// Values and texts that are nearly what some kind of column takes.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,3}",
        "[0-9]{1,20}",
        "-?[0-9]{1,2}\\.[0-9]{0,3}",
        "[0-9]{1,3}(\\.[0-9]{1,3}){3}",
        "[0-9a-f]{16}",
        "[0-9A-F]{8}-[0-9A-F]{4}",
        "20[0-9]{2}-[01][0-9]-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}",
        "[a-z]{1,5}",
        "[ =\"\\\\{}\\[\\],:;/.-]{1,3}",
        "\\PC{0,4}",
        "true|false|null",
        "\"[a-z0-9 \\\\]{0,8}\"",
        "\"[a-c]\":",
    ]
}

fn hostile_line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(piece(), 0..8).prop_map(|pieces| pieces.concat().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..20),
        prop::collection::vec(0u8..6, 0..6),
    ]
}

/// Few templates, many lines: columns get long enough for every kind.
fn hostile_lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let shapes = prop::collection::vec(prop::collection::vec("[a-z ={\"]{1,4}", 1..4), 1..3);
    let rows = prop::collection::vec((any::<usize>(), prop::collection::vec(piece(), 4)), 0..80);
    let shaped = (shapes, rows).prop_map(|(shapes, rows)| {
        let line = |(shape, pieces): (usize, Vec<String>)| {
            let shape = &shapes[shape % shapes.len()];
            let parts = shape.iter().zip(&pieces);
            parts
                .flat_map(|(text, piece)| [text.as_bytes(), piece.as_bytes()].concat())
                .collect()
        };
        rows.into_iter().map(line).collect()
    });
    prop_oneof![shaped, prop::collection::vec(hostile_line(), 0..60)]
}

proptest! {
    #[test]
    fn any_lines_come_back(runs in prop::collection::vec(hostile_lines(), 1..4)) {
        if runs.iter().any(|lines| !lines.is_empty()) {
            round_trip(runs.into_iter().map(entries).collect());
        }
    }

    #[test]
    fn a_part_is_the_same_rows(
        kind in prop::sample::select(&Kind::ALL[..]),
        rows in 1..400usize,
        start in 0..400i64,
        len in 0..400i64,
        several: bool,
    ) {
        let all = entries(lines(kind, rows, 7));
        let streams = streams(if several { vec![all.clone(), all] } else { vec![all] });
        let encoded = encode(&streams, &options());
        let range = TimeRange::new(start, start + len);
        for projection in [Projection::ALL, Projection::LENGTHS, Projection::TIMESTAMPS] {
            let run = streams.len() - 1;
            let fetched = encoded.meta().fetch_ranges(projection, &[run], Some(range));
            let pieces = fetched.into_iter().map(|part| Piece {
                offset: part.start,
                bytes: encoded.body().slice(part.start as usize..part.end as usize),
            });
            let block = Block::new(Arc::clone(encoded.meta()), pieces.collect());
            let found = block.rows(run, projection, Some(range)).unwrap();
            let inside = streams[run].1.select((0..rows).filter(|row| range.contains(*row as i64)));
            prop_assert_eq!(found.timestamps_ns(), inside.timestamps_ns());
            if projection.lines {
                prop_assert!(found.lines() == inside.lines());
            }
            if projection.lengths {
                prop_assert_eq!(found.line_ends(), inside.line_ends());
            }
        }
    }
}
