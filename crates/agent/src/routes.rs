//! What the agent shows over HTTP: its targets and files, as JSON, or as a page where a browser
//! asks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::HeaderMap;
use http::header::ACCEPT;
use serde::Serialize;

use crate::discover::{Dropped, Labels, SharedTargets};
use crate::reader::SourceStatus;
use crate::reader::drive::Inbox;
use crate::receive::{Sight, Sights};

/// What is shown.
pub(crate) struct Status {
    targets: Arc<SharedTargets>,
    sights: Arc<Sights>,
    clients: Vec<(String, Arc<Inbox>)>,
}

/// A target of whose lines some are collected.
#[derive(Serialize)]
struct ActiveTarget {
    job: String,
    /// The glob of its files; of what has none, the kind and the name.
    path: String,
    discovered_labels: Labels,
    labels: Labels,
}

/// Something that is no file.
#[derive(Serialize)]
struct Receiving {
    job: String,
    kind: &'static str,
    name: String,
    state: String,
    last_line: Option<jiff::Timestamp>,
}

impl Status {
    pub(crate) fn new(
        targets: Arc<SharedTargets>,
        sights: Arc<Sights>,
        clients: &[(String, Arc<Inbox>)],
    ) -> Self {
        Self {
            targets,
            sights,
            clients: clients.to_vec(),
        }
    }

    pub(crate) fn ready(&self, waits_for_file: bool) -> Result<(), &'static str> {
        let is_tailing = self.clients.iter().any(|(_, inbox)| inbox.is_tailing());
        if is_tailing || !waits_for_file {
            Ok(())
        } else {
            Err("Not ready: no file is tailed yet; check that a __path__ matches files")
        }
    }

    fn files(&self) -> BTreeMap<&str, Vec<SourceStatus>> {
        let mut files = BTreeMap::new();
        for (name, inbox) in &self.clients {
            files.insert(name.as_str(), inbox.status());
        }
        files
    }

    fn owed_bytes(&self) -> BTreeMap<&str, usize> {
        let mut owed = BTreeMap::new();
        for (name, inbox) in &self.clients {
            owed.insert(name.as_str(), inbox.owed_bytes());
        }
        owed
    }

    /// What is no file and lines are taken from.
    fn receiving(&self) -> Vec<Receiving> {
        let taken = |sight: Sight| {
            sight.labels.is_some().then_some(Receiving {
                job: sight.job,
                kind: sight.kind,
                name: sight.name,
                state: sight.state,
                last_line: sight.last_line,
            })
        };
        self.sights.all().into_iter().filter_map(taken).collect()
    }

    /// Targets of which lines are collected, and those of which none are.
    fn discovered(&self) -> (Vec<ActiveTarget>, Vec<Dropped>) {
        let targets = self.targets.get();
        let active = targets.active().iter().map(|target| ActiveTarget {
            job: target.job_name.clone(),
            path: target.path.clone(),
            discovered_labels: target.discovered.clone(),
            labels: target.labels.clone(),
        });
        let mut active: Vec<ActiveTarget> = active.collect();
        let mut dropped = targets.dropped().to_vec();
        for sight in self.sights.all() {
            match sight.labels {
                Some(labels) => active.push(ActiveTarget {
                    job: sight.job,
                    path: format!("{}:{}", sight.kind, sight.name),
                    discovered_labels: sight.discovered,
                    labels,
                }),
                None => dropped.push(Dropped {
                    job: sight.job,
                    labels: sight.discovered,
                    reason: "dropped by relabelling".to_owned(),
                }),
            }
        }
        (active, dropped)
    }
}

/// `/targets` and `/service-discovery`.
pub(crate) fn routes(status: Arc<Status>) -> Router {
    Router::new()
        .route("/", get(async || Redirect::to("/targets")))
        .route("/targets", get(targets))
        .route("/service-discovery", get(service_discovery))
        .with_state(status)
}

fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// The files that are read, by client, and what else lines are taken from.
async fn targets(State(status): State<Arc<Status>>, headers: HeaderMap) -> Response {
    let (clients, receiving) = (status.files(), status.receiving());
    if !wants_page(&headers) {
        let owed = status.owed_bytes();
        let shown = serde_json::json!({
            "clients": clients,
            "owed_bytes": owed,
            "receiving": receiving,
        });
        return Json(shown).into_response();
    }
    let mut rows = String::new();
    for (client, files) in &clients {
        for file in files {
            let path = file.path.display().to_string();
            let numbers = [file.read_bytes, file.file_bytes, file.lag_bytes].map(|n| n.to_string());
            let [read, size, lag] = &numbers;
            row(&mut rows, &[client, &file.job, &path, read, size, lag]);
        }
    }
    let files = table(&["client", "job", "file", "read", "size", "behind"], &rows);
    rows.clear();
    for one in &receiving {
        let last = one.last_line.map_or_else(String::new, |at| at.to_string());
        row(
            &mut rows,
            &[&one.job, one.kind, &one.name, &one.state, &last],
        );
    }
    let others = table(&["job", "kind", "name", "state", "last line"], &rows);
    page("Targets", &[files, others])
}

/// What the targets were before and after relabelling.
async fn service_discovery(State(status): State<Arc<Status>>, headers: HeaderMap) -> Response {
    let (active, dropped) = status.discovered();
    if !wants_page(&headers) {
        let shown = serde_json::json!({ "active": active, "dropped": dropped });
        return Json(shown).into_response();
    }
    let mut rows = String::new();
    for target in &active {
        let (before, after) = (text(&target.discovered_labels), text(&target.labels));
        row(&mut rows, &[&target.job, &before, &after, ""]);
    }
    for target in &dropped {
        row(
            &mut rows,
            &[&target.job, &text(&target.labels), "", &target.reason],
        );
    }
    let all = table(&["job", "discovered", "labels", "dropped because"], &rows);
    page("Service discovery", &[all])
}

fn text(labels: &BTreeMap<String, String>) -> String {
    let pairs = labels
        .iter()
        .map(|(name, value)| format!("{name}={value:?}"));
    pairs.collect::<Vec<_>>().join(" ")
}

fn row(rows: &mut String, cells: &[&str]) {
    rows.push_str("<tr>");
    for cell in cells {
        // Writing to a text does not fail.
        let _ = write!(rows, "<td>{}</td>", escape(cell));
    }
    rows.push_str("</tr>\n");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn table(heads: &[&str], rows: &str) -> String {
    let heads = heads.iter().map(|head| format!("<th>{head}</th>"));
    let heads: String = heads.collect();
    format!("<table border=1><tr>{heads}</tr>\n{rows}</table>\n")
}

fn page(title: &str, tables: &[String]) -> Response {
    let tables = tables.concat();
    Html(format!(
        "<!doctype html><title>{title}</title><h1>{title}</h1>\n{tables}"
    ))
    .into_response()
}
