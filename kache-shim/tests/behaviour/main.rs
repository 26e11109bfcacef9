//! What a wrapper does, as one table, held against both programs: `kache-shim` as it was built (the front, as a rule) and the std
//! wrapper of `kache-proto`. A daemon on a real socket plays its part from a script, and so does rustc.
//!
//! Has a `main` of its own because the std wrapper and the runner of compiles are this very program, called with a mode as its first
//! argument, and want the main thread. Other arguments select cases by name.

mod answers;
mod compiles;
mod troubles;
mod world;

use kache_proto::wrapper;
use std::env;
use std::ffi::OsString;
use std::io::{Write, stdout};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{ExitCode, abort};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;
use world::{Program, World};

type Case = (&'static str, fn(&World));

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1).peekable();
    match args.peek().and_then(|mode| mode.to_str()) {
        Some("__wrapper") => wrapper::run(args.skip(1)),
        Some("__compile") => wrapper::run_compile(args.skip(1)),
        _ => test(args.collect()),
    }
}

fn test(args: Vec<OsString>) -> ExitCode {
    let filters: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).filter(|arg| !arg.starts_with('-')).collect();
    let mut failed = 0;
    for program in Program::all() {
        for (name, case) in [answers::CASES, compiles::CASES, troubles::CASES].concat() {
            let name = format!("{}::{name}", program.name);
            if args.iter().any(|arg| arg == "--list") {
                say(&format!("{name}: test"));
            } else if filters.is_empty() || filters.iter().any(|filter| name.contains(filter)) {
                let passed = bounded(&name, || catch_unwind(AssertUnwindSafe(|| case(&World::new(&program)))).is_ok());
                say(&format!("test {name} ... {}", if passed { "ok" } else { "FAILED" }));
                failed += usize::from(!passed);
            }
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A wrapper that hangs is what must not be: the whole run ends then.
fn bounded(name: &str, case: impl FnOnce() -> bool) -> bool {
    let (end, ended) = channel::<()>();
    let name = name.to_owned();
    let watch = thread::spawn(move || {
        if ended.recv_timeout(Duration::from_secs(120)) == Err(RecvTimeoutError::Timeout) {
            say(&format!("test {name} ... HANGS"));
            abort();
        }
    });
    let passed = case();
    drop(end);
    passed & watch.join().is_ok()
}

pub(crate) fn say(line: &str) {
    let _ = writeln!(stdout(), "{line}");
}
