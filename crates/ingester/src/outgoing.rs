//! What is on its way to the store, and what could not get there yet.
//!
//! Objects of a tenant's day go to the store one after the other, in the order of their lines: the
//! watermark that one carries says that the rows before it are there. Different tenants and days do
//! not wait for each other. An object whose attempt failed stays at the head of its queue until a
//! later one succeeds; so does a tenant whose rows cannot be encoded, with all its days.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use model::TenantId;
use parking_lot::Mutex;
use storage::ManifestEntry;
use tokio::time::Instant;

use crate::tenant::{Tenant, Waiting};

/// The pause after the first failure.
const BACKOFF_MIN: Duration = Duration::from_millis(200);

/// What a flush takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Rows of this epoch and before.
    pub(crate) epoch: u64,
    /// The highest sequence number of these rows, of which none is left out.
    pub(crate) watermark: u64,
    /// The watermark of the line before: none of the rows has a number up to it.
    after: u64,
}

/// An object on its way to the store.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) day: i64,
    pub(crate) line: Line,
    pub(crate) blocks: Arc<[Waiting]>,
    /// Made again after a failure, a commit has no further effect.
    pub(crate) entry: ManifestEntry,
}

impl Outgoing {
    fn bytes(&self) -> usize {
        let blocks = self.blocks.iter();
        blocks.map(|waiting| waiting.block.bytes()).sum()
    }
}

/// A tenant's day.
pub(crate) type Partition = (TenantId, i64);

/// Why the last attempt failed.
#[derive(Clone, Debug)]
struct Failure {
    text: Arc<str>,
    /// When it is tried again; never by itself if that cannot help.
    retry_at: Option<Instant>,
    pause: Duration,
}

impl Failure {
    fn new(text: String, is_final: bool, before: Option<&Self>, pause_max: Duration) -> Self {
        let pause = before.map_or(BACKOFF_MIN, |failure| failure.pause * 2);
        let pause = pause.min(pause_max).max(BACKOFF_MIN);
        Self {
            text: text.into(),
            retry_at: (!is_final).then(|| Instant::now() + pause),
            pause,
        }
    }

    fn is_final(&self) -> bool {
        self.retry_at.is_none()
    }

    fn is_due(&self) -> bool {
        self.retry_at.is_some_and(|at| at <= Instant::now())
    }
}

/// Objects of one tenant and day, the oldest first.
#[derive(Default)]
struct Queue {
    objects: VecDeque<Outgoing>,
    failure: Option<Failure>,
}

/// A tenant whose rows cannot be encoded, and the lines that wait for it.
struct Held {
    tenant: Arc<Tenant>,
    lines: Vec<Line>,
    failure: Failure,
}

/// What became of everything up to some line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is in the store.
    Stored,
    /// Not all of it is, yet.
    Pending,
    /// Some of it is not, because the last attempt failed; it is tried again.
    Failing(Arc<str>),
    /// Some of it is not, and trying again does not help.
    Stuck(Arc<str>),
}

/// How many tenants' days, or tenants, could not be flushed the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failing {
    /// They are tried again by themselves.
    pub(crate) retried: usize,
    /// Trying again does not help.
    pub(crate) stuck: usize,
}

/// All that is on its way to the store.
#[derive(Default)]
pub(crate) struct Departures {
    state: Mutex<State>,
    /// How much is stuck: most of the time nothing is, and then nothing else need be looked at.
    stuck: AtomicUsize,
}

#[derive(Default)]
struct State {
    queues: BTreeMap<Partition, Queue>,
    held: BTreeMap<TenantId, Held>,
    /// The watermark of the newest line.
    drawn: u64,
    /// That of the newest line of which all that can be is in the queues.
    taken: u64,
}

impl State {
    fn failures(&self) -> impl Iterator<Item = &Failure> {
        let queues = self.queues.values().filter_map(|q| q.failure.as_ref());
        queues.chain(self.held.values().map(|held| &held.failure))
    }

    /// Lines with rows that are not in the store, each with the failure of what holds it up.
    fn outstanding(&self) -> impl Iterator<Item = (Line, Option<&Failure>)> {
        let queues = self.queues.values().flat_map(|queue| {
            let lines = queue.objects.iter().map(|object| object.line);
            lines.map(move |line| (line, queue.failure.as_ref()))
        });
        let held = self.held.values().flat_map(|held| {
            let lines = held.lines.iter();
            lines.map(move |line| (*line, Some(&held.failure)))
        });
        queues.chain(held)
    }
}

impl Departures {
    /// Nothing; rows up to `stored` are in the store.
    pub(crate) fn new(stored: u64) -> Self {
        let departures = Self::default();
        (departures.state.lock().drawn, departures.state.lock().taken) = (stored, stored);
        departures
    }

    /// Draws a line after the one before.
    pub(crate) fn draw(&self, epoch: u64, watermark: u64) -> Line {
        let mut state = self.state.lock();
        let after = state.drawn;
        state.drawn = watermark.max(after);
        Line {
            epoch,
            watermark,
            after,
        }
    }

    /// The lines that a tenant's rows are to be taken up to: `line`, and those before it for which
    /// they could not be encoded.
    pub(crate) fn lines(&self, tenant: &TenantId, line: Line) -> Vec<Line> {
        let state = self.state.lock();
        let held = state.held.get(tenant).map(|held| held.lines.clone());
        let mut lines = held.unwrap_or_default();
        lines.push(line);
        lines
    }

    /// Tenants whose rows are to be encoded again now, or all that are held, with their lines.
    pub(crate) fn held(&self, all: bool) -> Vec<(Arc<Tenant>, Vec<Line>)> {
        let state = self.state.lock();
        let due = state.held.values().filter(|h| all || h.failure.is_due());
        due.map(|held| (Arc::clone(&held.tenant), held.lines.clone()))
            .collect()
    }

    /// A tenant's rows cannot be encoded.
    pub(crate) fn hold(
        &self,
        tenant: &Arc<Tenant>,
        lines: Vec<Line>,
        (text, is_final): (String, bool),
        pause_max: Duration,
    ) {
        let mut state = self.state.lock();
        let before = state.held.get(&tenant.id).map(|held| &held.failure);
        let held = Held {
            tenant: Arc::clone(tenant),
            lines,
            failure: Failure::new(text, is_final, before, pause_max),
        };
        state.held.insert(tenant.id.clone(), held);
        self.count_stuck(&state);
    }

    /// A tenant's rows are encoded; these are its objects.
    pub(crate) fn depart(&self, tenant: &TenantId, objects: Vec<Outgoing>) {
        let mut state = self.state.lock();
        state.held.remove(tenant);
        for object in objects {
            let partition = (object.tenant.id.clone(), object.day);
            let queue = state.queues.entry(partition).or_default();
            queue.objects.push_back(object);
        }
        self.count_stuck(&state);
    }

    /// All tenants have departed up to a line, or are held.
    pub(crate) fn taken(&self, line: Line) {
        let mut state = self.state.lock();
        state.taken = state.taken.max(line.watermark);
    }

    /// Tenants' days that are to be sent now: new ones, and failed ones whose time has come; or all.
    pub(crate) fn due(&self, all: bool) -> Vec<Partition> {
        let state = self.state.lock();
        let is_due = |queue: &Queue| all || queue.failure.as_ref().is_none_or(Failure::is_due);
        let due = state.queues.iter().filter(|(_, queue)| is_due(queue));
        due.map(|(partition, _)| partition.clone()).collect()
    }

    /// The next object of a tenant's day.
    pub(crate) fn first(&self, partition: &Partition) -> Option<Outgoing> {
        let state = self.state.lock();
        state.queues.get(partition)?.objects.front().cloned()
    }

    /// The next object of a tenant's day is in the store.
    pub(crate) fn arrived(&self, partition: &Partition) {
        let mut state = self.state.lock();
        if let Some(queue) = state.queues.get_mut(partition) {
            queue.objects.pop_front();
            queue.failure = None;
            if queue.objects.is_empty() {
                state.queues.remove(partition);
            }
        }
        self.count_stuck(&state);
    }

    /// The next object of a tenant's day is not in the store.
    pub(crate) fn failed(
        &self,
        partition: &Partition,
        (text, is_final): (String, bool),
        pause_max: Duration,
    ) {
        let mut state = self.state.lock();
        if let Some(queue) = state.queues.get_mut(partition) {
            let before = queue.failure.take();
            let failure = Failure::new(text, is_final, before.as_ref(), pause_max);
            queue.failure = Some(failure);
        }
        self.count_stuck(&state);
    }

    fn count_stuck(&self, state: &State) {
        let stuck = state.failures().filter(|f| f.is_final()).count();
        self.stuck.store(stuck, Ordering::Relaxed);
    }

    /// When something that failed is to be tried again.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        let state = self.state.lock();
        state.failures().filter_map(|f| f.retry_at).min()
    }

    /// Rows with numbers up to the first of these are in the store, and no attempt was made to
    /// store any after the second.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let state = self.state.lock();
        let before = state.outstanding().map(|(line, _)| line.after).min();
        (before.unwrap_or(u64::MAX).min(state.taken), state.taken)
    }

    /// What became of the rows with numbers up to `watermark`.
    pub(crate) fn fate(&self, watermark: u64) -> Fate {
        let state = self.state.lock();
        let mut fate = match state.taken < watermark {
            true => Fate::Pending,
            false => Fate::Stored,
        };
        let outstanding = state.outstanding();
        for (_, failure) in outstanding.filter(|(line, _)| line.after < watermark) {
            match failure.map(|failure| (failure.is_final(), Arc::clone(&failure.text))) {
                Some((true, text)) => return Fate::Stuck(text),
                Some((false, text)) => fate = Fate::Failing(text),
                None if fate == Fate::Stored => fate = Fate::Pending,
                None => {}
            }
        }
        fate
    }

    /// Why nothing more of a tenant should be taken in: what it has is stuck.
    pub(crate) fn refusal(&self, tenant: &TenantId) -> Option<Arc<str>> {
        if self.stuck.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let state = self.state.lock();
        let days = (tenant.clone(), i64::MIN)..=(tenant.clone(), i64::MAX);
        let queues = state
            .queues
            .range(days)
            .filter_map(|(_, q)| q.failure.as_ref());
        let held = state.held.get(tenant).map(|held| &held.failure);
        let mut failures = queues.chain(held);
        let stuck = failures.find(|failure| failure.is_final())?;
        Some(Arc::clone(&stuck.text))
    }

    /// What could not be flushed the last time.
    pub(crate) fn failing(&self) -> Failing {
        let state = self.state.lock();
        let stuck = state.failures().filter(|f| f.is_final()).count();
        Failing {
            retried: state.failures().count() - stuck,
            stuck,
        }
    }

    /// Bytes of all blocks in queues.
    pub(crate) fn bytes(&self) -> usize {
        let state = self.state.lock();
        let queues = state.queues.values();
        queues.flat_map(|q| &q.objects).map(Outgoing::bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::Tenants;

    const MAX: Duration = Duration::from_secs(30);

    fn object(tenant: &Arc<Tenant>, day: i64, line: Line) -> Outgoing {
        Outgoing {
            tenant: Arc::clone(tenant),
            day,
            line,
            blocks: Arc::from([]),
            entry: ManifestEntry::new("w", 1),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_holds_up_its_own_rows_only() {
        let departures = Departures::new(10);
        let tenants = Tenants::default();
        let [a, b] = ["a", "b"].map(|id| tenants.get_or_add(&TenantId::new(id).unwrap(), 1));
        let days = [(a.id.clone(), 1), (b.id.clone(), 1)];
        for watermark in [20, 30] {
            let line = departures.draw(watermark, watermark);
            for tenant in [&a, &b] {
                departures.depart(&tenant.id, vec![object(tenant, 1, line)]);
            }
            departures.taken(line);
        }
        assert_eq!(departures.due(false), days);
        assert_eq!(departures.fate(15), Fate::Pending);
        departures.arrived(&days[1]);
        assert_eq!(departures.progress(), (10, 30));
        departures.failed(&days[0], ("no answer".to_owned(), false), MAX);
        departures.arrived(&days[1]);
        assert_eq!(
            (departures.progress(), departures.fate(10)),
            ((10, 30), Fate::Stored)
        );
        assert_eq!(departures.fate(15), Fate::Failing("no answer".into()));
        assert_eq!(departures.due(false), []);
        tokio::time::advance(MAX).await;
        assert_eq!(departures.due(false), days[..1]);
        departures.failed(&days[0], ("never".to_owned(), true), MAX);
        assert_eq!(departures.next_retry(), None);
        assert_eq!(departures.fate(15), Fate::Stuck("never".into()));
        assert_eq!(departures.refusal(&a.id).as_deref(), Some("never"));
        assert_eq!(departures.refusal(&b.id), None);
        let stuck = Failing {
            retried: 0,
            stuck: 1,
        };
        assert_eq!(departures.failing(), stuck);
        departures.arrived(&days[0]);
        assert_eq!(departures.progress(), (20, 30));
        departures.arrived(&days[0]);
        assert_eq!(departures.progress(), (30, 30));
        assert_eq!(departures.failing(), Failing::default());
    }

    #[tokio::test]
    async fn lines_of_rows_that_cannot_be_encoded_are_kept() {
        let departures = Departures::new(0);
        let tenant = Tenants::default().get_or_add(&TenantId::single(), 1);
        let first = departures.draw(1, 10);
        let lines = departures.lines(&tenant.id, first);
        departures.hold(&tenant, lines, ("no".to_owned(), true), MAX);
        departures.taken(first);
        let second = departures.draw(2, 20);
        assert_eq!(departures.lines(&tenant.id, second), [first, second]);
        assert_eq!(departures.progress(), (0, 10));
        departures.depart(&tenant.id, Vec::new());
        departures.taken(second);
        assert_eq!(departures.progress(), (20, 20));
    }
}
