//! Names of repositories and tags, and references to manifests.

use std::fmt;

use crate::digest::Digest;
use crate::error::{Code, Error};

/// Bytes of a repository's name or of a component, as clients that put a host before it can still address it.
const NAME_BYTES_MAX: usize = 255;
/// Bytes of a tag.
const TAG_BYTES_MAX: usize = 128;

/// The name of a repository: components of lower case letters, digits and single separators, with
/// slashes between. The first component is its project.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RepoName(String);

impl RepoName {
    /// Reads a name.
    ///
    /// # Errors
    /// `NAME_INVALID`, saying what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Err(Error::new(Code::NameInvalid, format!("`{text}`: {why}")));
        if text.is_empty() {
            return wrong("a repository has a name");
        }
        if text.len() > NAME_BYTES_MAX {
            return wrong("a repository's name has at most 255 bytes");
        }
        if !text.split('/').all(is_component) {
            return wrong(
                "components are lower case letters and digits, with single `.`, one or two `_` or any number of `-` between them",
            );
        }
        Ok(Self(text.to_owned()))
    }

    /// The first component.
    pub(crate) fn project(&self) -> &str {
        self.0.split('/').next().unwrap_or(&self.0)
    }

    /// The name without the project; the whole if there is no more.
    pub(crate) fn rest(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, rest)| rest)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` is `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn is_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut rest = text.as_bytes();
    loop {
        let word = rest.iter().take_while(|b| is_word(**b)).count();
        rest = rest.get(word..).unwrap_or_default();
        if word == 0 {
            return false;
        }
        if rest.is_empty() {
            return true;
        }
        let separator = rest.iter().take_while(|b| !is_word(**b)).count();
        let (between, after) = rest.split_at(separator);
        let allowed = matches!(between, b"." | b"_" | b"__") || between.iter().all(|b| *b == b'-');
        if !allowed {
            return false;
        }
        rest = after;
    }
}

/// Refuses what is no name of `what`, a project or a robot: a component of at most 255 bytes.
///
/// # Errors
/// `NAME_INVALID`, saying what is wrong with it.
pub(crate) fn check_component(what: &str, text: &str) -> Result<(), Error> {
    let message = match text.len() {
        0..=NAME_BYTES_MAX if is_component(text) => return Ok(()),
        0..=NAME_BYTES_MAX => format!(
            "`{text}` is no name of {what}: lower case letters and digits, with single `.`, one or \
             two `_` or any number of `-` between them"
        ),
        length => format!("the name of {what} has at most {NAME_BYTES_MAX} bytes, not {length}"),
    };
    Err(Error::new(Code::NameInvalid, message))
}

/// A tag: a letter, digit or underscore, then up to 127 more with dots and dashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Tag(String);

impl Tag {
    /// Reads a tag.
    ///
    /// # Errors
    /// `MANIFEST_INVALID`, saying what a tag looks like.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let mut bytes = text.bytes();
        let first = bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
        let rest = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if first && rest && text.len() <= TAG_BYTES_MAX {
            return Ok(Self(text.to_owned()));
        }
        let message = format!(
            "`{text}` is not a tag: 1 to 128 letters, digits, `_`, `.` and `-`, of which the first is no `.` or `-`"
        );
        Err(Error::new(Code::ManifestInvalid, message))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Tag {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// What a manifest is asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// Its name.
    Tag(Tag),
    /// Its content.
    Digest(Digest),
}

impl Reference {
    /// Reads a reference: what has a colon is a digest.
    ///
    /// # Errors
    /// If it is neither.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        if text.contains(':') {
            Digest::parse(text).map(Self::Digest)
        } else {
            Tag::parse(text).map(Self::Tag)
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag.as_str()),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "a/b", "a.b/c_d/e__f/g--h", "0/1", "library/x-y.z"] {
            assert!(RepoName::parse(good).is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "", "/", "a/", "/a", "a//b", "A", "a/B", "-a", "a-", "a..b", "a___b", "a._b", "..",
            "a/../b", "a b", "ä", &long,
        ] {
            assert!(RepoName::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(RepoName::parse("team/app/web").unwrap().project(), "team");
    }

    #[test]
    fn tags() {
        let longest = "x".repeat(128);
        for good in ["latest", "_", "1.0-rc_1", "A", &longest] {
            assert!(Tag::parse(good).is_ok(), "{good}");
        }
        let long = "x".repeat(129);
        for bad in ["", ".a", "-a", "a/b", "a b", "a+b", &long] {
            assert!(Tag::parse(bad).is_err(), "{bad}");
        }
    }
}
