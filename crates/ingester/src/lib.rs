//! Streams, heads, write-ahead log, flush, recent queries, tail.
