//! The line of one request. Its keys are documented in the README of `deploy/grafana`; they change
//! only together with `v`.

use std::time::Instant;

use serde::Serialize;

use super::note::Noted;
use super::trace::Trace;

/// What is known of a request when it comes.
#[derive(Clone, Debug)]
pub(super) struct Begun {
    pub(super) at: Instant,
    pub(super) rid: String,
    /// What its client calls it, who is not believed.
    pub(super) client_rid: Option<String>,
    pub(super) trace: Option<Trace>,
    pub(super) method: http::Method,
    pub(super) path: String,
    pub(super) remote: String,
    pub(super) xff: Option<String>,
    pub(super) ua: Option<String>,
}

/// What is known when it is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) status: u16,
    pub(super) err_code: Option<&'static str>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// When the answer's headers were ready, if its client waited for them.
    pub(super) answered: Option<Instant>,
    /// Whether the answer was not sent to its end.
    pub(super) is_cut: bool,
    /// Milliseconds of waiting for the store, for how many operations of it, and for the database.
    pub(super) store_ms: f64,
    pub(super) store_ops: u64,
    pub(super) meta_ms: f64,
}

#[derive(Serialize)]
struct Line<'a> {
    v: u32,
    ts: String,
    level: &'static str,
    kind: &'static str,
    rid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_rid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<&'a str>,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'static str>,
    path: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    err_code: Option<&'static str>,
    bytes_in: u64,
    bytes_out: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
    dur_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttfb_ms: Option<f64>,
    store_ms: f64,
    store_ops: u64,
    meta_ms: f64,
    remote: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    xff: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repo: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "ref")]
    reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upload_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ua: Option<&'a str>,
    client: &'static str,
    version: &'static str,
    node: &'a str,
}

/// The line, with its end.
pub(super) fn line(begun: &Begun, noted: &Noted, ended: &Ended, node: &str) -> String {
    let ms = |until: Instant| {
        let micros = until.saturating_duration_since(begun.at).as_micros();
        micros as f64 / 1000.0
    };
    let (ua, trace) = (begun.ua.as_deref(), begun.trace.as_ref());
    let line = Line {
        v: 1,
        ts: format!("{:.3}", jiff::Timestamp::now()),
        level: match ended.status {
            500.. => "error",
            400..=499 => "warn",
            _ => "info",
        },
        kind: "access",
        rid: &begun.rid,
        client_rid: begun.client_rid.as_deref(),
        trace_id: trace.map(|trace| trace.trace_id.as_str()),
        span_id: trace.map(|trace| trace.span_id.as_str()),
        method: begun.method.as_str(),
        route: noted.route,
        path: &begun.path,
        status: ended.status,
        err_code: ended.err_code,
        bytes_in: ended.bytes_in,
        bytes_out: ended.bytes_out,
        cut: ended.is_cut,
        dur_ms: ms(Instant::now()),
        ttfb_ms: ended.answered.map(ms),
        store_ms: ended.store_ms,
        store_ops: ended.store_ops,
        meta_ms: ended.meta_ms,
        remote: &begun.remote,
        xff: begun.xff.as_deref(),
        user: noted.user.as_deref(),
        auth: noted.auth,
        action: noted.action,
        project: noted.project.as_deref(),
        repo: noted.repo.as_deref(),
        reference: noted.reference.as_deref(),
        digest: noted.digest.as_deref(),
        media_type: noted.media_type.as_deref(),
        upload_id: noted.upload_id.as_deref(),
        offset: noted.offset,
        cache: noted.cache,
        upstream: noted.upstream.as_deref(),
        ua,
        client: client(ua.unwrap_or_default()),
        version: server::VERSION,
        node,
    };
    // Strings and numbers can always be written.
    let mut text = serde_json::to_string(&line).unwrap_or_default();
    text.push('\n');
    text
}

/// Which program a user agent is, of those that pull and push images.
fn client(ua: &str) -> &'static str {
    const KNOWN: [(&str, &str); 11] = [
        ("buildkit", "buildkit"),
        ("docker", "docker"),
        ("containerd", "containerd"),
        ("skopeo", "skopeo"),
        ("buildah", "buildah"),
        ("libpod", "podman"),
        ("podman", "podman"),
        ("containers/", "podman"),
        ("go-containerregistry", "crane"),
        ("oras", "oras"),
        ("kubelet", "kubelet"),
    ];
    let ua = ua.to_ascii_lowercase();
    let known = KNOWN.iter().find(|(mark, _)| ua.contains(mark));
    known.map_or("other", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_known_by_their_agents() {
        for (ua, name) in [
            (
                "docker/28.2.2 go/go1.24 UpstreamClient(Docker-Client)",
                "docker",
            ),
            ("containerd/1.6.20~ds1", "containerd"),
            ("skopeo/1.9.3", "skopeo"),
            ("curl/8.0", "other"),
            ("", "other"),
        ] {
            assert_eq!(client(ua), name, "{ua}");
        }
    }
}
