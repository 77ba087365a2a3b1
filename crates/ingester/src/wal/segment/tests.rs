use model::{Entries, LabelSet, TenantId};
use proptest::prelude::*;
use proto::role::Received;

use super::super::body::Part;
use super::super::received::ReceivedBody;
use super::super::record::{Body, RowsRecord, append_streams};
use super::*;

const HEADER: Header = Header {
    version: VERSION,
    owner: 9,
    number: 1,
    previous: 0,
    previous_len: 0,
};

fn long_lines() -> impl Iterator<Item = Vec<u8>> {
    (0..40).map(|i| format!("GET /api/v1/login of user {i} gave 200 OK").into_bytes())
}

/// A segment of one `streams` and two `rows` records, and where each record ends.
fn sample() -> (Vec<u8>, Vec<usize>) {
    let labels = LabelSet::from_pairs([("app", "web")]);
    let mut bytes = HEADER.to_bytes();
    let mut ends = Vec::new();
    append_streams([(5, &labels)].into_iter(), HEADER.seed(), &mut bytes);
    ends.push(bytes.len());
    for seq in 1..3 {
        let lines = (0..40).map(|i| format!("line {i} of some").into_bytes());
        rows(seq, lines).append(HEADER.seed(), &mut bytes);
        ends.push(bytes.len());
    }
    (bytes, ends)
}

fn rows(seq: u64, lines: impl IntoIterator<Item = Vec<u8>>) -> RowsRecord {
    let entries = columns(lines);
    let body = Body::rows(&[Part::all(&entries)]);
    RowsRecord::new(seq, &TenantId::single(), &[(5, entries.len())], body)
}

fn columns(lines: impl IntoIterator<Item = Vec<u8>>) -> Entries {
    let mut entries = Entries::default();
    let level = LabelSet::from_pairs([("level", "info")]);
    for (i, line) in (1_000..).zip(lines) {
        entries.push(i, &line, &level);
    }
    entries
}

/// Rows in the body that they came in, which is worth it if they are many or alike.
fn received(seq: u64, lines: impl IntoIterator<Item = Vec<u8>>) -> Option<RowsRecord> {
    let entries = columns(lines);
    let ends = entries.line_ends().iter().copied();
    let line_starts: Vec<u32> = std::iter::once(0).chain(ends).take(entries.len()).collect();
    let snappy = snap::raw::Encoder::new().compress_vec(entries.lines());
    let body = Received {
        snappy: snappy.unwrap().into(),
        raw_len: entries.lines().len(),
        line_starts: vec![line_starts],
    };
    let body = ReceivedBody::new(&[(&entries, &body.line_starts[0])], &body)?;
    let parts = [(5, entries.len())];
    Some(RowsRecord::new(
        seq,
        &TenantId::single(),
        &parts,
        Body::Received(body),
    ))
}

/// The records of a segment, where they or what is in their place begin, and how it ends.
fn read_all(bytes: &[u8], len: Option<u64>) -> (Vec<Record>, Vec<Next>) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(path(dir.path(), 1), bytes).unwrap();
    let mut reader = SegmentReader::open(dir.path(), 1, len, HEADER.owner).unwrap();
    let (mut records, mut others) = (Vec::new(), Vec::new());
    loop {
        match reader.next().unwrap() {
            Next::Record(record, _) => records.push(record),
            Next::End => return (records, others),
            other => others.push(other),
        }
    }
}

/// How many records a segment has, and the one thing that is none of them, if there is one.
fn read(bytes: &[u8], len: Option<u64>) -> (usize, Next) {
    let (records, mut others) = read_all(bytes, len);
    assert!(others.len() < 2, "{others:?}");
    (records.len(), others.pop().unwrap_or(Next::End))
}

#[test]
fn a_segment_cut_at_every_byte_of_its_last_record_gives_all_others() {
    let (bytes, ends) = sample();
    assert!(matches!(read(&bytes, None), (3, Next::End)));
    for cut in ends[1] + 1..bytes.len() {
        let (records, end) = read(&bytes[..cut], None);
        assert_eq!(records, 2, "cut at {cut}");
        let left_out = (cut - ends[1]) as u64;
        assert!(
            matches!(end, Next::Torn { left_out: n } if n == left_out),
            "{end:?}"
        );
    }
}

#[test]
fn zeros_at_the_end_are_torn_and_a_changed_byte_in_the_middle_is_damage() {
    let (bytes, ends) = sample();
    let mut longer = bytes.clone();
    longer.resize(bytes.len() + 5000, 0);
    assert!(matches!(
        read(&longer, None),
        (3, Next::Torn { left_out: 5000 })
    ));
    for at in ends[0]..ends[1] {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        let (records, end) = read(&bad, None);
        assert_eq!(records, 2, "all but the one that is hit");
        let (start, len) = (ends[0] as u64, (ends[1] - ends[0]) as u64);
        let Next::Damaged {
            at: found,
            left_out,
            lost,
            ..
        } = end
        else {
            panic!("{end:?}");
        };
        assert_eq!((found, left_out), (start, len));
        // What is hit behind the numbers of rows leaves them readable.
        if at >= ends[1] - 4 {
            assert_eq!(lost.map(|lost| (lost.seq, lost.rows)), Some((1, 40)));
        }
    }
}

#[test]
fn a_header_that_is_damaged_costs_no_record() {
    let (bytes, _) = sample();
    for at in 0..HEADER_LEN {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        let (records, end) = read(&bad, None);
        assert_eq!(records, 3);
        assert!(
            matches!(
                end,
                Next::Damaged {
                    at: 0,
                    left_out: 64,
                    ..
                }
            ),
            "{end:?}"
        );
    }
    let empty = [0; 5000];
    assert!(matches!(
        read(&empty, None),
        (0, Next::Torn { left_out: 5000 })
    ));
}

#[test]
fn neither_pushed_bytes_nor_other_segments_have_records_of_this_one() {
    let mut forged = Vec::new();
    rows(3, [b"forged".to_vec()]).append(0, &mut forged);
    let other = Header {
        number: 2,
        ..HEADER
    };
    rows(3, [b"stale".to_vec()]).append(other.seed(), &mut forged);
    append_streams([(5, &LabelSet::default())].into_iter(), 0, &mut forged);
    let (mut bytes, ends) = sample();
    let mut pushed = Entries::default();
    pushed.push(1, &forged, &LabelSet::default());
    let body = Body::uncompressed(&[Part::all(&pushed)]);
    RowsRecord::new(4, &TenantId::single(), &[(5, 1)], body).append(HEADER.seed(), &mut bytes);
    let end = bytes.len();
    rows(5, [b"after".to_vec()]).append(HEADER.seed(), &mut bytes);
    assert!(bytes.windows(forged.len()).any(|window| window == forged));
    for at in [ends[2], ends[2] + 3, ends[2] + FRAME_LEN, end - 1] {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        let (records, others) = read_all(&bad, None);
        assert_eq!((records.len(), others.len()), (4, 1));
        let Some(Record::Rows(last)) = records.last() else {
            panic!()
        };
        assert_eq!(last.seq, 5);
    }
    // Nor do records that were there before.
    let (mut old, _) = sample();
    let again = old[ends[0]..ends[1]].to_vec();
    old[ends[1]] ^= 1;
    old.extend_from_slice(&again);
    let (records, others) = read_all(&old, None);
    assert_eq!((records.len(), others.len()), (2, 1));
}

#[test]
fn a_search_ends_when_it_has_checked_enough() {
    let (bytes, ends) = sample();
    let mut bad = bytes.clone();
    bad[ends[0]] ^= 1;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(path(dir.path(), 1), &bad).unwrap();
    let mut reader = SegmentReader::open(dir.path(), 1, None, HEADER.owner).unwrap();
    reader.search_bytes_left = (ends[2] - ends[1]) as u64 / 2;
    assert!(matches!(reader.next().unwrap(), Next::Record(..)));
    let left = (bytes.len() - ends[0]) as u64;
    assert!(matches!(reader.next().unwrap(), Next::Damaged { left_out, .. } if left_out == left));
    assert!(matches!(reader.next().unwrap(), Next::End));
}

#[test]
fn what_the_successor_does_not_vouch_for_is_left_out() {
    let (bytes, ends) = sample();
    assert!(matches!(read(&bytes, Some(ends[1] as u64)), (2, Next::End)));
    let shorter = &bytes[..ends[2] - 1];
    assert!(matches!(
        read(shorter, Some(ends[2] as u64)),
        (2, Next::Damaged { .. })
    ));
}

/// The golden segment of a version, and what is in it.
fn golden(directory: &str) -> (Header, Vec<Record>) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut reader = SegmentReader::open(&golden, 1, None, 0).unwrap();
    let mut read = Vec::new();
    while let Next::Record(record, _) = reader.next().unwrap() {
        read.push(record);
    }
    (read_header(&golden, 1).unwrap(), read)
}

#[test]
fn golden_segments_of_all_versions_stay_readable() {
    for version in 1..=3 {
        let (header, read) = golden(&format!("testdata/wal-v{version}"));
        assert_eq!(header, Header { version, ..HEADER });
        let labels = LabelSet::from_pairs([("app", "web")]);
        assert_eq!(read[0], Record::Streams(vec![(5, labels)]));
        let Record::Rows(rows) = &read[2] else {
            panic!()
        };
        assert_eq!(
            (rows.seq, rows.tenant.as_str(), &*rows.parts),
            (2, "fake", &[(5, 40)][..])
        );
        let entries = rows.decode().unwrap().remove(0);
        let last = entries.get(39).unwrap();
        assert_eq!(
            (last.timestamp_ns, last.line),
            (1_039, &b"line 39 of some"[..])
        );
        assert_eq!(last.metadata.get("level"), Some("info"));
        match read.get(3) {
            None => assert!(version < 3),
            Some(Record::Rows(rows)) => {
                assert_eq!((rows.seq, &*rows.parts), (3, &[(5, 40)][..]));
                assert_eq!(rows.decode().unwrap(), [columns(long_lines())]);
            }
            Some(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn behind_damage_of_version_1_nothing_is_read() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/wal-v1");
    let mut bytes = std::fs::read(path(&golden, 1)).unwrap();
    bytes[HEADER_LEN + FRAME_LEN] ^= 1;
    let left = (bytes.len() - HEADER_LEN) as u64;
    let (records, end) = read(&bytes, None);
    assert_eq!(records, 0);
    assert!(matches!(end, Next::Damaged { at: 64, left_out, .. } if left_out == left));
}

proptest! {
    #[test]
    fn any_records_are_read_or_refused(records: Vec<u8>) {
        let mut bytes = HEADER.to_bytes();
        bytes.extend_from_slice(&records);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(path(dir.path(), 1), bytes).unwrap();
        let mut reader = SegmentReader::open(dir.path(), 1, None, 9).unwrap();
        loop {
            match reader.next().unwrap() {
                Next::Record(Record::Rows(rows), _) => drop(rows.decode()),
                Next::End => break,
                _ => {}
            }
        }
    }

    /// Whatever bytes are hit, every record that is not hit comes back, in order.
    #[test]
    fn damage_costs_the_records_it_hits(
        sizes in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..12),
        hits in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 0..6),
        end_is_known: bool,
    ) {
        let mut bytes = HEADER.to_bytes();
        let mut ends = Vec::new();
        let labels = LabelSet::from_pairs([("app", "web")]);
        for (seq, line) in (1..).zip(sizes) {
            match seq % 3 {
                1 => append_streams([(seq, &labels)].into_iter(), HEADER.seed(), &mut bytes),
                2 => rows(seq, [line.clone(), line]).append(HEADER.seed(), &mut bytes),
                _ => {
                    let lines = long_lines().chain([line]);
                    received(seq, lines).unwrap().append(HEADER.seed(), &mut bytes);
                }
            }
            ends.push(bytes.len());
        }
        let len = end_is_known.then_some(bytes.len() as u64);
        let whole = read_all(&bytes, len).0;
        prop_assert_eq!(whole.len(), ends.len());
        let before = bytes.clone();
        for (at, mask) in hits {
            bytes[at.index(before.len())] ^= mask;
        }
        let mut start = HEADER_LEN;
        let mut expected = Vec::new();
        for (record, end) in whole.into_iter().zip(ends) {
            if bytes[start..end] == before[start..end] {
                expected.push(record);
            }
            start = end;
        }
        prop_assert_eq!(read_all(&bytes, len).0, expected);
    }
}
