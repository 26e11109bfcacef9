//! One module per command; this one hands over to it.

mod config;
mod daemonise;
mod doctor;
mod exec;
mod flush;
mod gc;
mod list;
mod monitor;
mod papers;
mod report;
mod setup;
mod start;
mod stats;
mod status;
mod stop;
mod sync;
mod verify;
mod why;

pub(crate) use status::Status;

use crate::args::{Arguments, Command};
use crate::error::Error;
use std::process::ExitCode;

/// Does what the command line says.
pub(crate) fn run(arguments: Arguments) -> Result<ExitCode, Error> {
    match arguments.command {
        Command::Exec(exec) => exec::run(&exec),
        Command::Start => start::run(),
        Command::Stop => stop::run(),
        Command::Status { json } => status::run(json),
        Command::Stats(options) => stats::run(&options),
        Command::Report(options) => report::run(&options),
        Command::Monitor => monitor::run(),
        Command::Why(options) => why::run(&options),
        Command::Verify(options) => verify::run(&options),
        Command::Setup(options) => setup::run(&options),
        Command::Doctor(options) => doctor::run(&options),
        Command::List(options) => list::run(&options),
        Command::Gc(options) => gc::gc(&options),
        Command::Purge(options) => gc::purge(&options),
        Command::Config { question } => config::run(&question),
        Command::Completions { shell } => Ok(papers::completions(shell)),
        Command::Man { dir } => papers::man(dir.as_deref()),
        Command::Flush(options) => flush::run(&options),
        Command::Sync(options) => sync::run(&options),
        Command::Become(target) => Err(daemonise::become_daemon(&target.program)),
    }
}
