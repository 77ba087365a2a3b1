//! Streams, heads, write-ahead log, flush, recent queries, tail.

#![allow(dead_code)]
mod block;
mod config;
mod encode;
mod error;
mod flush;
mod head;
mod ingester;
mod memory;
mod metrics;
mod plan;
mod push;
mod replay;
mod stream;
mod tail;
mod tenant;
#[cfg(test)]
mod testing;
mod wal;
pub use config::*;
pub use error::*;
pub use ingester::*;
pub use metrics::Metrics;
pub use wal::*;
