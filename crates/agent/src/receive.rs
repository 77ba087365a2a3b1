//! Sources that are no files: who receives their lines, and gives them to the clients.

mod docker;
mod journal;
mod push_api;
mod stdin;
mod syslog;

use std::sync::Arc;
use std::time::SystemTime;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ConfigError};
use crate::feed::Intake;
use crate::positions::Book;

/// Everyone who receives lines as the configuration says, ready to run until `stop`. Addresses are
/// bound here, so that one that cannot be is known at the start.
pub(crate) fn receivers(
    config: &Config,
    intake: &Intake,
    book: &Arc<Book>,
    since: SystemTime,
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
        if let Some(push) = &job.loki_push_api {
            let receiver = push_api::PushApi::bind(at, job, push, intake.clone());
            let receiver = receiver.map_err(|error| wrong("loki_push_api", &error))?;
            receivers.push(Box::pin(receiver.run(stop.clone())));
        }
        if let Some(syslog) = &job.syslog {
            let receiver = syslog::Syslog::bind(at, job, syslog, intake.clone());
            let receiver = receiver.map_err(|error| wrong("syslog", &error))?;
            receivers.push(Box::pin(receiver.run(stop.clone())));
        }
        if let Some(journal) = &job.journal {
            let receiver =
                journal::Journal::new(at, job, journal, intake.clone(), book.clone(), since);
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
