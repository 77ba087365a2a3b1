//! Explanations, protobuf, limits of requests: what an answer may be instead.

use axum::body::Body;
use chunk::LinesPolicy;
use http::Request;
use model::units::ByteSize;
use model::{Entries, LabelSet};
use serde_json::Value;

use super::bed::{Bed, NOW_NS, START_NS, rows, tenant};
use super::endpoints::{bed, get, get_json, send};

const RANGE: &str = "/loki/api/v1/query_range";

async fn explain(bed: &Bed, path: &str, query: &str) -> Value {
    let now = (NOW_NS / 1_000_000_000).to_string();
    let params = [("query", query), ("explain", "true"), ("time", &now)];
    let body = get_json(bed, path, &params).await;
    body["data"]["explain"].clone()
}

#[tokio::test]
async fn a_log_query_says_what_it_reads_before_and_after() {
    let bed = bed().await;
    let told = explain(&bed, RANGE, r#"{app=~"web|db"} |= "line 1" | logfmt"#).await;
    let part = &told["parts"][0];
    assert_eq!(part["tenant"], "team-a");
    assert_eq!((&part["streams"], &part["blocks"]), (&2.into(), &2.into()));
    assert_eq!((&part["objects"], &part["rows"]), (&2.into(), &12.into()));
    assert!(part["bytesToRead"].as_u64().unwrap() > 0);
    assert_eq!(part["bytesCached"], 0);
    let pushed_down = part["pushedDown"].to_string();
    for step in [
        r#"app=~\"web|db\""#,
        r#"line has \"line 1\""#,
        "newest blocks first",
    ] {
        assert!(
            pushed_down.contains(step),
            "{step} is missing in {pushed_down}"
        );
    }
    assert_eq!(told["estimate"]["rows"], 12);
    // line 1 and line 10 of web, line 1 of db.
    assert_eq!(told["actual"]["returned"], 3);
    assert!(told["actual"]["blocksRead"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn what_outlines_rule_out_is_not_read() {
    let mut bed = Bed::new();
    bed.lines = LinesPolicy::Structured;
    let mut random = 1u64;
    let mut entries = Entries::default();
    for row in 0..6_000 {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d) + 1;
        let line = format!("level=info id={random:016x}{:016x}", random.swap_bytes());
        entries.push(START_NS + row, line.as_bytes(), &LabelSet::default());
    }
    bed.store(&tenant(), 1, "app=web", &entries).await;
    for query in [
        r#"{app="web"} |= "xylophone""#,
        r#"sum(count_over_time({app="web"} |= "xylophone" [1h]))"#,
    ] {
        let told = explain(&bed, RANGE, query).await;
        assert_eq!(told["estimate"]["rows"], 6_000, "{query}");
        assert_eq!(told["estimate"]["bytesToRead"], 0, "{query}");
        assert_eq!(told["actual"]["blocksRead"], 0, "{query}");
    }
    let told = explain(
        &bed,
        RANGE,
        r#"{app="web"} != "xylophone" |= "5851f42d4c957f2e""#,
    )
    .await;
    assert_eq!(told["actual"]["returned"], 1);
}

#[tokio::test]
async fn what_counters_answer_is_not_read() {
    let bed = bed().await;
    let query = r#"sum(count_over_time({app="web"}[1h]))"#;
    let told = explain(&bed, "/loki/api/v1/query", query).await;
    let part = &told["parts"][0];
    assert_eq!(
        (&part["runsCounted"], &part["bytesToRead"]),
        (&1.into(), &0.into())
    );
    assert!(
        part["pushedDown"]
            .to_string()
            .contains("counters in footers")
    );
    assert_eq!(told["actual"]["blocksRead"], 0);
    assert_eq!(told["actual"]["returned"], 1);
}

#[tokio::test]
async fn a_block_of_many_streams_is_read_once() {
    let mut bed = Bed::new();
    bed.config.scan_threads = 8;
    let mut streams: Vec<String> = (0..40)
        .map(|number| format!("app=web,n={number}"))
        .collect();
    streams.sort();
    bed.store_together(&tenant(), 1, &streams, &rows(1..11))
        .await;
    for query in [
        r#"{app="web"}"#,
        r#"{app="web"} |= "line 1""#,
        r#"sum by (n) (count_over_time({app="web"} |= "line 1" [1h]))"#,
    ] {
        let told = explain(&bed, RANGE, query).await;
        assert_eq!(told["estimate"]["streams"], 40, "{query}");
        assert_eq!(told["estimate"]["blocks"], 1, "{query}");
        assert_eq!(told["actual"]["blocksRead"], 1, "{query}");
    }
}

#[tokio::test]
async fn a_query_that_fails_is_explained_with_its_error() {
    let mut bed = Bed::new();
    bed.store(&tenant(), 1, "app=web", &rows(0..1000)).await;
    bed.limits.max_query_bytes_read = ByteSize(10);
    let told = explain(&bed, RANGE, r#"{app="web"}"#).await;
    assert_eq!(told["estimate"]["rows"], 1000);
    assert!(told["actual"].is_null());
    let error = told["error"].as_str().unwrap();
    assert!(
        error.contains("the query would read too many bytes"),
        "{error}"
    );
    let wrong = get(&bed, RANGE, &[("query", "{"), ("explain", "true")]).await;
    assert_eq!(wrong.0, 400);
}

#[tokio::test]
async fn protobuf_is_answered_where_it_is_asked_for() {
    let bed = bed().await;
    let selector = "%7Bapp%3D%22web%22%7D";
    for (path, params) in [
        ("query_range", format!("query={selector}")),
        ("/api/prom/query", format!("query={selector}")),
        ("query", "query=1%2B1".to_owned()),
        ("labels", String::new()),
        ("label/app/values", String::new()),
        ("series", format!("match[]={selector}")),
        ("index/stats", format!("query={selector}")),
        ("index/volume", format!("query={selector}")),
        ("index/volume_range", format!("query={selector}")),
        ("detected_labels", String::new()),
        ("detected_fields", format!("query={selector}")),
        ("detected_field/app/values", format!("query={selector}")),
        ("patterns", format!("query={selector}")),
    ] {
        let base = match path.starts_with('/') {
            true => "",
            false => "/loki/api/v1/",
        };
        let url = format!("{base}{path}?{params}&start={START_NS}&end={NOW_NS}");
        let request = Request::get(&url)
            .header("x-scope-orgid", "team-a")
            .header("accept", "application/vnd.google.protobuf")
            .body(Body::empty())
            .unwrap();
        let answer = super::endpoints::answer(&bed, request).await;
        assert_eq!(answer.status(), 200, "{url}");
        let kind = answer.headers().get("content-type").unwrap();
        assert_eq!(kind, "application/vnd.google.protobuf", "{url}");
    }
}

#[tokio::test]
async fn a_request_may_have_tighter_limits_if_the_configuration_says_so() {
    let mut bed = bed().await;
    let ask = |limits: &'static str| {
        let url =
            format!("{RANGE}?query=%7Bapp%3D%22web%22%7D&start={START_NS}&end={NOW_NS}&limit=5");
        Request::get(url)
            .header("x-scope-orgid", "team-a")
            .header("x-loki-query-limits", limits)
            .body(Body::empty())
            .unwrap()
    };
    let tight = r#"{"maxEntriesLimitPerQuery":3}"#;
    assert_eq!(send(&bed, ask(tight)).await.0, 200, "off by default");
    bed.config.per_request_limits_enabled = true;
    let (status, text) = send(&bed, ask(tight)).await;
    assert_eq!(status, 400);
    assert!(
        text.contains("max_entries_limit_per_query (5 > 3)"),
        "{text}"
    );
    assert_eq!(
        send(&bed, ask(r#"{"maxEntriesLimitPerQuery":9000}"#))
            .await
            .0,
        200
    );
    let (status, text) = send(&bed, ask("{")).await;
    assert_eq!(status, 400);
    assert!(text.starts_with("x-loki-query-limits: "), "{text}");
}
