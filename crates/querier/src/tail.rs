//! Live tail over a WebSocket: first the newest lines before now, then lines as they are pushed.
//!
//! Subscriptions at the ingesters begin before history is read, so nothing falls between the two;
//! what both have, or what several replicas have, is sent once. Ingesters that join later are
//! subscribed to as well. A client that reads too slowly is told how many lines it missed. One that
//! is gone without a word is found out by pings, which also keep proxies from cutting quiet tails.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use http::request::Parts;
use model::{Code, CodedError, Direction, Reservation, Shard, TenantId, TimeRange};
use parking_lot::Mutex;
use proto::role::{LogRow, TailBatch, TailRequest};
use server::http::{ApiError, Tenants};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::Querier;
use crate::check;
use crate::encode::{self, Encoding, write_labels, write_list};
use crate::params::Params;
use crate::query::RangeQuery;

/// How often new ingesters are looked for.
const RESUBSCRIBE: Duration = Duration::from_secs(2);
/// Rows remembered to tell copies.
const REMEMBERED_ROWS_MAX: usize = 100_000;
/// How often a client is asked whether it is there.
const PING: Duration = Duration::from_secs(5);
/// How long a client may give no sign, or take nothing of a message.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Batches between ingesters and the socket: others wait at the ingesters.
const BATCHES_MAX: usize = 4;
/// Bytes of rows that wait for one client, at most.
const WAITING_BYTES_MAX: u64 = 16 << 20;
/// What a row costs besides its line.
const ROW_BYTES: usize = 128;
/// The longest that `delay_for` may be.
const DELAY_S_MAX: i64 = 5;

/// Tails under way, by tenant.
#[derive(Debug, Default)]
pub(crate) struct Tails(Mutex<HashMap<TenantId, usize>>);

impl Tails {
    fn begin(self: &Arc<Self>, tenant: &TenantId, max: usize) -> Result<TailPermit, CodedError> {
        let mut running = self.0.lock();
        let count = running.entry(tenant.clone()).or_default();
        if max > 0 && *count >= max {
            let error = CodedError::new(
                Code::InvalidArgument,
                format!(
                    "max concurrent tail requests limit exceeded, count > limit ({} > {max})",
                    *count + 1
                ),
            );
            return Err(error.beyond("max_concurrent_tail_requests", &max, tenant));
        }
        *count += 1;
        Ok(TailPermit {
            tails: Arc::clone(self),
            tenant: tenant.clone(),
        })
    }
}

struct TailPermit {
    tails: Arc<Tails>,
    tenant: TenantId,
}

impl Drop for TailPermit {
    fn drop(&mut self) {
        let mut running = self.tails.0.lock();
        if let Some(count) = running.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.tenant);
            }
        }
    }
}

/// What a tail asks for, read from the request before the upgrade.
pub(crate) struct TailQuery {
    tenant: TenantId,
    text: String,
    start_ns: i64,
    limit: usize,
    delay: Duration,
    encoding: Encoding,
}

fn tail_query(parts: &Parts, tenants: &Tenants, now_ns: i64) -> Result<TailQuery, CodedError> {
    let params = Params::parse(&[parts.uri.query().unwrap_or_default()]);
    let refused = |message: String| CodedError::new(Code::InvalidArgument, message);
    let text = params.get("query").unwrap_or_default().to_owned();
    logql::syntax::parse_log(&text).map_err(|error| check::unparsable(&error))?;
    let delay_s = params.count("delay_for")?.unwrap_or(0);
    if delay_s > DELAY_S_MAX {
        return Err(refused(format!(
            "delay_for can't be greater than {DELAY_S_MAX}"
        )));
    }
    Ok(TailQuery {
        tenant: tenants.single()?.clone(),
        text,
        start_ns: params.range(now_ns)?.start_ns,
        limit: params.limit()?,
        delay: Duration::from_secs(u64::try_from(delay_s).unwrap_or(0)),
        encoding: crate::http::encoding(&parts.headers),
    })
}

/// Answers `GET /loki/api/v1/tail`: what is wrong is said with a status before the upgrade.
pub(crate) async fn upgrade(
    State(querier): State<Arc<Querier>>,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let tenants = Tenants::from_request_parts(&mut parts, &()).await?;
    let query = tail_query(&parts, &tenants, querier.now_ns())?;
    let limits = querier.limits(&query.tenant);
    let permit = querier
        .tails()
        .begin(&query.tenant, limits.max_concurrent_tail_requests)?;
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => Ok(upgrade.on_upgrade(move |socket| async move {
            querier.metrics().tails.inc();
            run(&querier, query, socket).await;
            querier.metrics().tails.dec();
            drop(permit);
        })),
        Err(_) => Ok((http::StatusCode::BAD_REQUEST, "Bad Request\n").into_response()),
    }
}

async fn run(querier: &Arc<Querier>, query: TailQuery, mut socket: WebSocket) {
    if let Err(error) = serve(querier, &query, &mut socket).await {
        tracing::debug!(error = %error, "tail ended");
        let frame = CloseFrame {
            code: close_code::ERROR,
            reason: close_reason(&error).into(),
        };
        let _ = socket.send(Message::Close(Some(frame))).await;
    }
}

/// Why a tail ends, and by which limit, in as many bytes as a reason may have (RFC 6455, 5.5).
fn close_reason(error: &CodedError) -> String {
    const REASON_BYTES_MAX: usize = 123;
    const MESSAGE_BYTES_MIN: usize = 40;
    let limit = error.exceeded.as_ref().map(|limit| format!(" ({limit})"));
    let limit = limit.unwrap_or_default();
    let left = REASON_BYTES_MAX.saturating_sub(limit.len());
    let mut reason = cut(&error.message, left.max(MESSAGE_BYTES_MIN)).to_owned();
    reason.push_str(cut(&limit, REASON_BYTES_MAX - reason.len()));
    reason
}

/// The beginning of a text, in whole characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max))
        .unwrap_or(text)
}

async fn serve(
    querier: &Arc<Querier>,
    query: &TailQuery,
    socket: &mut WebSocket,
) -> Result<(), CodedError> {
    let (sender, mut live) = mpsc::channel(BATCHES_MAX);
    let mut subscriptions = Subscriptions::default();
    let now_ns = querier.now_ns();
    subscriptions
        .renew(querier, query, now_ns.min(query.start_ns), &sender)
        .await?;
    let mut seen = Seen::default();
    let memory = querier
        .memory()
        .child("a tail's share of querier.memory", WAITING_BYTES_MAX);
    let rows_max = querier.config.tail_buffer_rows.max(query.limit);
    let mut waiting = Waiting::new(rows_max, memory.reservation());
    let history = querier
        .range_query(
            std::slice::from_ref(&query.tenant),
            history_of(query, now_ns),
        )
        .await?
        .value;
    if let encode::Answer::Streams(mut rows) = history {
        rows.reverse();
        rows.retain(|row| seen.insert(row));
        waiting.push(rows, 0, Instant::now());
    }
    let mut renew = every(RESUBSCRIBE);
    let mut ping = every(PING);
    let mut heard = Instant::now();
    loop {
        if let Some(frame) = waiting.take_due(&query.encoding) {
            send(socket, Message::Text(frame.into())).await?;
        }
        tokio::select! {
            // What the client said comes before the question whether it is there.
            biased;
            message = socket.recv() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                Some(Ok(_)) => heard = Instant::now(),
            },
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE_MAX {
                    return Err(CodedError::new(Code::Cancelled, "the client gives no sign"));
                }
                send(socket, Message::Ping(Bytes::new())).await?;
            }
            _ = renew.tick() => {
                let start_ns = querier.now_ns() - 5_000_000_000;
                subscriptions.renew(querier, query, start_ns, &sender).await?;
            }
            Some(batch) = live.recv() => {
                let TailBatch { streams, dropped } = batch?;
                let mut rows: Vec<_> = streams.into_iter().flat_map(|stream| stream.rows).collect();
                rows.retain(|row| seen.insert(row));
                waiting.push(rows, dropped, Instant::now() + query.delay);
            }
            () = waiting.due() => {}
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), CodedError> {
    let sent = tokio::time::timeout(SILENCE_MAX, socket.send(message)).await;
    let ended = |why: String| CodedError::new(Code::Cancelled, why);
    sent.map_err(|_| ended("the client takes nothing".to_owned()))?
        .map_err(|error| ended(error.to_string()))
}

fn history_of(query: &TailQuery, now_ns: i64) -> RangeQuery {
    RangeQuery {
        text: query.text.clone(),
        range: TimeRange::new(query.start_ns, now_ns.max(query.start_ns) + 1),
        step_ns: 1_000_000_000,
        interval_ns: 0,
        limit: query.limit,
        direction: Direction::Backward,
        shard: Shard::ALL,
    }
}

/// One task for each ingester that is subscribed to.
#[derive(Default)]
struct Subscriptions {
    tasks: JoinSet<String>,
    running: HashSet<String>,
}

impl Subscriptions {
    /// Subscribes to ingesters that are not subscribed to, or whose subscription broke.
    async fn renew(
        &mut self,
        querier: &Arc<Querier>,
        query: &TailQuery,
        start_ns: i64,
        sender: &mpsc::Sender<Result<TailBatch, CodedError>>,
    ) -> Result<(), CodedError> {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Ok(name) = ended {
                self.running.remove(&name);
            }
        }
        for (name, ingester) in querier.readers().ingesters {
            if !self.running.insert(name.clone()) {
                continue;
            }
            let range = TimeRange::new(start_ns, i64::MAX);
            let request = TailRequest {
                tenant: query.tenant.clone(),
                query: query.text.clone(),
                start_ns,
                deletions: querier.deleting(&query.tenant, range).await?.deletions,
            };
            let sender = sender.clone();
            self.tasks.spawn(async move {
                match ingester.tail(request).await {
                    Ok(mut batches) => {
                        while let Some(batch) = batches.next().await {
                            // A broken subscription is renewed; the others go on.
                            let Ok(batch) = batch else { break };
                            if sender.send(Ok(batch)).await.is_err() {
                                break;
                            }
                        }
                    }
                    Err(error) if error.code == Code::InvalidArgument => {
                        let _ = sender.send(Err(error)).await;
                    }
                    Err(error) => {
                        tracing::warn!(ingester = %name, error = %error, "cannot tail");
                    }
                }
                name
            });
        }
        Ok(())
    }
}

/// Remembers the newest rows, to tell copies.
#[derive(Default)]
struct Seen {
    rows: HashSet<(i64, u64, u64)>,
    order: VecDeque<(i64, u64, u64)>,
}

impl Seen {
    /// Whether the row is new.
    fn insert(&mut self, row: &LogRow) -> bool {
        let labels = row.labels.stream.fingerprint();
        let key = (row.timestamp_ns, row.row_hash, labels);
        if !self.rows.insert(key) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED_ROWS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.rows.remove(&oldest);
        }
        true
    }
}

/// Rows that are held back for `delay_for`, to bring the lines of several streams in order.
struct Waiting {
    batches: VecDeque<(Instant, Vec<LogRow>, u64)>,
    rows: usize,
    rows_max: usize,
    /// For the rows.
    memory: Reservation,
}

impl Waiting {
    fn new(rows_max: usize, memory: Reservation) -> Self {
        Self {
            batches: VecDeque::new(),
            rows: 0,
            rows_max,
            memory,
        }
    }

    /// Adds rows; those that there is no room for count as dropped.
    fn push(&mut self, mut rows: Vec<LogRow>, mut dropped: u64, due: Instant) {
        let places = self.rows_max.saturating_sub(self.rows);
        let fits = |row: &&LogRow| self.memory.grow(row_bytes(row)).is_ok();
        let kept = rows.iter().take(places).take_while(fits).count();
        dropped += (rows.len() - kept) as u64;
        rows.truncate(kept);
        self.rows += kept;
        if !rows.is_empty() || dropped > 0 {
            self.batches.push_back((due, rows, dropped));
        }
    }

    async fn due(&self) {
        match self.batches.front() {
            Some((due, ..)) => tokio::time::sleep_until(*due).await,
            None => std::future::pending().await,
        }
    }

    /// A frame of all rows that are due, oldest first.
    fn take_due(&mut self, encoding: &Encoding) -> Option<String> {
        let now = Instant::now();
        let (mut rows, mut dropped) = (Vec::new(), 0);
        while self.batches.front().is_some_and(|(due, ..)| *due <= now) {
            if let Some((_, more, lost)) = self.batches.pop_front() {
                self.rows -= more.len();
                self.memory.shrink(more.iter().map(row_bytes).sum());
                rows.extend(more);
                dropped += lost;
            }
        }
        if rows.is_empty() && dropped == 0 {
            return None;
        }
        rows.sort_by_key(|row| row.timestamp_ns);
        Some(frame(&rows, dropped, encoding))
    }
}

fn row_bytes(row: &LogRow) -> u64 {
    (row.line.len() + ROW_BYTES) as u64
}

/// `{"streams":[…]}`, with `dropped_entries` if rows were lost.
fn frame(rows: &[LogRow], dropped: u64, encoding: &Encoding) -> String {
    let style = encoding.style;
    let mut out = String::from("{\"streams\":");
    let streams = encode::group_rows(rows, style);
    write_list(&mut out, &streams, |out, (labels, rows)| {
        out.push_str("{\"stream\":");
        write_labels(out, labels);
        out.push_str(",\"values\":");
        write_list(out, rows, |out, row| encode::write_row(out, row, style));
        out.push('}');
    });
    if !encoding.flags.is_empty() {
        out.push(',');
        encode::write_flags(&mut out, encoding);
    }
    if dropped > 0 {
        let at = rows.last().map_or(0, |row| row.timestamp_ns);
        let _ = write!(
            out,
            ",\"dropped_entries\":[{{\"labels\":{{\"dropped\":\"{dropped}\"}},\"timestamp\":\"{at}\"}}]"
        );
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use model::{Budget, LabelSet, RowLabels};

    use super::*;

    fn row(timestamp_ns: i64, row_hash: u64) -> LogRow {
        let stream = LabelSet::from_pairs([("app", "web")]);
        LogRow {
            timestamp_ns,
            line: Bytes::from_static(b"x"),
            labels: Arc::new(RowLabels {
                stream,
                ..Default::default()
            }),
            row_hash,
        }
    }

    fn merged() -> Encoding {
        crate::http::encoding(&http::HeaderMap::new())
    }

    #[test]
    fn copies_are_sent_once() {
        let mut seen = Seen::default();
        assert!(seen.insert(&row(1, 1)) && !seen.insert(&row(1, 1)) && seen.insert(&row(1, 2)));
    }

    #[test]
    fn frames_are_in_time_order_and_say_what_was_lost() {
        let mut waiting = Waiting::new(2, Budget::new("all", 1 << 20).reservation());
        waiting.push(vec![row(2, 1)], 0, Instant::now());
        waiting.push(vec![row(1, 1), row(3, 1)], 3, Instant::now());
        let frame = waiting.take_due(&merged()).unwrap();
        let frame: serde_json::Value = serde_json::from_str(&frame).unwrap();
        assert_eq!(frame["streams"][0]["values"][0][0], "1");
        assert_eq!(frame["dropped_entries"][0]["labels"]["dropped"], "4");
        assert!(waiting.take_due(&merged()).is_none());
        assert_eq!(waiting.memory.bytes(), 0);
    }

    #[tokio::test]
    async fn rows_that_wait_are_bounded_in_bytes() {
        let memory = Budget::new("all", 2 * (ROW_BYTES as u64 + 1) + 1);
        let mut waiting = Waiting::new(100, memory.reservation());
        for _ in 0..2 {
            waiting.push((0..5).map(|i| row(i, 1)).collect(), 0, Instant::now());
            let frame = waiting.take_due(&merged()).unwrap();
            assert!(frame.contains(r#"{"dropped":"3"}"#), "{frame}");
        }
        assert_eq!(memory.used_bytes(), 0);
    }

    #[test]
    fn the_reason_of_an_end_names_the_limit_in_123_bytes() {
        let tenant = TenantId::new("team").unwrap();
        let error = |text: &str| CodedError::new(Code::InvalidArgument, text);
        assert_eq!(close_reason(&error("no")), "no");
        let refused = error("query blocked by policy").beyond("blocked_queries", &"x", &tenant);
        assert_eq!(
            close_reason(&refused),
            "query blocked by policy (blocked_queries=x; tenant=team)"
        );
        let long = error(&"é".repeat(200)).beyond("max_query_length", &"2h", &tenant);
        let reason = close_reason(&long);
        assert!(reason.len() <= 123, "{reason}");
        assert!(
            reason.ends_with("é (max_query_length=2h; tenant=team)"),
            "{reason}"
        );
        let both = error(&"é".repeat(200)).beyond("a", &"x".repeat(200), &tenant);
        let reason = close_reason(&both);
        assert!(reason.len() <= 123 && reason.contains("é (a=x"), "{reason}");
    }

    #[test]
    fn tails_of_a_tenant_are_bounded() {
        let tails = Arc::new(Tails::default());
        let tenant = TenantId::single();
        let first = tails.begin(&tenant, 1).unwrap();
        assert!(tails.begin(&tenant, 1).is_err());
        drop(first);
        assert!(tails.begin(&tenant, 1).is_ok());
    }
}
