use codec::put_varint;
use model::LabelSet;
use proptest::prelude::*;

use super::super::body::tests::rows;
use super::super::record::Body;
use super::*;

fn snappy(raw: &[u8]) -> Bytes {
    snap::raw::Encoder::new().compress_vec(raw).unwrap().into()
}

/// Rows whose lines are alike.
fn any_entries() -> impl Strategy<Value = Entries> {
    let row = (any::<i64>(), 20..200usize, 0..4usize);
    proptest::collection::vec(row, 0..20).prop_map(|rows| {
        let mut entries = Entries::default();
        for (time, len, set) in rows {
            let pairs = [("level", "info"), ("trace_id", "ü1"), ("pod", "p")];
            let set = LabelSet::from_pairs(pairs.into_iter().take(set));
            let line = b"GET /api/v1/login 200 ".iter().cycle().take(len);
            entries.push(time, &line.copied().collect::<Vec<_>>(), &set);
        }
        entries
    })
}

/// A body in which the rows of all streams alternate, with something between them.
fn received(all: &[Entries], between: &[u8]) -> Received {
    let mut raw = Vec::new();
    let mut line_starts = vec![Vec::new(); all.len()];
    for row in 0..all.iter().map(Entries::len).max().unwrap_or(0) {
        for (entries, starts) in all.iter().zip(&mut line_starts) {
            let Some(row) = entries.get(row) else {
                continue;
            };
            raw.extend_from_slice(between);
            starts.push(raw.len() as u32);
            raw.extend_from_slice(row.line);
        }
    }
    Received {
        snappy: snappy(&raw),
        raw_len: raw.len(),
        line_starts,
    }
}

fn body(all: &[Entries], received: &Received) -> Option<ReceivedBody> {
    let starts = received.line_starts.iter().map(Vec::as_slice);
    let parts: Vec<_> = all.iter().zip(starts).collect();
    ReceivedBody::new(&parts, received)
}

fn counts(all: &[Entries]) -> Vec<usize> {
    all.iter().map(Entries::len).collect()
}

proptest! {
    #[test]
    fn rows_come_back_as_from_a_packed_body(
        all in proptest::collection::vec(any_entries(), 1..4),
        between in proptest::collection::vec(any::<u8>(), 0..5),
    ) {
        let received = received(&all, &between);
        // Few rows may not be worth it.
        if let Some(body) = body(&all, &received) {
            let parts: Vec<_> = all.iter().map(Part::all).collect();
            let packed = Body::rows(&parts).decode(&counts(&all)).unwrap();
            let decoded = body.decode(&counts(&all)).unwrap();
            prop_assert_eq!(
                decoded.iter().map(rows).collect::<Vec<_>>(),
                packed.iter().map(rows).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        columns: Vec<u8>,
        raw in proptest::collection::vec(any::<u8>(), 0..100),
        is_snappy: bool,
        rows in proptest::collection::vec(any::<usize>(), 0..4),
    ) {
        let snappy = if is_snappy { snappy(&raw) } else { raw.into() };
        let _ = ReceivedBody { columns, snappy }.decode(&rows);
    }

    #[test]
    fn changed_columns_are_read_or_refused(
        all in proptest::collection::vec(any_entries(), 1..3),
        at: prop::sample::Index,
        mask in 1..=255u8,
    ) {
        let received = received(&all, b"--");
        if let Some(mut body) = body(&all, &received) {
            let at = at.index(body.columns.len());
            body.columns[at] ^= mask;
            if let Ok(decoded) = body.decode(&counts(&all)) {
                let lines: usize = decoded.iter().map(|rows| rows.lines().len()).sum();
                prop_assert!(lines <= received.raw_len);
            }
        }
    }
}

fn same_lines(count: usize) -> Entries {
    let mut entries = Entries::default();
    for time in 0..count {
        entries.push(time as i64, &[b'x'; 100], &LabelSet::default());
    }
    entries
}

#[test]
fn a_body_is_kept_where_that_pays() {
    let all = [same_lines(10), same_lines(20)];
    let whole = received(&all, b"--");
    let kept = body(&all, &whole).unwrap();
    assert_eq!(kept.snappy, whole.snappy);
    assert!(body(&all[..1], &whole).is_none(), "most of it is of no use");
    let hash = |i: u32| {
        (i.wrapping_mul(0x9e37_79b1)
            .rotate_left(13)
            .wrapping_mul(0x85eb_ca77)
            >> 24) as u8
    };
    let noise: Vec<u8> = (0..3000).map(hash).collect();
    let mut random = Entries::default();
    random.push(1, &noise, &LabelSet::default());
    let random = [random];
    assert!(
        body(&random, &received(&random, b"")).is_none(),
        "it is not compressed"
    );
}

#[test]
fn lines_that_are_not_in_the_body_are_not_looked_for() {
    let all = [same_lines(20)];
    let whole = received(&all, b"--");
    let mut outside = whole.clone();
    outside.line_starts[0][19] += 1;
    assert!(body(&all, &outside).is_none());
    let mut fewer = whole;
    fewer.line_starts[0].pop();
    assert!(body(&all, &fewer).is_none());
}

#[test]
fn a_lie_is_refused_before_memory_is_taken() {
    let raw = [b'x'; 100];
    let of = |lens: &[u64], starts: &[i64]| {
        let mut columns = Vec::new();
        lens.iter().for_each(|_| put_zigzag(&mut columns, 0));
        lens.iter().for_each(|len| put_varint(&mut columns, *len));
        put_varint(&mut columns, 0);
        starts
            .iter()
            .for_each(|start| put_zigzag(&mut columns, *start));
        let body = ReceivedBody {
            columns,
            snappy: snappy(&raw),
        };
        body.decode(&[lens.len()]).map(|rows| rows[0].lines().len())
    };
    let outside = Err(CodecError::Invalid("line outside of its body"));
    assert_eq!(of(&[60, 40], &[0, 0]), Ok(100));
    assert_eq!(of(&[40, 60], &[60, -100]), Ok(100));
    assert_eq!(of(&[60, 60], &[0, -60]), outside, "lines that overlap");
    assert_eq!(of(&[60], &[41]), outside);
    assert_eq!(of(&[60], &[-1]), outside);
    assert_eq!(of(&[1, 1], &[0, i64::MAX]), outside);
    let bomb = ReceivedBody {
        columns: Vec::new(),
        // 64 MiB in front of nothing.
        snappy: Bytes::from_static(&[0x80, 0x80, 0x80, 0x20, 0x00]),
    };
    assert!(bomb.decode(&[]).is_err());
}
