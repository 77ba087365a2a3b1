//! What exists in object storage, and access to it.
//!
//! The crate owns the object store (a directory, S3, GCS, Azure), the keys under which things lie
//! in it, the manifests that say which of them count, and the caches in front of it.
//!
//! A *partition* is a tenant's UTC day. It has data objects (`.lgob`, rows), label index files
//! (`.lgix`, which rows are where) and a manifest: a log whose entries add and remove those files,
//! numbered without gaps by conditional creates. A file counts once an entry adds it and until one
//! removes it; any other file is an orphan and swept after a day. So a writer puts its files first
//! and commits last, and a crash between leaves nothing that a reader could see.
//!
//! *Invariants.*
//! * Data objects and index files are immutable, and have rows of **one tenant and one UTC day
//!   only**: a flush that spans midnight writes an object per day. [`Catalog::commit`] refuses
//!   others.
//! * Every live index file refers to live data objects only; every live data object is referred to
//!   by exactly one live index file per stream and block.
//! * A write is durable and visible as a whole when it returns, on every backend.
//! * Requests are bounded in number, time and repetition; caches in bytes; partitions in memory in
//!   number.
//! * A damaged file gives an error that names its key.
//!
//! Start at [`Catalog`]: [`Catalog::publish`] and [`Catalog::commit`] for writers, [`Catalog::snapshot`] for readers. Below
//! it is [`Store`], requests to the object store; beside it the pure [`manifest`].

mod backend;
mod cache;
mod catalog;
mod clock;
mod config;
mod delete_request;
mod disk;
mod error;
pub mod fuzz;
pub mod key;
pub mod manifest;
mod metrics;
mod objects;
mod range;
mod snapshot;
mod store;
#[cfg(any(test, feature = "test-support"))]
pub mod testing;

pub use backend::{OpenUpload, PartStore};
pub use cache::ByteCache;
pub use catalog::{Catalog, Claim, DeleteRequests, add_to_index};
pub use clock::Clock;
pub use config::{
    AzureConfig, Backend, CacheConfig, CatalogConfig, GcsConfig, LocalConfig, RequestConfig,
    S3Config, Secret, StorageConfig,
};
pub use delete_request::DeleteRequest;
pub use error::StorageError;
pub use manifest::{IndexFile, ManifestEntry, ObjectFile, PartitionState, Tombstone};
pub use metrics::{CacheName, Metrics, Operation};
pub use objects::{BlockParts, ObjectRef, Objects};
pub use snapshot::{Partition, Snapshot};
pub use store::{Listed, Store};
