//! What the fuzz targets share: queries run over rows (`rows`), pushes sent to a distributor whose
//! ingesters store nothing (`push`), requests sent to a querier of an empty store (`ask`), rows with
//! queries of them that are answered in two ways (`pushdown`), files that lie (`damage`).
//!
//! A target fails by a panic, by a property that does not hold, or by taking longer or more memory
//! than `run.sh` allows.

#[cfg(feature = "requests")]
pub mod ask;
pub mod damage;
#[cfg(feature = "requests")]
pub mod push;
pub mod pushdown;
pub mod rows;
#[cfg(feature = "requests")]
mod service;

/// Now, for all that asks: 2026-01-15 00:01:40 UTC in nanoseconds since the Unix epoch.
pub const NOW_NS: i64 = 1_768_435_300_000_000_000;
