//! The command line against a daemon that only looks like one: texts, exit codes, signals, what a started daemon inherits.

mod doctor;
mod exec;
mod fake;
mod housekeeping;
mod map;
mod questions;
mod readme;
mod service;
mod setup;
mod slips;
mod terminal;
mod usage;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A directory with a copy of `kache` in it, its socket, its cache, and room for programs beside it.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let copy = Command::new("cp").arg(env!("CARGO_BIN_EXE_kache")).arg(place.path("kache")).status().unwrap();
        assert!(copy.success());
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `kache` with `arguments` and an environment that holds only what this place needs.
    pub(crate) fn kache(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("kache"));
        command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", self.0.path()).env("KACHE_SOCKET", self.path("s")).env("KACHE_CACHE_DIR", self.path("cache"));
        command.stdin(Stdio::null());
        command
    }

    /// Runs it to its end; the place's path is spelled `DIR` in what it says.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        self.said(self.kache(arguments).output().unwrap())
    }

    pub(crate) fn said(&self, output: Output) -> Said {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(self.0.path().to_str().unwrap(), "DIR");
        Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// A shell script beside `kache`. Another process writes it: a child that this one starts at the same moment would hold our write
    /// descriptor for an instant, and the script could not be run (ETXTBSY).
    pub(crate) fn script(&self, name: &str, text: &str) {
        let mut writer = Command::new("sh");
        writer.args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\""]);
        writer.arg(self.path(name)).arg(text);
        assert!(writer.status().unwrap().success());
    }
}

/// How a call ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A call that should have ended with `code`, these lines on stdout and these on stderr.
#[track_caller]
pub(crate) fn check(said: &Said, code: i32, stdout: &str, stderr: &str) {
    assert_eq!((said.code, said.stdout.trim_end(), said.stderr.trim_end()), (Some(code), stdout, stderr));
}
