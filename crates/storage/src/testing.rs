//! For tests of this crate and others: what every backend must do, and stores that misbehave.

mod conformance;
mod faulty;

pub use conformance::conformance;
pub use faulty::{Faults, FaultyStore, Spoil};

use std::path::Path;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;

use crate::config::RequestConfig;
use crate::error::StorageError;
use crate::metrics::Metrics;
use crate::store::Store;

/// A store in memory that the processes of a test share.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<InMemory>);

/// A store in memory that misbehaves as told; it makes no attempts of its own after a failure.
#[must_use]
pub fn faulty_memory(memory: &Memory, faults: Faults) -> Store {
    faulty(Arc::clone(&memory.0) as Arc<dyn ObjectStore>, faults)
}

/// A store in a directory that misbehaves as told; it makes no attempts of its own after a failure.
///
/// # Errors
/// If the directory cannot be used.
pub fn faulty_directory(directory: &Path, faults: Faults) -> Result<Store, StorageError> {
    let local = LocalFileSystem::new_with_prefix(directory)
        .map_err(|error| StorageError::Config(error.to_string()))?;
    Ok(faulty(Arc::new(local), faults))
}

fn faulty(inner: Arc<dyn ObjectStore>, faults: Faults) -> Store {
    let requests = RequestConfig {
        max_retries: 0,
        ..RequestConfig::default()
    };
    let store = Arc::new(FaultyStore::new(inner, faults));
    Store::with_object_store(store, &requests, Metrics::unregistered())
}
