//! What a process that serves a registry holds.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::units::DurationNs;
use server::Health;
use storage::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{self, Auth, FirstAdmin};
use crate::config::{AuthMode, Config, CreateOnPush};
use crate::error::{Error, StartError};
use crate::gather::Room;
use crate::gc;
use crate::health::Readiness;
use crate::logs::{self, Logs};
use crate::mark;
use crate::meta::{Graces, Meta, NewProjects, Place, UNLIMITED};
use crate::metrics::Metrics;
use crate::proxy::Proxy;
use crate::reservations::Reservations;
use crate::retention;
use crate::seal::Sealer;
use crate::settings::{self, Known, Settings};
use crate::small::SmallStore;
use crate::store::buffer::Buffers;
use crate::store::{self, Keeper, Store};
use crate::turns::Turns;

/// The name of the database's file.
const DATABASE_FILE: &str = "registry.db";

/// What a registry needs of its process.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Where the database and, unless configured, the bytes are.
    pub data_dir: PathBuf,
    /// Where its log is.
    pub log_dir: PathBuf,
    /// The time.
    pub clock: Clock,
    /// Its metrics.
    pub metrics: Metrics,
    /// How the process is doing.
    pub health: Health,
}

/// A registry. Cloning shares it.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    config: Config,
    meta: Meta,
    store: Arc<dyn Store>,
    keeper: Arc<dyn Keeper>,
    direct_buffers: Buffers,
    room: Room,
    uploads: Turns,
    reservations: Reservations,
    sealer: Arc<Sealer>,
    proxy: Proxy,
    metrics: Metrics,
    logs: Logs,
    auth: Auth,
    first_admin: Option<FirstAdmin>,
    settings: Known,
    health: Health,
    readiness: Readiness,
    fsck: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// Opens what caches of other registries need, and seals the passwords that are not sealed yet.
async fn open_proxy(
    config: &Config,
    deps: &Deps,
    meta: &Meta,
) -> Result<(Arc<Sealer>, Proxy), StartError> {
    let sealer = Arc::new(Sealer::open(&config.seal_key_file, &deps.data_dir)?);
    meta.seal_passwords(&sealer).await?;
    meta.check_passwords(&sealer).await?;
    let incoming = deps.data_dir.join("incoming");
    let metrics = deps.metrics.clone();
    let proxy = Proxy::open(&config.proxy, &incoming, Arc::clone(&sealer), metrics)?;
    Ok((sealer, proxy))
}

/// What projects are at first: where everybody may do everything, nothing is in a push's way.
fn new_projects(config: &Config) -> NewProjects {
    let is_free = config.auth == AuthMode::None;
    let hard = i64::try_from(config.projects.quota.0).unwrap_or(i64::MAX);
    NewProjects {
        on_push: match config.projects.create_on_push {
            CreateOnPush::Auto => is_free,
            CreateOnPush::Always => true,
            CreateOnPush::Never => false,
        },
        hard: if hard == 0 { UNLIMITED } else { hard },
    }
}

/// Tells who begins to ask people who they are what needs no login all the same.
async fn warn_of_public(meta: &Meta) -> Result<(), Error> {
    let projects = meta.public_projects().await?;
    if projects > 0 {
        tracing::warn!(
            projects,
            "everybody may pull from public projects without a login; \
             `skald registry set-visibility` changes that"
        );
    }
    Ok(())
}

impl Registry {
    /// How long the work of requests that are over may take to end at the stop.
    pub const ENDING_MAX: Duration = Duration::from_secs(10);

    /// Opens the database, bringing its schema up to date, and the store.
    ///
    /// # Errors
    /// If either cannot be opened.
    pub async fn open(config: Config, deps: Deps) -> Result<Self, StartError> {
        let file = |source| StartError::File {
            path: deps.data_dir.clone(),
            source,
        };
        std::fs::create_dir_all(&deps.data_dir).map_err(file)?;
        // The keys that sign tokens are in the database.
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&deps.data_dir, private).map_err(file)?;
        let place = match config.database.url.reveal() {
            Some(url) => Place::Server(url.to_owned()),
            None => Place::File(deps.data_dir.join(DATABASE_FILE)),
        };
        let new_projects = new_projects(&config);
        let meta = Meta::open(
            &place,
            &config.database,
            &config.cache,
            deps.clock.clone(),
            new_projects,
            deps.metrics.clone(),
        )
        .await?;
        let logs = Logs::open(&deps.log_dir, &config.log);
        let logs = logs.map_err(|source| StartError::File {
            path: deps.log_dir.clone(),
            source,
        })?;
        let settings = Known::default();
        settings.set(meta.settings().await?);
        let auth = Auth::open(&meta).await?;
        let first_admin = match config.auth {
            AuthMode::None => None,
            AuthMode::Local => FirstAdmin::ensure(&meta, &deps.data_dir).await?,
        };
        if first_admin.is_some() {
            warn_of_public(&meta).await?;
        }
        deps.metrics
            .bound_projects(config.limits.metric_projects_max);
        logs.count_drops(deps.metrics.log_lines_dropped());
        let (sealer, proxy) = open_proxy(&config, &deps, &meta).await?;
        let keeper = store::open(&config.storage, &deps.data_dir.join("store"))?;
        mark::check_at_start(&meta, keeper.as_ref()).await?;
        let measured = store::measured(Arc::clone(&keeper), deps.metrics.clone());
        let store: Arc<dyn Store> = Arc::new(SmallStore::new(meta.clone(), measured));
        let direct_bytes_max = config.upload.direct_bytes_max.0;
        let direct_buffers = store::direct_buffers(&config.storage, direct_bytes_max);
        let room = Room::new(config.limits.body_bytes_max);
        Ok(Self(Arc::new(Inner {
            config,
            meta,
            store,
            keeper,
            direct_buffers,
            room,
            uploads: Turns::default(),
            reservations: Reservations::default(),
            sealer,
            proxy,
            metrics: deps.metrics,
            logs,
            auth,
            first_admin,
            settings,
            health: deps.health,
            readiness: Readiness::default(),
            fsck: Arc::new(Semaphore::new(1)),
            tasks: TaskTracker::new(),
        })))
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.0.meta
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    /// What keeps the store in order.
    pub(crate) fn keeper(&self) -> &dyn Keeper {
        self.0.keeper.as_ref()
    }

    /// Memory of which bodies are written past the page cache.
    pub(crate) fn direct_buffers(&self) -> &Buffers {
        &self.0.direct_buffers
    }

    /// Memory of bodies that are gathered before they are understood.
    pub(crate) fn room(&self) -> &Room {
        &self.0.room
    }

    /// Uploads that requests are continuing.
    pub(crate) fn uploads(&self) -> &Turns {
        &self.0.uploads
    }

    /// What requests have said that they will bring.
    pub(crate) fn reservations(&self) -> &Reservations {
        &self.0.reservations
    }

    pub(crate) fn proxy(&self) -> &Proxy {
        &self.0.proxy
    }

    /// What seals the passwords of other registries.
    pub(crate) fn sealer(&self) -> &Sealer {
        &self.0.sealer
    }

    pub(crate) fn logs(&self) -> &Logs {
        &self.0.logs
    }

    pub(crate) fn auth(&self) -> &Auth {
        &self.0.auth
    }

    /// What administrators have said while it runs.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.0.settings.get()
    }

    /// Has what an administrator said hold here.
    pub(crate) fn set_settings(&self, settings: Settings) {
        self.0.settings.set(settings);
    }

    /// Has what was said to another process hold here.
    pub(crate) async fn load_settings(&self) -> Result<(), Error> {
        let times = self.0.settings.times();
        let settings = self.0.meta.settings().await?;
        self.0.settings.refresh(times, settings);
        Ok(())
    }

    /// How long a token holds that is given now.
    pub(crate) fn token_lifetime(&self) -> DurationNs {
        self.settings().token_lifetime(&self.0.config)
    }

    pub(crate) fn readiness(&self) -> &Readiness {
        &self.0.readiness
    }

    /// The right to compare database and store, if nobody has it.
    pub(crate) fn fsck_turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.fsck).try_acquire_owned().ok()
    }

    /// Begins work that does not end because its client goes away: the database is open until it is
    /// done.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.0.tasks.spawn(work)
    }

    /// Whether the process is about to stop, so that requests should go elsewhere.
    pub(crate) fn is_stopping(&self) -> bool {
        self.0.health.is_stopping()
    }

    /// What is to be shown once, to the one who started the registry for the first time. The password
    /// itself only if nobody else reads it: output that is no terminal may be collected as a log.
    #[must_use]
    pub fn first_login(&self, shows_password: bool) -> Option<String> {
        let admin = self.0.first_admin.as_ref()?;
        let (name, file) = (&admin.name, admin.file.display());
        Some(match shows_password {
            true => format!(
                "registry: log in as {name} with the password {} (also in {file})",
                admin.password
            ),
            false => format!("registry: log in as {name} with the password in {file}"),
        })
    }

    /// The files of its log, which an agent may collect.
    #[must_use]
    pub fn log_files(log_dir: &Path) -> [PathBuf; 3] {
        logs::paths(log_dir)
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// How long a blob stays that no manifest needs, in milliseconds.
    pub(crate) fn blob_grace_ms(&self) -> i64 {
        self.0.config.gc.blob_grace.0 / 1_000_000
    }

    /// How long a manifest stays that lost its last tag, in milliseconds.
    pub(crate) fn untagged_grace_ms(&self) -> i64 {
        self.0.config.gc.untagged_grace.0 / 1_000_000
    }

    /// How long what lost its last reference stays.
    pub(crate) fn graces(&self) -> Graces {
        Graces {
            untagged_ms: self.untagged_grace_ms(),
            never_tagged_ms: self.0.config.gc.never_tagged_grace.0 / 1_000_000,
            blob_ms: self.blob_grace_ms(),
            data_ms: self.0.config.gc.data_grace.0 / 1_000_000,
            running_ms: self.0.config.gc.running_lifetime.0 / 1_000_000,
        }
    }

    /// Does what is done beside requests until the stop; then waits for what requests have begun, makes
    /// the changes that were accepted and closes the database.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::join!(
            gc::run(self, &stop),
            retention::run(self, &stop),
            logs::ship(self, &stop),
            auth::run(self, &stop),
            settings::run(self, &stop),
        );
        self.0.tasks.close();
        let ending = tokio::time::timeout(Self::ENDING_MAX, self.0.tasks.wait());
        if ending.await.is_err() {
            let left = self.0.tasks.len();
            tracing::warn!(left, "work of requests was not done in time for the stop");
        }
        if let Err(error) = self.0.meta.write_pulls().await {
            tracing::warn!(%error, "it was not written what was pulled");
        }
        self.0.logs.flush();
        self.0.meta.close().await;
    }
}
