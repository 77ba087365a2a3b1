//! More label names in a day than an index file may have.

use super::bed::{Bed, MINUTE};

/// Streams with a thousand label names each that no other has.
fn streams(numbers: std::ops::Range<u32>) -> Vec<String> {
    let names = |stream| (0..1_000).map(move |name| format!("n{stream}_{name}=v"));
    numbers
        .map(|stream| names(stream).collect::<Vec<_>>().join(","))
        .collect()
}

#[tokio::test]
async fn objects_are_merged_also_if_their_indexes_cannot_be() {
    let bed = Bed::new();
    let rows = bed.rows(0..2, "line");
    for numbers in [0..40, 40..80] {
        let streams = streams(numbers);
        let streams: Vec<_> = streams.iter().map(|text| (text.as_str(), &rows)).collect();
        bed.flush(&streams).await;
    }
    bed.sleep(10 * MINUTE);
    bed.compact().await;
    assert_eq!(bed.objects().await.len(), 1);
    assert_eq!(bed.stored().await.len(), 80);
}
