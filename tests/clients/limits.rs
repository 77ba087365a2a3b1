//! Limits of tenants: what refuses a request says which limit of whom it is, and a limit that is
//! changed in the file of overrides counts without a restart.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tests::api::{Api, PUSH};
use tests::lines::{SECOND_NS, now_ns};
use tests::server::Server;
use tests::wait_for;

/// Streams of each tenant.
const STREAMS: usize = 5;
/// Lines of each stream.
const LINES: usize = 10;
/// The longest until a changed file counts.
const PATIENCE: Duration = Duration::from_secs(60);

const RANGE: &str = "/loki/api/v1/query_range";
const INSTANT: &str = "/loki/api/v1/query";

/// What a limit stands in the way of.
enum Request {
    /// A question with its parameters.
    Get(&'static str, Vec<(&'static str, String)>),
    /// Labels, a line, and metadata.
    Push(Value, &'static str, Value),
}

/// A limit: its name, a value that refuses the request and one that does not, what the error says.
struct Row {
    limit: &'static str,
    tight: &'static str,
    loose: &'static str,
    request: Request,
    text: &'static str,
}

fn row(
    limit: &'static str,
    values: [&'static str; 2],
    request: Request,
    text: &'static str,
) -> Row {
    let [tight, loose] = values;
    Row {
        limit,
        tight,
        loose,
        request,
        text,
    }
}

fn lines_of(selector: &str) -> Request {
    Request::Get(RANGE, vec![("query", selector.to_owned())])
}

fn number(query: &str) -> Request {
    Request::Get(INSTANT, vec![("query", query.to_owned())])
}

fn queries(now_ns: i64) -> Vec<Row> {
    let ago = |minutes: i64| (now_ns - minutes * 60 * SECOND_NS).to_string();
    let with = |name: &'static str, value: &str| {
        let query = ("query", r#"{app="x"}"#.to_owned());
        Request::Get(RANGE, vec![query, (name, value.to_owned())])
    };
    let names = vec![("start", ago(20)), ("end", ago(10))];
    // Some milliseconds of work on any machine.
    let many = vec!["vector(1)"; 100].join(" or ");
    let fine = [
        ("query", many),
        ("start", ago(120)),
        ("step", "1".to_owned()),
    ];
    let slow = Request::Get(RANGE, fine.to_vec());
    vec![
        row(
            "max_query_length",
            ["1h", "3h"],
            with("start", &ago(120)),
            "the query time range exceeds the limit",
        ),
        row(
            "max_query_range",
            ["1m", "10m"],
            number(r#"sum(count_over_time({app="x"}[5m]))"#),
            "value exceeds limit: [5m] > [1m]",
        ),
        row(
            "max_query_lookback",
            ["1m", "1h"],
            Request::Get("/loki/api/v1/labels", names),
            "past now - max_query_lookback (1m)",
        ),
        row(
            "max_query_series",
            ["2", "10"],
            number(r#"count_over_time({app="x"}[1h])"#),
            "maximum number of series (2) reached",
        ),
        row(
            "max_entries_limit_per_query",
            ["3", "10"],
            with("limit", "4"),
            "max_entries_limit_per_query (4 > 3)",
        ),
        row(
            "max_query_bytes_read",
            ["10B", "1GB"],
            lines_of(r#"{app="x"}"#),
            "the query would read too many bytes",
        ),
        row(
            "max_query_memory",
            ["100B", "64MB"],
            lines_of(r#"{app="x"}"#),
            "needs too much memory",
        ),
        row("query_timeout", ["1ms", "1m"], slow, "request timed out"),
        row(
            "cardinality_limit",
            ["2", "10"],
            lines_of(r#"{app="x"}"#),
            "cardinality_limit (2)",
        ),
        row(
            "max_streams_matchers_per_query",
            ["1", "2"],
            lines_of(r#"{app="x", n="1"}"#),
            "max streams matchers per query exceeded",
        ),
        row(
            "required_labels",
            ["[node]", "[app]"],
            lines_of(r#"{app="x"}"#),
            "missing required matchers [node]",
        ),
        row(
            "minimum_labels_number",
            ["2", "1"],
            lines_of(r#"{app="x"}"#),
            "number_present: 1",
        ),
    ]
}

fn pushes() -> Vec<Row> {
    let push = |labels: Value, line, metadata| Request::Push(labels, line, metadata);
    let none = || json!({});
    vec![
        row(
            "max_label_names_per_series",
            ["2", "3"],
            push(json!({"app": "p", "b": "1", "c": "1"}), "x", none()),
            "has 3 label names; limit 2",
        ),
        row(
            "max_label_name_length",
            ["12", "20"],
            push(json!({"app": "p", "a_long_name_13": "1"}), "x", none()),
            "label name too long: 'a_long_name_13'",
        ),
        row(
            "max_label_value_length",
            ["5", "10"],
            push(json!({"app": "longer"}), "x", none()),
            "label value too long: 'longer'",
        ),
        row(
            "max_line_size",
            ["4B", "10B"],
            push(json!({"app": "p"}), "a line", none()),
            "max entry size '4' bytes exceeded",
        ),
        row(
            "max_structured_metadata_size",
            ["10B", "100B"],
            push(json!({"app": "p"}), "x", json!({"name": "a longer value"})),
            "structured metadata too large",
        ),
        row(
            "max_structured_metadata_entries_count",
            ["2", "8"],
            push(
                json!({"app": "p"}),
                "x",
                json!({"a": "1", "b": "2", "c": "3"}),
            ),
            "too many structured metadata labels",
        ),
    ]
}

/// Writes the overrides of all tenants, each with one limit and its name.
fn write(file: &Path, rows: &[Row], value: impl Fn(&Row) -> &'static str) -> anyhow::Result<()> {
    let mut text = "overrides:\n".to_owned();
    for row in rows {
        let limit = row.limit;
        writeln!(text, "  {limit}:\n    {limit}: {}", value(row))?;
    }
    // Nobody reads half of it.
    let draft = file.with_extension("draft");
    std::fs::write(&draft, text)?;
    Ok(std::fs::rename(&draft, file)?)
}

/// Status, what is said of limits besides, and the body.
async fn answer(api: &Api, request: &Request) -> anyhow::Result<(u16, String, String)> {
    let answer = match request {
        Request::Get(path, params) => {
            let params: Vec<_> = params.iter().map(|(n, v)| (*n, v.as_str())).collect();
            api.ask(path, &params, &[]).await?
        }
        Request::Push(labels, line, metadata) => {
            let value = json!([now_ns().to_string(), line, metadata]);
            let body = json!({"streams": [{"stream": labels, "values": [value]}]});
            api.send(PUSH, "application/json", body.to_string().into_bytes())
                .await?
        }
    };
    let status = answer.status().as_u16();
    let limit = answer.headers().get("X-Skald-Limit").cloned();
    let limit = limit.map(|value| value.to_str().map(str::to_owned));
    let limit = limit.transpose()?.unwrap_or_default();
    Ok((status, limit, answer.text().await?))
}

/// Gives a tenant its lines, half of them flushed.
async fn fill(api: &Api, begin_ns: i64) -> anyhow::Result<()> {
    let stream = |number: usize| {
        let value = |at: usize| {
            let time_ns = begin_ns + at as i64 * SECOND_NS;
            json!([time_ns.to_string(), format!("line {at} of {number}")])
        };
        let values: Vec<Value> = (0..LINES).map(value).collect();
        json!({"stream": {"app": "x", "n": number.to_string()}, "values": values})
    };
    let streams: Vec<Value> = (0..STREAMS).map(stream).collect();
    let body = json!({ "streams": streams }).to_string().into_bytes();
    let (status, text) = api.post(PUSH, "application/json", &[], body).await?;
    ensure!(status == 204, "{status} {text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_named_and_changed_while_the_server_runs() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("overrides.yaml");
    std::fs::write(&file, "overrides: {}\n")?;
    let server = Server::start(&[
        ("SKALD_AUTH_ENABLED", "true"),
        ("SKALD_RUNTIME_CONFIG_FILE", &file.display().to_string()),
        ("SKALD_RUNTIME_CONFIG_PERIOD", "50ms"),
    ])
    .await?;
    let now_ns = now_ns();
    let mut rows = queries(now_ns);
    for row in &rows {
        let api = server.api().of_tenant(row.limit);
        fill(&api, now_ns - 60 * SECOND_NS).await?;
    }
    server.api().flush().await?;
    rows.extend(pushes());
    let is_refused = |status: u16| (400..500).contains(&status) || status == 504;

    write(&file, &rows, |row| row.tight)?;
    for row in &rows {
        let api = server.api().of_tenant(row.limit);
        let refused = || async {
            let answer = answer(&api, &row.request).await.ok()?;
            is_refused(answer.0).then_some(answer)
        };
        let waited = wait_for(row.limit, PATIENCE, refused).await;
        let (_, limit, text) = waited.context("it does not refuse")?;
        ensure!(text.contains(row.text), "{}: {text}", row.limit);
        let names = |what: &str| text.contains(what) || limit.contains(what);
        let value = row.tight.trim_matches(['[', ']']);
        let whose = format!("tenant={}", row.limit);
        let is_named = names(row.limit) && names(value);
        let is_whose = limit.contains(&whose) || text.contains(&format!("tenant {}", row.limit));
        ensure!(is_named && is_whose, "{}: {limit:?} {text}", row.limit);
    }

    write(&file, &rows, |row| row.loose)?;
    for row in &rows {
        let api = server.api().of_tenant(row.limit);
        let allowed = || async {
            let (status, ..) = answer(&api, &row.request).await.ok()?;
            (status / 100 == 2).then_some(())
        };
        wait_for(row.limit, PATIENCE, allowed).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_do_not_depend_on_how_much_runs_at_once() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("overrides.yaml");
    std::fs::write(&file, "overrides:\n  slow:\n    max_query_parallelism: 1\n")?;
    let server = Server::start(&[
        ("SKALD_AUTH_ENABLED", "true"),
        ("SKALD_RUNTIME_CONFIG_FILE", &file.display().to_string()),
    ])
    .await?;
    let now_ns = now_ns();
    for tenant in ["slow", "quick"] {
        let api = server.api().of_tenant(tenant);
        fill(&api, now_ns - 60 * SECOND_NS).await?;
    }
    server.api().flush().await?;
    let mut counts = Vec::new();
    for tenant in ["slow", "quick"] {
        let api = server.api().of_tenant(tenant);
        let counting = r#"sum(count_over_time({app="x"} |= "line" [1h]))"#;
        counts.push(api.instant(counting, now_ns).await?);
    }
    let all = (STREAMS * LINES) as f64;
    ensure!(counts == [all, all], "{counts:?}");
    Ok(())
}
