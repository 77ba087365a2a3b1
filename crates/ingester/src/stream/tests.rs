use proptest::prelude::*;
use proto::role::RefusalReason;

use super::*;
use crate::block::Block;

fn rows(rows: &[(i64, &str)]) -> Entries {
    let mut entries = Entries::default();
    for (time, line) in rows {
        entries.push(*time, line.as_bytes(), &LabelSet::default());
    }
    entries
}

fn stream() -> Arc<Stream> {
    counted(&Metrics::unregistered())
}

fn counted(metrics: &Metrics) -> Arc<Stream> {
    let labels = LabelSet::from_pairs([("app", "web")]);
    Arc::new(Stream::new(1, labels, 0, metrics))
}

const STRICT: Rules = Rules {
    window_ns: 0,
    rate_bytes: 0,
    burst_bytes: 0,
    now_ns: 0,
    epoch: 1,
};

fn all(stream: &Stream) -> Vec<(i64, String)> {
    let Some(snapshot) = stream.snapshot(TimeRange::new(i64::MIN, i64::MAX), &mut EpochDays::new())
    else {
        return Vec::new();
    };
    let mut runs: Vec<Entries> = snapshot.runs.iter().map(|run| (**run).clone()).collect();
    for run in &snapshot.blocks {
        let decoded = run
            .block
            .encoded
            .open()
            .rows(run.run, chunk::Projection::ALL, None);
        runs.push(decoded.unwrap().to_entries().unwrap());
    }
    let rows = runs.iter().flatten();
    let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
    let mut rows: Vec<_> = rows.map(|row| (row.timestamp_ns, text(row.line))).collect();
    rows.sort();
    rows
}

/// Encodes what was cut.
fn encode(cuts: &[Cut]) -> Vec<Arc<Block>> {
    let encode = |cut: &Cut| {
        let entries = head::join(&head::in_order(&cut.runs));
        let run = chunk::Run::new(cut.stream.labels(), &entries);
        let encoded = chunk::encode_block(&[run], &chunk::EncodeOptions::default()).unwrap();
        let block = Arc::new(Block::new(encoded, 0, cut.epoch));
        cut.stream.encoded(
            cut.part,
            vec![BlockRun {
                block: Arc::clone(&block),
                run: 0,
            }],
        );
        block
    };
    cuts.iter().map(encode).collect()
}

#[test]
fn an_older_row_is_refused_alone() {
    let stream = stream();
    let appended = stream
        .append(&rows(&[(5, "a"), (3, "b"), (7, "c")]), &STRICT)
        .unwrap();
    assert_eq!(
        appended.refused,
        [(1, RefusalReason::OutOfOrder { newest_ns: 5 })]
    );
    assert_eq!(
        appended.accepted,
        Accepted::Some(rows(&[(5, "a"), (7, "c")]))
    );
    assert_eq!(all(&stream), [(5, "a".to_owned()), (7, "c".to_owned())]);
}

#[test]
fn a_window_lets_older_rows_in_and_says_when_they_are_too_old() {
    let stream = stream();
    let rules = Rules {
        window_ns: 10,
        ..STRICT
    };
    let appended = stream
        .append(&rows(&[(20, "a"), (10, "b"), (9, "c"), (15, "d")]), &rules)
        .unwrap();
    assert_eq!(
        appended.refused,
        [(2, RefusalReason::TooFarBehind { newest_ns: 20 })]
    );
    let times: Vec<i64> = all(&stream).iter().map(|row| row.0).collect();
    assert_eq!(times, [10, 15, 20]);
}

#[test]
fn rows_after_a_clock_was_set_back_are_in_order_among_themselves() {
    const HOUR: i64 = 3600 * 1_000_000_000;
    let stream = stream();
    let push = |now_ns: i64, offsets: &[i64]| {
        let batch: Vec<(i64, &str)> = offsets.iter().map(|at| (now_ns + at, "a")).collect();
        let rules = Rules { now_ns, ..STRICT };
        let refused = stream.append(&rows(&batch), &rules).unwrap().refused;
        let numbers: Vec<u32> = refused.into_iter().map(|(row, _)| row).collect();
        numbers
    };
    assert_eq!(push(2 * HOUR, &[0, 10]), [0; 0]);
    assert_eq!(push(HOUR, &[0, 5, 3, 7]), [2]);
    // Almost there, and past it.
    assert_eq!(push(2 * HOUR - 1000, &[0, 5]), [0; 0]);
    assert_eq!(push(2 * HOUR + 20, &[0, -5]), [1]);
    let times: Vec<i64> = all(&stream).iter().map(|row| row.0).collect();
    assert!(times.is_sorted() && times.len() == 8, "{times:?}");
}

#[test]
fn a_batch_pushed_again_is_dropped_wherever_its_rows_are() {
    let stream = stream();
    let batch = rows(&[(1, "a"), (2, "b"), (2, "c"), (2, "b"), (3, "d")]);
    let first = stream.append(&batch, &STRICT).unwrap();
    assert_eq!((first.duplicates, first.refused.len()), (1, 0));
    let again = |when: &str| {
        let again = stream.append(&batch, &STRICT).unwrap();
        assert_eq!(
            (again.duplicates, again.refused.len(), again.bytes),
            (5, 0, 0),
            "{when}"
        );
        assert_eq!(again.accepted, Accepted::None);
    };
    again("in the head");
    let mut cuts = Vec::new();
    stream.cut(1, &mut cuts);
    again("cut");
    let blocks = encode(&cuts);
    again("encoded");
    assert_eq!(all(&stream).len(), 4);
    blocks[0].set_committed();
    assert!(all(&stream).is_empty());
    stream.drop_committed();
    assert!(stream.forget(1));
    assert_eq!(stream.append(&batch, &STRICT).unwrap_err(), Forgotten);
}

/// So many rows of one time.
fn of_one_time(time_ns: i64, count: usize) -> Entries {
    let lines: Vec<String> = (0..count).map(|i| i.to_string()).collect();
    let of_line = |line: &String| (time_ns, line.clone());
    let all: Vec<(i64, String)> = lines.iter().map(of_line).collect();
    let all: Vec<(i64, &str)> = all.iter().map(|(time, line)| (*time, &**line)).collect();
    rows(&all)
}

#[test]
fn what_tells_copies_of_the_newest_rows_is_counted_until_they_are_not_the_newest() {
    let metrics = Metrics::unregistered();
    let bytes = || metrics.newest_rows_bytes.get();
    let stream = counted(&metrics);
    stream.append(&of_one_time(1, 10), &STRICT).unwrap();
    assert_eq!(bytes(), 0, "a few cost nothing");
    stream.append(&of_one_time(1, 1000), &STRICT).unwrap();
    assert!((8_000..40_000).contains(&bytes()), "{}", bytes());
    assert_eq!(
        stream
            .append(&of_one_time(1, 1000), &STRICT)
            .unwrap()
            .duplicates,
        1000
    );
    stream.append(&rows(&[(2, "a")]), &STRICT).unwrap();
    assert_eq!(bytes(), 0);
    stream.replay(&of_one_time(2, 1000), 0).unwrap();
    assert!(bytes() > 8_000);
    drop(stream);
    assert_eq!(bytes(), 0);
}

#[test]
fn a_copy_that_is_not_told_lies_in_another_part() {
    let metrics = Metrics::unregistered();
    let stream = counted(&metrics);
    stream.append(&of_one_time(1, 100), &STRICT).unwrap();
    stream.replay(&rows(&[(1, "replayed")]), 0).unwrap();
    stream.forget_newest();
    assert_eq!(
        (metrics.newest_rows_bytes.get(), stream.head_bytes()),
        (0, 0)
    );
    // Of the first few it is still known that they were there.
    let again = stream.append(&of_one_time(1, 100), &STRICT).unwrap();
    assert!((1..100).contains(&again.duplicates), "{again:?}");
    stream.replay(&rows(&[(1, "replayed")]), 0).unwrap();
    let mut cuts = Vec::new();
    stream.cut(1, &mut cuts);
    for cut in &cuts {
        let lines = cut
            .runs
            .iter()
            .flat_map(|run| run.iter().map(|row| row.line.to_vec()));
        let mut lines: Vec<_> = lines.collect();
        lines.sort();
        let all = lines.len();
        lines.dedup();
        assert_eq!(lines.len(), all, "a part has a row once");
    }
    assert_eq!(cuts.len(), 4);
}

#[test]
fn a_cut_takes_its_epoch_and_no_later_rows() {
    let stream = stream();
    stream.append(&rows(&[(1, "a")]), &STRICT).unwrap();
    stream
        .append(&rows(&[(2, "b")]), &Rules { epoch: 2, ..STRICT })
        .unwrap();
    stream.replay(&rows(&[(0, "z")]), 0).unwrap();
    let mut cuts = Vec::new();
    stream.cut(0, &mut cuts);
    assert_eq!((cuts.len(), cuts[0].epoch), (1, 0));
    encode(&cuts);
    cuts.clear();
    stream.cut(1, &mut cuts);
    assert_eq!(
        (cuts.len(), cuts[0].epoch, cuts[0].runs[0].timestamps_ns()),
        (1, 1, &[1][..])
    );
    assert_eq!(all(&stream).len(), 3);
    assert!(!stream.forget(i64::MAX));
}

#[test]
fn the_rate_of_a_stream_is_limited_by_row() {
    let stream = stream();
    let rules = Rules {
        rate_bytes: 10,
        burst_bytes: 10,
        ..STRICT
    };
    let appended = stream
        .append(&rows(&[(1, "12345678"), (2, "1234"), (3, "12")]), &rules)
        .unwrap();
    assert_eq!(
        appended.refused,
        [(1, RefusalReason::StreamRateLimit { limit: 10 })]
    );
    let later = Rules {
        now_ns: 500_000_000,
        ..rules
    };
    let appended = stream
        .append(&rows(&[(4, "12345"), (5, "1")]), &later)
        .unwrap();
    assert_eq!(
        appended.refused,
        [(1, RefusalReason::StreamRateLimit { limit: 10 })]
    );
}

#[test]
fn replayed_rows_that_were_pushed_again_meanwhile_are_there_once() {
    let stream = stream();
    stream
        .append(&rows(&[(5, "e"), (6, "f")]), &STRICT)
        .unwrap();
    stream
        .replay(&rows(&[(1, "a"), (5, "e"), (6, "f"), (6, "g")]), 0)
        .unwrap();
    let times: Vec<_> = all(&stream).iter().map(|row| row.0).collect();
    assert_eq!(times, [1, 5, 6, 6]);
}

proptest! {
    /// With a window that lets everything in, what is stored is the set of what was pushed.
    #[test]
    fn every_distinct_row_is_stored_once(
        pushes in proptest::collection::vec(proptest::collection::vec((0..30i64, 0..3u8), 0..10), 0..20),
        cut_every in 1..5usize,
    ) {
        let stream = stream();
        let mut expected = Vec::new();
        for (number, push) in pushes.iter().enumerate() {
            let push: Vec<_> = push.iter().map(|(time, line)| (*time, line.to_string())).collect();
            expected.extend(push.iter().cloned());
            let push: Vec<_> = push.iter().map(|(time, line)| (*time, line.as_str())).collect();
            let rules = Rules { window_ns: 1000, epoch: 1 + (number / 3) as u64, ..STRICT };
            stream.append(&rows(&push), &rules).unwrap();
            if number % cut_every == 0 {
                let mut cuts = Vec::new();
                stream.cut((number / 3) as u64, &mut cuts);
                encode(&cuts);
            }
        }
        expected.sort();
        expected.dedup();
        prop_assert_eq!(all(&stream), expected);
    }
}
