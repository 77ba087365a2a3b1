//! From arguments to an exit code.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use server::{ConfigError, DataDir, Environment, Loaded, Print, Telemetry};

use crate::agent_flags::KeyFlags;
use crate::agent_process;
use crate::agent_status;
use crate::args::{AgentArgs, AgentCommand, Command, RegistryArgs, RoleArgs, ServeArgs, SkaldArgs};
use crate::process::{Parts, Process, serves_registry};
use crate::{Config, Target};

/// Exit code of a usage or configuration that is wrong.
pub(crate) const EXIT_USAGE: u8 = ConfigError::EXIT_CODE;

/// Stack of each thread. The deepest query that the parser accepts is walked by recursion; what of a
/// stack is not used costs no memory.
const STACK_BYTES: usize = 32 << 20;

/// Runs a binary, which may have all roles in it. The exit code is 0 after an orderly stop, 64 if the
/// arguments or the configuration are wrong, 1 otherwise.
pub fn run(target: Target) -> ExitCode {
    prepare();
    let arguments = std::env::args_os();
    match target {
        Target::All => match parse::<SkaldArgs>(target, arguments) {
            Ok(args) => match args.command {
                Command::Serve(args) => serve(target, &args, Process::start),
                Command::Agent(args) => ask_agent(target, &args.command),
                Command::Client(command) => ask(target, *command),
            },
            Err(code) => code,
        },
        Target::Agent => agent(arguments),
        Target::Registry => registry(arguments),
        _ => match parse::<RoleArgs>(target, arguments) {
            Ok(args) => {
                let process = args.process;
                serve(
                    target,
                    &ServeArgs {
                        process,
                        ..ServeArgs::default()
                    },
                    Process::start,
                )
            }
            Err(code) => code,
        },
    }
}

/// As [`run`], for the agent alone: its binary has no other role in it, so that of what there is to
/// run more lies together, and less of it is in memory on each node of a cluster.
pub fn run_agent() -> ExitCode {
    prepare();
    agent(std::env::args_os())
}

/// As [`run`], for the registry alone, whose binary has no other role in it either.
pub fn run_registry() -> ExitCode {
    prepare();
    registry(std::env::args_os())
}

/// What comes before all else in a process.
fn prepare() {
    server::tune_allocator();
    server::install_crypto_provider();
}

fn agent(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (keys, arguments) = KeyFlags::take(arguments);
    let arguments = arguments.into_iter().map(AgentArgs::with_two_dashes);
    match parse::<AgentArgs>(Target::Agent, arguments) {
        Ok(args) => agent_process::run(&AgentArgs { keys, ..args }),
        Err(code) => code,
    }
}

fn registry(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let target = Target::Registry;
    match parse::<RegistryArgs>(target, arguments) {
        Ok(args) => serve(
            target,
            &ServeArgs {
                process: args.process,
                registry_listen: args.registry_listen,
                ..ServeArgs::default()
            },
            Process::start_registry,
        ),
        Err(code) => code,
    }
}

/// Runs a client command. One thread is enough for one question.
fn ask(target: Target, command: cli::Command) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime.context("cannot start the runtime") {
        Ok(runtime) => runtime.block_on(cli::run(command)),
        Err(error) => fail(target, &error, 1),
    }
}

/// Asks an agent.
fn ask_agent(target: Target, command: &AgentCommand) -> ExitCode {
    let AgentCommand::Status { addr } = command;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let shown = runtime
        .context("cannot start the runtime")
        .and_then(|runtime| runtime.block_on(agent_status::print(addr)));
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(target, &error, 1),
    }
}

/// The arguments, or the exit code after help, version or an error was printed.
fn parse<A: Parser>(
    target: Target,
    arguments: impl Iterator<Item = OsString>,
) -> Result<A, ExitCode> {
    let command = A::command()
        .name(target.binary())
        .about(target.about())
        .version(server::VERSION);
    let command = match target {
        // Accepted as by the other binaries: it serves no gRPC.
        Target::Registry => command.mut_arg("grpc_listen", |arg| arg.hide(true)),
        _ => command,
    };
    let parsed = command
        .try_get_matches_from(arguments)
        .and_then(|mut matches| A::from_arg_matches_mut(&mut matches));
    parsed.map_err(|error| {
        // Nothing is left to do if even that cannot be printed.
        let _ = error.print();
        if error.use_stderr() {
            ExitCode::from(EXIT_USAGE)
        } else {
            ExitCode::SUCCESS
        }
    })
}

fn serve(
    target: Target,
    args: &ServeArgs,
    start: impl AsyncFnOnce(Parts) -> anyhow::Result<Process>,
) -> ExitCode {
    let environment = Environment::of_process();
    let loaded = match load(target, args, &environment) {
        Ok(loaded) => loaded,
        Err(error) => return fail(target, &error.into(), EXIT_USAGE),
    };
    if args.process.print_config {
        print!("{}", loaded.config.print(target, Print::Effective));
        return ExitCode::SUCCESS;
    }
    if args.process.check_config {
        return match check_files(target, &loaded.config) {
            Ok(()) => {
                println!("configuration is valid");
                ExitCode::SUCCESS
            }
            Err(error) => fail(target, &error, EXIT_USAGE),
        };
    }
    match serve_until_stopped(target, args, loaded, &environment, start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<ConfigError>() => fail(target, &error, EXIT_USAGE),
        Err(error) => fail(target, &error, 1),
    }
}

/// Reads the files that a configuration names and a start would stop at.
fn check_files(target: Target, config: &Config) -> anyhow::Result<()> {
    if serves_registry(target, config) {
        let acceptor = config.registry.tls.acceptor(None, &[]);
        acceptor.context("registry.tls")?;
    }
    Ok(())
}

fn load(
    target: Target,
    args: &ServeArgs,
    environment: &Environment,
) -> Result<Loaded<Config>, ConfigError> {
    let file = args.process.config.as_deref();
    let mut loaded: Loaded<Config> = server::load(file, environment)?;
    loaded.config.apply(args);
    loaded.config.validate(target)?;
    // Not kept: opened again, and watched, when the process starts.
    open_overrides(&loaded.config, environment)?;
    Ok(loaded)
}

fn open_overrides(
    config: &Config,
    environment: &Environment,
) -> Result<server::Overrides, ConfigError> {
    let (limits, file) = (config.limits.clone(), config.runtime_config.clone());
    server::Overrides::open(limits, file, environment).map_err(|error| {
        ConfigError::Invalid(match error {
            server::OverridesError::Default(_) => error.to_string(),
            error => format!("runtime_config.file: {error}"),
        })
    })
}

/// Warns of variables that set nothing here, but for those of the command line, which may be in the
/// same shell.
pub(crate) fn warn_of_unknown(variables: &[String]) {
    let is_of_client = |name: &str| cli::REGISTRY_VARIABLES.contains(&name);
    for name in variables.iter().filter(|name| !is_of_client(name)) {
        tracing::warn!(
            name,
            "this variable of the environment sets no key of the configuration"
        );
    }
}

fn serve_until_stopped(
    target: Target,
    args: &ServeArgs,
    loaded: Loaded<Config>,
    environment: &Environment,
    start: impl AsyncFnOnce(Parts) -> anyhow::Result<Process>,
) -> anyhow::Result<()> {
    let config = loaded.config;
    server::raise_open_files_limit();
    let data_dir = DataDir::open(&config.data_dir)?;
    let telemetry = Telemetry::init(&config.server.log, Some(&data_dir.path().join("log")))?;
    warn_of_unknown(&loaded.unknown_environment);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let parts = Parts {
        target,
        overrides: open_overrides(&config, environment)?,
        telemetry: telemetry.clone(),
        data_dir: data_dir.path().to_owned(),
        tail: args.tail.clone(),
        config,
    };
    let outcome = runtime.block_on(async {
        let stop = server::stop_signal().context("cannot handle signals")?;
        let process = start(parts).await?;
        announce(target, &process, data_dir.path());
        process.run(stop).await
    });
    // What blocks is not waited for: every module had its deadline.
    runtime.shutdown_background();
    if let Err(error) = &outcome {
        tracing::error!(error = format!("{error:#}"), "ended");
    }
    telemetry.flush();
    outcome
}

/// Says where the process listens and what to try next.
fn announce(target: Target, process: &Process, data_dir: &Path) {
    let http = process.http_addr();
    let [grpc, registry] = [process.grpc_addr(), process.registry_addr()]
        .map(|addr| addr.map(|addr| addr.to_string()));
    tracing::info!(binary = %target, version = server::VERSION, %http, grpc, registry, "started");
    if target != Target::All {
        return;
    }
    let skald = std::env::args()
        .next()
        .unwrap_or_else(|| "skald".to_owned());
    let addr = match http.port() {
        3100 => String::new(),
        _ => format!(" --addr=http://{http}"),
    };
    println!("skald {} is up", server::VERSION);
    println!("  HTTP      http://{http}");
    println!("  gRPC      {}", grpc.as_deref().unwrap_or("none"));
    println!("  registry  {}", registry.as_deref().unwrap_or("none"));
    println!("  data      {}", data_dir.display());
    println!("Try:");
    println!("  {skald} labels{addr}");
    println!("  {skald} query{addr} '{{job=\"skald\"}}'");
    println!("  {skald} tail{addr} '{{job=~\".+\"}}'");
}

pub(crate) fn fail(target: Target, error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("{target}: {error:#}");
    ExitCode::from(code)
}
