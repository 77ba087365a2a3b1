//! The agent as a whole: its parts, their start and their stop.

mod setup;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use prometheus_client::registry::Registry;
use server::Environment;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ConfigError, ScrapeConfig};
use crate::deliver::{Backoff, Courier, Deliver, HttpClientError};
use crate::discover::{
    FileFinder, Groups, KubernetesFinder, SharedTargets, Targets, Watch, before_on_disk_ns,
};
use crate::feed::Intake;
use crate::metrics::{AgentMetrics, Metrics};
use crate::positions::{Book, Loaded, PositionsFile, Saved, Saver};
use crate::reader::Reader;
use crate::reader::drive::{Clock, Inbox, drive};
use crate::receive::{Since, receivers};
use crate::routes::Status;
use crate::scout::Scout;
use crate::stages::StageError;
use setup::{Recipient, outbox, pipelines, reader_config, recipients};

/// Batches on their way from a reader to its courier.
const BATCHES_IN_CHANNEL: usize = 16;
/// How long what was read may still be delivered at the stop.
const LAST_FLUSH_MAX: Duration = Duration::from_secs(4);
/// The same when standard input has ended: nobody can read it again.
const STDIN_FLUSH_MAX: Duration = Duration::from_secs(3600);

/// Why an agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration does not hold.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A job's stages cannot be made.
    #[error(transparent)]
    Stages(#[from] StageError),
    /// A client cannot be made.
    #[error(transparent)]
    Client(#[from] HttpClientError),
    /// There is nowhere to deliver to.
    #[error("clients: there is none")]
    NoClient,
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// What an agent needs from its process.
pub struct Deps {
    /// What is counted.
    pub metrics: AgentMetrics,
    /// What `__host__` of a target is compared with.
    pub hostname: String,
    /// Since when it collects: the start of its process, or the stop of the agent before it. Of what
    /// nothing was known before, what was rotated and written last before that is an archive, which
    /// nobody asked for; where positions of an agent before it are found, before they were saved.
    pub since: SystemTime,
    /// The environment, which says where Kubernetes is and on which node this runs.
    pub environment: Environment,
    /// Who takes what is collected, besides the clients of the configuration: its name and itself.
    pub deliver: Option<(String, Arc<dyn Deliver>)>,
}

/// An agent that collects lines.
pub struct Agent {
    config: Config,
    clients: Vec<Running>,
    scout: Scout,
    finders: Vec<BoxFuture<'static, ()>>,
    /// Ends the finders.
    finding: CancellationToken,
    receivers: Vec<BoxFuture<'static, ()>>,
    /// Ends the receivers.
    receiving: CancellationToken,
    saver: Saver,
    status: Arc<Status>,
}

struct Running {
    name: String,
    inbox: Arc<Inbox>,
    reader: JoinHandle<Option<Reader>>,
    courier: JoinHandle<()>,
    give_up: CancellationToken,
}

impl Agent {
    /// Reads the positions, starts a reader and a courier per client, and looks for files. Must be
    /// called in a runtime.
    ///
    /// # Errors
    /// If the configuration does not hold. What the disk and the network do is no error here.
    pub fn start(config: Config, deps: Deps) -> Result<Self, StartError> {
        config.validate()?;
        let (metrics, stage_metrics) = (deps.metrics.agent, deps.metrics.stages);
        let targets = Targets::of_config(&config.scrape_configs, &deps.hostname)?;
        let recipients = recipients(&config, deps.deliver, &metrics)?;
        if recipients.is_empty() {
            return Err(StartError::NoClient);
        }
        let (positions, loaded) = PositionsFile::open(&config.positions.filename);
        for (file, reason) in &loaded.broken {
            metrics.positions_broken.inc();
            let file = file.display();
            tracing::error!(%file, reason, "positions are broken, the other generation is taken");
        }
        let since = since(deps.since, &loaded);
        let book = Arc::new(Book::new(loaded));
        let sync_period = config.positions.sync_period.as_std();
        let saver = Saver::new(positions, book.clone(), metrics.clone(), sync_period);
        let room = Arc::new(Notify::new());
        let inbox = |_| Arc::new(Inbox::new(room.clone()));
        let inboxes: Vec<Arc<Inbox>> = recipients.iter().map(inbox).collect();
        let intake = intake(&inboxes, &recipients, &metrics, &room);
        let receiving = CancellationToken::new();
        let receivers = receivers(&config, &intake, &book, &metrics, since, &receiving)?;
        let (rescan, rescans) = watch::channel(());
        let groups = Arc::new(Groups::new(rescan.clone()));
        let finding = CancellationToken::new();
        let finders = finders(
            &config,
            &deps.environment,
            &deps.hostname,
            &groups,
            &finding,
        )?;
        let watch = watch_for(&inboxes, rescan.clone());
        let mut clients = Vec::new();
        for (recipient, inbox) in recipients.iter().zip(&inboxes) {
            // The stages' own metrics count each line once, whoever it goes to.
            let stage_metrics = if clients.is_empty() {
                stage_metrics.clone()
            } else {
                crate::stages::Metrics::register(&mut Registry::default())
            };
            let pipelines = pipelines(&config, &stage_metrics)?;
            let reader_config =
                reader_config(&config, &recipients, recipient, &watch, since.asked_ns);
            let outbox = outbox(&config, recipient, &metrics);
            let reader = Reader::new(
                reader_config,
                pipelines,
                book.clone(),
                outbox,
                metrics.clone(),
            );
            let saves = !config.is_dry_run && !config.is_reading_stdin;
            let saved = saves.then(|| saver.saved());
            let inbox = inbox.clone();
            clients.push(start_client(recipient, reader, inbox, saved, &metrics)?);
        }
        metrics
            .targets_active
            .set(i64::try_from(targets.active().len()).unwrap_or(i64::MAX));
        metrics.target_failed("dropped", targets.dropped().len());
        let shown = Arc::new(SharedTargets::default());
        shown.set(Arc::new(targets));
        let status = Arc::new(Status::new(
            shown.clone(),
            intake.sights.clone(),
            &clients_of(&clients),
        ));
        let scout = Scout {
            jobs: config.scrape_configs.clone(),
            hostname: deps.hostname,
            groups,
            shown,
            watch,
            rescans,
            inboxes,
            files_max: config.limits_config.tailed_files_max,
            positions: config.positions.filename.clone(),
            interval: config.target_config.sync_period.as_std(),
            metrics: metrics.clone(),
        };
        Ok(Self {
            config,
            clients,
            scout,
            finders,
            finding,
            receivers,
            receiving,
            saver,
            status,
        })
    }

    /// Why it is not ready yet: ready is who reads a file.
    ///
    /// # Errors
    /// While no file is read.
    pub fn ready(&self) -> Result<(), &'static str> {
        self.status.ready(self.waits_for_file())
    }

    fn waits_for_file(&self) -> bool {
        let receives = self
            .config
            .scrape_configs
            .iter()
            .any(ScrapeConfig::receives);
        self.config.server.health_check_target && !receives
    }

    /// What tells whether it is ready when the agent itself is running elsewhere.
    pub fn readiness(
        &self,
    ) -> impl Fn() -> Result<(), &'static str> + Clone + Send + Sync + 'static {
        let (status, waits) = (self.status.clone(), self.waits_for_file());
        move || status.ready(waits)
    }

    /// The routes `/targets` and `/service-discovery`.
    pub fn routes(&self) -> axum::Router {
        crate::routes::routes(self.status.clone())
    }

    /// Collects until `stop`. Then nothing more is read, what was read is delivered if that can be
    /// done soon, and the positions are saved.
    pub async fn run(mut self, stop: CancellationToken) {
        let finders = std::mem::take(&mut self.finders);
        let mut finders: JoinSet<()> = finders.into_iter().collect();
        let receivers = std::mem::take(&mut self.receivers);
        let mut receivers: JoinSet<()> = receivers.into_iter().collect();
        if self.config.is_reading_stdin {
            self.collect_stdin(stop, receivers).await;
            return;
        }
        let receiving = self.receiving.clone();
        let received = async {
            stop.cancelled().await;
            receiving.cancel();
            while receivers.join_next().await.is_some() {}
        };
        tokio::join!(self.collect(stop.clone()), received);
        finders.shutdown().await;
    }

    /// Collects until standard input ends, and delivers all of it.
    async fn collect_stdin(self, stop: CancellationToken, mut receivers: JoinSet<()>) {
        tokio::select! {
            () = stop.cancelled() => {}
            _ = receivers.join_next() => {}
        }
        self.receiving.cancel();
        let flush_max = if stop.is_cancelled() {
            LAST_FLUSH_MAX
        } else {
            STDIN_FLUSH_MAX
        };
        let stopping = self
            .clients
            .into_iter()
            .map(|client| client.stop(flush_max));
        futures::future::join_all(stopping).await;
    }

    async fn collect(self, stop: CancellationToken) {
        if self.config.is_dry_run {
            self.scout.run(stop).await;
            let stopping = self.clients.into_iter();
            let stopping = stopping.map(|client| client.stop(LAST_FLUSH_MAX));
            futures::future::join_all(stopping).await;
            return;
        }
        // What is delivered last is saved before and after it is.
        let saving = CancellationToken::new();
        let collect = async {
            self.scout.run(stop).await;
            self.finding.cancel();
            let stopping = self.clients.into_iter();
            let stopping = stopping.map(|client| client.stop(LAST_FLUSH_MAX));
            futures::future::join_all(stopping).await;
            saving.cancel();
        };
        tokio::join!(collect, self.saver.clone().run(saving.clone()));
        self.saver.save().await;
    }
}

/// Since when it runs, and since when an agent with its positions did.
fn since(began: SystemTime, loaded: &Loaded) -> Since {
    let began_ns = before_on_disk_ns(began);
    Since {
        began_ns,
        asked_ns: loaded
            .as_of_ns
            .map_or(began_ns, |as_of| as_of.min(began_ns)),
    }
}

/// Who looks for targets while the agent runs.
fn finders(
    config: &Config,
    environment: &Environment,
    hostname: &str,
    groups: &Arc<Groups>,
    stop: &CancellationToken,
) -> Result<Vec<BoxFuture<'static, ()>>, ConfigError> {
    let mut finders: Vec<BoxFuture<'static, ()>> = Vec::new();
    for (at, job) in config.scrape_configs.iter().enumerate() {
        let wrong = |key: &str, error: &dyn std::fmt::Display| {
            ConfigError(format!("job {:?}: {key}: {error}", job.job_name))
        };
        for found in &job.file_sd_configs {
            let finder = FileFinder::new(found, groups.publisher(at, finders.len()));
            let finder = finder.map_err(|error| wrong("file_sd_configs", &error))?;
            finders.push(Box::pin(finder.run(stop.clone())));
        }
        for found in &job.kubernetes_sd_configs {
            let publisher = groups.publisher(at, finders.len());
            let finder = KubernetesFinder::new(found, environment, hostname, publisher);
            let finder = finder.map_err(|error| wrong("kubernetes_sd_configs", &error))?;
            finders.push(Box::pin(finder.run(stop.clone())));
        }
    }
    Ok(finders)
}

/// Where lines that come are left, for all clients.
fn intake(
    inboxes: &[Arc<Inbox>],
    recipients: &[Recipient],
    metrics: &Metrics,
    room: &Arc<Notify>,
) -> Intake {
    let with_metrics = |(inbox, recipient): (&Arc<Inbox>, &Recipient)| {
        (inbox.clone(), metrics.client(&recipient.host))
    };
    let clients = inboxes.iter().zip(recipients).map(with_metrics);
    Intake::new(clients.collect(), room.clone())
}

fn clients_of(clients: &[Running]) -> Vec<(String, Arc<Inbox>)> {
    clients
        .iter()
        .map(|client| (client.name.clone(), client.inbox.clone()))
        .collect()
}

fn start_client(
    recipient: &Recipient,
    reader: Reader,
    inbox: Arc<Inbox>,
    saved: Option<Saved>,
    metrics: &Metrics,
) -> Result<Running, StartError> {
    let config = &recipient.config;
    let (sender, receiver) = mpsc::channel(BATCHES_IN_CHANNEL);
    let (reader_done, reader_result) = tokio::sync::oneshot::channel();
    let of_reader = inbox.clone();
    std::thread::Builder::new()
        .name("agent-reader".to_owned())
        .spawn(move || {
            let reader = drive(reader, &of_reader, &sender);
            drop(sender);
            // Nobody waits for the reader only when the agent was dropped.
            let _ = reader_done.send(reader);
        })
        .map_err(StartError::Thread)?;
    let reader = tokio::spawn(async move { reader_result.await.ok() });
    let give_up = CancellationToken::new();
    let tenant = (!config.tenant_id.is_empty()).then(|| config.tenant_id.as_str().into());
    let courier = Courier {
        client: config.name().into(),
        tenant,
        deliver: recipient.deliver.clone(),
        backoff: Backoff {
            min: config.backoff_config.min_period.as_std(),
            max: config.backoff_config.max_period.as_std(),
            tries_max: config.backoff_config.max_retries,
            drops_rate_limited: config.drop_rate_limited_batches,
        },
        saved,
        metrics: metrics.client(&recipient.host),
        told: Default::default(),
    };
    let (of_courier, token) = (inbox.clone(), give_up.clone());
    let courier = tokio::spawn(async move {
        courier
            .run(receiver, |outcome| of_courier.done(outcome), token)
            .await;
    });
    Ok(Running {
        name: config.name(),
        inbox,
        reader,
        courier,
        give_up,
    })
}

impl Running {
    /// Stops reading, waits for what is under way as long as that may take, and notes what was
    /// acknowledged.
    async fn stop(mut self, flush_max: Duration) {
        self.inbox.stop();
        let deadline = tokio::time::Instant::now() + flush_max;
        let flushed = tokio::time::timeout_at(deadline, &mut self.courier).await;
        if flushed.is_err() {
            tracing::warn!(
                client = self.name,
                "not all that was read could be delivered; it will be read again"
            );
            self.give_up.cancel();
        }
        if let Ok(Some(mut reader)) = self.reader.await {
            reader.take_outcomes(&self.inbox.take_outcomes(), Clock::start().now());
        }
    }
}

/// Tells all readers of changed files, and the scout of new names.
fn watch_for(inboxes: &[Arc<Inbox>], rescan: watch::Sender<()>) -> Watch {
    let inboxes = inboxes.to_vec();
    Watch::new(move |notice| match notice {
        None => {
            rescan.send_replace(());
            inboxes.iter().for_each(|inbox| inbox.all_changed());
        }
        Some((path, change)) => {
            inboxes.iter().for_each(|inbox| inbox.changed(path));
            if change == crate::discover::Change::Name {
                rescan.send_replace(());
            }
        }
    })
}

#[cfg(test)]
mod tests;
