//! Content addresses, and hashing that can be broken off and resumed elsewhere.

use std::fmt;

use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest as _, Sha256, Sha512};

use crate::error::{Code, Error};

/// A hash function that content is addressed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// Reads the name of an algorithm.
    ///
    /// # Errors
    /// `DIGEST_INVALID`, naming those that there are.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(Error::new(
                Code::DigestInvalid,
                format!("no digest algorithm `{text}` here; there are sha256 and sha512"),
            )),
        }
    }

    /// The name before the colon.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// The address of content: an algorithm and a hash in lower case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(String, Algorithm);

impl Digest {
    /// Reads `algorithm:hex`.
    ///
    /// # Errors
    /// `DIGEST_INVALID`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || {
            let message = format!(
                "`{text}` is not a digest: `sha256:` and 64, or `sha512:` and 128 hexadecimal digits in lower case"
            );
            Error::new(Code::DigestInvalid, message)
        };
        let (name, hex) = text.split_once(':').ok_or_else(wrong)?;
        let algorithm = Algorithm::parse(name)?;
        let is_hex = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex.len() == algorithm.hex_len() && is_hex {
            Ok(Self(text.to_owned(), algorithm))
        } else {
            Err(wrong())
        }
    }

    /// The digest of `bytes`.
    pub(crate) fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.digest()
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.1
    }

    /// `algorithm:hex`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A digest under way.
#[derive(Clone, Debug)]
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(state) => state.update(bytes),
            Self::Sha512(state) => state.update(bytes),
        }
    }

    /// What [`Hasher::resume`] continues from.
    pub(crate) fn save(&self) -> Vec<u8> {
        match self {
            Self::Sha256(state) => state.serialize().to_vec(),
            Self::Sha512(state) => state.serialize().to_vec(),
        }
    }

    /// A hasher as it was saved, or none if `saved` is not such a state.
    pub(crate) fn resume(algorithm: Algorithm, saved: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::Sha256 => {
                let state = Sha256::deserialize(saved.try_into().ok()?).ok()?;
                Some(Self::Sha256(state))
            }
            Algorithm::Sha512 => {
                let state = Sha512::deserialize(saved.try_into().ok()?).ok()?;
                Some(Self::Sha512(state))
            }
        }
    }

    pub(crate) fn digest(self) -> Digest {
        let (algorithm, hash) = match self {
            Self::Sha256(state) => (Algorithm::Sha256, state.finalize().to_vec()),
            Self::Sha512(state) => (Algorithm::Sha512, state.finalize().to_vec()),
        };
        Digest(format!("{}:{}", algorithm.name(), hex(&hash)), algorithm)
    }
}

/// Lower case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing into a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn digests_are_read_strictly() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(Algorithm::Sha256, b"").as_str(), empty);
        assert!(Digest::parse(empty).is_ok());
        for bad in [
            "",
            "sha256",
            "sha256:",
            "sha256:abc",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            &empty.to_uppercase(),
            &empty.replace("sha256", "sha512"),
            &format!("{empty}0"),
        ] {
            assert!(Digest::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_hash_goes_on_from_any_byte(bytes: Vec<u8>, cut: prop::sample::Index) {
            let cut = cut.index(bytes.len() + 1);
            for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                let mut hasher = Hasher::new(algorithm);
                hasher.update(&bytes[..cut]);
                let mut hasher = Hasher::resume(algorithm, &hasher.save()).unwrap();
                hasher.update(&bytes[cut..]);
                prop_assert_eq!(hasher.digest(), Digest::of(algorithm, &bytes));
            }
        }

        #[test]
        fn no_saved_state_stops_the_process(saved: Vec<u8>) {
            let _ = Hasher::resume(Algorithm::Sha256, &saved);
            let _ = Hasher::resume(Algorithm::Sha512, &saved);
        }
    }
}
