//! The roles of a process, each from its configuration and what it needs of the others.

use std::io::IsTerminal;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use cluster::{Cluster, Role};
use compactor::Compactor;
use distributor::Distributor;
use ingester::{Deps, Ingester, OsDisk, StreamLimitOf};
use model::TenantId;
use proto::service::{ingest_server, select_server};
use querier::Querier;
use registry::{LateRoutes, Registry};
use server::http::{Auth, tenant_routes};
use server::{Listener, Module};
use storage::{Catalog, Clock};

use super::leaving::{self, Departure};
use super::{Build, INGESTER, STOP_SOON, pages};
use crate::Target;

/// How often a replay's progress is told to who asks for readiness.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
/// How long a registry waits before it looks again whether its database's server is there.
const REGISTRY_RETRY: Duration = Duration::from_secs(2);

impl Build {
    pub(super) fn auth(&self) -> Auth {
        Auth::from_enabled(self.parts.config.auth_enabled)
    }

    pub(super) fn add_routes(&mut self, routes: Router) {
        self.routes = std::mem::take(&mut self.routes).merge(routes);
    }

    /// The ingester of this process, which replays its log already.
    pub(super) fn new_ingester(&mut self, catalog: &Catalog) -> anyhow::Result<Ingester> {
        let config = &self.parts.config;
        let overrides = self.parts.overrides.clone();
        let ingester = Ingester::start(
            config.ingester.clone(),
            Deps {
                id: self.instance_id(),
                data_dir: self.parts.data_dir.clone(),
                catalog: catalog.clone(),
                clock: Clock::system(),
                limits: Arc::new(move |tenant: &TenantId| overrides.limits(tenant)),
                stream_limit: self.stream_limit(),
                disk: Arc::new(OsDisk),
                metrics: ingester::Metrics::register(&mut self.metrics.registry()),
            },
        )?;
        let message_bytes_max = config.server.grpc_message_size_max.as_usize();
        let (ingest, select) = (Arc::new(ingester.clone()), Arc::new(ingester.clone()));
        self.services
            .add_service(ingest_server(ingest, message_bytes_max))
            .add_service(select_server(select, message_bytes_max));
        self.add_routes(ingester::routes(ingester.clone()));
        Ok(ingester)
    }

    /// An ingester's share of a tenant's streams, by the members of the cluster. The ingester is
    /// there before the cluster, so the cluster is looked up when it is asked for.
    fn stream_limit(&self) -> StreamLimitOf {
        let cluster = self.cluster.clone();
        let replication = self.parts.config.cluster.replication_factor;
        Arc::new(move |limits| {
            let cluster = cluster.get().and_then(Weak::upgrade);
            let ingesters = cluster.map_or(1, |cluster| {
                cluster.members().with_role(Role::Ingester).count()
            });
            ingester::stream_limit(limits, ingesters, replication)
        })
    }

    /// Ready once the log is replayed; flushed at the stop.
    pub(super) fn start_ingester(&mut self, ingester: Ingester) {
        let departure = self.departure.clone();
        let deadline = Departure::FLUSH_MAX + STOP_SOON;
        self.modules.spawn(INGESTER, deadline, |module| async move {
            while let Err(reason) = ingester.ready() {
                module.health.starting(reason.to_string());
                tokio::select! {
                    () = ingester.replayed() => {}
                    () = tokio::time::sleep(PROGRESS_INTERVAL) => {}
                    () = module.stop.cancelled() => break,
                }
            }
            module.health.running();
            while !module.stop.is_cancelled() {
                match ingester.trouble() {
                    Some(trouble) => module.health.troubled(trouble),
                    None => module.health.running(),
                }
                tokio::select! {
                    () = tokio::time::sleep(PROGRESS_INTERVAL) => {}
                    () = module.stop.cancelled() => {}
                }
            }
            let flush_max = departure.flush_max();
            let stopping = ingester.shutdown(flush_max);
            let stopped = tokio::time::timeout(flush_max + STOP_SOON, stopping).await;
            departure.stopped(stopped.context("the ingester did not stop in time")?);
            Ok(())
        });
    }

    /// The routes by which the ingester is told to leave.
    pub(super) fn add_leaving(&mut self, ingester: &Ingester, cluster: &Arc<Cluster>) {
        let (departure, auth) = (self.departure.clone(), self.auth());
        let routes = leaving::routes(departure, ingester.clone(), cluster.clone(), auth);
        self.add_routes(routes);
    }

    /// The image registry on its own port; its database closes after the last request. Beside other
    /// roles it `waits` for its database's server: these do their work meanwhile.
    pub(super) async fn start_registry(
        &mut self,
        listener: Listener,
        waits: bool,
    ) -> anyhow::Result<()> {
        let config = &self.parts.config;
        let body_timeout = config.server.body_timeout.as_std();
        let deps = registry::Deps {
            data_dir: self.parts.data_dir.join("registry"),
            log_dir: self.parts.log_dir(),
            clock: Clock::system(),
            metrics: registry::Metrics::register(&mut self.metrics.registry()),
            health: self.health.clone(),
        };
        let config = config.registry.clone();
        let opened = match Registry::open(config.clone(), deps.clone()).await {
            Err(error) if waits && error.is_passing() => Err(error),
            opened => Ok(opened?),
        };
        let routes = move |registry: &Registry| {
            server::http::guard(registry::routes(registry.clone()), body_timeout)
        };
        let late = LateRoutes::default();
        let served = match &opened {
            Ok(registry) => routes(registry),
            Err(_) => late.routes(),
        };
        let deadline = Registry::ENDING_MAX + STOP_SOON;
        self.modules
            .spawn("registry", deadline, |module| async move {
                let registry = match opened {
                    Ok(registry) => registry,
                    Err(error) => match awaited(&config, &deps, error.into(), &module).await? {
                        Some(registry) => registry,
                        None => return Ok(()),
                    },
                };
                if let Some(notice) = registry.first_login(std::io::stdout().is_terminal()) {
                    // To the one who started it, and not into the log, which others read.
                    println!("{notice}");
                }
                late.set(routes(&registry));
                module.health.running();
                registry.run(module.stop).await;
                Ok(())
            });
        self.serve("registry-http", listener, served);
        Ok(())
    }

    /// Routes of the distributor.
    pub(super) fn add_distributor(&mut self, cluster: &Arc<Cluster>) -> Distributor {
        let distributor = Distributor::new(
            &self.parts.config.distributor,
            cluster.clone(),
            self.parts.overrides.clone(),
            distributor::system_clock(),
            distributor::Metrics::register(&mut self.metrics.registry()),
        );
        let routes = distributor::routes(distributor.clone());
        self.add_routes(tenant_routes(routes, self.auth()));
        distributor
    }

    /// Routes of the querier, which asks the ingesters that the cluster knows at the time.
    pub(super) fn add_querier(&mut self, catalog: Catalog, cluster: Arc<Cluster>) {
        self.add_routes(pages::sync_indexes(catalog.clone()));
        let readers = move || {
            let readers = cluster.readers();
            querier::Readers {
                ingesters: readers.ingesters,
                failures_max: readers.failures_max,
                copies: readers.copies as u64,
            }
        };
        let querier = Querier::new(
            self.parts.config.querier.clone(),
            catalog,
            Arc::new(readers),
            self.parts.overrides.clone(),
            querier::Metrics::register(&mut self.metrics.registry()),
        );
        querier.register_gauges(&mut self.metrics.registry());
        let routes = tenant_routes(querier::routes(querier), self.auth());
        self.add_routes(routes.merge(querier::open_routes()));
    }

    /// The compactor of this process, unless `skald serve` is told to leave that to another.
    pub(super) fn new_compactor(&mut self, catalog: &Catalog) -> Option<Compactor> {
        let config = self.parts.config.compactor.clone();
        if self.parts.target == Target::All && !config.enabled {
            return None;
        }
        Some(Compactor::new(
            config,
            catalog.clone(),
            self.parts.overrides.clone(),
            self.instance_id(),
            compactor::Metrics::register(&mut self.metrics.registry()),
        ))
    }

    /// Compacts until the stop; what is under way then is left for the next time.
    pub(super) fn start_compactor(&mut self, compactor: Compactor) {
        self.modules
            .spawn("compactor", STOP_SOON, |module| async move {
                module.health.running();
                compactor.run(module.stop).await;
                Ok(())
            });
    }
}

/// The registry, once its database's server answers; none if the stop comes before.
async fn awaited(
    config: &registry::Config,
    deps: &registry::Deps,
    mut error: anyhow::Error,
    module: &Module,
) -> anyhow::Result<Option<Registry>> {
    loop {
        let why = format!("{error:#}");
        tracing::error!(error = why, "the registry waits for its database");
        module.health.troubled(why);
        tokio::select! {
            () = tokio::time::sleep(REGISTRY_RETRY) => {}
            () = module.stop.cancelled() => return Ok(None),
        }
        match Registry::open(config.clone(), deps.clone()).await {
            Err(again) if again.is_passing() => error = again.into(),
            opened => return Ok(Some(opened?)),
        }
    }
}
