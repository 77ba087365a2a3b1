//! Projects that are caches: what they do not have comes from another registry, when somebody asks.
//!
//! What a digest names never changes, so it is fetched once and then is here. What a tag points to
//! is asked for again and again (`manifest`); if the other registry has been asked too often, fails
//! or does not answer, what is here is given, with a `Warning`. Blobs go to who asked and to the
//! store at the same time, once however many ask (`blob`). Once here, what was fetched is like what
//! was pushed: it counts against the quota of the project, and goes when nothing needs it. Lists, of
//! tags (`tags`) and of what is about a manifest (`referrers`), are asked for as tags are.

mod ask;
mod blob;
pub(crate) mod challenge;
mod fetches;
mod lists;
mod manifest;
mod referrers;
mod shares;
mod spool;
mod tags;
mod wanted;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use parking_lot::Mutex;
use quick_cache::sync::Cache;

use ask::{Asker, Failed};
pub(crate) use blob::{Source, fetch, size_of};
use fetches::Fetches;
use lists::Lists;
pub(crate) use manifest::find;
pub(crate) use referrers::referrers;
use spool::{Coming, Room};
pub(crate) use tags::tags;
pub(crate) use wanted::Found;
use wanted::Said;

use crate::config::ProxyConfig;
use crate::error::{Code, Error, StartError};
use crate::meta::{Referrer, Upstream};
use crate::metrics::Metrics;
use crate::name::RepoName;
use crate::seal::Sealer;
use crate::turns::{Turn, Turns};
use crate::who::{Kind, Who};

/// Tags of which is remembered when they were asked for.
const CHECKED_MAX: usize = 100_000;
/// Tags and digests of which is remembered that they are not there.
const UNKNOWN_MAX: usize = 10_000;
/// What images of Docker's own registry are called that are called nothing more.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_OFFICIAL: &str = "library";

/// What caches of other registries need.
pub(crate) struct Proxy {
    config: ProxyConfig,
    asker: Asker,
    /// Who asks for a tag or a digest that is not here.
    turns: Turns,
    /// When it was asked where tags point.
    checked: Cache<String, Instant>,
    /// What is not there, or not for us, why, and when that was said.
    unknown: Cache<String, (Instant, Said)>,
    /// The tags of repositories.
    tags: Lists<String>,
    /// What is about manifests.
    referrers: Lists<Referrer>,
    /// For blobs that are on their way.
    room: Room,
    /// Blobs that are on their way.
    coming: Mutex<HashMap<String, Arc<Coming>>>,
    fetches: Fetches,
    directory: PathBuf,
    metrics: Metrics,
}

impl Proxy {
    /// One that keeps in a directory what is on its way.
    pub(crate) fn open(
        config: &ProxyConfig,
        directory: &Path,
        sealer: Arc<Sealer>,
        metrics: Metrics,
    ) -> Result<Self, StartError> {
        empty(directory).map_err(|source| StartError::File {
            path: directory.to_owned(),
            source,
        })?;
        Ok(Self {
            asker: Asker::new(config, sealer, metrics.clone()),
            config: config.clone(),
            turns: Turns::default(),
            checked: Cache::new(CHECKED_MAX),
            unknown: Cache::new(UNKNOWN_MAX),
            tags: Lists::new(config.lists_bytes_max.0),
            referrers: Lists::new(config.lists_bytes_max.0),
            room: Room::new(config.spool_bytes_max.0, config.upstream_spool_percent_max),
            coming: Mutex::default(),
            fetches: Fetches::new(config),
            directory: directory.to_owned(),
            metrics,
        })
    }

    /// Refuses a registry that is not where it is said to be, or does not take the login that is said.
    pub(crate) async fn ping(&self, upstream: &Upstream) -> Result<(), Error> {
        let pinged = self.asker.ping(upstream).await;
        pinged.map_err(|failed| match failed.reason() {
            Some(reason) => {
                Error::new(Code::Unsupported, reason).with_status(StatusCode::BAD_REQUEST)
            }
            None => failed.error(Code::Unsupported),
        })
    }

    /// How long one turn takes at most: who has it asks for a tag and then for a manifest, and may
    /// have to log in before.
    fn turn_max(&self) -> Duration {
        self.config.answer_timeout.as_std() * 4
    }

    /// Waits until nobody else asks for the same.
    async fn turn(&self, key: &str) -> Result<Turn, Failed> {
        let turn = self.turns.enter(key, self.turn_max()).await;
        turn.ok_or_else(|| Failed::Down(format!("others have been asking for {key} for too long")))
    }
}

/// Makes a directory, without what a crash may have left in it. One that is there stays: it may be
/// where another disk is mounted.
fn empty(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // What was coming was in files; a disk has directories of its own, which are not ours.
        if !entry.file_type()?.is_dir() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What a repository is called where it comes from.
fn name_there(upstream: &Upstream, repo: &RepoName) -> Result<String, Error> {
    let Some((_, name)) = repo.as_str().split_once('/') else {
        let message = format!("{repo} is a project; its repositories are {repo}/...");
        return Err(Error::new(Code::NameUnknown, message));
    };
    let is_official = upstream.text.namespace == DOCKER_HUB && !name.contains('/');
    Ok(match is_official {
        true => format!("{DOCKER_OFFICIAL}/{name}"),
        false => name.to_owned(),
    })
}

/// Who it is that fetches, for whoever asked.
fn fetcher(who: &Who) -> Who {
    Who {
        name: "proxy".to_owned(),
        kind: Kind::System,
        ..who.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meta::UpstreamText;

    #[test]
    fn a_directory_is_emptied_and_stays() {
        use std::os::unix::fs::MetadataExt;

        let directory = tempfile::tempdir().unwrap();
        let incoming = directory.path().join("incoming");
        empty(&incoming).unwrap();
        let before = std::fs::metadata(&incoming).unwrap().ino();
        std::fs::write(incoming.join("left"), "behind").unwrap();
        std::fs::create_dir(incoming.join("lost+found")).unwrap();
        empty(&incoming).unwrap();
        assert_eq!(std::fs::metadata(&incoming).unwrap().ino(), before);
        assert!(!incoming.join("left").exists());
    }

    #[test]
    fn names_of_official_images_are_longer_there() {
        let name = |namespace: &str, repo: &str| {
            let upstream = Upstream {
                id: 1,
                text: UpstreamText {
                    namespace: namespace.to_owned(),
                    ..UpstreamText::default()
                },
                created_ms: 0,
                updated_ms: 0,
            };
            name_there(&upstream, &RepoName::parse(repo).unwrap())
        };
        assert_eq!(name("docker.io", "hub/alpine").unwrap(), "library/alpine");
        assert_eq!(
            name("docker.io", "hub/grafana/loki").unwrap(),
            "grafana/loki"
        );
        assert_eq!(name("quay.io", "q/alpine").unwrap(), "alpine");
        assert!(name("quay.io", "q").is_err());
    }
}
