//! Compaction as a user sees it: small objects become few, lines that are too old or were asked to
//! be deleted leave the disk, and queries say the same before, meanwhile, afterwards and after a
//! restart.

mod deletes;
mod live;
mod merging;
mod replicas;
mod retention;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;
use tests::api::{Api, Labels, Line};
use tests::process::{Launch, Process};
use tests::wait_for;

/// The longest that a compaction may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whose lines they are.
const TENANT: &str = "team";

/// A server that compacts all the time and soon deletes what it has replaced.
const EAGER: [(&str, &str); 8] = [
    // The server collects its own log as well, as another tenant.
    ("SKALD_AUTH_ENABLED", "true"),
    ("SKALD_COMPACTOR_INTERVAL", "200ms"),
    ("SKALD_COMPACTOR_OLD_INTERVAL", "200ms"),
    ("SKALD_COMPACTOR_SWEEP_INTERVAL", "200ms"),
    ("SKALD_COMPACTOR_MIN_AGE", "100ms"),
    ("SKALD_COMPACTOR_MERGE_OBJECTS", "3"),
    ("SKALD_COMPACTOR_DELETE_REQUEST_CANCEL_PERIOD", "1s"),
    ("SKALD_COMPACTOR_DELETE_SETTLE", "1s"),
];

/// `skald serve` and its data.
struct Site {
    // Before the directory, which it uses to its end.
    process: Process,
    directory: TempDir,
}

impl Site {
    /// Starts with these variables besides those of [`EAGER`].
    async fn start(env: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::start_with(&[], env).await
    }

    /// The same with arguments.
    async fn start_with(args: &[&str], env: &[(&str, &str)]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut launch = Launch::serve(directory.path(), args)?;
        for (name, value) in EAGER.iter().chain(env) {
            launch = launch.with_env(name, value);
        }
        let process = launch.start().await?;
        Ok(Self { process, directory })
    }

    fn api(&self) -> Api {
        self.process.api().of_tenant(TENANT)
    }

    async fn restarted(self) -> anyhow::Result<Self> {
        let process = self.process.stop().await?.start().await?;
        Ok(Self {
            process,
            directory: self.directory,
        })
    }

    /// Pushes lines and has them written to the store, as an object.
    async fn store(&self, labels: &Labels, lines: &[Line]) -> anyhow::Result<()> {
        let (status, body) = self.api().push(labels, lines).await?;
        ensure!(status == 204, "a push answered {status}: {body}");
        self.api().flush().await
    }

    /// Files of the tenant under a directory of the store, such as `data`.
    fn files(&self, under: &str) -> anyhow::Result<Vec<PathBuf>> {
        let store = self.directory.path().join("data/store");
        let mut found = Vec::new();
        collect(&store.join(under).join(TENANT), &mut found)?;
        Ok(found)
    }

    /// Whether some bytes are in a file of the data directory, the process's own log apart.
    fn has_on_disk(&self, needle: &str) -> anyhow::Result<bool> {
        let mut files = Vec::new();
        collect(&self.directory.path().join("data"), &mut files)?;
        for file in files {
            // A file may go while we look.
            let bytes = std::fs::read(&file).unwrap_or_default();
            let is_there = bytes
                .windows(needle.len())
                .any(|at| at == needle.as_bytes());
            if is_there && !file.to_string_lossy().contains("/log/") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Waits until the store has so many files under a directory, or fewer.
    async fn has_files(&self, under: &str, at_most: usize) -> anyhow::Result<()> {
        let waited = wait_for("fewer files", PATIENCE, || {
            let count = self.files(under).map_or(usize::MAX, |files| files.len());
            async move { (count <= at_most).then_some(()) }
        });
        waited.await.with_context(|| {
            let files = self.files(under);
            format!("{files:?}\n{}", self.process.output())
        })
    }
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        if entry.path().is_dir() {
            collect(&entry.path(), found)?;
        } else {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// Labels of one name.
fn app(name: &str) -> Labels {
    Labels::from([("app".to_owned(), name.to_owned())])
}

/// Lines of a second each, from a time on.
fn lines(texts: &[&str], start_ns: i64) -> Vec<Line> {
    let line = |(number, text): (i64, &&str)| Line {
        timestamp_ns: start_ns + number * tests::lines::SECOND_NS,
        text: (*text).to_owned(),
    };
    (0..).zip(texts).map(line).collect()
}
