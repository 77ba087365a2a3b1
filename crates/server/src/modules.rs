//! The life of a process: modules that start in one order and stop in the other.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::health::{Component, Health, State};

/// Modules that may report their end before anybody looks; further ones are still logged.
const REPORTS_MAX: usize = 64;
/// Exit code of a process that a second signal ended.
const EXIT_INTERRUPTED: i32 = 130;

/// Why a process stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// SIGTERM or SIGINT.
    Signal(&'static str),
    /// It was asked to, by the test or program that runs it.
    Requested,
}

/// A module ended by itself, and with it the process.
#[derive(Debug, thiserror::Error)]
#[error("module {name} failed: {message}")]
pub struct ModuleError {
    /// The module.
    pub name: String,
    /// Why, with all causes.
    pub message: String,
}

/// What a running module holds: when to stop, and where to say how it is doing.
#[derive(Clone, Debug)]
pub struct Module {
    /// Cancelled when the module should finish.
    pub stop: CancellationToken,
    /// Its entry in the process's health. [`Modules::spawn`] has set it to starting.
    pub health: Component,
}

impl Module {
    /// For modules with nothing to wait for: says that it is running, and waits for the stop.
    pub async fn run_until_stop(&self) {
        self.health.running();
        self.stop.cancelled().await;
    }
}

/// The modules of a process, in the order of their start.
#[derive(Debug)]
pub struct Modules {
    health: Health,
    running: Vec<Running>,
    reports: mpsc::Sender<ModuleError>,
    reported: mpsc::Receiver<ModuleError>,
}

#[derive(Debug)]
struct Running {
    name: String,
    stop: CancellationToken,
    deadline: Duration,
    abort: AbortHandle,
    ended: JoinHandle<()>,
}

impl Modules {
    /// No modules yet.
    #[must_use]
    pub fn new(health: Health) -> Self {
        let (reports, reported) = mpsc::channel(REPORTS_MAX);
        Self {
            health,
            running: Vec::new(),
            reports,
            reported,
        }
    }

    /// Starts a module. It runs until its `stop` is cancelled, which happens after all modules that
    /// were started later have ended; then it has `deadline` to finish. A module that ends earlier,
    /// with or without an error, ends the process.
    pub fn spawn<F, R>(&mut self, name: &str, deadline: Duration, run: F)
    where
        F: FnOnce(Module) -> R,
        R: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let health = self.health.component(name);
        health.set(State::Starting, "");
        let task = tokio::spawn(run(Module {
            stop: stop.clone(),
            health: health.clone(),
        }));
        let abort = task.abort_handle();
        let ended = tokio::spawn(watch(
            name.to_owned(),
            task,
            stop.clone(),
            health,
            self.reports.clone(),
        ));
        self.running.push(Running {
            name: name.to_owned(),
            stop,
            deadline,
            abort,
            ended,
        });
    }

    /// Waits for `stop` or for a module to end by itself, then stops everything: readiness off,
    /// `delay` for balancers to notice, modules in reverse order.
    ///
    /// # Errors
    /// If a module ended by itself.
    pub async fn run(
        mut self,
        stop: impl Future<Output = StopReason>,
        delay: Duration,
    ) -> Result<(), ModuleError> {
        let outcome = tokio::select! {
            reason = stop => {
                tracing::info!(?reason, "stopping");
                Ok(())
            }
            // The sender lives in `self`, so the channel never closes.
            Some(error) = self.reported.recv() => Err(error),
        };
        self.health.begin_shutdown();
        if outcome.is_ok() && !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.stop().await;
        outcome
    }

    /// Stops all modules in reverse order, each within its deadline.
    pub async fn stop(self) {
        self.health.begin_shutdown();
        for module in self.running.into_iter().rev() {
            self.health.component(&module.name).set(State::Stopping, "");
            module.stop.cancel();
            if tokio::time::timeout(module.deadline, module.ended)
                .await
                .is_err()
            {
                let deadline_s = module.deadline.as_secs_f64();
                tracing::warn!(module = module.name, deadline_s, "did not stop in time");
                module.abort.abort();
            }
        }
    }
}

/// Waits for a module's end and says how it was.
async fn watch(
    name: String,
    task: JoinHandle<anyhow::Result<()>>,
    stop: CancellationToken,
    health: Component,
    reports: mpsc::Sender<ModuleError>,
) {
    let message = match task.await {
        Ok(Ok(())) if stop.is_cancelled() => {
            health.set(State::Terminated, "");
            return;
        }
        Ok(Ok(())) => "ended though nobody asked it to".to_owned(),
        Ok(Err(error)) => format!("{error:#}"),
        Err(error) => error.to_string(),
    };
    tracing::error!(module = name, error = message, "module failed");
    health.set(State::Failed, message.clone());
    // When the channel is full the process is stopping already.
    let _ = reports.try_send(ModuleError { name, message });
}

/// The first SIGTERM or SIGINT. A second one ends the process at once: who presses Ctrl-C twice
/// does not want to wait for a drain.
///
/// # Errors
/// If the handlers cannot be installed.
pub fn stop_signal() -> std::io::Result<impl Future<Output = StopReason>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("second signal: stopping without a drain");
            #[allow(
                clippy::disallowed_methods,
                reason = "skipping the drain is the purpose"
            )]
            std::process::exit(EXIT_INTERRUPTED);
        });
        StopReason::Signal(name)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn modules_stop_in_reverse_and_readiness_goes_first() {
        let health = Health::new();
        let mut modules = Modules::new(health.clone());
        let order = Arc::new(Mutex::new(Vec::new()));
        for name in ["store", "ingester", "http"] {
            let (order, health) = (order.clone(), health.clone());
            modules.spawn(name, SOON, |module| async move {
                module.run_until_stop().await;
                assert_eq!(health.not_ready().first().unwrap(), "shutting down");
                order.lock().push(name);
                Ok(())
            });
        }
        modules
            .run(async { StopReason::Requested }, Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(*order.lock(), ["http", "ingester", "store"]);
        assert!(
            health
                .components()
                .iter()
                .all(|(_, state)| *state == State::Terminated)
        );
    }

    #[tokio::test]
    async fn a_module_that_fails_or_panics_ends_the_process() {
        for panics in [false, true] {
            let mut modules = Modules::new(Health::new());
            modules.spawn("good", SOON, |module| async move {
                module.run_until_stop().await;
                Ok(())
            });
            modules.spawn("bad", SOON, |_| async move {
                assert!(!panics, "on purpose");
                anyhow::bail!("on purpose")
            });
            let error = modules.run(std::future::pending(), Duration::ZERO).await;
            assert_eq!(error.unwrap_err().name, "bad");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_module_that_does_not_stop_is_left_behind() {
        let mut modules = Modules::new(Health::new());
        modules.spawn("deaf", SOON, |_| std::future::pending());
        modules
            .run(async { StopReason::Requested }, Duration::ZERO)
            .await
            .unwrap();
    }
}
