//! Runs of garbage collection and of retention: told in the log, and remembered for who asks later.

use crate::error::Error;
use crate::logs::{Done, Job};
use crate::meta::{Execution, Remember, Task, Work};
use crate::registry::Registry;

/// Repositories of which a run of retention tells.
const TASKS_MAX: usize = 1000;

/// Tells what came of a run; gives its number, unless it could not be remembered.
pub(crate) async fn tell(
    registry: &Registry,
    work: Work,
    job: &Job,
    outcome: Result<&Done, &Error>,
    mut tasks: Vec<Task>,
) -> Option<i64> {
    let line = registry.logs().job(job, outcome);
    let ended_ms = registry.meta().now_ms();
    // Those that lost tags first.
    tasks.sort_by_key(|task| task.total == task.retained);
    tasks.truncate(TASKS_MAX);
    let remember = Remember {
        work,
        execution: Execution {
            id: 0,
            is_asked: job.is_asked(),
            dry_run: outcome.is_ok_and(|done| done.dry_run),
            began_ms: ended_ms.saturating_sub(job.elapsed_ms()),
            ended_ms,
            has_failed: outcome.is_err(),
            line,
            tasks,
        },
        executions_max: registry.config().limits.executions_max,
    };
    match registry.meta().change(remember).await {
        Ok(id) => Some(id),
        Err(error) => {
            tracing::warn!(?error, "a run was not remembered");
            None
        }
    }
}
