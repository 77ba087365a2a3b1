//! Streams to their ingesters, and what a quorum of them says.
//!
//! Each ingester gets all that it holds of a push, in messages of bounded size, one after the other
//! so that the rows of a stream stay in order. The push is answered as soon as every row is decided;
//! ingesters that are slower than the quorum finish in the background, holding their share of the
//! memory budget until they do.

mod tally;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Cluster, Health, Member, MemberIndex, MemberState, Ring, Role};
use model::{Code, CodedError, Reservation, StreamBatch, TenantId};
use proto::role::{Ingest, Push, Received, Refusal, RefusalReason};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::error::Rejection;
use crate::metrics::Metrics;
use tally::{Tally, Verdict};

/// What the distributor needs of a cluster.
pub trait Ingesters: Send + Sync {
    /// Where streams lie now.
    fn ring(&self) -> Arc<Ring>;

    /// The write side of an ingester.
    ///
    /// # Errors
    /// If it cannot be reached.
    fn ingest(&self, member: &Member) -> Result<Arc<dyn Ingest>, CodedError>;

    /// Ingesters that must have a row before it is acknowledged.
    fn write_quorum(&self) -> usize;

    /// Distributors that share the rates of tenants, this one included.
    fn distributors(&self) -> usize;
}

impl Ingesters for Cluster {
    fn ring(&self) -> Arc<Ring> {
        self.ring()
    }

    fn ingest(&self, member: &Member) -> Result<Arc<dyn Ingest>, CodedError> {
        self.pool().ingest(member)
    }

    fn write_quorum(&self) -> usize {
        self.write_quorum()
    }

    fn distributors(&self) -> usize {
        let works = |member: &&Arc<Member>| {
            member.health != Health::Dead && member.state != MemberState::Leaving
        };
        self.members()
            .with_role(Role::Distributor)
            .filter(works)
            .count()
            .max(1)
    }
}

/// Rows of one stream on their way, and where they go.
#[derive(Clone, Debug)]
pub(crate) struct Shipment {
    /// The stream's place in the ring.
    pub(crate) key: u64,
    pub(crate) batch: Arc<StreamBatch>,
}

/// What a push has to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Cargo<'a> {
    pub(crate) shipments: &'a [Shipment],
    /// The body that all of them came in.
    pub(crate) received: Option<Arc<Received>>,
}

/// A row that a quorum refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefusedRow {
    pub(crate) shipment: usize,
    pub(crate) row: usize,
    pub(crate) reason: RefusalReason,
}

/// How shipments are sent.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    pub(crate) timeout: Duration,
    /// Bytes of lines after which another message is begun.
    pub(crate) message_bytes: usize,
    pub(crate) metrics: Metrics,
}

/// An ingester's answer to one message.
struct Answer {
    shipments: Vec<usize>,
    result: Result<Vec<Refusal>, CodedError>,
}

/// Sends every shipment to its replicas and waits until a quorum has decided each row. `hold` is
/// kept until the last ingester has answered.
pub(crate) async fn replicate(
    ingesters: &dyn Ingesters,
    tenant: &TenantId,
    cargo: &Cargo<'_>,
    sending: &Sending,
    hold: Reservation,
) -> Result<Vec<RefusedRow>, Rejection> {
    let (ring, quorum) = (ingesters.ring(), ingesters.write_quorum());
    let mut tally = Tally::new(quorum);
    let mut by_ingester: BTreeMap<MemberIndex, Vec<usize>> = BTreeMap::new();
    for (i, shipment) in cargo.shipments.iter().enumerate() {
        let replicas = ring.replicas(shipment.key);
        if replicas.len() < quorum {
            sending.metrics.quorum_failures.inc();
            return Err(Rejection::unavailable(format!(
                "not enough ingesters: {} of the {quorum} that must have a row",
                replicas.len()
            )));
        }
        tally.add(replicas.len(), shipment.batch.entries.len());
        for replica in replicas {
            by_ingester.entry(*replica).or_default().push(i);
        }
    }
    let mut routes = Vec::with_capacity(by_ingester.len());
    for (index, numbers) in by_ingester {
        routes.push((
            ring.member(index),
            messages(cargo, numbers, sending.message_bytes),
        ));
    }
    let answers_max = routes
        .iter()
        .map(|(_, messages)| messages.len())
        .sum::<usize>()
        .max(1);
    let (answered, mut answers) = mpsc::channel(answers_max);
    let hold = Arc::new(hold);
    for (member, messages) in routes {
        let ingest = match member {
            Some(member) => ingesters.ingest(member),
            None => Err(CodedError::new(Code::Unavailable, "no such ingester")),
        };
        let courier = Courier {
            ingest,
            tenant: tenant.clone(),
            answered: answered.clone(),
            metrics: sending.metrics.clone(),
        };
        let hold = Arc::clone(&hold);
        tokio::spawn(async move {
            courier.deliver(messages).await;
            drop(hold);
        });
    }
    drop((answered, hold));
    let result = collect(&mut answers, &mut tally, sending.timeout).await;
    if result.is_err() {
        sending.metrics.quorum_failures.inc();
    }
    result
}

async fn collect(
    answers: &mut mpsc::Receiver<Answer>,
    tally: &mut Tally,
    timeout: Duration,
) -> Result<Vec<RefusedRow>, Rejection> {
    let deadline = Instant::now() + timeout;
    while !tally.is_decided() {
        let answer = match tokio::time::timeout_at(deadline, answers.recv()).await {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                return Err(Rejection::unavailable("ingesters ended without an answer"));
            }
            Err(_) => {
                return Err(Rejection::unavailable(format!(
                    "not enough ingesters answered within {timeout:?}{}",
                    tally
                        .first_error()
                        .map(|e| format!(": {e}"))
                        .unwrap_or_default()
                )));
            }
        };
        if tally.count(&answer.shipments, answer.result) == Verdict::Failed {
            return Err(failed(tally.first_error()));
        }
    }
    Ok(tally.refused())
}

/// The answer to a push of which a stream cannot reach its quorum any more.
fn failed(error: Option<&CodedError>) -> Rejection {
    let message = match error {
        Some(error) => format!("the write quorum was not reached: {error}"),
        None => "the write quorum was not reached: ingesters disagree".to_owned(),
    };
    let status = match error.map(|error| error.code) {
        Some(Code::ResourceExhausted) => 429,
        Some(code) if !code.is_retryable() && code != Code::Cancelled => code.http_status(),
        _ => 503,
    };
    Rejection::new(status, message)
}

/// A message to an ingester: which shipments, and what it is asked to store.
type Message = (Vec<usize>, Push);

/// Splits what an ingester gets into messages, in order.
fn messages(cargo: &Cargo<'_>, numbers: Vec<usize>, bytes_max: usize) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    let mut bytes = usize::MAX;
    for number in numbers {
        let Some(shipment) = cargo.shipments.get(number) else {
            continue;
        };
        let more = shipment.batch.entries.lines().len();
        if bytes.saturating_add(more) > bytes_max {
            messages.push(Message::default());
            bytes = 0;
        }
        bytes += more;
        if let Some((numbers, push)) = messages.last_mut() {
            numbers.push(number);
            push.streams.push(Arc::clone(&shipment.batch));
        }
    }
    // A body of which a message has only a part would be stored more than once.
    if let [(numbers, push)] = messages.as_mut_slice()
        && numbers.len() == cargo.shipments.len()
    {
        push.received.clone_from(&cargo.received);
    }
    messages
}

/// Brings messages to one ingester.
struct Courier {
    ingest: Result<Arc<dyn Ingest>, CodedError>,
    tenant: TenantId,
    answered: mpsc::Sender<Answer>,
    metrics: Metrics,
}

impl Courier {
    async fn deliver(self, messages: Vec<Message>) {
        let mut ingest = self.ingest;
        for (shipments, push) in messages {
            let result = match &ingest {
                Ok(ingest) => ingest.push(&self.tenant, push).await,
                // Later rows of a stream must not overtake those that failed.
                Err(error) => Err(error.clone()),
            };
            if let Err(error) = &result {
                if ingest.is_ok() {
                    self.metrics.ingester_failures.inc();
                    tracing::warn!(tenant = %self.tenant, %error, "push to an ingester failed");
                }
                ingest = Err(error.clone());
            }
            // The push may have been answered by others already.
            let _ = self.answered.send(Answer { shipments, result }).await;
        }
    }
}
