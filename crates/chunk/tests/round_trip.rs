//! Any rows come back, whole and in part.

use std::sync::Arc;

use chunk::{Block, ChunkError, Codec, EncodeOptions, ObjectMeta, ObjectWriter, Piece, Projection};
use chunk::{Run, encode_block};
use model::{Entries, LabelSet, TimeRange};
use proptest::prelude::*;

mod sample;
use sample::{Stream, encode, stream, with_codec};

fn arbitrary_metadata() -> impl Strategy<Value = Vec<(String, String)>> {
    let pair = prop_oneof![
        3 => (Just("detected_level".to_owned()), "info|warn|error|unknown|other"),
        2 => (Just("trace_id".to_owned()), "[0-9a-f]{16}"),
        1 => ("[a-zé]{0,3}", "\\PC{0,6}"),
    ];
    prop::collection::vec(pair, 0..4)
}

fn arbitrary_entries() -> impl Strategy<Value = Entries> {
    let time = prop_oneof![4 => 0..50i64, 1 => any::<i64>(), 1 => (0..90i64).prop_map(|n| n << 30)];
    let line = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        "[a-c ]{0,40}".prop_map(String::into_bytes)
    ];
    prop::collection::vec((time, line, arbitrary_metadata()), 1..60).prop_map(|mut rows| {
        rows.sort_by_key(|(time, ..)| *time);
        let mut entries = Entries::default();
        for (time, line, metadata) in rows {
            entries.push(time, &line, &LabelSet::from_pairs(metadata));
        }
        entries
    })
}

fn arbitrary_streams() -> impl Strategy<Value = Vec<Stream>> {
    prop::collection::vec(arbitrary_entries(), 1..5).prop_map(|runs| {
        let labels = |n: usize| LabelSet::from_pairs([("run", n.to_string())]);
        runs.into_iter()
            .enumerate()
            .map(|(n, entries)| (labels(n), entries))
            .collect()
    })
}

fn codecs() -> impl Strategy<Value = Codec> {
    prop_oneof![Just(Codec::Zstd), Just(Codec::Lz4), Just(Codec::Stored)]
}

#[allow(clippy::unwrap_used, reason = "in tests a failure is a panic")]
fn expect_rows(block: &Block, streams: &[Stream]) -> Result<(), TestCaseError> {
    for (run, (_, entries)) in streams.iter().enumerate() {
        let rows = block.rows(run, Projection::ALL, None).unwrap();
        let mut metadata = rows.metadata().reader();
        for (row, entry) in entries.iter().enumerate() {
            prop_assert_eq!(metadata.get(row), entry.metadata);
        }
        let back = rows.to_entries().unwrap();
        prop_assert!(back.iter().eq(entries.iter()));
    }
    Ok(())
}

proptest! {
    #[test]
    fn blocks_and_objects_give_back_their_rows(
        streams in arbitrary_streams(),
        codec in codecs(),
    ) {
        let block = encode(&streams, &with_codec(codec));
        expect_rows(&block.open(), &streams)?;

        let mut writer = ObjectWriter::new(7);
        writer.add_block(block.clone());
        writer.add_block(block);
        let object = writer.finish().unwrap();
        let bytes = object.to_bytes();
        prop_assert_eq!(bytes.len() as u64, object.len);
        let meta = ObjectMeta::parse(bytes.slice(object.meta_off as usize..)).unwrap();
        prop_assert_eq!(&meta.block(1).unwrap(), &object.blocks[1].meta);
        let pieces = vec![Piece { offset: 0, bytes }];
        let stored = meta.open(1, pieces).unwrap();
        expect_rows(&stored, &streams)?;
        let copy = stored.copy(meta.streams_of(1).unwrap()).unwrap();
        expect_rows(&copy.open(), &streams)?;
    }

    #[test]
    fn a_part_is_the_same_rows_from_fewer_bytes(
        streams in arbitrary_streams(),
        start in 0..60i64,
        len in 0..60i64,
        metadata: bool, lengths: bool, lines: bool,
    ) {
        let range = TimeRange::new(start, start + len);
        let projection = Projection { metadata, lengths, lines };
        let encoded = encode(&streams, &EncodeOptions::default());
        for (run, (_, entries)) in streams.iter().enumerate() {
            let fetched = encoded.meta().fetch_ranges(projection, &[run], Some(range));
            let pieces = fetched.into_iter().map(|part| Piece {
                offset: part.start,
                bytes: encoded.body().slice(part.start as usize..part.end as usize),
            });
            let block = Block::new(Arc::clone(encoded.meta()), pieces.collect());
            let rows = block.rows(run, projection, Some(range)).unwrap();
            let inside = || entries.iter().filter(|row| range.contains(row.timestamp_ns));
            prop_assert!(inside().map(|row| row.timestamp_ns).eq(rows.timestamps_ns().to_vec()));
            let first = entries.timestamps_ns().partition_point(|time| *time < range.start_ns);
            prop_assert_eq!(rows.first_row(), first);
            if lengths || lines {
                let mut start = 0;
                let lens = rows.line_ends().iter().map(|end| {
                    let len = end - start;
                    start = *end;
                    len as usize
                });
                prop_assert!(inside().map(|row| row.line.len()).eq(lens));
            }
            if lines {
                let all: Vec<u8> = inside().flat_map(|row| row.line.to_vec()).collect();
                prop_assert_eq!(rows.lines(), &all);
            }
            if metadata {
                let mut reader = rows.metadata().reader();
                for (row, entry) in inside().enumerate() {
                    prop_assert_eq!(reader.get(row), entry.metadata);
                }
            }
        }
    }

    #[test]
    fn any_meta_is_read_or_refused(meta: Vec<u8>, body: Vec<u8>) {
        let _ = chunk::fuzz::block(&meta, &body.into());
    }
}

#[test]
fn large_blocks_are_read_in_part() {
    let (labels, mut entries) = stream(1, 1);
    for row in 1..40_000i64 {
        let line = format!("{row:07} {}", "x".repeat(80));
        assert!(entries.push(row * 1_000_000, line.as_bytes(), &LabelSet::default()));
    }
    let streams = [(labels, entries)];
    let encoded = encode(&streams, &with_codec(Codec::Stored));
    let range = TimeRange::new(20_000_000_000, 20_010_000_000);
    let fetched = encoded
        .meta()
        .fetch_ranges(Projection::ALL, &[0], Some(range));
    let bytes: u64 = fetched.iter().map(|part| part.end - part.start).sum();
    assert!(
        bytes < (2 << 20),
        "one or two of four frames of lines, not {bytes} bytes"
    );
    let pieces = fetched.into_iter().map(|part| Piece {
        offset: part.start,
        bytes: encoded.body().slice(part.start as usize..part.end as usize),
    });
    let block = Block::new(Arc::clone(encoded.meta()), pieces.collect());
    let rows = block.rows(0, Projection::ALL, Some(range)).unwrap();
    assert_eq!((rows.len(), rows.first_row()), (10, 20_000));
    assert!(rows.lines().starts_with(b"0020000 x"));
    let error = block.rows(0, Projection::ALL, None).unwrap_err();
    assert!(matches!(error, ChunkError::NotFetched { .. }), "{error}");
}

#[test]
fn counting_needs_the_front_of_the_body_only() {
    let encoded = encode(&[stream(0, 5_000)], &EncodeOptions::default());
    let whole = encoded.body().len() as u64;
    let fetched = encoded
        .meta()
        .fetch_ranges(Projection::TIMESTAMPS, &[], None);
    assert_eq!(fetched.len(), 1);
    assert!(fetched[0].start == 0 && fetched[0].end * 5 < whole);
}

#[test]
fn many_metadata_keys_do_not_become_many_columns() {
    let mut entries = Entries::default();
    for row in 0..500 {
        let metadata = LabelSet::from_pairs([(format!("key_{row}"), "v"), ("all".into(), "x")]);
        assert!(entries.push(row, b"", &metadata));
    }
    let streams = [(LabelSet::default(), entries)];
    let encoded = encode(&streams, &EncodeOptions::default());
    assert_eq!(encoded.meta().metadata_keys(), None);
    let back = encoded
        .open()
        .rows(0, Projection::ALL, None)
        .unwrap()
        .to_entries()
        .unwrap();
    assert!(back.iter().eq(streams[0].1.iter()));
}

#[test]
fn rows_out_of_order_and_empty_runs_are_refused() {
    let (labels, mut entries) = stream(0, 3);
    let empty = Entries::default();
    let options = EncodeOptions::default();
    let none = encode_block(&[Run::new(&labels, &empty)], &options);
    assert_eq!(none.unwrap_err(), ChunkError::Empty);
    assert_eq!(encode_block(&[], &options).unwrap_err(), ChunkError::Empty);
    assert!(entries.push(i64::MIN, b"", &LabelSet::default()));
    let disorder = encode_block(&[Run::new(&labels, &entries)], &options);
    assert_eq!(disorder.unwrap_err(), ChunkError::Unordered { run: 0 });
}
