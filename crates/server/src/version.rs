//! Which build this is.

/// The version of the release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit, when the build was told it by `SKALD_BUILD_REVISION`.
pub const REVISION: &str = match option_env!("SKALD_BUILD_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};
