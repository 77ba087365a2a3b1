//! Who reads a block that several units of a query share: one of them, for all.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// An object's id, and which of its blocks.
pub(super) type BlockKey = (u128, u32);

/// Blocks that somebody reads or waits for.
#[derive(Debug, Default)]
pub(super) struct Claims {
    turns: Mutex<HashMap<BlockKey, Arc<Turn>>>,
}

/// Who has it reads a block.
type Turn = tokio::sync::Mutex<()>;

/// The right to read a block, until it is dropped. Who got it looks first whether the block is open
/// by now.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    claims: &'a Claims,
    pub(super) key: BlockKey,
    _turn: OwnedMutexGuard<()>,
}

impl Claims {
    /// The right to read a block, as soon as nobody else has it. Who waits must not have another.
    pub(super) async fn wait(&self, key: BlockKey) -> Claim<'_> {
        let turn = self.turn(key).lock_owned().await;
        self.claim(key, turn)
    }

    /// The right to read a block, unless somebody else has it.
    pub(super) fn now(&self, key: BlockKey) -> Option<Claim<'_>> {
        let turn = self.turn(key).try_lock_owned().ok()?;
        Some(self.claim(key, turn))
    }

    fn turn(&self, key: BlockKey) -> Arc<Turn> {
        Arc::clone(self.turns.lock().entry(key).or_default())
    }

    fn claim(&self, key: BlockKey, turn: OwnedMutexGuard<()>) -> Claim<'_> {
        Claim {
            claims: self,
            key,
            _turn: turn,
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut turns = self.claims.turns.lock();
        // Besides the map and this claim, only who waits has the turn, or is about to look whether
        // it is free: who comes next has to find the same one.
        let is_wanted = |turn: &Arc<Turn>| Arc::strong_count(turn) > 2;
        if !turns.get(&self.key).is_some_and(is_wanted) {
            turns.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_has_a_block_at_a_time_and_nothing_is_left() {
        let claims = Claims::default();
        let first = claims.now((1, 2)).unwrap();
        assert!(claims.now((1, 2)).is_none());
        assert!(claims.now((1, 3)).is_some(), "another block");
        let mut second = Box::pin(claims.wait((1, 2)));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        assert!(
            claims.now((1, 2)).is_none(),
            "who waits comes before who comes later"
        );
        let second = second.await;
        assert!(claims.now((1, 2)).is_none());
        drop(second);
        assert!(claims.turns.lock().is_empty());
    }
}
