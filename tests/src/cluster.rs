//! A cluster of separate processes, each started with its file of `config/`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;

use crate::api::Api;
use crate::port::free_port;
use crate::process::{Launch, Process};
use crate::s3::S3;
use crate::wait_for;

/// The longest that members may take to find each other, and to notice that one is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where blocks are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A directory that all share.
    Directory,
    /// The S3-compatible server of the harness.
    S3,
}

/// One distributor, ingesters, one querier. Killed when dropped.
#[derive(Debug)]
pub struct Cluster {
    // Processes before what they use.
    distributor: Process,
    querier: Process,
    ingesters: Vec<Option<Process>>,
    launches: Vec<Launch>,
    setting: Setting,
    // What they use comes last.
    _s3: Option<S3>,
    directory: TempDir,
}

/// What the processes of a cluster have in common.
#[derive(Clone, Debug)]
struct Setting {
    home: PathBuf,
    env: Vec<(String, String)>,
}

/// A file of `config/`.
///
/// # Errors
/// If this is no workspace.
pub fn example(role: &str) -> anyhow::Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let workspace = workspace.context("no workspace")?;
    Ok(workspace.join("config").join(format!("{role}.yaml")))
}

impl Cluster {
    /// Starts a cluster of `ingesters` and waits until its members know each other.
    ///
    /// # Errors
    /// If that does not come about.
    pub async fn start(ingesters: usize, backend: Backend) -> anyhow::Result<Self> {
        Self::start_with(ingesters, backend, &[]).await
    }

    /// The same with more variables in every process's environment.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(
        ingesters: usize,
        backend: Backend,
        env: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let s3 = match backend {
            Backend::S3 => Some(S3::start(&directory.path().join("s3")).await?),
            Backend::Directory => None,
        };
        let gossip = (0..ingesters + 2)
            .map(|_| Ok(free_port()?.to_string()))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let setting = Setting::new(directory.path(), s3.as_ref(), &gossip.join(","), env);
        let mut gossip = gossip.iter();
        let mut next = || gossip.next().context("too few ports");
        let distributor = setting.launch("distributor", "skald-distributor", next()?)?;
        let querier = setting.launch("querier", "skald-querier", next()?)?;
        let mut launches = Vec::new();
        for number in 1..=ingesters {
            launches.push(setting.ingester(number, next()?)?);
        }
        let mut processes = Vec::new();
        for launch in &launches {
            processes.push(Some(launch.spawn()?));
        }
        let mut cluster = Self {
            distributor: distributor.spawn()?,
            querier: querier.spawn()?,
            ingesters: processes,
            launches,
            setting,
            _s3: s3,
            directory,
        };
        for process in cluster.processes() {
            process.ready().await?;
        }
        cluster.settled(ingesters + 2).await?;
        Ok(cluster)
    }

    fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        [&mut self.distributor, &mut self.querier]
            .into_iter()
            .chain(self.ingesters.iter_mut().flatten())
    }

    /// Where to push.
    #[must_use]
    pub fn distributor(&self) -> Api {
        self.distributor.api()
    }

    /// Where to ask.
    #[must_use]
    pub fn querier(&self) -> Api {
        self.querier.api()
    }

    /// The directory of the cluster.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Waits until distributor and querier see so many members at work.
    ///
    /// # Errors
    /// If they do not in time.
    pub async fn settled(&self, members: usize) -> anyhow::Result<()> {
        for api in [self.distributor(), self.querier()] {
            active_members(&api, members).await?;
        }
        Ok(())
    }

    /// Kills an ingester.
    ///
    /// # Errors
    /// If it is not running.
    pub fn kill_ingester(&mut self, at: usize) -> anyhow::Result<()> {
        let process = self.ingesters.get_mut(at).and_then(Option::take);
        process.context("no such ingester runs")?.kill()?;
        Ok(())
    }

    /// Starts an ingester that was killed, just as it was started before.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn restart_ingester(&mut self, at: usize) -> anyhow::Result<()> {
        let process = self.launches.get(at).context("no such ingester")?;
        let process = process.start().await?;
        if let Some(place) = self.ingesters.get_mut(at) {
            *place = Some(process);
        }
        Ok(())
    }

    /// Starts one more ingester.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn add_ingester(&mut self) -> anyhow::Result<()> {
        let number = self.launches.len() + 1;
        let launch = self.setting.ingester(number, &free_port()?.to_string())?;
        self.ingesters.push(Some(launch.start().await?));
        self.launches.push(launch);
        Ok(())
    }

    /// Starts a compactor of the cluster's store, with more variables.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start_compactor(
        &self,
        number: usize,
        env: &[(&str, &str)],
    ) -> anyhow::Result<Process> {
        let launch = self
            .setting
            .launch("compactor", "skald-compactor", "127.0.0.1:0")?;
        let mut launch = launch.with_env("COMPACTOR", &number.to_string());
        for (name, value) in env {
            launch = launch.with_env(name, value);
        }
        launch.start().await
    }

    /// The ingesters that run.
    #[must_use]
    pub fn ingesters(&self) -> Vec<Api> {
        self.ingesters.iter().flatten().map(Process::api).collect()
    }

    /// Has all ingesters write everything to the store.
    ///
    /// # Errors
    /// If one of them does not.
    pub async fn flush(&self) -> anyhow::Result<()> {
        for ingester in self.ingesters() {
            ingester.flush().await?;
        }
        Ok(())
    }

    /// What all processes printed last, for the message of a test that fails.
    #[must_use]
    pub fn output(&self) -> String {
        let mut processes = vec![&self.distributor, &self.querier];
        processes.extend(self.ingesters.iter().flatten());
        let outputs = processes.iter().map(|process| process.output());
        outputs.collect::<Vec<_>>().join("\n")
    }
}

impl Setting {
    fn new(home: &Path, s3: Option<&S3>, seeds: &str, env: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut all = vec![("SKALD_CLUSTER_GOSSIP_SEEDS".to_owned(), seeds.to_owned())];
        all.extend(env.iter().map(owned));
        if let Some(s3) = s3 {
            let env = s3.env();
            all.extend(env.map(|(name, value)| (name.to_owned(), value)));
        }
        Self {
            home: home.to_owned(),
            env: all,
        }
    }

    fn launch(&self, role: &str, binary: &'static str, gossip: &str) -> anyhow::Result<Launch> {
        let mut launch = Launch::role(binary, &example(role)?, &self.home)?;
        launch.env.extend(self.env.iter().cloned());
        Ok(launch.with_env("SKALD_CLUSTER_GOSSIP_LISTEN", gossip))
    }

    fn ingester(&self, number: usize, gossip: &str) -> anyhow::Result<Launch> {
        let launch = self.launch("ingester", "skald-ingester", gossip)?;
        let log = self.home.join(format!("ingester-{number}.out"));
        let launch = launch.with_env("INGESTER", &number.to_string());
        Ok(Launch { log, ..launch })
    }
}

/// Waits until a process sees so many members at work.
///
/// # Errors
/// If it does not in time.
pub async fn active_members(api: &Api, members: usize) -> anyhow::Result<()> {
    let what = format!("{members} members");
    let waited = wait_for(&what, PATIENCE, || async {
        let (_, metrics) = api.get("/metrics", &[]).await.ok()?;
        let active = format!("skald_cluster_members{{state=\"Active\"}} {members}\n");
        metrics.contains(&active).then_some(())
    });
    waited.await
}
