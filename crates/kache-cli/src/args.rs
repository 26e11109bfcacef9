//! The command line: names, help texts, examples. Nothing happens here.

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;

/// A build cache for Rust: what rustc made once is restored from then on.
#[derive(Debug, Parser)]
#[command(name = "kache", version, after_help = HELP, disable_help_subcommand = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const HELP: &str = "\
Set RUSTC_WRAPPER=kache-shim to use a running kached without `kache exec`.
Exit codes: 0 done, 1 failed or found something, 2 wrong command line or
configuration, 3 kached isn't running. `exec` passes on the command's own.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a build through the cache
    Exec(Exec),
    /// Start kached in the background
    #[command(after_help = "Example: kache start")]
    Start,
    /// Stop kached
    #[command(after_help = "Example: kache stop")]
    Stop,
    /// Show whether kached is running, where, and how full its store is
    #[command(after_help = "Example: kache status\n\nExit code 3: kached isn't running.")]
    Status,
    /// Show what became of the builds' compiles
    Stats(Stats),
    /// Re-hash the store
    #[command(after_help = "Works with kached running or not. Exit code 1: something was found.\n\nExample: kache verify")]
    Verify,
    /// Wait until the team's bucket has everything that was built here
    Flush(Flush),
    /// Move artifacts between this machine and the team's bucket
    Sync(Sync),
    /// Become a daemon: for `kache start`
    #[command(name = "__become", hide = true)]
    Become(Become),
}

/// Starts kached if none answers, sets RUSTC_WRAPPER, runs the command, and
/// says on stderr what the cache did for it. Counts include other builds that
/// run at the same time.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kache exec -- cargo build
  kache exec cargo test --release

Exits as the command does; 126 if it can't be started, 127 if it doesn't exist.
A cache that can't be started is no reason not to build: a warning says so.")]
pub(crate) struct Exec {
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// Shows what kached has counted since it started or since the last --zero.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kache stats
  kache stats --json | jq .outcomes
  kache stats --zero")]
pub(crate) struct Stats {
    /// Print JSON, as kached answers it
    #[arg(long)]
    pub(crate) json: bool,
    /// Begin at zero again, after printing
    #[arg(long)]
    pub(crate) zero: bool,
}

/// Waits for what kached is storing, for queued uploads and for the build's
/// index, so that a machine can go away after its build.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kache exec -- cargo build && kache flush
  kache flush --timeout 60

Exit code 1: something is left, and it says what. The next start of kached goes
on with it.")]
pub(crate) struct Flush {
    /// Give up after so many seconds; default: never
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
}

/// Fetches what the bucket has of the crates in Cargo.lock, and uploads what
/// this machine has of them; with --pull or --push, only that. An interrupted
/// run goes on where it was. Works with kached running or not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kache sync --pull
  kache sync --push --dry-run
  kache sync --pull --all

Exit code 1: something failed, and the summary says of what kind.")]
pub(crate) struct Sync {
    /// Fetch
    #[arg(long)]
    pub(crate) pull: bool,
    /// Upload
    #[arg(long)]
    pub(crate) push: bool,
    /// All crates, whatever Cargo.lock says
    #[arg(long)]
    pub(crate) all: bool,
    /// Say what would be moved, and move nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Become {
    /// The program
    pub(crate) program: OsString,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_fits_a_screen() {
        for command in std::iter::once(&mut Arguments::command()).chain(Arguments::command().get_subcommands_mut()) {
            let help = command.render_help().to_string();
            assert!(help.lines().count() <= 24, "{help}");
            assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
        }
    }

    #[test]
    fn exec_takes_the_command_with_or_without_dashes() {
        for line in [&["kache", "exec", "--", "cargo", "build", "--release"][..], &["kache", "exec", "cargo", "build", "--release"]] {
            let Command::Exec(exec) = Arguments::try_parse_from(line).unwrap().command else { panic!("{line:?}") };
            assert_eq!(exec.command, ["cargo", "build", "--release"]);
        }
    }
}
