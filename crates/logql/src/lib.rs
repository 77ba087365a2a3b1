//! LogQL: the one implementation that querier, ingester, ruler, agent stages and command line use.
//!
//! [`syntax`] reads a query into the tree of [`syntax::ast`] and prints it. Regular expressions in
//! it are RE2's: compile them through [`model::re2`]. [`metric`] computes what a metric query
//! answers from the samples of its range aggregations. [`pipeline`] runs the stages of a query over
//! rows: it gives the lines of a log query and those samples. [`template`] is the engine of
//! `line_format` and `label_format`, and of the agent's `template` stage.
//!
//! *Invariants.* Pure: no I/O, no clock, no async, no log output. Nothing panics on what a user
//! wrote.

mod go_number;
pub mod metric;
pub mod pipeline;
pub mod syntax;
pub mod template;
