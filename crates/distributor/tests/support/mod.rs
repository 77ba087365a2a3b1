//! Ingesters that do as they are told, and a distributor in front of them.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use cluster::{Member, Members, Ring, Role};
use distributor::{Config, Distributor, Ingesters, Metrics};
use http::Request;
use http_body_util::BodyExt;
use model::{Code, CodedError, Limits, TenantId};
use parking_lot::Mutex;
use proto::role::{Ingest, Push, Refusal, RefusalReason};
use server::Overrides;
use server::http::{Auth, tenant_routes};
use tokio::sync::Semaphore;
use tower::ServiceExt;

/// 2026-01-15 00:01:40 UTC.
pub(crate) const NOW_NS: i64 = 1_768_435_300_000_000_000;

/// What an ingester does with a push.
#[derive(Clone)]
pub(crate) enum Behaviour {
    /// Stores it.
    Store,
    /// Fails.
    Fail(Code),
    /// Stores all rows but those whose line begins with "bad".
    Refuse(RefusalReason),
    /// Waits for a permit, then stores it.
    Wait(Arc<Semaphore>),
}

/// One ingester.
pub(crate) struct Fake {
    behaviour: Mutex<Behaviour>,
    stored: Mutex<Vec<Push>>,
    pushes: Mutex<usize>,
}

#[async_trait]
impl Ingest for Fake {
    async fn push(&self, _: &TenantId, push: Push) -> Result<Vec<Refusal>, CodedError> {
        *self.pushes.lock() += 1;
        let behaviour = self.behaviour.lock().clone();
        let mut refusals = Vec::new();
        match behaviour {
            Behaviour::Store => {}
            Behaviour::Fail(code) => return Err(CodedError::new(code, "told to fail")),
            Behaviour::Wait(permits) => {
                let _ = permits.acquire().await;
            }
            Behaviour::Refuse(reason) => {
                for (stream, batch) in push.streams.iter().enumerate() {
                    for (row, entry) in batch.entries.iter().enumerate() {
                        if entry.line.starts_with(b"bad") {
                            let (stream, row) = (stream as u32, row as u32);
                            refusals.push(Refusal {
                                stream,
                                row,
                                reason,
                            });
                        }
                    }
                }
            }
        }
        self.stored.lock().push(push);
        Ok(refusals)
    }
}

/// A row as it was stored: stream, time, line, metadata.
pub(crate) type Row = (String, i64, String, String);

/// Ingesters by name.
pub(crate) struct Fakes {
    ring: Arc<Ring>,
    by_id: HashMap<Arc<str>, Arc<Fake>>,
    quorum: usize,
}

impl Fakes {
    pub(crate) fn new(count: usize, replication_factor: usize) -> Arc<Self> {
        let member = |i| Member::new(format!("i{i}"), "127.0.0.1:1", &[Role::Ingester]);
        let members = Members::new(1, (0..count).map(member));
        let fake = |member: &Arc<Member>| {
            let fake = Fake {
                behaviour: Mutex::new(Behaviour::Store),
                stored: Mutex::default(),
                pushes: Mutex::default(),
            };
            (Arc::clone(&member.id), Arc::new(fake))
        };
        Arc::new(Self {
            by_id: members.list.iter().map(fake).collect(),
            ring: Arc::new(Ring::build(&members, replication_factor, 128)),
            quorum: cluster::write_quorum(replication_factor),
        })
    }

    pub(crate) fn tell(&self, id: &str, behaviour: Behaviour) {
        *self.by_id[id].behaviour.lock() = behaviour;
    }

    /// What an ingester was pushed.
    pub(crate) fn rows_of(&self, id: &str) -> Vec<Row> {
        let pushes = self.by_id[id].stored.lock();
        let batches = pushes.iter().flat_map(|push| &push.streams);
        let rows = batches.flat_map(|batch| {
            let stream = batch.labels.to_string();
            batch.entries.iter().map(move |row| {
                let line = String::from_utf8_lossy(row.line).into_owned();
                (
                    stream.clone(),
                    row.timestamp_ns,
                    line,
                    row.metadata.to_string(),
                )
            })
        });
        rows.collect()
    }

    /// What all were pushed, as it was.
    pub(crate) fn pushes(&self) -> Vec<Push> {
        let of = |fake: &Arc<Fake>| fake.stored.lock().clone();
        self.by_id.values().flat_map(of).collect()
    }

    /// How often an ingester was pushed to.
    pub(crate) fn pushes_of(&self, id: &str) -> usize {
        *self.by_id[id].pushes.lock()
    }

    /// What all were pushed.
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.by_id.keys().flat_map(|id| self.rows_of(id)).collect()
    }
}

impl Ingesters for Fakes {
    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring)
    }
    fn ingest(&self, member: &Member) -> Result<Arc<dyn Ingest>, CodedError> {
        Ok(Arc::clone(&self.by_id[&member.id]) as Arc<dyn Ingest>)
    }
    fn write_quorum(&self) -> usize {
        self.quorum
    }
    fn distributors(&self) -> usize {
        1
    }
}

pub(crate) fn distributor(fakes: &Arc<Fakes>, config: &Config, limits: Limits) -> Distributor {
    let ingesters = Arc::clone(fakes) as Arc<dyn Ingesters>;
    let clock = Arc::new(|| NOW_NS);
    Distributor::new(
        config,
        ingesters,
        Overrides::new(limits),
        clock,
        Metrics::default(),
    )
}

/// The endpoints of a distributor with default configuration.
pub(crate) struct Endpoint {
    pub(crate) fakes: Arc<Fakes>,
    router: Router,
}

/// An answer: status, the limit that it names, body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) limit: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as text without its last newline; the message of an OTLP answer.
    pub(crate) fn text(&self) -> String {
        let text = match self.body.as_slice() {
            [0x12, rest @ ..] => {
                let len = rest.iter().position(|b| b & 0x80 == 0).unwrap() + 1;
                &rest[len..]
            }
            text => text,
        };
        String::from_utf8_lossy(text)
            .trim_end_matches('\n')
            .to_owned()
    }
}

impl Endpoint {
    pub(crate) fn new(limits: Limits) -> Self {
        Self::with(Fakes::new(1, 1), &Config::default(), limits)
    }

    pub(crate) fn with(fakes: Arc<Fakes>, config: &Config, limits: Limits) -> Self {
        let routes = distributor::routes(distributor(&fakes, config, limits));
        let router = tenant_routes(routes, Auth::TenantHeader);
        Self { fakes, router }
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::post(path).header("X-Scope-OrgID", "t");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let limit = parts.headers.get("x-skald-limit");
        Answer {
            status: parts.status.as_u16(),
            limit: limit.map_or_else(String::new, |l| l.to_str().unwrap().to_owned()),
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    }

    pub(crate) async fn post_json(&self, body: impl Into<Body>) -> Answer {
        let json = [("Content-Type", "application/json")];
        self.post("/loki/api/v1/push", &json, body).await
    }
}

/// Limits as the recorded answers had them: no line is too old.
pub(crate) fn any_age() -> Limits {
    Limits {
        reject_old_samples: false,
        ..Limits::default()
    }
}
