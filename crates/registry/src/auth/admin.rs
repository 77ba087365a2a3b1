//! The first administrator: made at the first start, with a password of its own.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::password;
use crate::error::Error;
use crate::meta::{CreateAccount, Meta, Profile};
use crate::who::Who;

/// The name of the first administrator.
const NAME: &str = "admin";
/// The file where the password is, for the one who reads no terminal.
const FILE: &str = "admin-password";

/// What is told once.
#[derive(Clone, Debug)]
pub(crate) struct FirstAdmin {
    pub(crate) name: &'static str,
    pub(crate) password: String,
    pub(crate) file: PathBuf,
}

impl FirstAdmin {
    /// Makes the first administrator, if there is none.
    pub(crate) async fn ensure(meta: &Meta, directory: &Path) -> Result<Option<Self>, Error> {
        let generated = password::generate();
        let create = CreateAccount {
            who: Who::system("first start"),
            name: NAME.to_owned(),
            password: password::hash(&generated)?,
            is_admin: true,
            profile: Profile::default(),
            only_first_admin: true,
        };
        let file = directory.join(FILE);
        // The password is on the disk before anybody can need it.
        let kept = keep(&file.with_extension("new"), &generated);
        kept.map_err(|error| Error::internal("keeping the first password", &error))?;
        if meta.change(create).await?.is_none() {
            let _ = std::fs::remove_file(file.with_extension("new"));
            return Ok(None);
        }
        std::fs::rename(file.with_extension("new"), &file)
            .map_err(|error| Error::internal("keeping the first password", &error))?;
        Ok(Some(FirstAdmin {
            name: NAME,
            password: generated,
            file,
        }))
    }
}

fn keep(path: &Path, password: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(format!("{password}\n").as_bytes())?;
    file.sync_all()
}
