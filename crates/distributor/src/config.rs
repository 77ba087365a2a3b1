//! The `distributor` section of the configuration.

use model::units::{ByteSize, DurationNs};
use serde::{Deserialize, Serialize};

/// Bounds of pushes. What a tenant may push is in [`model::Limits`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The largest body of a push, as it is sent.
    pub max_recv_msg_size: ByteSize,
    /// The largest body of a push after decompression.
    pub max_decompressed_size: ByteSize,
    /// Memory that all pushes under way may hold together; more are refused with 503.
    pub max_inflight_size: ByteSize,
    /// The longest that a push waits for its ingesters.
    pub push_timeout: DurationNs,
    /// The most bytes of lines in one message to an ingester.
    pub ingester_batch_size: ByteSize,
    /// Memory for label sets that were parsed and checked before.
    pub label_cache_size: ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_recv_msg_size: ByteSize::mib(64),
            max_decompressed_size: ByteSize::mib(128),
            max_inflight_size: ByteSize::mib(512),
            push_timeout: DurationNs::from_secs(15),
            ingester_batch_size: ByteSize::mib(8),
            label_cache_size: ByteSize::mib(64),
        }
    }
}
