//! What `deploy/` has for the agent: manifests that are well formed and belong together, a chart
//! that gives the same, configurations that the binary accepts.

mod manifests;
mod render;
