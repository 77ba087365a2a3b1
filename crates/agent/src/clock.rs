//! Time, as who drives a reader gives it.

use std::time::Duration;

/// A moment by two clocks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Now {
    /// By a clock that only goes forward, since some beginning.
    pub(crate) mono: Duration,
    /// Nanoseconds since 1970.
    pub(crate) wall_ns: i64,
}
