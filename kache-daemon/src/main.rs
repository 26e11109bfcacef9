//! `kached`: the daemon that remembers what rustc made.
//!
//! Runs in the foreground, logs to standard error, prints one line that begins with `kached ready` when it can be asked. SIGTERM and
//! SIGINT end it in an orderly way. Where a service manager listens for it, it takes that socket. Exit codes: 0 after a stop, 1 for
//! trouble, 2 for wrong usage or configuration, 3 if another kached has the cache directory or the socket.
//!
//! `--until-eof` is for programs that start a daemon of their own: its standard input is a pipe that ends with them, however they end.
//!
//! `kached __compile …` isn't the daemon: it runs one compile for a shim that has no standard library.

mod archive;
mod asker;
mod bucket;
mod capture;
mod cargos;
mod config_watch;
mod conversation;
mod engine;
mod fence;
mod files;
mod foreign;
mod housekeeping;
mod http;
mod inflight;
mod journal;
mod landings;
mod lease;
mod leftovers;
mod linker;
mod load;
mod log;
mod looked;
mod natives;
mod outputs;
mod placeholders;
mod process;
mod program;
mod queries;
mod question;
mod restore;
mod rules;
mod server;
mod service;
mod settings;
mod sources;
mod spawn;
mod spellings;

mod standing;
mod stats;
mod strangers;
mod toolchain;
mod untracked;
mod verify;
mod ways;

use anyhow::Context as _;
use config_watch::{ConfigWatch, RefusedConfig};
use engine::Engine;
use http::Front;
use journal::Journal;
use kache_config::{Config, ConfigError, Environment, Files};
use kache_store::{OpenError, Options, Store};
use log::Log;
use settings::Settings;
use standing::Bound;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
use strangers::Strangers;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

const USAGE: &str = "\
kached: the daemon of kache, a build cache for Rust

Usage: kached              run in the foreground until SIGTERM or SIGINT
       kached --until-eof  or until its standard input ends
       kached --version
       kached --help

Configuration: /etc/kache/config.toml, ~/.config/kache/config.toml, KACHE_* variables.
Ask it with `kache status` and `kache stats`; `kache start` runs it in the background.
";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(word) if word == "__compile" => kache_proto::wrapper::run_compile(args),
        Some(word) if word == "--version" || word == "-V" => say(&format!("kached {}\n", env!("CARGO_PKG_VERSION"))),
        Some(word) if word == "--help" || word == "-h" => say(USAGE),
        Some(word) if word == "--until-eof" => daemon(End::WithStdin),
        Some(word) => {
            complain(&format!("kached: unexpected argument {}; see kached --help", word.display()));
            ExitCode::from(2)
        }
        None => daemon(End::OnDemand),
    }
}

/// What ends the daemon, signals and `/v1/stop` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    OnDemand,
    WithStdin,
}

fn daemon(end: End) -> ExitCode {
    run(end).unwrap_or_else(|error| {
        complain(&format!("kached: {}", with_causes(&error)));
        ExitCode::from(if is_a_slip(&error) { 2 } else { 1 })
    })
}

fn say(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// An error with its causes, each said once: some errors spell their cause themselves.
fn with_causes(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said.as_str() {
        "" => cause,
        said if said.contains(&cause) => said.to_owned(),
        said => format!("{said}: {cause}"),
    })
}

/// Whether it is somebody's slip in a file or a variable. A service manager need not try again.
fn is_a_slip(error: &anyhow::Error) -> bool {
    let remote = matches!(error.downcast_ref(), Some(RefusedConfig::Remote(_)));
    remote || error.is::<ConfigError>() || error.is::<log::LogError>() || error.is::<kache_proto::SocketPathError>()
}

fn complain(text: &str) {
    // Nobody is left to tell if standard error is gone.
    let _nobody = writeln!(std::io::stderr(), "{text}");
}

fn run(end: End) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    // First: the file may be exchanged for a newer one at any time, and from then on the system tells no usable name.
    let runner = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("kached"));
    let given = service::socket()?;
    keep_private();
    allow_many_files();
    let env = std::env::vars_os().collect::<Environment>();
    let files = Files::from_environment(&env).absolute()?;
    let config = Config::load_files(&files, &env)?;
    let log = Log::start(&config.log)?;
    let socket = match &given {
        Some(given) => given.path.clone(),
        None => kache_proto::socket_path(|name| std::env::var_os(name))?,
    };
    let dir = config.cache.dir.clone();
    let max_bytes = config.cache.size_limit().with_context(|| format!("size of the disk below {}", dir.display()))?.0;
    let store = match Store::open(&dir, Options { max_bytes }) {
        Ok(store) => store,
        Err(OpenError::Busy { dir }) => return Ok(taken(&format!("another kached uses the cache directory {}", dir.display()))),
        Err(error) => return Err(error.into()),
    };
    // The build's directories come and go; the daemon must not keep one of them busy.
    std::env::set_current_dir("/")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("kached").build()?;
    let store = Arc::new(store);
    let journal = Journal::open(&dir, Arc::clone(&store))?;
    let engine = Arc::new(Engine::new(Settings::from(&config), runner, store, journal));
    let unknown_variables = config.unknown_variables.iter().map(ToString::to_string).collect();
    let config = {
        let _within = runtime.enter();
        Arc::new(ConfigWatch::begin(env, files, config, log, Arc::clone(&engine))?)
    };
    runtime.spawn(Arc::clone(&config).keep_looking());
    let front = Front {
        engine,
        socket,
        activated: given.is_some(),
        cache_dir: dir,
        unknown_variables,
        config,
        started,
        strangers: Strangers::default(),
        stop: CancellationToken::new(),
    };
    if end == End::WithStdin {
        stop_at_eof(front.stop.clone());
    }
    let code = runtime.block_on(serve(Arc::new(front), given));
    // Compiles whose shims are still at work lose their daemon, not their result.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    code
}

/// Nothing that this process makes for itself is for others. What it puts into target directories gets its mode by the umask of the build.
fn keep_private() {
    let _was = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}

/// Raises the limit of open files to what this process may have: 1024, a usual one, is little for one connection per compiler and per transfer.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // macOS refuses no limit at all; then it stays as it is.
        let _as_it_was = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

async fn serve(front: Arc<Front>, given: Option<service::Socket>) -> anyhow::Result<ExitCode> {
    let listening = match given {
        Some(given) => server::adopt(given).map(|listener| (listener, None)),
        None => server::listen(&front.socket).map(|listener| (listener, Some(Bound::at(&front.socket)))),
    };
    let (listener, bound) = match listening {
        Ok(listening) => listening,
        Err(error @ server::ListenError::Taken(_)) => return Ok(taken(&error.to_string())),
        Err(error) => return Err(error.into()),
    };
    stop_on_signals(&front)?;
    for name in &front.unknown_variables {
        tracing::warn!("unknown variable {name}");
    }
    for notice in front.config.notices() {
        tracing::warn!("{notice}");
    }
    complain(&format!("kached ready: {} (pid {}, cache {})", front.socket.display(), std::process::id(), front.cache_dir.display()));
    service::ready(&front.engine);
    tokio::spawn(standing::watch(Arc::clone(&front), bound.clone()));
    server::serve(listener, bound, Arc::clone(&front)).await;
    front.engine.journal.close();
    front.engine.store.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn stop_on_signals(front: &Arc<Front>) -> std::io::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind)?;
        let stop = front.stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    Ok(())
}

/// On a thread of its own, which nobody has to wait for.
fn stop_at_eof(stop: CancellationToken) {
    std::thread::spawn(move || {
        let _ended = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        stop.cancel();
    });
}

fn taken(message: &str) -> ExitCode {
    complain(&format!("kached: {message}"));
    ExitCode::from(3)
}
