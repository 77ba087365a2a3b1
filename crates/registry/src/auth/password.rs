//! Passwords: kept as argon2id hashes, checked on few threads at once, and remembered for a minute,
//! since a pull is many requests and each check is meant to be slow. That it was right once is
//! remembered for longer: who had it is no guesser.

use std::sync::Arc;
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use quick_cache::sync::Cache;
use rand::RngExt;
use ring::hmac;
use tokio::sync::Semaphore;

use crate::error::Error;

/// Checks at once; each needs 19 MiB.
const CHECKS_MAX: usize = 2;
/// For how long a right password need not be checked again.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How many are.
const REMEMBERED_MAX: usize = 10_000;

/// What the password of nobody is compared with, so that it takes as long as others do. No password
/// has this hash; making one that somebody has would take a process that long to start.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IG5vYm9keQ$\
     AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Checks passwords.
pub(crate) struct Passwords {
    turns: Semaphore,
    /// What is remembered is told by a hash with a key of this process, so that no password can be
    /// read from memory.
    key: hmac::Key,
    right: Cache<[u8; 32], Instant>,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        let secret: [u8; 32] = rand::rng().random();
        Self {
            turns: Semaphore::new(CHECKS_MAX),
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            right: Cache::new(REMEMBERED_MAX),
        }
    }

    /// Whether `password` was found to have this hash, however long ago.
    pub(crate) fn was_right(&self, password: &str, hash: Option<&str>) -> bool {
        let tag = hash.map(|hash| self.tag(password, hash));
        tag.is_some_and(|tag| self.right.get(&tag).is_some())
    }

    /// Whether `password` has this hash; with none, it has not, and that takes as long.
    pub(crate) async fn check(
        self: &Arc<Self>,
        password: &str,
        hash: Option<&str>,
    ) -> Result<bool, Error> {
        let tag = hash.map(|hash| self.tag(password, hash));
        if let Some(tag) = tag
            && let Some(until) = self.right.get(&tag)
            && Instant::now() < until
        {
            return Ok(true);
        }
        let turn = self.turns.acquire().await;
        let _turn = turn.map_err(|error| Error::internal("checking the password", &error))?;
        let expected = hash.unwrap_or(NOBODY).to_owned();
        let given = password.to_owned();
        let checked = tokio::task::spawn_blocking(move || {
            let expected = PasswordHash::new(&expected)?;
            Argon2::default().verify_password(given.as_bytes(), &expected)
        });
        let checked = checked.await;
        let checked = checked.map_err(|error| Error::internal("checking the password", &error))?;
        let is_right = checked.is_ok() && hash.is_some();
        if let Some(tag) = tag.filter(|_| is_right) {
            self.right.insert(tag, Instant::now() + REMEMBERED);
        }
        Ok(is_right)
    }

    fn tag(&self, password: &str, hash: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(hash.as_bytes());
        context.update(&[0]);
        context.update(password.as_bytes());
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }
}

/// The hash of a password, with a salt of its own. That takes long by intent, so a thread is taken that
/// may block.
pub(crate) async fn hash(password: String) -> Result<String, Error> {
    let internal = |error: &dyn std::fmt::Display| Error::internal("hashing the password", error);
    let hashed = tokio::task::spawn_blocking(move || {
        let hashed: Result<PasswordHash, _> = Argon2::default().hash_password(password.as_bytes());
        hashed.map(|hash| hash.to_string())
    });
    match hashed.await {
        Ok(hashed) => hashed.map_err(|error| internal(&error)),
        Err(error) => Err(internal(&error)),
    }
}

/// A password that nobody can guess: 144 bits.
pub(crate) fn generate() -> String {
    const LETTERS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
    let mut random = rand::rng();
    let mut letter = || {
        let at = random.random_range(0..LETTERS.len());
        LETTERS.get(at).copied().map_or('x', char::from)
    };
    (0..25).map(|_| letter()).collect()
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::phc::Output;

    use super::*;

    #[tokio::test]
    async fn only_the_right_password_is_right() {
        let passwords = Arc::new(Passwords::new());
        let hashed = hash("secret".to_owned()).await.unwrap();
        assert!(hashed.starts_with("$argon2id$"), "{hashed}");
        for times in 0..2 {
            assert_eq!(passwords.was_right("secret", Some(&hashed)), times > 0);
            assert!(!passwords.was_right("Secret", Some(&hashed)));
            assert!(passwords.check("secret", Some(&hashed)).await.unwrap());
            assert!(!passwords.check("Secret", Some(&hashed)).await.unwrap());
        }
        assert!(!passwords.check("nobody", None).await.unwrap());
        assert_ne!(generate(), generate());
    }

    /// Otherwise it would be told by the time that there is nobody of a name.
    #[tokio::test]
    async fn nobody_costs_what_others_do() {
        let kind = |hash: &str| {
            let hash = PasswordHash::new(hash).unwrap();
            let length = hash.hash.as_ref().map(Output::len);
            (hash.algorithm.to_string(), hash.params.to_string(), length)
        };
        assert_eq!(
            kind(NOBODY),
            kind(&hash("secret".to_owned()).await.unwrap())
        );
    }
}
