//! Sources that are no files: who receives their lines, and gives them to the clients.

mod docker;
mod journal;
mod push_api;
mod sights;
mod stdin;
mod syslog;

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ConfigError};
use crate::discover::Labels;
use crate::feed::{Intake, relabelled};
use crate::metrics::Metrics;
use crate::positions::Book;
pub(crate) use sights::{Sight, Sights};

/// Times in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Since {
    /// When this agent began: what is from before may have been sent by an agent before it.
    pub(crate) began_ns: i64,
    /// What ended before then, and of which nothing is known, is an archive, which nobody asked for.
    pub(crate) asked_ns: i64,
}

/// Everyone who receives lines as the configuration says, ready to run until `stop`. Addresses are
/// bound here, so that one that cannot be is known at the start.
pub(crate) fn receivers(
    config: &Config,
    intake: &Intake,
    book: &Arc<Book>,
    metrics: &Metrics,
    since: Since,
    stop: &CancellationToken,
) -> Result<Vec<BoxFuture<'static, ()>>, ConfigError> {
    let mut receivers: Vec<BoxFuture<'static, ()>> = Vec::new();
    if config.is_reading_stdin {
        let stdin = stdin::Stdin::new(config, intake.clone());
        receivers.push(Box::pin(stdin.run(stop.clone())));
        return Ok(receivers);
    }
    for (at, job) in config.scrape_configs.iter().enumerate() {
        let wrong = |key: &str, error: &dyn std::fmt::Display| {
            ConfigError(format!("job {:?}: {key}: {error}", job.job_name))
        };
        let show = |kind: &'static str, name: &str, labels: &Labels| {
            let sight = Sight {
                job: job.job_name.clone(),
                kind,
                name: name.to_owned(),
                discovered: labels.clone(),
                labels: relabelled(job, labels.clone()),
                ..Sight::default()
            };
            intake.sights.show(at, "", sight);
        };
        if let Some(push) = &job.loki_push_api {
            let receiver = push_api::PushApi::bind(at, job, push, intake.clone());
            let receiver = receiver.map_err(|error| wrong("loki_push_api", &error))?;
            show("push", &receiver.address(), &push.labels);
            receivers.push(Box::pin(receiver.run(stop.clone())));
        }
        if let Some(syslog) = &job.syslog {
            let receiver = syslog::Syslog::bind(at, job, syslog, intake.clone());
            let receiver = receiver.map_err(|error| wrong("syslog", &error))?;
            show("syslog", &syslog.listen_address, &syslog.labels);
            receivers.push(Box::pin(receiver.run(stop.clone())));
        }
        if let Some(journal) = &job.journal {
            show(
                "journal",
                &journal.path.display().to_string(),
                &journal.labels,
            );
            let receiver = journal::Journal {
                at,
                job: job.clone(),
                config: journal.clone(),
                intake: intake.clone(),
                book: book.clone(),
                metrics: metrics.clone(),
                began_us: since.began_ns / 1_000,
            };
            receivers.push(Box::pin(receiver.run(stop.clone())));
        }
        if !job.docker_sd_configs.is_empty() {
            let receiver = docker::Docker::new(at, job, intake.clone(), book.clone(), since);
            let receiver = receiver.map_err(|error| wrong("docker_sd_configs", &error))?;
            receivers.push(Box::pin(receiver.run(stop.clone())));
        }
    }
    Ok(receivers)
}
