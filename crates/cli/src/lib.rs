//! Client commands: query, tail, labels, series, stats.
