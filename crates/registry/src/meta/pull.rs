//! When manifests were pulled last, for retention, and how often repositories were. Noted in memory, so that no pull waits for a
//! change, and written every few seconds; a process that is killed forgets those seconds.

use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::Meta;
use super::change::{Change, Tx, bound};
use super::error::Failure;
use crate::error::Error;

/// Manifests whose pulls wait to be written; those of more are forgotten.
const WAITING_MAX: usize = 100_000;
/// Manifests of one change, so that pushes need not wait long.
const WRITTEN_MAX: usize = 500;

/// Pulls of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pulled {
    /// When the last was, in milliseconds since 1970.
    at_ms: i64,
    count: i64,
}

/// Pulls that are not written yet, by manifests.
#[derive(Debug, Default)]
pub(super) struct Pulls(Mutex<HashMap<i64, Pulled>>);

impl Pulls {
    fn note(&self, manifest_id: i64, pulled: Pulled) {
        let mut waiting = self.0.lock();
        if waiting.len() < WAITING_MAX || waiting.contains_key(&manifest_id) {
            let none = Pulled { count: 0, ..pulled };
            let all = waiting.entry(manifest_id).or_insert(none);
            all.at_ms = pulled.at_ms.max(all.at_ms);
            all.count += pulled.count;
        }
    }

    fn take(&self) -> Vec<(i64, Pulled)> {
        std::mem::take(&mut *self.0.lock()).into_iter().collect()
    }
}

impl Meta {
    /// Notes that a manifest was pulled now.
    pub(crate) fn pulled(&self, manifest_id: i64) {
        let pulled = Pulled {
            at_ms: self.now_ms(),
            count: 1,
        };
        self.pulls.note(manifest_id, pulled);
    }

    /// Writes what was noted. What cannot be written is noted again.
    pub(crate) async fn write_pulls(&self) -> Result<(), Error> {
        let waiting = self.pulls.take();
        let mut chunks = waiting.chunks(WRITTEN_MAX);
        while let Some(chunk) = chunks.next() {
            let pulls = chunk.to_vec();
            if let Err(error) = self.change(WritePulls { pulls }).await {
                let left = chunk.iter().chain(chunks.flatten());
                left.for_each(|(id, pulled)| self.pulls.note(*id, *pulled));
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Writes when manifests were pulled.
struct WritePulls {
    pulls: Vec<(i64, Pulled)>,
}

#[async_trait]
impl Change for WritePulls {
    type Out = ();
    const NAME: &'static str = "write_pulls";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        for (manifest_id, pulled) in &self.pulls {
            // It may have gone since.
            bound!(
                "INSERT INTO pull (manifest_id, pulled_ms) \
                 SELECT id, CAST($1 AS BIGINT) FROM manifest WHERE id = $2 \
                 ON CONFLICT (manifest_id) DO UPDATE SET pulled_ms = excluded.pulled_ms \
                 WHERE excluded.pulled_ms > pull.pulled_ms",
                pulled.at_ms,
                *manifest_id,
            )
            .execute(&mut *tx.conn)
            .await?;
            bound!(
                "UPDATE repo SET pulls = pulls + $1 \
                 WHERE id = (SELECT repo_id FROM manifest WHERE id = $2)",
                pulled.count,
                *manifest_id,
            )
            .execute(&mut *tx.conn)
            .await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pull_counts_and_memory_is_bounded() {
        let pulls = Pulls::default();
        let pulled = |at_ms, count| Pulled { at_ms, count };
        for at_ms in [5, 7, 6] {
            pulls.note(1, pulled(at_ms, 1));
        }
        assert_eq!(pulls.take(), [(1, pulled(7, 3))]);
        assert!(pulls.take().is_empty());
        let max = i64::try_from(WAITING_MAX).unwrap();
        (0..max + 2).for_each(|id| pulls.note(id, pulled(1, 1)));
        pulls.note(3, pulled(9, 1));
        let taken = pulls.take();
        assert_eq!(taken.len(), WAITING_MAX);
        assert!(taken.contains(&(3, pulled(9, 2))));
    }
}
