//! What is damaged is left out, and the answer says so.

use std::sync::Arc;

use storage::key::{data_key, index_key};

use proto::role::{Coverage, LostRows};

use super::bed::{Bed, DAY, FakeIngester, range_query, rows, tenant};
use super::endpoints::get_json;
use crate::{Answer, Querier};

/// Flips a bit in the first frame of the first block.
fn flip(bytes: &mut [u8]) {
    bytes[30] ^= 1;
}

fn data(id: u128) -> String {
    data_key(&tenant(), DAY, id)
}

/// Lines or the sum of all points of an answer, and its warnings.
async fn asked(querier: &Arc<Querier>, text: &str) -> (f64, Vec<String>) {
    let answered = querier
        .range_query(&[tenant()], range_query(text))
        .await
        .unwrap();
    let value = match &answered.value {
        Answer::Streams(rows) => rows.len() as f64,
        Answer::Matrix(series) => {
            let points = series.iter().flat_map(|series| &series.points);
            points.map(|(_, value)| value).sum()
        }
        other => panic!("{other:?}"),
    };
    (value, answered.warnings)
}

/// Queries that count each line once, in all ways in which blocks are read.
const QUERIES: [&str; 4] = [
    r#"{app="web"}"#,
    r#"{app="web"} |= "line""#,
    r#"sum(count_over_time({app="web"} |= "line" [1m]))"#,
    r#"sum(count_over_time({app="web"} | regexp "(?P<n>[0-9]+)" | n >= 0 [1m]))"#,
];

#[tokio::test]
async fn the_rest_of_a_query_says_what_is_missing() {
    let mut bed = Bed::new();
    bed.store(&tenant(), 1, "app=web", &rows(1..101)).await;
    bed.store(&tenant(), 2, "app=web", &rows(301..341)).await;
    bed.damage(&data(1), |bytes| flip(bytes));
    let querier = bed.querier();
    for text in QUERIES {
        // What is not whole is not kept for the next time.
        for _ in 0..2 {
            let (value, warnings) = asked(&querier, text).await;
            assert_eq!(value, 40.0, "{text}");
            let [warning] = warnings.as_slice() else {
                panic!("{text}: {warnings:?}");
            };
            let head = format!("{} is damaged: block 0 ", data(1));
            assert!(warning.starts_with(&head), "{text}: {warning}");
            assert!(warning.ends_with("up to 100 lines"), "{text}: {warning}");
        }
    }
    assert_eq!(querier.metrics().damaged.get(), 2 * QUERIES.len() as u64);
}

/// As when it was spoilt on the way, or its file was brought back.
#[tokio::test]
async fn what_is_whole_again_is_found_again() {
    let mut bed = Bed::new();
    bed.store(&tenant(), 1, "app=web", &rows(1..101)).await;
    let many: Vec<String> = (0..5).map(|pod| format!("app=web,pod={pod}")).collect();
    bed.store_together(&tenant(), 2, &many, &rows(1..101)).await;
    for (id, without) in [(1, 500.0), (2, 100.0)] {
        for text in QUERIES {
            bed.damage(&data(id), |bytes| flip(bytes));
            let querier = bed.querier();
            let (value, warnings) = asked(&querier, text).await;
            assert_eq!((value, warnings.len()), (without, 1), "{text}");
            bed.change(&data(id), |bytes| flip(bytes));
            let whole = asked(&querier, text).await;
            assert_eq!(whole, (600.0, Vec::new()), "{text}");
        }
    }
}

#[tokio::test]
async fn what_a_log_has_lost_is_missing_unless_a_replica_has_it() {
    let mut bed = Bed::new();
    let lost = |segment, rows, records| LostRows {
        segment,
        rows,
        records,
    };
    let ingester = |name: &str, lost: &[LostRows]| {
        let ingester = FakeIngester::with(&tenant(), "app=web", rows(1..41));
        *ingester.coverage.lock() = Coverage {
            ingester: name.to_owned(),
            lost: lost.to_vec(),
            ..Coverage::default()
        };
        Arc::new(ingester)
    };
    let (a, b) = ("ingester-a", "ingester-b");
    bed.ingesters = vec![
        ingester(a, &[lost(3, 500, 0), lost(4, 0, 2), lost(5, 7, 1)]),
        ingester(b, &[]),
    ];
    let head = |segment: u64| {
        format!(
            "segment {segment} of the write-ahead log of {a} is damaged: it cannot be read as it was written; missing in this answer: "
        )
    };
    let texts = [
        head(3) + "up to 500 lines",
        head(4) + "the lines of 2 pushes",
        head(5) + "up to 7 lines, and those of 1 pushes",
    ];
    for text in QUERIES {
        let (value, warnings) = asked(&bed.querier(), text).await;
        assert_eq!(value, 40.0, "{text}");
        assert_eq!(warnings, texts, "{text}");
    }
    // Each row is in two of three ingesters at least.
    bed.failures_max = Some(1);
    assert_eq!(
        asked(&bed.querier(), QUERIES[0]).await.1,
        Vec::<String>::new()
    );
    bed.ingesters.push(ingester(b, &[lost(1, 0, 0)]));
    let (_, warnings) = asked(&bed.querier(), QUERIES[0]).await;
    assert!(
        warnings.len() == 4 && warnings[0].ends_with("nobody knows how many lines"),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn a_frame_is_named() {
    let mut bed = Bed::new();
    bed.store(&tenant(), 1, "app=web", &rows(1..101)).await;
    bed.damage(&data(1), |bytes| flip(bytes));
    let (_, warnings) = asked(&bed.querier(), QUERIES[0]).await;
    assert!(warnings[0].contains("block 0 frame "), "{warnings:?}");
}

#[tokio::test]
async fn a_copy_has_what_is_damaged_elsewhere() {
    let mut bed = Bed::new();
    bed.store(&tenant(), 1, "app=web", &rows(1..101)).await;
    bed.store(&tenant(), 2, "app=web", &rows(1..101)).await;
    bed.damage(&data(2), |bytes| flip(bytes));
    for text in QUERIES {
        let (value, warnings) = asked(&bed.querier(), text).await;
        assert_eq!((value, warnings.len()), (100.0, 1), "{text}");
    }
}

#[tokio::test]
async fn blocks_of_many_streams_and_objects_that_are_gone_or_cut_short_are_left_out() {
    let mut bed = Bed::new();
    bed.store(&tenant(), 1, "app=web,pod=x", &rows(1..11)).await;
    let pods: Vec<String> = (0..5).map(|pod| format!("app=web,pod={pod}")).collect();
    bed.store_together(&tenant(), 2, &pods, &rows(1..101)).await;
    bed.damage(&data(2), |bytes| flip(bytes));
    for text in QUERIES {
        let (value, warnings) = asked(&bed.querier(), text).await;
        assert_eq!((value, warnings.len()), (10.0, 1), "{text}: {warnings:?}");
        assert!(warnings[0].ends_with("up to 500 lines"), "{warnings:?}");
    }
    bed.damage(&data(2), |bytes| bytes.truncate(100));
    for text in QUERIES {
        let (value, warnings) = asked(&bed.querier(), text).await;
        assert_eq!((value, warnings.len()), (10.0, 1), "{text}: {warnings:?}");
    }
    bed.remove(&data(2));
    let (value, warnings) = asked(&bed.querier(), QUERIES[0]).await;
    assert_eq!(value, 10.0);
    let text = format!(
        "{} is damaged: it is not in the store; missing in this answer: up to 500 lines",
        data(2)
    );
    assert_eq!(warnings, [text]);
}

#[tokio::test]
async fn labels_and_sizes_say_it_too() {
    let mut bed = Bed::new();
    bed.store(&tenant(), 1, "app=web", &rows(1..11)).await;
    bed.store(&tenant(), 2, "app=db", &rows(1..3)).await;
    let key = index_key(&tenant(), DAY, 1);
    bed.damage(&key, |bytes| bytes.truncate(40));
    let all = r#"{app=~".+"}"#;
    for (path, params) in [
        ("labels", vec![]),
        ("label/app/values", vec![]),
        ("series", vec![("match[]", all)]),
        ("index/stats", vec![("query", all)]),
        ("index/volume", vec![("query", all)]),
        ("index/volume_range", vec![("query", all), ("step", "60")]),
        ("detected_labels", vec![("query", all)]),
        ("query_range", vec![("query", all)]),
        (
            "query",
            vec![("query", r#"count_over_time({app=~".+"}[1h])"#)],
        ),
    ] {
        let body = get_json(&bed, &format!("/loki/api/v1/{path}"), &params).await;
        let warning = body["warnings"][0].as_str().unwrap_or_default();
        assert!(
            warning.starts_with(&format!("{key} is damaged: ")),
            "{path}: {body}"
        );
        let tail = "what it lists, up to 1 streams in 1 objects";
        assert!(warning.ends_with(tail), "{path}: {warning}");
        let text = body.to_string();
        let has_rest = text.contains("app") || text.contains("db");
        assert!(has_rest || path == "index/stats", "{path}: {text}");
    }
    let whole = Bed::new();
    whole.store(&tenant(), 2, "app=db", &rows(1..3)).await;
    let body = get_json(&whole, "/loki/api/v1/labels", &[]).await;
    assert!(body.get("warnings").is_none());
}
