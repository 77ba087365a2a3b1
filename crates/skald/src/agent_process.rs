//! `skald-agent`: the agent as a process of its own. Its configuration has promtail's keys, so that
//! a promtail.yaml can be kept.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agent::{Agent, AgentMetrics, Config, Deps};
use anyhow::Context;
use server::admin::Admin;
use server::http::HttpMetrics;
use server::{
    ConfigError, ConnectionLimits, Environment, Health, ListenAddr, Listener, Loaded, LogConfig,
    LogFormat, Metrics, Modules, Print, StopReason, Telemetry, Unset, admin, http,
};
use tokio_util::sync::CancellationToken;

use crate::Target;
use crate::agent_reload::{Keeper, Reloader};
use crate::app::{EXIT_USAGE, fail, warn_of_unknown};
use crate::args::AgentArgs;
use crate::process::{STOP_SOON, profile};

/// How often it is asked whether a file is read by now.
const READINESS_INTERVAL: Duration = Duration::from_millis(500);
/// How long what was read may take to be delivered and written down at the stop.
const LAST_DELIVERY_MAX: Duration = Duration::from_secs(5);

/// Runs the binary.
pub(crate) fn run(args: &AgentArgs) -> ExitCode {
    let loaded = match load(args, &Environment::of_process()) {
        Ok(loaded) => loaded,
        Err(error) => return fail(Target::Agent, &error.into(), EXIT_USAGE),
    };
    if args.print_config {
        print!("{}", server::print(&loaded.config, Print::Effective));
        return ExitCode::SUCCESS;
    }
    if args.check_config {
        println!("configuration is valid");
        return ExitCode::SUCCESS;
    }
    if args.check_syntax {
        println!("Valid config file! No syntax issues found");
        return ExitCode::SUCCESS;
    }
    if args.print_config_stderr {
        eprint!("{}", server::print(&loaded.config, Print::Effective));
    }
    match serve(loaded, args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = if error.is::<ConfigError>() {
                EXIT_USAGE
            } else {
                1
            };
            fail(Target::Agent, &error, code)
        }
    }
}

fn load(args: &AgentArgs, environment: &Environment) -> Result<Loaded<Config>, ConfigError> {
    // Promtail leaves a file as it is unless it is told to expand it, and then takes nothing for what
    // is not set.
    let unset = match args.expand_env {
        Some(true) => Unset::Empty,
        Some(false) | None => Unset::Keep,
    };
    let file = args.config.as_deref();
    let mut loaded: Loaded<Config> = server::load_with(file, environment, unset)?;
    args.apply(&mut loaded.config)?;
    let config = &loaded.config;
    let wrong = |error: agent::ConfigError| ConfigError::Invalid(error.to_string());
    config.validate().map_err(wrong)?;
    if !config.is_dry_run && config.all_clients().next().is_none() {
        return Err(ConfigError::Invalid("clients: there is none".to_owned()));
    }
    log_config(config)?;
    listen_addr(config)?;
    Ok(loaded)
}

fn log_config(config: &Config) -> Result<LogConfig, ConfigError> {
    let level = config.server.log_level.parse();
    let wrong = |error| ConfigError::Invalid(format!("server.log_level: {error}"));
    Ok(LogConfig {
        level: level.map_err(wrong)?,
        format: match config.server.log_format.as_str() {
            "json" => LogFormat::Json,
            _ => LogFormat::Text,
        },
        file: false,
        ..LogConfig::default()
    })
}

/// Where HTTP is served; `None` if it is not.
fn listen_addr(config: &Config) -> Result<Option<ListenAddr>, ConfigError> {
    let server = &config.server;
    if server.disable {
        return Ok(None);
    }
    let text = format!("{}:{}", server.http_listen_address, server.http_listen_port);
    let wrong = |error| ConfigError::Invalid(format!("server.http_listen_address: {error}"));
    text.parse().map(Some).map_err(wrong)
}

fn serve(loaded: Loaded<Config>, args: &AgentArgs) -> anyhow::Result<()> {
    server::raise_open_files_limit();
    let telemetry = Telemetry::init(&log_config(&loaded.config)?, None)?;
    warn_of_unknown(&loaded.unknown_environment);
    for key in loaded.config.without_effect() {
        tracing::warn!(key, "this key of the configuration has no effect here");
    }
    if let Some(addr) = args.grpc_listen {
        tracing::info!(%addr, "the agent serves no gRPC: nothing listens there");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(async {
        let stop = server::stop_signal().context("cannot handle signals")?;
        let ended = CancellationToken::new();
        let modules = start(loaded.config, args, telemetry.clone(), ended.clone()).await?;
        let stop = async {
            tokio::select! {
                reason = stop => reason,
                () = ended.cancelled() => StopReason::Requested,
            }
        };
        Ok(modules.run(stop, Duration::ZERO).await?)
    });
    runtime.shutdown_background();
    if let Err(error) = &outcome {
        let error: &anyhow::Error = error;
        tracing::error!(error = format!("{error:#}"), "ended");
    }
    telemetry.flush();
    outcome
}

/// Binds the port, then starts the agent.
async fn start(
    config: Config,
    args: &AgentArgs,
    telemetry: Telemetry,
    ended: CancellationToken,
) -> anyhow::Result<Modules> {
    let since = SystemTime::now();
    let listener = match listen_addr(&config)? {
        Some(addr) => {
            let listener = Listener::bind(addr).await?;
            let tls = &config.server.http_tls_config;
            Some(tls.secured(listener).context("server.http_tls_config")?)
        }
        None => None,
    };
    let (metrics, health) = (Metrics::new(), Health::new());
    telemetry.register(&mut metrics.registry());
    let mut modules = Modules::new(health.clone());
    let agent_metrics = AgentMetrics::register(&mut metrics.registry());
    let agent = start_one(&config, &agent_metrics, since)?;
    let (reloader, reloads) = Reloader::new(&config, &agent);
    let admin = Admin {
        metrics,
        health,
        telemetry,
        config: reloader.print_config(),
    };
    match listener {
        Some(listener) => start_http(&mut modules, &config, &reloader, &admin, listener),
        None => tracing::info!(version = server::VERSION, "started"),
    }
    let load = {
        let args = args.clone();
        move || load(&args, &Environment::of_process()).map(|loaded| loaded.config)
    };
    let keeper = Keeper {
        metrics: agent_metrics,
        reloader,
        reloads,
        load: Box::new(load),
        ended,
    };
    start_agent(&mut modules, agent, config, keeper);
    Ok(modules)
}

/// Starts an agent that collects what comes since then.
pub(crate) fn start_one(
    config: &Config,
    metrics: &AgentMetrics,
    since: SystemTime,
) -> anyhow::Result<Agent> {
    let environment = Environment::of_process();
    // In a pod the machine's name is that of the pod; a manifest says there which node it is on.
    let named = environment.get("HOSTNAME").filter(|name| !name.is_empty());
    let deps = Deps {
        metrics: metrics.clone(),
        hostname: named.map_or_else(server::hostname, str::to_owned),
        since,
        environment: environment.clone(),
        deliver: None,
    };
    Ok(Agent::start(config.clone(), deps)?)
}

/// The bounds of the listener: those of other processes, where promtail's keys do not say otherwise.
fn connection_limits(config: &Config) -> ConnectionLimits {
    let (own, server) = (server::Config::default(), &config.server);
    let mut limits = own.connection_limits();
    limits.write_timeout = server.http_server_write_timeout.as_std();
    limits.drain_timeout = server.graceful_shutdown_timeout.as_std();
    if let Ok(connections_max @ 1..) = usize::try_from(server.http_listen_conn_limit) {
        limits.connections_max = connections_max;
    }
    limits
}

fn start_http(
    modules: &mut Modules,
    config: &Config,
    reloader: &Arc<Reloader>,
    admin: &Admin,
    listener: Listener,
) {
    let http_addr: SocketAddr = listener.local_addr();
    tracing::info!(version = server::VERSION, http = %http_addr, "started");
    let metrics = HttpMetrics::new(&mut admin.metrics.registry());
    let mut routes = reloader.routes(config).merge(admin::routes(admin));
    if config.server.register_instrumentation {
        routes = routes.merge(profile::routes());
    }
    let prefix = config.server.http_path_prefix.trim_matches('/');
    let routes = match prefix {
        "" => routes,
        prefix => axum::Router::new().nest(&format!("/{prefix}"), routes),
    };
    let limits = connection_limits(config);
    let body_timeout = config.server.http_server_read_timeout.as_std();
    let routes = http::finish(routes, &metrics, body_timeout);
    let deadline = limits.drain_timeout + STOP_SOON;
    modules.spawn("http", deadline, |module| async move {
        module.health.running();
        listener.serve(routes, limits, module.stop).await;
        Ok(())
    });
}

fn start_agent(modules: &mut Modules, agent: Agent, config: Config, keeper: Keeper) {
    let deadline = LAST_DELIVERY_MAX + STOP_SOON;
    modules.spawn("agent", deadline, |module| async move {
        let (health, reloader) = (module.health, keeper.reloader.clone());
        let watched = async {
            loop {
                match reloader.ready() {
                    Ok(()) => health.running(),
                    Err(reason) => health.starting(reason),
                }
                tokio::time::sleep(READINESS_INTERVAL).await;
            }
        };
        tokio::select! {
            kept = keeper.run(agent, config, module.stop) => kept,
            () = watched => Ok(()),
        }
    });
}
