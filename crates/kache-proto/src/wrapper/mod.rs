//! A compiler wrapper, complete: asks the daemon about an invocation and does what the answer says.
//!
//! Used by the shim where it is built from std, by `kache` called with a compiler's path, and (from [`run_compile`] on) by
//! `kached __compile`.
//!
//! Promises:
//! - A cache in trouble is a plain rustc: daemon absent, refused, of another version, hung, dead in mid-answer, or talking nonsense.
//! - Not a byte of its own goes to stdout or stderr, not even when rustc can't be started: Cargo stores and replays them.
//! - A C compiler or another [tool] is run at once: the daemon has nothing to say about it.
//! - What rustc would have inherited it inherits: directory, umask, limits, jobserver, standard input read or not; nothing of ours.
//!
//! The shim's front (`kache-shim/front`) does the first half of this without libc; both are held to one test table.

mod compile;
mod file;
mod forward;
mod stdin;

use crate::client::{ClientError, Connection, HungMarker};
use crate::frame::{Parent, Reply, Request};
use crate::{socket_path, tool, wire};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use stdin::TakenStdin;

pub use compile::run_compile;

/// Does a wrapper's whole work. `args` are the arguments after the wrapper's own name: the compiler and its arguments. Returns the
/// status to exit with, if it returns: as a rule it becomes rustc.
///
/// Call it on the main thread, before any other thread starts: it moves descriptors, and rustc's life may hang on the calling
/// thread's.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let argv = without_ourselves(args.collect());
    if argv.is_empty() {
        return ExitCode::SUCCESS;
    }
    if argv.first().is_some_and(|program| tool::is_tool(program.as_bytes())) {
        return exec(&argv);
    }
    let Some((marker, mut connection)) = reach() else {
        return exec(&argv);
    };
    let Ok(stdin) = TakenStdin::take(&argv) else {
        drop(connection);
        return exec(&argv);
    };
    let answer = request(&argv, &stdin).ok_or(ClientError::OutOfTurn).and_then(|request| connection.ask(&request));
    if let Ok(Reply::Replay { status, stdout, stderr }) = answer {
        return replay(status, &stdout, &stderr);
    }
    if stdin.give_back().is_err() {
        return ExitCode::FAILURE;
    }
    match answer {
        Ok(Reply::Compile(plan)) => compile::run(connection, &plan, &argv),
        Err(ClientError::Hung) => {
            marker.set();
            exec(&argv)
        }
        Ok(_) | Err(_) => exec(&argv),
    }
}

/// Drops wrappers of our own name from the front: wrapping ourselves would never end.
fn without_ourselves(mut argv: Vec<OsString>) -> Vec<OsString> {
    let own = argv.iter().take_while(|argument| wire::is_own_name(argument.as_bytes())).count();
    argv.drain(..own);
    argv
}

/// A connection, if the environment wants one and a daemon is there that isn't known to hang.
fn reach() -> Option<(HungMarker, Connection)> {
    if env::var_os("KACHE_DISABLED").is_some_and(|value| wire::is_disabled(value.as_bytes())) {
        return None;
    }
    let socket = socket_path(|name| env::var_os(name)).ok()?;
    let marker = HungMarker::beside(&socket);
    if marker.is_fresh() {
        return None;
    }
    match Connection::open(&socket) {
        Ok(connection) => Some((marker, connection)),
        Err(ClientError::Hung) => {
            marker.set();
            None
        }
        Err(_) => None,
    }
}

/// What there is to say about this process. `None` if its working directory is gone: rustc has words for that.
fn request(argv: &[OsString], stdin: &TakenStdin) -> Option<Request> {
    let cwd = env::current_dir().ok()?;
    let here = fs::metadata(".").ok()?;
    Some(Request {
        argv: argv.to_vec(),
        cwd,
        cwd_id: (here.dev(), here.ino()),
        env: env::vars_os().collect(),
        parent: parent(),
        umask: umask(),
        stdin: stdin.to_frame(),
    })
}

fn parent() -> Parent {
    let pid = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().cast_unsigned());
    let start = fs::read(format!("/proc/{pid}/stat")).ok().and_then(|stat| wire::start_time(&stat));
    Parent { pid, start: start.unwrap_or(0) }
}

/// The umask. Reading it means setting it, for a moment; no other thread is there to notice.
fn umask() -> u32 {
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(umask);
    // Sixteen bits on macOS.
    u64::from(umask.bits()) as u32
}

fn replay(status: i32, stdout: &[u8], stderr: &[u8]) -> ExitCode {
    // A caller that closed its end doesn't want to read; the status still stands.
    let _ = forward::write_all(rustix::stdio::stdout(), stdout);
    let _ = forward::write_all(rustix::stdio::stderr(), stderr);
    exit_code(status)
}

/// Becomes rustc. Returns only if that can't be: then with a shell's status for it.
fn exec(argv: &[OsString]) -> ExitCode {
    let Some((program, args)) = argv.split_first() else {
        return ExitCode::from(2);
    };
    let error = Command::new(program).args(args).exec();
    ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
}

/// As the system cuts it: the lowest eight bits.
fn exit_code(status: i32) -> ExitCode {
    ExitCode::from(status.to_le_bytes()[0])
}
