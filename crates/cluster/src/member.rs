//! Members of a cluster, as this process sees them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What a process does for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Takes pushes.
    Distributor,
    /// Holds recent rows.
    Ingester,
    /// Answers queries.
    Querier,
    /// Merges and removes.
    Compactor,
}

impl Role {
    const ALL: [Self; 4] = [
        Self::Distributor,
        Self::Ingester,
        Self::Querier,
        Self::Compactor,
    ];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Distributor => "distributor",
            Self::Ingester => "ingester",
            Self::Querier => "querier",
            Self::Compactor => "compactor",
        })
    }
}

impl FromStr for Role {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|role| role.to_string() == text)
            .ok_or(())
    }
}

/// What a member says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberState {
    /// Starting: it answers reads, but takes no writes yet.
    Joining,
    /// Takes writes and answers reads.
    Active,
    /// Stopping: it answers reads until its rows are flushed, and takes no more writes.
    Leaving,
}

impl fmt::Display for MemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Joining => "JOINING",
            Self::Active => "ACTIVE",
            Self::Leaving => "LEAVING",
        })
    }
}

impl FromStr for MemberState {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Joining, Self::Active, Self::Leaving]
            .into_iter()
            .find(|state| state.to_string() == text)
            .ok_or(())
    }
}

/// What this process thinks of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// Nothing is wrong.
    Up,
    /// It failed a call or its heartbeats are late. Asked after all others.
    Suspect,
    /// Not heard of for so long that nobody asks it.
    Dead,
}

/// A process of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, unique in the cluster and the same after a restart: its place in the ring.
    pub id: Arc<str>,
    /// Where its gRPC is served, `host:port`.
    pub grpc_addr: String,
    /// Where its HTTP is served, `host:port`; may be empty.
    pub http_addr: String,
    /// Replicas of a stream are spread over zones; empty means no zone.
    pub zone: String,
    /// What it does.
    pub roles: Vec<Role>,
    /// What it says about itself.
    pub state: MemberState,
    /// What this process thinks of it.
    pub health: Health,
}

impl Member {
    /// A member that is active and up, without zone and HTTP address.
    #[must_use]
    pub fn new(id: impl Into<Arc<str>>, grpc_addr: impl Into<String>, roles: &[Role]) -> Self {
        Self {
            id: id.into(),
            grpc_addr: grpc_addr.into(),
            http_addr: String::new(),
            zone: String::new(),
            roles: roles.to_vec(),
            state: MemberState::Active,
            health: Health::Up,
        }
    }

    /// Whether it has the role.
    #[must_use]
    pub fn has_role(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

/// All members at one moment, ordered by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Counts changes; differs whenever the list does.
    pub version: u64,
    /// The members.
    pub list: Vec<Arc<Member>>,
}

impl Members {
    /// Orders members by id; of equal ids the first stays.
    #[must_use]
    pub fn new(version: u64, members: impl IntoIterator<Item = Member>) -> Self {
        let mut list: Vec<Arc<Member>> = members.into_iter().map(Arc::new).collect();
        list.sort_by(|a, b| a.id.cmp(&b.id));
        list.dedup_by(|later, kept| later.id == kept.id);
        Self { version, list }
    }

    /// Those that have the role.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = &Arc<Member>> {
        self.list.iter().filter(move |member| member.has_role(role))
    }

    /// The member of that id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<Member>> {
        let at = self
            .list
            .binary_search_by(|member| (*member.id).cmp(id))
            .ok()?;
        self.list.get(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_on_the_wire_come_back() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        for state in [
            MemberState::Joining,
            MemberState::Active,
            MemberState::Leaving,
        ] {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        assert!("ingesters".parse::<Role>().is_err() && "active".parse::<MemberState>().is_err());
    }

    #[test]
    fn members_are_found_by_id() {
        let members = Members::new(
            1,
            ["b", "a", "b"].map(|id| Member::new(id, "127.0.0.1:1", &[Role::Ingester])),
        );
        assert_eq!(members.list.len(), 2);
        assert!(members.get("b").is_some() && members.get("c").is_none());
    }
}
