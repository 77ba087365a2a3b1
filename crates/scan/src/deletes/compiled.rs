//! Deletions that were compiled lately: every query of a tenant asks for all of them, and what one
//! says never changes.

use std::collections::HashMap;
use std::sync::Arc;

use model::TimeRange;
use parking_lot::Mutex;

use super::{Delete, Deletes, Rows};

/// Weight of those that are kept ([`Deletes::weight`]): about a hundred megabytes.
const WEIGHT_MAX: u64 = 1_000_000;
/// What one weighs besides: its own room in the table.
const OWN_WEIGHT: u64 = 10;

/// A deletion as asked for: its query, the times of its rows, and when it was made.
type Asked<'a> = (&'a str, TimeRange, i64);

/// Deletions, compiled once for all queries of a process. Bounded: if those of all tenants are too
/// many to be kept, they are compiled again.
#[derive(Debug, Default)]
pub struct CompiledDeletes {
    kept: Mutex<Kept>,
    /// Held by who compiles. Others who want the same find it when it is their turn.
    compiling: Mutex<()>,
}

#[derive(Debug, Default)]
struct Kept {
    by_time: HashMap<i64, Vec<(Box<str>, Outcome)>>,
    weight: u64,
}

type Outcome = Result<Arc<Rows>, String>;

impl CompiledDeletes {
    /// The deletions, in their order, if each was compiled before.
    #[must_use]
    pub fn known<'a>(
        &self,
        asked: impl IntoIterator<Item = Asked<'a>>,
    ) -> Option<Vec<Result<Deletes, String>>> {
        let kept = self.kept.lock();
        let asked = asked.into_iter();
        asked
            .map(|asked| Some(of_range(kept.find(asked)?.clone(), asked.1)))
            .collect()
    }

    /// Compiles the deletions that are not known. This takes up to a second or two, so it is nothing
    /// for a thread that serves others.
    pub fn compile<'a>(
        &self,
        asked: impl IntoIterator<Item = Asked<'a>>,
    ) -> Vec<Result<Deletes, String>> {
        let _turn = self.compiling.lock();
        let compile = |asked: Asked<'a>| {
            let known = self.kept.lock().find(asked).cloned();
            let outcome = known.unwrap_or_else(|| {
                let (query, _, created_ns) = asked;
                let compiled = Rows::new(query, created_ns).map(Arc::new);
                self.kept.lock().keep(asked, compiled.clone());
                compiled
            });
            of_range(outcome, asked.1)
        };
        asked.into_iter().map(compile).collect()
    }
}

impl Kept {
    fn find(&self, (query, _, created_ns): Asked<'_>) -> Option<&Outcome> {
        let mut of_time = self.by_time.get(&created_ns)?.iter();
        let (_, outcome) = of_time.find(|(text, _)| **text == *query)?;
        Some(outcome)
    }

    fn keep(&mut self, (query, _, created_ns): Asked<'_>, outcome: Outcome) {
        let weight = Deletes::weight(query).unwrap_or(query.len() as u64) + OWN_WEIGHT;
        if self.weight + weight > WEIGHT_MAX {
            *self = Self::default();
        }
        self.weight += weight;
        let of_time = self.by_time.entry(created_ns).or_default();
        of_time.push((query.into(), outcome));
    }
}

fn of_range(outcome: Outcome, range: TimeRange) -> Result<Deletes, String> {
    outcome.map(|rows| Deletes(vec![Delete { rows, range }]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compiled_is_known_in_every_range_and_for_its_own_time_only() {
        let compiled = CompiledDeletes::default();
        let at = |start_ns| TimeRange::new(start_ns, start_ns + 10);
        let query = r#"{a="b"} |~ "x+""#;
        assert!(compiled.known([(query, at(0), 1)]).is_none());
        assert!(compiled.compile([(query, at(0), 1), ("{", at(0), 1)])[1].is_err());

        let found = compiled
            .known([(query, at(5), 1), ("{", at(0), 1)])
            .unwrap();
        assert_eq!(found[0].as_ref().unwrap().0[0].range, at(5));
        assert!(found[1].is_err(), "it is known to make no sense");
        assert!(compiled.known([(query, at(0), 2)]).is_none());
        assert!(compiled.known([(r#"{a="c"}"#, at(0), 1)]).is_none());
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let compiled = CompiledDeletes::default();
        for created_ns in 0..3_000 {
            let asked = (r#"{a="b"} |~ "x+""#, TimeRange::new(0, 1), created_ns);
            assert!(compiled.compile([asked])[0].is_ok());
            let kept = compiled.kept.lock();
            assert!(kept.weight <= WEIGHT_MAX && kept.by_time.len() <= 1_000);
        }
    }
}
