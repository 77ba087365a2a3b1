//! A new configuration for a running agent: by SIGHUP, or by `/reload` where that is enabled.
//!
//! The old agent stops as at the end of the process, with its last delivery and its positions
//! saved; the new one goes on from there. A configuration that does not hold changes nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;

use agent::{Agent, AgentMetrics, Config};
use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use parking_lot::Mutex;
use server::{ConfigError, admin};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::agent_process::start_one;

/// Reloads that wait for the one under way.
const RELOADS_WAITING_MAX: usize = 4;

/// Who asked for a reload and wants to know what came of it.
type Reload = oneshot::Sender<Result<(), String>>;

/// What of the running agent is shown, whichever that is.
pub(crate) struct Reloader {
    current: Mutex<Current>,
    reloads: mpsc::Sender<Reload>,
}

struct Current {
    config: Config,
    routes: Router,
    ready: Arc<dyn Fn() -> Result<(), &'static str> + Send + Sync>,
}

impl Current {
    fn of(config: &Config, agent: &Agent) -> Self {
        Self {
            config: config.clone(),
            routes: agent.routes(),
            ready: Arc::new(agent.readiness()),
        }
    }
}

impl Reloader {
    pub(crate) fn new(config: &Config, agent: &Agent) -> (Arc<Self>, mpsc::Receiver<Reload>) {
        let (reloads, waiting) = mpsc::channel(RELOADS_WAITING_MAX);
        let reloader = Self {
            current: Mutex::new(Current::of(config, agent)),
            reloads,
        };
        (Arc::new(reloader), waiting)
    }

    /// Why the agent is not ready.
    pub(crate) fn ready(&self) -> Result<(), &'static str> {
        let ready = self.current.lock().ready.clone();
        ready()
    }

    pub(crate) fn print_config(self: &Arc<Self>) -> admin::PrintConfig {
        let reloader = self.clone();
        Arc::new(move |what| server::print(&reloader.current.lock().config, what))
    }

    /// The routes of the agent, and `/reload`.
    pub(crate) fn routes(self: &Arc<Self>, config: &Config) -> Router {
        let mut routes: Router<Arc<Self>> = Router::new();
        for path in ["/", "/targets", "/service-discovery"] {
            routes = routes.route(path, get(of_agent));
        }
        if config.server.enable_runtime_reload {
            routes = routes.route("/reload", get(reload).post(reload));
        }
        routes.with_state(self.clone())
    }
}

/// Asks the agent that runs now.
async fn of_agent(
    State(reloader): State<Arc<Reloader>>,
    request: Request<Body>,
) -> Result<Response, Infallible> {
    let routes = reloader.current.lock().routes.clone();
    routes.oneshot(request).await
}

async fn reload(State(reloader): State<Arc<Reloader>>) -> (StatusCode, String) {
    let (done, outcome) = oneshot::channel();
    let failed = |text: &str| (StatusCode::INTERNAL_SERVER_ERROR, format!("{text}\n"));
    if reloader.reloads.try_send(done).is_err() {
        return failed("a reload is under way");
    }
    match outcome.await {
        Ok(Ok(())) => (StatusCode::OK, "reloaded\n".to_owned()),
        Ok(Err(error)) => failed(&error),
        Err(_) => failed("the agent is stopping"),
    }
}

/// Tells who asked, if someone did, what came of it.
fn tell(asked: Option<Reload>, outcome: Result<(), String>) {
    if let Some(done) = asked {
        // Who asked may have gone away.
        let _ = done.send(outcome);
    }
}

/// Keeps an agent running, one after the other.
pub(crate) struct Keeper {
    pub(crate) metrics: AgentMetrics,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) reloads: mpsc::Receiver<Reload>,
    /// Reads the configuration as at the start.
    pub(crate) load: Box<dyn Fn() -> Result<Config, ConfigError> + Send>,
    /// Says that there is nothing more to collect, as at the end of standard input.
    pub(crate) ended: CancellationToken,
}

impl Keeper {
    /// Runs until `stop`.
    pub(crate) async fn run(
        mut self,
        agent: Agent,
        config: Config,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut hangups = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
        let (mut agent, mut config) = (agent, config);
        loop {
            let stop_agent = stop.child_token();
            let mut running = tokio::spawn(agent.run(stop_agent.clone()));
            let (new, asked) = loop {
                let asked = tokio::select! {
                    () = stop.cancelled() => {
                        running.await?;
                        return Ok(());
                    }
                    outcome = &mut running => {
                        outcome?;
                        self.ended.cancel();
                        stop.cancelled().await;
                        return Ok(());
                    }
                    _ = hangups.recv() => None,
                    Some(done) = self.reloads.recv() => Some(done),
                };
                let new = self.load_new(&config);
                match new {
                    Ok(new) => break (new, asked),
                    Err(error) => {
                        self.metrics.reloaded(false);
                        tracing::error!(error, "the configuration stays as it was");
                        tell(asked, Err(error));
                    }
                }
            };
            let since = SystemTime::now();
            stop_agent.cancel();
            running.await?;
            let outcome;
            (agent, config, outcome) = match start_one(&new, &self.metrics, since) {
                Ok(agent) => (agent, new, Ok(())),
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(error, "does not start, going on with the old configuration");
                    (
                        start_one(&config, &self.metrics, since)?,
                        config,
                        Err(error),
                    )
                }
            };
            *self.reloader.current.lock() = Current::of(&config, &agent);
            self.metrics.reloaded(outcome.is_ok());
            tracing::info!(
                taken_over = outcome.is_ok(),
                "the configuration was read again"
            );
            tell(asked, outcome);
        }
    }

    /// A configuration that holds and is another one.
    fn load_new(&self, config: &Config) -> Result<Config, String> {
        let new = (self.load)().map_err(|error| error.to_string())?;
        if new == *config {
            return Err("config has not changed".to_owned());
        }
        if new.server != config.server {
            tracing::warn!("what is new under `server` has no effect before a restart");
        }
        Ok(new)
    }
}
