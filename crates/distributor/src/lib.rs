//! Push: decode, validate, limit, shard, replicate.
