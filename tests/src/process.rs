//! Real processes: started with a configuration, awaited, killed.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::api::Api;
use crate::port::free_port;
use crate::{binary, wait_for};

/// The longest that a process may take to become ready or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// How to start a process; kept so that it can be started again.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The binary.
    pub binary: &'static str,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables of its environment.
    pub env: Vec<(String, String)>,
    /// Where it serves HTTP.
    pub http: SocketAddr,
    /// Where its output goes.
    pub log: PathBuf,
}

impl Launch {
    /// `skald serve` on a directory, with more arguments.
    ///
    /// # Errors
    /// If no port is free.
    pub fn serve(directory: &Path, args: &[&str]) -> anyhow::Result<Self> {
        let http = free_port()?;
        let mut all = vec![
            "serve".to_owned(),
            format!("--data-dir={}", directory.join("data").display()),
            format!("--http-listen={http}"),
            "--grpc-listen=127.0.0.1:0".to_owned(),
            "--registry-listen=127.0.0.1:0".to_owned(),
        ];
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let log = directory.join("serve.out");
        Ok(Self {
            binary: "skald",
            args: all,
            env: Vec::new(),
            http,
            log,
        })
    }

    /// A binary with a file of `config/`, or of one's own, and a directory of its own.
    ///
    /// # Errors
    /// If no port is free.
    pub fn role(binary: &'static str, config: &Path, directory: &Path) -> anyhow::Result<Self> {
        let http = free_port()?;
        let mut args = vec![
            format!("--config={}", config.display()),
            format!("--http-listen={http}"),
            format!("--grpc-listen={}", free_port()?),
        ];
        if binary == "skald" {
            args.insert(0, "serve".to_owned());
        }
        let launch = Self {
            binary,
            args,
            env: Vec::new(),
            http,
            log: directory.join(format!("{binary}.out")),
        };
        // Of several at once, only one could have the registry's own port.
        let launch = launch.with_env("SKALD_REGISTRY_LISTEN", "127.0.0.1:0");
        Ok(launch.with_env("SKALD_HOME", &directory.display().to_string()))
    }

    /// The same with a variable set.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with one more argument.
    #[must_use]
    pub fn with_arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// If it does not start, ends, or is not ready in time.
    pub async fn start(&self) -> anyhow::Result<Process> {
        let mut process = self.spawn()?;
        process.ready().await?;
        Ok(process)
    }

    /// Starts it.
    ///
    /// # Errors
    /// If it does not start.
    pub fn spawn(&self) -> anyhow::Result<Process> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(binary::path(self.binary)?);
        // What the shell of the tests has set is not for the processes that they start.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SKALD_") {
                command.env_remove(name);
            }
        }
        let child = command
            .args(&self.args)
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} does not start", self.binary))?;
        Ok(Process {
            child,
            launch: self.clone(),
        })
    }
}

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    launch: Launch,
}

impl Process {
    /// Its API.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::new(&format!("http://{}", self.launch.http))
    }

    /// How it was started.
    #[must_use]
    pub fn launch(&self) -> &Launch {
        &self.launch
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `/ready` answers 200.
    ///
    /// # Errors
    /// If the process ends before, or takes too long; with what it printed.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let api = self.api();
        let child = &mut self.child;
        let mut ended = false;
        let waited = wait_for("readiness", PATIENCE, || {
            ended = ended || child.try_wait().is_ok_and(|status| status.is_some());
            let (ended, ready) = (ended, api.is_ready());
            async move { (ended || ready.await).then_some(ended) }
        })
        .await;
        match waited {
            Ok(false) => Ok(()),
            Ok(true) => anyhow::bail!("{} ended:\n{}", self.launch.binary, self.output()),
            Err(error) => Err(error.context(self.output())),
        }
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// The most memory that it has held so far, in bytes.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn memory_peak_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: u64 = kib.context("no VmHWM")?.trim().parse()?;
        Ok(kib << 10)
    }

    /// The end of what it printed.
    #[must_use]
    pub fn output(&self) -> String {
        let text = std::fs::read(&self.launch.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// SIGKILL: no chance to save anything.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub fn kill(mut self) -> anyhow::Result<Launch> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(self.launch.clone())
    }

    /// SIGTERM, then waits for the end.
    ///
    /// # Errors
    /// If it does not end in time, or not with code 0.
    pub async fn stop(self) -> anyhow::Result<Launch> {
        let id = self.child.id().to_string();
        anyhow::ensure!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()?
                .success()
        );
        self.ended().await
    }

    /// Waits for the end that somebody else asked for.
    ///
    /// # Errors
    /// If it does not end in time, or not with code 0.
    pub async fn ended(mut self) -> anyhow::Result<Launch> {
        let child = &mut self.child;
        let status = wait_for("the end of the process", PATIENCE, || {
            let status = child.try_wait().ok().flatten();
            async move { status }
        })
        .await
        .with_context(|| std::fs::read_to_string(&self.launch.log).unwrap_or_default())?;
        anyhow::ensure!(status.success(), "ended with {status}: {}", self.output());
        Ok(self.launch.clone())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
