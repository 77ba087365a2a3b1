//! A search finds exactly the rows whose line has the literal.
#![allow(clippy::unwrap_used, reason = "in tests a failure is a panic")]

use std::sync::Arc;

use chunk::{
    Block, EncodeOptions, EncodedBlock, LinesPolicy, Needle, ObjectMeta, ObjectWriter, Piece,
    Projection, RowSet, Search,
};
use model::{Entries, LabelSet, TimeRange};
use proptest::prelude::*;

mod sample;
use sample::encode;
use sample::lines::{Kind, Random, lines, lines_of_paths};

fn block(lines: &[String], policy: LinesPolicy) -> EncodedBlock {
    let mut entries = Entries::default();
    for (row, line) in lines.iter().enumerate() {
        entries.push(row as i64, line.as_bytes(), &LabelSet::default());
    }
    let options = EncodeOptions {
        lines: policy,
        ..EncodeOptions::default()
    };
    encode(&[(LabelSet::default(), entries)], &options)
}

fn part(encoded: &EncodedBlock, ranges: Vec<std::ops::Range<u64>>) -> Vec<Piece> {
    let piece = |range: std::ops::Range<u64>| Piece {
        offset: range.start,
        bytes: encoded
            .body()
            .slice(range.start as usize..range.end as usize),
    };
    ranges.into_iter().map(piece).collect()
}

/// Searches with nothing but the bytes that the meta names, then reads the lines found.
fn find_by_parts(encoded: &EncodedBlock, needle: &Needle) -> (RowSet, Vec<Vec<u8>>) {
    let first = part(encoded, encoded.meta().find_ranges(needle).unwrap());
    let block = Block::new(Arc::clone(encoded.meta()), first);
    let rows = block.find_rows(needle).unwrap();
    if rows.is_empty() {
        return (rows, Vec::new());
    }
    let more = part(encoded, block.lines_ranges(&rows).unwrap());
    block.add_pieces(more);
    let found = block.lines_of(&rows).unwrap();
    (rows, found.iter().map(<[u8]>::to_vec).collect())
}

fn search(needle: &Needle) -> Search {
    let mut search = Search::default();
    search.add(vec![needle.clone()], false);
    search
}

fn may_have(encoded: &EncodedBlock, needle: &Needle) -> bool {
    encoded.may_have(&search(needle))
}

fn check(lines: &[String], encoded: &EncodedBlock, open: &Block, text: &str) {
    let expected: Vec<usize> = (0..lines.len())
        .filter(|row| lines[*row].contains(text))
        .collect();
    let needle = Needle::new(text);
    assert!(
        expected.is_empty() || may_have(encoded, &needle),
        "{text:?}"
    );
    let rows = open.find_rows(&needle).unwrap();
    assert_eq!(rows.iter().collect::<Vec<_>>(), expected, "{text:?}");
    let (rows, found) = find_by_parts(encoded, &needle);
    assert_eq!(
        rows.iter().collect::<Vec<_>>(),
        expected,
        "{text:?} by parts"
    );
    if !rows.is_empty() {
        let wanted = expected.iter().map(|row| lines[*row].as_bytes());
        assert!(
            found.iter().map(Vec::as_slice).eq(wanted),
            "lines of {text:?}"
        );
    }
    let fold = |text: &str| {
        text.to_ascii_lowercase()
            .replace('\u{212a}', "k")
            .replace('ſ', "s")
    };
    if let Some(needle) = Needle::any_case(&text.to_ascii_uppercase()) {
        let folded = fold(text);
        let expected: Vec<usize> = (0..lines.len())
            .filter(|row| fold(&lines[*row]).contains(&folded))
            .collect();
        assert!(
            expected.is_empty() || may_have(encoded, &needle),
            "{text:?} in any case"
        );
        let rows = open.find_rows(&needle).unwrap();
        assert_eq!(
            rows.iter().collect::<Vec<_>>(),
            expected,
            "{text:?} in any case"
        );
        assert_eq!(find_by_parts(encoded, &needle).0, rows);
    }
}

/// A part of some line, sometimes with a byte changed.
fn needle(lines: &[String], random: &mut Random) -> String {
    let line = &lines[random.below(lines.len() as u64) as usize];
    let chars: Vec<char> = line.chars().collect();
    let most = [2, 6, 14, 40, 200][random.below(5) as usize]
        .min(chars.len() as u64)
        .max(1);
    let start = random.below(chars.len().max(1) as u64) as usize;
    let len = 1 + random.below(most) as usize;
    let mut text: Vec<char> = chars.into_iter().skip(start).take(len).collect();
    if random.below(4) == 0 && !text.is_empty() {
        let at = random.below(text.len() as u64) as usize;
        text[at] = random
            .of(&["0", "a", "\"", " ", "5", "="])
            .chars()
            .next()
            .unwrap();
    }
    text.into_iter().collect()
}

#[test]
fn parts_of_lines_are_found_where_they_are() {
    for kind in Kind::ALL {
        for (rows, seed) in [(700, 3), (40, 9), (7, 1)] {
            let lines = lines(kind, rows, seed);
            let encoded = block(&lines, LinesPolicy::Structured);
            let open = encoded.open();
            let mut random = Random(seed * 77 + 1);
            for _ in 0..400 {
                check(&lines, &encoded, &open, &needle(&lines, &mut random));
            }
            check(&lines, &encoded, &open, "");
            check(&lines, &encoded, &open, "\u{1}");
        }
    }
}

#[test]
fn literals_of_many_texts_are_found_and_those_of_none_ruled_out_unread() {
    let lines = lines_of_paths(4_000);
    let encoded = block(&lines, LinesPolicy::Structured);
    let open = encoded.open();
    let mut random = Random(13);
    for _ in 0..300 {
        check(&lines, &encoded, &open, &needle(&lines, &mut random));
    }
    // Of the same kinds of bytes, and as long, as what is there.
    for absent in ["Items-Users", "/stock/zero", "users.xhtml", "ORDERS_y"] {
        check(&lines, &encoded, &open, absent);
        let search = search(&Needle::new(absent));
        assert_eq!(
            encoded.meta().search_ranges(&search).unwrap(),
            None,
            "{absent}"
        );
    }
}

#[test]
fn plain_blocks_are_searched_too() {
    let lines = lines(Kind::Mixed, 300, 5);
    let encoded = block(&lines, LinesPolicy::Plain);
    let open = encoded.open();
    let mut random = Random(5);
    for _ in 0..100 {
        check(&lines, &encoded, &open, &needle(&lines, &mut random));
    }
}

#[test]
fn many_possibilities_are_not_given_up() {
    // A literal of one byte again and again is at every place of these.
    let lines: Vec<String> = (0..60)
        .map(|n| {
            (0..30)
                .map(|at| if at % 7 == n % 7 { "1 1" } else { "11 " })
                .collect()
        })
        .collect();
    let encoded = block(&lines, LinesPolicy::Structured);
    let open = encoded.open();
    for text in [
        "11 11 11 11 11 11 11 11 11 11 1",
        "1 1 1",
        "1 11 11 11 11 1 1",
        "1",
    ] {
        check(&lines, &encoded, &open, text);
    }
    let spaced = |text: &str| text.replace("11", "1111111111");
    let lines: Vec<String> = lines.iter().map(|line| spaced(line)).collect();
    let encoded = block(&lines, LinesPolicy::Structured);
    check(&lines, &encoded, &encoded.open(), "1111111111 1111111111 1");
}

#[test]
fn outlines_rule_out_what_is_in_no_line() {
    let mut writer = ObjectWriter::new(1);
    let mut blocks = Vec::new();
    for kind in Kind::ALL {
        let encoded = block(&lines(kind, 9_000, 4), LinesPolicy::Structured);
        let copied = encoded.open().copy(vec![LabelSet::default()]).unwrap();
        writer.add_block(copied.clone());
        blocks.push([encoded, copied]);
    }
    let plain = block(&lines(Kind::Mixed, 3_000, 4), LinesPolicy::Plain);
    writer.add_block(plain.clone());
    blocks.push([plain.clone(), plain]);
    let object = writer.finish().unwrap().to_bytes();
    let meta = ObjectMeta::parse_object(&object).unwrap();
    let last = blocks.len() - 1;
    for absent in ["xylophone", "NDL-0cb6d9bae19c6307", "10.0.0.1:zz", "ERROR"] {
        for needle in [Needle::new(absent), Needle::any_case(absent).unwrap()] {
            let search = search(&needle);
            for (ordinal, [encoded, copied]) in blocks.iter().enumerate() {
                let has = !encoded.open().search(&search).unwrap().is_empty();
                let may_have = encoded.may_have(&search);
                assert_eq!(may_have, has || ordinal == last, "{absent} in {ordinal}");
                assert_eq!(copied.may_have(&search), may_have);
                assert_eq!(meta.may_have(ordinal, &search).unwrap(), may_have);
            }
        }
        let mut lacks = Search::default();
        lacks.add(vec![Needle::new(absent)], true);
        assert!(meta.may_have(0, &lacks).unwrap());
    }
    assert!(meta.may_have(blocks.len(), &Search::default()).is_err());
}

#[test]
fn an_absent_word_needs_few_bytes() {
    let lines = lines(Kind::Json, 20_000, 2);
    let encoded = block(&lines, LinesPolicy::Structured);
    let ranges = encoded
        .meta()
        .find_ranges(&Needle::new("absentword"))
        .unwrap();
    let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    assert!(
        bytes * 10 < encoded.body().len() as u64,
        "{bytes} of {}",
        encoded.body().len()
    );
}

fn tricky_line() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[01a]{1,3}",
        "[0-9]{1,2}",
        "=",
        " ",
        "\"",
        "[kKsSſ\u{212a}]",
        "[0-9a]{8}",
        "1\\.[0-9]",
        "a=[01]{0,2} ",
        "\\{\"a\":[01]\\}",
    ];
    prop::collection::vec(piece, 0..7).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_literal_is_found_where_it_is(
        lines in prop::collection::vec(tricky_line(), 1..20),
        repeat in 1..4usize,
        needles in prop::collection::vec("[01ak =\".sK]{1,5}|[0-9a]{1,4}", 10),
    ) {
        let lines = vec![lines; repeat].concat();
        let encoded = block(&lines, LinesPolicy::Structured);
        let open = encoded.open();
        for needle in needles {
            check(&lines, &encoded, &open, &needle);
        }
    }
}

#[test]
fn rows_of_a_run_have_the_lines_that_were_found() {
    let runs: Vec<(LabelSet, Entries)> = (0u64..6)
        .map(|run| {
            let mut entries = Entries::default();
            for (row, line) in lines(Kind::Mixed, 90, run).iter().enumerate() {
                entries.push(row as i64, line.as_bytes(), &LabelSet::default());
            }
            (LabelSet::from_pairs([("run", run.to_string())]), entries)
        })
        .collect();
    for policy in [LinesPolicy::Structured, LinesPolicy::Plain] {
        let options = EncodeOptions {
            lines: policy,
            ..EncodeOptions::default()
        };
        for runs in [&runs[..], &runs[..1]] {
            let block = encode(runs, &options).open();
            for texts in [&["error", "connection"][..], &["10."], &["absent"], &["e"]] {
                check_runs(&block, runs, texts);
            }
        }
    }
}

fn check_runs(block: &Block, runs: &[(LabelSet, Entries)], texts: &[&str]) {
    let range = TimeRange::new(10, 80);
    let mut search = Search::default();
    for text in texts {
        search.add(vec![Needle::new(*text)], false);
    }
    let has = |line: &[u8]| {
        let line = std::str::from_utf8(line).unwrap();
        texts.iter().all(|text| line.contains(text))
    };
    let found = block.search(&search).unwrap();
    assert_eq!(block.search(&search).unwrap(), found);
    for (run, (_, entries)) in runs.iter().enumerate() {
        let rows = block
            .rows_found(run, Projection::ALL, Some(range), &found, |_| true)
            .unwrap();
        let back = rows.to_entries().unwrap();
        let inside: Vec<_> = entries
            .iter()
            .filter(|row| range.contains(row.timestamp_ns))
            .collect();
        assert_eq!(back.len(), inside.len());
        for (back, row) in back.iter().zip(inside) {
            assert_eq!(back.timestamp_ns, row.timestamp_ns);
            assert_eq!(has(back.line), has(row.line), "{texts:?}");
            assert!(back.line == row.line || !has(row.line));
        }
    }
}
