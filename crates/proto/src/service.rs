//! Local roles as gRPC services.

use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use model::CodedError;
use tonic::{Request, Response, Status};

use crate::convert::{self, to_status};
use crate::role::{Ingest, Select, Selected, StreamPatterns};
use crate::skald as wire;
use crate::skald::ingest_server::IngestServer;
use crate::skald::select_server::SelectServer;

/// Makes a service of the write side of a local ingester.
pub fn ingest_server(
    ingest: Arc<dyn Ingest>,
    message_bytes_max: usize,
) -> IngestServer<IngestService> {
    IngestServer::new(IngestService { ingest })
        .max_decoding_message_size(message_bytes_max)
        .max_encoding_message_size(message_bytes_max)
}

/// Makes a service of the read side of a local ingester.
pub fn select_server(
    select: Arc<dyn Select>,
    message_bytes_max: usize,
) -> SelectServer<SelectService> {
    SelectServer::new(SelectService { select })
        .max_decoding_message_size(message_bytes_max)
        .max_encoding_message_size(message_bytes_max)
}

/// Answers push calls.
pub struct IngestService {
    ingest: Arc<dyn Ingest>,
}

#[tonic::async_trait]
impl wire::ingest_server::Ingest for IngestService {
    async fn push(
        &self,
        request: Request<wire::PushRequest>,
    ) -> Result<Response<wire::PushResponse>, Status> {
        let message = request.into_inner();
        let tenant = convert::tenant_from_wire(&message.tenant).map_err(|e| to_status(&e))?;
        let streams: Vec<_> = message
            .streams
            .into_iter()
            .map(|batch| convert::batch_from_wire(batch).map(Arc::new))
            .collect::<Result<_, _>>()
            .map_err(|e| to_status(&e))?;
        let refusals = self
            .ingest
            .push(&tenant, streams.into())
            .await
            .map_err(|e| to_status(&e))?;
        let refusals = refusals.iter().map(convert::refusal_to_wire).collect();
        Ok(Response::new(wire::PushResponse { refusals }))
    }
}

/// Answers select and tail calls.
pub struct SelectService {
    select: Arc<dyn Select>,
}

type Messages<T> = BoxStream<'static, Result<T, Status>>;

/// A stream of messages whose first one carries the coverage and nothing else.
fn messages<T, M: Send + 'static>(
    selected: Selected<T>,
    first: impl FnOnce(wire::Coverage) -> M,
    next: impl Fn(Vec<T>) -> M + Send + 'static,
) -> Response<Messages<M>>
where
    T: 'static,
{
    let first = first(convert::coverage_to_wire(&selected.coverage));
    let rest = selected
        .batches
        .map_ok(next)
        .map_err(|error: CodedError| to_status(&error));
    Response::new(
        futures::stream::once(async { Ok(first) })
            .chain(rest)
            .boxed(),
    )
}

#[tonic::async_trait]
impl wire::select_server::Select for SelectService {
    type SelectLogsStream = Messages<wire::SelectLogsResponse>;
    type SelectSamplesStream = Messages<wire::SelectSamplesResponse>;
    type SelectPatternsStream = Messages<wire::SelectPatternsResponse>;
    type TailStream = Messages<wire::TailResponse>;

    async fn select_logs(
        &self,
        request: Request<wire::SelectLogsRequest>,
    ) -> Result<Response<Self::SelectLogsStream>, Status> {
        let request =
            convert::select_logs_from_wire(request.into_inner()).map_err(|e| to_status(&e))?;
        let selected = self
            .select
            .select_logs(request)
            .await
            .map_err(|e| to_status(&e))?;
        Ok(messages(
            selected,
            |coverage| wire::SelectLogsResponse {
                coverage: Some(coverage),
                streams: vec![],
            },
            |rows| wire::SelectLogsResponse {
                coverage: None,
                streams: rows.iter().map(convert::log_rows_to_wire).collect(),
            },
        ))
    }

    async fn select_samples(
        &self,
        request: Request<wire::SelectSamplesRequest>,
    ) -> Result<Response<Self::SelectSamplesStream>, Status> {
        let request =
            convert::select_samples_from_wire(request.into_inner()).map_err(|e| to_status(&e))?;
        let selected = self
            .select
            .select_samples(request)
            .await
            .map_err(|e| to_status(&e))?;
        Ok(messages(
            selected,
            |coverage| wire::SelectSamplesResponse {
                coverage: Some(coverage),
                series: vec![],
            },
            |rows| wire::SelectSamplesResponse {
                coverage: None,
                series: rows.into_iter().map(convert::sample_rows_to_wire).collect(),
            },
        ))
    }

    async fn select_patterns(
        &self,
        request: Request<wire::SelectPatternsRequest>,
    ) -> Result<Response<Self::SelectPatternsStream>, Status> {
        let request =
            convert::select_patterns_from_wire(request.into_inner()).map_err(|e| to_status(&e))?;
        let selected = self
            .select
            .select_patterns(request)
            .await
            .map_err(|e| to_status(&e))?;
        let streams = |streams: Vec<StreamPatterns>| {
            let streams = streams.into_iter().map(convert::stream_patterns_to_wire);
            streams.collect()
        };
        Ok(messages(
            selected,
            |coverage| wire::SelectPatternsResponse {
                coverage: Some(coverage),
                streams: vec![],
            },
            move |found| wire::SelectPatternsResponse {
                coverage: None,
                streams: streams(found),
            },
        ))
    }

    async fn select_series(
        &self,
        request: Request<wire::SelectSeriesRequest>,
    ) -> Result<Response<wire::SelectSeriesResponse>, Status> {
        let request =
            convert::select_series_from_wire(request.into_inner()).map_err(|e| to_status(&e))?;
        let (coverage, series) = self
            .select
            .select_series(request)
            .await
            .map_err(|e| to_status(&e))?;
        Ok(Response::new(wire::SelectSeriesResponse {
            coverage: Some(convert::coverage_to_wire(&coverage)),
            series: series.iter().map(convert::series_stats_to_wire).collect(),
        }))
    }

    async fn tail(
        &self,
        request: Request<wire::TailRequest>,
    ) -> Result<Response<Self::TailStream>, Status> {
        let request =
            convert::tail_request_from_wire(request.into_inner()).map_err(|e| to_status(&e))?;
        let batches = self.select.tail(request).await.map_err(|e| to_status(&e))?;
        let batches = batches
            .map_ok(|batch| convert::tail_batch_to_wire(&batch))
            .map_err(|error| to_status(&error));
        Ok(Response::new(batches.boxed()))
    }
}
