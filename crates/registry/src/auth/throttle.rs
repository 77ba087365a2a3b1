//! Slows down who guesses passwords, by account and by address.

use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use crate::error::{Code, Error};

/// Accounts and addresses that are remembered.
const REMEMBERED_MAX: usize = 20_000;
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(900);
/// After so long without a failure all is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

/// Failed attempts.
pub(crate) struct Throttle {
    failures: Cache<String, Failures>,
    /// Attempts that cost nothing.
    free: u32,
}

impl Throttle {
    /// After `free` failures each further one doubles a wait that begins at a second.
    pub(crate) fn new(free: u32) -> Self {
        Self {
            failures: Cache::new(REMEMBERED_MAX),
            free,
        }
    }

    /// Whether an attempt may be made now.
    pub(crate) fn check(&self, keys: &[String], now: Instant) -> Result<(), Error> {
        let wait = keys.iter().filter_map(|key| self.wait(key, now)).max();
        let Some(wait) = wait else { return Ok(()) };
        let seconds = wait.as_secs() + 1;
        let message = format!("too many wrong passwords; try again in {seconds} seconds");
        Err(Error::new(Code::TooManyRequests, message)
            .with_header(http::header::RETRY_AFTER, &seconds.to_string()))
    }

    fn wait(&self, key: &str, now: Instant) -> Option<Duration> {
        let failures = self.failures.get(key)?;
        let over = failures.count.checked_sub(self.free)?;
        let wait = Duration::from_secs(1 << over.min(20)).min(WAIT_MAX);
        (failures.last + wait)
            .checked_duration_since(now)
            .filter(|left| !left.is_zero())
    }

    /// A password was wrong.
    pub(crate) fn failed(&self, keys: &[String], now: Instant) {
        for key in keys {
            let before = self.failures.get(key);
            let before = before.filter(|before| now.duration_since(before.last) < FORGOTTEN);
            let failures = Failures {
                count: before.map_or(0, |before| before.count) + 1,
                last: now,
            };
            self.failures.insert(key.clone(), failures);
        }
    }

    /// A password was right.
    pub(crate) fn succeeded(&self, key: &str) {
        self.failures.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end_with_a_success() {
        let throttle = Throttle::new(3);
        let keys = ["account:a".to_owned()];
        let begin = Instant::now();
        for _ in 0..3 {
            throttle.check(&keys, begin).unwrap();
            throttle.failed(&keys, begin);
        }
        let at = |ms| begin + Duration::from_millis(ms);
        assert!(throttle.check(&keys, at(900)).is_err());
        throttle.check(&keys, at(1100)).unwrap();
        throttle.failed(&keys, at(1100));
        assert!(throttle.check(&keys, at(3000)).is_err());
        throttle.check(&["account:b".to_owned()], at(3000)).unwrap();
        throttle.succeeded("account:a");
        throttle.check(&keys, at(3000)).unwrap();
    }
}
