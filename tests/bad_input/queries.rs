//! Questions that cannot be answered: each is told why, and where.

use serde_json::json;
use tests::api::PUSH;
use tests::lines::{self, SECOND_NS};

use crate::{Siege, assert_refused};

const RANGE: &str = "/loki/api/v1/query_range";
const INSTANT: &str = "/loki/api/v1/query";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_that_do_not_parse_are_answered_with_the_position() -> anyhow::Result<()> {
    let siege = Siege::start().await?;
    let api = siege.api();
    for (query, part) in [
        ("{", "parse error at line 1, col 2"),
        ("", "parse error"),
        (r#"{app="x""#, "parse error at line 1, col 9"),
        (r#"{app="x"} |"#, "parse error at line 1, col 12"),
        ("{app=\"x\"}\n|= 7", "parse error at line 2, col 4"),
        (r#"{app="x"} | nonsense y"#, "parse error at line 1, col "),
        (r#"{app="x"} |~ "(""#, "parse error"),
        (r#"{app=~"["}"#, "parse error"),
        (r#"{app="x"} | regexp "(?P<>x)""#, "parse error"),
        ("{}", "at least one"),
        (r#"{app=~".*"}"#, "at least one"),
        (r#"sum(rate({app="x"}[5m])"#, "parse error at line 1, col "),
        (r#"rate({app="x"}[5parsecs])"#, "parse error"),
        (
            r#"quantile_over_time({app="x"} | unwrap y [5m])"#,
            "parse error",
        ),
        ("\u{0}\u{1}", "parse error at line 1, col 1"),
    ] {
        let answer = api.get(RANGE, &[("query", query)]).await?;
        assert_refused(query, &answer, part);
        assert_eq!(answer.0, 400, "{query}");
    }
    for (path, name) in [
        (INSTANT, "query"),
        ("/loki/api/v1/labels", "query"),
        ("/loki/api/v1/label/app/values", "query"),
        ("/loki/api/v1/series", "match[]"),
        ("/loki/api/v1/index/stats", "query"),
        ("/loki/api/v1/format_query", "query"),
        ("/loki/api/v1/tail", "query"),
        ("/api/prom/query", "query"),
    ] {
        let answer = api.get(path, &[(name, "{app=")]).await?;
        assert_refused(
            path,
            &answer,
            if path.ends_with("tail") {
                ""
            } else {
                "parse error"
            },
        );
    }
    siege.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn huge_and_deep_queries_are_refused_at_once() -> anyhow::Result<()> {
    let siege = Siege::start().await?;
    let api = siege.api();
    let form = "application/x-www-form-urlencoded";
    let long = format!(r#"{{app="{}"}}"#, "x".repeat(131_072));
    let answer = api
        .post(RANGE, form, &[], format!("query={long}").into_bytes())
        .await?;
    assert_refused("128 KiB", &answer, "input size too long");
    let deep = |open: &str, inner: &str, close: &str| {
        format!("{}{inner}{}", open.repeat(10_000), close.repeat(10_000))
    };
    for query in [
        deep("(", "1", ")"),
        deep("(", r#"{app="x"}"#, ")"),
        deep("-", "1", ""),
        deep("sum(", "vector(1)", ")"),
        format!(
            r#"{{app="x"}} | {}a="b"{}"#,
            "(".repeat(10_000),
            ")".repeat(10_000)
        ),
    ] {
        let answer = api.post(RANGE, form, &[], format!("query={query}").into_bytes());
        let answer = answer.await?;
        assert_refused(&query[..20], &answer, "");
    }
    // As many operators as fit: refused, or answered, in bounded time and memory.
    let wide = vec!["1"; 60_000].join("%2B");
    let (status, _) = api
        .post(RANGE, form, &[], format!("query={wide}").into_bytes())
        .await?;
    assert!((200..500).contains(&status), "{status}");
    siege.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absurd_ranges_and_parameters_are_refused() -> anyhow::Result<()> {
    let siege = Siege::start().await?;
    let api = siege.api();
    let selector = ("query", r#"{app="x"}"#);
    let rate = ("query", r#"rate({app="x"}[1m])"#);
    let max = i64::MAX.to_string();
    let min = i64::MIN.to_string();
    for (params, part) in [
        (vec![selector, ("start", "noon")], "start"),
        (vec![selector, ("end", "2026-13-45T00:00:00Z")], "end"),
        (
            vec![selector, ("start", "20"), ("end", "10")],
            "end timestamp",
        ),
        (vec![selector, ("since", "yesterday")], "since"),
        (vec![selector, ("limit", "-1")], "limit"),
        (vec![selector, ("limit", "many")], "many"),
        (
            vec![selector, ("limit", "5001")],
            "max entries limit per query exceeded",
        ),
        (vec![selector, ("direction", "sideways")], "sideways"),
        (
            vec![selector, ("start", "0")],
            "the query time range exceeds the limit",
        ),
        (
            vec![selector, ("start", &min), ("end", &max)],
            "the query time range exceeds the limit",
        ),
        (vec![rate, ("step", "0")], "step"),
        (vec![rate, ("step", "-5")], "step"),
        (vec![rate, ("step", "often")], "often"),
        (
            vec![
                rate,
                ("start", "1000000000"),
                ("end", "1000100000"),
                ("step", "1"),
            ],
            "exceeded maximum resolution of 11,000 points",
        ),
        (vec![("query", r#"rate({app="x"}[99999y])"#)], ""),
    ] {
        let answer = api.get(RANGE, &params).await?;
        assert_refused(&format!("{params:?}"), &answer, part);
    }
    let answer = api.get(INSTANT, &[selector]).await?;
    assert_refused(
        "lines at an instant",
        &answer,
        "log queries are not supported as an instant query",
    );
    let answer = api.get(INSTANT, &[rate, ("time", "noon")]).await?;
    assert_refused("time", &answer, "noon");
    // Percent signs that are none, and bytes that are no text.
    for query in ["%", "%zz", "query=%ff%fe", "query=%7Bapp%3D%22%ff%22%7D"] {
        let (status, text) = api.get(&format!("{RANGE}?{query}"), &[]).await?;
        assert!((200..500).contains(&status), "{query}: {status} {text}");
    }
    siege.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_would_be_too_large_are_refused() -> anyhow::Result<()> {
    let siege = Siege::start().await?;
    let api = siege.api();
    let now_ns = lines::now_ns();
    // More streams than an answer may have series.
    let stream = |number: usize| {
        let value = json!([now_ns.to_string(), format!("number={number} x")]);
        json!({"stream": {"app": "many", "number": number.to_string()}, "values": [value]})
    };
    let streams: Vec<_> = (0..600).map(stream).collect();
    let body = json!({ "streams": streams }).to_string().into_bytes();
    let answer = api.post(PUSH, "application/json", &[], body).await?;
    assert_eq!(answer.0, 204, "{}", answer.1);
    let at = (now_ns + SECOND_NS).to_string();
    let too_many = "maximum number of series (500) reached";
    for query in [
        r#"count_over_time({app="many"}[5m])"#,
        r#"sum by (number) (count_over_time({app="many"}[5m]))"#,
        r#"sum by (number) (count_over_time({app="many"} | logfmt [5m]))"#,
        r#"topk(10, count_over_time({app="many"}[5m]))"#,
    ] {
        let answer = api.get(INSTANT, &[("query", query), ("time", &at)]).await?;
        assert_refused(query, &answer, too_many);
        let answer = api.get(RANGE, &[("query", query), ("end", &at)]).await?;
        assert_refused(query, &answer, too_many);
    }
    // The sum is one series.
    let sum = api
        .instant(
            r#"sum(count_over_time({app="many"}[5m]))"#,
            now_ns + SECOND_NS,
        )
        .await?;
    assert_eq!(sum, 600.0);
    siege.end().await
}
