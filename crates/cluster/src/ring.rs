//! The hash ring: which ingesters hold a stream.
//!
//! Every ingester has a number of tokens on a circle of 64-bit hashes; a stream belongs to the
//! first token at or after its own hash, and its replicas are the ingesters met walking on from
//! there. The walk is done once for each token when membership changes, so that a look-up is one
//! binary search and allocates nothing.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use hashring::HashRing;
use model::{LabelSet, TenantId};
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use crate::member::{Health, Member, MemberState, Members, Role};

/// The most replicas of a stream.
const REPLICAS_MAX: usize = 3;

/// Index of an ingester in its [`Ring`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberIndex(u32);

impl MemberIndex {
    /// As an index into arrays that have one element for each ingester of the ring.
    #[must_use]
    pub fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// Where a stream lies on the ring.
#[must_use]
pub fn stream_key(tenant: &TenantId, labels: &LabelSet) -> u64 {
    xxh3_64_with_seed(tenant.as_str().as_bytes(), labels.fingerprint())
}

/// XXH3 without a seed: the same on every machine, whatever the standard library does.
#[derive(Clone, Copy, Debug, Default)]
struct Xxh3Hashes;

impl BuildHasher for Xxh3Hashes {
    type Hasher = Xxh3;
    fn build_hasher(&self) -> Xxh3 {
        Xxh3::new()
    }
}

/// One place of an ingester. Hashed by id, not by index: indexes change with membership.
#[derive(Clone, Debug)]
struct Token {
    id: Arc<str>,
    virtual_node: u32,
    ingester: u32,
}

impl Hash for Token {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write(self.id.as_bytes());
        hasher.write(&[0xff]);
        hasher.write(&self.virtual_node.to_le_bytes());
    }
}

struct StreamKey(u64);

impl Hash for StreamKey {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write(&self.0.to_le_bytes());
    }
}

#[derive(Clone, Copy, Debug)]
struct ReplicaSet {
    members: [MemberIndex; REPLICAS_MAX],
    len: u8,
}

impl ReplicaSet {
    const EMPTY: Self = Self {
        members: [MemberIndex(0); REPLICAS_MAX],
        len: 0,
    };

    fn push(&mut self, member: u32) {
        if let Some(slot) = self.members.get_mut(self.len as usize) {
            *slot = MemberIndex(member);
            self.len += 1;
        }
    }

    fn as_slice(&self) -> &[MemberIndex] {
        self.members.get(..self.len as usize).unwrap_or_default()
    }
}

/// The ingesters of a membership and, for every place on the circle, those that take writes.
pub struct Ring {
    tokens: HashRing<Token, Xxh3Hashes>,
    /// One for each token, ordered by ingester, then by virtual node.
    sets: Vec<ReplicaSet>,
    virtual_nodes: u32,
    ingesters: Vec<Arc<Member>>,
    version: u64,
}

impl Ring {
    /// Builds the ring of all ingesters among `members`.
    #[must_use]
    pub fn build(members: &Members, replication_factor: usize, virtual_nodes: u32) -> Self {
        let ingesters: Vec<Arc<Member>> = members.with_role(Role::Ingester).cloned().collect();
        let mut order: Vec<Token> = (0_u32..)
            .zip(&ingesters)
            .flat_map(|(ingester, member)| {
                (0..virtual_nodes).map(move |virtual_node| Token {
                    id: Arc::clone(&member.id),
                    virtual_node,
                    ingester,
                })
            })
            .collect();
        // The ring gives its order away only with its default hasher; this is the same order.
        order.sort_by_cached_key(|token| Xxh3Hashes.hash_one(token));
        let mut tokens = HashRing::with_hasher(Xxh3Hashes);
        tokens.batch_add(order.clone());
        let walk = Walk::new(&ingesters, &order, replication_factor);
        let mut sets = vec![ReplicaSet::EMPTY; order.len()];
        for (at, token) in order.iter().enumerate() {
            let place = token.ingester as usize * virtual_nodes as usize;
            if let Some(set) = sets.get_mut(place + token.virtual_node as usize) {
                *set = walk.from(at);
            }
        }
        Self {
            tokens,
            sets,
            virtual_nodes,
            ingesters,
            version: members.version,
        }
    }

    /// The ingesters that a stream of this key is written to, the preferred one first. Fewer than
    /// the replication factor if there are not enough.
    #[must_use]
    pub fn replicas(&self, key: u64) -> &[MemberIndex] {
        let Some(token) = self.tokens.get(&StreamKey(key)) else {
            return &[];
        };
        let place = token.ingester as usize * self.virtual_nodes as usize;
        self.sets
            .get(place + token.virtual_node as usize)
            .map_or(&[], ReplicaSet::as_slice)
    }

    /// An ingester of the ring.
    #[must_use]
    pub fn member(&self, index: MemberIndex) -> Option<&Arc<Member>> {
        self.ingesters.get(index.as_usize())
    }

    /// All ingesters, in the order of their indexes.
    #[must_use]
    pub fn ingesters(&self) -> &[Arc<Member>] {
        &self.ingesters
    }

    /// Version of the membership it was built of.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }
}

/// Finds replica sets by walking the circle.
struct Walk<'a> {
    ingesters: &'a [Arc<Member>],
    order: &'a [Token],
    replication_factor: usize,
    healthy: usize,
    zones: usize,
}

impl<'a> Walk<'a> {
    fn new(ingesters: &'a [Arc<Member>], order: &'a [Token], replication_factor: usize) -> Self {
        let healthy = || ingesters.iter().filter(|member| is_healthy(member));
        let zones: BTreeSet<&str> = healthy().map(|member| member.zone.as_str()).collect();
        Self {
            ingesters,
            order,
            replication_factor: replication_factor.min(REPLICAS_MAX),
            healthy: healthy().count(),
            zones: zones.len(),
        }
    }

    /// First one healthy ingester for each zone, then healthy ones of zones that have one already,
    /// then suspects: each in the order in which the walk meets them.
    fn from(&self, start: usize) -> ReplicaSet {
        let mut set = ReplicaSet::EMPTY;
        let wanted = self.replication_factor;
        self.fill(start, &mut set, wanted.min(self.zones), |member, taken| {
            is_healthy(member) && taken.iter().all(|other| other.zone != member.zone)
        });
        self.fill(start, &mut set, wanted.min(self.healthy), |member, _| {
            is_healthy(member)
        });
        if self.healthy < wanted {
            self.fill(start, &mut set, wanted, |member, _| is_suspect(member));
        }
        set
    }

    fn fill(
        &self,
        start: usize,
        set: &mut ReplicaSet,
        wanted: usize,
        accepts: impl Fn(&Member, &[&Arc<Member>]) -> bool,
    ) {
        let places = self.order.len();
        let mut taken: Vec<&Arc<Member>> = set
            .as_slice()
            .iter()
            .filter_map(|index| self.ingesters.get(index.as_usize()))
            .collect();
        for token in self.order.iter().cycle().skip(start).take(places) {
            if set.as_slice().len() >= wanted {
                return;
            }
            let Some(member) = self.ingesters.get(token.ingester as usize) else {
                continue;
            };
            let is_new = !set.as_slice().contains(&MemberIndex(token.ingester));
            if is_new && accepts(member, &taken) {
                set.push(token.ingester);
                taken.push(member);
            }
        }
    }
}

fn is_healthy(member: &Member) -> bool {
    member.state == MemberState::Active && member.health == Health::Up
}

fn is_suspect(member: &Member) -> bool {
    member.state == MemberState::Active && member.health == Health::Suspect
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const STREAMS: u64 = 10_000;

    fn ingesters(count: usize) -> Vec<Member> {
        (0..count)
            .map(|i| Member::new(format!("ingester-{i}"), "127.0.0.1:1", &[Role::Ingester]))
            .collect()
    }

    fn ring(members: Vec<Member>, factor: usize) -> Ring {
        Ring::build(&Members::new(1, members), factor, 128)
    }

    fn ids(ring: &Ring, key: u64) -> Vec<String> {
        ring.replicas(key)
            .iter()
            .map(|index| ring.member(*index).unwrap().id.to_string())
            .collect()
    }

    #[test]
    fn a_new_ingester_moves_only_its_share() {
        for count in [1, 2, 3, 6, 12] {
            let (before, after) = (ring(ingesters(count), 1), ring(ingesters(count + 1), 1));
            let new = format!("ingester-{count}");
            let mut moved = 0;
            for key in 0..STREAMS {
                let (old_home, new_home) = (ids(&before, key), ids(&after, key));
                if old_home != new_home {
                    assert_eq!(
                        new_home,
                        std::slice::from_ref(&new),
                        "a stream moved between old ingesters"
                    );
                    moved += 1;
                }
            }
            // 128 places make shares uneven by about a tenth.
            let share = STREAMS / (count as u64 + 1);
            assert!(
                moved <= share * 5 / 4,
                "{count}: {moved} of {STREAMS} moved, share {share}"
            );
            assert!(
                moved >= share * 3 / 4,
                "{count}: {moved} of {STREAMS} moved, share {share}"
            );
        }
    }

    #[test]
    fn with_replication_only_the_newcomer_enters_sets() {
        let (before, after) = (ring(ingesters(6), 3), ring(ingesters(7), 3));
        for key in 0..STREAMS {
            let old: BTreeSet<_> = ids(&before, key).into_iter().collect();
            let new: BTreeSet<_> = ids(&after, key).into_iter().collect();
            let entered: Vec<_> = new.difference(&old).collect();
            assert!(
                entered.is_empty() || entered == ["ingester-6"],
                "{entered:?}"
            );
        }
    }

    #[test]
    fn load_is_even() {
        let ring = ring(ingesters(12), 3);
        let mut load: BTreeMap<String, u64> = BTreeMap::new();
        for key in 0..STREAMS * 4 {
            *load.entry(ids(&ring, key).remove(0)).or_default() += 1;
        }
        let fair = STREAMS * 4 / 12;
        for (id, streams) in load {
            assert!(
                (fair * 3 / 4..fair * 5 / 4).contains(&streams),
                "{id} has {streams} of {fair}"
            );
        }
    }

    #[test]
    fn placement_is_the_same_for_ever() {
        // Changing these moves every stream of every running cluster.
        let ring = ring(ingesters(5), 3);
        let tenant = TenantId::new("a").unwrap();
        let labels = LabelSet::from_pairs([("app", "web")]);
        let key = stream_key(&tenant, &labels);
        assert_eq!(key, 9_467_454_820_520_639_370);
        assert_eq!(ids(&ring, key), ["ingester-2", "ingester-3", "ingester-4"]);
        assert_eq!(ids(&ring, 1), ["ingester-2", "ingester-0", "ingester-4"]);
    }

    #[test]
    fn replicas_are_spread_over_zones() {
        let mut members = ingesters(9);
        for (i, member) in members.iter_mut().enumerate() {
            member.zone = ["a", "b", "c"][i % 3].to_owned();
        }
        let ring = ring(members, 3);
        for key in 0..STREAMS {
            let zones: BTreeSet<_> = ring
                .replicas(key)
                .iter()
                .map(|index| ring.member(*index).unwrap().zone.clone())
                .collect();
            assert_eq!(zones.len(), 3);
        }
    }

    #[test]
    fn others_stand_in_for_those_that_cannot_write() {
        let mut members = ingesters(6);
        members[0].state = MemberState::Leaving;
        members[1].state = MemberState::Joining;
        members[2].health = Health::Dead;
        let all_up = ring(ingesters(6), 3);
        let degraded = ring(members, 3);
        for key in 0..STREAMS {
            assert_eq!(degraded.replicas(key).len(), 3);
            let kept =
                |id: &String| ["ingester-3", "ingester-4", "ingester-5"].contains(&id.as_str());
            assert!(ids(&degraded, key).iter().all(kept));
            // Those of the old set that still write keep their streams.
            let expected: Vec<_> = ids(&all_up, key).into_iter().filter(kept).collect();
            assert!(ids(&degraded, key).starts_with(&expected));
        }
    }

    #[test]
    fn suspects_are_used_only_when_nobody_else_is_left() {
        let mut members = ingesters(4);
        members[1].health = Health::Suspect;
        let four = ring(members.clone(), 3);
        members.pop();
        let three = ring(members, 3);
        for key in 0..STREAMS {
            assert!(!ids(&four, key).contains(&"ingester-1".to_owned()));
            assert_eq!(
                ids(&three, key).last().map(String::as_str),
                Some("ingester-1")
            );
        }
    }

    #[test]
    fn an_empty_ring_has_no_replicas() {
        let ring = ring(vec![Member::new("q", "127.0.0.1:1", &[Role::Querier])], 3);
        assert!(ring.replicas(7).is_empty() && ring.ingesters().is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn replicas_are_distinct_and_as_many_as_can_be(
            states in proptest::collection::vec((0_usize..3, 0_usize..3, 0_usize..4), 0..9),
            factor in 1_usize..=3,
            keys in proptest::collection::vec(any::<u64>(), 50),
        ) {
            let mut members = ingesters(states.len());
            for (member, (state, health, zone)) in members.iter_mut().zip(&states) {
                member.state =
                    [MemberState::Active, MemberState::Joining, MemberState::Leaving][*state];
                member.health = [Health::Up, Health::Suspect, Health::Dead][*health];
                member.zone = format!("zone-{zone}");
            }
            let writable = members.iter().filter(|m| is_healthy(m) || is_suspect(m)).count();
            let ring = ring(members, factor);
            for key in keys {
                let set = ring.replicas(key);
                let distinct: BTreeSet<_> = set.iter().collect();
                prop_assert_eq!(distinct.len(), set.len());
                prop_assert_eq!(set.len(), factor.min(writable));
            }
        }
    }
}
