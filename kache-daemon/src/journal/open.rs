//! A Cargo at work, as its invocations see it.

use crate::process;
use kache_journal::Build;
use kache_proto::Parent;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// See the module.
#[derive(Debug)]
pub(crate) struct Open {
    /// Names its build.
    pub(super) id: u64,
    began: Instant,
    began_millis: u64,
    dir: String,
    command: String,
    questions: AtomicU64,
}

/// Options whose values may hold anything, a registry's token for instance.
const PRIVATE: [&str; 2] = ["--config", "--token"];

impl Open {
    /// Begins now. Must be called while the process lives to know more of it.
    pub(super) fn new(cargo: Parent, words: &[String], came: Instant) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| u64::try_from(age.as_micros()).unwrap_or(u64::MAX));
        let last = LAST.fetch_max(micros, Ordering::Relaxed);
        let id = if micros > last { micros } else { LAST.fetch_add(1, Ordering::Relaxed) + 1 };
        Self {
            id,
            began: came,
            began_millis: micros / 1000,
            dir: process::directory(cargo).map(|dir| dir.display().to_string()).unwrap_or_default(),
            command: command(words),
            questions: AtomicU64::new(0),
        }
    }

    /// Numbers the questions.
    pub(super) fn number(&self) -> u64 {
        self.questions.fetch_add(1, Ordering::Relaxed)
    }

    /// Microseconds from its begin to `at`.
    pub(super) fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }

    /// Its build, without records.
    pub(super) fn build(&self) -> Build {
        Build {
            id: self.id,
            dir: self.dir.clone(),
            command: self.command.clone(),
            began_millis: self.began_millis,
            wall_micros: 0,
            running: true,
            records: Vec::new(),
            left_out: 0,
        }
    }
}

/// A command line as it may be shown: without what follows `--`, and without values that may be private.
fn command(words: &[String]) -> String {
    let mut shown: Vec<&str> = Vec::new();
    let mut words = words.iter().take_while(|word| *word != "--").map(String::as_str);
    if let Some(program) = words.next() {
        shown.push(program.rsplit('/').next().unwrap_or(program));
    }
    while let Some(word) = words.next() {
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        match PRIVATE.iter().find(|private| **private == name) {
            None => shown.push(word),
            Some(private) => {
                shown.extend([*private, "…"]);
                if value.is_none() {
                    words.next();
                }
            }
        }
    }
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_without_what_may_be_private() {
        for (line, shown) in [
            ("/usr/bin/cargo build --release -p app", "cargo build --release -p app"),
            ("cargo run -- --password secret", "cargo run"),
            ("cargo --config net.x=\"secret\" build", "cargo --config … build"),
            ("cargo publish --token=secret -v", "cargo publish --token … -v"),
            ("", ""),
        ] {
            let words: Vec<String> = line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
            assert_eq!(command(&words), shown, "{line}");
        }
    }

    #[test]
    fn later_builds_have_higher_names() {
        let cargo = Parent { pid: std::process::id(), start: 0 };
        let ids: Vec<u64> = (0..100).map(|_| Open::new(cargo, &[], Instant::now()).id).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    }
}
