//! `| json`: all fields of an object, or those that paths name.
//!
//! Lines are read where they lie, without building values. What counts as a value, and which fault
//! a malformed line has, follows the scanner of the reference, which is more lenient than JSON: it
//! never looks further than it needs to.

pub(super) mod fields;
pub(super) mod lookup;
pub(super) mod shape;
pub(super) mod token;
