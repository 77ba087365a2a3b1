//! What a tenant has more than it may keep.

use std::collections::{BTreeMap, BTreeSet};

use model::{TenantId, TimeRange};
use storage::ObjectFile;

use crate::{CompactError, Compactor};

/// All of time.
const ALWAYS: TimeRange = TimeRange {
    start_ns: i64::MIN,
    end_ns: i64::MAX,
};

impl Compactor {
    /// Drops a tenant's oldest objects until the others fit into `retention_max_bytes`.
    pub(crate) async fn drop_excess(&self, tenant: &TenantId) -> Result<(), CompactError> {
        let max_bytes = self.overrides.limits(tenant).retention_max_bytes.0;
        if max_bytes == 0 {
            return Ok(());
        }
        let snapshot = self.catalog.snapshot(tenant, ALWAYS, &[]).await?;
        let objects = snapshot.partitions().iter().flat_map(|partition| {
            let objects = partition.state().objects.values();
            objects.map(|object| (partition.day(), object))
        });
        for (day, objects) in excess(objects.collect(), max_bytes) {
            tracing::info!(
                %tenant,
                day = storage::key::day_text(day),
                objects = objects.len(),
                retention_max_bytes = max_bytes,
                "dropping what is more than may be kept"
            );
            self.drop_objects(tenant, day, objects).await?;
        }
        Ok(())
    }
}

/// The oldest objects, by day, without which the others are not more than `max_bytes`.
fn excess(mut objects: Vec<(i64, &ObjectFile)>, max_bytes: u64) -> BTreeMap<i64, BTreeSet<u128>> {
    objects.sort_by_key(|(_, file)| (file.max_ts_ns, file.id));
    let mut bytes: u64 = objects.iter().map(|(_, file)| file.size_bytes).sum();
    let mut excess: BTreeMap<i64, BTreeSet<u128>> = BTreeMap::new();
    for (day, file) in objects {
        if bytes <= max_bytes {
            break;
        }
        bytes -= file.size_bytes;
        excess.entry(day).or_default().insert(file.id);
    }
    excess
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_until_the_others_fit() {
        let files: Vec<ObjectFile> = [(1, 50), (2, 30), (3, 40)]
            .into_iter()
            .map(|(id, max_ts_ns)| ObjectFile {
                id,
                size_bytes: 10,
                max_ts_ns,
                ..ObjectFile::default()
            })
            .collect();
        let ids = |max_bytes| {
            let objects = files.iter().zip([9, 8, 8]).map(|(file, day)| (day, file));
            let excess = excess(objects.collect(), max_bytes);
            excess.into_values().flatten().collect::<Vec<_>>()
        };
        assert_eq!(ids(30), []);
        assert_eq!(ids(29), [2]);
        assert_eq!(ids(15), [2, 3]);
        assert_eq!(ids(5), [2, 3, 1]);
    }
}
