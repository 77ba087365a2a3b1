//! Runs a LogQL pipeline over the blocks and heads of streams.
