//! Watches a request from its first byte to the last of its answer.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderName, USER_AGENT};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode, Version};
use http_body::{Frame, SizeHint};
use rand::RngExt;
use server::http::REQUEST_ID_HEADER;

use super::access::{self, Begun, Ended};
use super::note::Note;
use super::trace::Trace;
use crate::cost::Cost;
use crate::error::{Code, Error, ErrorCode};
use crate::forwarded::{FORWARDED_FOR, client, is_trusted};
use crate::registry::Registry;

/// Bytes of what a client says about itself that are kept.
const SAID_BYTES_MAX: usize = 256;
/// Bytes of an id that a client gives.
const GIVEN_ID_BYTES_MAX: usize = 128;
/// What is written down as the status of a request whose client went away before there was an answer,
/// as proxies do; nobody is sent it.
const CLIENT_GONE: u16 = 499;

/// What handlers know of the request besides itself.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Its id, by which its lines are found.
    pub(crate) rid: String,
    /// The address that it came from.
    pub(crate) remote: String,
    pub(crate) note: Note,
}

/// Gives a request its id, and writes a line when its answer is over.
pub(crate) async fn observe(
    State(registry): State<Registry>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let is_host_clear = is_host_clear(&parts);
    name_host(&mut parts);
    let begun = begun(&parts, &registry);
    let note = Note::default();
    parts.extensions.insert(Seen {
        rid: begun.rid.clone(),
        remote: begun.remote.clone(),
        note: note.clone(),
    });
    let bytes_in = Arc::new(AtomicU64::new(0));
    let in_flight = registry.metrics().begin();
    let body = Body::new(Counted {
        body,
        bytes: Arc::clone(&bytes_in),
        awaited: None,
        watch: None,
    });
    let cost = Cost::default();
    let rid = begun.rid.clone();
    // Before the answer is there: what waits for it is dropped when the client goes away.
    let mut watch = Watch {
        status: CLIENT_GONE,
        err_code: None,
        answered: None,
        is_cut: false,
        registry,
        begun,
        note,
        cost: cost.clone(),
        bytes_in,
        bytes_out: Arc::new(AtomicU64::new(0)),
        in_flight,
    };
    let answered = async {
        match is_host_clear {
            true => next.run(Request::from_parts(parts, body)).await,
            false => unclear_host().answer(&rid),
        }
    };
    let mut answer = cost.of(answered).await;
    if let Ok(rid) = rid.parse() {
        answer.headers_mut().insert(REQUEST_ID_HEADER, rid);
    }
    watch.status = answer.status().as_u16();
    watch.err_code = answer.extensions().get::<ErrorCode>().map(|code| code.0);
    watch.answered = Some(Instant::now());
    let awaited = length(&answer);
    watch.is_cut =
        watch.begun.method != Method::HEAD && awaited != Some(0) && !answer.body().is_end_stream();
    answer.map(|body| {
        Body::new(Counted {
            body,
            bytes: Arc::clone(&watch.bytes_out),
            awaited,
            watch: Some(watch),
        })
    })
}

/// What is known of a request by what came before its body.
fn begun(parts: &Parts, registry: &Registry) -> Begun {
    let text = |name: &HeaderName| {
        let value = parts.headers.get(name)?.to_str().ok()?;
        Some(value.chars().take(SAID_BYTES_MAX).collect::<String>())
    };
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let config = registry.config();
    let (trusted, header) = (&config.trusted_proxies, config.forwarded_header);
    let remote = peer.map(|peer| client(peer.0.ip(), &parts.headers, trusted, header));
    // Who is not believed could mix his lines with those of others.
    let given = given_id(&parts.headers);
    let (rid, client_rid) = match peer {
        Some(peer) if is_trusted(peer.0.ip(), trusted) => (given, None),
        _ => (None, given),
    };
    Begun {
        at: Instant::now(),
        rid: rid.unwrap_or_else(new_id),
        client_rid,
        trace: Trace::of(&parts.headers),
        method: parts.method.clone(),
        path: parts.uri.path().chars().take(SAID_BYTES_MAX * 2).collect(),
        remote: remote.map_or_else(String::new, |remote| remote.to_string()),
        xff: text(&FORWARDED_FOR),
        ua: text(&USER_AGENT),
    }
}

/// How many bytes an answer has, if that is known.
fn length(answer: &Response) -> Option<u64> {
    let said = answer.headers().get(CONTENT_LENGTH);
    let said = said.and_then(|length| length.to_str().ok()?.parse().ok());
    said.or(answer.body().size_hint().exact())
}

/// Whether a request says once what its client calls the registry, as HTTP/1.1 wants it.
/// <https://www.rfc-editor.org/rfc/rfc9112#section-3.2>
fn is_host_clear(parts: &Parts) -> bool {
    let hosts = parts.headers.get_all(HOST).iter().count();
    match parts.version {
        Version::HTTP_11 => hosts == 1,
        _ => hosts <= 1,
    }
}

fn unclear_host() -> Error {
    let message = "a request of HTTP/1.1 has one header Host";
    Error::new(Code::Unsupported, message).with_status(StatusCode::BAD_REQUEST)
}

/// HTTP/2 has what a client calls the registry in the address of the request only.
fn name_host(parts: &mut Parts) {
    if parts.headers.contains_key(HOST) {
        return;
    }
    let authority = parts.uri.authority().map(Authority::as_str);
    if let Some(host) = authority.and_then(|host| host.parse().ok()) {
        parts.headers.insert(HOST, host);
    }
}

/// A request that is not over. Its line is written when this is dropped: at the end of the answer or
/// of the connection, whichever is first.
struct Watch {
    registry: Registry,
    begun: Begun,
    note: Note,
    status: u16,
    err_code: Option<&'static str>,
    answered: Option<Instant>,
    /// Whether some of the answer is still to be sent.
    is_cut: bool,
    cost: Cost,
    bytes_in: Arc<AtomicU64>,
    bytes_out: Arc<AtomicU64>,
    in_flight: crate::metrics::InFlight,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let ended = Ended {
            status: self.status,
            err_code: self.err_code,
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            answered: self.answered,
            is_cut: self.is_cut,
            store_ms: self.cost.store_ms(),
            store_ops: self.cost.store_ops(),
            meta_ms: self.cost.meta_ms(),
        };
        let noted = self.note.read();
        self.in_flight.end(
            noted.route.unwrap_or("other"),
            &self.begun.method,
            ended.status,
            self.begun.at.elapsed(),
            (ended.bytes_in, ended.bytes_out),
        );
        if ended.status < 400
            && let (Some(project), Some(action)) = (&noted.project, noted.action)
        {
            let metrics = self.registry.metrics();
            metrics.moved(project, action, ended.bytes_in, ended.bytes_out);
        }
        self.registry.logs().access(&self.begun, &noted, &ended);
    }
}

impl super::Logs {
    fn access(&self, begun: &Begun, noted: &super::note::Noted, ended: &Ended) {
        let line = access::line(begun, noted, ended, &self.node);
        self.access.push(line.as_bytes());
    }
}

/// A body whose bytes are counted.
struct Counted {
    body: Body,
    bytes: Arc<AtomicU64>,
    /// How many there will be, if that is known.
    awaited: Option<u64>,
    /// Dropped with the body.
    watch: Option<Watch>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let length = data.len() as u64;
            let bytes = self.bytes.fetch_add(length, Ordering::Relaxed) + length;
            // Who has all bytes need not ask whether there are more.
            let is_whole = self.awaited == Some(bytes) || self.body.is_end_stream();
            if let Some(watch) = &mut self.watch
                && is_whole
            {
                watch.is_cut = false;
            }
        }
        match polled {
            Poll::Ready(None) => {
                if let Some(mut watch) = self.watch.take() {
                    watch.is_cut = false;
                }
            }
            Poll::Ready(Some(Err(_))) => self.watch = None,
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The id that a client gives its request.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(REQUEST_ID_HEADER);
    let given = given.and_then(|value| value.to_str().ok());
    let is_plain = |id: &&str| {
        (1..=GIVEN_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
    };
    given.filter(is_plain).map(str::to_owned)
}

/// A new id: sortable by time.
pub(crate) fn new_id() -> String {
    let now_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
    ulid::Ulid::from_parts(now_ms, rand::rng().random()).to_string()
}
