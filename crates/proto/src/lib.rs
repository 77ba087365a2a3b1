//! What processes say to each other and to clients.
//!
//! [`logproto`] is the push request of Loki-compatible clients, [`skald`] what our own processes
//! exchange; both are generated from `/proto` when the crate is built. The roles see neither: they
//! implement and call the traits of [`role`] in terms of `model`, and whether the other side is in
//! the same process or behind gRPC is decided where a process is put together, with [`remote`] and
//! [`service`].
//!
//! *Invariants.* Generated types stay inside this crate and the push decoder. What comes over the
//! wire is checked when it is turned into model types ([`convert`]): columns must agree, tenants
//! must be valid, times may be anything.

pub mod convert;
pub mod fuzz;
pub mod remote;
pub mod role;
pub mod service;

#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
mod generated {
    pub mod logproto {
        tonic::include_proto!("logproto");
    }
    pub mod skald {
        tonic::include_proto!("skald");
    }
}

pub use generated::{logproto, skald};
