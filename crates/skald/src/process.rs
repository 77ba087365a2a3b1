//! A running process: its parts in the order in which they start.

mod collect;
mod leaving;
mod pages;
pub(crate) mod profile;
mod registry_logs;
mod rings;
mod roles;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use cluster::{Cluster, LocalIngester, Member, MemberState, Role};
use ingester::Ingester;
use server::admin::Admin;
use server::http::HttpMetrics;
use server::{
    Health, Listener, Metrics, Modules, Overrides, StopReason, Telemetry, admin, grpc_router, http,
};
use storage::{Catalog, Clock, Store};
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;

use crate::{Config, Target};
use leaving::Departure;

/// What a process is made of besides its roles.
pub struct Parts {
    /// Its roles.
    pub target: Target,
    /// Its configuration, which holds.
    pub config: Config,
    /// The limits of tenants.
    pub overrides: Overrides,
    /// Its log.
    pub telemetry: Telemetry,
    /// Its data directory, which is its alone.
    pub data_dir: PathBuf,
    /// Files to collect lines from, for a process with an agent.
    pub tail: Vec<String>,
}

impl Parts {
    /// Where logs are written that an agent may collect.
    fn log_dir(&self) -> PathBuf {
        self.data_dir.join("log")
    }
}

/// A process that runs: ports are bound and modules have started.
pub struct Process {
    modules: Modules,
    health: Health,
    http_addr: SocketAddr,
    grpc_addr: Option<SocketAddr>,
    registry_addr: Option<SocketAddr>,
    shutdown_delay: Duration,
    /// Cancelled by who asks for the end over HTTP.
    stop: CancellationToken,
}

impl Process {
    /// Binds the ports, then starts the modules of the target's roles.
    ///
    /// # Errors
    /// If a port cannot be bound or a role cannot start. What had started is stopped.
    pub async fn start(parts: Parts) -> anyhow::Result<Self> {
        Self::start_with(parts, Build::start).await
    }

    /// As [`Self::start`], for the target [`Target::Registry`]. Nothing that this calls knows of other
    /// roles.
    pub(crate) async fn start_registry(parts: Parts) -> anyhow::Result<Self> {
        Self::start_with(parts, Build::start_registry_alone).await
    }

    async fn start_with(
        parts: Parts,
        start: impl AsyncFnOnce(&mut Build, Listeners) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let listeners = Listeners::bind(&parts).await?;
        let http_addr = listeners.http.local_addr();
        let grpc_addr = listeners.grpc.as_ref().map(Listener::local_addr);
        let registry_addr = listeners.registry.as_ref().map(Listener::local_addr);
        let mut build = Build::new(parts, http_addr, grpc_addr);
        match start(&mut build, listeners).await {
            Ok(()) => Ok(Self {
                shutdown_delay: build.parts.config.server.shutdown_delay.as_std(),
                modules: build.modules,
                stop: build.departure.stop.clone(),
                health: build.health,
                http_addr,
                grpc_addr,
                registry_addr,
            }),
            Err(error) => {
                build.modules.stop().await;
                Err(error)
            }
        }
    }

    /// Where HTTP is served.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Where gRPC is served, if it is.
    #[must_use]
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.grpc_addr
    }

    /// Where images are pushed to and pulled from, if they are.
    #[must_use]
    pub fn registry_addr(&self) -> Option<SocketAddr> {
        self.registry_addr
    }

    /// How its parts are doing.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Runs until `stop` or until it is asked to end over HTTP, then stops the modules in reverse
    /// order.
    ///
    /// # Errors
    /// If a module ended by itself.
    pub async fn run(self, stop: impl Future<Output = StopReason>) -> anyhow::Result<()> {
        let stop = async {
            tokio::select! {
                reason = stop => reason,
                () = self.stop.cancelled() => StopReason::Requested,
            }
        };
        self.modules.run(stop, self.shutdown_delay).await?;
        Ok(())
    }
}

/// Whether a process is to serve an image registry.
pub(crate) fn serves_registry(target: Target, config: &Config) -> bool {
    target == Target::Registry || target.has(Target::Registry) && config.registry.enabled
}

/// The ports of a process.
struct Listeners {
    http: Listener,
    grpc: Option<Listener>,
    registry: Option<Listener>,
}

impl Listeners {
    /// Binds what the target serves.
    async fn bind(parts: &Parts) -> anyhow::Result<Self> {
        let (target, config) = (parts.target, &parts.config);
        let http = Listener::bind(config.server.http_listen).await?;
        let grpc = match target {
            Target::Registry => None,
            _ => Some(Listener::bind(config.server.grpc_listen).await?),
        };
        let registry = match serves_registry(target, config) {
            true => {
                let listener = Listener::bind(config.registry.listen).await;
                let listener = match target {
                    // Whoever starts everything may know nothing of it.
                    Target::All => listener.context(
                        "the image registry's port: --registry-listen takes another, and \
                         registry.enabled: false does without it",
                    )?,
                    _ => listener?,
                };
                let listener = listener.with_tls(&config.registry.tls);
                Some(listener.context("registry.tls")?)
            }
            false => None,
        };
        Ok(Self {
            http,
            grpc,
            registry,
        })
    }
}

/// A process while it is put together.
struct Build {
    parts: Parts,
    metrics: Metrics,
    http_metrics: HttpMetrics,
    health: Health,
    modules: Modules,
    http_addr: SocketAddr,
    grpc_addr: Option<SocketAddr>,
    /// The cluster, once it was started. Weak, as the cluster holds what asks for it.
    cluster: Arc<OnceLock<Weak<Cluster>>>,
    /// How the ingester is to stop, if there is one.
    departure: Arc<Departure>,
    /// What HTTP will serve.
    routes: Router,
    /// What gRPC will serve.
    services: RoutesBuilder,
}

/// The module that is ready when the log is replayed.
const INGESTER: &str = "ingester";
/// How long most modules may take to stop.
pub(crate) const STOP_SOON: Duration = Duration::from_secs(5);

impl Build {
    fn new(parts: Parts, http_addr: SocketAddr, grpc_addr: Option<SocketAddr>) -> Self {
        let (metrics, health) = (Metrics::new(), Health::new());
        let http_metrics = HttpMetrics::new(&mut metrics.registry());
        parts.telemetry.register(&mut metrics.registry());
        parts.overrides.register(&mut metrics.registry());
        Self {
            modules: Modules::new(health.clone()),
            cluster: Arc::default(),
            departure: Departure::new(&parts.data_dir),
            routes: Router::new(),
            services: RoutesBuilder::default(),
            parts,
            metrics,
            http_metrics,
            health,
            http_addr,
            grpc_addr,
        }
    }

    /// The table of modules: they start in this order and stop in the other. Roles come after the
    /// listeners, since an ingester that stops still answers queries while it moves its rows to
    /// storage, and what stands in front of it fails over meanwhile.
    async fn start(&mut self, listeners: Listeners) -> anyhow::Result<()> {
        let target = self.parts.target;
        self.start_overrides();
        self.start_giving_back();
        if let Some(listener) = listeners.registry {
            self.start_registry(listener, true).await?;
        }
        let catalog = match target {
            Target::Distributor => None,
            _ => Some(self.start_catalog()?),
        };
        let ingester = match &catalog {
            Some(catalog) if target.has(Target::Ingester) => Some(self.new_ingester(catalog)?),
            _ => None,
        };
        let compactor = match &catalog {
            Some(catalog) if target.has(Target::Compactor) => self.new_compactor(catalog),
            _ => None,
        };
        // A compactor alone needs to know of nobody: all it does goes through the store.
        let cluster = match target {
            Target::Compactor => None,
            _ => Some(self.start_cluster(ingester.as_ref()).await?),
        };
        let distributor = cluster
            .as_ref()
            .filter(|_| target.has(Target::Distributor))
            .map(|cluster| self.add_distributor(cluster));
        if let (Some(catalog), Some(cluster)) = (catalog, &cluster)
            && target.has(Target::Querier)
        {
            self.add_querier(catalog, cluster.clone());
        }
        if let (Some(ingester), Some(cluster)) = (&ingester, &cluster) {
            self.add_leaving(ingester, cluster);
        }
        let agent = match &distributor {
            Some(distributor) if target.has(Target::Agent) => self.new_agent(distributor)?,
            _ => None,
        };
        if let Some(cluster) = &cluster {
            self.add_routes(rings::routes(cluster.clone()));
        }
        if ingester.is_some() {
            // It is started after the listeners. Who asks at once must not be told that the process
            // is ready before the replay is known of.
            self.health.component(INGESTER).starting("");
        }
        self.start_listeners(listeners.http, listeners.grpc);
        if let Some(ingester) = ingester {
            self.start_ingester(ingester);
        }
        if let Some(compactor) = compactor {
            self.start_compactor(compactor);
        }
        if let Some(cluster) = cluster {
            self.start_presence(cluster);
        }
        if let Some(agent) = agent {
            self.start_agent(agent);
        }
        Ok(())
    }

    /// The same of a process that only keeps images.
    async fn start_registry_alone(&mut self, listeners: Listeners) -> anyhow::Result<()> {
        self.start_overrides();
        if let Some(listener) = listeners.registry {
            self.start_registry(listener, false).await?;
        }
        self.start_listeners(listeners.http, None);
        Ok(())
    }

    fn start_overrides(&mut self) {
        let overrides = self.parts.overrides.clone();
        self.modules
            .spawn("overrides", STOP_SOON, |module| async move {
                module.health.running();
                overrides.watch(module.stop).await;
                Ok(())
            });
    }

    fn start_giving_back(&mut self) {
        self.modules
            .spawn("memory", STOP_SOON, |module| async move {
                module.health.running();
                server::give_back_freed(module.stop).await;
                Ok(())
            });
    }

    fn start_catalog(&mut self) -> anyhow::Result<Catalog> {
        let config = &self.parts.config.storage;
        let metrics = storage::Metrics::register(&mut self.metrics.registry());
        let store = Store::open(config, &self.parts.data_dir, metrics)?;
        let catalog = Catalog::new(store, config, Clock::system());
        let running = catalog.clone();
        self.modules
            .spawn("catalog", STOP_SOON, |module| async move {
                module.health.running();
                running.run(module.stop).await;
                Ok(())
            });
        Ok(catalog)
    }

    async fn start_cluster(&mut self, local: Option<&Ingester>) -> anyhow::Result<Arc<Cluster>> {
        let metrics = cluster::Metrics::register(&mut self.metrics.registry());
        let me = self.member();
        let local = local.map(|ingester| LocalIngester {
            id: me.id.clone(),
            ingest: Arc::new(ingester.clone()),
            select: Arc::new(ingester.clone()),
        });
        let cluster = Cluster::start(&self.parts.config.cluster, me, local, metrics).await?;
        self.cluster.get_or_init(|| Arc::downgrade(&cluster));
        let running = cluster.clone();
        self.modules
            .spawn("cluster", STOP_SOON, |module| async move {
                module.run_until_stop().await;
                running.stop().await;
                Ok(())
            });
        Ok(cluster)
    }

    /// Tells the cluster when this process takes work and when it does no more. The last to start
    /// and so the first to stop: others turn away before anything here ends.
    fn start_presence(&mut self, cluster: Arc<Cluster>) {
        self.modules
            .spawn("presence", STOP_SOON, |module| async move {
                cluster.set_state(MemberState::Active).await;
                module.run_until_stop().await;
                cluster.set_state(MemberState::Leaving).await;
                Ok(())
            });
    }

    /// The name of this process in the cluster.
    fn instance_id(&self) -> String {
        match self.parts.config.cluster.instance_id.as_str() {
            "" => server::hostname(),
            id => id.to_owned(),
        }
    }

    /// This process as the cluster sees it.
    fn member(&self) -> Member {
        let (config, target) = (&self.parts.config.cluster, self.parts.target);
        let roles: Vec<Role> = [
            (Target::Distributor, Role::Distributor),
            (Target::Ingester, Role::Ingester),
            (Target::Querier, Role::Querier),
        ]
        .into_iter()
        .filter_map(|(of, role)| target.has(of).then_some(role))
        .collect();
        let id = match config.instance_id.as_str() {
            "" => server::hostname(),
            id => id.to_owned(),
        };
        let grpc_addr = self.grpc_addr.unwrap_or(self.http_addr);
        let mut me = Member::new(id, advertised(&config.grpc_advertise, grpc_addr), &roles);
        me.http_addr = advertised(&config.http_advertise, self.http_addr);
        me.zone.clone_from(&config.zone);
        me.state = MemberState::Joining;
        me
    }

    /// Serves HTTP and gRPC. `/ready` says when there is more than that.
    fn start_listeners(&mut self, http: Listener, grpc: Option<Listener>) {
        let config = &self.parts.config;
        let admin = admin::routes(&Admin {
            metrics: self.metrics.clone(),
            health: self.health.clone(),
            telemetry: self.parts.telemetry.clone(),
            config: print_config(config.clone(), self.parts.target),
        });
        let limit_routes = admin::limit_routes(&self.parts.overrides, self.auth());
        let routes = std::mem::take(&mut self.routes)
            .merge(admin)
            .merge(limit_routes)
            .merge(pages::routes(self.parts.target))
            .merge(profile::routes());
        let body_timeout = config.server.body_timeout.as_std();
        let routes = http::finish(routes, &self.http_metrics, body_timeout);
        let services = std::mem::take(&mut self.services).routes();
        let services = grpc_router(services, &self.http_metrics);
        if let Some(grpc) = grpc {
            self.serve("grpc", grpc, services);
        }
        self.serve("http", http, routes);
    }

    /// Serves a router until the stop.
    fn serve(&mut self, name: &str, listener: Listener, router: Router) {
        let limits = self.parts.config.server.connection_limits();
        // The drain ends by itself; the rest is for closing what it left.
        let deadline = limits.drain_timeout + STOP_SOON;
        self.modules.spawn(name, deadline, |module| async move {
            module.health.running();
            listener.serve(router, limits, module.stop).await;
            Ok(())
        });
    }
}

fn print_config(config: Config, target: Target) -> admin::PrintConfig {
    Arc::new(move |what| config.print(target, what))
}

/// What others should call: what was configured, else the address that was bound, with the host's
/// name where that is all addresses.
fn advertised(configured: &str, bound: SocketAddr) -> String {
    if !configured.is_empty() {
        configured.to_owned()
    } else if bound.ip().is_unspecified() {
        format!("{}:{}", server::hostname(), bound.port())
    } else {
        bound.to_string()
    }
}
