//! Streams, heads, write-ahead log, flush, recent queries, tail.

#![allow(dead_code)]
mod block;
mod config;
mod error;
mod head;
mod metrics;
mod stream;
#[cfg(test)]
mod testing;
mod wal;
pub use config::*;
pub use error::*;
pub use metrics::Metrics;
pub use wal::*;
