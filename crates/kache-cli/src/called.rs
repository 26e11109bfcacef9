//! Called by a build in place of a compiler (`RUSTC_WRAPPER=kache`, `CC="kache cc"`), not by a person.
//!
//! Promise: a tool of another language is run as if it had been called itself: same arguments, environment and end. No command of ours has a tool's name.

use crate::error::Error;
use crate::{exit, show};
use kache_proto::{tool, wrapper};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Does what the build wants. `None`: a person calls.
pub(crate) fn instead(arguments: &[OsString]) -> Option<ExitCode> {
    let (program, rest) = arguments.split_first()?;
    if tool::is_tool(program.as_encoded_bytes()) {
        return Some(become_tool(program, rest));
    }
    is_compiler(program).then(|| wrapper::run(arguments.iter().cloned()))
}

/// Whether Cargo calls: no command of ours holds a slash or is named like a compiler.
fn is_compiler(first: &OsStr) -> bool {
    let stem = Path::new(first).file_stem().unwrap_or_default();
    first.as_encoded_bytes().contains(&b'/') || stem == "rustc" || stem == "clippy-driver"
}

/// Returns only if it can't be started.
fn become_tool(program: &OsStr, arguments: &[OsString]) -> ExitCode {
    let error = Command::new(program).args(arguments).exec();
    let code = if error.kind() == io::ErrorKind::NotFound { exit::NOT_FOUND } else { exit::NOT_STARTED };
    show::error(&Error::io(format!("{} can't be started", program.display()), error));
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Arguments;
    use clap::CommandFactory as _;

    #[test]
    fn compilers_are_told_from_commands() {
        for compiler in ["rustc", "/usr/bin/rustc", "./my-rustc", "clippy-driver", "/x/clippy-driver", "rustc.exe"] {
            assert!(is_compiler(OsStr::new(compiler)), "{compiler}");
        }
        for other in ["exec", "stats", "--help", "-V", "rust", ""] {
            assert!(!is_compiler(OsStr::new(other)), "{other}");
        }
    }

    #[test]
    fn no_command_of_ours_has_the_name_of_a_tool() {
        let commands = Arguments::command();
        for name in commands.get_subcommands().flat_map(|command| command.get_all_aliases().chain([command.get_name()])) {
            assert!(!tool::is_tool(name.as_bytes()) && !is_compiler(OsStr::new(name)), "{name}");
        }
    }
}
