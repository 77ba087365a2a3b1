//! The parts of a query that run at once.

use std::future::Future;

use model::{Code, CodedError};
use tokio::task::JoinSet;
use tracing::Instrument as _;

/// Runs workers, each as a task of its own: what they do between reads is work too. Returns what
/// they return, in no order, or the first error; then, and when nobody waits any more, the others
/// end where they next wait.
pub(crate) async fn run<T: Send + 'static>(
    workers: impl Iterator<Item = impl Future<Output = Result<T, CodedError>> + Send + 'static>,
) -> Result<Vec<T>, CodedError> {
    let mut running = JoinSet::new();
    for worker in workers {
        running.spawn(worker.in_current_span());
    }
    let mut results = Vec::with_capacity(running.len());
    while let Some(ended) = running.join_next().await {
        let ended = ended
            .map_err(|_| CodedError::new(Code::Internal, "a part of a query ended abnormally"));
        results.push(ended??);
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn all_results_or_the_first_error() {
        let workers = (0..3).map(|number| async move { Ok(number) });
        let mut results = run(workers).await.unwrap();
        results.sort_unstable();
        assert_eq!(results, [0, 1, 2]);
        let alive = Arc::new(());
        let workers = (0..3).map(|number| {
            let alive = Arc::clone(&alive);
            async move {
                if number == 1 {
                    return Err(CodedError::new(Code::Internal, "one"));
                }
                std::future::pending::<()>().await;
                drop(alive);
                Ok(())
            }
        });
        let error = run(workers).await.unwrap_err();
        assert_eq!(error.message, "one");
        while Arc::strong_count(&alive) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
