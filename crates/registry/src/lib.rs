//! An OCI image registry: bytes in an object store, facts in one transactional database.
//!
//! The crate owns two things. [`Meta`] is the only truth about names: which projects, repositories,
//! tags, manifests and links to blobs exist; every change is one transaction. The [`store`] has
//! bytes only, under keys that were never used before and never will be again: a blob's row says
//! which key its bytes have. So nothing is copied when an upload is committed, and removing bytes
//! cannot hit those of a later push.
//!
//! *Invariants.*
//! * A manifest is stored and returned byte for byte.
//! * What a manifest refers to is an edge in the database, so what is garbage is known without a
//!   walk, and decided in the same transaction that removes it.
//! * Bytes are durable before the row that names them; a row is gone before its bytes are.
//! * What was acknowledged survives the process; what was not is never visible in part.
//!
//! Start at [`Registry`], what a process holds; [`routes`] are its HTTP end points, of which `oci`
//! has those of the Distribution Specification.

mod api;
mod attributes;
mod auth;
mod config;
mod cost;
mod cron;
mod digest;
mod disk;
mod error;
mod execution;
mod foreign;
mod forget;
mod forwarded;
mod fsck;
pub mod fuzz;
mod gather;
mod gc;
mod heal;
mod health;
mod large;
mod late;
mod logs;
mod manifest;
mod mark;
mod meta;
mod metrics;
mod name;
mod oci;
mod proxy;
mod purge;
mod registry;
mod reservations;
mod retention;
mod rule;
mod seal;
mod settings;
mod site;
mod small;
mod store;
mod turns;
mod ui;
mod who;

pub use config::{AuthMode, Config};
pub use digest::{Algorithm, Digest};
pub use error::StartError;
pub use forwarded::{ForwardedHeader, Network};
pub use late::LateRoutes;
pub use logs::{LogConfig, LogTarget};
pub use meta::MetaError;
pub use metrics::Metrics;
pub use oci::routes;
pub use registry::{Deps, Registry};
