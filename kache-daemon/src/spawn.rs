//! The daemon's rare child processes: compiler and linker probes.
//!
//! A child that is being started holds, for a moment, a copy of every descriptor of the daemon. If one of those is open for writing
//! on a file that Cargo wants to run, Cargo gets ETXTBSY. So whoever writes files for a build holds [`writing`], and starts wait for it.

use std::io;
use std::process::{Command, Output, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

static STARTS: RwLock<()> = RwLock::new(());

/// Held while files of a build are written; no child starts meanwhile.
pub(crate) fn writing() -> RwLockReadGuard<'static, ()> {
    STARTS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a probe to its end, with no standard input and nothing of the daemon's.
pub(crate) fn output(command: &mut Command) -> io::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = {
        let _alone = STARTS.write().unwrap_or_else(PoisonError::into_inner);
        command.spawn()?
    };
    child.wait_with_output()
}
