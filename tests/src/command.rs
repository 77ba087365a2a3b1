//! Commands that are run to their end, and commands that are read while they run.

use std::ffi::OsString;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use crate::{binary, wait_for};

/// The longest that a command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a command left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; -1 if a signal ended it.
    pub code: i32,
    /// What it printed to standard output.
    pub stdout: String,
    /// What it printed to standard error.
    pub stderr: String,
}

fn command(name: &str, args: &[&str], env: &[(&str, &str)]) -> anyhow::Result<Command> {
    let mut command = Command::new(binary::path(name)?);
    let ours = |name: &OsString| {
        let name = name.to_string_lossy();
        name.starts_with("SKALD_") || name.starts_with("LOKI_")
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command
        .args(args)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    Ok(command)
}

/// Runs a binary to its end.
///
/// # Errors
/// If it does not start or does not end in time.
pub async fn run(name: &str, args: &[&str], env: &[(&str, &str)]) -> anyhow::Result<Output> {
    let output = tokio::time::timeout(PATIENCE, command(name, args, env)?.output())
        .await
        .with_context(|| format!("{name} {args:?} does not end"))??;
    Ok(Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A command that goes on; killed when dropped.
#[derive(Debug)]
pub struct Running {
    _child: Child,
    printed: Arc<Mutex<Vec<String>>>,
    complaints: Arc<Mutex<Vec<String>>>,
}

impl Running {
    /// Starts a binary and reads what it prints.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(name: &str, args: &[&str]) -> anyhow::Result<Self> {
        let mut child = command(name, args, &[])?.spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let stderr = child.stderr.take().context("no standard error")?;
        Ok(Self {
            _child: child,
            printed: collect(stdout),
            complaints: collect(stderr),
        })
    }

    /// The lines that it printed so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        locked(&self.printed).clone()
    }

    /// Waits until the lines that it printed are to the taste of `enough`, and gives them.
    ///
    /// # Errors
    /// If that takes too long.
    pub async fn until(
        &self,
        what: &str,
        enough: impl Fn(&[String]) -> bool,
    ) -> anyhow::Result<Vec<String>> {
        let waited = wait_for(what, PATIENCE, || {
            let lines = self.lines();
            let found = enough(&lines).then_some(lines);
            async move { found }
        });
        waited.await.with_context(|| {
            let complaints = locked(&self.complaints).join("\n");
            format!("{} lines printed; {complaints}", self.lines().len())
        })
    }
}

fn locked(lines: &Mutex<Vec<String>>) -> std::sync::MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

fn collect(output: impl AsyncRead + Send + Unpin + 'static) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let collected = Arc::clone(&lines);
    tokio::spawn(async move {
        let mut output = BufReader::new(output).lines();
        while let Ok(Some(line)) = output.next_line().await {
            locked(&collected).push(line);
        }
    });
    lines
}
