//! Bytes by project: the one label that users choose, and so the one with a bound.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use server::Registry;

/// What projects count as that are too many. No project can have this name.
const OTHERS: &str = "_others";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProjectLabel {
    project: String,
}

/// Bytes that clients pushed to and pulled from projects.
#[derive(Clone, Debug, Default)]
pub(super) struct ProjectBytes {
    pushed: Family<ProjectLabel, Counter>,
    pulled: Family<ProjectLabel, Counter>,
    known: Arc<RwLock<HashSet<String>>>,
    known_max: Arc<AtomicUsize>,
}

impl ProjectBytes {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "registry_push_bytes",
            "Bytes that clients sent to projects",
            self.pushed.clone(),
        );
        registry.register(
            "registry_pull_bytes",
            "Bytes that clients were sent of projects",
            self.pulled.clone(),
        );
    }

    /// How many projects have a label of their own; none before this.
    pub(super) fn bound(&self, projects_max: usize) {
        self.known_max.store(projects_max, Ordering::Relaxed);
    }

    pub(super) fn pushed(&self, project: &str, bytes: u64) {
        self.pushed
            .get_or_create(&self.label(project))
            .inc_by(bytes);
    }

    pub(super) fn pulled(&self, project: &str, bytes: u64) {
        self.pulled
            .get_or_create(&self.label(project))
            .inc_by(bytes);
    }

    fn label(&self, project: &str) -> ProjectLabel {
        let is_known = self.known.read().contains(project);
        let has_label = is_known || {
            let mut known = self.known.write();
            let has_room = known.len() < self.known_max.load(Ordering::Relaxed);
            has_room && {
                known.insert(project.to_owned());
                true
            }
        };
        let project = if has_label { project } else { OTHERS };
        ProjectLabel {
            project: project.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projects_that_are_too_many_count_together() {
        let bytes = ProjectBytes::default();
        bytes.bound(2);
        for project in ["a", "b", "c", "d", "a"] {
            bytes.pulled(project, 5);
        }
        let count = |project: &str| {
            let project = project.to_owned();
            bytes.pulled.get_or_create(&ProjectLabel { project }).get()
        };
        assert_eq!([count("a"), count("b"), count(OTHERS)], [10, 5, 10]);
    }
}
