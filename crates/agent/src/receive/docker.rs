//! The logs of containers, over Docker's API.
//!
//! Docker is asked for its containers from time to time, and whenever it says that one came or went.
//! Each container's log is followed by a [`Follower`] of its own from where it was acknowledged, as a
//! cursor in the positions says; so a container that ended meanwhile is read to its end, and one that
//! came and went while the agent was down is read whole. Of one that had ended before any agent asked
//! for it, the log is an archive.

mod api;
mod follow;
mod frames;
mod labels;
mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::ScrapeConfig;
use crate::discover::Labels;
use crate::feed::Intake;
use crate::positions::Book;
use crate::receive::{Sight, Since};
use api::{Api, ApiError, Container};
use follow::{End, Follower};
use place::Place;

/// The shortest time between two lists.
const REST: Duration = Duration::from_millis(200);
/// How long is waited before Docker's events are asked for again.
const EVENTS_REST: Duration = Duration::from_secs(5);

/// Follows all containers of one job.
pub(crate) struct Docker {
    at: usize,
    job: ScrapeConfig,
    hosts: Vec<Arc<Api>>,
    intake: Intake,
    book: Arc<Book>,
    since: Since,
    followed: BTreeMap<String, Followed>,
    followers: JoinSet<(String, End)>,
    /// Containers of cursors that the last list had not.
    gone: BTreeSet<String>,
}

/// A container that is followed, or was.
enum Followed {
    /// Someone reads its log.
    Now,
    /// It had stopped, and its log was read up to there.
    UpTo(Place),
    /// It has these labels, of which relabelling leaves nothing.
    Dropped(Labels),
}

impl Docker {
    pub(crate) fn new(
        at: usize,
        job: &ScrapeConfig,
        intake: Intake,
        book: Arc<Book>,
        since: Since,
    ) -> Result<Self, String> {
        let hosts = job.docker_sd_configs.iter();
        let hosts = hosts.map(|config| Api::new(config).map(Arc::new));
        Ok(Self {
            at,
            job: job.clone(),
            hosts: hosts.collect::<Result<_, _>>()?,
            intake,
            book,
            since,
            followed: BTreeMap::new(),
            followers: JoinSet::new(),
            gone: BTreeSet::new(),
        })
    }

    /// Follows until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.follow()).await;
    }

    async fn follow(mut self) {
        let changed = Arc::new(Notify::new());
        // These end with the set.
        let mut listeners = JoinSet::new();
        for host in &self.hosts {
            listeners.spawn(listen(host.clone(), changed.clone()));
        }
        let intervals = self.job.docker_sd_configs.iter();
        let interval = intervals.map(|config| config.refresh_interval.as_std());
        let interval = interval.min().unwrap_or(REST).max(REST);
        let mut was_failing = false;
        loop {
            let listed = self.list().await;
            if let Err(error) = &listed
                && !was_failing
            {
                tracing::warn!(job = self.job.job_name, %error, "Docker cannot be asked");
            }
            was_failing = listed.is_err();
            if let Ok(listed) = listed {
                self.take(listed);
            }
            tokio::time::sleep(REST).await;
            tokio::select! {
                () = tokio::time::sleep(interval.saturating_sub(REST)) => {}
                () = changed.notified() => {}
                Some(Ok((id, end))) = self.followers.join_next() => self.ended(id, end),
            }
            while let Some(Ok((id, end))) = self.followers.try_join_next() {
                self.ended(id, end);
            }
        }
    }

    /// All containers with their labels and where each is; one that two lists have counts once.
    async fn list(&self) -> Result<BTreeMap<String, (Container, Labels, Arc<Api>)>, ApiError> {
        let mut listed = BTreeMap::new();
        for (host, config) in self.hosts.iter().zip(&self.job.docker_sd_configs) {
            let (containers, networks) = (host.containers().await?, host.networks().await?);
            for container in containers {
                if let Some(labels) = labels::of_container(&container, &networks, config) {
                    let found = || (container.clone(), labels, host.clone());
                    listed.entry(container.id.clone()).or_insert_with(found);
                }
            }
        }
        Ok(listed)
    }

    /// Begins to follow what is not followed, and forgets what is not there any more.
    fn take(&mut self, listed: BTreeMap<String, (Container, Labels, Arc<Api>)>) {
        let sources = self.book.sources(&self.job.job_name);
        let gone: BTreeSet<String> = sources
            .into_iter()
            .filter(|id| !listed.contains_key(id) && !self.followed.contains_key(id))
            .collect();
        for id in gone.intersection(&self.gone) {
            self.book.remove_cursor(&self.job.job_name, id);
        }
        self.gone = gone;
        self.followed
            .retain(|id, followed| matches!(followed, Followed::Now) || listed.contains_key(id));
        let states = listed.iter();
        let states = states.map(|(id, (container, ..))| (id.as_str(), container.state.as_str()));
        self.intake.sights.keep(self.at, &states.collect());
        for (id, (container, labels, host)) in listed {
            let is_running = container.state == "running";
            let read = match self.followed.get(&id) {
                Some(Followed::Now) => continue,
                Some(Followed::Dropped(of)) if *of == labels => continue,
                Some(Followed::UpTo(_)) if !is_running => continue,
                Some(Followed::UpTo(place)) => Some(place.clone()),
                Some(Followed::Dropped(_)) | None => {
                    let cursor = self.book.cursor(&self.job.job_name, &id);
                    cursor.and_then(|cursor| Place::of_cursor(&cursor))
                }
            };
            let follower = Follower::new(self.at, &self.job, id.clone(), &labels, self.since);
            self.show(&id, &container, &labels, follower.labels());
            if follower.labels().is_none() {
                self.followed.insert(id, Followed::Dropped(labels));
                continue;
            }
            let (intake, of_task) = (self.intake.clone(), id.clone());
            self.followers.spawn(async move {
                let end = follower.run(&host, read, &intake).await;
                (of_task, end)
            });
            self.followed.insert(id, Followed::Now);
        }
    }

    fn show(&self, id: &str, container: &Container, discovered: &Labels, labels: Option<&Labels>) {
        let sight = Sight {
            job: self.job.job_name.clone(),
            kind: "docker",
            name: container.names.first().cloned().unwrap_or_default(),
            state: container.state.clone(),
            discovered: discovered.clone(),
            labels: labels.cloned(),
            last_line: None,
        };
        self.intake.sights.show(self.at, id, sight);
    }

    fn ended(&mut self, id: String, end: End) {
        match end {
            End::Gone => drop(self.followed.remove(&id)),
            End::Stopped(place) => drop(self.followed.insert(id, Followed::UpTo(place))),
        }
    }
}

/// Says whenever Docker tells that a container came or went.
async fn listen(host: Arc<Api>, changed: Arc<Notify>) {
    loop {
        if let Ok(mut events) = host.events().await {
            // Something may have happened since the last list.
            changed.notify_one();
            while let Ok(Some(_)) = events.chunk().await {
                changed.notify_one();
            }
        }
        tokio::time::sleep(EVENTS_REST).await;
    }
}
