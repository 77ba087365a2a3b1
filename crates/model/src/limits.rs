//! What a tenant may do. Names and defaults are Loki's, so that an `overrides` file can be kept.

mod without_effect;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units::{ByteSize, DurationNs};
use crate::{Code, CodedError, TenantId};

/// The limits of one tenant. A limit of zero is no limit unless its comment says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, remote = "Self")]
pub struct Limits {
    // --- ingestion rates
    /// `global` shares a rate among the distributors, `local` gives it to each.
    pub ingestion_rate_strategy: String,
    /// Sustained rate of lines and metadata, MiB per second.
    pub ingestion_rate_mb: f64,
    /// Largest burst above that rate, MiB; also the largest push.
    pub ingestion_burst_size_mb: f64,
    /// Sustained rate of one stream per second.
    pub per_stream_rate_limit: ByteSize,
    /// Largest burst of one stream.
    pub per_stream_rate_limit_burst: ByteSize,
    /// Active streams over all ingesters.
    pub max_global_streams_per_user: u64,
    /// Active streams of one ingester.
    pub max_streams_per_user: u64,
    // --- labels and lines
    /// Labels of one stream, `service_name` not counted.
    pub max_label_names_per_series: usize,
    /// Bytes of a label name.
    pub max_label_name_length: usize,
    /// Bytes of a label value.
    pub max_label_value_length: usize,
    /// Bytes of a line.
    pub max_line_size: ByteSize,
    /// Cut longer lines instead of refusing them.
    pub max_line_size_truncate: bool,
    /// Put in the place of what was cut.
    pub max_line_size_truncate_identifier: String,
    /// Labels without which a stream is refused.
    pub enforced_labels: Vec<String>,
    /// Give a line of the same time as the one before it a time one nanosecond later.
    pub increment_duplicate_timestamp: bool,
    // --- age and order
    /// Refuse lines older than `reject_old_samples_max_age`.
    pub reject_old_samples: bool,
    /// How old a line may be.
    pub reject_old_samples_max_age: DurationNs,
    /// How far ahead of the clock a line may be.
    pub creation_grace_period: DurationNs,
    /// How far behind its stream's newest line a line may be. Zero, the default, is strict order.
    pub out_of_order_window: DurationNs,
    // --- structured metadata and what is found in lines
    /// Whether structured metadata is accepted.
    pub allow_structured_metadata: bool,
    /// Bytes of structured metadata of one line.
    pub max_structured_metadata_size: ByteSize,
    /// Pairs of structured metadata of one line.
    pub max_structured_metadata_entries_count: usize,
    /// Labels that name the service, first present wins; none switches the search off.
    pub discover_service_name: Vec<String>,
    /// Whether a level is looked for in each line and stored as `detected_level`.
    pub discover_log_levels: bool,
    /// Names under which a level is looked for.
    pub log_level_fields: Vec<String>,
    /// How deep in a JSON line a level is looked for.
    pub log_level_from_json_max_depth: usize,
    /// Fields to copy from lines into structured metadata, name to candidate paths.
    pub discover_generic_fields: DiscoverFields,
    /// What OTLP attributes become.
    pub otlp_config: OtlpConfig,
    // --- blocking
    /// Refuse pushes until then (RFC 3339).
    pub block_ingestion_until: Option<String>,
    /// Status of refused pushes; 200 drops them silently.
    pub block_ingestion_status_code: u16,
    /// Which streams are under which policy, by its name.
    pub policy_stream_mapping: BTreeMap<String, Vec<PolicyStreams>>,
    /// Labels without which a stream of a policy is refused, by its name; `*` is for every stream.
    pub policy_enforced_labels: BTreeMap<String, Vec<String>>,
    /// Refuse streams of a policy until then (RFC 3339), by its name; `*` is for streams of none.
    pub block_ingestion_policy_until: BTreeMap<String, String>,
    /// Queries that are refused.
    pub blocked_queries: Vec<BlockedQuery>,
    /// Labels that a selector must name.
    pub required_labels: Vec<String>,
    /// How many labels a selector must name.
    pub minimum_labels_number: usize,
    // --- queries
    /// Lines that one query may return.
    pub max_entries_limit_per_query: usize,
    /// From start to end of one query.
    pub max_query_length: DurationNs,
    /// How far back a query may look; what lies before is left out.
    pub max_query_lookback: DurationNs,
    /// The longest `[range]`.
    pub max_query_range: DurationNs,
    /// Series that one query may return.
    pub max_query_series: usize,
    /// Parts of one query that run at once, whether they read, search or add up; 0 for as many as
    /// are useful.
    pub max_query_parallelism: usize,
    /// The longest that a query may take.
    pub query_timeout: DurationNs,
    /// Bytes that one query may read.
    pub max_query_bytes_read: ByteSize,
    /// Bytes that one process may read of storage for a query; here, one process reads all of it.
    pub max_querier_bytes_read: ByteSize,
    /// Runs of rows in blocks that one query may touch.
    pub max_chunks_per_query: u64,
    /// Bytes of memory that one query may hold.
    pub max_query_memory: ByteSize,
    /// Matchers of one selector.
    pub max_streams_matchers_per_query: usize,
    /// Live tails at once.
    pub max_concurrent_tail_requests: usize,
    /// Streams that one query may touch.
    pub cardinality_limit: usize,
    /// Time parts of a query; also what steps of metric queries are aligned by.
    pub split_queries_by_interval: DurationNs,
    /// Ranges of instant metric queries that are longer than this are split in Loki, which loses
    /// labels without a value; 0 for none.
    pub split_instant_metric_queries_by_interval: DurationNs,
    /// Aggregations that may be answered approximately, such as `approx_topk`.
    pub shard_aggregations: Vec<String>,
    /// Whether volume endpoints answer.
    pub volume_enabled: bool,
    /// Series of a volume answer.
    pub volume_max_series: usize,
    // --- retention and deletion
    /// How long lines are kept; zero keeps them for ever.
    pub retention_period: DurationNs,
    /// Other periods for some streams.
    pub retention_stream: Vec<StreamRetention>,
    /// Bytes of data objects that are kept; what is oldest goes first. Zero is no limit.
    pub retention_max_bytes: ByteSize,
    /// What becomes of lines that somebody asks to delete.
    pub deletion_mode: DeletionMode,
    // --- rules
    /// Rules of one group.
    pub ruler_max_rules_per_rule_group: usize,
    /// Groups of rules.
    pub ruler_max_rule_groups_per_tenant: usize,
    // --- what was read besides
    /// Limits of Loki that were named and have no effect here.
    #[serde(skip)]
    pub without_effect: Vec<String>,
}

impl Limits {
    /// Refuses a query that touches more streams than `cardinality_limit`. Ingesters and queriers
    /// ask, so that a query is told the same before and after a flush.
    ///
    /// # Errors
    /// If it touches more.
    pub fn check_cardinality(&self, streams: usize, tenant: &TenantId) -> Result<(), CodedError> {
        let limit = self.cardinality_limit;
        if limit == 0 || streams <= limit {
            return Ok(());
        }
        let text = format!(
            "the query touches more streams than cardinality_limit ({limit}) of tenant {tenant} allows; add label matchers to the selector"
        );
        let error = CodedError::new(Code::InvalidArgument, text);
        Err(error.beyond("cardinality_limit", &limit, tenant))
    }
}

impl Serialize for Limits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut passed_over = Vec::new();
        let limits = Self::deserialize(without_effect::Effective {
            inner: deserializer,
            passed_over: &mut passed_over,
        })?;
        Ok(Self {
            without_effect: passed_over,
            ..limits
        })
    }
}

impl Default for Limits {
    fn default() -> Self {
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            ingestion_rate_strategy: "global".to_owned(),
            // Loki's 4 and 6 MiB/s refuse the burst of an incident, which is when logs matter most.
            ingestion_rate_mb: 200.0,
            ingestion_burst_size_mb: 400.0,
            per_stream_rate_limit: ByteSize::mib(100),
            per_stream_rate_limit_burst: ByteSize::mib(200),
            max_global_streams_per_user: 1_000_000,
            max_streams_per_user: 0,
            max_label_names_per_series: 15,
            max_label_name_length: 1024,
            max_label_value_length: 2048,
            max_line_size: ByteSize::kib(256),
            max_line_size_truncate: false,
            max_line_size_truncate_identifier: String::new(),
            enforced_labels: Vec::new(),
            increment_duplicate_timestamp: false,
            reject_old_samples: true,
            reject_old_samples_max_age: DurationNs::from_secs(7 * 86_400),
            creation_grace_period: DurationNs::from_secs(600),
            out_of_order_window: DurationNs(0),
            allow_structured_metadata: true,
            max_structured_metadata_size: ByteSize::kib(64),
            max_structured_metadata_entries_count: 128,
            discover_service_name: texts(&[
                "service",
                "app",
                "application",
                "app_name",
                "name",
                "app_kubernetes_io_name",
                "container",
                "container_name",
                "k8s_container_name",
                "component",
                "workload",
                "job",
                "k8s_job_name",
            ]),
            discover_log_levels: true,
            log_level_fields: texts(&[
                "level",
                "LEVEL",
                "Level",
                "log.level",
                "severity",
                "SEVERITY",
                "Severity",
                "SeverityText",
                "lvl",
                "LVL",
                "Lvl",
                "severity_text",
                "Severity_Text",
                "SEVERITY_TEXT",
            ]),
            log_level_from_json_max_depth: 2,
            discover_generic_fields: DiscoverFields::default(),
            otlp_config: OtlpConfig::default(),
            block_ingestion_until: None,
            block_ingestion_status_code: 260,
            policy_stream_mapping: BTreeMap::new(),
            policy_enforced_labels: BTreeMap::new(),
            block_ingestion_policy_until: BTreeMap::new(),
            blocked_queries: Vec::new(),
            required_labels: Vec::new(),
            minimum_labels_number: 0,
            max_entries_limit_per_query: 5000,
            max_query_length: DurationNs::from_secs(721 * 3600),
            max_query_lookback: DurationNs(0),
            max_query_range: DurationNs(0),
            max_query_series: 500,
            max_query_parallelism: 32,
            query_timeout: DurationNs::from_secs(60),
            max_query_bytes_read: ByteSize(0),
            max_querier_bytes_read: ByteSize(150 << 30),
            max_chunks_per_query: 2_000_000,
            max_query_memory: ByteSize::mib(512),
            max_streams_matchers_per_query: 1000,
            max_concurrent_tail_requests: 10,
            cardinality_limit: 100_000,
            split_queries_by_interval: DurationNs::from_secs(3600),
            split_instant_metric_queries_by_interval: DurationNs::from_secs(3600),
            shard_aggregations: Vec::new(),
            volume_enabled: true,
            volume_max_series: 1000,
            retention_period: DurationNs(0),
            retention_stream: Vec::new(),
            retention_max_bytes: ByteSize(0),
            deletion_mode: DeletionMode::default(),
            ruler_max_rules_per_rule_group: 0,
            ruler_max_rule_groups_per_tenant: 0,
            without_effect: Vec::new(),
        }
    }
}

/// Fields to copy from lines into structured metadata.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscoverFields {
    /// Name of the metadata to candidate names or JSON paths; the first present wins.
    pub fields: BTreeMap<String, Vec<String>>,
}

/// What becomes of lines that somebody asks to delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeletionMode {
    /// Nobody may ask.
    Disabled,
    /// Queries do not show them.
    FilterOnly,
    /// Queries do not show them, and they are taken out of the data.
    #[default]
    FilterAndDelete,
}

/// Streams that are under a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyStreams {
    /// A stream selector.
    pub selector: String,
    /// Of several policies that match, the one with the highest counts; of equals, the first by
    /// name.
    pub priority: i64,
}

/// A query that is refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlockedQuery {
    /// The query's text, or a regex over it.
    pub pattern: String,
    /// Whether `pattern` is a regex.
    pub regex: bool,
    /// A hash of the query's text instead of a pattern.
    pub hash: u32,
    /// Comma separated: `metric`, `filter`, `limited`. Empty means any.
    pub types: String,
}

/// Another retention period for streams that a selector matches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamRetention {
    /// A stream selector.
    pub selector: String,
    /// Of several that match, the highest wins.
    pub priority: i64,
    /// How long lines are kept.
    pub period: DurationNs,
}

/// What OTLP attributes become: index labels, structured metadata, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpConfig {
    /// Attributes of the resource.
    pub resource_attributes: OtlpResourceRules,
    /// Attributes of the scope.
    pub scope_attributes: Vec<OtlpAttributeRule>,
    /// Attributes of the record.
    pub log_attributes: Vec<OtlpAttributeRule>,
    /// Whether the severity text becomes the label `severity_text`.
    pub severity_text_as_label: bool,
}

/// Rules for resource attributes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpResourceRules {
    /// Leave out the fixed list of attributes that become labels by default.
    pub ignore_defaults: bool,
    /// Rules of one's own, first match wins.
    pub attributes_config: Vec<OtlpAttributeRule>,
}

/// One rule: which attributes, and what becomes of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpAttributeRule {
    /// What becomes of them.
    pub action: OtlpAction,
    /// Attributes by name.
    pub attributes: Vec<String>,
    /// Attributes by regex over the whole name.
    pub regex: String,
}

/// What becomes of an OTLP attribute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtlpAction {
    /// A label of the stream.
    IndexLabel,
    /// Structured metadata.
    #[default]
    StructuredMetadata,
    /// Nothing.
    Drop,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Limits, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn limits_that_have_no_effect_are_passed_over_and_others_are_refused() {
        let limits = read(
            r#"{"shard_streams": {"enabled": true}, "ruler_max_rules_per_rule_group": 1,
                "ruler_remote_write_headers": {"a": "b"}, "max_line_size": "1KB",
                "pattern_ingester_tokenizable_json_fields_default": ["log"]}"#,
        )
        .unwrap();
        assert_eq!(limits.ruler_max_rules_per_rule_group, 1);
        assert_eq!(limits.max_line_size, ByteSize::kib(1));
        assert_eq!(
            limits.without_effect,
            [
                "shard_streams",
                "ruler_remote_write_headers",
                "pattern_ingester_tokenizable_json_fields_default"
            ]
        );
        let error = read(r#"{"max_line_sise": 1}"#).unwrap_err().to_string();
        assert!(error.contains("unknown field `max_line_sise`"), "{error}");
        let written = serde_json::to_string(&limits).unwrap();
        assert!(!written.contains("shard_streams") && !written.contains("without_effect"));
        let read_again = read(&written).unwrap();
        let effective = Limits {
            without_effect: Vec::new(),
            ..limits
        };
        assert_eq!(read_again, effective);
    }
}
