//! Removes the tags that the rules of projects let go, when their time has come.

use std::collections::HashMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::execution::Run;
use crate::logs::{Done, Job};
use crate::meta::{
    Expire, Expired, ExpiredPart, Expiring, NumberedRule, TakeRetentionTurn, Task, Trigger, Work,
    unknown_project,
};
use crate::name::RepoName;
use crate::registry::Registry;
use crate::who::Who;

/// How often is looked whether the time of a project has come.
const POLL: Duration = Duration::from_secs(2);

/// Tags that one transaction removes, so that pushes need not wait long.
const TAGS_MAX: usize = 64;
/// How often it is found out anew what goes, because others remove tags meanwhile. What is left then is
/// left to the next run.
const ROUNDS_MAX: usize = 10;

/// Runs until the stop.
pub(crate) async fn run(registry: &Registry, stop: &CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = stop.cancelled() => return,
        }
        // What is due then is done once the registry may be changed again.
        if !registry.settings().is_read_only()
            && let Err(error) = retain_due(registry, stop).await
        {
            tracing::warn!(%error, "retention was broken off");
        }
    }
}

/// Does what the rules of projects say whose time has come.
async fn retain_due(registry: &Registry, stop: &CancellationToken) -> Result<(), Error> {
    for project in registry.meta().due_retentions().await? {
        let turn = TakeRetentionTurn {
            project: project.clone(),
        };
        if let Some(trigger) = registry.meta().change(turn).await? {
            let job = match trigger {
                Trigger::Scheduled => Job::retention(&project).scheduled(),
                Trigger::Own | Trigger::Asked => Job::retention(&project),
            };
            let who = Who::system("retention");
            retain(registry, job, who, project, false, stop).await?;
        }
    }
    Ok(())
}

/// Does, or only shows, what the rules of a project say; gives the repositories and tags that go, and
/// the number of the run, if it is remembered.
pub(crate) async fn retain(
    registry: &Registry,
    job: Job,
    who: Who,
    project: String,
    dry_run: bool,
    stop: &CancellationToken,
) -> Result<(Vec<(String, String)>, Option<i64>), Error> {
    let work = Work::Retention(project.clone());
    let run = Run::begin(registry, work, job, dry_run, stop).await;
    let outcome = follow(registry, who, project, dry_run, run.stop()).await;
    let done = outcome.as_ref().map(|(gone, _)| Done {
        dry_run,
        tags: Some(gone.len() as u64),
        ..Done::default()
    });
    let tasks = outcome.as_ref().map(|(gone, totals)| tasks(gone, totals));
    let tasks = tasks.unwrap_or_default();
    let told = done.as_ref().map_err(|error| *error);
    let id = run.end(told, tasks).await;
    Ok((outcome?.0, id))
}

/// The repositories and tags that go, and how many tags repositories had.
async fn follow(
    registry: &Registry,
    who: Who,
    project: String,
    dry_run: bool,
    stop: &CancellationToken,
) -> Result<(Vec<(String, String)>, Vec<(RepoName, u64)>), Error> {
    let (mut rules, mut expiring) = expired(registry, &project).await?;
    let totals = expiring.totals.clone();
    if dry_run {
        return Ok((named(&expiring.tags), totals));
    }
    let mut gone = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let round = Round {
            registry,
            who: &who,
            project: &project,
            rules: &rules,
            stop,
        };
        if round.expire(expiring, &mut gone).await? {
            break;
        }
        (rules, expiring) = expired(registry, &project).await?;
    }
    Ok((gone, totals))
}

/// What came of it in each repository.
fn tasks(gone: &[(String, String)], totals: &[(RepoName, u64)]) -> Vec<Task> {
    let mut went: HashMap<&str, u64> = HashMap::new();
    for (repo, _) in gone {
        *went.entry(repo).or_default() += 1;
    }
    let task = |(repo, total): &(RepoName, u64)| Task {
        repository: repo.as_str().to_owned(),
        total: *total,
        retained: total.saturating_sub(went.get(repo.as_str()).copied().unwrap_or_default()),
    };
    totals.iter().map(task).collect()
}

/// The tags of a project that go now, and the rules that say so.
async fn expired(
    registry: &Registry,
    project: &str,
) -> Result<(Vec<NumberedRule>, Expiring), Error> {
    let meta = registry.meta();
    meta.write_pulls().await?;
    let found = meta.project(project).await?;
    let project_id = found.ok_or_else(|| unknown_project(project))?.id;
    let rules = meta.rules(project_id).await?;
    let running_ms = running_ms(registry);
    let expiring = meta.expired(project_id, &rules, running_ms).await?;
    Ok((rules, expiring))
}

/// Removing what was found out to go, as long as that holds.
struct Round<'a> {
    registry: &'a Registry,
    who: &'a Who,
    project: &'a str,
    rules: &'a [NumberedRule],
    stop: &'a CancellationToken,
}

impl Round<'_> {
    /// Removes tags, a part after the other; gives whether it came to the end, or is to stop.
    async fn expire(
        &self,
        expiring: Expiring,
        gone: &mut Vec<(String, String)>,
    ) -> Result<bool, Error> {
        let mut seen = expiring.seen;
        for tags in expiring.tags.chunks(TAGS_MAX) {
            if self.stop.is_cancelled() {
                return Ok(true);
            }
            let expire = Expire {
                who: self.who.clone(),
                project: self.project.to_owned(),
                rules: self.rules.to_vec(),
                tags: tags.to_vec(),
                seen,
                untagged_grace_ms: self.registry.untagged_grace_ms(),
                running_ms: running_ms(self.registry),
            };
            match self.registry.meta().change(expire).await? {
                ExpiredPart::Gone(went, last) => {
                    gone.extend(named(&went));
                    seen = last;
                }
                ExpiredPart::Outdated => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// Repositories and tags by their names.
fn named(tags: &[Expired]) -> Vec<(String, String)> {
    let name = |gone: &Expired| (gone.repo.as_str().to_owned(), gone.tag.tag.clone());
    tags.iter().map(name).collect()
}

fn running_ms(registry: &Registry) -> i64 {
    registry.config().gc.running_lifetime.0 / 1_000_000
}
