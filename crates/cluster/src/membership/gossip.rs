//! Membership by gossip (chitchat: scuttlebutt key-values with a phi-accrual failure detector).
//!
//! Every member announces its addresses, roles, zone and state as key-values. Who is not live any
//! more for the detector is a suspect first and dead after `dead_timeout`: the detector alone is
//! hasty on a busy machine. One that had said that it leaves is gone at once.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chitchat::transport::UdpTransport;
use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, NodeState, ProtocolVersion,
    spawn_chitchat,
};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Board;
use crate::config::GossipConfig;
use crate::error::ClusterError;
use crate::member::{Health, Member, MemberState, Role};

const STATE_KEY: &str = "state";
const ROLES_KEY: &str = "roles";
const GRPC_KEY: &str = "grpc_addr";
const HTTP_KEY: &str = "http_addr";
const ZONE_KEY: &str = "zone";
/// Before the name of a member that is forgotten; the value is the last generation that is.
const FORGOTTEN_KEY: &str = "forgotten/";

/// Heartbeats later than this many times their usual interval make a member not live.
const PHI_THRESHOLD: f64 = 8.0;
/// How long stopping waits for the last news to be sent.
const FAREWELL_ROUNDS: u32 = 3;

type LiveNodes = BTreeMap<ChitchatId, NodeState>;

/// This process's part in the gossip.
pub(super) struct Gossip {
    handle: ChitchatHandle,
    interval: Duration,
}

impl Gossip {
    pub(super) async fn start(
        config: &GossipConfig,
        me: Member,
        board: Arc<Board>,
        cancel: CancellationToken,
    ) -> Result<Self, ClusterError> {
        let advertise = advertised(config).await?;
        let generation = generation_now();
        let interval = config.heartbeat_interval.as_std();
        let announced = announcement(&me);
        let handle = spawn_chitchat(
            ChitchatConfig {
                chitchat_id: ChitchatId::new(Arc::clone(&me.id), generation, advertise),
                cluster_id: config.cluster_id.clone(),
                gossip_interval: interval,
                listen_addr: config.listen,
                seed_nodes: config.seeds.clone(),
                failure_detector_config: FailureDetectorConfig {
                    phi_threshold: PHI_THRESHOLD,
                    initial_interval: interval,
                    max_interval: interval * 10,
                    dead_node_grace_period: config.forget_dead_after.as_std(),
                    ..FailureDetectorConfig::default()
                },
                marked_for_deletion_grace_period: config.forget_dead_after.as_std(),
                catchup_callback: None,
                extra_liveness_predicate: None,
                protocol_version: ProtocolVersion::V1,
            },
            announced,
            &UdpTransport,
        )
        .await
        .map_err(|error| ClusterError::Gossip(format!("{}: {error}", config.listen)))?;
        let live = handle
            .with_chitchat(|chitchat| chitchat.live_nodes_watcher())
            .await;
        let roll = Roll {
            known: BTreeMap::new(),
            dead_timeout: config.dead_timeout.as_std(),
            forget_after: config.forget_dead_after.as_std(),
        };
        tokio::spawn(cancel.run_until_cancelled_owned(follow(live, roll, board)));
        Ok(Self { handle, interval })
    }

    pub(super) async fn announce(&self, state: MemberState) {
        self.handle
            .with_chitchat(|chitchat| chitchat.self_node_state().set(STATE_KEY, state))
            .await;
    }

    /// Tells this process and the others to forget a member's lives up to now.
    pub(super) async fn forget(&self, id: &str) {
        let key = format!("{FORGOTTEN_KEY}{id}");
        self.handle
            .with_chitchat(|chitchat| chitchat.self_node_state().set(&key, generation_now()))
            .await;
    }

    /// Lets the last announcement reach the others before the process falls silent.
    pub(super) async fn stop(&self) {
        tokio::time::sleep(self.interval * FAREWELL_ROUNDS).await;
        // An error says that it has stopped already.
        let _ = self.handle.initiate_shutdown();
    }
}

/// The number of a life that begins now. A later life of the same id must have a greater one; wall
/// clocks are good enough, as the one before has ended.
fn generation_now() -> u64 {
    SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_millis() as u64)
}

/// The members that live ones forgot, and up to which generation.
fn forgotten(live: &LiveNodes) -> BTreeMap<&str, u64> {
    let mut forgotten = BTreeMap::new();
    for node in live.values() {
        for (key, value) in node.key_values() {
            if let Some(id) = key.strip_prefix(FORGOTTEN_KEY)
                && let Ok(generation) = value.parse::<u64>()
            {
                let newest = forgotten.entry(id).or_default();
                *newest = generation.max(*newest);
            }
        }
    }
    forgotten
}

fn announcement(me: &Member) -> Vec<(String, String)> {
    let roles: Vec<String> = me.roles.iter().map(Role::to_string).collect();
    [
        (STATE_KEY, me.state.to_string()),
        (ROLES_KEY, roles.join(",")),
        (GRPC_KEY, me.grpc_addr.clone()),
        (HTTP_KEY, me.http_addr.clone()),
        (ZONE_KEY, me.zone.clone()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// What a node announced; `None` while it is not complete.
fn member_of(id: &ChitchatId, node: &NodeState) -> Option<Member> {
    let text = |key: &str| node.get(key).map(str::to_owned);
    Some(Member {
        id: Arc::clone(&id.node_id),
        grpc_addr: text(GRPC_KEY)?,
        http_addr: text(HTTP_KEY)?,
        zone: text(ZONE_KEY)?,
        // Roles of a newer version that this one does not know are left out.
        roles: text(ROLES_KEY)?
            .split(',')
            .filter_map(|role| role.parse().ok())
            .collect(),
        state: text(STATE_KEY)?.parse().ok()?,
        health: Health::Up,
    })
}

/// The address at which others reach this process's gossip.
async fn advertised(config: &GossipConfig) -> Result<SocketAddr, ClusterError> {
    if !config.advertise.is_empty() {
        return resolve(&config.advertise).await;
    }
    if !config.listen.ip().is_unspecified() {
        return Ok(config.listen);
    }
    let mut ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for seed in &config.seeds {
        if let Ok(seed) = resolve(seed).await
            && let Ok(own) = address_towards(seed).await
        {
            ip = own;
            break;
        }
    }
    Ok(SocketAddr::new(ip, config.listen.port()))
}

async fn resolve(address: &str) -> Result<SocketAddr, ClusterError> {
    let wrong = |reason: String| ClusterError::Address {
        address: address.to_owned(),
        reason,
    };
    tokio::net::lookup_host(address)
        .await
        .map_err(|error| wrong(error.to_string()))?
        .next()
        .ok_or_else(|| wrong("has no address".to_owned()))
}

/// The own address from which packets to `seed` are sent. Nothing is sent to find it.
async fn address_towards(seed: SocketAddr) -> std::io::Result<IpAddr> {
    let any: SocketAddr = match seed {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = tokio::net::UdpSocket::bind(any).await?;
    socket.connect(seed).await?;
    Ok(socket.local_addr()?.ip())
}

/// Everybody known, with when those who are not live went missing.
struct Roll {
    known: BTreeMap<Arc<str>, Known>,
    dead_timeout: Duration,
    forget_after: Duration,
}

struct Known {
    generation: u64,
    member: Member,
    missing_since: Option<Instant>,
}

impl Roll {
    fn update(&mut self, live: &LiveNodes, now: Instant) {
        for (id, node) in live {
            let Some(member) = member_of(id, node) else {
                continue;
            };
            let newest = self
                .known
                .get(&id.node_id)
                .map_or(0, |known| known.generation);
            if id.generation_id >= newest {
                let known = Known {
                    generation: id.generation_id,
                    member,
                    missing_since: None,
                };
                self.known.insert(Arc::clone(&id.node_id), known);
            }
        }
        let is_live = |name: &Arc<str>, generation: u64| {
            live.keys()
                .any(|id| id.node_id == *name && id.generation_id == generation)
        };
        for (name, known) in &mut self.known {
            if !is_live(name, known.generation) {
                known.missing_since.get_or_insert(now);
            }
        }
        let (forget_after, forgotten) = (self.forget_after, forgotten(live));
        self.known.retain(|name, known| match known.missing_since {
            None => true,
            Some(_) if forgotten.get(&**name) >= Some(&known.generation) => false,
            Some(_) if known.member.state == MemberState::Leaving => false,
            Some(since) => now < since + forget_after,
        });
    }

    fn members(&self, now: Instant) -> Vec<Member> {
        let health = |known: &Known| match known.missing_since {
            None => Health::Up,
            Some(since) if now < since + self.dead_timeout => Health::Suspect,
            Some(_) => Health::Dead,
        };
        self.known
            .values()
            .map(|known| Member {
                health: health(known),
                ..known.member.clone()
            })
            .collect()
    }

    /// When somebody's health changes without news.
    fn next_change(&self, now: Instant) -> Option<Instant> {
        self.known
            .values()
            .filter_map(|known| known.missing_since)
            .flat_map(|since| [since + self.dead_timeout, since + self.forget_after])
            .filter(|at| *at > now)
            .min()
    }
}

async fn follow(mut live: watch::Receiver<LiveNodes>, mut roll: Roll, board: Arc<Board>) {
    loop {
        let now = Instant::now();
        let nodes = live.borrow_and_update().clone();
        // Before the first round nobody is known, not even this process.
        if !nodes.is_empty() {
            roll.update(&nodes, now);
            board.replace(roll.members(now));
        }
        let next = roll.next_change(now);
        let until_next = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = live.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = until_next => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, MembershipKind};
    use crate::error::ForgetError;
    use crate::member::Members;
    use crate::membership::Membership;
    use crate::metrics::Metrics;
    use model::units::DurationNs;

    fn config(port: u16, seed: u16) -> Config {
        Config {
            membership: MembershipKind::Gossip,
            gossip: GossipConfig {
                listen: ([127, 0, 0, 1], port).into(),
                seeds: vec![format!("127.0.0.1:{seed}")],
                heartbeat_interval: DurationNs::from_millis(20),
                dead_timeout: DurationNs::from_millis(300),
                ..GossipConfig::default()
            },
            ..Config::default()
        }
    }

    async fn free_port() -> u16 {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.local_addr().unwrap().port()
    }

    async fn until(membership: &Membership, what: &str, is: impl Fn(&Members) -> bool) {
        let mut watch = membership.watch();
        let waited = watch.wait_for(|members| is(members));
        let outcome = tokio::time::timeout(Duration::from_secs(30), waited).await;
        assert!(outcome.is_ok(), "{what}: {:?}", membership.members());
    }

    #[tokio::test]
    async fn members_find_each_other_and_notice_who_leaves_and_who_dies() {
        let ports = [free_port().await, free_port().await, free_port().await];
        let mut members = Vec::new();
        for (i, port) in ports.into_iter().enumerate() {
            let me = Member {
                state: MemberState::Joining,
                zone: format!("zone-{i}"),
                ..Member::new(format!("i{i}"), format!("127.0.0.1:{i}"), &[Role::Ingester])
            };
            let config = config(port, ports[0]);
            members.push(
                Membership::start(&config, me, Metrics::default())
                    .await
                    .unwrap(),
            );
        }
        for member in &members {
            until(member, "all joined", |all| all.list.len() == 3).await;
        }
        members[1].set_state(MemberState::Active).await;
        until(&members[2], "i1 is active", |all| {
            let i1 = all.get("i1").unwrap();
            i1.state == MemberState::Active && i1.zone == "zone-1" && i1.grpc_addr == "127.0.0.1:1"
        })
        .await;
        members[2].set_state(MemberState::Leaving).await;
        members[2].stop().await;
        until(&members[0], "i2 is gone", |all| all.get("i2").is_none()).await;
        let Membership { gossip, .. } = &members[1];
        gossip.as_ref().unwrap().handle.abort();
        let alive = members[0].forget("i1").await;
        assert!(matches!(alive, Err(ForgetError::Alive)), "{alive:?}");
        until(&members[0], "i1 is dead", |all| {
            all.get("i1").is_some_and(|i1| i1.health == Health::Dead)
        })
        .await;
        assert_eq!(members[0].forget("i7").await, Err(ForgetError::Unknown));
        members[0].forget("i1").await.unwrap();
        until(&members[0], "i1 is forgotten", |all| {
            all.get("i1").is_none()
        })
        .await;
    }

    #[test]
    fn of_one_id_the_younger_counts() {
        let now = Instant::now();
        let mut roll = Roll {
            known: BTreeMap::new(),
            dead_timeout: Duration::from_secs(1),
            forget_after: Duration::from_secs(2),
        };
        let node = |grpc: &str| {
            let mut node = NodeState::for_test();
            for (key, value) in announcement(&Member::new("a", grpc, &[Role::Ingester])) {
                node.set(key, value);
            }
            node
        };
        let id = |generation| ChitchatId::new("a", generation, ([127, 0, 0, 1], 1).into());
        let both: LiveNodes = [(id(7), node("new:1")), (id(3), node("old:1"))].into();
        roll.update(&both, now);
        assert_eq!(roll.members(now)[0].grpc_addr, "new:1");
        roll.update(&LiveNodes::new(), now);
        assert_eq!(roll.members(now)[0].health, Health::Suspect);
        let later = now + Duration::from_millis(1500);
        assert_eq!(roll.members(later)[0].health, Health::Dead);
        let forgets = |generation: u64| {
            let mut node = node("b:1");
            node.set(format!("{FORGOTTEN_KEY}a"), generation);
            LiveNodes::from([(ChitchatId::new("b", 1, ([127, 0, 0, 1], 2).into()), node)])
        };
        roll.update(&forgets(6), later);
        assert_eq!(roll.known.len(), 2, "only a life before was forgotten");
        roll.update(&forgets(7), later);
        assert_eq!(roll.known.len(), 1);
        roll.update(&both, later);
        roll.update(&forgets(6), later);
        for later_s in [3, 6] {
            roll.update(&LiveNodes::new(), later + Duration::from_secs(later_s));
        }
        assert!(roll.members(later).is_empty());
    }
}
