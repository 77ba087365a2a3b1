//! Runs of garbage collection and of retention: told in the log, and remembered for who asks for them or
//! wants them to stop.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::logs::{Done, Job};
use crate::meta::{Execution, GoOn, Remember, State, Task, Work};
use crate::registry::Registry;

/// Repositories of which a run of retention tells.
const TASKS_MAX: usize = 1000;
/// How often it is said that a run is under way, and looked whether it is to stop.
const PULSE: Duration = Duration::from_secs(1);

/// What is told of a run.
#[derive(Default)]
struct Told {
    line: String,
    tasks: Vec<Task>,
    /// Whether nothing came of it.
    is_nothing: bool,
}

/// A run under way.
pub(crate) struct Run {
    registry: Registry,
    work: Work,
    job: Job,
    /// Its number, unless it could not be remembered.
    id: Option<i64>,
    stop: CancellationToken,
    pulse: Option<JoinHandle<()>>,
}

impl Run {
    /// Begins one, which stops with `stop` too.
    pub(crate) async fn begin(
        registry: &Registry,
        work: Work,
        job: Job,
        dry_run: bool,
        stop: &CancellationToken,
    ) -> Self {
        let mut run = Self {
            registry: registry.clone(),
            work,
            job,
            id: None,
            stop: stop.child_token(),
            pulse: None,
        };
        run.id = run.remember(State::Running, dry_run, Told::default()).await;
        if let Some(id) = run.id {
            let (registry, stop) = (registry.clone(), run.stop.clone());
            run.pulse = Some(tokio::spawn(beat(registry, id, stop)));
        }
        run
    }

    /// Cancelled when it is to stop.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Tells what came of it; gives its number.
    pub(crate) async fn end(
        mut self,
        outcome: Result<&Done, &Error>,
        mut tasks: Vec<Task>,
    ) -> Option<i64> {
        self.fall_silent();
        let state = match outcome {
            Err(_) => State::Failed,
            Ok(_) if self.stop.is_cancelled() => State::Stopped,
            Ok(_) => State::Done,
        };
        let line = self.registry.logs().job(&self.job, outcome);
        // Those that lost tags first.
        tasks.sort_by_key(|task| task.total == task.retained);
        tasks.truncate(TASKS_MAX);
        let dry_run = outcome.is_ok_and(|done| done.dry_run);
        let told = Told {
            line,
            tasks,
            is_nothing: state == State::Done && outcome.is_ok_and(Done::is_nothing),
        };
        self.remember(state, dry_run, told).await
    }

    fn fall_silent(&mut self) {
        if let Some(pulse) = self.pulse.take() {
            pulse.abort();
        }
    }

    async fn remember(&self, state: State, dry_run: bool, told: Told) -> Option<i64> {
        let now_ms = self.registry.meta().now_ms();
        let remember = Remember {
            work: self.work.clone(),
            execution: Execution {
                id: self.id.unwrap_or(0),
                trigger: self.job.trigger(),
                is_nothing: told.is_nothing,
                dry_run,
                began_ms: now_ms.saturating_sub(self.job.elapsed_ms()),
                ended_ms: now_ms,
                state,
                line: told.line,
                tasks: told.tasks,
            },
            executions_max: self.registry.config().limits.executions_max,
        };
        match self.registry.meta().change(remember).await {
            Ok(id) => Some(id),
            Err(error) => {
                tracing::warn!(%error, "a run was not remembered");
                None
            }
        }
    }
}

/// One that is given up, as who asked went away, is not said to go on.
impl Drop for Run {
    fn drop(&mut self) {
        self.fall_silent();
    }
}

/// Says that a run is under way until it is to stop.
async fn beat(registry: Registry, id: i64, stop: CancellationToken) {
    loop {
        tokio::time::sleep(PULSE).await;
        match registry.meta().change(GoOn { id }).await {
            Ok(true) => return stop.cancel(),
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "it was not said that a run is under way"),
        }
    }
}

/// Tells what came of a run that nobody could have stopped, as it was short.
pub(crate) async fn tell(
    registry: &Registry,
    work: Work,
    job: Job,
    outcome: Result<&Done, &Error>,
) -> Option<i64> {
    let run = Run {
        registry: registry.clone(),
        work,
        job,
        id: None,
        stop: CancellationToken::new(),
        pulse: None,
    };
    run.end(outcome, Vec::new()).await
}
