//! What persistent bytes are made of, shared by data objects (`chunk`) and label index files
//! (`index`), which are on one layer and may not know each other.
//!
//! - [`Reader`] reads little-endian numbers, varints and byte strings, and never past the end.
//! - [`ints`] packs columns of integers in groups of 128.
//! - [`frame`] compresses one piece of bytes and checks it with CRC32C when it comes back.
//! - [`container`] is the end of every file: sections, their directory, and a trailer that finds
//!   both.
//!
//! *Invariants.* No length that was read is trusted: it is compared with a cap and with what is
//! left before memory is taken. Whatever the input, a function returns or fails; it does not
//! panic.

pub mod container;
mod error;
pub mod frame;
pub mod ints;
mod pieces;
mod reader;
mod writer;

pub use error::CodecError;
pub use frame::Codec;
pub use reader::Reader;
pub use writer::{put_bytes, put_varint, put_zigzag};
