//! Roles behind gRPC: clients that look like local ones.

use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use model::{Code, CodedError, TenantId};
use tonic::transport::Channel;

use crate::convert;
use crate::role::{
    Coverage, Ingest, LogRows, Push, Refusal, SampleRows, Select, SelectLogs, SelectPatterns,
    SelectSamples, SelectSeries, Selected, SeriesStats, StreamPatterns, TailRequest, Tailing,
};
use crate::skald as wire;
use crate::skald::ingest_client::IngestClient;
use crate::skald::select_client::SelectClient;

/// Deadlines and sizes of calls.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// The longest that a push may take.
    pub push_timeout: Duration,
    /// The longest that a query may take until its last message; tails have no end.
    pub select_timeout: Duration,
    /// The largest message, sent or received.
    pub message_bytes_max: usize,
}

fn with_timeout<T>(message: T, timeout: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(timeout);
    request
}

fn failed(status: &tonic::Status) -> CodedError {
    convert::from_status(status)
}

/// The write side of an ingester in another process.
#[derive(Clone, Debug)]
pub struct RemoteIngest {
    client: IngestClient<Channel>,
    limits: CallLimits,
}

impl RemoteIngest {
    /// Calls over `channel`.
    #[must_use]
    pub fn new(channel: Channel, limits: CallLimits) -> Self {
        let client = IngestClient::new(channel)
            .max_decoding_message_size(limits.message_bytes_max)
            .max_encoding_message_size(limits.message_bytes_max);
        Self { client, limits }
    }
}

#[async_trait]
impl Ingest for RemoteIngest {
    async fn push(&self, tenant: &TenantId, push: Push) -> Result<Vec<Refusal>, CodedError> {
        let message = wire::PushRequest {
            tenant: tenant.to_string(),
            streams: push
                .streams
                .iter()
                .map(|batch| convert::batch_to_wire(batch))
                .collect(),
        };
        let request = with_timeout(message, self.limits.push_timeout);
        let response = self
            .client
            .clone()
            .push(request)
            .await
            .map_err(|s| failed(&s))?;
        response
            .get_ref()
            .refusals
            .iter()
            .map(convert::refusal_from_wire)
            .collect()
    }
}

/// The read side of an ingester in another process.
#[derive(Clone, Debug)]
pub struct RemoteSelect {
    client: SelectClient<Channel>,
    limits: CallLimits,
}

impl RemoteSelect {
    /// Calls over `channel`.
    #[must_use]
    pub fn new(channel: Channel, limits: CallLimits) -> Self {
        let client = SelectClient::new(channel)
            .max_decoding_message_size(limits.message_bytes_max)
            .max_encoding_message_size(limits.message_bytes_max);
        Self { client, limits }
    }
}

fn no_coverage() -> CodedError {
    CodedError::new(
        Code::Internal,
        "the ingester's answer does not say what it covers",
    )
}

fn coverage_of(coverage: Option<wire::Coverage>) -> Result<Coverage, CodedError> {
    convert::coverage_from_wire(coverage.ok_or_else(no_coverage)?)
}

/// A message of an answer that comes in several.
trait Piece: Send + 'static {
    /// What it has several of.
    type Item: 'static;

    /// What the answer covers, which the first message says.
    fn take_coverage(&mut self) -> Option<wire::Coverage>;

    fn into_items(self) -> Vec<Self::Item>;
}

macro_rules! piece {
    ($message:ty, $items:ident: $item:ty) => {
        impl Piece for $message {
            type Item = $item;

            fn take_coverage(&mut self) -> Option<wire::Coverage> {
                self.coverage.take()
            }

            fn into_items(self) -> Vec<$item> {
                self.$items
            }
        }
    };
}

piece!(wire::SelectLogsResponse, streams: wire::LogRows);
piece!(wire::SelectSamplesResponse, series: wire::Samples);
piece!(wire::SelectPatternsResponse, streams: wire::StreamPatterns);

/// Waits for what an answer covers, and reads its items as they come.
async fn selected<P: Piece, T: 'static>(
    response: tonic::Response<tonic::Streaming<P>>,
    read: fn(P::Item) -> Result<T, CodedError>,
) -> Result<Selected<T>, CodedError> {
    let mut messages = response.into_inner().map_err(|status| failed(&status));
    let mut first = messages.try_next().await?.ok_or_else(no_coverage)?;
    let coverage = coverage_of(first.take_coverage())?;
    let batches = futures::stream::once(async { Ok(first) })
        .chain(messages)
        .map(move |message| message?.into_items().into_iter().map(read).collect())
        .boxed();
    Ok(Selected { coverage, batches })
}

#[async_trait]
impl Select for RemoteSelect {
    async fn select_logs(&self, request: SelectLogs) -> Result<Selected<LogRows>, CodedError> {
        let message = convert::select_logs_to_wire(&request);
        let request = with_timeout(message, self.limits.select_timeout);
        let response = self
            .client
            .clone()
            .select_logs(request)
            .await
            .map_err(|s| failed(&s))?;
        selected(response, convert::log_rows_from_wire).await
    }

    async fn select_samples(
        &self,
        request: SelectSamples,
    ) -> Result<Selected<SampleRows>, CodedError> {
        let message = convert::select_samples_to_wire(&request);
        let request = with_timeout(message, self.limits.select_timeout);
        let response = self
            .client
            .clone()
            .select_samples(request)
            .await
            .map_err(|s| failed(&s))?;
        selected(response, convert::sample_rows_from_wire).await
    }

    async fn select_patterns(
        &self,
        request: SelectPatterns,
    ) -> Result<Selected<StreamPatterns>, CodedError> {
        let message = convert::select_patterns_to_wire(&request);
        let request = with_timeout(message, self.limits.select_timeout);
        let response = self
            .client
            .clone()
            .select_patterns(request)
            .await
            .map_err(|s| failed(&s))?;
        selected(response, convert::stream_patterns_from_wire).await
    }

    async fn select_series(
        &self,
        request: SelectSeries,
    ) -> Result<(Coverage, Vec<SeriesStats>), CodedError> {
        let message = convert::select_series_to_wire(&request);
        let request = with_timeout(message, self.limits.select_timeout);
        let response = self
            .client
            .clone()
            .select_series(request)
            .await
            .map_err(|s| failed(&s))?;
        let message = response.into_inner();
        let series = message
            .series
            .into_iter()
            .map(convert::series_stats_from_wire)
            .collect();
        Ok((coverage_of(message.coverage)?, series))
    }

    async fn tail(&self, request: TailRequest) -> Result<Tailing, CodedError> {
        let message = convert::tail_request_to_wire(&request);
        let response = self
            .client
            .clone()
            .tail(message)
            .await
            .map_err(|s| failed(&s))?;
        let batches = response
            .into_inner()
            .map(|message| convert::tail_batch_from_wire(message.map_err(|s| failed(&s))?));
        Ok(batches.boxed())
    }
}
