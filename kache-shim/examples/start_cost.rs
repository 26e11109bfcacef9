//! What a start costs: spawns programs in turn, many rounds, and prints minimum and median for each.
//!
//! ```text
//! cargo build --release -p kache-shim --bins --examples
//! KACHE_SHIM_STD=1 cargo build --release -p kache-shim --bins --target-dir target/std
//! target/release/examples/start_cost target/release/kache-shim target/std/release/kache-shim [PROGRAM…]
//! ```
//! Every program is started bare (a wrapper without arguments does nothing), and wrappers (named `kache-shim`, `kache`) also for a hit: a
//! thread of this process answers with a small replay. An empty static Rust program, built on the spot, is the yardstick. Spawning is
//! `posix_spawn` from this small process. Not a test: it asserts nothing about time.

use kache_proto::{Decoder, Reply, wire};
use std::env;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write, stdout};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const ROUNDS: usize = 1000;

struct Row {
    name: String,
    command: Command,
    times: Vec<Duration>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("kached.sock");
    let listener = UnixListener::bind(&socket)?;
    thread::spawn(move || serve(&listener));
    let mut rows = vec![row("empty static Rust program".into(), &empty_program(directory.path())?, &socket)];
    for program in env::args_os().skip(1).map(PathBuf::from) {
        rows.push(row(format!("{} (bare)", program.display()), &program, &socket));
        if program.file_name().is_some_and(|name| wire::is_own_name(name.as_encoded_bytes())) {
            let mut hit = row(format!("{} (hit)", program.display()), &program, &socket);
            hit.command.args(["/nonexistent/rustc", "--crate-name", "x"]);
            rows.push(hit);
        }
    }
    for _ in 0..ROUNDS {
        for row in &mut rows {
            let start = Instant::now();
            row.command.status()?;
            row.times.push(start.elapsed());
        }
    }
    writeln!(stdout(), "{ROUNDS} starts each, µs\n   min  median  program")?;
    for Row { name, mut times, .. } in rows {
        times.sort_unstable();
        writeln!(stdout(), "{:>6}  {:>6}  {name}", times[0].as_micros(), times[ROUNDS / 2].as_micros())?;
    }
    Ok(())
}

fn row(name: String, program: &Path, socket: &Path) -> Row {
    let mut command = Command::new(program);
    command.env("KACHE_SOCKET", socket).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Row { name, command, times: Vec::with_capacity(ROUNDS) }
}

fn empty_program(directory: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let (source, program) = (directory.join("empty.rs"), directory.join("empty"));
    fs::write(&source, "fn main() {}")?;
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| OsStr::new("rustc").to_owned());
    let flags = ["-Ctarget-feature=+crt-static", "-Crelocation-model=static", "-Cpanic=abort", "-Copt-level=3", "-Cstrip=symbols"];
    let status = Command::new(rustc).args(flags).arg("-o").arg(&program).arg(&source).status()?;
    if status.success() { Ok(program) } else { Err("the empty program can't be built".into()) }
}

/// Answers every request with a replay as small libraries have it.
fn serve(listener: &UnixListener) {
    let reply = Reply::Replay { status: 0, stdout: Vec::new(), stderr: vec![b' '; 400] };
    let Ok(frame) = reply.encode() else { return };
    let answer = [wire::preamble().as_slice(), &frame].concat();
    for mut stream in listener.incoming().flatten() {
        let (mut decoder, mut buffer) = (Decoder::new(), [0; 16 << 10]);
        while let Ok(None) = decoder.next_message() {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(len) => decoder.push(&buffer[..len]),
            }
        }
        let _ = stream.write_all(&answer);
    }
}
