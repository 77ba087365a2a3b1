//! The `cluster` section of the configuration.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use model::units::{ByteSize, DurationNs};
use proto::remote::CallLimits;
use serde::{Deserialize, Serialize};

use crate::error::ClusterError;
use crate::member::Role;

/// How this process finds the others, and how it calls them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of this process in the cluster, the same after a restart. Empty takes the host's name.
    pub instance_id: String,
    /// Zone of this process; replicas are spread over zones.
    pub zone: String,
    /// `host:port` at which others reach this process's gRPC. Empty takes the listener's address.
    pub grpc_advertise: String,
    /// `host:port` at which others reach this process's HTTP. Empty takes the listener's address.
    pub http_advertise: String,
    /// Where the list of members comes from.
    pub membership: MembershipKind,
    /// The members, for `static`.
    pub members: Vec<StaticMember>,
    /// How members find each other, for `gossip`.
    pub gossip: GossipConfig,
    /// Ingesters that hold each stream, 1 to 3.
    pub replication_factor: usize,
    /// Places of each ingester in the ring.
    pub virtual_nodes: u32,
    /// How long a member that failed a call is passed over.
    pub suspect_period: DurationNs,
    /// Calls to other processes.
    pub calls: CallConfig,
}

/// Where the list of members comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MembershipKind {
    /// This process is all there is.
    #[default]
    Local,
    /// From `members`.
    Static,
    /// Members tell each other.
    Gossip,
}

/// A member of a fixed list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StaticMember {
    /// Its name; must be the `instance_id` it has itself.
    pub id: String,
    /// Where its gRPC is served, `host:port`.
    pub grpc_addr: String,
    /// Where its HTTP is served, `host:port`; may be empty.
    pub http_addr: String,
    /// Its zone; may be empty.
    pub zone: String,
    /// What it does.
    pub roles: Vec<Role>,
}

impl Default for StaticMember {
    fn default() -> Self {
        Self {
            id: String::new(),
            grpc_addr: String::new(),
            http_addr: String::new(),
            zone: String::new(),
            roles: vec![Role::Ingester],
        }
    }
}

/// Gossip between members, over UDP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GossipConfig {
    /// Name of the cluster; members of others are not listened to.
    pub cluster_id: String,
    /// Address to listen on.
    pub listen: SocketAddr,
    /// `ip:port` at which others reach it. Empty finds the address from which the seeds are
    /// reached.
    pub advertise: String,
    /// `host:port` of members to begin with; names are resolved again every minute.
    pub seeds: Vec<String>,
    /// How often members talk.
    pub heartbeat_interval: DurationNs,
    /// How long after a member's heartbeats became late it is taken for dead.
    pub dead_timeout: DurationNs,
    /// How long a dead member is remembered, so that queries say what may be missing.
    pub forget_dead_after: DurationNs,
}

/// Deadlines and sizes of calls to other processes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallConfig {
    /// The longest that a connection may take to be made.
    pub connect_timeout: DurationNs,
    /// The longest that a push may take.
    pub push_timeout: DurationNs,
    /// The longest that a query may take until its last message.
    pub select_timeout: DurationNs,
    /// How often an idle connection is checked.
    pub keepalive_interval: DurationNs,
    /// How long such a check may take.
    pub keepalive_timeout: DurationNs,
    /// The largest message, sent or received.
    pub message_size_max: ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            instance_id: String::new(),
            zone: String::new(),
            grpc_advertise: String::new(),
            http_advertise: String::new(),
            membership: MembershipKind::Local,
            members: Vec::new(),
            gossip: GossipConfig::default(),
            replication_factor: 1,
            virtual_nodes: 128,
            suspect_period: DurationNs::from_secs(5),
            calls: CallConfig::default(),
        }
    }
}

impl Default for GossipConfig {
    fn default() -> Self {
        Self {
            cluster_id: "skald".to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 7946)),
            advertise: String::new(),
            seeds: Vec::new(),
            heartbeat_interval: DurationNs::from_millis(500),
            dead_timeout: DurationNs::from_secs(10),
            forget_dead_after: DurationNs::from_secs(3600),
        }
    }
}

impl Default for CallConfig {
    fn default() -> Self {
        Self {
            connect_timeout: DurationNs::from_secs(2),
            push_timeout: DurationNs::from_secs(10),
            select_timeout: DurationNs::from_secs(60),
            keepalive_interval: DurationNs::from_secs(10),
            keepalive_timeout: DurationNs::from_secs(5),
            message_size_max: ByteSize::mib(64),
        }
    }
}

impl CallConfig {
    /// As the clients of roles have it.
    #[must_use]
    pub fn limits(&self) -> CallLimits {
        CallLimits {
            push_timeout: self.push_timeout.as_std(),
            select_timeout: self.select_timeout.as_std(),
            message_bytes_max: self.message_size_max.as_usize(),
        }
    }
}

/// The most places that an ingester may have in the ring.
const VIRTUAL_NODES_MAX: u32 = 1024;

impl Config {
    /// Checks what the types do not say.
    ///
    /// # Errors
    /// With the setting that does not hold.
    pub fn validate(&self) -> Result<(), ClusterError> {
        let wrong = |text: String| Err(ClusterError::Config(text));
        if !(1..=3).contains(&self.replication_factor) {
            return wrong("replication_factor must be 1, 2 or 3".to_owned());
        }
        if !(1..=VIRTUAL_NODES_MAX).contains(&self.virtual_nodes) {
            return wrong(format!("virtual_nodes must be 1 to {VIRTUAL_NODES_MAX}"));
        }
        if self.membership == MembershipKind::Local && self.replication_factor != 1 {
            return wrong("membership local allows only replication_factor 1".to_owned());
        }
        for (name, duration) in [
            ("calls.connect_timeout", self.calls.connect_timeout),
            ("calls.push_timeout", self.calls.push_timeout),
            ("calls.select_timeout", self.calls.select_timeout),
            ("calls.keepalive_interval", self.calls.keepalive_interval),
            ("calls.keepalive_timeout", self.calls.keepalive_timeout),
            ("gossip.heartbeat_interval", self.gossip.heartbeat_interval),
            ("gossip.dead_timeout", self.gossip.dead_timeout),
        ] {
            if duration.0 <= 0 {
                return wrong(format!("{name} must be longer than zero"));
            }
        }
        if self.membership == MembershipKind::Static {
            self.validate_members()?;
        }
        Ok(())
    }

    fn validate_members(&self) -> Result<(), ClusterError> {
        let wrong = |text: String| Err(ClusterError::Config(text));
        let mut ids = BTreeSet::new();
        for member in &self.members {
            if member.id.is_empty() {
                return wrong("a member has no id".to_owned());
            }
            if !ids.insert(&member.id) {
                return wrong(format!("member {} is listed twice", member.id));
            }
            crate::pool::endpoint_of(&member.grpc_addr)?;
        }
        if ids.is_empty() {
            return wrong("membership static needs members".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_do_not_hold_are_named() {
        let with = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.validate().map_err(|error| error.to_string())
        };
        assert_eq!(with(|_| ()), Ok(()));
        for (change, text) in [
            (
                (|c| c.replication_factor = 4) as fn(&mut Config),
                "cluster: replication_factor must be 1, 2 or 3",
            ),
            (
                |c| c.replication_factor = 3,
                "cluster: membership local allows only replication_factor 1",
            ),
            (
                |c| c.calls.push_timeout = DurationNs(0),
                "cluster: calls.push_timeout must be longer than zero",
            ),
            (
                |c| c.membership = MembershipKind::Static,
                "cluster: membership static needs members",
            ),
        ] {
            assert_eq!(with(change), Err(text.to_owned()));
        }
        let member = |id: &str, grpc_addr: &str| StaticMember {
            id: id.to_owned(),
            grpc_addr: grpc_addr.to_owned(),
            ..StaticMember::default()
        };
        let listed = |members: Vec<StaticMember>| Config {
            membership: MembershipKind::Static,
            members,
            ..Config::default()
        };
        assert!(listed(vec![member("a", "127.0.0.1:1")]).validate().is_ok());
        assert!(
            listed(vec![member("a", "not an address")])
                .validate()
                .is_err()
        );
        assert!(listed(vec![member("", "127.0.0.1:1")]).validate().is_err());
        let twice = listed(vec![member("a", "127.0.0.1:1"), member("a", "127.0.0.1:2")]);
        assert!(twice.validate().is_err());
    }
}
