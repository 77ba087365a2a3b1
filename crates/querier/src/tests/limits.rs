//! Refusals say which limit of whom it was, and which bound that is the same for everybody.

use axum::body::Body;
use http::{Method, Request};
use model::units::ByteSize;
use model::{BlockedQuery, Direction};

use super::bed::{Bed, rows, tenant};
use super::endpoints::{answer, send};

const QUERY: &str = r#"{app="web"}"#;

/// Status and named limit of an answer.
async fn limit_of(bed: &Bed, path: &str, tenants: &str) -> (u16, String) {
    let request = Request::get(format!("/loki/api/v1/{path}"))
        .header("x-scope-orgid", tenants)
        .body(Body::empty())
        .unwrap();
    let answer = answer(bed, request).await;
    let limit = answer.headers().get("x-skald-limit");
    let limit = limit.map(|limit| limit.to_str().unwrap().to_owned());
    (answer.status().as_u16(), limit.unwrap_or_default())
}

#[tokio::test]
async fn refusals_name_the_limit() {
    let mut bed = Bed::new();
    bed.limits.volume_enabled = false;
    bed.limits.blocked_queries = vec![BlockedQuery {
        pattern: ".*blocked.*".to_owned(),
        regex: true,
        ..Default::default()
    }];
    let many: Vec<String> = (0..65).map(|number| format!("t{number}")).collect();
    let deep = format!("query?query={}1{}", "(".repeat(600), ")".repeat(600));
    let selector = "%7Bapp%3D%22web%22%7D";
    for (path, tenants, status, limit) in [
        (
            format!("index/volume?query={selector}"),
            "team-a",
            404,
            "volume_enabled=false; tenant=team-a",
        ),
        (
            "query?query=count_over_time(%7Bapp%3D%22blocked%22%7D%5B1m%5D)".to_owned(),
            "team-a",
            400,
            "blocked_queries=pattern \".*blocked.*\"; tenant=team-a",
        ),
        (
            format!("query_range?query=rate({selector}%5B1m%5D)&start=0&end=20000&step=1"),
            "team-a",
            400,
            "points_max=11000",
        ),
        (deep, "team-a", 400, "query_depth_max=520"),
        (
            format!("query_range?query={selector}"),
            &many.join("|"),
            400,
            "tenants_per_query_max=64",
        ),
    ] {
        let found = limit_of(&bed, &path, tenants).await;
        assert_eq!(found, (status, limit.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn queries_that_read_too_much_of_storage_are_refused() {
    let mut bed = Bed::new();
    bed.store(&tenant(), 1, "app=web,pod=a", &rows(0..10)).await;
    bed.store(&tenant(), 2, "app=web,pod=b", &rows(0..10)).await;
    bed.limits.max_chunks_per_query = 1;
    let error = bed.lines(QUERY, 10, Direction::Forward).await.unwrap_err();
    assert_eq!(
        error.message,
        r#"Query [app="web"] fetched too many chunks (2 > 1)"#
    );
    let exceeded = error.exceeded.unwrap().to_string();
    assert_eq!(exceeded, "max_chunks_per_query=1; tenant=team-a");
    bed.limits.max_chunks_per_query = 2;
    assert!(bed.lines(QUERY, 10, Direction::Forward).await.is_ok());
    bed.limits.max_querier_bytes_read = ByteSize(1);
    let error = bed.lines(QUERY, 10, Direction::Forward).await.unwrap_err();
    let text = "query too large to execute on a single querier: (query: 120B, limit: 1B)";
    assert!(error.message.starts_with(text), "{error}");
    let exceeded = error.exceeded.unwrap().to_string();
    assert_eq!(exceeded, "max_querier_bytes_read=1B; tenant=team-a");
}

#[tokio::test]
async fn rules_and_their_groups_are_counted() {
    let mut bed = Bed::new();
    bed.limits.ruler_max_rules_per_rule_group = 1;
    bed.limits.ruler_max_rule_groups_per_tenant = 1;
    let put = |name: &str, rules: usize| {
        let rule = "  - alert: A\n    expr: vector(1) > 0\n".repeat(rules);
        let request = Request::builder()
            .method(Method::POST)
            .uri("/loki/api/v1/rules/ns")
            .header("x-scope-orgid", "team-a")
            .body(Body::from(format!("name: {name}\nrules:\n{rule}")));
        send(&bed, request.unwrap())
    };
    let many_rules = "per-user rules per rule group limit (limit: 1 actual: 2) exceeded\n";
    assert_eq!(put("a", 2).await, (400, many_rules.to_owned()));
    assert_eq!(put("a", 1).await.0, 202);
    assert_eq!(put("a", 1).await.0, 202, "in place of the same");
    let many_groups = "per-user rule groups limit (limit: 1 actual: 2) exceeded\n";
    assert_eq!(put("b", 1).await, (400, many_groups.to_owned()));
}
