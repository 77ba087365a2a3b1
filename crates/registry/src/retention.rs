//! Removes the tags that the rules of projects let go, when their time has come.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::logs::{Done, Job};
use crate::meta::{Retain, TakeRetentionTurn};
use crate::registry::Registry;
use crate::who::Who;

/// How often is looked whether the time of a project has come.
const POLL: Duration = Duration::from_secs(2);

/// Runs until the stop.
pub(crate) async fn run(registry: &Registry, stop: &CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = stop.cancelled() => return,
        }
        // What is due then is done once the registry may be changed again.
        if !registry.settings().is_read_only()
            && let Err(error) = retain_due(registry).await
        {
            tracing::warn!(?error, "retention was broken off");
        }
    }
}

/// Does what the rules of projects say whose time has come.
async fn retain_due(registry: &Registry) -> Result<(), Error> {
    for project in registry.meta().due_retentions().await? {
        let turn = TakeRetentionTurn {
            project: project.clone(),
        };
        if registry.meta().change(turn).await? {
            let job = Job::retention(&project);
            retain(registry, &job, Who::system("retention"), project, false).await?;
        }
    }
    Ok(())
}

/// Does, or only shows, what the rules of a project say; gives the repositories and tags that go.
pub(crate) async fn retain(
    registry: &Registry,
    job: &Job,
    who: Who,
    project: String,
    dry_run: bool,
) -> Result<Vec<(String, String)>, Error> {
    let retain = Retain {
        who,
        project,
        untagged_grace_ms: registry.untagged_grace_ms(),
        running_ms: registry.config().gc.running_lifetime.0 / 1_000_000,
        dry_run,
    };
    let gone = async {
        registry.meta().write_pulls().await?;
        registry.meta().change(retain).await
    };
    let gone = gone.await;
    let done = gone.as_ref().map(|gone| Done {
        dry_run,
        tags: Some(gone.len() as u64),
        ..Done::default()
    });
    registry
        .logs()
        .job(job, done.as_ref().map_err(|error| *error));
    gone
}
