//! What pulls read again and again, kept in memory: manifests, links to blobs, who people are and
//! what they may do in projects. Bounded, and never older than the last change that concerns it: a
//! change says what it touches ([`Touched`]), and what was read before it counts no more. Where
//! other processes change the same database, things are kept for a moment only.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::account::{Account, Robot, Standing};
use super::blob::BlobRow;
use super::manifest::{Content, ManifestRow};
use super::upstream::Upstreams;
use crate::config::CacheConfig;
use crate::name::RepoName;

/// Groups of repositories; a change of one touches its whole group.
const GROUPS: usize = 1024;
/// A manifest may have this part of the bytes for manifests.
const LARGEST_PART: u64 = 16;
/// Bytes of a key and of what is around a value, about.
const OVERHEAD_BYTES: u64 = 200;

/// What a change may have made untrue of what was read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touched<'a> {
    /// Nothing that is kept. What is not there is not kept, so this is so of what is only added.
    Nothing,
    /// What a repository has.
    Repo(&'a RepoName),
    /// What all repositories have.
    Repos,
    /// Accounts, robots, members and projects.
    People,
}

/// How often things were changed. What was read is true as long as the number is the same.
#[derive(Debug)]
pub(super) struct Changes {
    groups: Vec<AtomicU64>,
    repos: AtomicU64,
    people: AtomicU64,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            groups: (0..GROUPS).map(|_| AtomicU64::new(0)).collect(),
            repos: AtomicU64::new(0),
            people: AtomicU64::new(0),
        }
    }
}

impl Changes {
    /// A change was made, or may have been.
    pub(super) fn made(&self, touched: Touched<'_>) {
        match touched {
            Touched::Nothing => {}
            Touched::Repo(repo) => {
                if let Some(group) = self.group(repo) {
                    group.fetch_add(1, Ordering::SeqCst);
                }
            }
            Touched::Repos => {
                self.repos.fetch_add(1, Ordering::SeqCst);
            }
            Touched::People => {
                self.people.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn group(&self, repo: &RepoName) -> Option<&AtomicU64> {
        let mut hasher = DefaultHasher::new();
        repo.as_str().hash(&mut hasher);
        let groups = self.groups.len() as u64;
        let at = hasher.finish().checked_rem(groups)?;
        self.groups.get(usize::try_from(at).ok()?)
    }

    /// The number for a repository. Both parts only grow, so no two states have the same sum.
    pub(super) fn of_repo(&self, repo: &RepoName) -> u64 {
        let group = self
            .group(repo)
            .map_or(0, |group| group.load(Ordering::SeqCst));
        group.wrapping_add(self.repos.load(Ordering::SeqCst))
    }

    /// The number for people.
    pub(super) fn of_people(&self) -> u64 {
        self.people.load(Ordering::SeqCst)
    }
}

/// What takes memory.
pub(super) trait Weight: Clone + Send + Sync {
    /// Bytes beside the usual.
    fn bytes(&self) -> u64 {
        0
    }
}

impl Weight for Arc<ManifestRow> {
    fn bytes(&self) -> u64 {
        match &self.content {
            Content::Here(bytes) => bytes.len() as u64,
            Content::Stored(_) => 0,
        }
    }
}

impl Weight for BlobRow {
    fn bytes(&self) -> u64 {
        self.small.as_ref().map_or(0, |bytes| bytes.len() as u64)
    }
}

impl Weight for Account {}
impl Weight for Robot {}
impl Weight for Standing {}
// One thing, as large as administrators make it; every pull by a tag asks for it.
impl Weight for Arc<Upstreams> {}

#[derive(Clone)]
struct Kept<V> {
    value: V,
    number: u64,
    read: Instant,
}

#[derive(Clone)]
struct Weigh;

impl<V: Weight> Weighter<String, Kept<V>> for Weigh {
    fn weight(&self, key: &String, kept: &Kept<V>) -> u64 {
        OVERHEAD_BYTES + key.len() as u64 + kept.value.bytes()
    }
}

/// Things of one kind by their names.
pub(super) struct Shelf<V: Weight> {
    kept: Cache<String, Kept<V>, Weigh>,
    bytes_max: u64,
    age_max: Option<Duration>,
}

impl<V: Weight> Shelf<V> {
    fn new(bytes_max: u64, age_max: Option<Duration>) -> Self {
        let items = usize::try_from(bytes_max / (2 * OVERHEAD_BYTES)).unwrap_or(usize::MAX);
        Self {
            kept: Cache::with_weighter(items.max(1), bytes_max, Weigh),
            bytes_max,
            age_max,
        }
    }

    /// What was kept when the number of changes was this, if it still is.
    pub(super) fn get(&self, name: &str, number: u64) -> Option<V> {
        let kept = self.kept.get(name)?;
        let is_young = self.age_max.is_none_or(|max| kept.read.elapsed() < max);
        (kept.number == number && is_young).then_some(kept.value)
    }

    /// Keeps what was read. `number` was asked for before that.
    pub(super) fn keep(&self, name: String, number: u64, value: &V) {
        if value.bytes() > self.bytes_max / LARGEST_PART {
            return;
        }
        let kept = Kept {
            value: value.clone(),
            number,
            read: Instant::now(),
        };
        self.kept.insert(name, kept);
    }
}

/// All that is kept.
pub(super) struct Shelves {
    pub(super) manifests: Shelf<Arc<ManifestRow>>,
    pub(super) blobs: Shelf<BlobRow>,
    pub(super) accounts: Shelf<Account>,
    pub(super) robots: Shelf<Robot>,
    pub(super) standings: Shelf<Standing>,
    pub(super) upstreams: Shelf<Arc<Upstreams>>,
}

impl Shelves {
    /// Nothing yet. Where `is_shared`, other processes change the database too.
    pub(super) fn new(config: &CacheConfig, is_shared: bool) -> Self {
        let age_max = is_shared.then(|| config.age_max.as_std());
        let (manifests, rest) = (config.manifest_bytes_max.0, config.row_bytes_max.0);
        Self {
            manifests: Shelf::new(manifests, age_max),
            blobs: Shelf::new(rest / 2, age_max),
            accounts: Shelf::new(rest / 8, age_max),
            robots: Shelf::new(rest / 8, age_max),
            standings: Shelf::new(rest / 8, age_max),
            upstreams: Shelf::new(rest / 8, age_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(link_id: i64) -> BlobRow {
        BlobRow {
            link_id,
            size: 1,
            data_key: "data/aa/1".to_owned(),
            is_damaged: false,
            small: None,
        }
    }

    #[test]
    fn what_was_read_before_a_change_counts_no_more() {
        let changes = Changes::default();
        let shelves = Shelves::new(&CacheConfig::default(), false);
        let (one, other) = (
            RepoName::parse("team/one").unwrap(),
            RepoName::parse("team/other").unwrap(),
        );
        let get = |repo: &RepoName| shelves.blobs.get(repo.as_str(), changes.of_repo(repo));
        for repo in [&one, &other] {
            let number = changes.of_repo(repo);
            assert_eq!(get(repo), None);
            shelves.blobs.keep(repo.to_string(), number, &blob(1));
            assert_eq!(get(repo), Some(blob(1)));
        }
        changes.made(Touched::Nothing);
        changes.made(Touched::People);
        changes.made(Touched::Repo(&one));
        assert_eq!((get(&one), get(&other)), (None, Some(blob(1))));
        changes.made(Touched::Repos);
        assert_eq!(get(&other), None);
        // Read before a change, kept after it.
        let number = changes.of_repo(&one);
        changes.made(Touched::Repo(&one));
        shelves.blobs.keep(one.to_string(), number, &blob(2));
        assert_eq!(get(&one), None);
    }

    #[test]
    fn memory_is_bounded() {
        let config = CacheConfig {
            manifest_bytes_max: model::units::ByteSize(10_000),
            ..CacheConfig::default()
        };
        let shelf = Shelves::new(&config, false).manifests;
        let row = |bytes: usize| {
            Arc::new(ManifestRow {
                id: None,
                digest: String::new(),
                media_type: String::new(),
                size: bytes as u64,
                content: Content::Here(vec![0; bytes].into()),
                is_damaged: false,
            })
        };
        for name in 0..1000 {
            shelf.keep(name.to_string(), 0, &row(500));
        }
        assert!(shelf.kept.weight() <= 10_000);
        assert!(shelf.kept.len() > 1);
        shelf.keep("large".to_owned(), 0, &row(1000));
        assert!(shelf.get("large", 0).is_none());
    }

    #[test]
    fn where_others_write_things_are_kept_for_a_moment() {
        let config = CacheConfig {
            age_max: model::units::DurationNs(0),
            ..CacheConfig::default()
        };
        let shelf = Shelves::new(&config, true).blobs;
        shelf.keep("a".to_owned(), 0, &blob(1));
        assert_eq!(shelf.get("a", 0), None);
    }
}
