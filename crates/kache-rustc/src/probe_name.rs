//! The names of autocfg's probes.
//!
//! autocfg, which asks rustc whether code compiles from the build scripts of many crates, names each probe `autocfg_<random>_<n>`:
//! the name is new in every build, so a key that holds it never hits. It looks at the exit status alone and removes the
//! LLVM IR that it asked for. So for such a probe, and for no other compile, the key and the stored artifact hold one name for all, and
//! what is restored carries the name that was asked for, in file names and diagnostics. Inside the IR another draw of the random name
//! stands, as it would after any other run of the same build script.

use crate::compile::{Compile, Shape};

/// The name that stands for all.
const COMMON: &str = "autocfg_probe";

impl Compile {
    /// The crate's name as keys and the store know it.
    pub fn keyed_name(&self) -> &str {
        let only_ir = self.emit.len() == 1 && self.emit.contains("llvm-ir");
        if self.shape == Shape::Probe && only_ir && is_random(&self.crate_name) { COMMON } else { &self.crate_name }
    }

    /// Text about this compile as it is stored.
    pub fn hide_name(&self, text: Vec<u8>) -> Vec<u8> {
        self.rename(text, &self.crate_name, self.keyed_name())
    }

    /// Stored text as this compile would have said it.
    pub fn show_name(&self, text: Vec<u8>) -> Vec<u8> {
        self.rename(text, self.keyed_name(), &self.crate_name)
    }

    fn rename(&self, text: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
        if self.keyed_name() == self.crate_name {
            return text;
        }
        let mut out = Vec::with_capacity(text.len());
        let mut done = 0;
        for at in memchr::memmem::find_iter(&text, from) {
            out.extend_from_slice(&text[done..at]);
            out.extend_from_slice(to.as_bytes());
            done = at + from.len();
        }
        out.extend_from_slice(&text[done..]);
        out
    }
}

/// `autocfg_` and 16 hex digits, `_` and a number.
fn is_random(name: &str) -> bool {
    let Some((hash, number)) = name.strip_prefix("autocfg_").and_then(|rest| rest.split_once('_')) else { return false };
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    hash.len() == 16 && hash.bytes().all(hex) && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_autocfg_draws_are_random() {
        assert!(is_random("autocfg_fc7ca6707629f51f_0") && is_random("autocfg_0123456789abcdef_12"));
        for other in
            ["autocfg", "autocfg_probe", "autocfg_fc7ca6707629f51f", "autocfg_fc7ca6707629f51_0", "autocfg_fc7ca6707629f51g_0", "x_0"]
        {
            assert!(!is_random(other), "{other}");
        }
    }
}
