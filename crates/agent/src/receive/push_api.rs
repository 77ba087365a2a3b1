//! Lines that others push, as they would push them to a server.
//!
//! The same formats as every server of Loki's takes: protobuf with snappy, JSON, and plain text,
//! a line each.

use std::net::TcpListener;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{get, post};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use model::MatchOp;
use prost::Message;
use proto::logproto::PushRequest;
use serde::Deserialize;
use serde_json::Value;
use server::Listener;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use crate::access::with_causes;
use crate::batch::TENANT_LABEL;
use crate::config::{PushApiConfig, ScrapeConfig};
use crate::discover::Labels;
use crate::feed::{Intake, Received, relabelled};

/// Bytes of a body, and of what it is when it is unpacked.
const BODY_BYTES_MAX: usize = 32 << 20;

/// Takes pushes for one job.
pub(crate) struct PushApi {
    listener: Listener,
    taker: Arc<Taker>,
}

struct Taker {
    at: usize,
    job: ScrapeConfig,
    config: PushApiConfig,
    intake: Intake,
}

/// Time, text and structured metadata.
type Pushed = (Option<i64>, Vec<u8>, Vec<(String, String)>);

/// A stream of a push.
struct Stream {
    labels: Labels,
    entries: Vec<Pushed>,
}

impl PushApi {
    pub(crate) fn bind(
        at: usize,
        job: &ScrapeConfig,
        config: &PushApiConfig,
        intake: Intake,
    ) -> Result<Self, String> {
        let address = match config.server.http_listen_address.as_str() {
            "" => "0.0.0.0",
            address => address,
        };
        let address = format!("{address}:{}", config.server.http_listen_port);
        let listener =
            TcpListener::bind(&address).map_err(|error| format!("{address}: {error}"))?;
        let listener = Listener::of_std(listener).map_err(|error| format!("{address}: {error}"))?;
        let tls = &config.server.http_tls_config;
        let listener = tls.secured(listener).map_err(|error| with_causes(&error))?;
        let taker = Taker {
            at,
            job: job.clone(),
            config: config.clone(),
            intake,
        };
        Ok(Self {
            listener,
            taker: Arc::new(taker),
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        self.listener.local_addr().to_string()
    }

    pub(crate) async fn run(self, stop: CancellationToken) {
        let addr = self.listener.local_addr();
        tracing::info!(job = self.taker.job.job_name, %addr, "takes pushes");
        let limits = server::Config::default().connection_limits();
        self.listener.serve(routes(self.taker), limits, stop).await;
    }
}

fn routes(taker: Arc<Taker>) -> Router {
    Router::new()
        .route("/loki/api/v1/push", post(push))
        .route("/api/v1/push", post(push))
        .route("/promtail/api/v1/push", post(push))
        .route("/promtail/api/v1/raw", post(raw))
        .route("/ready", get(async || "ready\n"))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(taker)
}

async fn push(
    State(taker): State<Arc<Taker>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, (StatusCode, String)> {
    let streams = decode(&headers, &body).map_err(|error| (StatusCode::BAD_REQUEST, error))?;
    let tenant = tenant_of(&headers);
    let mut lines = Vec::new();
    for stream in streams {
        let Some(labels) = taker.labels(stream.labels, tenant.as_deref()) else {
            continue;
        };
        for (timestamp_ns, line, metadata) in stream.entries {
            let timestamp_ns = timestamp_ns.filter(|_| taker.config.use_incoming_timestamp);
            lines.push(taker.received(labels.clone(), timestamp_ns, line, metadata));
        }
    }
    taker.intake.give(lines).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn raw(State(taker): State<Arc<Taker>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let tenant = tenant_of(&headers);
    if let Some(labels) = taker.labels(Labels::new(), tenant.as_deref()) {
        let lines = body.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        let received = |line: &[u8]| taker.received(labels.clone(), None, line.to_vec(), vec![]);
        taker.intake.give(lines.map(received).collect()).await;
    }
    StatusCode::NO_CONTENT
}

fn tenant_of(headers: &HeaderMap) -> Option<String> {
    let tenant = headers.get("x-scope-orgid")?.to_str().ok()?;
    Some(tenant.to_owned())
}

impl Taker {
    /// The labels of lines that came with `labels`.
    fn labels(&self, labels: Labels, tenant: Option<&str>) -> Option<Labels> {
        let mut all = labels;
        for (name, value) in &self.config.labels {
            all.insert(name.clone(), value.clone());
        }
        if let Some(tenant) = tenant {
            all.insert(TENANT_LABEL.to_owned(), tenant.to_owned());
        }
        relabelled(&self.job, all)
    }

    fn received(
        &self,
        labels: Labels,
        timestamp_ns: Option<i64>,
        line: Vec<u8>,
        metadata: Vec<(String, String)>,
    ) -> Received {
        Received {
            job: self.at,
            labels,
            timestamp_ns,
            line,
            metadata,
            cursor: None,
            may_repeat: false,
        }
    }
}

fn decode(headers: &HeaderMap, body: &[u8]) -> Result<Vec<Stream>, String> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let unpacked = match header(CONTENT_ENCODING) {
        Some("gzip") => {
            use std::io::Read;
            let mut text = Vec::new();
            flate2::read::MultiGzDecoder::new(body)
                .take(BODY_BYTES_MAX as u64 + 1)
                .read_to_end(&mut text)
                .map_err(|error| error.to_string())?;
            if text.len() > BODY_BYTES_MAX {
                return Err(format!("the body is longer than {BODY_BYTES_MAX} bytes"));
            }
            text
        }
        _ => body.to_vec(),
    };
    if header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json")) {
        return of_json(&unpacked);
    }
    let len = snap::raw::decompress_len(&unpacked).map_err(|error| error.to_string())?;
    if len > BODY_BYTES_MAX {
        return Err(format!("the body is longer than {BODY_BYTES_MAX} bytes"));
    }
    let message = snap::raw::Decoder::new().decompress_vec(&unpacked);
    let message = message.map_err(|error| error.to_string())?;
    let request = PushRequest::decode(&*message).map_err(|error| error.to_string())?;
    request.streams.into_iter().map(of_message).collect()
}

fn of_message(stream: proto::logproto::StreamAdapter) -> Result<Stream, String> {
    let entry = |entry: proto::logproto::EntryAdapter| {
        let time = entry.timestamp.map(|time| {
            let seconds = time.seconds.saturating_mul(1_000_000_000);
            seconds.saturating_add(time.nanos.into())
        });
        let pairs = entry.structured_metadata.into_iter();
        let metadata = pairs.map(|pair| (pair.name, pair.value)).collect();
        (time, entry.line.to_vec(), metadata)
    };
    Ok(Stream {
        labels: labels_of(&stream.labels)?,
        entries: stream.entries.into_iter().map(entry).collect(),
    })
}

/// The labels in a text such as `{a="b"}`.
fn labels_of(text: &str) -> Result<Labels, String> {
    if text.trim().trim_matches(['{', '}']).trim().is_empty() {
        return Ok(Labels::new());
    }
    let parsed = logql::syntax::parse_log(text).map_err(|error| error.to_string())?;
    let is_labels = parsed.stages.is_empty()
        && parsed
            .matchers
            .iter()
            .all(|matcher| matcher.op() == MatchOp::Equal);
    if !is_labels {
        return Err(format!("{text} are no labels"));
    }
    let pair = |matcher: &model::Matcher| (matcher.name().to_owned(), matcher.value().to_owned());
    Ok(parsed.matchers.iter().map(pair).collect())
}

fn of_json(body: &[u8]) -> Result<Vec<Stream>, String> {
    #[derive(Deserialize)]
    struct Push {
        streams: Vec<Written>,
    }
    #[derive(Deserialize)]
    struct Written {
        stream: BTreeMap<String, String>,
        values: Vec<Vec<Value>>,
    }
    let push: Push = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let entry = |values: Vec<Value>| {
        let time = values.first().and_then(Value::as_str).unwrap_or_default();
        let time: i64 = time.parse().map_err(|_| format!("{time:?} is no time"))?;
        let line = values
            .get(1)
            .and_then(Value::as_str)
            .ok_or("a value has no line")?;
        let metadata = values
            .get(2)
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        let metadata =
            metadata.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        Ok((Some(time), line.as_bytes().to_vec(), metadata.collect()))
    };
    let stream = |written: Written| {
        Ok(Stream {
            labels: written.stream,
            entries: written
                .values
                .into_iter()
                .map(entry)
                .collect::<Result<_, String>>()?,
        })
    };
    push.streams.into_iter().map(stream).collect()
}
