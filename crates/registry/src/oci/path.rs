//! What a path asks for. A name may contain every word of the grammar, so paths are read from their
//! end.

use crate::digest::Digest;
use crate::error::{Code, Error};
use crate::name::{Reference, RepoName};

/// Bytes of the longest path that is looked at.
const PATH_BYTES_MAX: usize = 1024;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Whether there is a registry.
    Ping,
    /// The list of repositories.
    Catalog,
    /// The tags of a repository.
    Tags(RepoName),
    /// What is about a manifest.
    Referrers(RepoName, Digest),
    /// A blob.
    Blob(RepoName, Digest),
    /// A manifest.
    Manifest(RepoName, Reference),
    /// Where uploads begin.
    Uploads(RepoName),
    /// An upload under way.
    Upload(RepoName, String),
}

impl Target {
    /// Reads the path of a request.
    ///
    /// # Errors
    /// If it is none, or a name, digest or tag in it is not one.
    pub(crate) fn parse(path: &str) -> Result<Self, Error> {
        let unknown = || Error::new(Code::NameUnknown, "no end point has this path");
        if path.len() > PATH_BYTES_MAX {
            let message = format!("a path has at most {PATH_BYTES_MAX} bytes");
            return Err(Error::new(Code::NameInvalid, message));
        }
        let path = decode(path).ok_or_else(unknown)?;
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Self::Ping),
            Some("/_catalog") => return Ok(Self::Catalog),
            Some(rest) => rest.strip_prefix('/').ok_or_else(unknown)?,
            None => return Err(unknown()),
        };
        let mut from_end = rest.rsplitn(4, '/');
        let (last, before, third) = (from_end.next(), from_end.next(), from_end.next());
        let whole = rest;
        let name = |suffix: usize| {
            let end = whole.len().checked_sub(suffix).ok_or_else(unknown)?;
            RepoName::parse(whole.get(..end).ok_or_else(unknown)?)
        };
        let (last, before) = (last.ok_or_else(unknown)?, before.ok_or_else(unknown)?);
        // Two words and the slash before each.
        let two = before.len() + last.len() + 2;
        match (third, before, last) {
            (Some("blobs"), "uploads", "") => Ok(Self::Uploads(name(two + "/blobs".len())?)),
            (Some("blobs"), "uploads", uuid) => {
                let repo = name(two + "/blobs".len())?;
                Ok(Self::Upload(repo, upload_id(uuid)?))
            }
            (_, "tags", "list") => Ok(Self::Tags(name(two)?)),
            (_, "blobs", "uploads") => Ok(Self::Uploads(name(two)?)),
            (_, "blobs", digest) => Ok(Self::Blob(name(two)?, Digest::parse(digest)?)),
            (_, "manifests", reference) => {
                Ok(Self::Manifest(name(two)?, Reference::parse(reference)?))
            }
            (_, "referrers", digest) => Ok(Self::Referrers(name(two)?, Digest::parse(digest)?)),
            _ => Err(unknown()),
        }
    }

    /// The same of a repository in a project, whose name there this one's is.
    ///
    /// # Errors
    /// If that name is too long.
    pub(crate) fn in_project(self, project: &str) -> Result<Self, Error> {
        let moved = |repo: &RepoName| RepoName::parse(&format!("{project}/{repo}"));
        Ok(match self {
            Self::Ping | Self::Catalog => self,
            Self::Tags(repo) => Self::Tags(moved(&repo)?),
            Self::Referrers(repo, digest) => Self::Referrers(moved(&repo)?, digest),
            Self::Blob(repo, digest) => Self::Blob(moved(&repo)?, digest),
            Self::Manifest(repo, reference) => Self::Manifest(moved(&repo)?, reference),
            Self::Uploads(repo) => Self::Uploads(moved(&repo)?),
            Self::Upload(repo, uuid) => Self::Upload(moved(&repo)?, uuid),
        })
    }

    /// The repository that is asked about.
    pub(crate) fn repo(&self) -> Option<&RepoName> {
        match self {
            Self::Ping | Self::Catalog => None,
            Self::Tags(repo)
            | Self::Referrers(repo, _)
            | Self::Blob(repo, _)
            | Self::Manifest(repo, _)
            | Self::Uploads(repo)
            | Self::Upload(repo, _) => Some(repo),
        }
    }
}

/// The id of an upload. All that were given out have these letters.
fn upload_id(text: &str) -> Result<String, Error> {
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Ok(text.to_owned());
    }
    Err(Error::new(Code::BlobUploadUnknown, "no upload has this id"))
}

/// A path without `%XX`: some clients write the colon of a digest so.
fn decode(path: &str) -> Option<String> {
    if !path.contains('%') {
        return Some(path.to_owned());
    }
    let mut bytes = path.bytes();
    let mut decoded = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        decoded.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn repo(target: &Target) -> &str {
        target.repo().unwrap().as_str()
    }

    #[test]
    fn every_end_point() {
        assert_eq!(Target::parse("/v2/").unwrap(), Target::Ping);
        assert_eq!(Target::parse("/v2/_catalog").unwrap(), Target::Catalog);
        for (path, name) in [
            ("/v2/a/b/tags/list", "a/b"),
            ("/v2/a/manifests/v1", "a"),
            ("/v2/a/blobs/uploads/", "a"),
            ("/v2/a/blobs/uploads", "a"),
            ("/v2/a/blobs/uploads/x-1", "a"),
            (&format!("/v2/a/b/c/blobs/{DIGEST}"), "a/b/c"),
            (&format!("/v2/a/referrers/{DIGEST}"), "a"),
            (
                &format!("/v2/a/manifests/{}", DIGEST.replace(':', "%3A")),
                "a",
            ),
            // Names may have the words of the grammar in them.
            ("/v2/manifests/manifests/manifests", "manifests"),
            ("/v2/a/blobs/manifests/v1", "a/blobs"),
            ("/v2/tags/list/tags/list", "tags/list"),
            ("/v2/blobs/uploads/blobs/uploads/", "blobs/uploads"),
        ] {
            assert_eq!(repo(&Target::parse(path).unwrap()), name, "{path}");
        }
    }

    #[test]
    fn what_is_no_end_point() {
        for path in [
            "/v2/a",
            "/v2/a/tags",
            "/v2/tags/list",
            "/v2//manifests/v1",
            "/v2/../manifests/v1",
            "/v2/a/../b/manifests/v1",
            "/v2/a/%2e%2e/manifests/v1",
            "/v2/a/manifests/",
            "/v2/a/manifests/%",
            "/v2/a/blobs/sha256:abc",
            "/v2/a/blobs/uploads/%2541",
            "/v2/A/manifests/v1",
            "/v3/a/manifests/v1",
        ] {
            assert!(Target::parse(path).is_err(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_stops_the_process(path in "(/v2)?(/[a-z%.:_0-9]{0,9}|/blobs|/uploads|/manifests){0,7}/?") {
            let _ = Target::parse(&path);
        }

        #[test]
        fn a_name_comes_out_as_it_went_in(name in "[a-z0-9]{1,5}(/[a-z0-9]{1,5}|/blobs|/tags|/uploads){0,3}") {
            let target = Target::parse(&format!("/v2/{name}/manifests/v1")).unwrap();
            prop_assert_eq!(repo(&target), &name);
        }
    }
}
