//! Who may run now: a bounded number at once, the others wait in one queue per tenant and the queues
//! take turns, so that a tenant with much to do delays mostly itself.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use model::{Code, CodedError, TenantId};
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Hands out [`Permit`]s.
#[derive(Debug)]
pub struct Admission {
    running_max: usize,
    /// How many of them may be of one tenant.
    running_of_tenant_max: usize,
    waiting_per_tenant_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// Of each tenant that has any.
    running_of: HashMap<TenantId, usize>,
    /// Tenants with somebody waiting; the first is next.
    queues: VecDeque<(TenantId, VecDeque<oneshot::Sender<Permit>>)>,
}

/// The right to run; dropping it lets the next one run.
#[derive(Debug)]
pub struct Permit {
    /// `None` in a permit that nobody took.
    admission: Option<Arc<Admission>>,
    tenant: TenantId,
}

impl Admission {
    /// At most `running_max` permits exist at once.
    #[must_use]
    pub fn new(running_max: usize, waiting_per_tenant_max: usize) -> Arc<Self> {
        Self::with_tenant_max(running_max, running_max, waiting_per_tenant_max)
    }

    /// The same, and at most `running_of_tenant_max` of them for one tenant.
    #[must_use]
    pub fn with_tenant_max(
        running_max: usize,
        running_of_tenant_max: usize,
        waiting_per_tenant_max: usize,
    ) -> Arc<Self> {
        let state = Mutex::new(State::default());
        Arc::new(Self {
            running_max: running_max.max(1),
            running_of_tenant_max: running_of_tenant_max.max(1),
            waiting_per_tenant_max,
            state,
        })
    }

    /// Waits for a turn. Dropping the future gives the place in the queue up.
    ///
    /// # Errors
    /// If the tenant has too many waiting already.
    pub async fn acquire(self: &Arc<Self>, tenant: &TenantId) -> Result<Permit, CodedError> {
        let turn = {
            let mut state = self.state.lock();
            let is_free = state.running < self.running_max;
            if is_free && state.may_run(tenant, self.running_of_tenant_max) {
                state.starts(tenant);
                return Ok(self.permit(tenant.clone()));
            }
            let queue = match state
                .queues
                .iter()
                .position(|(waiting, _)| waiting == tenant)
            {
                Some(at) => at,
                None => {
                    state.queues.push_back((tenant.clone(), VecDeque::new()));
                    state.queues.len() - 1
                }
            };
            let Some((_, queue)) = state.queues.get_mut(queue) else {
                return Err(CodedError::new(
                    Code::Internal,
                    "the queue of the tenant is gone",
                ));
            };
            queue.retain(|waiting| !waiting.is_closed());
            if queue.len() >= self.waiting_per_tenant_max {
                let limit = self.waiting_per_tenant_max;
                return Err(CodedError::new(
                    Code::ResourceExhausted,
                    format!(
                        "too many outstanding requests: max_waiting_per_tenant is {limit}, tenant {tenant}"
                    ),
                ));
            }
            let (sender, turn) = oneshot::channel();
            queue.push_back(sender);
            turn
        };
        turn.await
            .map_err(|_| CodedError::new(Code::Unavailable, "the server is stopping"))
    }

    /// How many wait now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let state = self.state.lock();
        state.queues.iter().map(|(_, queue)| queue.len()).sum()
    }

    /// How many run now.
    #[must_use]
    pub fn running(&self) -> usize {
        self.state.lock().running
    }

    fn permit(self: &Arc<Self>, tenant: TenantId) -> Permit {
        Permit {
            admission: Some(Arc::clone(self)),
            tenant,
        }
    }

    /// Gives a freed place to the next who still waits.
    fn release(self: &Arc<Self>, tenant: &TenantId) {
        self.state.lock().ends(tenant);
        loop {
            let next = {
                let mut state = self.state.lock();
                let next = state.next(self.running_of_tenant_max);
                if let Some((tenant, _)) = &next {
                    state.starts(tenant);
                }
                next
            };
            let Some((tenant, waiting)) = next else {
                return;
            };
            match waiting.send(self.permit(tenant)) {
                Ok(()) => return,
                // Nobody waits there any more: the permit comes back unused and must not release.
                Err(mut unused) => {
                    unused.admission = None;
                    self.state.lock().ends(&unused.tenant);
                }
            }
        }
    }
}

impl State {
    fn may_run(&self, tenant: &TenantId, most: usize) -> bool {
        self.running_of
            .get(tenant)
            .is_none_or(|running| *running < most)
    }

    fn starts(&mut self, tenant: &TenantId) {
        self.running += 1;
        *self.running_of.entry(tenant.clone()).or_default() += 1;
    }

    fn ends(&mut self, tenant: &TenantId) {
        self.running -= 1;
        if let Some(running) = self.running_of.get_mut(tenant) {
            *running -= 1;
            if *running == 0 {
                self.running_of.remove(tenant);
            }
        }
    }

    /// The next in turn, of a tenant that has not its full share.
    fn next(&mut self, most: usize) -> Option<(TenantId, oneshot::Sender<Permit>)> {
        loop {
            let queues = self.queues.iter();
            let at = queues
                .enumerate()
                .find_map(|(at, (tenant, _))| self.may_run(tenant, most).then_some(at))?;
            let (tenant, mut queue) = self.queues.remove(at)?;
            let next = queue.pop_front();
            if !queue.is_empty() {
                self.queues.push_back((tenant.clone(), queue));
            }
            if let Some(next) = next {
                return Some((tenant, next));
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            admission.release(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    async fn queued(admission: &Arc<Admission>, name: &str) -> tokio::task::JoinHandle<Permit> {
        let before = admission.waiting();
        let (waiting, id) = (Arc::clone(admission), tenant(name));
        let task = tokio::spawn(async move { waiting.acquire(&id).await.unwrap() });
        while admission.waiting() == before {
            tokio::task::yield_now().await;
        }
        task
    }

    #[tokio::test]
    async fn tenants_take_turns() {
        let admission = Admission::new(1, 10);
        let first = admission.acquire(&tenant("a")).await.unwrap();
        let a = queued(&admission, "a").await;
        let a2 = queued(&admission, "a").await;
        let b = queued(&admission, "b").await;
        drop(first);
        let first_a = a.await.unwrap();
        assert!(!b.is_finished());
        drop(first_a);
        let first_b = b.await.unwrap();
        assert!(!a2.is_finished(), "b comes before the second of a");
        drop(first_b);
        drop(a2.await.unwrap());
        assert_eq!(admission.state.lock().running, 0);
    }

    #[tokio::test]
    async fn who_stops_waiting_loses_nothing_for_others() {
        let admission = Admission::new(1, 10);
        let first = admission.acquire(&tenant("a")).await.unwrap();
        let gone = queued(&admission, "a").await;
        let stays = queued(&admission, "b").await;
        gone.abort();
        assert!(gone.await.is_err());
        drop(first);
        drop(stays.await.unwrap());
        assert_eq!(admission.state.lock().running, 0);
    }

    #[tokio::test]
    async fn a_tenant_leaves_places_to_others() {
        let admission = Admission::with_tenant_max(3, 2, 10);
        let first = admission.acquire(&tenant("a")).await.unwrap();
        let _second = admission.acquire(&tenant("a")).await.unwrap();
        let third = queued(&admission, "a").await;
        let b = admission.acquire(&tenant("b")).await.unwrap();
        drop(b);
        assert!(!third.is_finished() && admission.running() == 2);
        drop(first);
        let _third = third.await.unwrap();
        assert_eq!((admission.running(), admission.waiting()), (2, 0));
    }

    #[tokio::test]
    async fn the_queue_of_a_tenant_is_bounded() {
        let admission = Admission::new(1, 1);
        let _first = admission.acquire(&tenant("a")).await.unwrap();
        let _second = queued(&admission, "a").await;
        let error = admission.acquire(&tenant("a")).await.unwrap_err();
        assert_eq!(error.code, Code::ResourceExhausted);
    }
}
