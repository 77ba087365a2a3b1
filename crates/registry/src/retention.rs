//! Removes the tags that the rules of projects let go, when their time has come.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::logs::{Done, Job};
use crate::meta::{Expire, Expired, NumberedRule, TakeRetentionTurn, unknown_project};
use crate::registry::Registry;
use crate::who::Who;

/// How often is looked whether the time of a project has come.
const POLL: Duration = Duration::from_secs(2);

/// Tags that one transaction removes, so that pushes need not wait long.
const TAGS_MAX: usize = 64;

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
    let gone = match dry_run {
        true => expired(registry, &project)
            .await
            .map(|(_, tags)| named(&tags)),
        false => expire(registry, who, project).await,
    };
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

/// The tags of a project that go now, and the rules that say so.
async fn expired(
    registry: &Registry,
    project: &str,
) -> Result<(Vec<NumberedRule>, Vec<Expired>), Error> {
    let meta = registry.meta();
    meta.write_pulls().await?;
    let found = meta.project(project).await?;
    let project_id = found.ok_or_else(|| unknown_project(project))?.id;
    let rules = meta.rules(project_id).await?;
    let running_ms = running_ms(registry);
    let tags = meta.expired(project_id, &rules, running_ms).await?;
    Ok((rules, tags))
}

/// Removes them; gives those that went.
async fn expire(
    registry: &Registry,
    who: Who,
    project: String,
) -> Result<Vec<(String, String)>, Error> {
    let (rules, tags) = expired(registry, &project).await?;
    let mut gone = Vec::new();
    for tags in tags.chunks(TAGS_MAX) {
        let expire = Expire {
            who: who.clone(),
            project: project.clone(),
            rules: rules.clone(),
            tags: tags.to_vec(),
            untagged_grace_ms: registry.untagged_grace_ms(),
            running_ms: running_ms(registry),
        };
        gone.extend(named(&registry.meta().change(expire).await?));
    }
    Ok(gone)
}

/// Repositories and tags by their names.
fn named(tags: &[Expired]) -> Vec<(String, String)> {
    let name = |gone: &Expired| (gone.repo.as_str().to_owned(), gone.tag.tag.clone());
    tags.iter().map(name).collect()
}

fn running_ms(registry: &Registry) -> i64 {
    registry.config().gc.running_lifetime.0 / 1_000_000
}
