//! `kache exec`: a command with the cache in front of its rustc.
//!
//! Promises: the command runs whatever the cache does; its exit status, or the signal that ended it, becomes ours; signals
//! sent to us reach it. Afterwards one line on stderr says what the cache did, and a warning each what must not go unnoticed of it. With `--verify` a command
//! that ended well ends badly if a hit wasn't what rustc makes, or nothing could be verified.

use super::start;
use crate::args::Exec;
use crate::client::Client;
use crate::error::Error;
use crate::stats::{Difference, Stats};
use crate::{bucket, exit, outdated, place, show};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) fn run(options: &Exec) -> Result<ExitCode, Error> {
    let [program, arguments @ ..] = &*options.command else { return Ok(ExitCode::from(exit::USAGE)) };
    let mut command = Command::new(program);
    command.args(arguments);
    if options.verify {
        command.env("KACHE_VERIFY", "always");
    }
    let session = if is_disabled() { None } else { prepare(&mut command) };
    let status = match run_through(&mut command) {
        Ok(status) => status,
        Err(error) => {
            let code = if error.kind() == io::ErrorKind::NotFound { exit::NOT_FOUND } else { exit::NOT_STARTED };
            show::error(&Error::io(format!("{} can't be started", program.display()), error));
            return Ok(ExitCode::from(code));
        }
    };
    let seen = session.and_then(|(client, before)| report(&client, &before));
    if options.verify && status.success() {
        return Ok(match seen {
            None => ExitCode::from(exit::NOT_RUNNING),
            Some(Difference { differed: 0, .. }) => ExitCode::SUCCESS,
            Some(_) => ExitCode::from(exit::DIFFERED),
        });
    }
    Ok(end_like(status))
}

fn is_disabled() -> bool {
    std::env::var_os("KACHE_DISABLED").is_some_and(|value| kache_proto::wire::is_disabled(value.as_encoded_bytes()))
}

/// Puts the cache in front of `command`. Trouble is a warning: the build doesn't depend on the cache.
fn prepare(command: &mut Command) -> Option<(Client, Stats)> {
    let session = place::beside("kache-shim").and_then(|shim| {
        command.env("RUSTC_WRAPPER", shim);
        let client = place::client()?;
        start::ensure(&client)?;
        let before: Stats = client.get_json("/v1/stats")?;
        if let Some(why) = outdated::version(&before.version) {
            show::warning(format_args!("{why}; {}", outdated::ADVICE));
        }
        if let Some(gap) = bucket::gap_here(&client) {
            show::warning(format_args!("{gap}; {}", bucket::ADVICE));
        }
        Ok((client, before))
    });
    session.inspect_err(|error| show::warning(format_args!("building without the cache: {error}"))).ok()
}

/// Says what the cache did, and tells it; `None` if nobody knows.
fn report(client: &Client, before: &Stats) -> Option<Difference> {
    let after = client.get_json::<Stats>("/v1/stats").inspect_err(|error| show::warning(format_args!("no counts: {error}"))).ok()?;
    let difference = Difference::between(before, &after);
    match &difference {
        Some(difference) => {
            show::note(summary(difference));
            difference.troubles.iter().for_each(|trouble| show::warning(show::trouble(trouble)));
        }
        None => show::note("kached was restarted or set to zero meanwhile: no counts"),
    }
    if difference.as_ref().is_some_and(|difference| difference.differed > 0)
        && let Some(trouble) = after.verify.trouble()
    {
        show::warning(trouble);
    }
    difference
}

fn summary(difference: &Difference) -> String {
    let Difference { units, hits, misses, bypasses, failed, saved_secs, verified, differed, troubles: _ } = *difference;
    let mut parts = vec![
        show::count(units, "unit", "units"),
        show::count(hits, "hit", "hits"),
        show::count(misses, "miss", "misses"),
        show::count(bypasses, "bypass", "bypasses"),
    ];
    if failed > 0 {
        parts.push(format!("{failed} failed"));
    }
    if verified > 0 {
        parts.push(format!("{verified} verified ({differed} differed)"));
    }
    format!("{}; {saved_secs:.1} s of compiling saved", parts.join(", "))
}

/// Runs `command`, passing on signals until it ends.
fn run_through(command: &mut Command) -> io::Result<ExitStatus> {
    // Before the child exists: a signal that comes in between must not kill us and leave it behind.
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2].into_iter().filter(|signal| !is_ignored(*signal)))?;
    let handle = signals.handle();
    let mut child = command.spawn()?;
    let target = Arc::new(Mutex::new(Pid::from_raw(i32::try_from(child.id()).unwrap_or(0))));
    let forwarder = std::thread::spawn({
        let target = Arc::clone(&target);
        move || signals.forever().for_each(|signal| forward(signal, &target))
    });
    let status = wait(&mut child, &target);
    handle.close();
    let _ = forwarder.join();
    status
}

/// Waits in two steps, so that nobody signals a number that belongs to another process by then.
fn wait(child: &mut Child, target: &Mutex<Option<Pid>>) -> io::Result<ExitStatus> {
    if let Some(pid) = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while rustix::process::waitid(WaitId::Pid(pid), options).is_err_and(|error| error == rustix::io::Errno::INTR) {}
    }
    target.lock().unwrap_or_else(PoisonError::into_inner).take();
    child.wait()
}

fn forward(signal: i32, target: &Mutex<Option<Pid>>) {
    let by_terminal = [SIGINT, SIGQUIT].contains(&signal) && terminal_signals_us();
    let target = target.lock().unwrap_or_else(PoisonError::into_inner);
    if let (Some(pid), Some(signal), false) = (*target, Signal::from_named_raw(signal), by_terminal) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Whether Ctrl-C comes from the terminal: then the command, being in our process group, got it as well.
fn terminal_signals_us() -> bool {
    let Ok(terminal) = std::fs::File::open("/dev/tty") else { return false };
    rustix::termios::tcgetpgrp(&terminal).is_ok_and(|foreground| foreground == rustix::process::getpgrp())
}

/// Whether whoever started us wants `signal` ignored (`nohup`). A handler of ours would undo that for the command.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Ends as the command did: by its code, or by the signal that killed it.
fn end_like(status: ExitStatus) -> ExitCode {
    if let Some(signal) = status.signal() {
        let _ = signal_hook::low_level::emulate_default_handler(signal);
        return ExitCode::from(u8::try_from(128 + signal).unwrap_or(exit::FAILED));
    }
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::FAILED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_one_line_with_the_five_figures() {
        let none = Difference::default();
        assert_eq!(summary(&none), "0 units, 0 hits, 0 misses, 0 bypasses; 0.0 s of compiling saved");
        let some = Difference {
            units: 10,
            hits: 7,
            misses: 1,
            bypasses: 1,
            failed: 1,
            saved_secs: 12.34,
            verified: 0,
            differed: 0,
            troubles: Vec::new(),
        };
        assert_eq!(summary(&some), "10 units, 7 hits, 1 miss, 1 bypass, 1 failed; 12.3 s of compiling saved");
    }
}
