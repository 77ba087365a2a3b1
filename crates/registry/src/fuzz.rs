//! What the fuzz targets in `tests/fuzz` need of the readers of what strangers send; nothing else
//! calls it.

use model::units::DurationNs;

use crate::auth::{Claims, Keys, SigningKey};
use crate::config::LimitConfig;
use crate::digest::Digest;
use crate::manifest;
use crate::oci::Target;
use crate::proxy::challenge::{self, Challenge};

/// The moment when tokens are checked, in seconds since 1970, and who they are for.
const NOW_S: i64 = 1000;
const AUDIENCE: &str = "fuzz";

/// Reads the path of a request. Gives it in the words that all clients should use, if it asks for
/// something.
#[must_use]
pub fn path(text: &str) -> Option<String> {
    Some(match Target::parse(text).ok()? {
        Target::Ping => "/v2/".to_owned(),
        Target::Catalog => "/v2/_catalog".to_owned(),
        Target::Tags(repo) => format!("/v2/{repo}/tags/list"),
        Target::Referrers(repo, digest) => format!("/v2/{repo}/referrers/{digest}"),
        Target::Blob(repo, digest) => format!("/v2/{repo}/blobs/{digest}"),
        Target::Manifest(repo, reference) => format!("/v2/{repo}/manifests/{reference}"),
        Target::Uploads(repo) => format!("/v2/{repo}/blobs/uploads/"),
        Target::Upload(repo, uuid) => format!("/v2/{repo}/blobs/uploads/{uuid}"),
    })
}

/// Reads a manifest. Gives its media type and the digests that it names, if it is one.
#[must_use]
pub fn manifest(content_type: Option<&str>, bytes: &[u8]) -> Option<(String, Vec<String>)> {
    let descriptors_max = LimitConfig::default().descriptors_max;
    let (media_type, manifest) = manifest::read(content_type, bytes, descriptors_max).ok()?;
    let named = manifest.blobs.iter().chain(&manifest.foreign);
    let named = named.chain(&manifest.manifests);
    let digests = named.map(|descriptor| &descriptor.digest);
    let digests = digests.chain(&manifest.subject);
    let digests = digests.map(Digest::to_string).collect();
    Some((media_type, digests))
}

/// Reads how another registry says to log in. Gives what each way that is known here names: nothing
/// if it is a name with a password, else realm, service and scope of a token.
#[must_use]
pub fn challenges(header: &str) -> Vec<Vec<String>> {
    let named = |challenge| match challenge {
        Challenge::Basic => Vec::new(),
        Challenge::Bearer {
            realm,
            service,
            scope,
        } => [Some(realm), service, scope]
            .into_iter()
            .flatten()
            .collect(),
    };
    challenge::parse(header).into_iter().map(named).collect()
}

/// A registry's keys for tokens.
pub struct Tokens(Keys);

impl Tokens {
    /// One new key.
    #[must_use]
    pub fn new() -> Option<Self> {
        let keys = Keys::default();
        let (_, pkcs8) = SigningKey::generate().ok()?;
        keys.set(vec![SigningKey::read(&pkcs8).ok()?]);
        Some(Self(keys))
    }

    /// A token that holds.
    #[must_use]
    pub fn sign(&self) -> Option<String> {
        let lifetime = DurationNs::from_secs(300);
        let claims = Claims::new(AUDIENCE, NOW_S, lifetime, "1".to_owned());
        self.0.sign(&claims).ok()
    }

    /// Whether a token holds.
    #[must_use]
    pub fn holds(&self, token: &str) -> bool {
        self.0.check(token, AUDIENCE, NOW_S).is_ok()
    }
}
