//! Joins roles into processes: module table, root config, the binaries.
