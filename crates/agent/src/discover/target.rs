//! Targets: what of the configuration becomes globs and labels.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use globset::GlobMatcher;

use super::glob::{GlobError, PathGlob, exclusion};
use crate::config::{ConfigError, ScrapeConfig, StaticConfig};
use crate::relabel::relabel;

/// The labels of a target.
pub(crate) type Labels = BTreeMap<String, String>;

/// A glob with the labels of what it matches.
#[derive(Debug)]
pub(crate) struct Target {
    /// The place of its job in the configuration.
    pub(crate) job: usize,
    /// The name of its job.
    pub(crate) job_name: String,
    /// Its labels before relabelling.
    pub(crate) discovered: Labels,
    /// Its labels after it, without the internal ones.
    pub(crate) labels: Labels,
    /// Its glob as it was written.
    pub(crate) path: String,
    pub(super) glob: PathGlob,
    exclude: Option<GlobMatcher>,
}

/// A target of which nothing is collected.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Dropped {
    pub(crate) job: String,
    pub(crate) labels: Labels,
    pub(crate) reason: &'static str,
}

/// All targets.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    active: Vec<Arc<Target>>,
    dropped: Vec<Dropped>,
}

impl Target {
    pub(super) fn excludes(&self, path: &Path) -> bool {
        self.exclude
            .as_ref()
            .is_some_and(|exclude| exclude.is_match(path))
    }
}

impl Targets {
    /// The targets of all jobs. `hostname` is what a target's `__host__` must be, if it has one.
    pub(crate) fn new(jobs: &[ScrapeConfig], hostname: &str) -> Result<Self, ConfigError> {
        let mut targets = Self::default();
        let mut seen = BTreeSet::new();
        for (at, job) in jobs.iter().enumerate() {
            for group in &job.static_configs {
                for discovered in labels_of(group) {
                    targets
                        .add(at, job, discovered, hostname, &mut seen)
                        .map_err(|error| ConfigError(format!("job {:?}: {error}", job.job_name)))?;
                }
            }
        }
        Ok(targets)
    }

    pub(crate) fn active(&self) -> &[Arc<Target>] {
        &self.active
    }

    pub(crate) fn dropped(&self) -> &[Dropped] {
        &self.dropped
    }

    fn add(
        &mut self,
        at: usize,
        job: &ScrapeConfig,
        discovered: Labels,
        hostname: &str,
        seen: &mut BTreeSet<(usize, String, Labels)>,
    ) -> Result<(), GlobError> {
        let relabelled = relabel(discovered.clone(), &job.relabel_configs);
        let kept = match relabelled {
            None => Err("dropped by relabelling"),
            Some(labels) => match (labels.get("__host__"), labels.get("__path__")) {
                (Some(host), _) if host != hostname => Err("__host__ is another host"),
                (_, None) => Err("no __path__"),
                (_, Some(path)) => Ok((path.clone(), labels)),
            },
        };
        let (path, mut labels) = match kept {
            Ok(kept) => kept,
            Err(reason) => {
                self.dropped.push(Dropped {
                    job: job.job_name.clone(),
                    labels: discovered,
                    reason,
                });
                return Ok(());
            }
        };
        let exclude = labels
            .get("__path_exclude__")
            .filter(|glob| !glob.is_empty());
        let exclude = exclude.map(|glob| exclusion(glob)).transpose()?;
        labels.retain(|name, _| !name.starts_with("__"));
        if seen.insert((at, path.clone(), labels.clone())) {
            self.active.push(Arc::new(Target {
                job: at,
                job_name: job.job_name.clone(),
                discovered,
                labels,
                glob: PathGlob::new(&path)?,
                path,
                exclude,
            }));
        }
        Ok(())
    }
}

/// The labels of each target of a group.
fn labels_of(group: &StaticConfig) -> Vec<Labels> {
    let with_address = |address: &str| {
        let mut labels = group.labels.clone();
        labels.insert("__address__".to_owned(), address.to_owned());
        labels
    };
    if group.targets.is_empty() {
        vec![with_address("localhost")]
    } else {
        group
            .targets
            .iter()
            .map(|address| with_address(address))
            .collect()
    }
}
