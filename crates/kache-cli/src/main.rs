//! `kache`: what people type. Runs a build through the cache, asks the daemon questions, starts and stops it.
//!
//! Promises: exit codes as in [`exit`]; answers go to stdout, everything else to stderr; no colour unless a terminal reads it.
//! Called with a compiler's path as first argument (`RUSTC_WRAPPER=kache`) it does what the shim does, before anything else; a C compiler or another
//! tool it simply becomes ([`called`]).
//!
//! Deliberately absent: the cache itself. What can be asked of a daemon is asked over its socket; without one, housekeeping opens the store under
//! its lock.

mod args;
mod bucket;
mod called;
mod cargo_config;
mod client;
mod command;
mod consent;
mod error;
mod history;
mod holder;
mod outdated;
mod place;
mod progress;
mod sccache;
mod show;
mod stats;
mod words;

use clap::Parser as _;
use std::ffi::OsString;
use std::process::ExitCode;

/// What the exit codes mean. `kache exec` passes on the code of the command it ran.
mod exit {
    /// Something was found or went wrong.
    pub(crate) const FAILED: u8 = 1;
    /// The command line or the configuration can't be used (clap uses the same code).
    pub(crate) const USAGE: u8 = 2;
    /// kached isn't running.
    pub(crate) const NOT_RUNNING: u8 = 3;
    /// `doctor`: nothing is wrong, but something is worth a look.
    pub(crate) const WARNED: u8 = 4;
    /// `exec --verify`: something that was restored isn't what rustc makes.
    pub(crate) const DIFFERED: u8 = 5;
    /// `exec`: the command could not be started.
    pub(crate) const NOT_STARTED: u8 = 126;
    /// `exec`: the command doesn't exist.
    pub(crate) const NOT_FOUND: u8 = 127;
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(code) = called::instead(&arguments) {
        return code;
    }
    let words = std::env::args_os().take(1).chain(sccache::translated(arguments));
    match command::run(args::Arguments::parse_from(words)) {
        Ok(code) => code,
        Err(error) => {
            show::error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
