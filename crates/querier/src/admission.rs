//! Who may run now: a bounded number of queries at once, the others wait in one queue per tenant
//! and the queues take turns, so that a tenant with many queries delays mostly itself.

use std::collections::VecDeque;
use std::sync::Arc;

use model::{Code, CodedError, TenantId};
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Hands out [`Permit`]s.
#[derive(Debug)]
pub(crate) struct Admission {
    running_max: usize,
    waiting_per_tenant_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// Tenants with somebody waiting; the first is next.
    queues: VecDeque<(TenantId, VecDeque<oneshot::Sender<Permit>>)>,
}

/// The right to run one query; dropping it lets the next one run.
#[derive(Debug)]
pub(crate) struct Permit {
    /// `None` in a permit that nobody took.
    admission: Option<Arc<Admission>>,
}

impl Admission {
    /// At most `running_max` permits exist at once.
    #[must_use]
    pub(crate) fn new(running_max: usize, waiting_per_tenant_max: usize) -> Arc<Self> {
        let state = Mutex::new(State::default());
        Arc::new(Self {
            running_max: running_max.max(1),
            waiting_per_tenant_max,
            state,
        })
    }

    /// Waits for a turn. Dropping the future gives the place in the queue up.
    ///
    /// # Errors
    /// If the tenant has too many waiting already.
    pub(crate) async fn acquire(self: &Arc<Self>, tenant: &TenantId) -> Result<Permit, CodedError> {
        let turn = {
            let mut state = self.state.lock();
            if state.running < self.running_max {
                state.running += 1;
                return Ok(Permit {
                    admission: Some(Arc::clone(self)),
                });
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
            .map_err(|_| CodedError::new(Code::Unavailable, "the querier is stopping"))
    }

    /// Queries that wait now.
    #[must_use]
    pub(crate) fn waiting(&self) -> usize {
        let state = self.state.lock();
        state.queues.iter().map(|(_, queue)| queue.len()).sum()
    }

    /// Gives a freed place to the next who still waits.
    fn release(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state.lock();
                let next = state.next();
                if next.is_none() {
                    state.running -= 1;
                }
                next
            };
            let Some(waiting) = next else { return };
            match waiting.send(Permit {
                admission: Some(Arc::clone(self)),
            }) {
                Ok(()) => return,
                // Nobody waits there any more: the permit comes back unused and must not release.
                Err(mut unused) => unused.admission = None,
            }
        }
    }
}

impl State {
    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        while let Some((tenant, mut queue)) = self.queues.pop_front() {
            let next = queue.pop_front();
            if !queue.is_empty() {
                self.queues.push_back((tenant, queue));
            }
            if next.is_some() {
                return next;
            }
        }
        None
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            admission.release();
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
    async fn the_queue_of_a_tenant_is_bounded() {
        let admission = Admission::new(1, 1);
        let _first = admission.acquire(&tenant("a")).await.unwrap();
        let _second = queued(&admission, "a").await;
        let error = admission.acquire(&tenant("a")).await.unwrap_err();
        assert_eq!(error.code, Code::ResourceExhausted);
    }
}
