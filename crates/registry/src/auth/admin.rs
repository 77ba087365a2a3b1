//! The first administrator: made at the first start, with a password of its own.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::password::{self, Passwords};
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
    /// Makes the first administrator, if there is none; finishes what a start that was killed began, and
    /// puts a password aside that was changed since.
    pub(crate) async fn ensure(meta: &Meta, directory: &Path) -> Result<Option<Self>, Error> {
        let file = directory.join(FILE);
        let new = file.with_extension("new");
        let failed = |error| Error::internal("keeping the first password", &error);
        if meta.has_admin().await? {
            if let Some((_, false)) = left(meta, &file).await? {
                // It may be that of another database.
                std::fs::rename(&file, file.with_extension("old")).map_err(failed)?;
            }
            return match left(meta, &new).await? {
                Some((password, true)) => {
                    Self::keep(password, &new, file).map(Some).map_err(failed)
                }
                Some((_, false)) => std::fs::remove_file(new).map(|()| None).map_err(failed),
                None => Ok(None),
            };
        }
        let password = password::generate();
        let create = CreateAccount {
            who: Who::system("first start"),
            name: NAME.to_owned(),
            password: password::hash(password.clone()).await?,
            is_admin: true,
            profile: Profile::default(),
            only_first_admin: true,
        };
        // The password is on the disk before anybody can need it.
        write(&new, &password).map_err(failed)?;
        if meta.change(create).await?.is_none() {
            let _ = std::fs::remove_file(new);
            return Ok(None);
        }
        Self::keep(password, &new, file).map(Some).map_err(failed)
    }

    /// Has the file of a password that holds be where it is looked for.
    fn keep(password: String, new: &Path, file: PathBuf) -> std::io::Result<Self> {
        std::fs::rename(new, &file)?;
        sync_directory(&file)?;
        Ok(Self {
            name: NAME,
            password,
            file,
        })
    }
}

/// The password in a file that an earlier start left, and whether it is the account's: it may have been
/// changed, or another process that shares the database have been first.
async fn left(meta: &Meta, file: &Path) -> Result<Option<(String, bool)>, Error> {
    let Ok(text) = std::fs::read_to_string(file) else {
        return Ok(None);
    };
    let account = meta.account(NAME).await?;
    let hash = account.as_ref().map(|account| account.password.as_str());
    let password = text.trim().to_owned();
    let holds = Arc::new(Passwords::new()).check(&password, hash).await?;
    Ok(Some((password, holds)))
}

fn write(path: &Path, password: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(format!("{password}\n").as_bytes())?;
    file.sync_all()?;
    sync_directory(path)
}

/// What is new in a directory survives only once the directory is synced too.
fn sync_directory(file: &Path) -> std::io::Result<()> {
    match file.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
