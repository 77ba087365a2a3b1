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

use crate::discover::{SharedTargets, Targets};
use crate::reader::SourceStatus;
use crate::reader::drive::Inbox;

/// What is shown.
pub(crate) struct Status {
    targets: Arc<SharedTargets>,
    clients: Vec<(String, Arc<Inbox>)>,
}

#[derive(Serialize)]
struct ActiveTarget<'t> {
    job: &'t str,
    path: &'t str,
    discovered_labels: &'t BTreeMap<String, String>,
    labels: &'t BTreeMap<String, String>,
}

impl Status {
    pub(crate) fn new(targets: Arc<SharedTargets>, clients: &[(String, Arc<Inbox>)]) -> Self {
        Self {
            targets,
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

    fn active(targets: &Targets) -> Vec<ActiveTarget<'_>> {
        let mut active = Vec::new();
        for target in targets.active() {
            active.push(ActiveTarget {
                job: &target.job_name,
                path: &target.path,
                discovered_labels: &target.discovered,
                labels: &target.labels,
            });
        }
        active
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

/// The files that are read, by client.
async fn targets(State(status): State<Arc<Status>>, headers: HeaderMap) -> Response {
    let clients = status.files();
    if !wants_page(&headers) {
        let owed = status.owed_bytes();
        let shown = serde_json::json!({ "clients": clients, "owed_bytes": owed });
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
    page(
        "Targets",
        &["client", "job", "file", "read", "size", "behind"],
        &rows,
    )
}

/// What the targets were before and after relabelling.
async fn service_discovery(State(status): State<Arc<Status>>, headers: HeaderMap) -> Response {
    let targets = status.targets.get();
    let (active, dropped) = (Status::active(&targets), targets.dropped());
    if !wants_page(&headers) {
        let shown = serde_json::json!({ "active": active, "dropped": dropped });
        return Json(shown).into_response();
    }
    let mut rows = String::new();
    for target in &active {
        let (before, after) = (text(target.discovered_labels), text(target.labels));
        row(&mut rows, &[target.job, &before, &after, ""]);
    }
    for target in dropped {
        row(
            &mut rows,
            &[&target.job, &text(&target.labels), "", &target.reason],
        );
    }
    page(
        "Service discovery",
        &["job", "discovered", "labels", "dropped because"],
        &rows,
    )
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

fn page(title: &str, heads: &[&str], rows: &str) -> Response {
    let heads: String = heads
        .iter()
        .map(|head| format!("<th>{head}</th>"))
        .collect();
    Html(format!(
        "<!doctype html><title>{title}</title><h1>{title}</h1>\n\
         <table border=1><tr>{heads}</tr>\n{rows}</table>\n"
    ))
    .into_response()
}
