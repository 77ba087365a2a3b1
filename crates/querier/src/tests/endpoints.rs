//! Paths, parameters, status codes and JSON.

use axum::Router;
use axum::body::Body;
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use server::http::{Auth, tenant_routes};
use tower::ServiceExt;

use super::bed::{Bed, NOW_NS, START_NS, rows, tenant};

pub(super) async fn bed() -> Bed {
    let bed = Bed::new();
    bed.store(&tenant(), 1, "app=web,env=prod", &rows(1..11))
        .await;
    bed.store(&tenant(), 2, "app=db", &rows(1..3)).await;
    bed
}

fn router(bed: &Bed) -> Router {
    tenant_routes(crate::routes(bed.querier()), Auth::TenantHeader).merge(crate::open_routes())
}

pub(super) async fn answer(bed: &Bed, request: Request<Body>) -> axum::response::Response {
    router(bed).oneshot(request).await.unwrap()
}

pub(super) async fn send(bed: &Bed, request: Request<Body>) -> (u16, String) {
    let answer = answer(bed, request).await;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

pub(super) async fn get(bed: &Bed, path: &str, params: &[(&str, &str)]) -> (u16, String) {
    let range = [("start", START_NS.to_string()), ("end", NOW_NS.to_string())];
    let mut url = format!("{path}?");
    for (name, value) in range.iter().map(|(name, value)| (*name, value.as_str())) {
        if !params.iter().any(|(given, _)| *given == name) {
            url.push_str(&format!("{name}={value}&"));
        }
    }
    for (name, value) in params {
        let escaped: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
        url.push_str(&format!("{name}={escaped}&"));
    }
    let request = Request::get(url)
        .header("x-scope-orgid", "team-a")
        .body(Body::empty());
    send(bed, request.unwrap()).await
}

pub(super) async fn get_json(bed: &Bed, path: &str, params: &[(&str, &str)]) -> Value {
    let (status, body) = get(bed, path, params).await;
    assert_eq!(status, 200, "{body}");
    let mut body: Value = serde_json::from_str(&body).unwrap();
    if let Some(data) = body.get_mut("data").and_then(Value::as_object_mut) {
        data.remove("stats");
    }
    body
}

#[tokio::test]
async fn lines_come_as_streams() {
    let bed = bed().await;
    let params = [("query", r#"{app="web"}"#), ("limit", "2")];
    let body = get_json(&bed, "/loki/api/v1/query_range", &params).await;
    let at = |second: i64| (START_NS + second * 1_000_000_000).to_string();
    let expected = json!({"status": "success", "data": {"resultType": "streams", "result": [
        {"stream": {"app": "web", "env": "prod"},
         "values": [[at(10), "line 10"], [at(9), "line 9"]]}
    ]}});
    assert_eq!(body, expected);
}

#[tokio::test]
async fn numbers_come_as_vector_matrix_or_scalar() {
    let bed = bed().await;
    let query = ("query", r#"sum(count_over_time({app="web"}[1h]))"#);
    let now = (NOW_NS / 1_000_000_000).to_string();
    let vector = get_json(&bed, "/loki/api/v1/query", &[query, ("time", &now)]).await;
    let seconds: i64 = now.parse().unwrap();
    assert_eq!(
        vector["data"]["result"],
        json!([{"metric": {}, "value": [seconds, "10"]}])
    );
    let params = [query, ("step", "1h")];
    let matrix = get_json(&bed, "/loki/api/v1/query_range", &params).await;
    assert_eq!(matrix["data"]["resultType"], "matrix");
    assert_eq!(
        matrix["data"]["result"][0]["values"],
        json!([[seconds, "10"]])
    );
    let scalar = get_json(
        &bed,
        "/loki/api/v1/query",
        &[("query", "1+1"), ("time", &now)],
    )
    .await;
    assert_eq!(scalar["data"]["result"], json!([seconds, "2"]));
}

#[tokio::test]
async fn metadata_endpoints_speak_loki() {
    let bed = bed().await;
    let labels = get_json(&bed, "/loki/api/v1/labels", &[]).await;
    assert_eq!(labels, json!({"status": "success", "data": ["app", "env"]}));
    let none = get_json(&bed, "/loki/api/v1/label/nosuch/values", &[]).await;
    assert_eq!(none, json!({"status": "success"}));
    let web = ("query", r#"{app="web"}"#);
    let stats = get_json(&bed, "/loki/api/v1/index/stats", &[web]).await;
    assert_eq!(
        stats,
        json!({"streams": 1, "chunks": 1, "bytes": 0, "entries": 10})
    );
    let series = [("match[]", r#"{app="db"}"#)];
    let series = get_json(&bed, "/loki/api/v1/series", &series).await;
    assert_eq!(series["data"], json!([{"app": "db"}]));
    let detected = get_json(&bed, "/loki/api/v1/detected_labels", &[]).await;
    assert_eq!(
        detected["detectedLabels"][0],
        json!({"label": "app", "cardinality": 2})
    );
    let target = ("targetBytesPerShard", "600MB");
    let shards = get_json(&bed, "/loki/api/v1/index/shards", &[web, target]).await;
    assert_eq!(shards["shards"][0]["bounds"]["max"], u64::MAX);
    let limits = get_json(&bed, "/loki/api/v1/drilldown-limits", &[]).await;
    assert_eq!(limits["limits"]["max_query_series"], 500);
}

#[tokio::test]
async fn volumes_are_sums_of_bytes() {
    let bed = bed().await;
    let seconds = NOW_NS / 1_000_000_000;
    let all = ("query", r#"{app=~".+"}"#);
    let volume = get_json(&bed, "/loki/api/v1/index/volume", &[all]).await;
    let expected = json!([
        {"metric": {"app": "web"}, "value": [seconds, "61"]},
        {"metric": {"app": "db"}, "value": [seconds, "12"]},
    ]);
    assert_eq!(volume["data"]["result"], expected);
    let params = [all, ("aggregateBy", "labels"), ("limit", "1")];
    let by_label = get_json(&bed, "/loki/api/v1/index/volume", &params).await;
    let expected = json!([{"metric": {"app": ""}, "value": [seconds, "73"]}]);
    assert_eq!(by_label["data"]["result"], expected);
    let params = [all, ("step", "30m"), ("targetLabels", "env")];
    let range = get_json(&bed, "/loki/api/v1/index/volume_range", &params).await;
    let first = (START_NS / 1_000_000_000 + 1799) as f64 + 0.999;
    // With one point each they are no matrix.
    assert_eq!(range["data"]["resultType"], "vector");
    let expected = json!([{"metric": {"env": "prod"}, "value": [first, "61"]}]);
    assert_eq!(range["data"]["result"], expected);
}

#[tokio::test]
async fn legacy_answers_have_lines_as_objects() {
    let bed = bed().await;
    let params = [("query", r#"{app="db"}"#), ("regexp", "2$")];
    let body = get_json(&bed, "/api/prom/query", &params).await;
    let expected = json!([{"labels": "{app=\"db\"}", "entries": [
        {"ts": "2024-10-04T00:00:02Z", "line": "line 2"}
    ]}]);
    assert_eq!(body["streams"], expected);
    let metric = [("query", r#"rate({app="db"}[1m])"#)];
    assert_eq!(get(&bed, "/api/prom/query", &metric).await.0, 400);
    let turned_round = [("query", r#"{app="db"}"#), ("start", "2"), ("end", "1")];
    let (status, text) = get(&bed, "/api/prom/query", &turned_round).await;
    assert!(status == 400 && text.starts_with("end timestamp must not be before"));
    // With a regex the query is read twice.
    for (query, reason) in [
        (
            "{app=}",
            "rpc error: code = Code(400) desc = parse error at line 1, col 6: ",
        ),
        (
            r#"rate({app="db"}[1m])"#,
            "rpc error: code = Code(400) desc = only log selector is supported",
        ),
        (
            r#"{app="db"} | json a="[""#,
            "parse error : stage '| json a=\"[\"'",
        ),
    ] {
        let params = [("query", query), ("regexp", "2$")];
        let (status, text) = get(&bed, "/api/prom/query", &params).await;
        assert!(status == 400 && text.starts_with(reason), "{query}: {text}");
    }
}

#[tokio::test]
async fn errors_are_plain_text_with_lokis_status() {
    let mut bed = bed().await;
    bed.limits.volume_enabled = false;
    let end = (START_NS - 1).to_string();
    let web = ("query", r#"{app="web"}"#);
    for (path, params, status, text) in [
        (
            "query_range",
            vec![("query", "")],
            400,
            "parse error : syntax error: unexpected $end\n",
        ),
        (
            "query_range",
            vec![web, ("limit", "6000")],
            400,
            "max entries limit per query exceeded, limit > max_entries_limit_per_query (6000 > 5000)\n",
        ),
        (
            "query",
            vec![web],
            400,
            "log queries are not supported as an instant query type, please change your query to a range query type\n",
        ),
        (
            "index/stats",
            vec![web, ("end", end.as_str())],
            400,
            "end timestamp must not be before or equal to start time\n",
        ),
        ("index/volume", vec![web], 404, "not found\n"),
        (
            "index/volume_range",
            vec![("query", "{")],
            404,
            "not found\n",
        ),
        (
            "series",
            vec![("match[]", r#"{app="web"} |= "x""#)],
            400,
            "only label matchers are supported\n",
        ),
        (
            "labels",
            vec![("start", "x")],
            400,
            "could not parse 'start' parameter: strconv.ParseInt: parsing \"x\": invalid syntax\n",
        ),
        (
            "tail",
            vec![("query", "{")],
            400,
            "parse error at line 1, col 2: ",
        ),
        (
            "tail",
            vec![web, ("delay_for", "6")],
            400,
            "delay_for can't be greater than 5\n",
        ),
    ] {
        let (code, body) = get(&bed, &format!("/loki/api/v1/{path}"), &params).await;
        assert_eq!(code, status, "{path}: {body}");
        assert!(body.starts_with(text), "{path}: {body}");
    }
    let nobody = Request::get("/loki/api/v1/labels")
        .body(Body::empty())
        .unwrap();
    assert_eq!(send(&bed, nobody).await, (401, "no org id\n".to_owned()));
}

#[tokio::test]
async fn forms_are_read_and_formatting_needs_no_tenant() {
    let bed = bed().await;
    let form = format!("query=%7Bapp%3D%22web%22%7D&start={START_NS}&end={NOW_NS}");
    let request = Request::builder()
        .method(Method::POST)
        .uri("/loki/api/v1/index/stats")
        .header("x-scope-orgid", "team-a")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form));
    let (status, body) = send(&bed, request.unwrap()).await;
    assert_eq!(status, 200);
    assert!(body.contains("\"entries\":10"), "{body}");
    let format = Request::get("/loki/api/v1/format_query?query=%7Ba%3D%22b%22%7D%7C%3D%22c%22");
    let (status, body) = send(&bed, format.body(Body::empty()).unwrap()).await;
    assert_eq!(
        (status, body.as_str()),
        (200, r#"{"status":"success","data":"{a=\"b\"} |= \"c\""}"#)
    );
    let wrong = Request::get("/loki/api/v1/format_query?query=%7B")
        .body(Body::empty())
        .unwrap();
    let (status, body) = send(&bed, wrong).await;
    assert_eq!(status, 400);
    assert!(
        body.starts_with(r#"{"status":"invalid-query","error":"parse error"#),
        "{body}"
    );
}

#[tokio::test]
async fn rule_groups_are_kept_listed_and_deleted() {
    let bed = Bed::new();
    let ask = |method: Method, path: &str, body: &'static str| {
        let request = Request::builder()
            .method(method)
            .uri(format!("/loki/api/v1/rules{path}"))
            .header("x-scope-orgid", "team-a")
            .body(Body::from(body))
            .unwrap();
        send(&bed, request)
    };
    let group = "name: g 1\ninterval: 1m\nrules:\n  - alert: A\n    expr: vector(1) > 0\n";
    let none = (404, "no rule groups found\n".to_owned());
    assert_eq!(ask(Method::GET, "", "").await, none);
    assert_eq!(ask(Method::POST, "/n%2Fs", group).await.0, 202);
    let (status, listed) = ask(Method::GET, "", "").await;
    assert_eq!(status, 200);
    for part in [
        "n/s:",
        "name: g 1",
        "interval: 1m",
        "alert: A",
        "expr: vector(1) > 0",
    ] {
        assert!(listed.contains(part), "{part}:\n{listed}");
    }
    assert_eq!(ask(Method::GET, "/n%2Fs/g%201", "").await.0, 200);
    let shown = get_json(&bed, "/prometheus/api/v1/rules", &[("type", "alert")]).await;
    assert_eq!(shown["data"]["groups"][0]["rules"][0]["state"], "inactive");
    let wrong = ask(Method::POST, "/ns", "{not yaml").await;
    assert_eq!(wrong, (400, "unable to decoded rule group\n".to_owned()));
    assert_eq!(ask(Method::DELETE, "/n%2Fs/g%201", "").await.0, 202);
    assert_eq!(ask(Method::GET, "/n%2Fs", "").await, none);
    assert_eq!(ask(Method::DELETE, "/n%2Fs/g%201", "").await.0, 202);
    let none = (404, "group namespace does not exist\n".to_owned());
    assert_eq!(ask(Method::DELETE, "/n%2Fs", "").await, none);
}

#[tokio::test]
async fn delete_requests_are_made_listed_and_withdrawn() {
    let bed = Bed::new();
    let ask = |method: Method, params: String| {
        let request = Request::builder()
            .method(method)
            .uri(format!("/loki/api/v1/delete?{params}"))
            .header("x-scope-orgid", "team-a")
            .body(Body::empty())
            .unwrap();
        send(&bed, request)
    };
    let start = START_NS / 1_000_000_000;
    assert_eq!(
        ask(Method::GET, String::new()).await,
        (200, "[]".to_owned())
    );
    let query = "query=%7Ba%3D%22b%22%7D";
    let made = ask(
        Method::POST,
        format!("{query}&start={start}&end={}", start + 5),
    )
    .await;
    assert_eq!(made.0, 204);
    let (_, listed) = ask(Method::GET, String::new()).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["start_time"], json!(start));
    assert_eq!(listed[0]["user_id"], "team-a");
    let id = listed[0]["request_id"].as_str().unwrap();
    assert_eq!(listed[0]["status"], "received");
    assert_eq!(ask(Method::DELETE, format!("request_id={id}")).await.0, 204);
    assert_eq!(ask(Method::DELETE, format!("request_id={id}")).await.0, 404);
    // A selector may be one of all streams; what is processed cannot be withdrawn.
    let all = format!("query=%7Ba%3D~%22.*%22%7D&start={start}");
    assert_eq!(ask(Method::POST, all).await.0, 204);
    let requests = bed.catalog.latest_deletes(&tenant()).await.unwrap();
    let id = requests.requests[0].id;
    bed.catalog.finish_delete(&tenant(), id).await.unwrap();
    let (_, listed) = ask(Method::GET, String::new()).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["status"], "processed");
    let id = storage::key::id_text(id);
    let (status, reason) = ask(Method::DELETE, format!("request_id={id}&force=true")).await;
    assert_eq!(status, 400);
    assert!(reason.contains("already processed"), "{reason}");
    // One that cannot be read is listed, and can be withdrawn.
    let id = storage::key::new_id(START_NS);
    let key = storage::key::delete_key(&tenant(), id);
    bed.catalog.store().put(&key, "?".into()).await.unwrap();
    let (_, listed) = ask(Method::GET, String::new()).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[1]["status"], "damaged");
    assert_eq!(listed[1]["created_at"], json!(start));
    let id = storage::key::id_text(id);
    assert_eq!(ask(Method::DELETE, format!("request_id={id}")).await.0, 204);
    for (params, reason) in [
        (
            format!("query=%7B&start={start}"),
            "invalid query expression\n",
        ),
        (
            format!("{query}&start={start}000000000"),
            "invalid start time: require unix seconds",
        ),
        (
            format!("{query}&start={start}&end={start}"),
            "start time can't be greater",
        ),
        (
            format!("{query}&start={start}&end=3000000000"),
            "deletes in the future are",
        ),
        (query.to_owned(), "start time not set\n"),
    ] {
        let (status, body) = ask(Method::POST, params).await;
        assert_eq!(status, 400);
        assert!(body.starts_with(reason), "{body}");
    }
}

#[tokio::test]
async fn a_query_is_looked_at_after_all_else() {
    let bed = Bed::new();
    for path in [
        "labels",
        "label/app/values",
        "series",
        "index/volume",
        "index/volume_range",
        "detected_fields",
        "detected_field/app/values",
    ] {
        let name = if path == "series" { "match" } else { "query" };
        let request = Request::builder()
            .uri(format!("/loki/api/v1/{path}?{name}=%7B&start=x"))
            .header("x-scope-orgid", "team-a")
            .body(Body::empty())
            .unwrap();
        let (status, text) = send(&bed, request).await;
        assert_eq!(status, 400, "{path}: {text}");
        assert!(
            text.starts_with("could not parse 'start' parameter"),
            "{path}: {text}"
        );
    }
}

#[tokio::test]
async fn selectors_of_series_are_a_set_and_looked_at_more_closely_after_the_range() {
    let bed = Bed::new();
    let (broken, wide, good) = ("{", r#"{app=~".*"}"#, r#"{app="x"}"#);
    let too_long = ("start", "0");
    for (params, reason) in [
        // In their order, not in that of the request.
        (
            vec![("match", r#"{app}"a"="#), ("match", broken)],
            "parse error at line 1, col 2:",
        ),
        (
            vec![("match[]", wide), ("match", broken), too_long],
            "parse error at line 1, col 2:",
        ),
        (
            vec![("match", "{}"), ("match", good)],
            "0 matchers in group: {}\n",
        ),
        (vec![("match[]", " {}# c")], "0 matchers in group:  {}# c\n"),
        (
            vec![("match", wide), too_long],
            "the query time range exceeds",
        ),
        (vec![("match", wide)], "parse error : queries require"),
    ] {
        let (status, text) = get(&bed, "/loki/api/v1/series", &params).await;
        assert_eq!(status, 400, "{params:?}: {text}");
        assert!(text.starts_with(reason), "{params:?}: {text}");
    }
    for all in ["{}", "{ } "] {
        let params = [("match", all), ("match[]", all)];
        let (status, text) = get(&bed, "/loki/api/v1/series", &params).await;
        assert_eq!(status, 200, "{all:?}: {text}");
    }
}

#[tokio::test]
async fn what_a_query_means_is_looked_at_after_the_range() {
    let bed = Bed::new();
    let too_long = ("start", "0");
    let meaningless = r#"{app="x"} | label_format __error__="x""#;
    for (path, query, reason) in [
        ("detected_labels", "{", "the query time range exceeds"),
        ("detected_fields", "{", "parse error at line 1"),
        (
            "detected_fields",
            "vector(1)",
            "only log selector is supported",
        ),
        (
            "detected_fields",
            meaningless,
            "the query time range exceeds",
        ),
        (
            "detected_field/x/values",
            meaningless,
            "the query time range exceeds",
        ),
    ] {
        let path = format!("/loki/api/v1/{path}");
        let (status, text) = get(&bed, &path, &[("query", query), too_long]).await;
        assert!(
            status == 400 && text.starts_with(reason),
            "{path} {query}: {text}"
        );
    }
    let params = [("query", meaningless)];
    let (status, text) = get(&bed, "/loki/api/v1/detected_fields", &params).await;
    assert!(
        status == 400 && text.starts_with("parse error : stage"),
        "{text}"
    );
}

#[tokio::test]
async fn errors_of_stages_are_no_fields() {
    let bed = Bed::new();
    bed.store(&tenant(), 1, "app=web", &rows(0..3)).await;
    let query = [("query", r#"{app="web"} | json"#)];
    let found = get_json(&bed, "/loki/api/v1/detected_fields", &query).await;
    assert_eq!(found, json!({}));
}

#[tokio::test]
async fn faults_of_one_volume_are_found_in_turn() {
    let bed = Bed::new();
    for (params, reason) in [
        (vec![("limit", "-1"), ("direction", "x")], "limit must be"),
        (
            vec![("direction", "x"), ("aggregateBy", "x")],
            "invalid direction",
        ),
        (
            vec![("aggregateBy", "x"), ("end", "x")],
            "invalid aggregation",
        ),
        (vec![("end", "x"), ("start", "0")], "could not parse 'end'"),
        (vec![("start", "0")], "the query time range exceeds"),
    ] {
        let params: Vec<_> = params.into_iter().chain([("query", "{")]).collect();
        let (status, text) = get(&bed, "/loki/api/v1/index/volume", &params).await;
        assert!(
            status == 400 && text.starts_with(reason),
            "{params:?}: {text}"
        );
    }
}

#[tokio::test]
async fn faults_of_volumes_are_found_in_turn() {
    let bed = Bed::new();
    let broken = ("query", "{");
    for (params, reason) in [
        (vec![("limit", "-1"), ("direction", "x")], "limit must be"),
        (vec![("direction", "x"), ("step", "x")], "invalid direction"),
        (
            vec![("step", "x"), ("aggregateBy", "x")],
            "cannot parse \"x\"",
        ),
        (vec![("start", "0"), ("step", "1h")], "exceeded maximum"),
        (vec![("aggregateBy", "x")], "invalid aggregation"),
        (vec![], "parse error"),
    ] {
        let params: Vec<_> = params.into_iter().chain([broken]).collect();
        let (status, text) = get(&bed, "/loki/api/v1/index/volume_range", &params).await;
        assert!(
            status == 400 && text.starts_with(reason),
            "{params:?}: {text}"
        );
    }
}

#[tokio::test]
async fn paths_with_empty_parts_move_and_head_is_refused() {
    let bed = Bed::new();
    let ask = |method: Method, path: &str| {
        let request = Request::builder().method(method).uri(path);
        let request = request
            .header("x-scope-orgid", "team-a")
            .body(Body::empty())
            .unwrap();
        send(&bed, request)
    };
    assert_eq!(ask(Method::GET, "/loki/api/v1/label//values").await.0, 301);
    assert_eq!(ask(Method::HEAD, "/loki/api/v1/labels").await.0, 405);
}
