//! What membership and calls tell about themselves: `skald_cluster_*`.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::member::{Health, Member, MemberState, Members};

/// Counters and gauges. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    members: Family<MemberLabels, Gauge>,
    changes: Counter,
    call_failures: Family<CallLabels, Counter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum StateLabel {
    Joining,
    Active,
    Leaving,
    Suspect,
    Dead,
}

impl StateLabel {
    const ALL: [Self; 5] = [
        Self::Joining,
        Self::Active,
        Self::Leaving,
        Self::Suspect,
        Self::Dead,
    ];

    fn of(member: &Member) -> Self {
        match (member.health, member.state) {
            (Health::Dead, _) => Self::Dead,
            (Health::Suspect, _) => Self::Suspect,
            (Health::Up, MemberState::Joining) => Self::Joining,
            (Health::Up, MemberState::Active) => Self::Active,
            (Health::Up, MemberState::Leaving) => Self::Leaving,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MemberLabels {
    state: StateLabel,
}

/// Which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Call {
    Push,
    Select,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    call: Call,
}

impl Metrics {
    /// Metrics that appear in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let cluster = registry.sub_registry_with_prefix("skald_cluster");
        cluster.register(
            "members",
            "Members of the cluster by state, as this process sees them",
            metrics.members.clone(),
        );
        cluster.register("changes", "Changes of membership", metrics.changes.clone());
        cluster.register(
            "call_failures",
            "Calls to ingesters that got no answer",
            metrics.call_failures.clone(),
        );
        metrics
    }

    pub(crate) fn changed(&self, members: &Members) {
        self.changes.inc();
        for state in StateLabel::ALL {
            let of_state = |member: &&std::sync::Arc<Member>| StateLabel::of(member) == state;
            let count = members.list.iter().filter(of_state).count();
            self.members
                .get_or_create(&MemberLabels { state })
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn call_failed(&self, call: Call) {
        self.call_failures.get_or_create(&CallLabels { call }).inc();
    }
}
