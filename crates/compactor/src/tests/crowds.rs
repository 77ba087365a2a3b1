//! More rows at a time than there is memory for, and what cannot be merged.

use model::units::ByteSize;
use model::{Entries, LabelSet};

use super::bed::{Bed, HOUR, MINUTE, once, tenant};

/// Bytes of a line.
const LINE: usize = 200;

/// Rows that do not compress, at times that follow each other by `step_ns`.
fn rows(bed: &Bed, seed: u64, count: u64, step_ns: i64) -> Entries {
    let mut entries = Entries::default();
    let mut state = seed;
    for row in 0..count {
        let mut line = format!("{seed} {row} ");
        while line.len() < LINE {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            line.push_str(&format!("{:x}", state >> 20));
        }
        let metadata = LabelSet::from_pairs([("n", (row % 3).to_string().as_str())]);
        let time_ns = bed.start_ns() + HOUR + row as i64 * step_ns;
        assert!(entries.push(time_ns, line.as_bytes(), &metadata));
    }
    entries
}

/// Eight objects of four blocks each, 6 MB of lines with a copy of each object, for 1 MB of memory.
async fn crowded(step_ns: i64) -> Bed {
    let mut bed = Bed::new();
    bed.config.memory = ByteSize::mib(1);
    for object in 0..4 {
        let of = |block: u64| rows(&bed, object * 10 + block, 1000, step_ns);
        let blocks = [of(0), of(1), of(2), of(3)];
        let blocks: Vec<(&str, &Entries)> = blocks.iter().map(|b| ("app=web", b)).collect();
        bed.flush(&blocks).await;
        bed.flush(&blocks).await;
    }
    bed
}

#[tokio::test]
async fn lines_of_one_time_are_merged_though_memory_does_not_hold_them() {
    for step_ns in [0, 1] {
        let bed = crowded(step_ns).await;
        let before = bed.stored().await;
        assert_eq!(before.values().map(Vec::len).sum::<usize>(), 32_000);
        bed.sleep(10 * MINUTE);
        bed.compact().await;
        assert!(bed.objects().await.len() < 8, "step {step_ns}");
        assert_eq!(bed.stored().await, once(before), "step {step_ns}");
    }
}

#[tokio::test]
async fn who_cannot_be_merged_is_left_out_and_leaves_no_files() {
    let mut bed = Bed::new();
    bed.config.memory = ByteSize(256 << 10);
    bed.config.target_object_size = ByteSize(32 << 10);
    // Each fits, so that a file is written before those that do not.
    for object in 0..2 {
        let fits = rows(&bed, object, 500, 1);
        let too_large = rows(&bed, object + 10, 3000, 1);
        bed.flush(&[("app=a", &fits), ("app=web", &too_large)])
            .await;
        bed.sleep(1_000_000);
    }
    for object in 2..4 {
        let fits = rows(&bed, object, 50, 1);
        bed.flush(&[("app=a", &fits)]).await;
    }
    let before = bed.stored().await;
    bed.sleep(10 * MINUTE);
    let compactor = bed.compact().await;
    assert_eq!(
        bed.files("data").await.len(),
        4,
        "what failed leaves nothing"
    );
    for _ in 0..3 {
        compactor.run_once().await;
    }
    assert_eq!(bed.objects().await.len(), 3, "the others are merged");
    assert_eq!(bed.files("data").await.len(), 5);
    assert_eq!(bed.stored().await, before);
    let state = bed.catalog().latest(&tenant(), bed.day).await.unwrap();
    assert_eq!(
        state
            .objects
            .values()
            .filter(|file| file.level == 0)
            .count(),
        2
    );
}
