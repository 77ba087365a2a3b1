//! Passwords of other registries, sealed with a key that is not in the database. Unless another is
//! configured it lies in the data directory, and there beside the database if that is SQLite: who
//! can read the whole directory can read the passwords.
//!
//! They have to be shown elsewhere, so no hash of them would do. What lies in the database is
//! AES-256-GCM of the password, bound to the address that it is for: who can write to the database
//! but does not have the key can neither read a password nor have it sent to another place.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use storage::Secret;

use crate::error::{Error, StartError};
use crate::logs::new_id;

/// The name of the key's file, unless another is configured.
const FILE: &str = "seal-key";
/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// A password that only its [`Sealer`] can read. Empty if there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sealed(pub(crate) String);

/// Seals passwords and opens them.
pub(crate) struct Sealer {
    key: LessSafeKey,
    /// Where the key is.
    path: PathBuf,
}

impl Sealer {
    /// One with the key of the configured file, or of that in a directory, which is made if it is
    /// not there.
    pub(crate) fn open(configured: &Path, directory: &Path) -> Result<Self, StartError> {
        let is_own = configured.as_os_str().is_empty();
        let path = match is_own {
            true => directory.join(FILE),
            false => configured.to_owned(),
        };
        let key = match read(&path) {
            Err(error) if is_own && error.kind() == io::ErrorKind::NotFound => make(&path),
            read => read,
        };
        let key = key.map_err(|source| StartError::File {
            path: path.clone(),
            source,
        })?;
        let key = UnboundKey::new(&AES_256_GCM, &key)
            .map_err(|_| StartError::Own("the key of passwords is of no use".to_owned()))?;
        Ok(Self {
            key: LessSafeKey::new(key),
            path,
        })
    }

    /// Seals a password for an address.
    pub(crate) fn seal(&self, password: &Secret, address: &str) -> Result<Sealed, Error> {
        let Some(password) = password.reveal() else {
            return Ok(Sealed::default());
        };
        let failed = |_| Error::internal("sealing a password", &"no random bytes, or no cipher");
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(failed)?;
        let mut sealed = password.as_bytes().to_vec();
        let (once, bound) = (
            Nonce::assume_unique_for_key(nonce),
            Aad::from(address.as_bytes()),
        );
        self.key
            .seal_in_place_append_tag(once, bound, &mut sealed)
            .map_err(failed)?;
        Ok(Sealed(STANDARD.encode([&nonce[..], &sealed].concat())))
    }

    /// The password that was sealed for an address, or why it cannot be read.
    pub(crate) fn open_sealed(&self, sealed: &Sealed, address: &str) -> Result<Secret, String> {
        if sealed.0.is_empty() {
            return Ok(Secret::default());
        }
        self.opened(sealed, address).ok_or_else(|| {
            format!(
                "the password for {address} was not sealed with the key in {}: give it again, or \
                 that key as registry.seal_key_file, the same to all processes that share the \
                 database",
                self.path.display()
            )
        })
    }

    fn opened(&self, sealed: &Sealed, address: &str) -> Option<Secret> {
        let bytes = STANDARD.decode(&sealed.0).ok()?;
        let (nonce, rest) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut rest = rest.to_vec();
        let once = Nonce::assume_unique_for_key(*nonce);
        let bound = Aad::from(address.as_bytes());
        let password = self.key.open_in_place(once, bound, &mut rest).ok()?;
        Some(Secret(String::from_utf8(password.to_vec()).ok()?))
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let text = std::fs::read_to_string(path)?;
    let key = STANDARD.decode(text.trim()).unwrap_or_default();
    if key.len() == KEY_BYTES {
        return Ok(key);
    }
    let message = format!("it should have {KEY_BYTES} random bytes in Base64, and nothing else");
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

/// Makes a key and keeps it where only we can read it.
fn make(path: &Path) -> io::Result<Vec<u8>> {
    let mut key = vec![0; KEY_BYTES];
    SystemRandom::new()
        .fill(&mut key)
        .map_err(|_| io::Error::other("no random bytes"))?;
    // A crash leaves the whole key or none, and of two who make one at once the first has it.
    let new = path.with_extension(new_id());
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(&new)?;
    file.write_all(format!("{}\n", STANDARD.encode(&key)).as_bytes())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&new, path);
    std::fs::remove_file(&new)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return read(path),
        linked => linked?,
    }
    path.parent()
        .map_or(Ok(()), |parent| File::open(parent)?.sync_all())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const ADDRESS: &str = "https://registry.example.org";

    fn secret(text: &str) -> Secret {
        Secret(text.to_owned())
    }

    #[test]
    fn only_the_key_opens_and_only_for_the_address() {
        let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let sealer = Sealer::open(Path::new(""), directory.path()).unwrap();
        let sealed = sealer.seal(&secret("pass wörd"), ADDRESS).unwrap();
        assert!(!sealed.0.contains("pass"));
        let again = sealer.seal(&secret("pass wörd"), ADDRESS).unwrap();
        assert_ne!(sealed, again, "equal passwords do not look so");

        let path = directory.path().join(FILE);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // The same key after a start, and from a file that is configured.
        for same in [
            Sealer::open(Path::new(""), directory.path()),
            Sealer::open(&path, other.path()),
        ] {
            let opened = same.unwrap().open_sealed(&sealed, ADDRESS).unwrap();
            assert_eq!(opened, secret("pass wörd"));
        }
        assert!(sealer.open_sealed(&sealed, "https://elsewhere").is_err());
        let stranger = Sealer::open(Path::new(""), other.path()).unwrap();
        assert!(stranger.open_sealed(&sealed, ADDRESS).is_err());
        for broken in ["AAAA", "?", &sealed.0[4..]] {
            assert!(
                sealer
                    .open_sealed(&Sealed(broken.to_owned()), ADDRESS)
                    .is_err()
            );
        }
        let none = sealer.seal(&Secret::default(), ADDRESS).unwrap();
        assert_eq!(
            sealer.open_sealed(&none, ADDRESS).unwrap(),
            Secret::default()
        );
    }

    #[test]
    fn of_two_who_make_a_key_the_first_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let first = make(&path).unwrap();
        assert_eq!(make(&path).unwrap(), first);
        assert_eq!(read(&path).unwrap(), first);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_is_configured_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        assert!(Sealer::open(&path, directory.path()).is_err());
        std::fs::write(&path, "c2hvcnQ=").unwrap();
        assert!(Sealer::open(&path, directory.path()).is_err());
    }
}
