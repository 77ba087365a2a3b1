//! An agent with the files that it reads, and a server that it delivers to.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;
use tests::lines::{SECOND_NS, now_ns};
use tests::process::{Launch, Process};
use tests::wait_for;

/// The longest that lines may take from a file to a query.
const PATIENCE: Duration = Duration::from_secs(120);

/// A directory with the configuration of an agent and the files that it reads.
pub(crate) struct Home {
    directory: TempDir,
    pub(crate) agent: Launch,
}

impl Home {
    /// The agent delivers to `url`, with more keys of that client or more `clients`, and has these
    /// `scrape_configs`, in which `LOGS` is the directory of its files.
    pub(crate) fn new(url: &str, clients: &str, scrape_configs: &str) -> anyhow::Result<Self> {
        Self::within(tempfile::tempdir()?, url, clients, scrape_configs)
    }

    fn within(
        directory: TempDir,
        url: &str,
        clients: &str,
        scrape_configs: &str,
    ) -> anyhow::Result<Self> {
        let logs = directory.path().join("logs");
        std::fs::create_dir(&logs)?;
        let config = format!(
            "server: {{http_listen_address: 127.0.0.1}}
positions: {{filename: '{home}/positions.yaml'}}
clients:
  - url: {url}/loki/api/v1/push
    batchwait: 200ms
    backoff_config: {{min_period: 50ms, max_period: 500ms}}
{clients}
scrape_configs:
{jobs}",
            home = directory.path().display(),
            jobs = scrape_configs.replace("LOGS", &logs.display().to_string()),
        );
        let file = directory.path().join("agent.yaml");
        std::fs::write(&file, config)?;
        let agent = Launch::role("skald-agent", &file, directory.path())?;
        Ok(Self { directory, agent })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("logs").join(name)
    }

    pub(crate) fn append(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(name))?;
        Ok(file.write_all(text.as_bytes())?)
    }

    /// Changes the configuration before a start.
    pub(crate) fn replace_in_config(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let file = self.directory.path().join("agent.yaml");
        let written = std::fs::read_to_string(&file)?;
        ensure!(written.contains(from), "no {from} in it");
        Ok(std::fs::write(file, written.replace(from, to))?)
    }

    /// The saved positions.
    pub(crate) fn positions(&self) -> anyhow::Result<Vec<u8>> {
        Ok(std::fs::read(self.directory.path().join("positions.yaml"))?)
    }

    /// Puts other positions in the place of those that are saved.
    pub(crate) fn set_positions(&self, saved: &[u8]) -> anyhow::Result<()> {
        let _ = std::fs::remove_file(self.directory.path().join("positions.yaml.bak"));
        Ok(std::fs::write(
            self.directory.path().join("positions.yaml"),
            saved,
        )?)
    }
}

/// A server and an agent that delivers to it.
pub(crate) struct Site {
    home: Home,
    pub(crate) server: Process,
}

impl Deref for Site {
    type Target = Home;

    fn deref(&self) -> &Home {
        &self.home
    }
}

impl Site {
    /// Starts a server for an agent with these `scrape_configs`, as in [`Home::new`].
    pub(crate) async fn start(scrape_configs: &str) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let server = Launch::serve(directory.path(), &[])?.start().await?;
        let url = server.api().base().to_owned();
        let home = Home::within(directory, &url, "", scrape_configs)?;
        Ok(Self { home, server })
    }

    /// Kills the server, which is to be started again later.
    pub(crate) fn kill_server(&self) -> anyhow::Result<()> {
        let id = self.server.id().to_string();
        let killed = std::process::Command::new("kill")
            .args(["-KILL", &id])
            .status()?;
        ensure!(killed.success(), "the server cannot be killed");
        Ok(())
    }

    /// How many lines the server has of a job.
    pub(crate) async fn count(&self, job: &str) -> anyhow::Result<usize> {
        let query = format!("count_over_time({{job=\"{job}\"}}[1d])");
        let count = self
            .server
            .api()
            .instant(&query, now_ns() + SECOND_NS)
            .await?;
        Ok(count as usize)
    }

    /// Waits until the server has at least so many lines of a job.
    pub(crate) async fn counted(&self, job: &str, at_least: usize) -> anyhow::Result<()> {
        let waited = wait_for("lines", PATIENCE, async || {
            let count = self.count(job).await.unwrap_or(0);
            (count >= at_least).then_some(())
        })
        .await;
        if waited.is_ok() {
            return Ok(());
        }
        let count = self.count(job).await?;
        let log = std::fs::read_to_string(&self.agent.log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(20).collect();
        waited.with_context(|| format!("{job}: {count} of {at_least} lines; {last:#?}"))
    }

    /// Checks that the server has exactly these lines of a job, each once.
    pub(crate) async fn has(&self, job: &str, lines: &[String]) -> anyhow::Result<()> {
        let (end_ns, query) = (now_ns() + SECOND_NS, format!("{{job=\"{job}\"}}"));
        let start_ns = end_ns - 86_400 * SECOND_NS;
        let found = self
            .server
            .api()
            .all_lines(&query, start_ns, end_ns)
            .await?;
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        for line in lines {
            *counts.entry(line).or_default() += 1;
        }
        for line in &found {
            *counts.entry(&line.text).or_default() -= 1;
        }
        counts.retain(|_, count| *count != 0);
        let wrong: Vec<_> = counts.iter().take(10).collect();
        ensure!(
            wrong.is_empty(),
            "{job}: lost (above 0) or repeated: {wrong:?}"
        );
        Ok(())
    }
}
