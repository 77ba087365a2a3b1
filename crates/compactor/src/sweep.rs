//! Deletes files: those that were replaced, once no reader can hold a snapshot with them, and those
//! that no manifest ever named, once no writer can be about to name them.

use std::collections::BTreeSet;

use model::{TenantId, TimeRange};
use storage::{ManifestEntry, key};

use crate::{CompactError, Compactor};

impl Compactor {
    /// Sweeps all days of a tenant.
    pub(crate) async fn sweep(&self, tenant: &TenantId) -> Result<(), CompactError> {
        let store = self.catalog.store();
        let mut days: BTreeSet<i64> = self.catalog.days(tenant).await?.into_iter().collect();
        for root in [key::DATA_ROOT, key::INDEX_ROOT] {
            let names = store.list_directories(&format!("{root}/{tenant}")).await?;
            days.extend(names.iter().filter_map(|name| key::parse_day(name)));
        }
        for day in days {
            self.sweep_removed(tenant, day).await?;
            self.sweep_orphans(tenant, day).await?;
            let before_ns = self.now_ns().saturating_sub(TimeRange::DAY_NS);
            self.catalog.prune(tenant, day, before_ns).await?;
        }
        Ok(())
    }

    /// Replaced files of a partition.
    async fn sweep_removed(&self, tenant: &TenantId, day: i64) -> Result<(), CompactError> {
        let state = self.catalog.latest(tenant, day).await?;
        let before_ns = self.now_ns().saturating_sub(self.config.removed_delay.0);
        let is_due = |(id, removed_ns): (&u128, &i64)| (*removed_ns < before_ns).then_some(*id);
        let objects: Vec<u128> = state.removed_objects.iter().filter_map(is_due).collect();
        let indexes: Vec<u128> = state.removed_indexes.iter().filter_map(is_due).collect();
        if objects.is_empty() && indexes.is_empty() {
            return Ok(());
        }
        let data = objects.iter().map(|id| key::data_key(tenant, day, *id));
        let index = indexes.iter().map(|id| key::index_key(tenant, day, *id));
        for key in data.chain(index) {
            self.catalog.store().delete(&key).await?;
            self.metrics.files_swept.inc();
        }
        // Only then: what the manifest does not name any more would be an orphan.
        let mut entry = ManifestEntry::new(self.writer.clone(), self.now_ns());
        entry.swept_objects = objects;
        entry.swept_indexes = indexes;
        self.catalog.commit(tenant, day, entry).await?;
        Ok(())
    }

    /// Files of a partition that the manifest does not name.
    async fn sweep_orphans(&self, tenant: &TenantId, day: i64) -> Result<(), CompactError> {
        let store = self.catalog.store();
        let before_ns = self.now_ns().saturating_sub(self.config.orphan_delay.0);
        let mut old = Vec::new();
        for root in [key::DATA_ROOT, key::INDEX_ROOT] {
            let directory = key::partition(root, tenant, day);
            for file in store.list(&directory, None).await? {
                let Some(id) = key::parse_file_id(&file.key) else {
                    continue;
                };
                // A flush that is tried again writes its files again.
                if file.modified_ns < before_ns && key::id_time_ns(id) < before_ns {
                    old.push((file.key, id, root == key::DATA_ROOT));
                }
            }
        }
        if old.is_empty() {
            return Ok(());
        }
        // Looked at after the files: what was committed meanwhile is known.
        let state = self.catalog.latest(tenant, day).await?;
        for (key, id, is_data) in old {
            let is_known = match is_data {
                true => state.knows_object(id),
                false => state.knows_index(id),
            };
            if !is_known {
                store.delete(&key).await?;
                self.metrics.orphans_swept.inc();
                tracing::info!(%tenant, key, "deleted a file that nothing refers to");
            }
        }
        Ok(())
    }
}
