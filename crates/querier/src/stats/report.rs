//! `data.stats` of an answer: the fields that clients of Loki read. What this querier does not
//! have, such as bloom filters, stays 0.

use serde::Serialize;

/// `data.stats` of an answer.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The totals that Grafana shows.
    pub summary: Summary,
    /// What was read from storage.
    pub querier: Querier,
    /// What came from ingesters.
    pub ingester: Ingester,
    /// Caches of answers.
    pub cache: Caches,
    /// What the label index said.
    pub index: IndexUse,
}

/// Totals.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "named by the API")]
pub struct Summary {
    pub bytes_processed_per_second: u64,
    pub lines_processed_per_second: u64,
    pub total_bytes_processed: u64,
    pub total_lines_processed: u64,
    pub exec_time: f64,
    pub queue_time: f64,
    pub subqueries: u64,
    pub total_entries_returned: u64,
    pub splits: u64,
    pub shards: u64,
    pub total_post_filter_lines: u64,
    pub total_structured_metadata_bytes_processed: u64,
}

/// Storage.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "named by the API")]
pub struct Querier {
    pub querier_exec_time: f64,
    pub store: Store,
}

/// Blocks of storage or of ingesters.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "named by the API")]
pub struct Store {
    pub total_chunks_ref: u64,
    pub total_chunks_downloaded: u64,
    pub chunks_download_time: u64,
    pub query_referenced_structured_metadata: bool,
    #[serde(rename = "queryUsedV2Engine")]
    pub query_used_v2_engine: bool,
    pub chunk: Chunk,
    pub dataobj: DataObject,
    pub chunk_refs_fetch_time: u64,
    pub congestion_control_latency: u64,
    pub pipeline_wrapper_filtered_lines: u64,
}

/// Contents of blocks.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "named by the API")]
pub struct Chunk {
    pub head_chunk_bytes: u64,
    pub head_chunk_lines: u64,
    pub decompressed_bytes: u64,
    pub decompressed_lines: u64,
    pub compressed_bytes: u64,
    pub total_duplicates: u64,
    pub post_filter_lines: u64,
    pub head_chunk_structured_metadata_bytes: u64,
    pub decompressed_structured_metadata_bytes: u64,
}

/// Loki's own format of data objects.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "named by the API")]
pub struct DataObject {
    pub page_batches: u64,
    pub pages_downloaded: u64,
    pub pages_downloaded_bytes: u64,
    pub pages_scanned: u64,
    pub post_filter_rows: u64,
    pub post_predicate_decompressed_bytes: u64,
    pub post_predicate_rows: u64,
    pub post_predicate_structured_metadata_bytes: u64,
    pub pre_predicate_decompressed_bytes: u64,
    pub pre_predicate_decompressed_rows: u64,
    pub pre_predicate_decompressed_structured_metadata_bytes: u64,
    pub total_page_download_time: u64,
    pub total_rows_available: u64,
    pub wire_bytes_transferred: u64,
}

/// Ingesters.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "named by the API")]
pub struct Ingester {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recv_wait_time: Option<u64>,
    pub total_reached: u64,
    pub total_chunks_matched: u64,
    pub total_batches: u64,
    pub total_lines_sent: u64,
    pub store: Store,
}

/// Caches by what they hold.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "named by the API")]
pub struct Caches {
    pub chunk: CacheUse,
    pub index: CacheUse,
    pub result: CacheUse,
    pub stats_result: CacheUse,
    pub volume_result: CacheUse,
    pub series_result: CacheUse,
    pub label_result: CacheUse,
    pub instant_metric_result: CacheUse,
    pub log_result: CacheUse,
    pub task_result: CacheUse,
}

/// What a cache did.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "named by the API")]
pub struct CacheUse {
    pub entries_found: u64,
    pub entries_requested: u64,
    pub entries_stored: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub requests: u64,
    pub download_time: u64,
    pub query_length_served: u64,
}

/// Lookups in the label index.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "named by the API")]
pub struct IndexUse {
    pub total_chunks: u64,
    pub post_filter_chunks: u64,
    pub total_streams: u64,
    pub chunk_refs_lookup_time: u64,
    pub shards_duration: u64,
    pub bloom_filter_time: u64,
    pub used_bloom_filters: bool,
}
