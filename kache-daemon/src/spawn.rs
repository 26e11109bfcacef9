//! The daemon's rare child processes: compiler and linker probes.
//!
//! A child that is being started holds, for a moment, a copy of every descriptor of the daemon. If one of those is open for writing
//! on a file that Cargo wants to run, Cargo gets ETXTBSY. So whoever writes files for a build holds [`writing`], and starts wait for it.

use rustix::process::{Pid, Signal, kill_process_group};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

static STARTS: RwLock<()> = RwLock::new(());

/// Held while files of a build are written; no child starts meanwhile.
pub(crate) fn writing() -> RwLockReadGuard<'static, ()> {
    STARTS.read().unwrap_or_else(PoisonError::into_inner)
}

/// How long a probe may take. One that hangs would hold up every unit that asks for the same.
const BOUND: Duration = Duration::from_secs(60);

/// Runs a probe to its end, with no standard input and nothing of the daemon's.
pub(crate) fn output(command: &mut Command) -> io::Result<Output> {
    output_within(command, BOUND)
}

/// What it has started goes with it when it takes too long: whoever holds its pipes would be waited for.
fn output_within(command: &mut Command, bound: Duration) -> io::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let child = {
        let _alone = STARTS.write().unwrap_or_else(PoisonError::into_inner);
        command.spawn()?
    };
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (ended, watched) = channel::<()>();
    let watch = std::thread::spawn(move || {
        let late = watched.recv_timeout(bound) == Err(RecvTimeoutError::Timeout);
        if let Some(group) = group.filter(|_| late) {
            let _gone = kill_process_group(group, Signal::KILL);
        }
        late
    });
    let output = child.wait_with_output();
    drop(ended);
    if watch.join().unwrap_or(false) { Err(io::ErrorKind::TimedOut.into()) } else { output }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_that_hangs_is_ended_with_all_that_it_has_started() {
        let mut hangs = Command::new("sh");
        hangs.args(["-c", "sleep 600 & sleep 600"]);
        assert_eq!(output_within(&mut hangs, Duration::from_millis(50)).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut ends = Command::new("sh");
        ends.args(["-c", "echo out; echo err >&2; exit 3"]);
        let output = output_within(&mut ends, BOUND).unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice(), output.stderr.as_slice()), (Some(3), &b"out\n"[..], &b"err\n"[..]));
    }
}
