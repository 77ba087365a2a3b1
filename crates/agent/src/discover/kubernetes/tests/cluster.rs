//! A small API server: it lists and watches as the real one does, forgets old versions, cuts
//! connections, is slow, and goes away, when it is told to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http::{HeaderMap, StatusCode, Uri};
use parking_lot::Mutex;
use serde_json::{Value, json};
use server::TlsAcceptor;
use tokio::sync::watch;

use super::gate::Gate;

#[derive(Clone)]
pub(super) struct Cluster {
    state: Arc<Mutex<Objects>>,
    changed: watch::Sender<()>,
    gate: Arc<Gate>,
    pub(super) url: String,
}

#[derive(Default)]
struct Objects {
    by_name: BTreeMap<String, Value>,
    events: Vec<(u64, Value)>,
    version: u64,
    /// Watches from before this have expired.
    compacted: u64,
    /// Counts how often all connections were cut.
    cuts: u64,
    /// What every request is answered with, if anything is wrong.
    status: Option<StatusCode>,
    token: Option<String>,
    /// Whether what watches say comes byte by byte.
    is_slow: bool,
    lists: usize,
    paths: Vec<String>,
}

impl Cluster {
    pub(super) async fn start() -> Self {
        Self::behind(None).await
    }

    /// A server that speaks TLS, if anything is to be shown to clients.
    pub(super) async fn behind(tls: Option<TlsAcceptor>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let gate = Gate::open(listener.local_addr().unwrap(), tls).await;
        let cluster = Self {
            state: Arc::default(),
            changed: watch::Sender::new(()),
            url: format!("{scheme}://localhost:{}", gate.addr.port()),
            gate: Arc::new(gate),
        };
        let router = Router::new().fallback(answer).with_state(cluster.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        cluster
    }

    fn change(&self, kind: &str, name: &str, change: impl FnOnce(&mut Objects) -> Value) {
        let mut state = self.state.lock();
        state.version += 1;
        let version = state.version;
        let mut object = change(&mut state);
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        object["metadata"]["name"] = json!(name);
        if kind == "DELETED" {
            state.by_name.remove(name);
        } else {
            state.by_name.insert(name.to_owned(), object.clone());
        }
        let event = json!({ "type": kind, "object": object });
        state.events.push((version, event));
        self.changed.send_replace(());
    }

    pub(super) fn put(&self, name: &str, object: Value) {
        let is_there = self.state.lock().by_name.contains_key(name);
        let kind = if is_there { "MODIFIED" } else { "ADDED" };
        self.change(kind, name, |_| object);
    }

    pub(super) fn delete(&self, name: &str) {
        self.change("DELETED", name, |state| state.by_name[name].clone());
    }

    /// A version that concerns no object.
    pub(super) fn bookmark(&self) {
        let version = self.state.lock().version + 1;
        let metadata = json!({ "resourceVersion": version.to_string() });
        let object = json!({ "kind": "Pod", "apiVersion": "v1", "metadata": metadata });
        self.say(json!({ "type": "BOOKMARK", "object": object }));
    }

    /// Says something of the next version in all watches.
    pub(super) fn say(&self, event: Value) {
        let mut state = self.state.lock();
        state.version += 1;
        let version = state.version;
        state.events.push((version, event));
        self.changed.send_replace(());
    }

    /// Forgets all versions before now, and cuts all connections.
    pub(super) fn compact_and_cut(&self) {
        let mut state = self.state.lock();
        state.version += 1;
        state.compacted = state.version;
        state.events.clear();
        drop(state);
        self.cut();
    }

    pub(super) fn cut(&self) {
        self.state.lock().cuts += 1;
        self.changed.send_replace(());
    }

    /// Closes the port and all connections, as at a stop.
    pub(super) async fn go_away(&self) {
        self.gate.close().await;
        self.cut();
    }

    /// Listens again at the same port.
    pub(super) async fn come_back(&self) {
        self.gate.listen().await;
    }

    pub(super) fn be_slow(&self) {
        self.state.lock().is_slow = true;
    }

    pub(super) fn answer_with(&self, status: Option<StatusCode>) {
        self.state.lock().status = status;
    }

    pub(super) fn demand_token(&self, token: &str) {
        self.state.lock().token = Some(token.to_owned());
    }

    pub(super) fn lists(&self) -> usize {
        self.state.lock().lists
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.state.lock().paths.clone()
    }
}

async fn answer(
    State(cluster): State<Cluster>,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let mut state = cluster.state.lock();
    state.paths.push(uri.to_string());
    if let Some(status) = state.status {
        return refusal(status, "no");
    }
    let shown = headers
        .get("authorization")
        .map(|value| value.to_str().unwrap().to_owned());
    let wanted = state.token.as_ref().map(|token| format!("Bearer {token}"));
    if wanted.is_some() && wanted != shown {
        return refusal(StatusCode::UNAUTHORIZED, "Unauthorized");
    }
    if !query.contains_key("watch") {
        state.lists += 1;
        return list(&state, &uri, &query);
    }
    let from: u64 = query["resourceVersion"].parse().unwrap();
    if from < state.compacted {
        let error = status(StatusCode::GONE, "too old resource version");
        let error = json!({ "type": "ERROR", "object": error });
        return Body::from(format!("{error}\n")).into_response();
    }
    let (cuts, is_slow) = (state.cuts, state.is_slow);
    drop(state);
    let changed = cluster.changed.subscribe();
    let stream = futures::stream::unfold(
        (cluster, changed, from),
        move |(cluster, mut changed, from)| async move {
            loop {
                let next = {
                    let state = cluster.state.lock();
                    if state.cuts != cuts {
                        return None;
                    }
                    let mut events = state.events.iter();
                    events.find(|(version, _)| *version > from).cloned()
                };
                if let Some((version, event)) = next {
                    let line = format!("{event}\n");
                    return Some((Ok::<_, std::io::Error>(line), (cluster, changed, version)));
                }
                changed.changed().await.ok()?;
            }
        },
    );
    if is_slow {
        let bytes = |line: std::io::Result<String>| {
            let bytes = line.unwrap_or_default().into_bytes();
            futures::stream::iter(bytes).then(async |byte| {
                tokio::task::yield_now().await;
                Ok::<_, std::io::Error>(vec![byte])
            })
        };
        return Body::from_stream(stream.flat_map(bytes)).into_response();
    }
    Body::from_stream(stream).into_response()
}

/// What the server says that went wrong.
fn status(code: StatusCode, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": "x", "code": code.as_u16(),
    })
}

fn refusal(code: StatusCode, message: &str) -> Response {
    (code, axum::Json(status(code, message))).into_response()
}

/// Two objects a page, so that there is more than one.
fn list(state: &Objects, uri: &Uri, query: &HashMap<String, String>) -> Response {
    let after = query.get("continue").cloned().unwrap_or_default();
    let mut rest = state.by_name.iter().filter(|(name, _)| **name > after);
    let page: Vec<_> = rest.by_ref().take(2).collect();
    let next = rest
        .next()
        .and(page.last())
        .map(|(name, _)| (*name).clone());
    let items: Vec<&Value> = page.iter().map(|(_, object)| *object).collect();
    let metadata = json!({
        "resourceVersion": state.version.to_string(),
        "continue": next.unwrap_or_default(),
    });
    let kind = if uri.path().ends_with("/pods") {
        "PodList"
    } else {
        "List"
    };
    let list = json!({
        "kind": kind, "apiVersion": "v1", "metadata": metadata, "items": items,
    });
    axum::Json(list).into_response()
}
