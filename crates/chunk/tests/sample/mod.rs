//! The rows in the golden object and generators of others.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "in tests a failure is a panic")]

pub(crate) mod lines;

use chunk::{
    Codec, EncodeOptions, EncodedBlock, FinishedObject, LinesPolicy, ObjectWriter, Run,
    encode_block,
};
use model::{Entries, LabelSet};

/// A stream and its rows.
pub(crate) type Stream = (LabelSet, Entries);

pub(crate) fn encode(streams: &[Stream], options: &EncodeOptions) -> EncodedBlock {
    let runs: Vec<Run<'_>> = streams
        .iter()
        .map(|(labels, entries)| Run::new(labels, entries))
        .collect();
    encode_block(&runs, options).unwrap()
}

pub(crate) fn with_codec(codec: Codec) -> EncodeOptions {
    EncodeOptions {
        codec,
        ..EncodeOptions::default()
    }
}

/// Rows with everything the format can say: a level on every row, an id on every other, keys that
/// come once, bytes that are not UTF-8, empty lines, equal times, times before 1970.
pub(crate) fn stream(number: usize, rows: usize) -> Stream {
    let labels = LabelSet::from_pairs([
        ("service_name", format!("service-{}", number % 3)),
        ("pod", format!("pod-{number}")),
    ]);
    let mut entries = Entries::default();
    for row in 0..rows {
        let level = ["info", "warn", "error", "notice"][row * row % 4];
        let mut metadata = vec![("detected_level".to_owned(), level.to_owned())];
        if row % 2 == 0 {
            metadata.push((
                "trace_id".to_owned(),
                format!("{:032x}", row * 0x9e37_79b9_7f4a),
            ));
        }
        if row % 50 == 7 {
            metadata.push((format!("rare_{row}"), "once".to_owned()));
        }
        let mut line = format!(
            "level={level} msg=\"request {row}\" number={}",
            number * 7919
        );
        if row % 11 == 3 {
            line.clear();
        }
        let mut line = line.into_bytes();
        if row % 13 == 4 {
            line.push(0xff);
        }
        let time = -1_000_000 + number as i64 * 1_000 + (row as i64 / 3) * 5_000_000;
        assert!(entries.push(time, &line, &LabelSet::from_pairs(metadata)));
    }
    (labels, entries)
}

/// The blocks of the golden object: one of a large stream, one of several small ones with LZ4, one
/// tiny.
pub(crate) fn golden_blocks() -> Vec<Vec<Stream>> {
    vec![
        vec![stream(0, 3_000)],
        (1..9)
            .map(|number| stream(number, 3 + number * 40))
            .collect(),
        vec![stream(9, 1)],
    ]
}

pub(crate) fn object(blocks: &[Vec<Stream>], options: &EncodeOptions) -> FinishedObject {
    let mut writer = ObjectWriter::new(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    for streams in blocks {
        writer.add_block(encode(streams, options));
    }
    writer.finish().unwrap()
}

pub(crate) fn golden_object() -> FinishedObject {
    let mut writer = ObjectWriter::new(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    for (streams, codec) in golden_blocks()
        .iter()
        .zip([Codec::Zstd, Codec::Lz4, Codec::Zstd])
    {
        writer.add_block(encode(streams, &with_codec(codec)));
    }
    writer.finish().unwrap()
}

/// The blocks of the golden object with structured lines: one of each kind of line, one of several
/// streams.
pub(crate) fn golden_structured_blocks() -> Vec<Vec<Stream>> {
    let stream = |kind: lines::Kind, rows: usize, seed: u64| {
        let mut entries = Entries::default();
        for (row, line) in lines::lines(kind, rows, seed).iter().enumerate() {
            let (time, metadata) = (row as i64 * 1_000_003, LabelSet::default());
            assert!(entries.push(time, line.as_bytes(), &metadata));
        }
        assert!(entries.push(
            i64::MAX,
            b"\x01 fits no template \xff",
            &LabelSet::default()
        ));
        let labels = LabelSet::from_pairs([("kind", format!("{kind:?}"))]);
        (labels, entries)
    };
    let kinds = lines::Kind::ALL;
    let mut blocks: Vec<Vec<Stream>> = kinds
        .iter()
        .map(|kind| vec![stream(*kind, 700, 1)])
        .collect();
    blocks.push(kinds.iter().map(|kind| stream(*kind, 40, 2)).collect());
    blocks
}

/// The block of the golden object with columns that say what follows each other in their values.
pub(crate) fn golden_grams_blocks() -> Vec<Vec<Stream>> {
    let mut entries = Entries::default();
    for (row, line) in lines::lines_of_paths(1_500).iter().enumerate() {
        let time = row as i64 * 1_000_003;
        assert!(entries.push(time, line.as_bytes(), &LabelSet::default()));
    }
    vec![vec![(LabelSet::from_pairs([("kind", "paths")]), entries)]]
}

/// The block of the golden object with outlines: large enough to have one.
pub(crate) fn golden_outlined_blocks() -> Vec<Vec<Stream>> {
    let mut entries = Entries::default();
    for (row, line) in lines::lines(lines::Kind::Json, 4_300, 3).iter().enumerate() {
        let time = row as i64 * 1_000_003;
        assert!(entries.push(time, line.as_bytes(), &LabelSet::default()));
    }
    vec![vec![(LabelSet::from_pairs([("kind", "json")]), entries)]]
}

pub(crate) fn golden_structured() -> FinishedObject {
    structured(golden_structured_blocks())
}

pub(crate) fn golden_grams() -> FinishedObject {
    structured(golden_grams_blocks())
}

pub(crate) fn golden_outlined() -> FinishedObject {
    structured(golden_outlined_blocks())
}

fn structured(blocks: Vec<Vec<Stream>>) -> FinishedObject {
    let mut writer = ObjectWriter::new(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    for streams in blocks {
        let options = EncodeOptions {
            lines: LinesPolicy::Structured,
            ..EncodeOptions::default()
        };
        writer.add_block(encode(&streams, &options));
    }
    writer.finish().unwrap()
}
