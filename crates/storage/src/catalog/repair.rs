//! Making a manifest whole again of which a file is damaged.
//!
//! What the damaged entry said is lost; what it spoke of is not. A repair takes all other entries
//! for what they are, lists the files of the day, and commits what is missing as one more entry,
//! with a checkpoint after it, from which readers go on that cannot read the damaged file. That one
//! stays until it is pruned, and a copy of it for ever.
//!
//! A listing says less than an entry did, and where it is not sure a repair keeps too much:
//! * A data object that no entry names counts from now on. It may be one that a flush or a
//!   compaction wrote and never committed: then its rows are there twice, in two objects. Queries
//!   give equal rows once, and the next compaction makes them one. A flush that commits it later
//!   finds it there, which is success.
//! * What the damaged entry removed counts again as long as it is in the store. Its rows are in the
//!   objects that took its place as well. Those that it had because they are to be deleted would be
//!   back, so requests to delete lines of that day are taken for unfinished.
//! * What entries name and the store does not have does not count any more.
//! * How far the entry said that its writer's log is stored is forgotten: a replay may store rows
//!   of one flush twice.
//! * Objects written by a compaction that is under way may come and go: a repair waits for its
//!   claim.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chunk::{BlockInfo, ChunkError, FinishedObject, ObjectMeta, Trailer};
use index::IndexBuilder;
use model::{TenantId, TimeRange};

use super::slot::Slot;
use super::{Catalog, add_to_index};
use crate::error::StorageError;
use crate::key::{
    DATA_ROOT, INDEX_ROOT, data_key, day_text, entry_key, finished_delete_key, id_text, new_id,
    parse_file_id, partition,
};
use crate::manifest::{ManifestEntry, ObjectFile, PartitionState, encode_entry};

/// How often a repair starts over because somebody else committed meanwhile.
const ATTEMPTS_MAX: u32 = 16;
/// How long a repair may take.
const CLAIM_NS: i64 = 600_000_000_000;
/// Requests to delete lines that were carried out within this time are taken for unfinished: for so
/// long, and less, what was removed stays in the store.
const REOPENED_NS: i64 = 2 * TimeRange::DAY_NS;
/// The end of an object that says where the rest is.
const TRAILER_LEN: u64 = 48;

impl Catalog {
    /// Repairs a manifest of which reading gave this error, if that is because a file is damaged.
    /// The slot's log lock is held.
    ///
    /// # Errors
    /// `found` if nothing is damaged that could be repaired, such as a file of a version to come;
    /// else if the store fails, or a compaction is under way.
    pub(super) async fn repair(
        &self,
        slot: &Slot,
        found: StorageError,
    ) -> Result<Arc<PartitionState>, StorageError> {
        let StorageError::Corrupt { key, .. } = &found else {
            return Err(found);
        };
        if crate::key::parse_manifest_key(key).is_none() {
            return Err(found);
        }
        let (tenant, day) = (&slot.tenant, slot.day);
        let log = self.log(tenant, day);
        if log.salvage().await?.damaged.is_empty() {
            return Err(found);
        }
        let now_ns = self.0.clock.now_ns();
        let holder = format!("repair {}", id_text(new_id(now_ns)));
        let claim = self.claim(tenant, day, &holder, now_ns + CLAIM_NS).await?;
        let Some(claim) = claim else {
            let reason = "the manifest is damaged, and is repaired when a compaction is over";
            return Err(super::commit::conflict(tenant, day, reason.to_owned()));
        };
        let repaired = self.repair_claimed(tenant, day).await;
        self.release(claim).await?;
        let state = Arc::new(repaired?);
        self.0.book.days(tenant).insert(day);
        slot.set(Arc::clone(&state), Some(now_ns));
        Ok(state)
    }

    async fn repair_claimed(
        &self,
        tenant: &TenantId,
        day: i64,
    ) -> Result<PartitionState, StorageError> {
        let log = self.log(tenant, day);
        for _ in 0..ATTEMPTS_MAX {
            let mut salvage = log.salvage().await?;
            if salvage.damaged.is_empty() {
                // Somebody else was first.
                return Ok(salvage.state);
            }
            for key in &salvage.damaged {
                let copy = format!("{key}.damaged");
                self.0
                    .store
                    .put(&copy, self.0.store.get(key).await?)
                    .await?;
                self.0.store.metrics().manifests_repaired.inc();
                tracing::error!(
                    key,
                    copy,
                    "a manifest file is damaged: what it said is made again from a listing of the files"
                );
            }
            self.reopen_deletes(tenant, day).await?;
            let entry = self.correction(tenant, day, &salvage.state).await?;
            let seq = salvage.state.seq + 1;
            let bytes = encode_entry(&entry)?;
            match self
                .0
                .store
                .create(&entry_key(tenant, day, seq), bytes)
                .await
            {
                Ok(()) => {}
                Err(StorageError::AlreadyExists { .. }) => continue,
                Err(error) => return Err(error),
            }
            salvage.state.apply(seq, &entry);
            log.write_checkpoint(&salvage.state).await?;
            tracing::warn!(
                %tenant,
                day = day_text(day),
                objects_found = entry.add_objects.len(),
                objects_gone = entry.remove_objects.len(),
                indexes_made = entry.add_indexes.len(),
                "a manifest was repaired"
            );
            return Ok(salvage.state);
        }
        let reason = "others commit all the time while the manifest is repaired";
        Err(super::commit::conflict(tenant, day, reason.to_owned()))
    }

    /// Rows that the lost entry left out may be back.
    async fn reopen_deletes(&self, tenant: &TenantId, day: i64) -> Result<(), StorageError> {
        let times = crate::snapshot::day_range(day);
        let since_ns = self.0.clock.now_ns().saturating_sub(REOPENED_NS);
        for request in self.latest_deletes(tenant).await?.requests {
            let is_late = request.processed_ns.is_some_and(|at_ns| at_ns > since_ns);
            if is_late && times.overlaps(request.start_ns, request.end_ns) {
                let key = finished_delete_key(tenant, request.id);
                self.0.store.delete(&key).await?;
            }
        }
        Ok(())
    }

    /// What has to be said besides so that the state is what the store has.
    async fn correction(
        &self,
        tenant: &TenantId,
        day: i64,
        state: &PartitionState,
    ) -> Result<ManifestEntry, StorageError> {
        let data = self.sizes(&partition(DATA_ROOT, tenant, day)).await?;
        let index = self.sizes(&partition(INDEX_ROOT, tenant, day)).await?;
        let mut entry = ManifestEntry::new("repair", self.0.clock.now_ns());
        let is_gone = |ids: &BTreeMap<u128, u64>, id: &u128| !ids.contains_key(id);
        let gone = state.objects.keys().filter(|id| is_gone(&data, id));
        entry.remove_objects = gone.copied().collect();
        entry.swept_objects.clone_from(&entry.remove_objects);
        let mut unindexed = BTreeSet::new();
        for (id, size) in &data {
            if state.knows_object(*id) {
                continue;
            }
            match self.described(tenant, day, *id, *size).await {
                Ok(object) => {
                    entry
                        .add_objects
                        .push(ObjectFile::of(&object, entry.created_ns)?);
                    match entry.refusal(day) {
                        None => _ = unindexed.insert(*id),
                        Some(reason) => {
                            tracing::warn!(reason, "an object that no manifest names stays so");
                            entry.add_objects.pop();
                        }
                    }
                }
                Err(StorageError::Corrupt { key, reason }) => {
                    tracing::warn!(
                        key,
                        reason,
                        "a damaged object that no manifest names stays so"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        unindexed.extend(self.unindexed(tenant, day, state, &mut entry).await?);
        for id in unindexed {
            let size = data.get(&id).copied().unwrap_or(0);
            let object = self.described(tenant, day, id, size).await?;
            let mut builder = IndexBuilder::new();
            add_to_index(&mut builder, data_key(tenant, day, id), &object);
            // A flush that commits its object later names its index so.
            let index_id = match state.knows_index(id) {
                true => new_id(entry.created_ns),
                false => id,
            };
            let files = self.put_index(tenant, day, index_id, builder).await?;
            entry.add_indexes.extend(files);
        }
        let gone = entry.remove_indexes.iter().filter(|id| is_gone(&index, id));
        entry.swept_indexes = gone.copied().collect();
        match entry.refusal(day) {
            Some(reason) => Err(StorageError::Invalid(reason)),
            None => Ok(entry),
        }
    }

    async fn sizes(&self, directory: &str) -> Result<BTreeMap<u128, u64>, StorageError> {
        let listed = self.0.store.list(directory, None).await?;
        let files = listed.iter();
        Ok(files
            .filter_map(|file| Some((parse_file_id(&file.key)?, file.size_bytes)))
            .collect())
    }

    /// Objects of the state whose rows no index file has, or not all. Index files that cannot be
    /// read are removed.
    async fn unindexed(
        &self,
        tenant: &TenantId,
        day: i64,
        state: &PartitionState,
        entry: &mut ManifestEntry,
    ) -> Result<Vec<u128>, StorageError> {
        let mut rows: HashMap<u128, u64> = HashMap::new();
        for file in state.indexes.values() {
            match self.index(tenant, day, file).await {
                Ok(index) => {
                    for object in index.objects() {
                        *rows.entry(object.id).or_default() += object.rows;
                    }
                }
                Err(StorageError::Corrupt { .. } | StorageError::NotFound { .. }) => {
                    entry.remove_indexes.push(file.id);
                }
                Err(error) => return Err(error),
            }
        }
        let gone: BTreeSet<&u128> = entry.remove_objects.iter().collect();
        let is_unindexed = |file: &&ObjectFile| {
            !gone.contains(&file.id) && rows.get(&file.id).copied().unwrap_or(0) < file.rows
        };
        let unindexed = state.objects.values().filter(is_unindexed);
        Ok(unindexed.map(|file| file.id).collect())
    }

    /// An object without its bytes, as it describes itself.
    async fn described(
        &self,
        tenant: &TenantId,
        day: i64,
        id: u128,
        size: u64,
    ) -> Result<FinishedObject, StorageError> {
        let key = data_key(tenant, day, id);
        let damaged = |error: ChunkError| StorageError::corrupt(&key, error);
        let tail = self.0.store.get_suffix(&key, TRAILER_LEN).await?;
        let trailer = Trailer::parse(&tail).map_err(damaged)?;
        let range = trailer.meta_range();
        if range.end != size {
            return Err(StorageError::corrupt(&key, "is of another length"));
        }
        let meta_bytes = self.0.store.get_range(&key, range.clone()).await?;
        let meta = ObjectMeta::parse(meta_bytes).map_err(damaged)?;
        let block = |ordinal| {
            Ok(BlockInfo {
                meta: meta.block(ordinal)?,
                streams: meta.streams_of(ordinal)?,
            })
        };
        let blocks = (0..meta.block_count()).map(block);
        if meta.object_id() != id {
            return Err(StorageError::corrupt(&key, "is another object"));
        }
        Ok(FinishedObject {
            object_id: id,
            pieces: Vec::new(),
            len: size,
            meta_off: range.start,
            meta_len: range.end - range.start,
            blocks: blocks.collect::<Result<_, _>>().map_err(damaged)?,
        })
    }
}
