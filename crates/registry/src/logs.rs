//! What a registry writes down: a line of JSON per request and per piece of work that nobody waits
//! for, and its audit trail.
//!
//! Lines of requests and of work go to a file without anybody waiting; what the disk is too slow for is dropped
//! and counted. Audit records are different: they are in the database from the transaction of what
//! they tell, and leave it only when the file has them for good (`ship`). The registry needs no log
//! system to work; an agent collects the files.

mod access;
mod job;
mod note;
mod observe;
mod ship;
mod trace;

pub(crate) use job::{Done, Job};
pub(crate) use note::Note;
pub(crate) use observe::{Seen, new_id, observe};
pub(crate) use ship::ship;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use model::units::ByteSize;
use serde::{Deserialize, Serialize};
use server::{LineFile, RotatingFile};

/// Where lines go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogTarget {
    /// Files, which the agent of `skald serve` collects by itself.
    #[default]
    Files,
    /// What the process prints, for who collects the output of containers. How long that is kept, also
    /// of the audit trail, is theirs to say.
    Stdout,
}

/// Where lines go and how many are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Where lines go.
    pub to: LogTarget,
    /// A file is renamed and begun anew at this size.
    pub file_size_max: ByteSize,
    /// How many renamed files of requests, and of work, are kept.
    pub files_max: usize,
    /// How many renamed files of the audit trail are kept. When one goes, it is not known whether an
    /// agent has collected it: that is logged and counted.
    pub audit_files_max: usize,
    /// What the cluster is called that this serves, as the label `cluster` of the lines that
    /// `skald serve` collects; empty is none.
    pub cluster: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            to: LogTarget::Files,
            file_size_max: ByteSize::mib(64),
            files_max: 3,
            audit_files_max: 63,
            cluster: String::new(),
        }
    }
}

/// Where audit records go.
enum AuditSink {
    File(RotatingFile),
    Stdout(io::Stdout),
}

impl AuditSink {
    /// Durably adds lines, as far as that can be.
    fn add(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => {
                file.write_all(lines)?;
                file.sync()
            }
            Self::Stdout(stdout) => {
                stdout.write_all(lines)?;
                stdout.flush()
            }
        }
    }

    /// How many files had to go for it.
    fn take_lost(&mut self) -> u64 {
        match self {
            Self::File(file) => file.take_lost(),
            Self::Stdout(_) => 0,
        }
    }
}

/// The log of a registry.
pub(crate) struct Logs {
    access: LineFile,
    job: LineFile,
    audit: parking_lot::Mutex<AuditSink>,
    node: String,
}

/// The files' names, of which the last part is the kind of their lines.
pub(crate) fn paths(directory: &Path) -> [PathBuf; 3] {
    ["access", "audit", "job"].map(|kind| directory.join(format!("registry-{kind}.log")))
}

impl Logs {
    /// Opens the files in a directory, if lines go there.
    pub(crate) fn open(directory: &Path, config: &LogConfig) -> io::Result<Self> {
        let [access, audit, job] = paths(directory);
        let size_max = config.file_size_max.0;
        let lines = |name: &str, path: &Path| match config.to {
            LogTarget::Files => LineFile::open(name, path, size_max, config.files_max),
            LogTarget::Stdout => Ok(LineFile::to_stdout(name)),
        };
        let audit = match config.to {
            LogTarget::Files => {
                std::fs::create_dir_all(directory)?;
                AuditSink::File(RotatingFile::open(
                    &audit,
                    size_max,
                    config.audit_files_max,
                )?)
            }
            LogTarget::Stdout => AuditSink::Stdout(io::stdout()),
        };
        Ok(Self {
            access: lines("registry-access", &access)?,
            job: lines("registry-job", &job)?,
            audit: parking_lot::Mutex::new(audit),
            node: server::hostname(),
        })
    }

    /// What lines that were dropped are counted by.
    pub(crate) fn count_drops(&self, dropped: prometheus_client::metrics::counter::Counter) {
        self.access.count_drops(dropped.clone());
        self.job.count_drops(dropped);
    }

    /// Waits, not for long, until all lines of requests and of work are in their files.
    pub(crate) fn flush(&self) {
        self.access.flush();
        self.job.flush();
    }
}
