//! Jobs whose lines go as they are: stages and relabelling are refused until they are there.

use std::collections::BTreeMap;

use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};

use crate::Entry;

/// A stage as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageConfig(serde_json::Value);

/// A relabelling rule as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelabelConfig(serde_json::Value);

/// Why a pipeline cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("job {job:?}: pipeline_stages: not in this version")]
pub struct StageError {
    job: String,
}

/// What stages tell about themselves.
#[derive(Clone, Debug)]
pub struct Metrics(());

impl Metrics {
    /// Registers nothing.
    pub fn register(_: &mut Registry) -> Self {
        Self(())
    }
}

/// Gives each entry as it came.
pub struct Pipeline(());

impl Pipeline {
    /// The pipeline of a job without stages.
    ///
    /// # Errors
    /// If there are stages.
    pub fn new(stages: &[StageConfig], job: &str, _: &Metrics) -> Result<Self, StageError> {
        if stages.is_empty() {
            Ok(Self(()))
        } else {
            Err(StageError {
                job: job.to_owned(),
            })
        }
    }

    /// The same for another file.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(())
    }

    /// Gives the entry.
    pub fn process(&mut self, entry: Entry, _: i64, out: &mut Vec<Entry>) {
        out.push(entry);
    }

    /// Nothing is held back.
    pub fn idle(&mut self, _: i64, _: &mut Vec<Entry>) {}

    /// Nothing is held back.
    #[must_use]
    pub fn next_deadline_ns(&self) -> Option<i64> {
        None
    }

    /// Nothing is held back.
    #[must_use]
    pub fn oldest_held(&self) -> Option<u64> {
        None
    }

    /// Nothing is limited.
    #[must_use]
    pub fn paused_until_ns(&self) -> Option<i64> {
        None
    }
}

/// The labels as they are.
pub fn relabel(
    labels: BTreeMap<String, String>,
    _: &[RelabelConfig],
) -> Option<BTreeMap<String, String>> {
    Some(labels)
}
