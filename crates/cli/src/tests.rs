//! Commands against a small server that answers like Loki.

use std::sync::{Arc, Mutex};

use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;
use serde_json::{Value, json};

use crate::{CliError, Command, execute};

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

type Params = Vec<(String, String)>;

/// Lines at times, in nanoseconds; and what was asked.
#[derive(Clone, Default)]
struct Server {
    lines: Vec<(i64, &'static str, &'static str)>,
    asked: Arc<Mutex<Vec<Params>>>,
}

fn param(params: &Params, name: &str) -> String {
    params
        .iter()
        .find(|(n, _)| n == name)
        .map(|(_, v)| v.clone())
        .unwrap_or_default()
}

async fn query_range(
    State(server): State<Server>,
    headers: HeaderMap,
    Query(params): Query<Params>,
) -> Response {
    server.asked.lock().unwrap().push(params.clone());
    if headers.get("x-scope-orgid").is_none() {
        return (StatusCode::UNAUTHORIZED, "no org id\n").into_response();
    }
    let number = |name: &str| param(&params, name).parse::<i64>().unwrap();
    let (start, end, limit) = (number("start"), number("end"), number("limit") as usize);
    let mut rows: Vec<_> = server
        .lines
        .iter()
        .filter(|(at, ..)| start <= *at && *at < end)
        .collect();
    rows.sort_by_key(|(at, ..)| {
        if param(&params, "direction") == "forward" {
            *at
        } else {
            -*at
        }
    });
    rows.truncate(limit);
    let streams: Vec<Value> = rows
        .iter()
        .map(|(at, app, line)| {
            json!({"stream": {"app": app, "env": "prod"}, "values": [[at.to_string(), line]]})
        })
        .collect();
    let stats = json!({"summary": {"totalLinesProcessed": 7}});
    let data = json!({"resultType": "streams", "result": streams, "stats": stats});
    Json(json!({"status": "success", "data": data})).into_response()
}

async fn query(Query(params): Query<Params>) -> Response {
    if param(&params, "query") == "bad" {
        return (StatusCode::BAD_REQUEST, "parse error at line 1, col 1").into_response();
    }
    let result = json!([{"metric": {"app": "web"}, "value": [1, "2"]}]);
    let data = json!({"resultType": "vector", "result": result});
    Json(json!({"status": "success", "data": data})).into_response()
}

/// Each connection gives one frame and ends; the second repeats a line of the first.
async fn tail(
    State(server): State<Server>,
    Query(params): Query<Params>,
    socket: WebSocketUpgrade,
) -> Response {
    let connection = {
        let mut asked = server.asked.lock().unwrap();
        asked.push(params);
        asked.len()
    };
    let values = match connection {
        1 => json!([["1", "one"], ["2", "two"]]),
        2 => json!([["2", "two"], ["3", "three"]]),
        _ => return (StatusCode::BAD_REQUEST, "enough").into_response(),
    };
    socket.on_upgrade(async move |mut socket| {
        let frame = json!({"streams": [{"stream": {"app": "web"}, "values": values}]});
        let _ = socket.send(Message::Text(frame.to_string().into())).await;
    })
}

/// A vector whose labels are the parameters.
async fn echo(Query(params): Query<Params>) -> Response {
    let params = params
        .iter()
        .filter(|(name, _)| name != "start" && name != "end");
    let labels: serde_json::Map<String, Value> = params
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    let result = json!([{"metric": labels, "value": [1, "2"]}]);
    Json(json!({"status": "success", "data": {"resultType": "vector", "result": result}}))
        .into_response()
}

async fn changed(State(server): State<Server>, Query(params): Query<Params>) -> StatusCode {
    server.asked.lock().unwrap().push(params);
    StatusCode::NO_CONTENT
}

impl Server {
    async fn start(self) -> String {
        let app = Router::new()
            .route("/loki/api/v1/query_range", get(query_range))
            .route("/loki/api/v1/query", get(query))
            .route("/loki/api/v1/tail", get(tail))
            .route(
                "/loki/api/v1/labels",
                get(async || Json(json!({"data": ["app", "env"]}))),
            )
            .route(
                "/loki/api/v1/series",
                get(async || Json(json!({"data": [{"app": "a", "x": "1"}, {"app": "b"}]}))),
            )
            .route(
                "/loki/api/v1/index/stats",
                get(async || {
                    Json(json!({"streams": 2, "chunks": 3, "bytes": 1500, "entries": 60}))
                }),
            )
            .route("/loki/api/v1/index/volume", get(echo))
            .route("/loki/api/v1/index/volume_range", get(echo))
            .route(
                "/loki/api/v1/detected_fields",
                get(async || {
                    let field = |label: &str| {
                        json!({"label": label, "type": "int", "cardinality": 3, "parsers": ["json"]})
                    };
                    Json(json!({"fields": [field("size"), field("age")], "limit": 100}))
                }),
            )
            .route(
                "/loki/api/v1/detected_field/{field}/values",
                get(async |Path(field): Path<String>| {
                    Json(json!({"values": ["b", field], "limit": 100}))
                }),
            )
            .route(
                "/loki/api/v1/delete",
                get(async || {
                    Json(json!([{"request_id": "1", "start_time": 0, "end_time": 60.5,
                        "query": "{a=\"b\"}", "status": "received", "created_at": 7}]))
                })
                .post(changed)
                .delete(changed),
            )
            .with_state(self);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        format!("http://{address}")
    }
}

async fn run(address: &str, line: &[&str]) -> (String, Result<(), CliError>) {
    let mut words = vec!["skald"];
    words.extend(line);
    words.extend(["--addr", address]);
    if matches!(line.first(), Some(&"query")) {
        words.extend(["--org-id", "t", "-q", "--timezone", "UTC"]);
    }
    let command = Line::try_parse_from(words).unwrap().command;
    let mut out = Vec::new();
    let result = execute(command, &mut out, false).await;
    (String::from_utf8(out).unwrap(), result)
}

const SECOND: i64 = 1_000_000_000;

fn lines() -> Server {
    let at = |s: i64| s * SECOND;
    Server {
        lines: vec![
            (at(1), "web", "a"),
            (at(2), "web", "b"),
            (at(2), "api", "c"),
            (at(2) + 5_000_000, "web", "d"),
            (at(3), "web", "e"),
        ],
        ..Server::default()
    }
}

#[tokio::test]
async fn pages_follow_each_other_without_repeating_lines() {
    let server = lines();
    let asked = Arc::clone(&server.asked);
    let address = server.start().await;
    let base = [
        "query",
        "{env=\"prod\"}",
        "--from",
        "0",
        "--to",
        "10",
        "-o",
        "raw",
        "--batch",
        "2",
    ];
    let with = |more: &[&'static str]| [&base[..], more].concat();
    let (all, result) = run(&address, &with(&["--limit", "0", "--forward"])).await;
    assert!(result.is_ok());
    assert_eq!(all, "a\nb\nc\nd\ne\n");
    assert!(asked.lock().unwrap().len() >= 3);
    let (some, _) = run(&address, &with(&["--limit", "4"])).await;
    let mut some: Vec<&str> = some.lines().collect();
    some.sort_unstable();
    assert_eq!(some, ["b", "c", "d", "e"]);
}

#[tokio::test]
async fn lines_print_in_all_modes() {
    let address = lines().start().await;
    let base = [
        "query",
        "{env=\"prod\"}",
        "--from",
        "0",
        "--to",
        "10",
        "--limit",
        "4",
    ];
    let with = |more: &[&'static str]| [&base[..], more].concat();
    let (text, _) = run(&address, &with(&[])).await;
    assert_eq!(
        text.lines().next(),
        Some("1970-01-01T00:00:03Z {app=\"web\"} e")
    );
    let (text, _) = run(
        &address,
        &with(&["--include-common-labels", "--exclude-label", "app"]),
    )
    .await;
    assert_eq!(
        text.lines().next(),
        Some("1970-01-01T00:00:03Z {env=\"prod\"} e")
    );
    let (text, _) = run(
        &address,
        &with(&["--no-labels", "--output-timestamp-format", "unixnano"]),
    )
    .await;
    assert_eq!(text.lines().next(), Some("3000000000 e"));
    let (text, _) = run(&address, &with(&["-o", "jsonl"])).await;
    let objects: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        objects.get(1),
        Some(
            &json!({"labels": {"app": "web"}, "line": "d", "timestamp": "1970-01-01T00:00:02.005Z"})
        )
    );
    let (text, _) = run(&address, &with(&["--colored-output"])).await;
    assert!(text.contains("\u{1b}["));
}

#[tokio::test]
async fn refusals_carry_the_server_s_words() {
    let address = Server::default().start().await;
    let (_, result) = run(&address, &["instant-query", "bad"]).await;
    let error = result.unwrap_err().to_string();
    assert!(error.starts_with("400 from ") && error.ends_with("parse error at line 1, col 1"));
    let (_, result) = run("http://127.0.0.1:1", &["labels"]).await;
    assert!(matches!(result, Err(CliError::Unreachable { .. })));
}

#[tokio::test]
async fn other_commands_print_what_logcli_prints() {
    let address = Server::default().start().await;
    let (text, _) = run(&address, &["instant-query", "rate({a=\"b\"}[1m])"]).await;
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        found,
        json!([{"metric": {"app": "web"}, "value": [1, "2"]}])
    );
    assert_eq!(run(&address, &["labels"]).await.0, "app\nenv\n");
    assert_eq!(
        run(&address, &["series"]).await.0,
        "{app=\"a\", x=\"1\"}\n{app=\"b\"}\n"
    );
    let (text, _) = run(&address, &["series", "--analyze-labels"]).await;
    assert!(text.starts_with("Total Streams:  2\nUnique Labels:  2\n"));
    let (text, _) = run(&address, &["stats", "{app=\"a\"}"]).await;
    assert_eq!(
        text,
        "{\n  bytes: 1.5kB\n  chunks: 3\n  streams: 2\n  entries: 60\n}\n"
    );
    assert!(run(&address, &["labels", "a/b"]).await.1.is_err());
}

#[tokio::test]
async fn volumes_are_asked_for_as_logcli_does() {
    let address = Server::default().start().await;
    let asked = async |line: &[&str]| {
        let (text, result) = run(&address, line).await;
        result.unwrap();
        let series: Value = serde_json::from_str(&text).unwrap();
        series[0]["metric"].clone()
    };
    assert_eq!(
        asked(&["volume", "{a=\"b\"}"]).await,
        json!({"query": "{a=\"b\"}", "limit": "30"})
    );
    let line = [
        "volume_range",
        "{a=\"b\"}",
        "--step",
        "90s",
        "--targetLabels",
        "x,y",
        "--targetLabels",
        "z",
        "--aggregateByLabels",
    ];
    assert_eq!(
        asked(&line).await,
        json!({"query": "{a=\"b\"}", "limit": "30", "step": "90",
            "targetLabels": "x,y,z", "aggregateBy": "labels"})
    );
}

#[tokio::test]
async fn fields_and_their_values_are_listed() {
    let address = Server::default().start().await;
    let query = "{a=\"b\"}";
    assert_eq!(
        run(&address, &["detected-fields", query]).await.0,
        "label: age\t\ttype: int\t\tcardinality: 3\nlabel: size\t\ttype: int\t\tcardinality: 3\n"
    );
    assert_eq!(
        run(&address, &["detected-fields", query, "a/b"]).await.0,
        "a/b\nb\n"
    );
    let (raw, _) = run(&address, &["detected-fields", query, "-o", "raw"]).await;
    assert!(raw.contains("\"parsers\":[\"json\"]"), "{raw}");
}

#[tokio::test]
async fn delete_requests_are_made_listed_and_taken_back() {
    let server = Server::default();
    let asked = Arc::clone(&server.asked);
    let address = server.start().await;
    let query = "{a=\"b\"}";
    let create = [
        "delete",
        "create",
        query,
        "--from",
        "60",
        "--to",
        "1000000001",
        "--max-interval",
        "1h",
    ];
    let (text, _) = run(&address, &create).await;
    assert_eq!(text, "Delete request created successfully\n");
    let (text, _) = run(&address, &["delete", "list"]).await;
    assert_eq!(
        text,
        "Found 1 delete requests:\nRequest ID: 1\nQuery: {a=\"b\"}\n\
         Start Time: 1970-01-01T00:00:00Z\nEnd Time: 1970-01-01T00:01:00Z\nStatus: received\n---\n"
    );
    let (json, _) = run(&address, &["delete", "list", "-o", "json"]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["created_at"], 7);
    let cancel = ["delete", "cancel", "--request-id", "1", "--force"];
    let (text, _) = run(&address, &cancel).await;
    assert_eq!(text, "Delete request 1 cancelled successfully\n");
    let asked = asked.lock().unwrap();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        asked[..],
        [
            vec![
                pair("query", query),
                pair("start", "60"),
                pair("end", "1000000001"),
                pair("max_interval", "1h")
            ],
            vec![pair("request_id", "1"), pair("force", "true")]
        ]
    );
}

#[tokio::test]
async fn queries_are_formatted_without_a_server() {
    let format = async |query: &str| {
        let line = Line::try_parse_from(["skald", "fmt", query]).unwrap();
        let mut out = Vec::new();
        let result = execute(line.command, &mut out, false).await;
        (String::from_utf8(out).unwrap(), result.is_ok())
    };
    assert_eq!(
        format("{a=`b`}|=`c`").await,
        ("{a=\"b\"} |= \"c\"\n".to_owned(), true)
    );
    assert_eq!(format("{a=").await, (String::new(), false));
}

#[tokio::test(start_paused = true)]
async fn a_tail_goes_on_after_its_connection_broke() {
    let server = Server::default();
    let asked = Arc::clone(&server.asked);
    let address = server.start().await;
    let (text, result) = run(
        &address,
        &["tail", "{a=\"b\"}", "-q", "-o", "raw", "--since", "0s"],
    )
    .await;
    assert!(matches!(result, Err(CliError::Refused { status: 400, .. })));
    assert!(text.ends_with("three\n"), "{text}");
    let asked = asked.lock().unwrap();
    assert_eq!(param(&asked[1], "limit"), "5000");
}

/// A reader that has gone away.
struct Gone;

impl std::io::Write for Gone {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let line = Line::try_parse_from(["skald", "fmt", "1"]).unwrap();
    let result = execute(line.command, &mut Gone, false).await;
    assert!(result.is_err_and(|error| error.is_broken_pipe()));
}
