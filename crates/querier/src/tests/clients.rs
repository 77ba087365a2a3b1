//! What Grafana's data source, logcli and Logs Drilldown send, and what they read of the answers.

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};

use super::bed::{Bed, NOW_NS, START_NS};
use super::endpoints::{bed, get, get_json, send};

const RANGE: &str = "/loki/api/v1/query_range";

/// A request as Grafana's data source makes it.
async fn grafana(bed: &Bed, path: &str) -> (u16, String) {
    let request = Request::get(path)
        .header("x-scope-orgid", "team-a")
        .header("x-loki-response-encoding-flags", "categorize-labels")
        .header("x-query-tags", "Source=logvolhist")
        .header("authorization", "Basic dXNlcjpwYXNz")
        .body(Body::empty());
    send(bed, request.unwrap()).await
}

fn parsed(answer: &(u16, String)) -> Value {
    assert_eq!(answer.0, 200, "{}", answer.1);
    serde_json::from_str(&answer.1).unwrap()
}

#[tokio::test]
async fn grafana_reads_flags_before_lines_and_labels_by_category() {
    let bed = bed().await;
    let query = "%7Bapp%3D%22web%22%7D%20%7C%20label_format%20x%3D%60y%60";
    let at = |direction: &str| {
        format!(
            "{RANGE}?query={query}&direction={direction}&limit=3&start={START_NS}&end={NOW_NS}&step=60000ms"
        )
    };
    let (status, text) = grafana(&bed, &at("backward")).await;
    assert_eq!(status, 200, "{text}");
    let place = |part: &str| text.find(part).unwrap();
    assert!(place("\"encodingFlags\"") < place("\"result\""));
    let body: Value = serde_json::from_str(&text).unwrap();
    let data = &body["data"];
    assert_eq!(data["encodingFlags"], json!(["categorize-labels"]));
    assert_eq!(
        data["result"][0]["stream"],
        json!({"app": "web", "env": "prod"})
    );
    let newest = (START_NS + 10_000_000_000).to_string();
    let line = json!([newest, "line 10", {"parsed": {"x": "y"}}]);
    assert_eq!(data["result"][0]["values"][0], line);
    let summary = &data["stats"]["summary"];
    for name in [
        "bytesProcessedPerSecond",
        "linesProcessedPerSecond",
        "totalBytesProcessed",
        "totalLinesProcessed",
        "execTime",
    ] {
        assert!(summary[name].is_number(), "{name} in {summary}");
    }
    let ingester = &data["stats"]["ingester"];
    for name in [
        "totalReached",
        "totalChunksMatched",
        "totalBatches",
        "totalLinesSent",
    ] {
        assert!(ingester[name].is_number(), "{name} in {ingester}");
    }
    // Context of a line: forward and backward from its time.
    let forward = parsed(&grafana(&bed, &at("forward")).await);
    let oldest = (START_NS + 1_000_000_000).to_string();
    assert_eq!(forward["data"]["result"][0]["values"][0][0], json!(oldest));
}

#[tokio::test]
async fn grafanas_health_check_is_a_sum_of_vectors() {
    let bed = bed().await;
    let path = "/loki/api/v1/query?query=vector(1)%2Bvector(1)&time=4000000000&direction=backward";
    let body = parsed(&grafana(&bed, path).await);
    assert_eq!(body["data"]["resultType"], "vector");
    // It means nanoseconds, but ten digits are seconds; it looks at the number only.
    assert_eq!(
        body["data"]["result"],
        json!([{"metric": {}, "value": [4_000_000_000_i64, "2"]}])
    );
}

#[tokio::test]
async fn the_queries_that_grafana_builds_are_answered() {
    let bed = bed().await;
    for query in [
        r#"sum by (level, detected_level) (count_over_time({app="web"} |= `` | drop __error__ [1m]))"#,
        r#"{app="web"} |= """#,
        r#"{app="web"} | json | logfmt | drop __error__, __error_details__"#,
        r#"label_replace(rate({app="web"}[5m]), "a", "$1", "app", "(.*)")"#,
        r#"{app="web", __stream_shard__=~"1|2|"}"#,
        r#"sum by (app) (count_over_time({app=~".+", __stream_shard__=""}[1h]))"#,
    ] {
        let body = get_json(&bed, RANGE, &[("query", query), ("step", "60000ms")]).await;
        assert_eq!(body["status"], "success", "{query}");
        let result = body["data"]["result"].as_array().unwrap();
        assert!(!result.is_empty(), "{query}");
    }
}

#[tokio::test]
async fn resources_are_asked_with_times_in_nanoseconds() {
    let bed = bed().await;
    let selector = "query=%7Bapp%3D%22web%22%7D";
    let range = format!("start={START_NS}&end={NOW_NS}");
    for (path, key) in [
        (format!("labels?{range}"), "data"),
        (format!("labels?{range}&{selector}"), "data"),
        (format!("label/app/values?{range}&{selector}"), "data"),
        (
            format!("series?match[]=%7Bapp%3D%22web%22%7D&{range}"),
            "data",
        ),
        (format!("index/stats?{selector}&{range}"), "entries"),
        (format!("detected_fields?{selector}&{range}&limit=500"), ""),
        (
            format!("detected_field/app/values?{selector}&{range}&limit=500"),
            "",
        ),
    ] {
        let body = parsed(&grafana(&bed, &format!("/loki/api/v1/{path}")).await);
        assert!(key.is_empty() || !body[key].is_null(), "{path}: {body}");
    }
    for path in ["/prometheus/api/v1/rules", "/prometheus/api/v1/alerts"] {
        assert_eq!(
            parsed(&grafana(&bed, path).await)["status"],
            "success",
            "{path}"
        );
    }
    let (status, text) = grafana(&bed, "/loki/api/v1/rules").await;
    assert_eq!((status, text.as_str()), (404, "no rule groups found\n"));
}

#[tokio::test]
async fn logcli_pages_by_the_time_of_the_last_line() {
    let bed = bed().await;
    let (mut end_ns, mut found) = (NOW_NS, Vec::new());
    loop {
        let end = end_ns.to_string();
        let params = [("query", r#"{app="web"}"#), ("limit", "4"), ("end", &end)];
        let body = get_json(&bed, RANGE, &params).await;
        let streams = body["data"]["result"].as_array().unwrap();
        let rows: Vec<&Value> = streams
            .iter()
            .flat_map(|s| s["values"].as_array().unwrap())
            .collect();
        let new: Vec<String> = rows
            .iter()
            .map(|row| row[1].as_str().unwrap().to_owned())
            .filter(|line| !found.contains(line))
            .collect();
        let Some(last) = rows.last().filter(|_| !new.is_empty()) else {
            break;
        };
        // Its end is exclusive, so it asks up to just after the last line.
        end_ns = last[0].as_str().unwrap().parse::<i64>().unwrap() + 1;
        found.extend(new);
    }
    let expected: Vec<String> = (1..11).rev().map(|n| format!("line {n}")).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn what_logcli_asks_besides_is_answered() {
    let bed = bed().await;
    let all = ("query", r#"{app=~".+"}"#);
    for (path, params) in [
        ("labels", vec![]),
        ("label/app/values", vec![]),
        ("series", vec![("match", r#"{app="web"}"#)]),
        ("index/stats", vec![all]),
        (
            "index/volume",
            vec![all, ("limit", "30"), ("targetLabels", "app")],
        ),
        ("index/volume", vec![all, ("aggregateBy", "labels")]),
        (
            "index/volume_range",
            vec![all, ("step", "3600"), ("limit", "30")],
        ),
        (
            "detected_fields",
            vec![all, ("limit", "10"), ("line_limit", "10"), ("step", "10")],
        ),
        (
            "query",
            vec![("query", "sum(rate({app=~\".+\"}[1h]))"), ("limit", "30")],
        ),
    ] {
        let (status, body) = get(&bed, &format!("/loki/api/v1/{path}"), &params).await;
        assert_eq!(status, 200, "{path} {params:?}: {body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert!(body.is_object(), "{path}: {body}");
    }
    let delete = |method: Method, params: &str| {
        let request = Request::builder()
            .method(method)
            .uri(format!("/loki/api/v1/delete?{params}"))
            .header("x-scope-orgid", "team-a")
            .body(Body::empty());
        send(&bed, request.unwrap())
    };
    let start = START_NS / 1_000_000_000;
    let made = format!(
        "query=%7Bapp%3D%22web%22%7D&start={start}&end={}&max_interval=1h",
        start + 60
    );
    assert_eq!(delete(Method::POST, &made).await.0, 204);
    let listed = parsed(&delete(Method::GET, "").await);
    let id = listed[0]["request_id"].as_str().unwrap();
    assert_eq!(
        delete(Method::DELETE, &format!("request_id={id}&force=false"))
            .await
            .0,
        204
    );
}

#[tokio::test]
async fn drilldown_reads_volumes_patterns_labels_fields_and_limits() {
    let bed = bed().await;
    let selector = ("query", r#"{app=~".+"}"#);
    let (start, end) = ("2024-10-04T00:00:00Z", "2024-10-04T01:00:00.000Z");
    let range = [selector, ("start", start), ("end", end)];
    let with = |more: &[(&'static str, &'static str)]| [&range[..], more].concat();
    let volume = with(&[("limit", "5000"), ("targetLabels", "app")]);
    let body = get_json(&bed, "/loki/api/v1/index/volume", &volume).await;
    let first = &body["data"]["result"][0];
    assert_eq!(first["metric"], json!({"app": "web"}));
    assert!(first["value"][1].is_string());
    let patterns = get_json(&bed, "/loki/api/v1/patterns", &with(&[("step", "10s")])).await;
    let pattern = &patterns["data"][0];
    assert!(
        pattern["pattern"].is_string() && pattern["samples"][0].is_array(),
        "{patterns}"
    );
    let labels = get_json(&bed, "/loki/api/v1/detected_labels", &range).await;
    let label = &labels["detectedLabels"][0];
    assert!(
        label["label"].is_string() && label["cardinality"].is_number(),
        "{labels}"
    );
    let query = ("query", r#"{app="web"} | logfmt"#);
    let fields = [query, ("start", start), ("end", end)];
    assert_eq!(
        get(&bed, "/loki/api/v1/detected_fields", &fields).await.0,
        200
    );
    let limits = get_json(&bed, "/loki/api/v1/drilldown-limits", &[]).await;
    for name in ["max_query_length", "retention_period", "volume_enabled"] {
        assert!(!limits["limits"][name].is_null(), "{name} in {limits}");
    }
    assert!(limits["pattern_ingester_enabled"].is_boolean());
    assert!(limits["version"].is_string());
}
