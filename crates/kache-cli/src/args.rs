//! The command line: names, help texts, examples. Nothing happens here.

use crate::words;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// A build cache for Rust: what rustc made once is restored from then on.
#[derive(Debug, Parser)]
#[command(name = "kache", version, help_template = HELP, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// By what people are up to; a command that is missing here fails a test.
const HELP: &str = "\
{about}

Usage: kache COMMAND, and `kache COMMAND --help` says more

  exec              Run a build through the cache
  setup             Put kache in front of every build; undo that
  doctor            Is everything as it should be? If not, what to do
  start, stop       Start kached in the background; stop it
  status            Is kached running, where, how full, with which bucket?
  stats             What became of the builds' compiles
  why               Why something was compiled, in the last build or one crate
  monitor, report   Watch builds as they happen; the last build as a page
  list              What the store holds
  verify            Re-hash the store
  gc, purge         Remove what is old or too much; remove everything
  sync, flush       Move artifacts from and to the team's bucket; wait for it
  config            Show or check the configuration
  completions, man  Print a script for a shell's completion; manual pages

Set RUSTC_WRAPPER=kache-shim to use a running kached without `kache exec`.
Exit codes: 0 done, 1 failed or found something, 2 wrong command line or
configuration, 3 kached isn't running. `exec` passes on the command's own;
with --verify 5 means that a hit wasn't what rustc makes.
";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a build through the cache
    Exec(Exec),
    /// Start kached in the background
    #[command(after_help = "Examples:\n  kache start")]
    Start,
    /// Stop kached
    #[command(after_help = "Examples:\n  kache stop")]
    Stop,
    /// Show whether kached is running, where, and how full its store is
    #[command(after_help = "\
Examples:
  kache status
  kache status --json | jq .bucket

Exit code 3: kached isn't running.")]
    Status {
        /// Print JSON, as kached answers it
        #[arg(long)]
        json: bool,
    },
    /// Show what became of the builds' compiles
    Stats(Stats),
    /// Say why something was compiled
    Why(Why),
    /// Show the last build as a whole, as text or as a page
    Report(Report),
    /// Watch builds as they happen
    #[command(after_help = "Examples:\n  kache monitor\n\nq or Ctrl-C ends it.")]
    Monitor,
    /// Re-hash the store
    Verify(Verify),
    /// Put kache in front of every build, or undo that
    Setup(Setup),
    /// Look whether everything is as it should be
    Doctor(Doctor),
    /// Show what the store holds
    List(List),
    /// Remove what is too old, and what is too much
    Gc(Gc),
    /// Remove everything, or everything of one crate
    Purge(Purge),
    /// Show or check the configuration
    #[command(after_help = "\
Examples:
  kache config show
  kache config check && kache start

It is the configuration of a kached that is started from here. Exit code 2:
something is wrong with it.")]
    Config {
        #[command(subcommand)]
        question: ConfigQuestion,
    },
    /// Print a script that completes commands in a shell
    #[command(after_help = "\
Examples:
  kache completions bash > ~/.local/share/bash-completion/completions/kache
  kache completions zsh > ~/.zfunc/_kache
  kache completions fish > ~/.config/fish/completions/kache.fish")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page of kache, or write all pages into a directory
    #[command(after_help = "\
Examples:
  kache man | man -l -
  kache man ~/.local/share/man/man1")]
    Man {
        /// The directory, for one page for each command
        dir: Option<PathBuf>,
    },
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
    /// Compile every hit again and compare: exit code 5 if one differed (rustc's result takes its place), 3 if nothing could be verified
    #[arg(long)]
    pub(crate) verify: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// Shows the last build, and what kached has counted since it started or since
/// the last --zero.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kache stats
  kache stats --watch
  kache stats --json | jq .outcomes
  kache stats --zero")]
pub(crate) struct Stats {
    /// Print JSON, as kached answers it
    #[arg(long)]
    pub(crate) json: bool,
    /// Begin at zero again, after printing
    #[arg(long)]
    pub(crate) zero: bool,
    /// Print again each second, until Ctrl-C
    #[arg(long, conflicts_with_all = ["json", "zero"])]
    pub(crate) watch: bool,
}

/// Says what of the last build here was compiled and why, dearest first; or how
/// the last invocations of one crate ended, and why. Compiles nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kache why
  kache why serde_json
  kache why app --json | jq -r '.invocations[0].why.lines[]'

Exit code 1: no build that is remembered has asked for such a crate.")]
pub(crate) struct Why {
    /// A package or a crate
    #[arg(value_name = "CRATE", value_parser = words::crate_name)]
    pub(crate) name: Option<String>,
    /// Print JSON, as kached answers it
    #[arg(long)]
    pub(crate) json: bool,
}

/// Shows the last build here: where its time went, which units decided how long it
/// took, and why something was compiled; with --html as a page with a timeline.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kache report
  kache report --html build.html

The page is one file: it needs no network and no scripts.")]
pub(crate) struct Report {
    /// Write a page into this file; - is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
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
    #[arg(long, value_name = "SECONDS", value_parser = words::seconds, allow_negative_numbers = true)]
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

/// Installs kached as a user's service that the first build starts, and names
/// kache-shim as build.rustc-wrapper in Cargo's configuration. Says what it
/// would change, and asks. Doing it again changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kache setup --check
  kache setup --yes
  kache setup --remove

Exit code 1: --check found changes to make, or another wrapper is in the way.")]
pub(crate) struct Setup {
    /// Say what would be changed, and change nothing
    #[arg(long)]
    pub(crate) check: bool,
    /// Don't ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Leave the service out
    #[arg(long)]
    pub(crate) no_service: bool,
    /// Take away what this command installed
    #[arg(long)]
    pub(crate) remove: bool,
}

/// Looks at configuration, programs, daemon, the wrapper that counts in this
/// directory, disks and the team's bucket; says what is wrong and what to do.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kache doctor
  kache doctor --write
  kache doctor --json | jq -r '.lines[] | select(.level != \"ok\") | .text'

Exit code: 0 all is well, 1 there are problems, 4 there are warnings only.")]
pub(crate) struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Try to write to the bucket, too: stores an empty object that nobody reads
    #[arg(long)]
    pub(crate) write: bool,
}

/// Hashes every blob again and looks for each artifact's blobs. Works with kached
/// running or not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kache verify
  kache verify --repair

Exit code 1: something was found, and not removed.")]
pub(crate) struct Verify {
    /// Remove artifacts that can't be restored; builds make them again
    #[arg(long)]
    pub(crate) repair: bool,
}

/// Lists artifacts, most recently used first. Works with kached running or not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kache list
  kache list --crate serde
  kache list --json | jq 'map(.output_bytes) | add'")]
pub(crate) struct List {
    /// Only those whose package or crate has this name
    #[arg(long = "crate", value_name = "NAME", value_parser = words::crate_name)]
    pub(crate) name: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Removes artifacts that weren't used for longer than --max-age, then the least
/// recently used ones while the store is larger than --max-size (or than the
/// configuration allows), down to 90 % of it. kached does the latter by itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kache gc --max-age 30d
  kache gc --max-size 5GiB --yes
  kache gc --max-age 2w --dry-run")]
pub(crate) struct Gc {
    /// Unused for longer than this: 30d, 12h, 90m
    #[arg(long, value_name = "AGE", value_parser = words::age, allow_negative_numbers = true)]
    pub(crate) max_age: Option<Duration>,
    /// More than this: 10GiB, 500M
    #[arg(long, value_name = "SIZE", value_parser = words::size, allow_negative_numbers = true)]
    pub(crate) max_size: Option<u64>,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Don't ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// Removes everything that the store holds, or what belongs to one crate. Works
/// with kached running or not; builds make what they need again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kache purge
  kache purge --crate openssl-sys --yes
  kache purge --dry-run")]
pub(crate) struct Purge {
    /// Only what belongs to a package or a crate of this name
    #[arg(long = "crate", value_name = "NAME", value_parser = words::crate_name)]
    pub(crate) name: Option<String>,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Don't ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// What of the configuration is asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigQuestion {
    /// Print every value and where it comes from; secrets aren't shown
    #[command(
        after_help = "Examples:\n  kache config show\n  kache config show --json | jq -r '.[] | select(.origin != \"default\") | .name'"
    )]
    Show {
        /// Print JSON: name, value as shown, origin
        #[arg(long)]
        json: bool,
    },
    /// Print the files that are read, in order of rising weight
    #[command(after_help = "Examples:\n  kache config path")]
    Path,
    /// Say whether the configuration can be used
    #[command(after_help = "Examples:\n  kache config check")]
    Check,
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

    fn fits_a_screen(command: &mut clap::Command) {
        let help = command.clone().term_width(80).render_help().to_string();
        assert!(help.lines().count() <= 24, "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
        command.get_subcommands_mut().for_each(fits_a_screen);
    }

    #[test]
    fn help_fits_a_screen() {
        fits_a_screen(&mut Arguments::command());
    }

    #[test]
    fn the_first_screen_names_every_command() {
        let help = Arguments::command().render_help().to_string();
        let commands = help.lines().filter_map(|line| Some(line.strip_prefix("  ")?.split("  ").next()?.split(", ")));
        let mut named: Vec<&str> = commands.flatten().collect();
        let command = Arguments::command();
        let mut known: Vec<&str> =
            command.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name).collect();
        named.sort_unstable();
        known.sort_unstable();
        assert_eq!(named, known);
    }

    #[test]
    fn exec_takes_the_command_with_or_without_dashes() {
        for line in [&["kache", "exec", "--", "cargo", "build", "--release"][..], &["kache", "exec", "cargo", "build", "--release"]] {
            let Command::Exec(exec) = Arguments::try_parse_from(line).unwrap().command else { panic!("{line:?}") };
            assert_eq!(exec.command, ["cargo", "build", "--release"]);
        }
    }
}
