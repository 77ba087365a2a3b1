//! Who is alive, who holds what, and how to reach them.
//!
//! [`Cluster`] is what roles use: it joins [`Membership`] (this process alone, a fixed list, or
//! gossip), the hash [`Ring`] built of its members, and the [`IngesterPool`] of connections. A
//! stream is placed by [`stream_key`]; [`Ring::replicas`] names the ingesters that hold it, and a
//! write counts when [`write_quorum`] of them have it.
//!
//! *Invariants.* Placement depends only on the ids of members and on `virtual_nodes`: every process
//! that sees the same members places a stream alike, whatever its compiler or word size. Replicas
//! of a stream are distinct ingesters. Ingesters that leave, have not joined or are dead get no
//! writes; the next ones in the ring take their place. A suspect (it failed a call, or its
//! heartbeats are late) is passed over only as long as others can take its place. Reads ask
//! everyone who may hold rows: all but the dead. Ids of members are unique; of two that claim one
//! id the younger counts.
//!
//! Start reading at [`Cluster::start`].

mod cluster;
mod config;
mod error;
mod member;
mod membership;
mod metrics;
mod pool;
mod quorum;
mod ring;

pub use cluster::{Cluster, Readers};
pub use config::{CallConfig, Config, GossipConfig, MembershipKind, StaticMember};
pub use error::{ClusterError, ForgetError};
pub use member::{Health, Member, MemberState, Members, Role};
pub use membership::Membership;
pub use metrics::Metrics;
pub use pool::{IngesterPool, LocalIngester};
pub use quorum::{failures_max, write_quorum};
pub use ring::{MemberIndex, Ring, stream_key};
