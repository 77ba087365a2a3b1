//! What the property test of pushed-down execution is made of: that has a
//! seed in place of a fuzzer, and runs in CI.

#[path = "../../../crates/scan/tests/pushdown/compare.rs"]
pub mod compare;
#[path = "../../../crates/scan/tests/pushdown/dice.rs"]
pub mod dice;
#[path = "../../../crates/scan/tests/pushdown/queries.rs"]
pub mod queries;
#[path = "../../../crates/scan/tests/pushdown/rows.rs"]
pub mod rows;
#[path = "../../../crates/scan/tests/pushdown/sources.rs"]
pub mod sources;
