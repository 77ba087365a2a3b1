//! Reading and extending the manifest of one partition.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use model::TenantId;

use crate::error::StorageError;
use crate::key::{ManifestFile, checkpoint_key, entry_key, parse_manifest_key, partition};
use crate::manifest::{
    FileKind, ManifestEntry, PartitionState, decode_checkpoint, decode_entry, encode_checkpoint,
    is_damaged,
};
use crate::store::Store;

/// Manifest entries read at once.
const READS_AT_ONCE: usize = 16;
/// A checkpoint this many entries ahead is read instead of the entries before it.
const SKIP_MIN: u64 = 2;
/// How far ahead entries are read by number without listing first.
const BLIND_MAX: u64 = 64;
/// How often reading starts over because a file went away under it.
const RESTARTS_MAX: u32 = 3;

/// The manifest of a tenant's day as it lies in the store.
pub(crate) struct ManifestLog<'a> {
    pub(crate) store: &'a Store,
    pub(crate) tenant: &'a TenantId,
    pub(crate) day: i64,
}

/// What a listing of a manifest has.
#[derive(Debug, Default)]
struct Listing {
    entries: Vec<u64>,
    checkpoints: Vec<u64>,
}

impl Listing {
    /// The entries that follow number `seq`. What follows a gap was claimed by a writer that slept
    /// while the log was pruned; it was never acknowledged (see `Catalog::commit`).
    fn after(&self, seq: u64) -> Vec<u64> {
        let following = self.entries.iter().copied().filter(|n| *n > seq);
        following
            .zip(seq + 1..)
            .take_while(|(listed, expected)| listed == expected)
            .map(|(listed, _)| listed)
            .collect()
    }
}

/// What can be read of a manifest.
#[derive(Debug, Default)]
pub(crate) struct Salvage {
    /// What its readable files say; the number is that of the last file, readable or not.
    pub(crate) state: PartitionState,
    /// The keys of damaged files.
    pub(crate) damaged: Vec<String>,
}

impl ManifestLog<'_> {
    /// `state` brought up to the end of the log, or at least up to `until`.
    ///
    /// # Errors
    /// If the log ends before `until`, or a file is damaged, or the store fails.
    pub(crate) async fn catch_up(
        &self,
        state: Arc<PartitionState>,
        until: Option<u64>,
    ) -> Result<Arc<PartitionState>, StorageError> {
        if let Some(until) = until.filter(|until| self.is_near(state.seq, *until)) {
            let wanted: Vec<u64> = (state.seq + 1..=until).collect();
            match self.replay(&state, &wanted).await {
                Err(StorageError::NotFound { .. } | StorageError::Corrupt { .. }) => {}
                other => return other,
            }
        }
        let mut restarts_left = RESTARTS_MAX;
        let reached = loop {
            match self.catch_up_listed(&state).await {
                // Pruning deletes files that a listing a moment ago still had.
                Err(StorageError::NotFound { .. }) if restarts_left > 0 => restarts_left -= 1,
                other => break other?,
            }
        };
        match until {
            Some(until) if reached.seq < until => Err(StorageError::NotFound {
                key: entry_key(self.tenant, self.day, until),
            }),
            _ => Ok(reached),
        }
    }

    fn is_near(&self, seq: u64, until: u64) -> bool {
        seq > 0 && until > seq && until - seq <= BLIND_MAX
    }

    async fn catch_up_listed(
        &self,
        state: &Arc<PartitionState>,
    ) -> Result<Arc<PartitionState>, StorageError> {
        let listing = self.list(state.seq).await?;
        match self.replay_listed(state, &listing).await {
            Err(error @ StorageError::Corrupt { .. }) => {
                self.pass_damage(state, &listing, error).await
            }
            other => other,
        }
    }

    /// Goes on from the newest checkpoint that can be read: it has what damaged entries before it
    /// said.
    async fn pass_damage(
        &self,
        state: &Arc<PartitionState>,
        listing: &Listing,
        damage: StorageError,
    ) -> Result<Arc<PartitionState>, StorageError> {
        let newest_first = listing.checkpoints.iter().rev();
        for seq in newest_first.copied().take_while(|seq| *seq > state.seq) {
            match self.checkpoint(seq).await {
                Ok(base) => {
                    tracing::warn!(error = %damage, seq, "going on from a checkpoint");
                    return self.replay(&Arc::new(base), &listing.after(seq)).await;
                }
                Err(StorageError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(damage)
    }

    async fn replay_listed(
        &self,
        state: &Arc<PartitionState>,
        listing: &Listing,
    ) -> Result<Arc<PartitionState>, StorageError> {
        let is_next_listed = listing.entries.binary_search(&(state.seq + 1)).is_ok();
        let newest = listing.checkpoints.last().copied().unwrap_or(0);
        let skip = newest > state.seq && (newest - state.seq >= SKIP_MIN || !is_next_listed);
        let base = if skip {
            match self.checkpoint(newest).await {
                Ok(checkpoint) => Arc::new(checkpoint),
                // A checkpoint only saves time; the entries are the truth as long as they exist.
                Err(StorageError::Corrupt { key, reason }) if is_next_listed => {
                    tracing::warn!(key, reason, "replaying past a damaged checkpoint");
                    Arc::clone(state)
                }
                Err(error) => return Err(error),
            }
        } else {
            Arc::clone(state)
        };
        self.replay(&base, &listing.after(base.seq)).await
    }

    /// All that can be read of a manifest, and which of its files are damaged. Damaged entries
    /// before the newest checkpoint that is whole are none of these.
    ///
    /// # Errors
    /// If a file cannot be read for another reason, or the store fails.
    pub(crate) async fn salvage(&self) -> Result<Salvage, StorageError> {
        let listing = self.list(0).await?;
        let mut salvage = Salvage::default();
        for seq in listing.checkpoints.iter().rev() {
            let checkpoint = self.checkpoint(*seq).await;
            if let Some(state) = self.unless_damaged(checkpoint, &mut salvage).await? {
                salvage.state = state;
                break;
            }
        }
        let is_based = salvage.state.seq > 0;
        let first = listing.entries.first().copied().unwrap_or(1);
        let after = match is_based {
            true => salvage.state.seq,
            // No checkpoint can be read, and the oldest entries may have been pruned.
            false => first.saturating_sub(1),
        };
        for seq in listing.after(after) {
            let entry = self.entry(seq).await;
            if let Some(entry) = self.unless_damaged(entry, &mut salvage).await? {
                salvage.state.apply(seq, &entry);
            }
            salvage.state.seq = seq;
        }
        let newest = listing.checkpoints.last().copied().unwrap_or(0);
        salvage.state.seq = salvage.state.seq.max(newest);
        Ok(salvage)
    }

    /// What was read, or nothing if the file is damaged, also when it is read again.
    async fn unless_damaged<T>(
        &self,
        read: Result<T, StorageError>,
        salvage: &mut Salvage,
    ) -> Result<Option<T>, StorageError> {
        let (key, reason) = match read {
            Ok(value) => return Ok(Some(value)),
            Err(StorageError::Corrupt { key, reason }) => (key, reason),
            Err(error) => return Err(error),
        };
        let kind = match parse_manifest_key(&key) {
            Some(ManifestFile::Checkpoint(_)) => FileKind::Checkpoint,
            _ => FileKind::Entry,
        };
        if !is_damaged(kind, &self.store.get(&key).await?) {
            return Err(StorageError::Corrupt { key, reason });
        }
        salvage.damaged.push(key);
        Ok(None)
    }

    async fn list(&self, after: u64) -> Result<Listing, StorageError> {
        let directory = partition(crate::key::MANIFEST_ROOT, self.tenant, self.day);
        let offset = (after > 0).then(|| entry_key(self.tenant, self.day, after));
        let listed = self.store.list(&directory, offset.as_deref()).await?;
        let mut listing = Listing::default();
        for file in &listed {
            match parse_manifest_key(&file.key) {
                Some(ManifestFile::Entry(seq)) => listing.entries.push(seq),
                Some(ManifestFile::Checkpoint(seq)) => listing.checkpoints.push(seq),
                None => {}
            }
        }
        listing.entries.sort_unstable();
        listing.checkpoints.sort_unstable();
        Ok(listing)
    }

    async fn replay(
        &self,
        base: &Arc<PartitionState>,
        seqs: &[u64],
    ) -> Result<Arc<PartitionState>, StorageError> {
        if seqs.is_empty() {
            return Ok(Arc::clone(base));
        }
        // By value: a closure over `&u64` would make the future of every caller not provably `Send`.
        let reads = seqs.iter().copied().map(|seq| async move {
            let entry = self.entry(seq).await?;
            Ok::<_, StorageError>((seq, entry))
        });
        let mut state = PartitionState::clone(base);
        let mut entries = futures::stream::iter(reads).buffered(READS_AT_ONCE);
        while let Some((seq, entry)) = entries.try_next().await? {
            state.apply(seq, &entry);
        }
        Ok(Arc::new(state))
    }

    /// Whether an entry just created as number `seq` is part of the log. It is not if its creator
    /// slept for so long that the log was pruned below it meanwhile.
    pub(crate) async fn is_alive(&self, seq: u64) -> Result<bool, StorageError> {
        let listing = self.list(0).await?;
        let has = |seq: u64| listing.entries.binary_search(&seq).is_ok();
        Ok(match seq {
            0 | 1 => listing.checkpoints.is_empty() || has(2),
            _ => has(seq - 1),
        })
    }

    /// The entry numbered `seq`.
    pub(crate) async fn entry(&self, seq: u64) -> Result<ManifestEntry, StorageError> {
        let key = entry_key(self.tenant, self.day, seq);
        let bytes = self.store.get(&key).await?;
        self.store.metrics().entries_replayed.inc();
        decode_entry(&bytes).map_err(|reason| StorageError::corrupt(&key, reason))
    }

    async fn checkpoint(&self, seq: u64) -> Result<PartitionState, StorageError> {
        let key = checkpoint_key(self.tenant, self.day, seq);
        let bytes = self.store.get(&key).await?;
        self.store.metrics().entries_replayed.inc();
        let state =
            decode_checkpoint(&bytes).map_err(|reason| StorageError::corrupt(&key, reason))?;
        if state.seq != seq {
            return Err(StorageError::corrupt(&key, "is of another entry"));
        }
        Ok(state)
    }

    /// Writes what `state` is as a checkpoint. Checkpoints of the same number are the same.
    pub(crate) async fn write_checkpoint(
        &self,
        state: &PartitionState,
    ) -> Result<(), StorageError> {
        let key = checkpoint_key(self.tenant, self.day, state.seq);
        self.store.put(&key, encode_checkpoint(state)?).await
    }

    /// Deletes entries and checkpoints that a newer checkpoint makes superfluous, if they were
    /// written before `before_ns`. Returns how many.
    ///
    /// They are deleted in ascending order, one after the other: whoever finds an entry missing
    /// then knows that all before it are missing, and that the log is longer.
    pub(crate) async fn prune(&self, before_ns: i64) -> Result<usize, StorageError> {
        let directory = partition(crate::key::MANIFEST_ROOT, self.tenant, self.day);
        let listed = self.store.list(&directory, None).await?;
        let of = |key: &str| parse_manifest_key(key);
        let checkpoint = listed
            .iter()
            .filter(|file| file.modified_ns < before_ns)
            .filter_map(|file| match of(&file.key) {
                Some(ManifestFile::Checkpoint(seq)) => Some(seq),
                _ => None,
            })
            .max();
        let Some(newest) = checkpoint else {
            return Ok(0);
        };
        // Deleting what a damaged checkpoint stands for would lose it.
        self.checkpoint(newest).await?;
        let superfluous = listed.iter().filter(|file| {
            file.modified_ns < before_ns
                && match of(&file.key) {
                    Some(ManifestFile::Entry(seq) | ManifestFile::Checkpoint(seq)) => seq < newest,
                    None => false,
                }
        });
        let mut deleted = 0;
        for file in superfluous {
            self.store.delete(&file.key).await?;
            deleted += 1;
        }
        Ok(deleted)
    }
}
