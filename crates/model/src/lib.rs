//! The words of the system.
//!
//! Every other crate speaks in these types: a [`LabelSet`] names a stream, [`Entries`] are its
//! lines as columns, a [`Matcher`] selects label sets, a [`TimeRange`] bounds a request,
//! a [`Shard`] is a part of all
//! streams, [`Limits`] say what a [`TenantId`] may do, and a [`Code`] classifies every error once, for HTTP
//! and gRPC alike.
//!
//! *Invariants.* No I/O, no async, no clock, no log output. A `LabelSet` is sorted by name with
//! unique names and no empty values. Times are `i64` nanoseconds since the Unix epoch.

mod budget;
mod code;
mod entries;
mod label;
mod limits;
mod matcher;
mod parts;
pub mod re2;
mod readable;
mod shard;
mod tenant;
mod time;
pub mod units;

pub use budget::{Budget, BudgetError, Reservation};
pub use code::{Code, CodedError, Exceeded};
pub use entries::{
    Entries, EntriesIter, Entry, EntryRef, KnownSets, RowLabels, StreamBatch, row_hash,
};
pub use label::{Label, LabelSet, LabelSetBuilder, is_valid_label_name};
pub use limits::{
    BlockedQuery, DeletionMode, DiscoverFields, Limits, OtlpAction, OtlpAttributeRule, OtlpConfig,
    OtlpResourceRules, PolicyStreams, StreamRetention,
};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use parts::Parts;
pub use readable::readable;
pub use shard::Shard;
pub use tenant::{TenantError, TenantId};
pub use time::{Direction, TimeRange};
