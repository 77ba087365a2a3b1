//! Connections to ingesters.
//!
//! One HTTP/2 connection for each ingester, made when it is first needed and again whenever it
//! broke. Calls that get no answer make their ingester a suspect.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use model::{Code, CodedError, TenantId};
use parking_lot::Mutex;
use proto::remote::{RemoteIngest, RemoteSelect};
use proto::role::{
    Coverage, Ingest, LogRows, Push, Refusal, SampleRows, Select, SelectLogs, SelectPatterns,
    SelectSamples, SelectSeries, Selected, SeriesStats, StreamPatterns, TailRequest, Tailing,
};
use tonic::transport::{Channel, Endpoint};

use crate::config::CallConfig;
use crate::error::ClusterError;
use crate::member::{Member, Members};
use crate::membership::Suspects;
use crate::metrics::{Call, Metrics};

/// Flow control window of a connection: several pushes may be under way at once.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Flow control window of one call.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;

/// The endpoint of `host:port` or a whole URL.
pub(crate) fn endpoint_of(address: &str) -> Result<Endpoint, ClusterError> {
    let url = if address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    };
    let wrong = |reason: String| ClusterError::Address {
        address: address.to_owned(),
        reason,
    };
    let endpoint = Endpoint::from_shared(url).map_err(|error| wrong(error.to_string()))?;
    let uri = endpoint.uri();
    if uri.port().is_none() || uri.host().is_none_or(str::is_empty) {
        return Err(wrong("not host:port".to_owned()));
    }
    Ok(endpoint)
}

/// An ingester in this process.
#[derive(Clone)]
pub struct LocalIngester {
    /// Its id in the cluster.
    pub id: Arc<str>,
    /// Its write side.
    pub ingest: Arc<dyn Ingest>,
    /// Its read side.
    pub select: Arc<dyn Select>,
}

struct Peer {
    grpc_addr: String,
    ingest: Arc<dyn Ingest>,
    select: Arc<dyn Select>,
}

/// Gives the roles of ingesters: this process's own directly, others over pooled connections.
pub struct IngesterPool {
    calls: CallConfig,
    local: Option<LocalIngester>,
    peers: Mutex<HashMap<Arc<str>, Peer>>,
    suspects: Arc<Suspects>,
    metrics: Metrics,
}

impl IngesterPool {
    pub(crate) fn new(
        calls: &CallConfig,
        local: Option<LocalIngester>,
        suspects: Arc<Suspects>,
        metrics: Metrics,
    ) -> Self {
        Self {
            calls: calls.clone(),
            local,
            peers: Mutex::default(),
            suspects,
            metrics,
        }
    }

    /// The write side of an ingester.
    ///
    /// # Errors
    /// If its address is none.
    pub fn ingest(&self, member: &Member) -> Result<Arc<dyn Ingest>, CodedError> {
        match &self.local {
            Some(local) if local.id == member.id => Ok(Arc::clone(&local.ingest)),
            _ => self.with_peer(member, |peer| Arc::clone(&peer.ingest)),
        }
    }

    /// The read side of an ingester.
    ///
    /// # Errors
    /// If its address is none.
    pub fn select(&self, member: &Member) -> Result<Arc<dyn Select>, CodedError> {
        match &self.local {
            Some(local) if local.id == member.id => Ok(Arc::clone(&local.select)),
            _ => self.with_peer(member, |peer| Arc::clone(&peer.select)),
        }
    }

    /// Closes connections to those that are no members any more.
    pub(crate) fn retain(&self, members: &Members) {
        self.peers.lock().retain(|id, peer| {
            members
                .get(id)
                .is_some_and(|member| member.grpc_addr == peer.grpc_addr)
        });
    }

    fn with_peer<T>(&self, member: &Member, take: impl Fn(&Peer) -> T) -> Result<T, CodedError> {
        let mut peers = self.peers.lock();
        if let Some(peer) = peers.get(&member.id)
            && peer.grpc_addr == member.grpc_addr
        {
            return Ok(take(peer));
        }
        let peer = self
            .connect(member)
            .map_err(|error| CodedError::new(Code::Unavailable, error.to_string()))?;
        let taken = take(&peer);
        peers.insert(Arc::clone(&member.id), peer);
        Ok(taken)
    }

    /// Prepares a connection; it is made with the first call.
    fn connect(&self, member: &Member) -> Result<Peer, ClusterError> {
        let channel: Channel = endpoint_of(&member.grpc_addr)?
            .connect_timeout(self.calls.connect_timeout.as_std())
            .tcp_nodelay(true)
            .http2_keep_alive_interval(self.calls.keepalive_interval.as_std())
            .keep_alive_timeout(self.calls.keepalive_timeout.as_std())
            .keep_alive_while_idle(true)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .connect_lazy();
        let limits = self.calls.limits();
        let watch = Watch {
            id: Arc::clone(&member.id),
            suspects: Arc::clone(&self.suspects),
            metrics: self.metrics.clone(),
        };
        Ok(Peer {
            grpc_addr: member.grpc_addr.clone(),
            ingest: Arc::new(Watched {
                role: RemoteIngest::new(channel.clone(), limits),
                watch: watch.clone(),
            }),
            select: Arc::new(Watched {
                role: RemoteSelect::new(channel, limits),
                watch,
            }),
        })
    }
}

/// Reports how calls end.
#[derive(Clone)]
struct Watch {
    id: Arc<str>,
    suspects: Arc<Suspects>,
    metrics: Metrics,
}

impl Watch {
    /// What an ingester answers, even if it refuses, shows that it is there; only silence and
    /// "not now" make it a suspect.
    fn see<T>(&self, call: Call, result: Result<T, CodedError>) -> Result<T, CodedError> {
        match &result {
            Err(error) if matches!(error.code, Code::Unavailable | Code::DeadlineExceeded) => {
                self.metrics.call_failed(call);
                self.suspects.failed(&self.id);
            }
            _ => self.suspects.answered(&self.id),
        }
        result.map_err(|error| {
            CodedError::new(
                error.code,
                format!("ingester {}: {}", self.id, error.message),
            )
        })
    }
}

struct Watched<R> {
    role: R,
    watch: Watch,
}

#[async_trait]
impl<R: Ingest> Ingest for Watched<R> {
    async fn push(&self, tenant: &TenantId, push: Push) -> Result<Vec<Refusal>, CodedError> {
        let result = self.role.push(tenant, push).await;
        self.watch.see(Call::Push, result)
    }
}

#[async_trait]
impl<R: Select> Select for Watched<R> {
    async fn select_logs(&self, request: SelectLogs) -> Result<Selected<LogRows>, CodedError> {
        let result = self.role.select_logs(request).await;
        self.watch.see(Call::Select, result)
    }

    async fn select_samples(
        &self,
        request: SelectSamples,
    ) -> Result<Selected<SampleRows>, CodedError> {
        let result = self.role.select_samples(request).await;
        self.watch.see(Call::Select, result)
    }

    async fn select_patterns(
        &self,
        request: SelectPatterns,
    ) -> Result<Selected<StreamPatterns>, CodedError> {
        let result = self.role.select_patterns(request).await;
        self.watch.see(Call::Select, result)
    }

    async fn select_series(
        &self,
        request: SelectSeries,
    ) -> Result<(Coverage, Vec<SeriesStats>), CodedError> {
        let result = self.role.select_series(request).await;
        self.watch.see(Call::Select, result)
    }

    async fn tail(&self, request: TailRequest) -> Result<Tailing, CodedError> {
        let result = self.role.tail(request).await;
        self.watch.see(Call::Select, result)
    }
}
