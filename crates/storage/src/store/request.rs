//! One request: bounded in time and number, made again when that may help.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::future::{Either, select};

use super::Store;
use crate::error::StorageError;
use crate::metrics::{Operation, Outcome};

impl Store {
    /// Makes a request: waits for a permit, bounds its time, makes it again after failures that
    /// may pass.
    pub(super) async fn run<T, F, Fut>(
        &self,
        operation: Operation,
        key: &str,
        extra: Duration,
        request: F,
    ) -> Result<T, StorageError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = object_store::Result<T>>,
    {
        let limit = self.requests.timeout.as_std().saturating_add(extra);
        let mut retries_left = self.requests.max_retries;
        let mut pause = self.requests.retry_backoff.as_std();
        loop {
            let error = match self.attempt(operation, key, limit, &request).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let may_pass = matches!(
                error,
                StorageError::Failed { .. } | StorageError::Timeout { .. }
            );
            if !may_pass || retries_left == 0 {
                return Err(error);
            }
            retries_left -= 1;
            self.metrics.retried(operation);
            // Jitter keeps many clients from coming back at the same moment.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(self.requests.retry_backoff_max.as_std());
        }
    }

    async fn attempt<T, F, Fut>(
        &self,
        operation: Operation,
        key: &str,
        limit: Duration,
        request: &F,
    ) -> Result<T, StorageError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = object_store::Result<T>>,
    {
        let timed_out = || StorageError::Timeout {
            operation,
            key: key.to_owned(),
            after: limit,
        };
        let Ok(permit) = tokio::time::timeout(limit, self.permits.acquire()).await else {
            return Err(timed_out());
        };
        let (started, in_flight) = (Instant::now(), self.metrics.request_started());
        let result = tokio::time::timeout(limit, request()).await;
        drop((permit, in_flight));
        let result = match result {
            Ok(result) => result.map_err(|error| classify(operation, key, error)),
            Err(_) => Err(timed_out()),
        };
        self.metrics
            .request_ended(operation, outcome(result.as_ref().err()), started.elapsed());
        result
    }

    /// Asks for an answer, and for a slow one a second time. What follows its head is not waited
    /// for: a large answer takes its time.
    pub(super) async fn hedged<T, Fut>(&self, ask: impl Fn() -> Fut) -> object_store::Result<T>
    where
        Fut: Future<Output = object_store::Result<T>>,
    {
        let hedge_after = self.requests.hedge_after.as_std();
        if self.reads.is_some() || hedge_after.is_zero() {
            return ask().await;
        }
        let mut first = pin!(ask());
        if let Ok(answer) = tokio::time::timeout(hedge_after, &mut first).await {
            return answer;
        }
        // A store that is slow for all is not helped by being asked twice.
        let is_idle = self.permits.available_permits() * 2 > self.requests.concurrency;
        let Some(_permit) = self.permits.try_acquire().ok().filter(|_| is_idle) else {
            return first.await;
        };
        self.metrics.hedged.inc();
        let _in_flight = self.metrics.request_started();
        match select(first, pin!(ask())).await {
            Either::Left((Ok(answer), _)) => Ok(answer),
            Either::Left((Err(_), second)) => second.await,
            Either::Right((Ok(answer), _)) => {
                self.metrics.hedges_won.inc();
                Ok(answer)
            }
            Either::Right((Err(_), first)) => first.await,
        }
    }
}

fn classify(operation: Operation, key: &str, error: object_store::Error) -> StorageError {
    use object_store::Error;
    let key = key.to_owned();
    match error {
        Error::NotFound { .. } => StorageError::NotFound { key },
        Error::AlreadyExists { .. } | Error::Precondition { .. } => {
            StorageError::AlreadyExists { key }
        }
        Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::UnknownConfigurationKey { .. } => StorageError::Denied {
            operation,
            key,
            source: Box::new(error),
        },
        _ => StorageError::Failed {
            operation,
            key,
            source: Box::new(error),
        },
    }
}

fn outcome(error: Option<&StorageError>) -> Outcome {
    match error {
        None => Outcome::Ok,
        Some(StorageError::NotFound { .. }) => Outcome::NotFound,
        Some(StorageError::AlreadyExists { .. }) => Outcome::Exists,
        Some(StorageError::Denied { .. }) => Outcome::Denied,
        Some(StorageError::Timeout { .. }) => Outcome::Timeout,
        Some(_) => Outcome::Error,
    }
}
