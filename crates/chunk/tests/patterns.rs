//! Patterns of lines that are not put together.
#![allow(clippy::unwrap_used, reason = "in tests a failure is a panic")]

use std::collections::BTreeMap;

use bytes::Bytes;
use chunk::{EncodeOptions, LinesPolicy, ObjectMeta, Piece, VARIABLE, put_pattern};
use model::{Entries, LabelSet};

mod sample;
use sample::encode;
use sample::lines::{Kind, lines};

const ROWS: usize = 3000;

fn structured(lines: &[String]) -> chunk::EncodedBlock {
    let mut entries = Entries::default();
    for (row, line) in lines.iter().enumerate() {
        entries.push(row as i64, line.as_bytes(), &LabelSet::default());
    }
    let options = EncodeOptions {
        lines: LinesPolicy::Structured,
        ..EncodeOptions::default()
    };
    encode(&[(LabelSet::default(), entries)], &options)
}

/// Whether a line is its pattern with something in place of each mark.
fn fits(pattern: &[u8], line: &[u8]) -> bool {
    let mut parts: Vec<&[u8]> = pattern.split(|byte| *byte == VARIABLE).collect();
    let last = parts.pop().unwrap();
    if parts.is_empty() {
        return last == line;
    }
    let Some(mut rest) = line.strip_prefix(parts.remove(0)) else {
        return false;
    };
    for part in parts {
        let at = (0..=rest.len()).find(|at| rest[*at..].starts_with(part));
        let Some(at) = at else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn lines_fit_their_patterns_whatever_they_are() {
    for kind in Kind::ALL {
        let mut lines = lines(kind, ROWS, 3);
        lines.push("\u{1} fits no template".to_owned());
        let block = structured(&lines).open();
        let patterns = block.patterns().unwrap();
        for (row, line) in lines.iter().enumerate() {
            let pattern = patterns.get(patterns.number(row));
            let shown = String::from_utf8_lossy(pattern);
            assert!(fits(pattern, line.as_bytes()), "{kind:?} {line}: {shown}");
        }
        assert!(patterns.count() < ROWS / 4, "{kind:?}");
    }
}

#[test]
fn words_are_told_apart_and_counted_as_in_lines() {
    let levels = ["info", "warn", "error"];
    let line = |row: usize| {
        let level = levels[row % 3];
        match row % 2 {
            0 => format!(
                "level={level} msg=\"user {row} came from 10.0.{}.1\"",
                row % 250
            ),
            _ => format!(
                "took {}ms of {level} at 2026-01-0{}",
                row * row,
                row % 9 + 1
            ),
        }
    };
    let lines: Vec<String> = (0..ROWS).map(line).collect();
    let block = structured(&lines).open();
    let patterns = block.patterns().unwrap();
    let (mut found, mut expected) = (BTreeMap::new(), BTreeMap::new());
    for (row, line) in lines.iter().enumerate() {
        let pattern = patterns.get(patterns.number(row)).to_vec();
        *found.entry(pattern).or_insert(0) += 1;
        let mut pattern = Vec::new();
        put_pattern(line.as_bytes(), &mut pattern);
        *expected.entry(pattern).or_insert(0) += 1;
    }
    assert_eq!(found, expected);
    assert_eq!(found.len(), 6);
}

#[test]
fn what_is_fetched_is_enough_and_less_than_all() {
    let lines = lines(Kind::Access, 20_000, 5);
    let mut writer = chunk::ObjectWriter::new(7);
    writer.add_block(structured(&lines));
    let object: Vec<u8> = writer.finish().unwrap().pieces.concat();
    let object = Bytes::from(object);
    let meta = ObjectMeta::parse_object(&object).unwrap();
    let meta = meta.block(0).unwrap();
    let ranges = meta.patterns_ranges().unwrap();
    let fetched: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    let body = meta.body_range();
    assert!(fetched * 2 < body.end - body.start, "{fetched} of {body:?}");
    let pieces = ranges.iter().map(|range| Piece {
        offset: range.start,
        bytes: object.slice(range.start as usize..range.end as usize),
    });
    let block = chunk::Block::new(meta, pieces.collect());
    assert_eq!(block.patterns().unwrap().number(0), 0);
    let times = block.rows(0, chunk::Projection::TIMESTAMPS, None).unwrap();
    assert_eq!(times.len(), lines.len());
}
