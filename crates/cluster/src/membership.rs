//! Who the members are: a list that others may watch.

mod gossip;
mod suspects;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, MembershipKind};
use crate::error::{ClusterError, ForgetError};
use crate::member::{Health, Member, MemberState, Members};
use crate::metrics::Metrics;
use gossip::Gossip;
pub(crate) use suspects::Suspects;

/// The members of the cluster, kept up to date until it is dropped.
pub struct Membership {
    board: Arc<Board>,
    self_id: Arc<str>,
    gossip: Option<Gossip>,
    cancel: CancellationToken,
}

/// The list as its source has it, and what is published of it.
struct Board {
    source: Mutex<Vec<Member>>,
    suspects: Arc<Suspects>,
    published: watch::Sender<Arc<Members>>,
    metrics: Metrics,
}

impl Board {
    fn new(source: Vec<Member>, suspects: Arc<Suspects>, metrics: Metrics) -> Self {
        let members = Members::new(1, source.iter().cloned());
        metrics.changed(&members);
        Self {
            source: Mutex::new(source),
            suspects,
            published: watch::Sender::new(Arc::new(members)),
            metrics,
        }
    }

    fn replace(&self, source: Vec<Member>) {
        *self.source.lock() = source;
        self.publish(Instant::now());
    }

    /// Publishes the list if it differs from the last. Returns when a suspicion ends.
    fn publish(&self, now: Instant) -> Option<Instant> {
        let source = self.source.lock();
        let (suspected, next) = self.suspects.at(now);
        let members = source.iter().cloned().map(|mut member| {
            if member.health == Health::Up && suspected.contains(&member.id) {
                member.health = Health::Suspect;
            }
            member
        });
        let mut members = Members::new(0, members);
        self.published.send_if_modified(|current| {
            if current.list == members.list {
                return false;
            }
            members.version = current.version + 1;
            self.metrics.changed(&members);
            *current = Arc::new(std::mem::take(&mut members));
            true
        });
        next
    }
}

impl Membership {
    /// Begins to watch the cluster as the configuration says. `me` is this process.
    ///
    /// # Errors
    /// If the configuration does not hold or gossip cannot start.
    pub async fn start(
        config: &Config,
        me: Member,
        metrics: Metrics,
    ) -> Result<Self, ClusterError> {
        config.validate()?;
        let self_id = Arc::clone(&me.id);
        let suspects = Arc::new(Suspects::new(config.suspect_period.as_std()));
        let source = match config.membership {
            MembershipKind::Local | MembershipKind::Gossip => vec![me.clone()],
            MembershipKind::Static => fixed_list(config, &me),
        };
        let board = Arc::new(Board::new(source, suspects, metrics));
        let cancel = CancellationToken::new();
        let gossip = match config.membership {
            MembershipKind::Gossip => {
                Some(Gossip::start(&config.gossip, me, Arc::clone(&board), cancel.clone()).await?)
            }
            _ => None,
        };
        tokio::spawn(
            cancel
                .clone()
                .run_until_cancelled_owned(end_suspicions(Arc::clone(&board))),
        );
        Ok(Self {
            board,
            self_id,
            gossip,
            cancel,
        })
    }

    /// The members now.
    #[must_use]
    pub fn members(&self) -> Arc<Members> {
        Arc::clone(&self.board.published.borrow())
    }

    /// The members now and as they change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Members>> {
        self.board.published.subscribe()
    }

    /// Tells the others (and this process) what this process is up to.
    pub async fn set_state(&self, state: MemberState) {
        if let Some(gossip) = &self.gossip {
            gossip.announce(state).await;
        }
        for member in self.board.source.lock().iter_mut() {
            if member.id == self.self_id {
                member.state = state;
            }
        }
        self.board.publish(Instant::now());
    }

    /// Forgets a dead member, here and where others hear of it.
    ///
    /// # Errors
    /// If there is no such member, or it is not dead.
    pub(crate) async fn forget(&self, id: &str) -> Result<(), ForgetError> {
        let members = self.members();
        let member = members.get(id).ok_or(ForgetError::Unknown)?;
        if member.health != Health::Dead {
            return Err(ForgetError::Alive);
        }
        let gossip = self.gossip.as_ref().ok_or(ForgetError::Listed)?;
        gossip.forget(id).await;
        Ok(())
    }

    /// Stops gossip and background work. Others take this process for dead after a while unless it
    /// said that it is leaving.
    pub async fn stop(&self) {
        if let Some(gossip) = &self.gossip {
            gossip.stop().await;
        }
        self.cancel.cancel();
    }

    pub(crate) fn suspects(&self) -> Arc<Suspects> {
        Arc::clone(&self.board.suspects)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// The configured members. This process is among them only if it is listed.
fn fixed_list(config: &Config, me: &Member) -> Vec<Member> {
    let listed = config.members.iter().map(|listed| Member {
        http_addr: listed.http_addr.clone(),
        zone: listed.zone.clone(),
        state: if *listed.id == *me.id {
            me.state
        } else {
            MemberState::Active
        },
        ..Member::new(listed.id.as_str(), listed.grpc_addr.as_str(), &listed.roles)
    });
    listed.collect()
}

/// Publishes again whenever a suspicion begins or ends.
async fn end_suspicions(board: Arc<Board>) {
    loop {
        let changed = board.suspects.changed();
        match board.publish(Instant::now()) {
            Some(at) => {
                tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                }
            }
            None => changed.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StaticMember;
    use crate::member::Role;

    fn me() -> Member {
        Member::new("me", "127.0.0.1:9095", &[Role::Distributor])
    }

    fn two_ingesters() -> Config {
        let member = |id: &str| StaticMember {
            id: id.to_owned(),
            grpc_addr: "127.0.0.1:1".to_owned(),
            ..StaticMember::default()
        };
        Config {
            membership: MembershipKind::Static,
            members: vec![member("a"), member("b")],
            replication_factor: 2,
            ..Config::default()
        }
    }

    #[tokio::test]
    async fn alone_there_is_only_this_process() {
        let membership = Membership::start(&Config::default(), me(), Metrics::default())
            .await
            .unwrap();
        assert_eq!(membership.members().list.len(), 1);
        let mut watch = membership.watch();
        watch.mark_unchanged();
        membership.set_state(MemberState::Leaving).await;
        assert!(watch.has_changed().unwrap());
        assert_eq!(
            membership.members().get("me").unwrap().state,
            MemberState::Leaving
        );
    }

    #[tokio::test]
    async fn a_failed_call_makes_a_suspect_and_an_answer_clears_it() {
        let membership = Membership::start(&two_ingesters(), me(), Metrics::default())
            .await
            .unwrap();
        let suspects = membership.suspects();
        let health = |health: Health| {
            move |members: &Arc<Members>| members.get("a").is_some_and(|a| a.health == health)
        };
        let mut watch = membership.watch();
        suspects.failed(&"a".into());
        watch.wait_for(health(Health::Suspect)).await.unwrap();
        assert_eq!(membership.members().get("b").unwrap().health, Health::Up);
        suspects.answered(&"a".into());
        watch.wait_for(health(Health::Up)).await.unwrap();
        assert!(membership.members().get("me").is_none());
    }

    #[test]
    fn suspicion_ends_by_itself() {
        let suspects = Arc::new(Suspects::new(std::time::Duration::from_secs(5)));
        let board = Board::new(vec![me()], Arc::clone(&suspects), Metrics::default());
        let health = || board.published.borrow().list[0].health;
        suspects.failed(&"me".into());
        let now = Instant::now();
        assert!(board.publish(now).is_some());
        assert_eq!(health(), Health::Suspect);
        assert!(
            board
                .publish(now + std::time::Duration::from_secs(6))
                .is_none()
        );
        assert_eq!(health(), Health::Up);
    }
}
