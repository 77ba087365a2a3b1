//! Tokens that were taken back. A token says by itself what it allows and is checked without asking
//! the database, so what takes rights away writes down whose tokens hold no more, and each process
//! has that in memory. A token names the last revocation that was known when it was given
//! (its *revision*); a later one that concerns it ends it. No clock is asked.
//!
//! A process knows its own revocations at once, those of others when it looks ([`Meta::
//! load_revocations`]).

use std::collections::HashMap;
use std::fmt::{Display, Formatter};

use parking_lot::RwLock;
use sqlx::Row;

use super::Meta;
use super::cache::Touched;
use super::change::{Tx, bound};
use crate::error::Error;

/// Revocations that are remembered. A token that was given before the oldest of them may be of one
/// that is forgotten, and so holds no more.
const REVOCATIONS_MAX: i64 = 10_000;

/// Whose tokens hold no more.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    /// Those of an account.
    Account(&'a str),
    /// Those of a robot.
    Robot(&'a str),
    /// Everybody's, as far as they are for a project.
    Project(&'a str),
}

impl Display for Subject<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Account(name) => write!(f, "user:{name}"),
            Self::Robot(name) => write!(f, "robot:{name}"),
            Self::Project(name) => write!(f, "project:{name}"),
        }
    }
}

/// Takes tokens back.
pub(super) async fn revoke(tx: &mut Tx<'_>, subject: Subject<'_>) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO revocation (subject) VALUES ($1)";
    let made = bound!(sql, subject.to_string());
    made.execute(&mut *tx.conn).await?;
    trim(tx).await
}

/// Takes back the tokens of a group's accounts.
pub(super) async fn revoke_group(tx: &mut Tx<'_>, group: i64) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO revocation (subject) SELECT 'user:' || a.name FROM group_account g \
         JOIN account a ON a.id = g.account_id WHERE g.group_id = $1";
    bound!(sql, group).execute(&mut *tx.conn).await?;
    trim(tx).await
}

async fn trim(tx: &mut Tx<'_>) -> Result<(), sqlx::Error> {
    let sql = "DELETE FROM revocation WHERE id <= (SELECT MAX(id) FROM revocation) - $1";
    let gone = bound!(sql, REVOCATIONS_MAX);
    gone.execute(&mut *tx.conn).await?;
    Ok(())
}

/// What is known of revocations here.
#[derive(Debug, Default)]
pub(super) struct Revocations(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    /// How often people were changed when it was looked up.
    changes: Option<u64>,
    /// The last revocation.
    newest: i64,
    /// The last one of each subject.
    by_subject: HashMap<String, i64>,
}

impl Known {
    /// Tokens with a revision below this are too old to know.
    fn oldest(&self) -> i64 {
        self.newest.saturating_sub(REVOCATIONS_MAX)
    }

    fn add(&mut self, changes: u64, found: Vec<(i64, String)>) {
        for (id, subject) in found {
            let last = self.by_subject.entry(subject).or_default();
            *last = id.max(*last);
            self.newest = id.max(self.newest);
        }
        let oldest = self.oldest();
        self.by_subject.retain(|_, last| *last > oldest);
        self.changes = Some(changes).max(self.changes);
    }

    fn is_revoked(&self, subject: Subject<'_>, revision: i64) -> bool {
        let last = || self.by_subject.get(&subject.to_string());
        let is_known = !self.by_subject.is_empty();
        revision < self.oldest() || (is_known && last().is_some_and(|last| *last > revision))
    }
}

impl Meta {
    /// The last revocation that is known. What is read after this is not older.
    pub(crate) async fn revision(&self) -> Result<i64, Error> {
        if self.is_shared || !self.knows_revocations() {
            self.load_revocations().await?;
        }
        Ok(self.revocations.0.read().newest)
    }

    /// Whether tokens were taken back since this revision.
    pub(crate) async fn is_revoked(
        &self,
        subject: Subject<'_>,
        revision: i64,
    ) -> Result<bool, Error> {
        if !self.knows_revocations() {
            self.load_revocations().await?;
        }
        Ok(self.revocations.0.read().is_revoked(subject, revision))
    }

    /// Whether all that was said here is known.
    fn knows_revocations(&self) -> bool {
        self.revocations.0.read().changes == Some(self.changes.of_people())
    }

    /// Learns of the revocations that came since the last time.
    pub(crate) async fn load_revocations(&self) -> Result<(), Error> {
        let changes = self.changes.of_people();
        let newest = self.revocations.0.read().newest;
        let sql = "SELECT id, subject FROM revocation WHERE id > $1 ORDER BY id";
        let read = |row: &sqlx::any::AnyRow| Ok((row.try_get(0)?, row.try_get(1)?));
        let found = self.rows(bound!(sql, newest), read).await?;
        if !found.is_empty() {
            // Whoever has this revision from now on reads no rights of before it.
            self.changes.made(Touched::People);
        }
        self.revocations.0.write().add(changes, found);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::Change;
    use super::super::connect::Place;
    use super::super::error::Failure;
    use super::super::open_for_tests;
    use super::*;

    struct Revoke(String);

    #[async_trait::async_trait]
    impl Change for Revoke {
        type Out = ();
        const NAME: &'static str = "revoke";

        fn touches(&self, _out: &Self::Out) -> Touched<'_> {
            Touched::People
        }

        async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
            Ok(revoke(tx, Subject::Account(&self.0)).await?)
        }
    }

    #[tokio::test]
    async fn a_revocation_ends_what_was_given_before_it() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let (here, there) = (open_for_tests(&place).await, open_for_tests(&place).await);
        let (ann, bob) = (Subject::Account("ann"), Subject::Account("bob"));
        let before = here.revision().await.unwrap();
        assert!(!there.is_revoked(ann, before).await.unwrap());
        here.change(Revoke("ann".to_owned())).await.unwrap();
        assert!(here.is_revoked(ann, before).await.unwrap());
        assert!(!here.is_revoked(bob, before).await.unwrap());
        let robot = Subject::Robot("ann");
        assert!(!here.is_revoked(robot, before).await.unwrap());
        let after = here.revision().await.unwrap();
        assert!(!here.is_revoked(ann, after).await.unwrap());
        assert!(!there.is_revoked(ann, before).await.unwrap());
        there.load_revocations().await.unwrap();
        assert!(there.is_revoked(ann, before).await.unwrap());
        assert!(!there.is_revoked(ann, after).await.unwrap());
    }

    #[test]
    fn of_what_is_forgotten_no_token_holds() {
        let mut known = Known::default();
        let all = (1..=REVOCATIONS_MAX + 2).map(|id| (id, format!("user:{id}")));
        known.add(0, all.collect());
        assert!(known.by_subject.len() as i64 <= REVOCATIONS_MAX);
        let other = Subject::Account("other");
        assert!(known.is_revoked(other, 1));
        assert!(!known.is_revoked(other, 2));
        assert!(known.is_revoked(Subject::Account("3"), 2));
        assert!(!known.is_revoked(Subject::Account("3"), 3));
    }
}
