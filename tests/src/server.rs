//! `skald serve` in a directory of its own, gone with it.

use tempfile::TempDir;

use crate::api::Api;
use crate::process::{Launch, Process};

/// A running server.
#[derive(Debug)]
pub struct Server {
    // Before the directory, which it uses to its end.
    process: Process,
    directory: TempDir,
}

impl Server {
    /// Starts with these variables of the environment.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start(env: &[(&str, &str)]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut launch = Launch::serve(directory.path(), &[])?;
        for (name, value) in env {
            launch = launch.with_env(name, value);
        }
        let process = launch.start().await?;
        Ok(Self { process, directory })
    }

    /// Its API.
    #[must_use]
    pub fn api(&self) -> Api {
        self.process.api()
    }

    /// The process.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The same server on the same directory, after an orderly stop.
    ///
    /// # Errors
    /// If it does not stop, or does not start again.
    pub async fn restarted(self) -> anyhow::Result<Self> {
        let process = self.process.stop().await?.start().await?;
        Ok(Self {
            process,
            directory: self.directory,
        })
    }
}
