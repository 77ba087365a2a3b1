//! Tokens: JSON Web Tokens signed with Ed25519, checked without asking the database.
//! <https://distribution.github.io/distribution/spec/auth/jwt/>

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::RwLock;
use quick_cache::sync::Cache;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use model::units::DurationNs;

use crate::digest::hex;
use crate::error::Error;
use crate::who::Kind;

/// How far the clocks of two machines may be apart, in seconds.
const LEEWAY_S: i64 = 60;
/// Bytes of a token that is looked at.
const TOKEN_BYTES_MAX: usize = 64 << 10;
/// Tokens that are remembered once they were checked, and bytes of one that is.
const CHECKED_MAX: usize = 2000;
const CHECKED_BYTES_MAX: usize = 4 << 10;

/// Why a token does not hold whose key was retired, is too new, or is somebody else's.
pub(crate) const UNKNOWN_KEY: &str = "the token's key is not one of this registry";

/// What a token allows in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Access {
    /// `repository` or `registry`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) actions: Vec<String>,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) sub: String,
    pub(crate) aud: String,
    pub(crate) exp: i64,
    pub(crate) nbf: i64,
    pub(crate) iat: i64,
    pub(crate) jti: String,
    pub(crate) kind: Kind,
    #[serde(default)]
    pub(crate) access: Vec<Access>,
    /// The last revocation that was known when its caller's rights were looked up.
    #[serde(default, rename = "rev")]
    pub(crate) revision: i64,
    /// Of a refresh token: which password it goes with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mark: Option<String>,
}

impl Claims {
    /// What a token says that holds from now on and allows nothing yet.
    pub(crate) fn new(audience: &str, now_s: i64, lifetime: DurationNs, id: String) -> Self {
        Self {
            iss: "skald-registry".to_owned(),
            sub: String::new(),
            aud: audience.to_owned(),
            exp: now_s.saturating_add(lifetime.0 / 1_000_000_000),
            nbf: now_s,
            iat: now_s,
            jti: id,
            kind: Kind::Anonymous,
            access: Vec::new(),
            revision: 0,
            mark: None,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: String,
    #[serde(default)]
    kid: String,
}

/// A key that signs.
pub(crate) struct SigningKey {
    pub(crate) kid: String,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// A new key, as it is kept.
    pub(crate) fn generate() -> Result<(String, Vec<u8>), Error> {
        let failed = |error: &dyn std::fmt::Display| Error::internal("making a key", error);
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let pkcs8 = pkcs8.map_err(|error| failed(&error))?.as_ref().to_vec();
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|error| failed(&error))?;
        Ok((kid(&pair), pkcs8))
    }

    /// A key as it was kept.
    pub(crate) fn read(pkcs8: &[u8]) -> Result<Self, Error> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8);
        let pair = pair.map_err(|error| Error::internal("reading a key", &error))?;
        Ok(Self {
            kid: kid(&pair),
            pair,
        })
    }
}

fn kid(pair: &Ed25519KeyPair) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, pair.public_key().as_ref());
    hex(digest.as_ref().get(..8).unwrap_or_default())
}

/// The keys of a registry; the first one signs, all check.
pub(crate) struct Keys {
    keys: RwLock<Vec<SigningKey>>,
    /// What tokens say that were checked, by their hashes: a client shows one token many times, and
    /// a signature takes longer to check than a manifest to find.
    checked: Cache<[u8; 32], Arc<Claims>>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            keys: RwLock::default(),
            checked: Cache::new(CHECKED_MAX),
        }
    }
}

/// The hash of a token that is short enough to be remembered.
fn remembered(token: &str) -> Option<[u8; 32]> {
    (token.len() <= CHECKED_BYTES_MAX).then(|| {
        let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        let mut name = [0; 32];
        name.copy_from_slice(digest.as_ref());
        name
    })
}

impl Keys {
    /// Replaces the keys, newest first.
    pub(crate) fn set(&self, keys: Vec<SigningKey>) {
        let mut current = self.keys.write();
        let kids = |keys: &[SigningKey]| -> Vec<String> {
            keys.iter().map(|key| key.kid.clone()).collect()
        };
        if kids(&current) != kids(&keys) {
            *current = keys;
            self.checked.clear();
        }
    }

    /// Signs a token.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let keys = self.keys.read();
        let key = keys.first();
        let key = key.ok_or_else(|| Error::internal("signing a token", &"there is no key"))?;
        let header = Header {
            alg: "EdDSA".to_owned(),
            typ: "JWT".to_owned(),
            kid: key.kid.clone(),
        };
        let encode = |value: serde_json::Result<Vec<u8>>| {
            let bytes = value.map_err(|error| Error::internal("signing a token", &error))?;
            Ok::<_, Error>(URL_SAFE_NO_PAD.encode(bytes))
        };
        let header = encode(serde_json::to_vec(&header))?;
        let claims = encode(serde_json::to_vec(claims))?;
        let signed = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(key.pair.sign(signed.as_bytes()));
        Ok(format!("{signed}.{signature}"))
    }

    /// What a token says, if it is ours, for `audience`, and holds at `now_s`; else why not.
    pub(crate) fn check(
        &self,
        token: &str,
        audience: &str,
        now_s: i64,
    ) -> Result<Claims, &'static str> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err("the token is too long");
        }
        let name = remembered(token);
        let known = name.and_then(|name| self.checked.get(&name));
        let claims = match known {
            Some(claims) => claims,
            None => {
                // The keys stay as they are until what they checked is remembered.
                let keys = self.keys.read();
                let claims = Arc::new(read(&keys, token)?);
                if let Some(name) = name {
                    self.checked.insert(name, Arc::clone(&claims));
                }
                claims
            }
        };
        if claims.aud != audience {
            return Err("the token is for another service");
        }
        if now_s > claims.exp.saturating_add(LEEWAY_S) {
            return Err("the token has expired");
        }
        if now_s < claims.nbf.saturating_sub(LEEWAY_S) {
            return Err("the token does not hold yet");
        }
        Ok(Claims::clone(&claims))
    }

    /// The public keys, as a JSON Web Key Set.
    pub(crate) fn public(&self) -> serde_json::Value {
        let key = |key: &SigningKey| {
            let x = URL_SAFE_NO_PAD.encode(key.pair.public_key().as_ref());
            serde_json::json!({
                "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
                "kid": key.kid, "x": x,
            })
        };
        let keys: Vec<_> = self.keys.read().iter().map(key).collect();
        serde_json::json!({ "keys": keys })
    }
}

/// What a token says whose signature is right.
fn read(keys: &[SigningKey], token: &str) -> Result<Claims, &'static str> {
    let malformed = "the token is not one of this registry";
    let (signed, signature) = token.rsplit_once('.').ok_or(malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(malformed)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed);
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| malformed)?;
    if header.alg != "EdDSA" {
        return Err("the token is not signed with EdDSA");
    }
    let key = keys.iter().find(|key| key.kid == header.kid);
    let key = key.ok_or(UNKNOWN_KEY)?;
    let public = UnparsedPublicKey::new(&ED25519, key.pair.public_key().as_ref());
    let signature = decode(signature)?;
    if public.verify(signed.as_bytes(), &signature).is_err() {
        return Err("the token's signature is wrong");
    }
    serde_json::from_slice(&decode(claims)?).map_err(|_| malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> Keys {
        let keys = Keys::default();
        let (_, pkcs8) = SigningKey::generate().unwrap();
        keys.set(vec![SigningKey::read(&pkcs8).unwrap()]);
        keys
    }

    fn claims() -> Claims {
        Claims {
            iss: "skald".to_owned(),
            sub: "ann".to_owned(),
            aud: "registry".to_owned(),
            exp: 1300,
            nbf: 1000,
            iat: 1000,
            jti: "1".to_owned(),
            kind: Kind::User,
            access: vec![Access {
                kind: "repository".to_owned(),
                name: "a/b".to_owned(),
                actions: vec!["pull".to_owned()],
            }],
            revision: 0,
            mark: None,
        }
    }

    #[test]
    fn the_newest_key_signs_and_older_ones_check_until_they_go() {
        let keys = Keys::default();
        let new_key = || SigningKey::read(&SigningKey::generate().unwrap().1).unwrap();
        let (old, new) = (new_key(), new_key());
        let [old_kid, new_kid] = [&old, &new].map(|key| key.kid.clone());
        keys.set(vec![old]);
        let before = keys.sign(&claims()).unwrap();
        assert_eq!(keys.check(&before, "registry", 1100), Ok(claims()));
        let old = new_key();
        assert_ne!(old.kid, old_kid);
        keys.set(vec![new, old]);
        assert_eq!(keys.check(&before, "registry", 1100), Err(UNKNOWN_KEY));
        let after = keys.sign(&claims()).unwrap();
        assert_eq!(keys.check(&after, "registry", 1100), Ok(claims()));
        assert_eq!(keys.public()["keys"][0]["kid"], new_kid);
    }

    #[test]
    fn a_token_holds_for_its_time_and_service() {
        let keys = keys();
        let token = keys.sign(&claims()).unwrap();
        assert_eq!(keys.check(&token, "registry", 1100), Ok(claims()));
        assert!(keys.check(&token, "other", 1100).is_err());
        assert!(keys.check(&token, "registry", 1361).is_err());
        assert!(keys.check(&token, "registry", 939).is_err());
    }

    #[test]
    fn forged_tokens_are_refused() {
        let (ours, other) = (keys(), keys());
        let token = other.sign(&claims()).unwrap();
        assert!(ours.check(&token, "registry", 1100).is_err());
        // Somebody else's claims under our signature, and no signature at all.
        let token = ours.sign(&claims()).unwrap();
        let mut parts: Vec<&str> = token.split('.').collect();
        let admin = Claims {
            sub: "admin".to_owned(),
            ..claims()
        };
        let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&admin).unwrap());
        parts[1] = &claims;
        assert!(ours.check(&parts.join("."), "registry", 1100).is_err());
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        assert!(
            ours.check(&format!("{none}.{claims}."), "registry", 1100)
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn no_text_stops_the_process(token in ".{0,80}", parts in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}") {
            let keys = keys();
            prop_assert!(keys.check(&token, "registry", 0).is_err());
            prop_assert!(keys.check(&parts, "registry", 0).is_err());
        }
    }
}
