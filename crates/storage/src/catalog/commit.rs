//! Claiming the next number of a manifest.

use std::sync::Arc;

use model::TenantId;

use super::slot::Slot;
use super::{Catalog, ManifestLog};
use crate::error::StorageError;
use crate::key::{day_text, entry_key};
use crate::manifest::{Check, ManifestEntry, PartitionState, encode_entry};

/// Numbers that one commit tries before it gives up.
const ATTEMPTS_MAX: u32 = 64;
/// What a writer knows of a log may be this old when it claims a number. Pruning deletes entries a
/// day after they were written, so a number claimed on older knowledge could lie below the log.
const KNOWLEDGE_AGE_MAX_NS: i64 = 3_600_000_000_000;

impl Catalog {
    /// Commits a change of a tenant's day and returns its number. It is visible to snapshots of
    /// this process at once, to others with their next poll or by `at_least`.
    ///
    /// Every file that the entry adds must be in the store already, and all its rows must lie in
    /// the day. Committing what was committed before changes nothing and succeeds, so a commit
    /// that failed with an unknown outcome is simply made again.
    ///
    /// # Errors
    /// [`StorageError::Conflict`] if the entry removes what is gone: nothing is committed then.
    /// [`StorageError::Invalid`] if a file has rows of another day. [`StorageError::Corrupt`] if the
    /// manifest is damaged so that it cannot be repaired. If the store fails, the entry
    /// may be committed all the same.
    pub async fn commit(
        &self,
        tenant: &TenantId,
        day: i64,
        entry: ManifestEntry,
    ) -> Result<u64, StorageError> {
        if let Some(reason) = entry.refusal(day) {
            return Err(StorageError::Invalid(reason));
        }
        let bytes = encode_entry(&entry)?;
        let slot = self.0.slots.slot(tenant, day);
        slot.touch(self.0.clock.now_ns());
        let _writing = slot.log.lock().await;
        let log = self.log(tenant, day);
        for _ in 0..ATTEMPTS_MAX {
            let state = self.recent_state(&slot).await?;
            match state.check(&entry) {
                Check::Ok => {}
                Check::Done => return Ok(state.seq),
                Check::Conflict(reason) => return Err(conflict(tenant, day, reason)),
            }
            let seq = state.seq + 1;
            let key = entry_key(tenant, day, seq);
            match self.0.store.create(&key, bytes.clone()).await {
                Ok(()) => {}
                Err(StorageError::AlreadyExists { .. }) => match log.entry(seq).await {
                    // An attempt of ours arrived although we did not hear of it.
                    Ok(there) if there.id == entry.id => {}
                    Ok(_) => {
                        self.0.store.metrics().commit_races.inc();
                        self.catch_up_or_repair(&slot).await?;
                        continue;
                    }
                    // The store refused for another reason, such as two creates at one moment.
                    Err(StorageError::NotFound { .. }) => continue,
                    Err(error @ StorageError::Corrupt { .. }) => {
                        self.repair(&slot, error).await?;
                        continue;
                    }
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error),
            }
            if self.is_committed(&slot, &log, seq).await? {
                self.applied(&slot, &log, &state, seq, &entry).await;
                return Ok(seq);
            }
            self.0.store.delete(&key).await?;
            self.catch_up(&slot, None).await?;
        }
        let reason = format!("lost the race for a number {ATTEMPTS_MAX} times");
        Err(conflict(tenant, day, reason))
    }

    /// The known state if it was looked at lately, else a fresh one.
    async fn recent_state(&self, slot: &Slot) -> Result<Arc<PartitionState>, StorageError> {
        let known = slot.known();
        let age_ns = self.0.clock.now_ns().saturating_sub(known.checked_ns);
        if known.checked_ns > 0 && (0..KNOWLEDGE_AGE_MAX_NS).contains(&age_ns) {
            return Ok(known.state);
        }
        self.catch_up_or_repair(slot).await
    }

    /// Whether the entry just created counts. Only a process that slept between looking at the
    /// log and creating has to ask.
    pub(super) async fn is_committed(
        &self,
        slot: &Slot,
        log: &ManifestLog<'_>,
        seq: u64,
    ) -> Result<bool, StorageError> {
        let age_ns = self
            .0
            .clock
            .now_ns()
            .saturating_sub(slot.known().checked_ns);
        if (0..2 * KNOWLEDGE_AGE_MAX_NS).contains(&age_ns) {
            return Ok(true);
        }
        log.is_alive(seq).await
    }

    async fn applied(
        &self,
        slot: &Slot,
        log: &ManifestLog<'_>,
        state: &Arc<PartitionState>,
        seq: u64,
        entry: &ManifestEntry,
    ) {
        let mut next = PartitionState::clone(state);
        next.apply(seq, entry);
        let next = Arc::new(next);
        self.0.book.days(&slot.tenant).insert(slot.day);
        slot.set(Arc::clone(&next), None);
        self.0.store.forget(super::removed(state, &next)).await;
        self.0.store.metrics().commits.inc();
        if seq.is_multiple_of(self.0.config.checkpoint_every.max(1)) {
            // Only saves readers time, so its failure is not the commit's.
            if let Err(error) = log.write_checkpoint(&next).await {
                tracing::warn!(
                    tenant = %slot.tenant,
                    day = day_text(slot.day),
                    seq,
                    error = %error,
                    "cannot write a manifest checkpoint"
                );
            }
        }
    }

    /// Shortens the manifest of a day: writes a checkpoint at its end and deletes what that makes
    /// superfluous, if written before `before_ns`, which must be a day ago or more. Returns how
    /// many files were deleted.
    ///
    /// # Errors
    /// If the store fails; what was deleted until then was superfluous.
    pub async fn prune(
        &self,
        tenant: &TenantId,
        day: i64,
        before_ns: i64,
    ) -> Result<usize, StorageError> {
        let state = self.latest(tenant, day).await?;
        let log = self.log(tenant, day);
        if state.seq > 0 && state.changed_ns < before_ns {
            let key = crate::key::checkpoint_key(tenant, day, state.seq);
            if self.0.store.size(&key).await?.is_none() {
                log.write_checkpoint(&state).await?;
            }
        }
        log.prune(before_ns).await
    }
}

pub(super) fn conflict(tenant: &TenantId, day: i64, reason: String) -> StorageError {
    StorageError::Conflict {
        partition: format!("{tenant}/{}", day_text(day)),
        reason,
    }
}
