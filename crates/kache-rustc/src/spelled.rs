//! Which variables a proc macro can ask for: those whose names its code, or the sources that it is applied to, can spell.
//!
//! The kernel doesn't show who reads a variable, and rustc tracks only what goes through `env!`. But a macro has to spell the name. So a variable
//! counts for a unit on which macros run, by value, if its name stands in the bytes of a macro library (as a substring: Rust packs
//! literals side by side), in a string literal of the unit's sources, or among the arguments of a macro or an attribute there.
//!
//! Left out, unless a build script declares them: names of fewer than four letters, which stand everywhere by chance, and those of [`IDLE`].

use crate::env::{Env, covers};
use crate::lexer::{self, Token};
use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

/// The shortest name that is looked for, in bytes.
const SHORTEST: usize = 4;

/// Variables that don't count by mention, with the reason.
#[rustfmt::skip]
pub(crate) const IDLE: &[(&str, &str)] = &[
    ("PATH",                 "names where programs are; every library of Rust's spells it"),
    ("HOME",                 "the person's; spelled by Rust's standard library"),
    ("PWD",                  "the directory of whoever started the build"),
    ("OLDPWD",               "the shell's"),
    ("SHLVL",                "the shell's"),
    ("SHELL",                "the person's"),
    ("USER",                 "the person's"),
    ("USERNAME",             "the person's"),
    ("LOGNAME",              "the person's"),
    ("NAME",                 "the machine's (WSL), and a part of CARGO_PKG_NAME"),
    ("HOSTNAME",             "the machine's"),
    ("HOSTTYPE",             "the shell's"),
    ("MAIL",                 "the person's"),
    ("EDITOR",               "the person's"),
    ("VISUAL",               "the person's"),
    ("PAGER",                "the person's"),
    ("LESS",                 "the person's"),
    ("LANG",                 "the person's; messages of C libraries"),
    ("LANGUAGE",             "as LANG"),
    ("LC_*",                 "as LANG"),
    ("TERM",                 "the terminal's; spelled by libraries that colour"),
    ("TERM_*",               "the terminal's"),
    ("TERMINFO*",            "the terminal's"),
    ("COLORTERM",            "the terminal's"),
    ("COLUMNS",              "the terminal's"),
    ("LINES",                "the terminal's"),
    ("NO_COLOR",             "how messages look"),
    ("CLICOLOR*",            "how messages look"),
    ("FORCE_COLOR",          "how messages look"),
    ("LS_COLORS",            "how listings look"),
    ("DISPLAY",              "the desktop's"),
    ("WINDOWID",             "the desktop's"),
    ("XDG_*",                "the session's"),
    ("DBUS_*",               "the session's"),
    ("SSH_*",                "the session's"),
    ("INVOCATION_ID",        "the service manager's"),
    ("JOURNAL_STREAM",       "the service manager's"),
    ("NOTIFY_SOCKET",        "the service manager's"),
    ("TEMP",                 "where temporary files go"),
    ("TMPDIR",               "where temporary files go; spelled by Rust's standard library"),
    ("RUST_BACKTRACE",       "how panics look; spelled by Rust's standard library"),
    ("RUST_LIB_BACKTRACE",   "how panics look; spelled by Rust's standard library"),
    ("RUST_MIN_STACK",       "spelled by Rust's standard library"),
    ("RUST_LOG*",            "what is logged"),
    ("RUST_RECURSION_COUNT", "rustup's own"),
    ("RUSTUP_TOOLCHAIN*",    "the toolchain is keyed by what it is"),
    ("RUSTC_WRAPPER",        "who asks kache"),
    ("CARGO_BUILD_RUSTC_WRAPPER", "who asks kache"),
    ("KACHE_*",              "kache's own"),
    ("LD_LIBRARY_PATH",      "Cargo makes another one for each target directory"),
    ("DYLD_*",               "as LD_LIBRARY_PATH"),
    ("MAKEFLAGS",            "the jobserver's, another one each time"),
    ("MFLAGS",               "the jobserver's"),
    ("CARGO_MAKEFLAGS",      "the jobserver's, another one each time"),
    ("NUM_JOBS",             "how many at once"),
    ("CARGO_BUILD_JOBS",     "how many at once"),
    ("CARGO_TERM_*",         "how Cargo's messages look"),
    ("CARGO_PRIMARY_PACKAGE", "flips with -p, isn't about the package"),
    ("CARGO_INCREMENTAL",    "the option that it leads to is keyed"),
    // Keyed for every unit on which macros run.
    ("CARGO_PKG_*",          "keyed always"),
    ("CARGO_CRATE_NAME",     "keyed always"),
    ("CARGO_BIN_NAME",       "keyed always"),
];

/// [`IDLE`], as it is asked for every variable of every invocation: whole names apart from patterns.
static IDLE_NAMES: LazyLock<(HashSet<&str>, Vec<&str>)> = LazyLock::new(|| {
    let (patterns, names): (Vec<&str>, Vec<&str>) = IDLE.iter().map(|(pattern, _)| *pattern).partition(|pattern| pattern.contains('*'));
    (names.into_iter().collect(), patterns)
});

/// The names in `env` that a mention makes count.
pub fn candidates(env: &Env) -> Vec<&str> {
    let (names, patterns) = &*IDLE_NAMES;
    let idle = |name: &str| names.contains(name) || patterns.iter().any(|pattern| covers(pattern, name));
    env.iter().filter_map(|(name, _)| name.to_str()).filter(|name| name.len() >= SHORTEST && !idle(name)).collect()
}

/// Which of `names` the sources spell: as a part of a string literal, or as a word among the arguments of a macro or an attribute. A file that can't be
/// read for certain spells whatever stands in it.
pub fn spelled_in_sources<'a>(names: &[&'a str], sources: &[&[u8]]) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    for source in sources {
        let there: Vec<&str> = names.iter().copied().filter(|name| memchr::memmem::find(source, name.as_bytes()).is_some()).collect();
        if there.is_empty() {
            continue;
        }
        let tokens = if std::str::from_utf8(source).is_ok() { lexer::tokens(source) } else { None };
        match tokens {
            None => found.extend(there),
            Some(tokens) => found.extend(there.into_iter().filter(|name| is_spelled(name, &tokens))),
        }
    }
    found
}

fn is_spelled(name: &str, tokens: &[Token<'_>]) -> bool {
    // How deep the delimiters are, and at which depths the arguments of a macro or an attribute begin.
    let (mut depth, mut arguments) = (0_usize, Vec::new());
    for (at, token) in tokens.iter().enumerate() {
        let before = |back: usize| at.checked_sub(back).map(|at| &tokens[at]);
        match token {
            Token::Open(_) => {
                depth += 1;
                let called = before(1) == Some(&Token::Punct('!')) || matches!(before(1), Some(Token::Punct('#')));
                // `macro_rules! name { … }`
                let defined = before(2) == Some(&Token::Punct('!'));
                if called || defined {
                    arguments.push(depth);
                }
            }
            Token::Close(_) => {
                arguments.retain(|begin| *begin < depth);
                depth = depth.saturating_sub(1);
            }
            Token::Str { value, .. } if value.contains(name) => return true,
            Token::Text(text) if text.contains(name) && !is_comment(text) => return true,
            Token::Word(word) if !arguments.is_empty() && word.contains(name) => return true,
            _ => {}
        }
    }
    false
}

/// Doc comments are what people read; byte strings and the like are literals.
fn is_comment(text: &str) -> bool {
    text.starts_with("//") || text.starts_with("/*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_stand_everywhere_are_no_candidates() {
        let env: Env =
            ["PATH", "CI", "LC_ALL", "CARGO_PKG_NAME", "DATABASE_URL", "CARGO", "http_proxy"].map(|name| (name, "x")).into_iter().collect();
        assert_eq!(candidates(&env), ["CARGO", "DATABASE_URL", "http_proxy"]);
    }

    #[test]
    fn what_a_source_can_hand_to_a_macro_is_spelled() {
        let check = |expected: bool, source: &str| {
            let found = spelled_in_sources(&["DATABASE_URL"], &[source.as_bytes()]);
            assert_eq!(found.contains("DATABASE_URL"), expected, "{source}");
        };
        for source in [
            r#"m!("DATABASE_URL");"#,
            r#"const X: &str = "see $DATABASE_URL/x";"#,
            r##"const X: &str = r#"DATABASE_URL"#;"##,
            r#"const X: &[u8] = b"DATABASE_URL";"#,
            "m!(a, [DATABASE_URL]);",
            "m! { struct A { f: B<DATABASE_URL> } }",
            "#[read(DATABASE_URL)] struct A;",
            "#![read(DATABASE_URL)]",
            "macro_rules! m { () => { n!(DATABASE_URL) } }",
            "\"unterminated DATABASE_URL",
        ] {
            check(true, source);
        }
        for source in [
            "",
            "// DATABASE_URL\nfn f() {}",
            "/// DATABASE_URL\nfn f() {}",
            "/* DATABASE_URL */",
            "const DATABASE_URL: u8 = 1; fn f() -> u8 { DATABASE_URL }",
            "m!(a); const DATABASE_URL: u8 = 1;",
        ] {
            check(false, source);
        }
    }

    #[test]
    fn every_idle_name_has_a_reason() {
        assert!(IDLE.iter().all(|(_, reason)| !reason.is_empty()));
    }
}
