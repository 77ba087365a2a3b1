//! Tenants.

use std::fmt;
use std::sync::Arc;

/// Why a tenant id is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// The id is empty.
    #[error("no org id")]
    Missing,
    /// The id is longer than 150 bytes.
    #[error("tenant ID is too long: max 150 characters")]
    TooLong,
    /// The id has a character that keys and metrics cannot carry.
    #[error("tenant ID '{id}' contains unsupported character '{character}'")]
    Unsupported {
        /// The id as given.
        id: String,
        /// The first offending character.
        character: char,
    },
    /// `.` and `..` would be path segments.
    #[error("tenant ID is '.' or '..'")]
    Unsafe,
}

/// Whose data it is. The rules are those of Grafana's multi-tenant systems: 1 to 150 bytes of
/// `a-zA-Z0-9!-_.*'()`, not `.` or `..`. Cloning is a reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Longest id, in bytes.
    pub const LEN_MAX: usize = 150;

    /// Checks an id.
    ///
    /// # Errors
    /// If it is empty, too long, or has a character outside the allowed set.
    pub fn new(id: &str) -> Result<Self, TenantError> {
        if id.is_empty() {
            return Err(TenantError::Missing);
        }
        if id.len() > Self::LEN_MAX {
            return Err(TenantError::TooLong);
        }
        if id == "." || id == ".." {
            return Err(TenantError::Unsafe);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
        match id.chars().find(|c| !allowed(*c)) {
            Some(character) => Err(TenantError::Unsupported {
                id: id.to_owned(),
                character,
            }),
            None => Ok(Self(id.into())),
        }
    }

    /// The tenant of requests that name none when tenants are switched off: `fake`, as in Loki.
    #[must_use]
    pub fn single() -> Self {
        Self("fake".into())
    }

    /// The tenant that an empty part of a list of tenants names, as in `a|`. It has nothing and
    /// cannot be given anything.
    #[must_use]
    pub fn nameless() -> Self {
        Self("".into())
    }

    /// Whether it is [`Self::nameless`].
    #[must_use]
    pub fn is_nameless(&self) -> bool {
        self.0.is_empty()
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_leave_their_directory_are_refused() {
        assert_eq!(TenantId::new(""), Err(TenantError::Missing));
        assert_eq!(TenantId::new(".."), Err(TenantError::Unsafe));
        assert!(matches!(
            TenantId::new("a/b"),
            Err(TenantError::Unsupported { character: '/', .. })
        ));
        assert_eq!(TenantId::new(&"x".repeat(151)), Err(TenantError::TooLong));
        assert!(TenantId::new("team-1_(eu)").is_ok());
    }
}
