//! Merge, retention, deletes, sweep.
