//! Targets that are found while the agent runs, by who finds them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::target::Labels;

/// All that was found. Whoever finds targets replaces all of its own at once.
pub(crate) struct Groups {
    found: Mutex<Found>,
    /// Says that the files must be looked for again.
    rescan: watch::Sender<()>,
}

#[derive(Default)]
struct Found {
    by_finder: BTreeMap<(usize, usize), Vec<Labels>>,
    version: u64,
}

/// Where one who finds targets leaves them.
#[derive(Clone)]
pub(crate) struct Publisher {
    groups: Arc<Groups>,
    /// The place of the job in the configuration, and of the finder in the job.
    place: (usize, usize),
}

impl Groups {
    pub(crate) fn new(rescan: watch::Sender<()>) -> Self {
        Self {
            found: Mutex::default(),
            rescan,
        }
    }

    pub(crate) fn publisher(self: &Arc<Self>, job: usize, finder: usize) -> Publisher {
        Publisher {
            groups: self.clone(),
            place: (job, finder),
        }
    }

    /// Labels of targets with the place of their job, if there are other ones than in `version`;
    /// with their version.
    pub(crate) fn newer_than(&self, version: u64) -> Option<(u64, Vec<(usize, Labels)>)> {
        let found = self.found.lock();
        if found.version == version {
            return None;
        }
        let targets = found
            .by_finder
            .iter()
            .flat_map(|((job, _), all)| all.iter().map(|labels| (*job, labels.clone())));
        Some((found.version, targets.collect()))
    }
}

impl Publisher {
    /// Replaces what was found before.
    pub(crate) fn set(&self, targets: Vec<Labels>) {
        let mut found = self.groups.found.lock();
        if found.by_finder.get(&self.place) != Some(&targets) {
            found.by_finder.insert(self.place, targets);
            found.version += 1;
            self.groups.rescan.send_replace(());
        }
    }
}
