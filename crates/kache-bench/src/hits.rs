//! Hits that move no bytes, timed inside the daemon: from 1 and from 64 clients.
//!
//! The unit is a `check` of a small program: its only output is an empty `.rmeta`. Clients are this process's threads, which speak the
//! shim's protocol over sockets of their own, one connection per question as the shim does. Each has a target directory of its own: who has the same
//! outputs waits for the one before.

use crate::daemon::Daemon;
use crate::sample::Samples;
use anyhow::{Context as _, bail, ensure};
use kache_proto::{Decoder, Message, Parent, Reply, Request, Stdin, wire};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Questions per client.
    #[arg(long, default_value_t = 200)]
    questions: usize,
}

pub(crate) fn run(args: &Args, bin_dir: &Path, scratch: &Path) -> anyhow::Result<()> {
    let daemon = Daemon::start(bin_dir, &scratch.join("hits"))?;
    let request = recorded(&daemon, bin_dir, scratch)?;
    let requests: Vec<Vec<u8>> = (0..MOST_CLIENTS).map(|client| elsewhere(&request, client)).collect::<Result<_, _>>()?;
    ask_all(&daemon, &requests, 1)?;
    for clients in [1, 8, MOST_CLIENTS, 1, 8, MOST_CLIENTS] {
        daemon.zero()?;
        let client_side = ask_all(&daemon, &requests[..clients], args.questions)?;
        let stats = daemon.stats()?;
        ensure!(stats["outcomes"]["local_hit"].as_u64() == Some((clients * args.questions) as u64), "not all were hits: {stats}");
        let hit = &stats["latency_us"]["hit"];
        println!(
            "{clients:3} clients: daemon side p50 {} p90 {} p99 {} µs; client side µs median {}",
            hit["p50"],
            hit["p90"],
            hit["p99"],
            client_side.show()
        );
    }
    Ok(())
}

const MOST_CLIENTS: usize = 64;

/// The request with a target directory of the client's own.
fn elsewhere(request: &Request, client: usize) -> anyhow::Result<Vec<u8>> {
    let out_dir = request.cwd.join(format!("target{client}/debug/deps"));
    std::fs::create_dir_all(&out_dir)?;
    let mut request = request.clone();
    *request.argv.last_mut().context("an output directory")? = out_dir.into();
    Ok(Message::Request(request).encode()?)
}

/// Compiles the unit once through the shim, so that it is stored, and makes the request that the shim made.
fn recorded(daemon: &Daemon, bin_dir: &Path, scratch: &Path) -> anyhow::Result<Request> {
    let dir = scratch.join("unit");
    std::fs::create_dir_all(dir.join("target/debug/deps"))?;
    std::fs::write(dir.join("main.rs"), "mod a;\nmod b;\nmod c;\nfn main() { a::f(); b::f(); c::f() }\n")?;
    for module in ["a", "b", "c"] {
        std::fs::write(dir.join(format!("{module}.rs")), "pub fn f() {}\n")?;
    }
    let rustc = String::from_utf8(Command::new("rustc").arg("--print=sysroot").output()?.stdout)?;
    let rustc = PathBuf::from(rustc.trim()).join("bin/rustc");
    let out_dir = dir.join("target/debug/deps").display().to_string();
    let arguments = [
        "--crate-name=unit",
        "--edition=2024",
        "main.rs",
        "--error-format=json",
        "--json=diagnostic-rendered-ansi,artifacts,future-incompat",
        "--crate-type=bin",
        "--emit=dep-info,metadata",
        "-Cembed-bitcode=no",
        "-Cdebuginfo=2",
        "-Cmetadata=0123456789abcdef",
        "-Cextra-filename=-0123456789abcdef",
        "--out-dir",
        &out_dir,
    ];
    let env: Vec<(String, String)> = [
        ("PATH", std::env::var("PATH").unwrap_or_default()),
        ("HOME", std::env::var("HOME").unwrap_or_default()),
        ("CARGO_PKG_NAME", "unit".into()),
        ("CARGO_MANIFEST_DIR", dir.display().to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let compiled = Command::new(bin_dir.join("kache-shim"))
        .arg(&rustc)
        .args(arguments)
        .current_dir(&dir)
        .env_clear()
        .envs(env.iter().cloned())
        .env("KACHE_SOCKET", daemon.socket())
        .status()?;
    ensure!(compiled.success(), "compiling the unit");
    let cwd = std::fs::metadata(&dir)?;
    Ok(Request {
        argv: std::iter::once(rustc.into_os_string()).chain(arguments.iter().map(|argument| argument.into())).collect(),
        cwd: dir,
        cwd_id: (cwd.dev(), cwd.ino()),
        env: env.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        parent: Parent { pid: std::process::id(), start: 0 },
        umask: 0o022,
        stdin: Stdin::NotRead,
    })
}

/// Has each client ask its own request so many times.
fn ask_all(daemon: &Daemon, requests: &[Vec<u8>], questions: usize) -> anyhow::Result<Samples> {
    let results: Vec<anyhow::Result<Vec<f64>>> = std::thread::scope(|scope| {
        let ask_one = |request: &Vec<u8>| (0..questions).map(|_| ask(daemon.socket(), request)).collect();
        let threads: Vec<_> = requests.iter().map(|request| scope.spawn(move || ask_one(request))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a client panicked"))).collect()
    });
    let mut samples = Samples::default();
    for micros in results {
        micros?.into_iter().for_each(|micros| samples.push(micros));
    }
    Ok(samples)
}

/// One question on a connection of its own; microseconds until the answer was there.
fn ask(socket: &Path, request: &[u8]) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut stream = loop {
        // A full backlog is a busy daemon.
        match UnixStream::connect(socket) {
            Ok(stream) => break stream,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => return Err(error).context("connect"),
        }
    };
    stream.write_all(&[&wire::preamble(), request].concat())?;
    let mut decoder = Decoder::new();
    let mut buffer = [0; 4096];
    loop {
        match decoder.next_message()? {
            Some(Message::Reply(Reply::Replay { status: 0, .. })) => return Ok(start.elapsed().as_secs_f64() * 1e6),
            Some(Message::Reply(Reply::Working)) => {}
            Some(other) => bail!("not a hit: {other:?}"),
            None => {
                let n = stream.read(&mut buffer)?;
                ensure!(n > 0, "the daemon hung up");
                decoder.push(&buffer[..n]);
            }
        }
    }
}
