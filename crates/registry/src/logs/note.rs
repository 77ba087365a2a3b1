//! What a handler learns about its request, for the line that tells of it.

use std::sync::Arc;

use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};

use crate::meta::Tell;

/// Shared by the handler and who writes the line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Note(Arc<Mutex<Noted>>);

/// What is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted {
    pub(crate) user: Option<String>,
    pub(crate) auth: Option<&'static str>,
    pub(crate) action: Option<&'static str>,
    pub(crate) route: Option<&'static str>,
    pub(crate) project: Option<String>,
    pub(crate) repo: Option<String>,
    pub(crate) reference: Option<String>,
    pub(crate) digest: Option<String>,
    pub(crate) media_type: Option<String>,
    pub(crate) upload_id: Option<String>,
    pub(crate) offset: Option<u64>,
    /// What answered, if not the registry's own store.
    pub(crate) cache: Option<&'static str>,
    /// The registry that the project is a cache of.
    pub(crate) upstream: Option<String>,
    /// What the audit trail has not been told yet.
    pub(crate) untold: Option<Tell>,
}

impl Note {
    pub(crate) fn edit(&self) -> MappedMutexGuard<'_, Noted> {
        MutexGuard::map(self.0.lock(), |noted| noted)
    }

    pub(crate) fn read(&self) -> Noted {
        self.0.lock().clone()
    }
}
