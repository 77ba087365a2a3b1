//! Targets: what of the configuration becomes globs and labels.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use encoding_rs::Encoding;
use globset::GlobMatcher;
use parking_lot::Mutex;

use super::glob::{GlobError, PathGlob, exclusion};
use crate::config::{ConfigError, ScrapeConfig, StaticConfig};
use crate::relabel::relabel;
use crate::tail::newline::encoding_of;
use crate::tail::unpack::Packing;

/// What internal labels begin with that become structured metadata: the agent's own.
const METADATA_PREFIX: &str = "__metadata_";

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
    /// Structured metadata of its lines.
    pub(crate) metadata: Vec<(String, String)>,
    /// Whether that also says where in its file a line begins.
    pub(crate) has_offsets: bool,
    /// Its glob as it was written.
    pub(crate) path: String,
    pub(super) glob: PathGlob,
    exclude: Option<GlobMatcher>,
    /// How its files are packed.
    pub(crate) packing: Option<Packing>,
    /// How long they may still be written.
    pub(crate) packed_after: Duration,
    /// Their encoding, if it is not UTF-8.
    pub(crate) encoding: Option<&'static Encoding>,
}

/// A target of which nothing is collected.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Dropped {
    pub(crate) job: String,
    pub(crate) labels: Labels,
    pub(crate) reason: String,
}

/// All targets.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    active: Vec<Arc<Target>>,
    dropped: Vec<Dropped>,
}

/// The targets as they are now.
#[derive(Debug, Default)]
pub(crate) struct SharedTargets(Mutex<Arc<Targets>>);

impl SharedTargets {
    pub(crate) fn get(&self) -> Arc<Targets> {
        self.0.lock().clone()
    }

    pub(crate) fn set(&self, targets: Arc<Targets>) {
        *self.0.lock() = targets;
    }
}

impl Target {
    /// Whether its files are those of a pod.
    pub(crate) fn is_of_pod(&self) -> bool {
        self.discovered.contains_key("__meta_kubernetes_pod_uid")
    }

    /// Whether a file of this path would be collected for it.
    pub(crate) fn takes(&self, path: &Path) -> bool {
        self.glob.is_match(path) && !self.leaves_out(path)
    }

    /// Whether a file that its glob matches is not collected all the same.
    pub(super) fn leaves_out(&self, path: &Path) -> bool {
        // Packed files of a job that has others are what rotation made of those.
        let is_other = self.packing.is_none() && Packing::of_name(path).is_some();
        let exclude = self.exclude.as_ref();
        is_other || exclude.is_some_and(|exclude| exclude.is_match(path))
    }
}

impl Targets {
    /// The targets that are written in the configuration, and those that were found, each with the
    /// place of its job. What was found and makes no sense is dropped.
    pub(crate) fn with_found(
        jobs: &[ScrapeConfig],
        found: Vec<(usize, Labels)>,
        hostname: &str,
    ) -> Result<Self, ConfigError> {
        let mut seen = BTreeSet::new();
        let mut targets = Self::written(jobs, hostname, &mut seen)?;
        for (at, discovered) in found {
            let Some(job) = jobs.get(at) else {
                continue;
            };
            let added = targets.add(at, job, discovered.clone(), hostname, &mut seen);
            if let Err(error) = added {
                targets.dropped.push(Dropped {
                    job: job.job_name.clone(),
                    labels: discovered,
                    reason: error.to_string(),
                });
            }
        }
        Ok(targets)
    }

    /// The targets that are written in the configuration. `hostname` is what a target's `__host__`
    /// must be, if it has one.
    pub(crate) fn of_config(jobs: &[ScrapeConfig], hostname: &str) -> Result<Self, ConfigError> {
        Self::written(jobs, hostname, &mut BTreeSet::new())
    }

    fn written(
        jobs: &[ScrapeConfig],
        hostname: &str,
        seen: &mut BTreeSet<(usize, String, Labels)>,
    ) -> Result<Self, ConfigError> {
        let mut targets = Self::default();
        for (at, job) in jobs.iter().enumerate() {
            let wrong = |error: String| ConfigError(format!("job {:?}: {error}", job.job_name));
            job.packing().map_err(wrong)?;
            encoding_of(&job.encoding).map_err(|error| wrong(format!("encoding: {error}")))?;
            for group in &job.static_configs {
                for discovered in labels_of(group) {
                    targets
                        .add(at, job, discovered, hostname, seen)
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
                    reason: reason.to_owned(),
                });
                return Ok(());
            }
        };
        let exclude = labels
            .get("__path_exclude__")
            .filter(|glob| !glob.is_empty());
        let exclude = exclude.map(|glob| exclusion(glob)).transpose()?;
        let metadata = labels.iter().filter_map(|(name, value)| {
            let name = name.strip_prefix(METADATA_PREFIX)?;
            Some((name.to_owned(), value.clone()))
        });
        let metadata = metadata.collect();
        labels.retain(|name, _| !name.starts_with("__"));
        if seen.insert((at, path.clone(), labels.clone())) {
            self.active.push(Arc::new(Target {
                job: at,
                job_name: job.job_name.clone(),
                discovered,
                labels,
                metadata,
                has_offsets: job.offset_metadata,
                glob: PathGlob::new(&path)?,
                path,
                exclude,
                packing: job.packing().unwrap_or_default(),
                packed_after: job.decompression.initial_delay.as_std(),
                encoding: encoding_of(&job.encoding).unwrap_or_default(),
            }));
        }
        Ok(())
    }
}

/// The labels of each target of a group.
pub(super) fn labels_of(group: &StaticConfig) -> Vec<Labels> {
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
