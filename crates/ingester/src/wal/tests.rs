use std::time::Duration;

use model::{Entries, LabelSet, TenantId};

use super::*;
use crate::testing::FullDisk;

struct Log {
    wal: Wal,
    left: Left,
    streams: Vec<Arc<StreamRef>>,
}

fn open(directory: &Path, disk: Arc<dyn Disk>, segment_bytes: u64) -> Log {
    let config = WalConfig {
        segment_bytes: model::units::ByteSize(segment_bytes),
        retry: model::units::DurationNs::from_millis(5),
        ..WalConfig::default()
    };
    let (wal, left) = Wal::open(&config, directory, disk, 77, WalMetrics::unregistered()).unwrap();
    let first = wal.first_stream();
    let labels = |app: &'static str| LabelSet::from_pairs([("app", app)]);
    let streams = ["a", "b"].into_iter().zip(first..);
    let streams = streams
        .map(|(app, id)| Arc::new(StreamRef::new(id, labels(app))))
        .collect();
    Log { wal, left, streams }
}

impl Log {
    fn push(&self, stream: usize, line: &str) -> oneshot::Receiver<Result<(), WalError>> {
        let mut entries = Entries::default();
        entries.push(1, line.as_bytes(), &LabelSet::default());
        let stream = &self.streams[stream];
        self.wal.append(Append {
            tenant: TenantId::single(),
            records: vec![(vec![(stream.id, 1)], Body::rows(&[Part::all(&entries)]))],
            streams: vec![Arc::clone(stream)],
            on_durable: None,
            reservation: None,
        })
    }
}

/// All rows of a log as `app:line`, as a replay sees them.
fn rows(directory: &Path, left: &Left) -> Vec<String> {
    let mut rows = Vec::new();
    for (number, len) in &left.segments {
        let mut reader = SegmentReader::open(directory, *number, *len, 77).unwrap();
        let mut streams = std::collections::HashMap::new();
        loop {
            match reader.next().unwrap() {
                Next::Record(Record::Streams(new), _) => streams.extend(new),
                Next::Record(Record::Rows(record), _) => {
                    for ((id, _), entries) in record.parts.iter().zip(record.decode().unwrap()) {
                        let app = streams[id].get("app").unwrap();
                        let line = |row: model::EntryRef<'_>| {
                            String::from_utf8_lossy(row.line).into_owned()
                        };
                        rows.extend(entries.iter().map(|row| format!("{app}:{}", line(row))));
                    }
                }
                Next::End => break,
                end => panic!("{end:?}"),
            }
        }
    }
    rows
}

#[test]
fn what_is_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), Arc::new(OsDisk), 1);
    assert!(first.left.segments.is_empty());
    for line in ["1", "2", "3"] {
        first.push(0, line).blocking_recv().unwrap().unwrap();
        first.push(1, line).blocking_recv().unwrap().unwrap();
    }
    assert!(matches!(
        Wal::open(
            &WalConfig::default(),
            dir.path(),
            Arc::new(OsDisk),
            1,
            WalMetrics::unregistered()
        ),
        Err(StartError::InUse { .. })
    ));
    let last = first.wal.last_seq();
    first.wal.close();
    drop(first);
    let second = open(dir.path(), Arc::new(OsDisk), 1 << 20);
    assert_eq!(
        second.left.segments.len(),
        6,
        "a segment of one byte is full at once"
    );
    assert_eq!(
        rows(dir.path(), &second.left),
        ["a:1", "b:1", "a:2", "b:2", "a:3", "b:3"]
    );
    assert!(second.wal.last_seq() > last, "numbers rise from run to run");
    assert_eq!(second.wal.owner(), 77);
}

#[test]
fn segments_go_when_all_their_rows_are_in_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), Arc::new(OsDisk), 1);
    for line in ["1", "2", "3"] {
        log.push(0, line).blocking_recv().unwrap().unwrap();
    }
    let all = log.wal.last_seq();
    log.wal.intend(all - 1).unwrap();
    log.wal.done(all - 1, all - 1).unwrap();
    log.push(0, "4").blocking_recv().unwrap().unwrap();
    log.wal.done(all, all).unwrap();
    log.wal.close();
    drop(log);
    let next = open(dir.path(), Arc::new(OsDisk), 1);
    assert_eq!(rows(dir.path(), &next.left), ["a:4"]);
    assert_eq!((next.left.done, next.left.intended), (all, all));
}

#[test]
fn a_full_disk_refuses_and_what_was_pushed_meanwhile_is_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FullDisk::default();
    let log = open(dir.path(), Arc::new(disk.clone()), 1 << 20);
    log.push(0, "1").blocking_recv().unwrap().unwrap();
    disk.set_full(true);
    let refused = log.push(0, "2").blocking_recv().unwrap();
    assert!(matches!(refused, Err(WalError::Write(_))), "{refused:?}");
    assert!(log.wal.admit().is_err());
    let refused = log.push(1, "3").blocking_recv().unwrap();
    assert!(refused.is_err());
    disk.set_full(false);
    while log.wal.admit().is_err() {
        std::thread::yield_now();
    }
    log.push(0, "4").blocking_recv().unwrap().unwrap();
    log.wal.close();
    drop(log);
    let next = open(dir.path(), Arc::new(disk), 1);
    assert_eq!(rows(dir.path(), &next.left), ["a:1", "a:2", "b:3", "a:4"]);
}

#[test]
fn a_lost_state_is_made_again_from_segments() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), Arc::new(OsDisk), 1 << 20);
    log.push(0, "1").blocking_recv().unwrap().unwrap();
    let last = log.wal.last_seq();
    log.wal.close();
    drop(log);
    std::fs::remove_file(state::path(dir.path())).unwrap();
    let next = open(dir.path(), Arc::new(OsDisk), 1);
    assert_eq!((next.wal.owner(), next.left.intended), (77, u64::MAX));
    assert!(next.wal.last_seq() > last);
    assert_eq!(rows(dir.path(), &next.left), ["a:1"]);
}

#[tokio::test]
async fn the_queue_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), Arc::new(OsDisk), 1);
    let all = log.wal.reserve(1 << 30).await.unwrap();
    let more = log.wal.reserve(1);
    assert!(
        tokio::time::timeout(Duration::from_millis(1), more)
            .await
            .is_err()
    );
    drop(all);
    assert!(log.wal.reserve(1).await.is_ok());
}
