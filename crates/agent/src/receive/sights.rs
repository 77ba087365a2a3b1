//! What lines are received from, for people: containers, and who listens or follows for a job.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::discover::Labels;
use crate::feed::Received;

/// One of what lines are received from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sight {
    /// The name of its job.
    pub(crate) job: String,
    /// `docker`, `journal`, `syslog` or `push`.
    pub(crate) kind: &'static str,
    /// A container's name, the directory of a journal, or the address that is listened on.
    pub(crate) name: String,
    /// How a container is: `running`, `exited` and the like.
    pub(crate) state: String,
    /// Its labels before relabelling.
    pub(crate) discovered: Labels,
    /// Its labels after it; none if its lines are dropped.
    pub(crate) labels: Option<Labels>,
    /// The time of the latest line.
    pub(crate) last_line: Option<jiff::Timestamp>,
}

/// By the place of a job in the configuration, and by source; that is empty if the job has one only.
type Key = (usize, String);

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Sights(Mutex<BTreeMap<Key, Sight>>);

impl Sights {
    /// Shows one of a job.
    pub(crate) fn show(&self, job: usize, source: &str, sight: Sight) {
        self.0.lock().insert((job, source.to_owned()), sight);
    }

    /// Takes in how the sources of a job are; others are shown no more.
    pub(crate) fn keep(&self, job: usize, states: &BTreeMap<&str, &str>) {
        let mut sights = self.0.lock();
        sights.retain(|(of, source), _| *of != job || states.contains_key(source.as_str()));
        for (source, state) in states {
            if let Some(sight) = sights.get_mut(&(job, (*source).to_owned())) {
                (*state).clone_into(&mut sight.state);
            }
        }
    }

    /// Takes in that a line came.
    pub(crate) fn saw(&self, line: &Received) {
        let source = line.cursor.as_ref().map_or("", |cursor| &cursor.source);
        let key = (line.job, source.to_owned());
        if let Some(sight) = self.0.lock().get_mut(&key) {
            let of_line = line.timestamp_ns.map(i128::from);
            let at = of_line.and_then(|ns| jiff::Timestamp::from_nanosecond(ns).ok());
            sight.last_line = Some(at.unwrap_or_else(jiff::Timestamp::now));
        }
    }

    /// All, in order.
    pub(crate) fn all(&self) -> Vec<Sight> {
        self.0.lock().values().cloned().collect()
    }
}
