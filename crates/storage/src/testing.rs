//! For tests of this crate and others: what every backend must do, and stores that misbehave.

mod conformance;
mod faulty;

pub use conformance::conformance;
pub use faulty::{Faults, FaultyStore};
