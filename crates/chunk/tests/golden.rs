//! What a version wrote stays readable.
#![allow(clippy::unwrap_used, reason = "in tests a failure is a panic")]

use bytes::Bytes;
use chunk::{Layout, Needle, ObjectMeta, Piece, Projection, Search};

mod sample;

static VERSION_1: &[u8] = include_bytes!("../testdata/object-v1.lgob");
static VERSION_1_METADATA_BYTES: &[u8] =
    include_bytes!("../testdata/object-v1-metadata-bytes.lgob");
static VERSION_1_STRUCTURED: &[u8] = include_bytes!("../testdata/object-v1-structured.lgob");
static VERSION_1_GRAMS: &[u8] = include_bytes!("../testdata/object-v1-grams.lgob");
static VERSION_1_OUTLINES: &[u8] = include_bytes!("../testdata/object-v1-outlines.lgob");

/// Reads every run of an object and compares it with the streams of its blocks.
fn expect_rows(object: &Bytes, blocks: &[Vec<sample::Stream>]) -> ObjectMeta {
    let meta = ObjectMeta::parse_object(object).unwrap();
    assert_eq!(meta.object_id(), 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    assert_eq!(meta.block_count(), blocks.len());
    for (ordinal, streams) in blocks.iter().enumerate() {
        let pieces = vec![Piece {
            offset: 0,
            bytes: object.clone(),
        }];
        let block = meta.open(ordinal, pieces).unwrap();
        let labels: Vec<_> = streams.iter().map(|(labels, _)| labels.clone()).collect();
        assert_eq!(meta.streams_of(ordinal).unwrap(), labels);
        for (run, (labels, entries)) in streams.iter().enumerate() {
            assert_eq!(meta.run_of(ordinal, labels).unwrap(), Some(run));
            let rows = block
                .rows(run, Projection::ALL, None)
                .unwrap()
                .to_entries()
                .unwrap();
            assert!(rows.iter().eq(entries.iter()), "block {ordinal} run {run}");
        }
    }
    meta
}

#[test]
fn version_1_reads_as_it_was_written() {
    let object = Bytes::from_static(VERSION_1);
    let meta = expect_rows(&object, &sample::golden_blocks());
    assert_eq!(meta.stream_count(), 10);
}

#[test]
fn bytes_of_metadata_are_counted_since_the_flag_says_so() {
    let before = expect_rows(&Bytes::from_static(VERSION_1), &sample::golden_blocks());
    let since = Bytes::from_static(VERSION_1_METADATA_BYTES);
    let since = expect_rows(&since, &sample::golden_blocks());
    for (ordinal, streams) in sample::golden_blocks().iter().enumerate() {
        let runs_of = |meta: &ObjectMeta| meta.block(ordinal).unwrap().runs().to_vec();
        assert!(runs_of(&before).iter().all(|run| run.metadata_bytes == 0));
        for (run, (_, entries)) in runs_of(&since).iter().zip(streams) {
            let pairs: usize = entries.iter().map(|row| row.metadata.len()).sum();
            let texts: std::collections::BTreeSet<String> = entries
                .iter()
                .flat_map(|row| row.metadata)
                .flat_map(|label| [label.name.to_string(), label.value.to_string()])
                .collect();
            let bytes = pairs * 8 + texts.iter().map(String::len).sum::<usize>();
            assert_eq!(run.metadata_bytes, bytes as u64);
        }
    }
}

#[test]
fn structured_lines_read_as_they_were_written() {
    let object = Bytes::from_static(VERSION_1_STRUCTURED);
    let meta = expect_rows(&object, &sample::golden_structured_blocks());
    let layouts = (0..7).map(|block| meta.block(block).unwrap().layout());
    let (json, text) = (Layout::Json, Layout::Text);
    assert!(layouts.eq([json, json, text, text, text, json, json]));
}

#[test]
fn columns_that_say_what_is_in_them_read_as_they_were_written() {
    let object = Bytes::from_static(VERSION_1_GRAMS);
    let meta = expect_rows(&object, &sample::golden_grams_blocks());
    let mut search = Search::default();
    search.add(vec![Needle::new("/stock/zero")], false);
    let ranges = meta.block(0).unwrap().search_ranges(&search).unwrap();
    assert_eq!(ranges, None);
}

#[test]
fn outlines_rule_out_blocks_as_they_were_written() {
    let object = Bytes::from_static(VERSION_1_OUTLINES);
    let meta = expect_rows(&object, &sample::golden_outlined_blocks());
    let search = |text: &str| {
        let mut search = Search::default();
        search.add(vec![Needle::new(text)], false);
        search
    };
    assert!(!meta.may_have(0, &search("xylophone")).unwrap());
    assert!(
        meta.may_have(0, &search("connection refused for 7"))
            .unwrap()
    );
    let before = ObjectMeta::parse_object(&Bytes::from_static(VERSION_1_GRAMS)).unwrap();
    assert!(before.may_have(0, &search("xylophone")).unwrap());
}

#[test]
fn counters_say_what_the_rows_say() {
    let meta = ObjectMeta::parse_object(&Bytes::from_static(VERSION_1)).unwrap();
    let block = meta.block(0).unwrap();
    let run = &block.runs()[0];
    assert_eq!((block.rows(), run.rows), (3_000, 3_000));
    assert_eq!((run.min_ts_ns, run.max_ts_ns), (-1_000_000, 4_994_000_000));
    let levels: Vec<_> = run.levels.iter().collect();
    assert_eq!(levels, [("info", 1_500), ("warn", 1_500)]);
    let stream = meta.stream(run.stream).unwrap();
    assert_eq!((stream.rows, stream.raw_bytes), (3_000, run.raw_bytes));
}
