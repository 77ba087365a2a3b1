//! What the local disk has of files that went while no process ran.

use std::sync::Arc;

use super::{Catalog, live};
use crate::error::StorageError;

impl Catalog {
    /// Drops from the local disk what it has of files that no manifest names. Reads the manifests,
    /// one after the other, as long as there is a file that none of them has named yet.
    ///
    /// # Errors
    /// If a manifest cannot be read; nothing is dropped then.
    pub(super) async fn forget_removed(&self) -> Result<(), StorageError> {
        // Files that come while manifests are read are not among these.
        let mut unknown = self.0.store.files_on_disk();
        if unknown.is_empty() {
            return Ok(());
        }
        for tenant in self.tenants().await? {
            for day in self.days(&tenant).await? {
                let log = self.log(&tenant, day);
                let state = log.catch_up(Arc::default(), None).await?;
                for file in live(&state) {
                    unknown.remove(&file);
                }
                if unknown.is_empty() {
                    return Ok(());
                }
            }
        }
        tracing::info!(
            files = unknown.len(),
            "dropping from the local disk what is no more"
        );
        self.0.store.forget(unknown.into_iter().collect()).await;
        Ok(())
    }
}
