//! The harness that the end-to-end suites share.
