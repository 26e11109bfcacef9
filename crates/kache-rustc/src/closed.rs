//! Decides whether a source is all that its compile reads: for small compiles that write no dep-info.
//!
//! Conservative: anything that can name another file, a variable or a crate outside the toolchain refuses, wherever it stands.

use crate::lexer::{self, Token};

/// Identifiers that refuse wherever they stand: what they do reads files or variables, or they could be passed to a macro that does.
const OPEN_WORDS: &[&str] =
    &["include", "include_str", "include_bytes", "option_env", "asm", "global_asm", "naked_asm", "debugger_visualizer", "concat_idents"];

/// Crates of the toolchain.
const KNOWN_CRATES: &[&str] = &["std", "core", "alloc", "proc_macro", "test", "self"];

/// Whether the source reads no other file, no variable and no crate outside the toolchain.
pub fn closed_source(text: &[u8]) -> bool {
    let Some(tokens) = lexer::tokens(text) else { return false };
    let next = |at: usize| tokens.get(at);
    let word = |at: usize| match tokens.get(at) {
        Some(Token::Word(word)) => Some(*word),
        _ => None,
    };
    let pair = |at: usize| [at, at + 1].into_iter().all(|at| next(at) == Some(&Token::Punct(':')));
    !tokens.iter().enumerate().any(|(at, token)| {
        let Token::Word(name) = token else { return false };
        match *name {
            "mod" => word(at + 1).is_some() && next(at + 2) == Some(&Token::Punct(';')),
            "path" => next(at + 1) == Some(&Token::Punct('=')),
            // The module may be named, on the way to something in it or alone; the macro of the same name in no way.
            "env" => !(pair(at + 1) || at >= 2 && pair(at - 2) && next(at + 1) == Some(&Token::Punct(';'))),
            "link" => next(at + 1) == Some(&Token::Open('(')),
            "crate" if at > 0 && tokens[at - 1].is("extern") => !word(at + 1).is_some_and(|name| KNOWN_CRATES.contains(&name)),
            name => OPEN_WORDS.contains(&name),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::closed_source;

    #[test]
    fn feature_tests_of_build_scripts_are_closed() {
        for source in [
            "",
            "#![no_std]\npub fn probe() { let _ = \"include!\"; } // env!(\"X\")",
            "#![feature(error_generic_member_access)] use std::env; use core::error::{Error, Request}; mod a { }",
            "extern crate alloc; extern crate std as probe;",
            "macro_rules! env_path { ($path:path) => { $path } }",
            "use ::std::env; pub fn f() { let _ = (env::args(), std::env::var(\"X\")); }",
        ] {
            assert!(closed_source(source.as_bytes()), "{source}");
        }
    }

    #[test]
    fn whatever_names_something_else_is_open() {
        for source in [
            "mod x;",
            "pub(crate) mod r#x ;",
            "#[path = \"y.rs\"] mod x {}",
            "#[cfg_attr(a, path = \"y.rs\")] mod x {}",
            "const X: &str = include_str!(\"a\");",
            "m!(include)",
            "macro_rules! m { ($i:ident) => { $i!(\"X\") } } pub const X: &str = m!(env);",
            "m!(std::env)",
            "use std::{env, fs};",
            "r#include!(\"x\")",
            "env!(\"HOME\")",
            "use std::env as e;",
            "option_env ! (\"HOME\")",
            "#![doc = include_str!(\"x\")]",
            "global_asm!(\".incbin \\\"x\\\"\");",
            "extern crate serde;",
            "#[link(name = \"z\")] extern \"C\" {}",
            "\"unterminated",
        ] {
            assert!(!closed_source(source.as_bytes()), "{source}");
        }
    }
}
