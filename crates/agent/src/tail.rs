//! Reading files that grow and are rotated.
//!
//! A [`Source`](source::Source) is a name under which lines are found; the files that bear it one
//! after the other are its [`Generation`](generation::Generation)s, each read to its end. All lines
//! of a source go through one pipeline, so that what belongs together stays together over a
//! rotation.

pub(crate) mod desk;
pub(crate) mod generation;
pub(crate) mod identity;
pub(crate) mod known;
pub(crate) mod newline;
pub(crate) mod restore;
mod rotate;
pub(crate) mod siblings;
pub(crate) mod source;
pub(crate) mod stamps;
pub(crate) mod ties;
pub(crate) mod unpack;
