//! The agent within `skald serve`: it collects this process's own log and the paths given with
//! `--tail`, and hands them to the distributor next door.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent::{Agent, AgentMetrics, Deliver, DeliverError};
use anyhow::Context;
use async_trait::async_trait;
use distributor::{Distributor, PushOutcome, Repeats};
use model::TenantId;
use prost::Message;
use proto::logproto::PushRequest;
use registry::LogTarget;

use super::{Build, STOP_SOON, registry_logs};

/// The job of this process's own log.
const OWN_JOB: &str = "skald";
/// The job of paths given with `--tail`.
const TAIL_JOB: &str = "tail";
/// How long what was read may take to be delivered and written down at the stop.
const LAST_DELIVERY_MAX: Duration = Duration::from_secs(5);

impl Build {
    /// The agent of this process, if there is something to collect.
    pub(super) fn new_agent(&mut self, distributor: &Distributor) -> anyhow::Result<Option<Agent>> {
        let own = self.parts.telemetry.file().map(text);
        let tailed = self.parts.tail.iter().map(|path| absolute(path));
        let tailed = tailed.collect::<anyhow::Result<Vec<_>>>()?;
        let jobs: Vec<(&str, Vec<String>)> =
            [(OWN_JOB, own.into_iter().collect()), (TAIL_JOB, tailed)]
                .into_iter()
                .filter(|(_, paths): &(_, Vec<String>)| !paths.is_empty())
                .collect();
        let positions = self.parts.data_dir.join("agent").join("positions.yaml");
        let mut config = agent::Config::for_paths(&jobs, positions);
        let registry = &self.parts.config.registry;
        if registry.enabled && registry.log.to == LogTarget::Files {
            let log = &registry.log;
            let files = registry::Registry::log_files(&self.parts.log_dir());
            let job = registry_logs::job(&files, &server::hostname(), &log.cluster)?;
            config.scrape_configs.push(job);
        }
        if config.scrape_configs.is_empty() {
            return Ok(None);
        }
        let agent = Agent::start(
            config,
            agent::Deps {
                metrics: AgentMetrics::register(&mut self.metrics.registry()),
                hostname: server::hostname(),
                since: std::time::SystemTime::now(),
                environment: server::Environment::default(),
                deliver: Some(("local".to_owned(), Arc::new(Local(distributor.clone())))),
            },
        )?;
        self.add_routes(agent.routes());
        Ok(Some(agent))
    }

    /// Collects until the stop. Started last and so stopped first: what it has read finds the
    /// distributor still there.
    pub(super) fn start_agent(&mut self, agent: Agent) {
        let deadline = LAST_DELIVERY_MAX + STOP_SOON;
        self.modules.spawn("agent", deadline, |module| async move {
            module.health.running();
            agent.run(module.stop).await;
            Ok(())
        });
    }
}

/// Hands what is collected to the distributor of this process.
struct Local(Distributor);

#[async_trait]
impl Deliver for Local {
    async fn push(
        &self,
        tenant: Option<&str>,
        request: &PushRequest,
        may_repeat: bool,
    ) -> Result<(), DeliverError> {
        let tenant = tenant.map_or_else(|| Ok(TenantId::single()), TenantId::new);
        let tenant = tenant.map_err(|error| DeliverError::Refused {
            entries: None,
            message: error.to_string(),
        })?;
        let repeats = if may_repeat {
            Repeats::Possible
        } else {
            Repeats::None
        };
        let message = request.encode_to_vec().into();
        delivered(self.0.push_message(&tenant, message, repeats).await)
    }
}

fn delivered(outcome: PushOutcome) -> Result<(), DeliverError> {
    let is_retryable = outcome.is_retryable();
    match outcome.rejection {
        None => Ok(()),
        Some(rejection) if is_retryable => Err(DeliverError::Later {
            is_rate_limited: rejection.status == 429,
            after: None,
            message: rejection.message,
        }),
        Some(rejection) => Err(DeliverError::Refused {
            entries: Some(outcome.refused_rows),
            message: rejection.message,
        }),
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A path as it was typed, from where it was typed.
fn absolute(path: &str) -> anyhow::Result<String> {
    let absolute = std::path::absolute(path).with_context(|| format!("--tail {path}"))?;
    Ok(text(&absolute))
}
