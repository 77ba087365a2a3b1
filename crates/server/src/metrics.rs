//! The metrics of a process and how they are scraped.

mod process;
mod summary;

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::info::Info;

pub use prometheus_client::registry::Registry;
pub use summary::Summary;

use crate::version::{REVISION, VERSION};

/// The content type of what [`Metrics::encode`] gives.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The registry of a process. Cloning shares it; every component registers its metrics once, at
/// construction.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// A registry with the build and the process in it.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        registry.register(
            "skald_build",
            "The build that is running",
            Info::new(vec![("version", VERSION), ("revision", REVISION)]),
        );
        registry.register_collector(Box::new(process::ProcessCollector::new()));
        Self(Arc::new(Mutex::new(registry)))
    }

    /// The registry, for constructors to register with.
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.lock()
    }

    /// All metrics as OpenMetrics text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a string fails only when a metric cannot be written at all.
        if let Err(error) = encode(&mut text, &self.0.lock()) {
            tracing::error!(%error, "cannot encode metrics");
        }
        summary::name_type(&text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_and_process_are_there() {
        let text = Metrics::new().encode();
        for name in [
            "skald_build_info{version=\"",
            "process_resident_memory_bytes ",
            "process_cpu_seconds_total ",
            "process_open_fds ",
            "process_max_fds ",
            "process_start_time_seconds ",
            "# EOF",
        ] {
            assert!(text.contains(name), "{name} is missing in:\n{text}");
        }
    }
}
