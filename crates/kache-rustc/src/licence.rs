//! Decides whether the sources use a path variable as a mere locator of files that they include.
//!
//! A constant can hash a path, measure it, compare it; optimised code then holds no trace of it. So a variable whose value names a
//! machine-local root is keyed by its literal value, unless *every* textual occurrence of its name stands as
//! `env!(NAME)` inside nothing but `concat!` inside `include!`, `include_str!` or `include_bytes!`, and there is at least one. What is
//! included then is an input of its own, by content, and the value itself reaches nothing.
//!
//! Doubt refuses, and refusing costs one unit its portability, never a wrong result. What the text can't show (a macro from another crate
//! that names the variable) is found in that crate's outputs: see [`kache_model::Mentions`].

use crate::lexer::{self, Token};
use memchr::memmem;

/// Macros that read a file or the environment, or build the name for one.
const MACROS: &[&str] = &["include", "include_str", "include_bytes", "concat", "env", "option_env"];
const INCLUDES: &[&str] = &["include", "include_str", "include_bytes"];

/// Macros of the standard library that hand an expression on as it is; an include inside of them is still an include.
const TRANSPARENT: &[&str] = &[
    "assert",
    "assert_eq",
    "assert_ne",
    "concat",
    "dbg",
    "debug_assert",
    "debug_assert_eq",
    "debug_assert_ne",
    "eprint",
    "eprintln",
    "format",
    "format_args",
    "matches",
    "panic",
    "print",
    "println",
    "thread_local",
    "todo",
    "unimplemented",
    "unreachable",
    "vec",
    "write",
    "writeln",
];

/// Whether `name` is nothing but a locator in all of `sources` (the unit's whole input set).
pub fn is_locator(name: &str, sources: &[&[u8]]) -> bool {
    let mut found = false;
    for source in sources {
        match uses(name, source) {
            Uses::Refused => return false,
            Uses::Located => found = true,
            Uses::None => {}
        }
    }
    found
}

enum Uses {
    None,
    Located,
    Refused,
}

fn uses(name: &str, source: &[u8]) -> Uses {
    let has = |word: &str| memmem::find(source, word.as_bytes()).is_some();
    if !has(name) && !["env", "include", "concat", "macro_rules"].iter().any(|word| has(word)) {
        return Uses::None;
    }
    let Some(tokens) = lexer::tokens(source) else { return Uses::Refused };
    let Some(calls) = calls(&tokens) else { return Uses::Refused };
    let reader = Reader { name, tokens: &tokens };
    if reader.redefines() {
        return Uses::Refused;
    }
    let mut located = false;
    for (at, token) in tokens.iter().enumerate() {
        if !reader.names(token) {
            continue;
        }
        if !reader.is_located(at, &calls[at]) {
            return Uses::Refused;
        }
        located = true;
    }
    if located { Uses::Located } else { Uses::None }
}

/// A group of delimiters that a token stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group<'a> {
    /// `name!( … )`, also with `std::` or `core::` in front; the index of what opens it.
    Call(&'a str, usize),
    /// `macro_rules! name { … }`
    Definition,
    /// `( … )`, `[ … ]`, `{ … }`
    Plain,
}

/// For each token the groups around it, outermost first; `None` if delimiters don't match.
fn calls<'a>(tokens: &[Token<'a>]) -> Option<Vec<Vec<Group<'a>>>> {
    let mut stack: Vec<(char, Group<'a>)> = Vec::new();
    let mut out = Vec::with_capacity(tokens.len());
    for (at, token) in tokens.iter().enumerate() {
        if let Token::Close(close) = token {
            let (open, _) = stack.pop()?;
            if !matches!((open, close), ('(', ')') | ('[', ']') | ('{', '}')) {
                return None;
            }
        }
        // Only strings are ever asked about.
        let wanted = matches!(token, Token::Str { .. });
        out.push(if wanted { stack.iter().map(|(_, group)| *group).collect() } else { Vec::new() });
        if let Token::Open(open) = token {
            stack.push((*open, group(tokens, at)));
        }
    }
    stack.is_empty().then_some(out)
}

fn group<'a>(tokens: &[Token<'a>], open: usize) -> Group<'a> {
    let word = |back: usize| match open.checked_sub(back).map(|at| &tokens[at]) {
        Some(Token::Word(word)) => Some(*word),
        _ => None,
    };
    let punct = |back: usize, c: char| open.checked_sub(back).is_some_and(|at| tokens[at] == Token::Punct(c));
    if word(1).is_some() && punct(2, '!') && word(3) == Some("macro_rules") {
        return Group::Definition;
    }
    match word(2) {
        Some(name) if punct(1, '!') => {
            let path = punct(3, ':') && punct(4, ':');
            let std = path && matches!(word(5), Some("std" | "core" | "alloc")) && !(punct(6, ':') && word(8).is_some());
            let metavariable = punct(3, '$');
            if (path && !std) || metavariable { Group::Call("", open) } else { Group::Call(name, open) }
        }
        _ => Group::Plain,
    }
}

struct Reader<'s, 'a> {
    name: &'s str,
    tokens: &'s [Token<'a>],
}

impl Reader<'_, '_> {
    /// Whether the token spells the variable's name.
    fn names(&self, token: &Token<'_>) -> bool {
        match token {
            Token::Word(text) | Token::Text(text) => text.contains(self.name),
            Token::Str { value, .. } => value.contains(self.name),
            _ => false,
        }
    }

    /// Whether the string at `at` is the argument of an `env!` that only locates an include.
    fn is_located(&self, at: usize, groups: &[Group<'_>]) -> bool {
        if self.tokens[at] != (Token::Str { value: self.name.to_owned(), plain: true }) {
            return false;
        }
        let mut around = groups.iter().rev();
        if !matches!(around.next(), Some(Group::Call("env", open)) if *open + 1 == at && self.ends_call(at + 1)) {
            return false;
        }
        let mut include = around.next();
        while let Some(Group::Call("concat", _)) = include {
            include = around.next();
        }
        matches!(include, Some(Group::Call(name, _)) if INCLUDES.contains(name))
            && around.all(|group| match group {
                Group::Call(name, _) => TRANSPARENT.contains(name),
                Group::Definition | Group::Plain => true,
            })
    }

    /// Whether nothing but the end of a call stands at `at`; a comma in front of it is nothing.
    fn ends_call(&self, at: usize) -> bool {
        let at = if self.tokens.get(at) == Some(&Token::Punct(',')) { at + 1 } else { at };
        matches!(self.tokens.get(at), Some(Token::Close(_)))
    }

    /// Whether the file gives one of the macros another meaning, or hides which variable one reads.
    fn redefines(&self) -> bool {
        let mut in_use = None;
        self.tokens.iter().enumerate().any(|(at, token)| {
            match token {
                Token::Punct(';') => in_use = None,
                Token::Word("use") => in_use = Some(at),
                Token::Word(word) => return self.is_odd(at, word, in_use),
                _ => {}
            }
            false
        })
    }

    fn is_odd(&self, at: usize, word: &str, in_use: Option<usize>) -> bool {
        let next = |ahead: usize| self.tokens.get(at + ahead);
        let before = |back: usize| at.checked_sub(back).map(|at| &self.tokens[at]);
        let defined = before(1) == Some(&Token::Punct('!')) && before(2).is_some_and(|token| token.is("macro_rules"));
        if defined || before(1).is_some_and(|token| token.is("macro")) {
            return MACROS.contains(&word) || TRANSPARENT.contains(&word);
        }
        if !MACROS.contains(&word) {
            return before(1).is_some_and(|token| token.is("as")) && in_use.is_some() && TRANSPARENT.contains(&word);
        }
        if let Some(start) = in_use {
            let std = self.tokens[start + 1..at].iter().find_map(|token| match token {
                Token::Word(word) => Some(matches!(*word, "std" | "core")),
                _ => None,
            });
            let renamed = next(1).is_some_and(|token| token.is("as")) || before(1).is_some_and(|token| token.is("as"));
            return renamed || std != Some(true);
        }
        let called = next(1) == Some(&Token::Punct('!')) && matches!(next(2), Some(Token::Open(_)));
        match word {
            // Modules, methods and variables have these names too.
            "env" | "concat" if !called => false,
            "env" | "option_env" => {
                !(matches!(next(3), Some(Token::Str { plain: true, .. })) && matches!(next(4), Some(Token::Close(_) | Token::Punct(','))))
            }
            _ => !called,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_locator;

    fn check(expected: bool, sources: &[&str]) {
        let bytes: Vec<&[u8]> = sources.iter().map(|source| source.as_bytes()).collect();
        assert_eq!(is_locator("OUT_DIR", &bytes), expected, "{sources:?}");
    }

    #[test]
    fn locators_of_includes_are_licensed() {
        for source in [
            r#"include!(concat!(env!("OUT_DIR"), "/g.rs"));"#,
            r#"include!{concat!{env!{"OUT_DIR"}, "/g.rs"}}"#,
            r#"include![concat![env!["OUT_DIR",], "/g.rs"]];"#,
            r#"include!(env!("OUT_DIR"));"#,
            r#"const X: &[u8] = include_bytes!(concat!(concat!(env!("OUT_DIR"), "/"), "x"));"#,
            r#"const X: usize = include_str!(concat!(env!("OUT_DIR"), "/x")).len();"#,
            r#"mod g { ::core::include!(::core::concat!(::core::env!("OUT_DIR"), "/g.rs")); }"#,
            r##"#![doc = include_str!(concat!(env!("OUT_DIR"), "/README.md"))]"##,
            r##"#[cfg_attr(doc, doc = include_str!(concat!(env!(r"OUT_DIR"), "/README.md")))] fn f() {}"##,
            r#"macro_rules! g { ($x:expr) => { include!(concat!(env!("OUT_DIR"), $x)); } }"#,
            r#"fn f() { println!("{}", include_str!(concat!(env!("OUT_DIR"), "/x"))); }"#,
            r#"// env!("OUT_DIR") is fun
               include!(concat!(/* OUT_DIR */ env!("OUT_DIR"), "/g.rs"));"#,
        ] {
            check(true, &[source]);
        }
        check(
            true,
            &[r#"include!(concat!(env!("OUT_DIR"), "/g.rs"));"#, "use std::env; fn f() { env::var(\"X\"); [a].concat(); }", "\u{1f4a9}"],
        );
        check(true, &[r#"include!(concat!(env!("OUT_DIR"), "/g.rs")); const V: &str = env!("CARGO_PKG_VERSION");"#]);
        check(true, &[r#"include!(concat!(env!("OUT_DIR"), "/g.rs"));"#, "binary \"without end"]);
    }

    #[test]
    fn there_must_be_an_occurrence() {
        check(false, &[]);
        check(false, &["fn main() {}"]);
        check(false, &["// include!(env!(\"OUT_DIR\"))"]);
    }

    #[test]
    fn whatever_else_the_value_may_reach_is_refused() {
        for source in [
            r#"const X: &str = env!("OUT_DIR");"#,
            r#"const X: usize = env!("OUT_DIR").len();"#,
            r#"const X: &str = concat!(env!("OUT_DIR"), "/x");"#,
            r#"const X: bool = matches!(env!("OUT_DIR").as_bytes(), b"/w");"#,
            r#"const _: () = assert!(env!("OUT_DIR").len() == 4);"#,
            r#"const H: u64 = hash(env!("OUT_DIR"));"#,
            r#"const X: Option<&str> = option_env!("OUT_DIR");"#,
            r#"include!(concat!(env!("OUT_DIR", "is unset"), "/x"));"#,
            r#"include!(concat!(env!("OUT_DIR" ".x"), "/x"));"#,
            r#"include!(concat!(option_env!("OUT_DIR"), "/x"));"#,
            r#"include_str!({ env!("OUT_DIR") });"#,
            r#"include!(concat!(stringify!("OUT_DIR"), "/x"));"#,
            r#"my::include!(concat!(env!("OUT_DIR"), "/x"));"#,
            r#"std::my::include!(concat!(env!("OUT_DIR"), "/x"));"#,
            r#"include!(my::concat!(env!("OUT_DIR"), "/x"));"#,
            r#"lazy_static! { static ref X: &str = include_str!(concat!(env!("OUT_DIR"), "/x")); }"#,
            r#"const X: &str = "OUT_DIR";"#,
            r#"const OUT_DIR: &str = "";"#,
            r#"std::env::var("OUT_DIR");"#,
        ] {
            check(false, &[source]);
        }
    }

    const GOOD: &str = r#"include!(concat!(env!("OUT_DIR"), "/g.rs"));"#;

    #[test]
    fn one_bad_use_spoils_all_good_ones() {
        for bad in [
            r#"const X: usize = env!("OUT_DIR").len();"#,
            "/// reads `OUT_DIR`\nfn f() {}",
            "//! OUT_DIR",
            r#"const X: &str = env!("OUT\x5fDIR");"#,
            r#"const X: &str = env!(concat!("OUT_", "DIR"));"#,
            r#"macro_rules! m { ($n:literal) => { env!($n) } }"#,
            r#"macro_rules! include { ($x:expr) => { $x } }"#,
            r#"macro_rules! concat { ($x:expr) => { $x } }"#,
            r#"macro_rules! println { ($($x:tt)*) => { } }"#,
            r#"pub macro env($x:expr) { $x }"#,
            "use std::env as e;",
            "use my::{a, include};",
            "use my::x as concat;",
            "use my::env;",
            "m!(include, x);",
            "const F: fn() = include_str;",
            "fn env() { \"",
            "fn env( }",
            "b\"OUT_DIR\"",
            "'OUT_DIR",
        ] {
            check(false, &[GOOD, bad]);
            check(false, &[bad, GOOD]);
        }
        check(true, &[GOOD]);
    }
}
