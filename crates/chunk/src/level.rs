//! Counters per log level, so that volumes by level need no rows.

use model::LabelSet;

/// The metadata key with the level that ingestion detected.
pub const LEVEL_KEY: &str = "detected_level";

/// The levels that have a counter.
pub const LEVELS: [&str; 8] = [
    "trace", "debug", "info", "warn", "error", "critical", "fatal", "unknown",
];

/// Per level of [`LEVELS`] the rows whose metadata says exactly that. Rows with another level or
/// none are in no counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelCounts(pub [u32; 8]);

impl LevelCounts {
    /// The counter of a row with this metadata.
    #[must_use]
    pub fn position(metadata: &LabelSet) -> Option<usize> {
        let level = metadata.get(LEVEL_KEY)?;
        LEVELS.iter().position(|name| *name == level)
    }

    /// Rows in all counters.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|count| u64::from(*count)).sum()
    }

    /// Level names with their rows, without the empty ones.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u32)> + '_ {
        LEVELS
            .iter()
            .copied()
            .zip(self.0)
            .filter(|(_, count)| *count > 0)
    }
}
