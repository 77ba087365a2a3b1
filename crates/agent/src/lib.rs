//! The agent: discover, tail, relabel, stage, batch, deliver.
