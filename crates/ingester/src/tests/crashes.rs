//! Processes that die at the worst moment.

use std::time::Duration;

use model::TenantId;
use proptest::prelude::*;

use super::bed::{ALL, Bed, DAY_NS, NOW_NS, Row, received, row, streams};

fn some_rows(from: i64, count: i64) -> Vec<Row> {
    let rows = from..from + count;
    let time = |i: i64| NOW_NS + if i % 7 == 0 { i - DAY_NS } else { i };
    rows.map(|i| {
        row(
            ["a", "b", "c"][i as usize % 3],
            time(i),
            format!("line {i}"),
        )
    })
    .collect()
}

fn sorted(rows: &[Row]) -> Vec<Row> {
    let mut rows = rows.to_vec();
    rows.sort();
    rows
}

/// The store dies at every request of a flush in turn, before or after the request has had its
/// effect, and the process with it. Nothing acknowledged is lost, nothing is there twice.
#[tokio::test(start_paused = true)]
async fn a_crash_at_any_moment_of_a_flush_loses_and_repeats_nothing() {
    let tenants = [TenantId::single(), TenantId::new("other").unwrap()];
    for after_effect in [false, true] {
        for requests in 0.. {
            let mut bed = Bed::new();
            bed.limits.out_of_order_window = model::units::DurationNs(2 * DAY_NS);
            let life = bed.start().await;
            let mut expected = some_rows(0, 30);
            for tenant in &tenants {
                life.push(tenant, &expected).await.unwrap();
            }
            life.ingester.flush().await.unwrap();
            expected.extend(some_rows(30, 30));
            for tenant in &tenants {
                life.push(tenant, &expected[30..]).await.unwrap();
            }
            bed.faults.die_after(requests, after_effect);
            let flushed = tokio::time::timeout(Duration::from_secs(3), life.ingester.flush()).await;
            let is_flushed = matches!(flushed, Ok(Ok(())));
            if is_flushed {
                // These rows are in the log only.
                bed.faults.die_after(0, after_effect);
            }
            let more = some_rows(60, 10);
            life.push(&tenants[0], &more).await.unwrap();
            life.kill().await;
            bed.faults.revive();
            let life = bed.start().await;
            let mut all = expected.clone();
            all.extend(more);
            let what = format!("dead after {requests} requests, effect {after_effect}");
            assert_eq!(life.read(&tenants[0]).await, sorted(&all), "{what}");
            assert_eq!(life.read(&tenants[1]).await, sorted(&expected), "{what}");
            life.ingester.flush().await.unwrap();
            assert_eq!(
                life.read(&tenants[0]).await,
                sorted(&all),
                "{what}, flushed"
            );
            assert_eq!(
                life.read(&tenants[1]).await,
                sorted(&expected),
                "{what}, flushed"
            );
            assert!(life.recent(&tenants[0]).await.1.is_empty());
            life.kill().await;
            if is_flushed {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flush_is_tried_until_the_store_works_again() {
    let bed = Bed::new();
    let life = bed.start().await;
    let tenant = TenantId::single();
    let rows = some_rows(1, 6);
    life.push(&tenant, &rows).await.unwrap();
    bed.faults.fail_every(7);
    while life.ingester.flush().await.is_err() {}
    bed.faults.fail_every(0);
    assert_eq!(life.read(&tenant).await, sorted(&rows));
    bed.faults.die_after(1, true);
    life.push(&tenant, &some_rows(8, 5)).await.unwrap();
    let flush = life.ingester.flush_before_leaving();
    let waited = tokio::time::timeout(Duration::from_secs(60), flush).await;
    assert!(waited.is_err(), "nobody is told that it is flushed");
    let error = life.ingester.flush().await.unwrap_err();
    assert_eq!(error.code, model::Code::Unavailable);
    assert!(error.message.contains("dead"), "{}", error.message);
    assert_eq!(
        life.recent(&tenant).await.1.len(),
        5,
        "and the rows are still here"
    );
    bed.faults.revive();
    life.ingester.flush().await.unwrap();
    assert!(life.recent(&tenant).await.1.is_empty());
    assert_eq!(life.read(&tenant).await.len(), 11);
}

/// Rows that are worth keeping the body that they came in.
fn long_rows(from: i64, count: i64) -> Vec<Row> {
    let mut rows = some_rows(from, count);
    for row in &mut rows {
        row.line
            .push_str(" of a request that was answered with 200 OK");
    }
    rows
}

#[tokio::test]
async fn a_body_that_was_written_as_it_came_is_replayed() {
    let mut bed = Bed::new();
    bed.limits.out_of_order_window = model::units::DurationNs(2 * DAY_NS);
    let life = bed.start().await;
    let tenant = TenantId::single();
    let rows = long_rows(0, 60);
    let kept = |rows: &[Row]| {
        let in_segments = bed.segments().concat();
        let snappy = received(&streams(rows)).snappy;
        in_segments
            .windows(snappy.len())
            .any(|found| found == snappy)
    };
    life.push(&tenant, &rows[..30]).await.unwrap();
    assert!(kept(&rows[..30]), "late rows are no reason not to");
    // Some of these are there already: what is new of them is written.
    life.push(&tenant, &rows[20..]).await.unwrap();
    assert!(!kept(&rows[20..]));
    assert_eq!(life.read(&tenant).await, sorted(&rows));
    life.kill().await;
    let life = bed.start().await;
    assert_eq!(life.read(&tenant).await, sorted(&rows));
    assert_eq!(life.push(&tenant, &rows).await.unwrap(), []);
    assert_eq!(life.read(&tenant).await, sorted(&rows));
}

#[tokio::test]
async fn a_torn_tail_of_the_log_is_left_out() {
    let bed = Bed::new();
    let life = bed.start().await;
    let tenant = TenantId::single();
    let rows = some_rows(1, 4);
    for row in &rows {
        life.push(&tenant, std::slice::from_ref(row)).await.unwrap();
    }
    life.kill().await;
    let segment = bed.last_segment();
    let bytes = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &bytes[..bytes.len() - 1]).unwrap();
    let life = bed.start().await;
    assert_eq!(life.read(&tenant).await, sorted(&rows[..3]));
    assert_eq!(life.push(&tenant, &rows[3..]).await.unwrap(), []);
    life.kill().await;
    let life = bed.start().await;
    assert_eq!(life.read(&tenant).await, sorted(&rows));
}

#[tokio::test]
async fn a_segment_that_was_just_begun_is_no_damage() {
    let bed = Bed::new();
    let life = bed.start().await;
    let tenant = TenantId::single();
    life.push(&tenant, &some_rows(1, 3)).await.unwrap();
    life.kill().await;
    bed.begin_segment();
    let empty = bed.last_segment();
    let life = bed.start().await;
    assert_eq!(life.read(&tenant).await, sorted(&some_rows(1, 3)));
    let replay = &life.ingester.inner().metrics.replay;
    assert_eq!((replay.torn.get(), replay.damaged.get()), (1, 0));
    life.ingester.flush().await.unwrap();
    life.kill().await;
    assert!(!bed.has_segments());
    assert!(!empty.with_extension("damaged").exists());
}

#[tokio::test]
async fn damage_in_the_middle_costs_what_it_hits() {
    let bed = Bed::new();
    let life = bed.start().await;
    let tenant = TenantId::single();
    // Each life has a segment of its own.
    life.push(&tenant, &some_rows(1, 1)).await.unwrap();
    life.push(&tenant, &some_rows(2, 1)).await.unwrap();
    life.kill().await;
    let segment = bed.last_segment();
    // What names the stream of the first row: that row is lost with it.
    flip(&segment, 80);
    let life = bed.start().await;
    let replay = &life.ingester.inner().metrics.replay;
    assert_eq!((replay.damaged.get(), replay.lost_rows.get()), (1, 1));
    assert!(replay.damaged_bytes.get() > 16);
    life.push(&tenant, &some_rows(3, 1)).await.unwrap();
    life.kill().await;
    let life = bed.start().await;
    assert_eq!(life.read(&tenant).await, sorted(&some_rows(2, 2)));
    life.ingester.flush().await.unwrap();
    life.kill().await;
    assert!(!bed.has_segments());
    assert!(
        segment.with_extension("damaged").exists(),
        "kept for who wants to look"
    );
}

pub(super) fn flip(file: &std::path::Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, &bytes).unwrap();
}

#[tokio::test]
async fn a_stream_whose_definition_is_damaged_is_known_from_another_segment() {
    let mut bed = Bed::new();
    // Each push has a segment of its own, which names the stream.
    bed.config.wal.segment_bytes = model::units::ByteSize(1);
    let life = bed.start().await;
    let tenant = TenantId::single();
    let rows = [1, 4, 10].map(|i| some_rows(i, 1).remove(0));
    for row in &rows {
        life.push(&tenant, std::slice::from_ref(row)).await.unwrap();
    }
    life.kill().await;
    flip(&bed.last_segment(), 80);
    let life = bed.start().await;
    assert_eq!(life.read(&tenant).await, sorted(&rows));
    let replay = &life.ingester.inner().metrics.replay;
    assert_eq!((replay.damaged.get(), replay.lost_rows.get()), (1, 0));
}

#[tokio::test]
async fn segments_that_are_gone_or_empty_are_missed() {
    let mut bed = Bed::new();
    bed.config.wal.segment_bytes = model::units::ByteSize(1);
    let tenant = TenantId::single();
    let rows = some_rows(1, 6);
    let life = bed.start().await;
    for row in &rows {
        life.push(&tenant, std::slice::from_ref(row)).await.unwrap();
    }
    life.kill().await;
    let segments = bed.segment_files();
    std::fs::remove_file(&segments[0]).unwrap();
    std::fs::remove_file(&segments[2]).unwrap();
    std::fs::write(&segments[3], []).unwrap();
    let life = bed.start().await;
    let left = [1, 4, 5].map(|at| rows[at].clone());
    assert_eq!(life.read(&tenant).await, sorted(&left));
    let replay = &life.ingester.inner().metrics.replay;
    let told = (replay.lost_records.get(), replay.damaged.get());
    assert_eq!((told, replay.torn.get()), ((3, 1), 0));
    life.ingester.flush().await.unwrap();
    life.kill().await;
    assert!(!bed.has_segments());
}

#[tokio::test]
async fn what_an_earlier_run_committed_is_asked_for_once() {
    let bed = Bed::new();
    let life = bed.start().await;
    let tenant = TenantId::single();
    life.push(&tenant, &some_rows(1, 3)).await.unwrap();
    life.ingester.flush().await.unwrap();
    life.kill().await;
    let life = bed.start().await;
    let before = bed.faults.requests();
    let (coverage, _) = life.recent(&tenant).await;
    assert_eq!(coverage.committed.len(), 1);
    // The days of the tenant, the files of the day's manifest, its entry.
    assert_eq!(bed.faults.requests() - before, 3);
    life.catalog
        .snapshot(&tenant, ALL, &coverage.committed)
        .await
        .unwrap();
    let (again, _) = life.recent(&tenant).await;
    assert_eq!((again, bed.faults.requests() - before), (coverage, 3));
}

/// Something that happens to an ingester.
#[derive(Clone, Copy, Debug)]
enum Event {
    Push(u8),
    PushAgain,
    Flush,
    DieIn(u8, bool),
    /// With so many bytes of a record that was never finished.
    Kill(u8),
    Shutdown,
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1..40u8).prop_map(Event::Push),
        1 => Just(Event::PushAgain),
        2 => Just(Event::Flush),
        2 => (0..12u8, any::<bool>()).prop_map(|(requests, effect)| Event::DieIn(requests, effect)),
        2 => (0..60u8).prop_map(Event::Kill),
        1 => Just(Event::Shutdown),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever happens, what was acknowledged is there once.
    #[test]
    fn acknowledged_rows_are_there_once(events in proptest::collection::vec(any_event(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(run(&events));
    }
}

async fn run(events: &[Event]) {
    let bed = Bed::new();
    let tenant = TenantId::single();
    let mut life = bed.start().await;
    let mut rows: Vec<Row> = Vec::new();
    let mut last: Vec<Row> = Vec::new();
    for event in events {
        match event {
            Event::Push(count) => {
                let from = rows.len() as i64;
                let new = from..from + i64::from(*count);
                last = new
                    .map(|i| row(["a", "b"][i as usize % 2], NOW_NS + i, format!("{i}")))
                    .collect();
                life.push(&tenant, &last).await.unwrap();
                rows.extend(last.iter().cloned());
            }
            // Only what is still in memory is known as a copy.
            Event::PushAgain => {
                if life.recent(&tenant).await.1.len() >= rows.len() {
                    assert_eq!(life.push(&tenant, &last).await.unwrap(), []);
                }
            }
            Event::Flush => {
                let flush = life.ingester.flush();
                let _ = tokio::time::timeout(Duration::from_secs(2), flush).await;
            }
            Event::DieIn(requests, effect) => bed.faults.die_after(u64::from(*requests), *effect),
            Event::Kill(torn) => {
                life.kill().await;
                if bed.has_segments() {
                    bed.tear_segment(usize::from(*torn));
                }
                bed.faults.revive();
                life = bed.start().await;
            }
            Event::Shutdown => {
                life.ingester.shutdown(Duration::from_secs(2)).await;
                drop(life);
                bed.faults.revive();
                life = bed.start().await;
            }
        }
        assert_eq!(life.ingester.inner().metrics.replay.lost_records.get(), 0);
    }
    bed.faults.revive();
    let expected = sorted(&rows);
    assert_eq!(life.read(&tenant).await, expected);
    life.kill().await;
    let life = bed.start().await;
    assert_eq!(life.read(&tenant).await, expected, "after a last crash");
    life.ingester.flush().await.unwrap();
    assert_eq!(life.read(&tenant).await, expected, "after a last flush");
    life.kill().await;
    assert!(!bed.has_segments());
}
