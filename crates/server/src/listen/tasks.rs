//! The tasks of one listener, which end together.

use hyper::rt::Executor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tasks of connections and of their streams. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    abort: CancellationToken,
}

impl Tasks {
    pub(super) fn spawn(&self, task: impl Future<Output: Send> + Send + 'static) {
        let abort = self.abort.clone();
        self.tracker.spawn(async move {
            abort.run_until_cancelled(task).await;
        });
    }

    /// Drops those that are not done, and waits until all of them are gone: what they hold is too.
    pub(super) async fn end(&self) {
        self.abort.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}
