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
    let is = |at: usize, token: &Token<'_>| next(at) == Some(token);
    let pair = |at: usize| [at, at + 1].into_iter().all(|at| is(at, &Token::Punct(':')));
    let places = places(&tokens);
    !tokens.iter().zip(places).enumerate().any(|(at, (token, place))| {
        let Token::Word(name) = token else {
            // The name of an attribute that takes something (`link(…)`), filled in by a macro.
            return place.in_attribute && *token == Token::Punct('$') && word(at + 1).is_some() && is(at + 2, &Token::Open('('));
        };
        match *name {
            // Only a module with its body behind it is surely none in a file: a macro may fill in the name, and take the body away.
            "mod" => place.in_call || !(word(at + 1).is_some() && is(at + 2, &Token::Open('{'))),
            "extern" => place.in_call || is(at + 1, &Token::Punct('$')),
            "path" => is(at + 1, &Token::Punct('=')),
            // The module may be named, on the way to something in it or alone; the macro of the same name in no way.
            "env" => !(pair(at + 1) || at >= 2 && pair(at - 2) && is(at + 1, &Token::Punct(';'))),
            "link" => is(at + 1, &Token::Open('(')),
            "crate" if at > 0 && tokens[at - 1].is("extern") => !word(at + 1).is_some_and(|name| KNOWN_CRATES.contains(&name)),
            name => OPEN_WORDS.contains(&name),
        }
    })
}

/// Where a token stands.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Among the arguments of a macro, which may put it together with others in any way.
    in_call: bool,
    /// In an attribute.
    in_attribute: bool,
}

/// The place of each token.
fn places(tokens: &[Token<'_>]) -> Vec<Place> {
    let mut around = vec![Place::default()];
    let mut places = Vec::with_capacity(tokens.len());
    for (at, token) in tokens.iter().enumerate() {
        let before = |back: usize| at.checked_sub(back).and_then(|at| tokens.get(at));
        let mut place = around.last().copied().unwrap_or_default();
        places.push(place);
        match token {
            Token::Open(_) => {
                let bang = before(1) == Some(&Token::Punct('!'));
                // `macro_rules! name {` has the name in between.
                place.in_call |= bang && before(2) != Some(&Token::Punct('#'));
                place.in_attribute |= before(1) == Some(&Token::Punct('#')) || bang && before(2) == Some(&Token::Punct('#'));
                around.push(place);
            }
            Token::Close(_) => drop(around.pop()),
            _ => {}
        }
    }
    places
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
            "macro_rules! m { ($(#[$m:meta])* $n:ident) => { $(#[$m])* pub mod inner { pub fn $n() {} } } } m!(f);",
            "extern \"C\" fn f() {} fn g() { println!(\"{}\", 1); assert!(path() < 2); }",
            "#![allow(dead_code)] #[derive(Debug)] pub mod a { pub(crate) mod b {} }",
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
            "macro_rules! m { ($n:ident) => { mod $n; } } m!(foo);",
            "macro_rules! m { ($v:vis $n:ident) => { $v mod $n; } } m!(pub foo);",
            "macro_rules! m { ($m:tt $n:ident) => { $m $n; } } m!(mod foo);",
            "macro_rules! m { ($m:tt $n:ident $b:tt) => { $m $n; } } m!(mod foo {});",
            "macro_rules! m { ($m:tt $n:ident $b:tt) => { $m $n; } } m! { mod foo { } }",
            "macro_rules! m { ($($t:tt)*) => { $($t)* } } m!(mod foo;);",
            "macro_rules! m { ($m:tt) => { $m foo; } } m![mod];",
            "macro m($n:ident) { mod $n; } m!(foo);",
            "macro_rules! m { ($c:tt) => { extern $c serde; } } m!(crate);",
            "macro_rules! m { ($e:tt) => { $e crate serde; } } m!(extern);",
            "macro_rules! m { ($a:ident) => { #[$a(name = \"z\")] extern \"C\" {} } } m!(link);",
            "macro_rules! m { ($a:ident) => { #[cfg_attr(all(), $a(name = \"z\"))] extern \"C\" {} } } m!(link);",
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
