//! Whether a process can do its work, and what each part of it is doing.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// Where a component stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not begun.
    New,
    /// Beginning: replaying, joining, connecting.
    Starting,
    /// Doing its work.
    Running,
    /// Finishing what is open.
    Stopping,
    /// Ended as asked.
    Terminated,
    /// Ended by an error.
    Failed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `Debug` gives the words that Loki's `/services` uses.
        fmt::Debug::fmt(self, f)
    }
}

/// The states of all components of a process. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    components: Vec<Entry>,
    stopping: bool,
}

#[derive(Debug)]
struct Entry {
    name: String,
    state: State,
    reason: String,
}

impl Health {
    /// No components yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The component of this name, which is new if it was not known. The process is ready only
    /// while every component is running.
    #[must_use]
    pub fn component(&self, name: &str) -> Component {
        let mut inner = self.0.lock();
        let known = inner.components.iter().position(|entry| entry.name == name);
        let at = known.unwrap_or_else(|| {
            inner.components.push(Entry {
                name: name.to_owned(),
                state: State::New,
                reason: String::new(),
            });
            inner.components.len() - 1
        });
        Component {
            health: self.clone(),
            at,
        }
    }

    /// From now on the process is not ready, so that balancers send their requests elsewhere.
    pub fn begin_shutdown(&self) {
        self.0.lock().stopping = true;
    }

    /// Whether the process is about to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.lock().stopping
    }

    /// Why the process is not ready, one reason per component; none if it is.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let inner = self.0.lock();
        let stopping = inner.stopping.then(|| "shutting down".to_owned());
        let waiting = inner
            .components
            .iter()
            .filter(|entry| entry.state != State::Running);
        let reason = |entry: &Entry| match entry.reason.as_str() {
            "" => format!("{}: {}", entry.name, entry.state),
            reason => format!("{}: {}: {reason}", entry.name, entry.state),
        };
        stopping.into_iter().chain(waiting.map(reason)).collect()
    }

    /// What does not work of components that run.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        let inner = self.0.lock();
        let is_troubled = |e: &&Entry| e.state == State::Running && !e.reason.is_empty();
        let troubled = inner.components.iter().filter(is_troubled);
        troubled
            .map(|entry| format!("{}: {}", entry.name, entry.reason))
            .collect()
    }

    /// All components by name, in the order of their start.
    #[must_use]
    pub fn components(&self) -> Vec<(String, State)> {
        let inner = self.0.lock();
        let pair = |entry: &Entry| (entry.name.clone(), entry.state);
        inner.components.iter().map(pair).collect()
    }
}

/// One component's own entry in the process's [`Health`].
#[derive(Clone, Debug)]
pub struct Component {
    health: Health,
    at: usize,
}

impl Component {
    /// Sets the state; `reason` says what is being waited for or what went wrong, or is empty.
    pub fn set(&self, state: State, reason: impl Into<String>) {
        if let Some(entry) = self.health.0.lock().components.get_mut(self.at) {
            entry.state = state;
            entry.reason = reason.into();
        }
    }

    /// Beginning; `reason` says with what.
    pub fn starting(&self, reason: impl Into<String>) {
        self.set(State::Starting, reason);
    }

    /// Doing its work.
    pub fn running(&self) {
        self.set(State::Running, "");
    }

    /// Doing its work, but not all of it: `trouble` says what does not work. The process is ready:
    /// who takes it out of service for a part takes all of it.
    pub fn troubled(&self, trouble: impl Into<String>) {
        self.set(State::Running, trouble);
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        let inner = self.health.0.lock();
        inner
            .components
            .get(self.at)
            .map_or(State::New, |entry| entry.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_once_all_components_run_and_never_again_after_shutdown_began() {
        let health = Health::new();
        let wal = health.component("wal");
        wal.starting("replaying segment 3 of 9");
        assert_eq!(
            health.not_ready(),
            ["wal: Starting: replaying segment 3 of 9"]
        );
        health.component("wal").running();
        assert!(health.not_ready().is_empty());
        assert_eq!(health.components(), [("wal".to_owned(), State::Running)]);
        health.begin_shutdown();
        assert_eq!(health.not_ready(), ["shutting down"]);
    }
}
