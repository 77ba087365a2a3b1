//! What a version wrote stays readable.

use bytes::Bytes;
use index::{Index, Stats};
use model::{MatchOp, Matcher, TimeRange};

mod sample;

static VERSION_1: &[u8] = include_bytes!("../testdata/index-v1.lgix");

#[test]
fn version_1_reads_as_it_was_written() {
    let index = Index::parse(Bytes::from_static(VERSION_1)).unwrap();
    let mut runs = sample::golden_runs();
    runs.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(index.series_count() as usize, runs.len());
    assert_eq!(index.objects().len(), 4);
    assert_eq!(index.object(3).unwrap().key, sample::object(3).key);
    assert_eq!(
        index.object(3).unwrap().rows,
        1_250 * 10 + (0..1_250).map(|n| 4 * n + 3).sum::<u64>()
    );
    for (number, (labels, object, block, (min, max), rows)) in (0..).zip(runs) {
        let series = index.series(number).unwrap();
        assert_eq!((series.labels, series.rows), (labels, rows));
        let [at] = index.blocks(number).unwrap() else {
            panic!("one block")
        };
        assert_eq!(
            (at.object, at.block, at.min_ts_ns, at.max_ts_ns),
            (object, block, min, max)
        );
    }
    assert_eq!(
        index
            .label_values("service_name", None, &|| true)
            .unwrap()
            .len(),
        3
    );
    assert_eq!(
        index.label_values("pod", None, &|| true).unwrap().len(),
        5_000
    );
    let errors = [Matcher::new("level", MatchOp::Equal, "error").unwrap()];
    let selected = index.select(&errors, &|| true).unwrap();
    let all = index.stats(&selected, TimeRange::new(0, i64::MAX)).unwrap();
    assert_eq!((all.streams, all.blocks), (500, 500));
    let none = index.stats(&selected, TimeRange::new(0, 1)).unwrap();
    assert_eq!(none, Stats::default());
}
