//! Membership, ring and connections as one thing.

use std::sync::Arc;

use arc_swap::ArcSwap;
use proto::role::Select;

use crate::config::Config;
use crate::error::{ClusterError, ForgetError};
use crate::member::{Health, Member, MemberState, Members, Role};
use crate::membership::Membership;
use crate::metrics::Metrics;
use crate::pool::{IngesterPool, LocalIngester};
use crate::quorum::{failures_max, write_quorum};
use crate::ring::Ring;

/// The ingesters that a query asks.
#[derive(Clone)]
pub struct Readers {
    /// Name and read side of each.
    pub ingesters: Vec<(String, Arc<dyn Select>)>,
    /// How many of them may fail without rows going missing; `None` if more are dead already than
    /// may be.
    pub failures_max: Option<usize>,
    /// How many ingesters have each row.
    pub copies: usize,
}

/// What roles know of the cluster.
pub struct Cluster {
    membership: Membership,
    ring: ArcSwap<Ring>,
    pool: IngesterPool,
    replication_factor: usize,
    virtual_nodes: u32,
}

impl Cluster {
    /// Joins the cluster as `me`. `local` is the ingester of this process, if it has one.
    ///
    /// # Errors
    /// If the configuration does not hold or gossip cannot start.
    pub async fn start(
        config: &Config,
        me: Member,
        local: Option<LocalIngester>,
        metrics: Metrics,
    ) -> Result<Arc<Self>, ClusterError> {
        let membership = Membership::start(config, me, metrics.clone()).await?;
        let pool = IngesterPool::new(&config.calls, local, membership.suspects(), metrics);
        let (factor, virtual_nodes) = (config.replication_factor, config.virtual_nodes);
        let ring = Ring::build(&membership.members(), factor, virtual_nodes);
        Ok(Arc::new(Self {
            membership,
            ring: ArcSwap::from_pointee(ring),
            pool,
            replication_factor: factor,
            virtual_nodes,
        }))
    }

    /// The members now.
    #[must_use]
    pub fn members(&self) -> Arc<Members> {
        self.membership.members()
    }

    /// The membership, to watch it or to announce a state.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The ring of the members now. Built again by the first who asks after a change.
    #[must_use]
    pub fn ring(&self) -> Arc<Ring> {
        let members = self.membership.members();
        let ring = self.ring.load();
        if ring.version() >= members.version {
            return Arc::clone(&ring);
        }
        // Several may build at once right after a change; they build the same.
        let ring = Arc::new(Ring::build(
            &members,
            self.replication_factor,
            self.virtual_nodes,
        ));
        self.pool.retain(&members);
        self.ring.store(Arc::clone(&ring));
        ring
    }

    /// The connections.
    #[must_use]
    pub fn pool(&self) -> &IngesterPool {
        &self.pool
    }

    /// Replicas that must have a row before it is acknowledged.
    #[must_use]
    pub fn write_quorum(&self) -> usize {
        write_quorum(self.replication_factor)
    }

    /// The ingesters that a query asks now: all that may hold rows and may answer.
    #[must_use]
    pub fn readers(&self) -> Readers {
        let members = self.membership.members();
        let (mut ingesters, mut unreachable) = (Vec::new(), 0_usize);
        for member in members.with_role(Role::Ingester) {
            if member.health == Health::Dead {
                unreachable += 1;
                continue;
            }
            match self.pool.select(member) {
                Ok(select) => ingesters.push((member.id.to_string(), select)),
                Err(error) => {
                    tracing::warn!(member = %member.id, %error, "cannot be asked");
                    unreachable += 1;
                }
            }
        }
        Readers {
            copies: self.replication_factor.min(ingesters.len() + unreachable),
            ingesters,
            failures_max: failures_max(self.replication_factor).checked_sub(unreachable),
        }
    }

    /// Forgets a dead member, here and where the others hear of it: it is not waited for any more. If
    /// it comes back it is a member again.
    ///
    /// # Errors
    /// If there is no such member, or it is not dead.
    pub async fn forget(&self, id: &str) -> Result<(), ForgetError> {
        self.membership.forget(id).await
    }

    /// Tells the others what this process is up to.
    pub async fn set_state(&self, state: MemberState) {
        self.membership.set_state(state).await;
    }

    /// Leaves: stops gossip and background work.
    pub async fn stop(&self) {
        self.membership.stop().await;
    }
}
