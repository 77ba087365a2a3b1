//! Containers, against a server that speaks Docker's API.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::watch as told;

use super::*;

const NEVER: &str = "0001-01-01T00:00:00Z";
const LONG_AGO: &str = "2020-01-01T00:00:00Z";

#[derive(Clone)]
struct Container {
    id: &'static str,
    has_terminal: bool,
    is_running: bool,
    finished_at: String,
    is_wanted: bool,
    /// Stream, time and text of each piece.
    log: Vec<(u8, jiff::Timestamp, String)>,
}

/// The containers, and what is told of them.
#[derive(Clone)]
struct Fake {
    containers: Arc<told::Sender<Vec<Container>>>,
    events: Arc<told::Sender<usize>>,
    /// The containers that were asked for one by one.
    inspected: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn new() -> Self {
        Self {
            containers: Arc::new(told::Sender::new(Vec::new())),
            events: Arc::new(told::Sender::new(0)),
            inspected: Arc::default(),
        }
    }

    fn routes(&self) -> Router {
        Router::new()
            .route("/containers/json", get(list))
            .route("/networks", get(networks))
            .route("/containers/{id}/json", get(inspect))
            .route("/containers/{id}/logs", get(log))
            .route("/events", get(events))
            .with_state(self.clone())
    }

    /// Listens on a socket until the test ends.
    fn serve_unix(&self, path: &Path) {
        let _ = fs::remove_file(path);
        let listener = tokio::net::UnixListener::bind(path).unwrap();
        let routes = self.routes();
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    }

    fn add(&self, id: &'static str, change: impl FnOnce(&mut Container)) {
        let mut container = Container {
            id,
            has_terminal: false,
            is_running: true,
            finished_at: NEVER.to_owned(),
            is_wanted: true,
            log: Vec::new(),
        };
        change(&mut container);
        self.containers.send_modify(|all| all.push(container));
        self.events.send_modify(|count| *count += 1);
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Container)) {
        self.containers.send_modify(|all| {
            change(all.iter_mut().find(|container| container.id == id).unwrap());
        });
        self.events.send_modify(|count| *count += 1);
    }

    /// A container writes a piece.
    fn write(&self, id: &str, stream: u8, text: &str) {
        self.containers.send_modify(|all| {
            let container = all.iter_mut().find(|container| container.id == id);
            let piece = (stream, jiff::Timestamp::now(), text.to_owned());
            container.unwrap().log.push(piece);
        });
    }

    fn get(&self, id: &str) -> Result<Container, StatusCode> {
        let all = self.containers.borrow();
        let found = all.iter().find(|container| container.id == id);
        found.cloned().ok_or(StatusCode::NOT_FOUND)
    }
}

async fn list(
    State(fake): State<Fake>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Json<Value> {
    assert_eq!(query["all"], "1");
    let filters: Value = serde_json::from_str(&query["filters"]).unwrap();
    assert_eq!(filters, json!({"label": ["logging=yes"]}));
    let all = fake.containers.borrow().clone();
    let wanted = all.iter().filter(|container| container.is_wanted);
    let shown = |container: &Container| {
        json!({
            "Id": container.id,
            "Names": [format!("/{}-name", container.id)],
            "State": if container.is_running { "running" } else { "exited" },
            "Labels": {"logging": "yes"},
            "Ports": null,
            "HostConfig": {"NetworkMode": "bridge"},
            "NetworkSettings": {"Networks": {"bridge": {"NetworkID": "n", "IPAddress": ""}}},
        })
    };
    Json(wanted.map(shown).collect())
}

async fn networks() -> Json<Value> {
    Json(json!([{"Id": "n", "Name": "bridge", "Scope": "local", "Labels": null}]))
}

async fn inspect(
    State(fake): State<Fake>,
    axum::extract::Path(id): axum::extract::Path<String>,
) -> Result<Json<Value>, StatusCode> {
    let container = fake.get(&id)?;
    fake.inspected.lock().push(id);
    Ok(Json(json!({
        "Config": {"Tty": container.has_terminal},
        "State": {"Running": container.is_running, "FinishedAt": container.finished_at},
    })))
}

/// A piece as Docker sends it.
fn sent(container: &Container, (stream, at, text): &(u8, jiff::Timestamp, String)) -> Vec<u8> {
    let line = format!("{at:.9} {text}").into_bytes();
    if container.has_terminal {
        return line;
    }
    let mut frame = vec![*stream, 0, 0, 0];
    frame.extend(u32::try_from(line.len()).unwrap().to_be_bytes());
    frame.extend(line);
    frame
}

async fn log(
    State(fake): State<Fake>,
    axum::extract::Path(id): axum::extract::Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Body, StatusCode> {
    fake.get(&id)?;
    for name in ["follow", "stdout", "stderr", "timestamps"] {
        assert_eq!(query[name], "1", "{name}");
    }
    let since: i64 = query["since"].parse().unwrap();
    let changes = fake.containers.subscribe();
    let pieces = futures::stream::unfold((0, changes), move |(mut at, mut changes)| {
        let id = id.clone();
        async move {
            loop {
                let container = changes.borrow_and_update().clone();
                let container = container.into_iter().find(|found| found.id == id)?;
                while let Some(piece) = container.log.get(at) {
                    at += 1;
                    if piece.1.as_second() >= since {
                        let bytes = Bytes::from(sent(&container, piece));
                        return Some((Ok::<_, std::io::Error>(bytes), (at, changes)));
                    }
                }
                if !container.is_running {
                    return None;
                }
                changes.changed().await.ok()?;
            }
        }
    });
    Ok(Body::from_stream(pieces))
}

async fn events(State(fake): State<Fake>) -> Body {
    let events = fake.events.subscribe();
    let told = futures::stream::unfold(events, async |mut events| {
        events.changed().await.ok()?;
        Some((Ok::<_, std::io::Error>("{}\n"), events))
    });
    Body::from_stream(told)
}

/// A job that reads containers, each line with the name of its container and its stream.
fn job(host: &str) -> String {
    format!(
        "  - job_name: docker
    docker_sd_configs:
      - host: {host}
        refresh_interval: 1h
        filters: [{{name: label, values: ['logging=yes']}}]
    relabel_configs:
      - {{source_labels: [__meta_docker_container_name], regex: '/dropped-name', action: drop}}
      - {{source_labels: [__meta_docker_container_name], regex: '/(.*)', target_label: container}}
      - {{source_labels: [__meta_docker_container_log_stream], target_label: stream}}
    pipeline_stages:
      - template: {{source: new, template: '{{{{.container}}}} {{{{.stream}}}} {{{{.Entry}}}}'}}
      - output: {{source: new}}
"
    )
}

/// Waits until these lines and no others have come since the last time.
async fn comes(sink: &Sink, expected: &[&str]) {
    let mut lines = Vec::new();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while lines.len() < expected.len() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
        lines.append(&mut sink.lines.lock());
    }
    lines.sort();
    assert_eq!(lines, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_are_read_once_as_they_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let (fake, sink) = (Fake::new(), Arc::new(Sink::default()));
    fake.serve_unix(&socket);
    let job = job(&format!("unix://{}", socket.display()));
    fake.add("a", |_| {});
    fake.add("terminal", |container| container.has_terminal = true);
    fake.add("unwanted", |container| container.is_wanted = false);
    fake.add("dropped", |_| {});
    fake.add("ended", |container| {
        container.is_running = false;
        container.finished_at = LONG_AGO.to_owned();
    });
    for (id, stream, text) in [
        ("a", 1, "one\n"),
        ("a", 2, "two\n"),
        ("terminal", 1, "shown\r\n"),
        ("unwanted", 1, "x\n"),
        ("ended", 1, "x\n"),
    ] {
        fake.write(id, stream, text);
    }
    let run = start_job(directory.path(), &job, &sink);
    let first = [
        "a-name stderr two",
        "a-name stdout one",
        "terminal-name stdout shown",
    ];
    comes(&sink, &first).await;
    fake.write("a", 1, "in ");
    fake.write("a", 1, "two pieces\n");
    // Nobody asks for the list for an hour, but Docker tells of it.
    fake.add("b", |_| {});
    fake.write("b", 1, "of b\n");
    comes(
        &sink,
        &["a-name stdout in two pieces", "b-name stdout of b"],
    )
    .await;
    let json = shown_json(&run, "/targets").await;
    let is_of = |id: &str, one: &&Value| one["name"] == format!("/{id}-name");
    let of = |id: &str, all: &Value| all.as_array()?.iter().find(|one| is_of(id, one)).cloned();
    let b = of("b", &json["receiving"]).unwrap();
    assert_eq!(
        (&b["kind"], &b["state"]),
        (&json!("docker"), &json!("running"))
    );
    assert!(b["last_line"].is_string(), "{b}");
    assert!(of("dropped", &json["receiving"]).is_none(), "{json}");
    let json = shown_json(&run, "/service-discovery").await;
    let path = |target: &Value| target["path"].as_str().unwrap().to_owned();
    let active: Vec<String> = json["active"]
        .as_array()
        .unwrap()
        .iter()
        .map(path)
        .collect();
    assert!(
        active.contains(&"docker:/terminal-name".to_owned()),
        "{json}"
    );
    let name = &json["dropped"][0]["labels"]["__meta_docker_container_name"];
    assert_eq!(name, "/dropped-name");
    assert!(!fake.inspected.lock().contains(&"dropped".to_owned()));
    run.stop().await;

    fake.add("c", |container| {
        container.is_running = false;
        container.finished_at = jiff::Timestamp::now().to_string();
    });
    fake.write("c", 1, "came and went\n");
    fake.write("a", 1, "while down\n");
    fake.write("b", 1, "the last of b\n");
    fake.change("b", |container| {
        container.is_running = false;
        container.finished_at = LONG_AGO.to_owned();
    });
    let run = start_job(directory.path(), &job, &sink);
    comes(
        &sink,
        &[
            "a-name stdout while down",
            "b-name stdout the last of b",
            "c-name stdout came and went",
        ],
    )
    .await;
    fake.change("b", |container| container.is_running = true);
    fake.write("b", 1, "started again\n");
    comes(&sink, &["b-name stdout started again"]).await;
    fake.containers
        .send_modify(|all| all.retain(|container| container.id == "a"));
    fake.write("a", 2, "goes on\n");
    comes(&sink, &["a-name stderr goes on"]).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_that_is_away_is_asked_again_and_what_is_not_taken_comes_again() {
    let directory = tempfile::tempdir().unwrap();
    let (fake, sink) = (Fake::new(), Arc::new(Sink::default()));
    let port = received::free_port();
    let text = job(&format!("tcp://127.0.0.1:{port}")).replace("1h", "300ms");
    fake.add("a", |_| {});
    fake.write("a", 1, "one\n");
    let run = start_job(directory.path(), &text, &sink);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await;
    let (listener, routes) = (listener.unwrap(), fake.routes());
    let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    comes(&sink, &["a-name stdout one"]).await;

    // The agent ends while the server takes nothing.
    *sink.is_down.lock() = true;
    fake.write("a", 1, "two\n");
    run.stop().await;
    *sink.is_down.lock() = false;
    let run = start_job(directory.path(), &text, &sink);
    comes(&sink, &["a-name stdout two"]).await;
    run.stop().await;
    serving.abort();
}
