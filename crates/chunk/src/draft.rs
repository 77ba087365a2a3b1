//! From lines to templates and columns.
//!
//! [`tokens`] takes the variable parts out of a line, [`group`] collects equal templates and the
//! values of each column, [`column`] finds out how values are stored best, and [`structure`] puts
//! the payloads in order.

mod column;
mod group;
mod json;
mod marks;
mod payload;
mod sample;
mod structure;
mod text;
mod tokens;

pub(crate) use structure::{Draft, draft};
