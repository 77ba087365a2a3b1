//! Slows down who guesses passwords: by account and address together, so that nobody locks others
//! out of an account; and by address, for who tries many accounts, after far more failures, for many
//! may have the address. That waits for seconds only, and not for who has not failed from there: else
//! one could keep out all who share his address. An attempt counts before the password is looked at, and does not once it was
//! right, so it does not help to guess many at once.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quick_cache::unsync::Cache;

use crate::error::{Code, Error};
use crate::forwarded::network;
use crate::turns::{Turn, Turns};

/// Attempts of an account from an address, and of an address, that cost nothing.
const FREE: [u32; 2] = [5, 100];
/// Accounts and addresses that are remembered.
const REMEMBERED_MAX: usize = 20_000;
/// The longest waits of the two.
const WAIT_MAX: [Duration; 2] = [Duration::from_secs(900), Duration::from_secs(5)];
/// After so long without a failure all is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// Characters of an account's name that are looked at.
const NAME_CHARS_MAX: usize = 256;
/// How long an attempt waits for others of the same account and address.
const TURN_MAX: Duration = Duration::from_secs(20);

/// Who tries: the account and address, and the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guesser([String; 2]);

impl Guesser {
    /// Who tries an account from an address.
    pub(crate) fn new(name: &str, remote: &str) -> Self {
        let address = network(remote);
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        Self([format!("{address} {name}"), address])
    }

    /// What is counted, with its free attempts and its longest wait.
    fn counted(&self) -> impl Iterator<Item = (&String, u32, Duration)> {
        let counted = self.0.iter().zip(FREE).zip(WAIT_MAX);
        counted.map(|((key, free), wait_max)| (key, free, wait_max))
    }
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
    /// Whether it was told that another attempt has to wait.
    is_told: bool,
}

impl Failures {
    fn wait(&self, free: u32, wait_max: Duration, now: Instant) -> Option<Duration> {
        let over = self.count.checked_sub(free)?;
        let wait = Duration::from_secs(1 << over.min(20)).min(wait_max);
        let left = (self.last + wait).checked_duration_since(now)?;
        (!left.is_zero()).then_some(left)
    }
}

/// An attempt that was counted, and what was known before.
#[derive(Debug)]
pub(crate) struct Attempt {
    guesser: Guesser,
    at: Instant,
    last_of_address: Option<Instant>,
}

/// An attempt that has to wait.
#[derive(Debug)]
pub(crate) struct TooMany {
    wait: Duration,
    /// Whether it is the first since the last that had not to.
    pub(crate) is_news: bool,
}

impl TooMany {
    pub(crate) fn error(&self) -> Error {
        let seconds = self.wait.as_secs() + 1;
        let message = format!("too many wrong passwords; try again in {seconds} seconds");
        Error::new(Code::TooManyRequests, message)
            .with_header(http::header::RETRY_AFTER, &seconds.to_string())
    }
}

/// Failed attempts.
pub(crate) struct Throttle {
    failures: Mutex<Cache<String, Failures>>,
    turns: Turns,
}

impl Throttle {
    /// After some failures each further one doubles a wait that begins at a second.
    pub(crate) fn new() -> Self {
        Self {
            failures: Mutex::new(Cache::new(REMEMBERED_MAX)),
            turns: Turns::default(),
        }
    }

    /// The right to try, which one attempt of an account and address has at a time: those behind it
    /// profit by what it finds out.
    pub(crate) async fn turn(&self, guesser: &Guesser) -> Result<Turn, TooMany> {
        let [pair, _] = &guesser.0;
        self.turns.enter(pair, TURN_MAX).await.ok_or(TooMany {
            wait: Duration::ZERO,
            is_news: false,
        })
    }

    /// Counts an attempt, unless it has to wait.
    pub(crate) fn attempt(&self, guesser: Guesser, now: Instant) -> Result<Attempt, TooMany> {
        let mut failures = self.failures.lock();
        for (key, free, wait_max) in guesser.counted() {
            // An account that has not failed from there comes first, and need not wait.
            let Some(known) = failures.get(key).copied() else {
                break;
            };
            if let Some(wait) = known.wait(free, wait_max, now) {
                let is_told = true;
                failures.insert(key.clone(), Failures { is_told, ..known });
                let is_news = !known.is_told;
                return Err(TooMany { wait, is_news });
            }
        }
        let [_, address] = &guesser.0;
        let last_of_address = failures.get(address).map(|known| known.last);
        for (key, ..) in guesser.counted() {
            let known = failures.get(key);
            let known = known.filter(|known| now.duration_since(known.last) < FORGOTTEN);
            let counted = Failures {
                count: known.map_or(0, |known| known.count).saturating_add(1),
                last: now,
                is_told: false,
            };
            failures.insert(key.clone(), counted);
        }
        Ok(Attempt {
            guesser,
            at: now,
            last_of_address,
        })
    }

    /// The password of an attempt was right: the account's failures from there are forgotten, those
    /// of others from there are as before.
    pub(crate) fn succeeded(&self, attempt: &Attempt) {
        let [pair, address] = &attempt.guesser.0;
        let mut failures = self.failures.lock();
        failures.remove(pair);
        let Some(known) = failures.get(address).copied() else {
            return;
        };
        let last = match attempt.last_of_address {
            Some(last) if known.last == attempt.at => last,
            _ => known.last,
        };
        let count = known.count.saturating_sub(1);
        failures.insert(
            address.clone(),
            Failures {
                count,
                last,
                ..known
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guesser(name: &str) -> Guesser {
        Guesser::new(name, "192.0.2.1")
    }

    #[test]
    fn waits_double_and_end_with_a_success() {
        let throttle = Throttle::new();
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        for _ in 0..5 {
            throttle.attempt(guesser("a"), begin).unwrap();
        }
        let first = throttle.attempt(guesser("a"), at(900)).unwrap_err();
        let second = throttle.attempt(guesser("a"), at(900)).unwrap_err();
        assert_eq!((first.is_news, second.is_news), (true, false));
        throttle.attempt(guesser("a"), at(1100)).unwrap();
        assert!(throttle.attempt(guesser("a"), at(3000)).is_err());
        // Neither others there nor the same account somewhere else have to wait.
        throttle.attempt(guesser("b"), at(3000)).unwrap();
        throttle
            .attempt(Guesser::new("a", "192.0.2.2"), at(3000))
            .unwrap();
        let right = throttle.attempt(guesser("a"), at(3200)).unwrap();
        throttle.succeeded(&right);
        for _ in 0..5 {
            throttle.attempt(guesser("a"), at(3200)).unwrap();
        }
    }

    #[test]
    fn who_tries_many_accounts_has_to_wait_and_who_is_right_changes_nothing() {
        let throttle = Throttle::new();
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        for number in 0..100 {
            let other = guesser(&number.to_string());
            throttle.attempt(other, begin).unwrap();
        }
        assert!(throttle.attempt(guesser("7"), at(500)).is_err());
        // Who has not failed is not kept out, however many others do.
        for number in 100..200 {
            let other = guesser(&number.to_string());
            throttle.attempt(other, at(500)).unwrap();
            let right = throttle.attempt(guesser("alice"), at(500)).unwrap();
            throttle.succeeded(&right);
        }
        throttle.attempt(guesser("bob"), at(500)).unwrap();
        assert!(throttle.attempt(guesser("bob"), at(600)).is_err());
        let wait = throttle
            .attempt(guesser("bob"), at(5_400))
            .unwrap_err()
            .wait;
        assert!(wait <= Duration::from_secs(5), "{wait:?}");
        throttle.attempt(guesser("bob"), at(5_600)).unwrap();
        assert_eq!(
            Guesser::new("a", "2001:db8::1"),
            Guesser::new("a", "2001:db8::2")
        );
    }
}
