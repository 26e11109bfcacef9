//! Which variables a script may read that stands in a tool's place, judged by its text.
//!
//! A guess on the safe side, as far as a text can tell: names that it puts together (`$(printenv "$a$b")`), and what the files say that it reads, stay
//! unknown. That is why a result that a script had a hand in isn't for other machines.

use crate::env::Env;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;

/// Shorter words count only behind a `$`: a script is full of them.
const SHORTEST: usize = 4;

/// Variables that scripts name all the time and that say nothing of what they do with a compile: where things are for this user, this session,
/// this terminal. Programs that a search finds by `PATH` are asked for and digested; temporary files leave no trace.
const HARMLESS: &[&str] = &[
    "COLORTERM",
    "COLUMNS",
    "DISPLAY",
    "EDITOR",
    "EUID",
    "HOME",
    "HOSTNAME",
    "IFS",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LINES",
    "LOGNAME",
    "MAIL",
    "MAKEFLAGS",
    "CARGO_MAKEFLAGS",
    "OLDPWD",
    "PAGER",
    "PATH",
    "PPID",
    "PS1",
    "PS2",
    "PS4",
    "PWD",
    "RANDOM",
    "SHELL",
    "SHLVL",
    "TEMP",
    "TERM",
    "TMP",
    "TMPDIR",
    "UID",
    "USER",
    "_",
];

/// The words of scripts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptWords(BTreeSet<String>);

impl ScriptWords {
    /// Adds those of one more script.
    pub fn add(&mut self, text: &[u8]) {
        let mut at = 0;
        while at < text.len() {
            let len = text[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
            if len > 0 {
                let word = String::from_utf8_lossy(&text[at..at + len]).into_owned();
                if len >= SHORTEST || expands(&text[..at]) {
                    self.0.insert(word);
                }
            }
            at += len.max(1);
        }
    }

    /// The variables of `env` that these scripts may read, with their values.
    ///
    /// # Errors
    /// The name of one whose value isn't UTF-8.
    pub fn variables(&self, env: &Env) -> Result<BTreeMap<String, String>, String> {
        let counts = |name: &OsStr| name.to_str().filter(|name| self.0.contains(*name) && !HARMLESS.contains(name)).map(str::to_owned);
        let read = |(name, value): (&OsStr, &OsStr)| {
            let name = counts(name)?;
            Some(value.to_str().map(|value| (name.clone(), value.to_owned())).ok_or(name))
        };
        env.iter().filter_map(read).collect()
    }
}

/// Whether `before` makes a variable of the word behind it: `$NAME`, `${NAME}`, also `${!NAME}` and `${#NAME}`.
fn expands(before: &[u8]) -> bool {
    let before = before.strip_suffix(b"!").or_else(|| before.strip_suffix(b"#")).unwrap_or(before);
    before.ends_with(b"$") || before.ends_with(b"${")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_a_text_can_spell_count() {
        let env: Env = ["EXTRA", "CC", "NIX_X", "HOME", "PATH", "XY", "if", "exec", "OTHER"].into_iter().map(|name| (name, "v")).collect();
        let named = |text: &str| {
            let mut words = ScriptWords::default();
            words.add(text.as_bytes());
            words.variables(&env).unwrap().into_keys().collect::<Vec<_>>()
        };
        assert_eq!(named("#!/bin/sh\nexec cc \"$@\" $EXTRA\n"), ["EXTRA", "exec"]);
        assert_eq!(named("${CC:-cc} ${!XY} $HOME $PATH"), ["CC", "XY"]);
        assert_eq!(named("import os; os.environ['NIX_X']; CC; if"), ["NIX_X"]);
        assert_eq!(named("XOTHER OTHERX OTHER_1"), [""; 0]);
        assert_eq!(named("${#OTHER}"), ["OTHER"]);
    }
}
