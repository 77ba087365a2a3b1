//! Push: decode, validate, limit, shard, replicate.
//!
//! [`routes`] serves the push endpoints of Loki and OTLP; [`Distributor::push`] takes rows from
//! within the process. Either way a push goes the same path: its body is decompressed and decoded
//! row by row, each row is checked and completed (`service_name`, `detected_level`), the tenant's
//! rate is charged, and the rows of each stream travel to the ingesters that the ring names. The
//! push is acknowledged when a write quorum has every row that was not refused.
//!
//! *Invariants.* A row that is refused refuses only itself: the others are stored, and the answer
//! says how many were not and why, in Loki's words. A body that cannot be decoded stores nothing.
//! Memory is taken from one budget before it is used, from the first byte of a body to the answer of
//! the last ingester; when the budget is spent, pushes are refused with 503. Rows keep their order:
//! what one push has for a stream reaches each ingester in the order in which it came.
//!
//! Start reading at [`Distributor::push`], then `intake`, where rows are checked, and `replicate`,
//! where quorums are counted.

mod body;
mod config;
mod decode;
mod error;
mod fields;
mod http;
mod intake;
mod labels;
mod level;
mod metrics;
mod names;
mod policies;
mod push;
mod replicate;
mod report;
mod stream;
mod tenants;
mod time;

pub use config::Config;
pub use error::{PushOutcome, Rejection};
pub use http::routes;
pub use metrics::Metrics;
pub use push::{Clock, Distributor, Repeats, system_clock};
pub use replicate::Ingesters;
