//! The limits of each tenant: defaults, and what a file that may change at any time says otherwise.

mod check;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use model::units::DurationNs;
use model::{Limits, TenantId};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::Registry;
use crate::config::{ConfigError, Environment, parse_file, read_file};
pub use check::LimitError;

/// The `runtime_config` section: a file that is read again while the process runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuntimeConfig {
    /// The file; none by default. It has one key, `overrides`, a map of tenants to limits.
    pub file: Option<PathBuf>,
    /// How often it is read.
    pub period: DurationNs,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            file: None,
            period: DurationNs::from_secs(10),
        }
    }
}

/// Why limits are refused. Those in force stay.
#[derive(Debug, thiserror::Error)]
pub enum OverridesError {
    /// It cannot be read or is not what it should be.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// A name in it is no tenant.
    #[error("{path}: {source}")]
    Tenant {
        /// The file.
        path: PathBuf,
        /// Why.
        source: model::TenantError,
    },
    /// A limit of all tenants cannot be meant.
    #[error("limits.{0}")]
    Default(#[source] LimitError),
    /// A limit of one tenant cannot be meant.
    #[error("{path}: overrides.{tenant}.{source}")]
    Limit {
        /// The file.
        path: PathBuf,
        /// Whose limit it is.
        tenant: TenantId,
        /// Which, and why.
        source: LimitError,
    },
}

/// The form of the file, with `L` for what a tenant's limits are read as.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<L> {
    #[serde(default = "BTreeMap::new")]
    overrides: BTreeMap<String, L>,
}

impl<L> Default for File<L> {
    fn default() -> Self {
        Self {
            overrides: BTreeMap::new(),
        }
    }
}

type ByTenant = HashMap<TenantId, Arc<Limits>>;

/// The limits of every tenant. Cloning shares them; looking them up takes no lock.
#[derive(Clone, Debug)]
pub struct Overrides(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    defaults: Arc<Limits>,
    config: RuntimeConfig,
    environment: Environment,
    by_tenant: ArcSwap<ByTenant>,
    /// The text that is in force, so that an unchanged file costs a comparison.
    text: Mutex<String>,
    last_reload_ok: Gauge,
}

impl Overrides {
    /// The same limits for all tenants.
    #[must_use]
    pub fn new(defaults: Limits) -> Self {
        Self::with(defaults, RuntimeConfig::default(), Environment::default())
    }

    /// Limits from `defaults` and the runtime file, if there is one.
    ///
    /// # Errors
    /// If the file cannot be read, or it or the defaults are wrong.
    pub fn open(
        defaults: Limits,
        config: RuntimeConfig,
        environment: &Environment,
    ) -> Result<Self, OverridesError> {
        check::check(&defaults).map_err(OverridesError::Default)?;
        warn_of(&defaults.without_effect, None);
        let overrides = Self::with(defaults, config, environment.clone());
        overrides.reload()?;
        Ok(overrides)
    }

    fn with(defaults: Limits, config: RuntimeConfig, environment: Environment) -> Self {
        Self(Arc::new(Inner {
            defaults: Arc::new(defaults),
            config,
            environment,
            by_tenant: ArcSwap::default(),
            text: Mutex::default(),
            last_reload_ok: Gauge::default(),
        }))
    }

    /// Registers the metrics of reloading.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "skald_runtime_config_last_reload_successful",
            "Whether the runtime file was good when it was last read",
            self.0.last_reload_ok.clone(),
        );
    }

    /// What a tenant may do, now.
    #[must_use]
    pub fn limits(&self, tenant: &TenantId) -> Arc<Limits> {
        let by_tenant = self.0.by_tenant.load();
        by_tenant.get(tenant).unwrap_or(&self.0.defaults).clone()
    }

    /// What a tenant may do of whom the file says nothing.
    #[must_use]
    pub fn defaults(&self) -> Arc<Limits> {
        self.0.defaults.clone()
    }

    /// The tenants of whom the file says something, in order.
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantId> {
        let mut tenants: Vec<_> = self.0.by_tenant.load().keys().cloned().collect();
        tenants.sort_unstable();
        tenants
    }

    /// Reads the file now. Returns whether it had changed.
    ///
    /// # Errors
    /// If it cannot be read or is wrong; what was in force stays so.
    pub fn reload(&self) -> Result<bool, OverridesError> {
        let Some(path) = &self.0.config.file else {
            return Ok(false);
        };
        let outcome = self.reload_from(path);
        self.0.last_reload_ok.set(i64::from(outcome.is_ok()));
        outcome
    }

    fn reload_from(&self, path: &Path) -> Result<bool, OverridesError> {
        let text = read_file(path)?;
        let mut in_force = self.0.text.lock();
        if *in_force == text {
            return Ok(false);
        }
        let by_tenant = parse(path, &text, &self.0.environment, &self.0.defaults)?;
        for (tenant, limits) in &by_tenant {
            warn_of(&limits.without_effect, Some(tenant));
        }
        self.0.by_tenant.store(Arc::new(by_tenant));
        *in_force = text;
        Ok(true)
    }

    /// Reads the file again and again until `stop`. A bad file is logged, once per failure in a row
    /// of the same kind, and changes nothing.
    pub async fn watch(&self, stop: CancellationToken) {
        let period = self.0.config.period.as_std();
        if self.0.config.file.is_none() || period.is_zero() {
            return stop.cancelled().await;
        }
        let mut last_error = String::new();
        while stop
            .run_until_cancelled(tokio::time::sleep(period))
            .await
            .is_some()
        {
            let overrides = self.clone();
            // Small and rare, but a file may lie on a disk that hangs.
            let reloaded = tokio::task::spawn_blocking(move || overrides.reload()).await;
            match reloaded {
                Ok(Ok(changed)) => {
                    last_error.clear();
                    if changed {
                        tracing::info!(tenants = self.tenants().len(), "limits of tenants changed");
                    }
                }
                Ok(Err(error)) => {
                    let error = error.to_string();
                    if error != last_error {
                        tracing::error!(error, "runtime file refused; limits stay as they are");
                        last_error = error;
                    }
                }
                Err(error) => tracing::error!(%error, "cannot read the runtime file"),
            }
        }
    }
}

/// Says which of the limits that were written have no effect here.
fn warn_of(names: &[String], tenant: Option<&TenantId>) {
    if !names.is_empty() {
        let (limits, tenant) = (names.join(", "), tenant.map(TenantId::as_str));
        tracing::warn!(limits, tenant, "these limits have no effect here");
    }
}

fn parse(
    path: &Path,
    text: &str,
    environment: &Environment,
    defaults: &Limits,
) -> Result<ByTenant, OverridesError> {
    // Read twice: as limits, for errors with a line; and as what was written, since a tenant's
    // unwritten keys are the configured defaults and not the built-in ones.
    let _: Option<File<Limits>> = parse_file(path, text, environment)?;
    let written: Option<File<Value>> = parse_file(path, text, environment)?;
    let refused = |error: serde_json::Error| ConfigError::Parse {
        path: path.to_owned(),
        message: error.to_string(),
    };
    let base = serde_json::to_value(defaults).map_err(refused)?;
    let mut by_tenant = ByTenant::new();
    for (name, keys) in written.unwrap_or_default().overrides {
        let tenant = TenantId::new(&name).map_err(|source| OverridesError::Tenant {
            path: path.to_owned(),
            source,
        })?;
        let mut limits = base.clone();
        if let (Value::Object(limits), Value::Object(keys)) = (&mut limits, keys) {
            limits.extend(keys);
        }
        let limits = serde_json::from_value(limits).map_err(refused)?;
        if let Err(source) = check::check(&limits) {
            return Err(OverridesError::Limit {
                path: path.to_owned(),
                tenant,
                source,
            });
        }
        by_tenant.insert(tenant, Arc::new(limits));
    }
    Ok(by_tenant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(text: &str) -> (tempfile::NamedTempFile, Result<Overrides, OverridesError>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let defaults = Limits {
            max_label_names_per_series: 30,
            ..Limits::default()
        };
        let config = RuntimeConfig {
            file: Some(file.path().to_owned()),
            ..RuntimeConfig::default()
        };
        let overrides = Overrides::open(defaults, config, &Environment::default());
        (file, overrides)
    }

    #[test]
    fn written_keys_win_and_others_are_the_configured_defaults() {
        let (_file, overrides) = opened(
            "overrides:\n  a:\n    ingestion_rate_mb: 1\n    max_line_size: 1KB\n  b:\n    {}\n",
        );
        let overrides = overrides.unwrap();
        let limits = overrides.limits(&TenantId::new("a").unwrap());
        assert_eq!(limits.ingestion_rate_mb, 1.0);
        assert_eq!(limits.max_line_size, model::units::ByteSize::kib(1));
        assert_eq!(limits.max_label_names_per_series, 30);
        assert_eq!(overrides.limits(&TenantId::single()), overrides.defaults());
        assert_eq!(overrides.tenants().len(), 2);
    }

    #[test]
    fn a_file_of_loki_s_with_limits_that_have_no_effect_is_good() {
        let (_file, overrides) = opened(
            "overrides:\n  a:\n    shard_streams:\n      enabled: true\n    \
             ruler_max_rules_per_rule_group: 1\n    ruler_remote_write_url: http://x\n    \
             max_cache_freshness_per_query: 10m\n    policy_stream_mapping:\n      p:\n      \
             - selector: '{a=\"b\"}'\n        priority: 1\n",
        );
        let limits = overrides.unwrap().limits(&TenantId::new("a").unwrap());
        assert_eq!(limits.ruler_max_rules_per_rule_group, 1);
        assert_eq!(limits.policy_stream_mapping["p"][0].priority, 1);
        assert_eq!(limits.without_effect.len(), 3);
        assert_eq!(limits.max_label_names_per_series, 30);
    }

    #[test]
    fn a_broken_file_changes_nothing() {
        let (file, overrides) = opened("overrides:\n  a:\n    ingestion_rate_mb: 1\n");
        let overrides = overrides.unwrap();
        std::fs::write(file.path(), "overrides:\n  a:\n    ingestion_rate: 2\n").unwrap();
        let error = overrides.reload().unwrap_err().to_string();
        assert!(
            error.contains("ingestion_rate") && error.contains("line 3"),
            "{error}"
        );
        let a = TenantId::new("a").unwrap();
        assert_eq!(overrides.limits(&a).ingestion_rate_mb, 1.0);
        std::fs::write(file.path(), "overrides:\n  a:\n    ingestion_rate_mb: 3\n").unwrap();
        assert!(overrides.reload().unwrap());
        assert!(!overrides.reload().unwrap());
        assert_eq!(overrides.limits(&a).ingestion_rate_mb, 3.0);
    }

    /// Limits that cannot be meant, and what is said of them.
    const MISTYPED: [(&str, &str); 16] = [
        (
            "deletion_mode: disable",
            "unknown variant `disable`, expected one of disabled, filter-only, filter-and-delete",
        ),
        (
            "blocked_queries: [{pattern: '.*(count', regex: true}]",
            "blocked_queries: .*(count: ",
        ),
        (
            "blocked_queries: [{types: 'metric,filters'}]",
            "blocked_queries: filters: no type of queries, which are metric, filter, limited",
        ),
        (
            "retention_stream: [{selector: '{app=c}', priority: 1, period: 24h}]",
            "retention_stream: {app=c}: ",
        ),
        (
            "retention_stream: [{selector: '{app=\"c\"}', period: -24h}]",
            ": a duration must not be negative",
        ),
        (
            "policy_stream_mapping: {p: [{selector: '{app', priority: 1}]}",
            "policy_stream_mapping: {app: ",
        ),
        (
            "block_ingestion_until: '2099-13-01'",
            "block_ingestion_until: 2099-13-01: not a time such as 2026-01-31T00:00:00Z: ",
        ),
        (
            "block_ingestion_policy_until: {p: tomorrow}",
            "block_ingestion_policy_until: tomorrow: not a time",
        ),
        ("max_query_length: -5m", "max_query_length: -5m: a duration"),
        ("max_query_lookback: -1h", "max_query_lookback: -1h: "),
        ("query_timeout: -1s", "query_timeout: -1s: "),
        ("creation_grace_period: -1s", "creation_grace_period: -1s: "),
        ("retention_period: -1h", "retention_period: -1h: "),
        (
            "ingestion_rate_mb: -1",
            "ingestion_rate_mb: -1: must be a number, 0 or more",
        ),
        ("ingestion_burst_size_mb: -0.5", "ingestion_burst_size_mb: "),
        (
            "split_queries_by_interval: -1h",
            "split_queries_by_interval",
        ),
    ];

    #[test]
    fn what_cannot_be_meant_is_refused_with_limit_value_and_tenant() {
        for (written, said) in MISTYPED {
            let (_file, overrides) = opened(&format!("overrides:\n  team:\n    {written}\n"));
            let error = overrides.unwrap_err().to_string();
            assert!(error.contains(said), "{written}: {error}");
            assert!(error.contains("team"), "{written}: {error}");
        }
        for meant in [
            "deletion_mode: disabled",
            "deletion_mode: filter-only",
            "blocked_queries: [{pattern: '.*count.*', regex: true, types: 'metric, filter'}]",
            "retention_stream: [{selector: '{}', period: 0s}]",
            "block_ingestion_until: '3000-01-01T00:00:00+02:00'",
            "block_ingestion_until: ''",
            "max_query_length: 0s",
            "ingestion_rate_mb: 0",
        ] {
            let (_file, overrides) = opened(&format!("overrides:\n  team:\n    {meant}\n"));
            assert!(overrides.is_ok(), "{meant}: {overrides:?}");
        }
    }

    #[test]
    fn a_mistyped_limit_changes_nothing_for_anybody() {
        let (file, overrides) = opened("overrides:\n  a:\n    ingestion_rate_mb: 1\n");
        let overrides = overrides.unwrap();
        let mistyped = "overrides:\n  a:\n    ingestion_rate_mb: 2\n  b:\n    query_timeout: -1s\n";
        std::fs::write(file.path(), mistyped).unwrap();
        let error = overrides.reload().unwrap_err().to_string();
        assert!(error.contains("overrides.b.query_timeout: -1s"), "{error}");
        let a = TenantId::new("a").unwrap();
        assert_eq!(overrides.limits(&a).ingestion_rate_mb, 1.0);
    }

    #[test]
    fn defaults_are_checked_too() {
        let defaults = Limits {
            block_ingestion_until: Some("soon".to_owned()),
            ..Limits::default()
        };
        let config = RuntimeConfig::default();
        let error = Overrides::open(defaults, config, &Environment::default()).unwrap_err();
        let error = error.to_string();
        assert!(
            error.starts_with("limits.block_ingestion_until: soon: "),
            "{error}"
        );
    }

    #[test]
    fn an_empty_file_is_good_and_a_wrong_tenant_is_not() {
        assert!(opened("").1.is_ok());
        assert!(opened("overrides: {}\n").1.is_ok());
        assert!(matches!(
            opened("overrides:\n  a/b: {}\n").1,
            Err(OverridesError::Tenant { .. })
        ));
    }
}
