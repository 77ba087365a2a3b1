//! Index files of plain lists, so that answers can be looked up in the lists.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "in tests a failure is a panic")]

use bytes::Bytes;
use index::{IndexBuilder, ObjectEntry, RunStats};
use model::LabelSet;

/// A run of a block: labels, object, block, times, rows.
pub(crate) type Run = (LabelSet, u32, u32, (i64, i64), u64);

pub(crate) fn object(number: u32) -> ObjectEntry {
    ObjectEntry {
        key: format!("data/fake/2026-01-15/{number}.lgob"),
        id: 1_000 + u128::from(number),
        size: 5_000_000,
        meta_off: 4_900_000,
        meta_len: 100_000,
        ..ObjectEntry::default()
    }
}

pub(crate) fn builder(objects: u32, runs: &[Run]) -> IndexBuilder {
    let mut builder = IndexBuilder::new();
    for number in 0..objects {
        assert_eq!(builder.add_object(object(number)), number);
    }
    for (labels, object, block, (min_ts_ns, max_ts_ns), rows) in runs {
        let (min_ts_ns, max_ts_ns) = (*min_ts_ns, *max_ts_ns);
        let run = RunStats {
            run: 0,
            min_ts_ns,
            max_ts_ns,
            rows: *rows,
            raw_bytes: rows * 100,
        };
        builder.add_block(labels, *object, *block, run);
    }
    builder
}

/// More series than a page has, values that need several pages, labels that some lack.
pub(crate) fn golden_runs() -> Vec<Run> {
    (0..5_000u32)
        .map(|number| {
            let mut labels = vec![
                ("namespace", format!("team-{}", number % 7)),
                (
                    "pod",
                    format!("pod-{:x}-{}", number.wrapping_mul(0x9e37_79b9), number % 3),
                ),
                (
                    "service_name",
                    ["api", "búho", "db"][number as usize % 3].to_owned(),
                ),
            ];
            if number % 10 == 0 {
                labels.push(("level", "error".to_owned()));
            }
            let start = 1_768_435_200_000_000_000 + i64::from(number) * 1_000_000;
            let times = (start, start + 3_600_000_000_000);
            (
                LabelSet::from_pairs(labels),
                number % 4,
                number,
                times,
                10 + u64::from(number),
            )
        })
        .collect()
}

pub(crate) fn golden_file() -> Bytes {
    builder(4, &golden_runs()).build().unwrap()
}
