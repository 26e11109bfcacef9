//! Which crates a library needs, by its own word.
//!
//! rustc's metadata holds a table of all crates that were loaded to make the library, those behind its dependencies too, each with the
//! `-C extra-filename` under which it was found: a string as all others there, its length in front, `0xc1` behind. Cargo's are a dash and
//! 16 hex digits, so these are told from other text. In a `.rmeta`, and in the copy inside a `.rlib`, the table is plain.
//!
//! A proc macro needs nothing: what it was made from is linked into it.
//!
//! Fed in chunks of any size; what lies across a border is found.

use memchr::memmem::{Finder, find_iter};
use std::collections::BTreeSet;

/// What a library says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The endings of file names that it gives for the crates that it needs, its own and those of the standard library among them. Empty: it
    /// says nothing that is understood.
    pub endings: BTreeSet<String>,
    /// Whether it is a proc macro.
    pub is_macro: bool,
}

/// A running look at one file.
#[derive(Debug)]
pub struct ReachScanner {
    said: Reach,
    ending: Finder<'static>,
    /// The end of what was seen so far.
    tail: Vec<u8>,
}

/// A dash and 16 hex digits.
const ENDING: usize = 17;

/// In front of an ending: its length. And behind it: the mark that ends each string.
const FRONT: &[u8] = &[17, b'-'];
const BEHIND: u8 = 0xc1;

/// The symbol by which rustc finds a library's macros; a hash and two underscores follow.
const MACROS: &[u8] = b"__rustc_proc_macro_decls_";

/// Longer than anything that is looked for.
const KEEP: usize = 64;

impl Default for ReachScanner {
    fn default() -> Self {
        Self { said: Reach::default(), ending: Finder::new(FRONT), tail: Vec::new() }
    }
}

impl ReachScanner {
    /// The next bytes.
    pub fn push(&mut self, chunk: &[u8]) {
        let window = [self.tail.as_slice(), chunk].concat();
        for at in self.ending.find_iter(&window) {
            let text = window.get(at + 1..at + 1 + ENDING);
            let ends = window.get(at + 1 + ENDING) == Some(&BEHIND);
            if let Some(text) = text.and_then(|text| std::str::from_utf8(text).ok()).filter(|text| ends && is_ending(text))
                && !self.said.endings.contains(text)
            {
                self.said.endings.insert(text.to_owned());
            }
        }
        if !self.said.is_macro {
            self.said.is_macro = find_iter(&window, MACROS).any(|at| names_macros(&window[at + MACROS.len()..]));
        }
        self.tail = window[window.len().saturating_sub(KEEP)..].to_vec();
    }

    /// What it said in all.
    pub fn finish(self) -> Reach {
        self.said
    }
}

/// The ending by which Cargo tells a library from others of its name: `-` and 16 hex digits before the extension.
pub fn ending_of(file_name: &str) -> Option<&str> {
    let (stem, _) = file_name.rsplit_once('.')?;
    let ending = stem.get(stem.len().checked_sub(ENDING)?..)?;
    is_ending(ending).then_some(ending)
}

/// Whether a file of that name may hold a crate.
pub fn is_library(file_name: &str) -> bool {
    file_name.starts_with("lib") && [".rlib", ".rmeta", ".so", ".dylib"].iter().any(|end| file_name.ends_with(end))
}

fn is_ending(text: &str) -> bool {
    text.strip_prefix('-').is_some_and(|hash| hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

fn names_macros(after: &[u8]) -> bool {
    let digits = after.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    digits > 0 && after[digits..].starts_with(b"__")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(chunks: &[&[u8]]) -> Reach {
        let mut scanner = ReachScanner::default();
        chunks.iter().for_each(|chunk| scanner.push(chunk));
        scanner.finish()
    }

    #[test]
    fn endings_and_the_mark_of_a_macro_are_found_across_borders() {
        let text = b"rust\x11-0123456789abcdef\xc1..\x11-fedcba9876543210\xc1\0__rustc_proc_macro_decls_5a1f__\0";
        let expected = Reach { endings: ["-0123456789abcdef".into(), "-fedcba9876543210".into()].into(), is_macro: true };
        for at in 0..text.len() {
            let (left, right) = text.split_at(at);
            assert_eq!(said(&[left, right]), expected, "{at}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(said(&bytes), expected);
    }

    #[test]
    fn other_text_is_no_ending() {
        for other in [
            &b"index.crates.io-1949cf8c6b5b557f/ryu"[..],
            b"\x11-0123456789abcdef",
            b"\x11-0123456789abcdeg\xc1",
            b"\x11-0123456789ABCDEF\xc1",
            b"\x10-0123456789abcdef\xc1",
            b"__rustc_proc_macro_decls_",
            b"__rustc_proc_macro_decls_{}__",
        ] {
            assert_eq!(said(&[other, &[0; 80]]), Reach::default(), "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn names_of_files_have_endings() {
        assert_eq!(ending_of("libserde-0123456789abcdef.rlib"), Some("-0123456789abcdef"));
        for other in ["libserde.rlib", "libserde-0123456789abcde.rlib", "-0123456789abcdef", "lib\u{e9}0123456789abcdef.so", ""] {
            assert_eq!(ending_of(other), None, "{other}");
        }
        assert!(is_library("liba.rmeta") && !is_library("a.rmeta") && !is_library("liba.a"));
    }
}
