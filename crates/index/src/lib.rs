//! Label index files: symbols, series, postings, block references. Pure.
