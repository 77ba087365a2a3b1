//! Configuration of the querier.

use model::units::{ByteSize, DurationNs};
use serde::{Deserialize, Serialize};

/// How queries run in this process. What a tenant may ask for is in [`model::Limits`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Queries that run at once; others wait their turn, tenants in rotation.
    pub max_concurrent: usize,
    /// Queries of one tenant that may wait; one more is refused with 429.
    pub max_waiting_per_tenant: usize,
    /// Threads that scan blocks, for all queries together; 0 means one for each core.
    pub scan_threads: usize,
    /// Memory that all queries together may hold.
    pub memory: ByteSize,
    /// Memory in which is kept what stored lines amounted to in metric queries, so that the same
    /// query some time later looks at new lines only; 0 keeps nothing.
    pub result_cache: ByteSize,
    /// Whether filters and aggregations are carried out inside blocks where that gives the same
    /// answer. Without, queries are only slower.
    pub pushdown: bool,
    /// How long an ingester may take to begin its answer. Then a query goes on without it if others
    /// have all its rows, and waits as long as the query may take if they have not.
    pub ingester_timeout: DurationNs,
    /// Rows that wait for a slow tail client; more are dropped and counted.
    pub tail_buffer_rows: usize,
    /// Lines that are looked at one by one for their patterns, the newest first: those that an
    /// ingester has in no block yet, and those of stored blocks without templates. Other lines are
    /// counted without that, however many.
    pub pattern_lines: usize,
    /// Rule groups that a tenant may have.
    pub rule_groups_per_tenant: usize,
    /// Requests to delete lines that a tenant may have in force.
    pub delete_requests_per_tenant: usize,
    /// How large the requests of a tenant may be that are in force: bytes of their text, and states
    /// of their regular expressions, each of which takes about a hundred bytes of memory.
    pub delete_requests_weight_per_tenant: u64,
    /// Whether the header `X-Loki-Query-Limits` may tighten the limits of a request's tenant.
    pub per_request_limits_enabled: bool,
}

impl Config {
    /// Checks what the types do not say.
    ///
    /// # Errors
    /// With the first key that does not hold.
    pub fn validate(&self) -> Result<(), String> {
        if self.memory.0 == 0 {
            return Err(
                "querier.memory: 0 leaves queries no memory, so that each would fail".to_owned(),
            );
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_concurrent: 16,
            max_waiting_per_tenant: 2048,
            scan_threads: 0,
            memory: ByteSize::mib(1024),
            result_cache: ByteSize::mib(64),
            pushdown: true,
            ingester_timeout: DurationNs::from_secs(15),
            tail_buffer_rows: 10_000,
            pattern_lines: 1_000_000,
            rule_groups_per_tenant: 1000,
            delete_requests_per_tenant: 1000,
            delete_requests_weight_per_tenant: 1_000_000,
            per_request_limits_enabled: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_need_memory() {
        Config::default().validate().unwrap();
        let config = Config {
            memory: ByteSize(0),
            ..Config::default()
        };
        assert!(
            config
                .validate()
                .unwrap_err()
                .starts_with("querier.memory: 0 ")
        );
    }
}
