//! LogQL: the one implementation that querier, ingester, ruler, agent stages and command line use.
//!
//! Start at [`syntax::ast`].

pub mod syntax;
