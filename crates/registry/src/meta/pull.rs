//! When manifests were pulled last, for retention. Noted in memory, so that no pull waits for a
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

/// Pulls that are not written yet: when each manifest was pulled last, in milliseconds since 1970.
#[derive(Debug, Default)]
pub(super) struct Pulls(Mutex<HashMap<i64, i64>>);

impl Pulls {
    fn note(&self, manifest_id: i64, at_ms: i64) {
        let mut waiting = self.0.lock();
        if waiting.len() < WAITING_MAX || waiting.contains_key(&manifest_id) {
            let last = waiting.entry(manifest_id).or_insert(at_ms);
            *last = at_ms.max(*last);
        }
    }

    fn take(&self) -> Vec<(i64, i64)> {
        std::mem::take(&mut *self.0.lock()).into_iter().collect()
    }
}

impl Meta {
    /// Notes that a manifest was pulled now.
    pub(crate) fn pulled(&self, manifest_id: i64) {
        self.pulls.note(manifest_id, self.now_ms());
    }

    /// Writes what was noted. What cannot be written is noted again.
    pub(crate) async fn write_pulls(&self) -> Result<(), Error> {
        let waiting = self.pulls.take();
        let mut chunks = waiting.chunks(WRITTEN_MAX);
        while let Some(chunk) = chunks.next() {
            let pulls = chunk.to_vec();
            if let Err(error) = self.change(WritePulls { pulls }).await {
                let left = chunk.iter().chain(chunks.flatten());
                left.for_each(|(id, at_ms)| self.pulls.note(*id, *at_ms));
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Writes when manifests were pulled.
struct WritePulls {
    pulls: Vec<(i64, i64)>,
}

#[async_trait]
impl Change for WritePulls {
    type Out = ();
    const NAME: &'static str = "write_pulls";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        for (manifest_id, at_ms) in &self.pulls {
            // It may have gone since.
            bound!(
                "INSERT INTO pull (manifest_id, pulled_ms) \
                 SELECT id, CAST($1 AS BIGINT) FROM manifest WHERE id = $2 \
                 ON CONFLICT (manifest_id) DO UPDATE SET pulled_ms = excluded.pulled_ms \
                 WHERE excluded.pulled_ms > pull.pulled_ms",
                *at_ms,
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
        for at_ms in [5, 7, 6] {
            pulls.note(1, at_ms);
        }
        assert_eq!(pulls.take(), [(1, 7)]);
        assert!(pulls.take().is_empty());
        let max = i64::try_from(WAITING_MAX).unwrap();
        (0..max + 2).for_each(|id| pulls.note(id, 1));
        pulls.note(3, 9);
        let taken = pulls.take();
        assert_eq!(taken.len(), WAITING_MAX);
        assert!(taken.contains(&(3, 9)));
    }
}
