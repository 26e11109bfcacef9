//! What is stored for one successful compile (or one probe, whatever its status).

use crate::digest::{BlobId, ContentKey, UnitKey};
use crate::root_kinds::RootKinds;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One result of rustc. All text in it is portable: roots are spelled as placeholders ([`crate::Roots`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Package name as in `Cargo.lock`; for a compile outside Cargo the crate name.
    pub package: String,
    /// rustc's `--crate-name`.
    pub crate_name: String,
    /// The unit it came from.
    pub unit: UnitKey,
    /// What went into it.
    pub content: ContentKey,
    /// Output files, dep-info apart.
    pub outputs: Vec<Output>,
    /// The dep-info file's text, if one was asked for.
    pub dep_info: Option<DepInfoText>,
    /// rustc's standard output.
    pub stdout: Vec<u8>,
    /// rustc's standard error.
    pub stderr: Vec<u8>,
    /// rustc's exit status; other than 0 only for probes.
    pub status: i32,
    /// What the compile took, milliseconds of wall time.
    pub compile_millis: u64,
    /// Whether it is good here only.
    pub stays: Stays,
    /// The roots that its outputs spell: it is keyed with these, and good where they are the same.
    pub bound: RootKinds,
    /// Variables that its outputs mention by name (in macros that others may expand or run).
    pub mentions: Mentions,
    /// A proc macro, or something that can reach one.
    pub runs_macros: bool,
    /// Native libraries that its sources name. The store keeps them behind the rest: without them, rows of earlier versions can still be read
    /// (and evicted).
    #[serde(skip)]
    pub linked: Linked,
}

/// Why a result is good on the machine that made it and not for others, whatever its bytes say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stays {
    /// It may travel.
    #[default]
    No,
    /// Its compile continued an incremental session.
    ContinuedSession,
    /// A script in the linker's place linked it, which may read what nobody sees.
    Script,
    /// It was made over a library that wasn't built through this cache: nobody else has that one.
    Foreign,
}

impl Artifact {
    /// Whether it may leave the machine that made it.
    pub fn may_travel(&self) -> bool {
        self.bound.travel() && self.stays == Stays::No
    }
}

/// Native libraries that sources name in `#[link(name = "…")]`, with no word about them on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linked {
    /// The names.
    pub names: BTreeSet<String>,
    /// Whether a macro fills names in, which then may stand anywhere.
    pub by_macro: bool,
}

impl Linked {
    /// Adds what the other names.
    pub fn extend(&mut self, other: &Self) {
        self.names.extend(other.names.iter().cloned());
        self.by_macro |= other.by_macro;
    }
}

/// The dep-info file: its name beside the other outputs, and its portable text, in which variables have no values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepInfoText {
    /// File name.
    pub name: String,
    /// Text with placeholders; of a variable there is the name alone.
    pub text: Vec<u8>,
}

/// One output file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// What it is; decides how it may be placed.
    pub role: Role,
    /// File name, without directory.
    pub name: String,
    /// Whether rustc gave it an executable bit.
    pub executable: bool,
    /// Its bytes.
    pub blob: BlobId,
    /// How many.
    pub len: u64,
}

/// What an output file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// `.rmeta`
    Metadata,
    /// `.rlib`
    Rlib,
    /// `.a`
    Staticlib,
    /// `.so`, `.dylib`: dylib, cdylib, proc-macro
    SharedObject,
    /// A linked program: bin, test harness, build script.
    Executable,
    /// `.o`
    Object,
    /// `.s`
    Assembly,
    /// `.ll`
    LlvmIr,
    /// `.dwo`, `.dwp`: debug information beside what it is about.
    Debuginfo,
}

/// Names of variables that hold machine-local paths and that a macro can read without leaving a trace in dep-info,
/// as a set. Found by searching the outputs for the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mentions(u8);

impl Mentions {
    /// The names that are searched for.
    pub const NAMES: [&str; 4] = ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "OUT_DIR", "CARGO_TARGET_TMPDIR"];
    /// None.
    pub const NONE: Self = Self(0);

    /// Adds the `index`-th of [`Self::NAMES`].
    pub fn insert(&mut self, index: usize) {
        self.0 |= 1 << index;
    }

    /// Both sets together.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set without the names that `drop` picks.
    #[must_use]
    pub fn without(self, drop: impl Fn(&str) -> bool) -> Self {
        let dropped = Self::NAMES.iter().enumerate().filter(|(_, name)| self.contains(name) && drop(name));
        Self(dropped.fold(self.0, |bits, (index, _)| bits & !(1 << index)))
    }

    /// Whether `name` is in the set.
    pub fn contains(self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// The names in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().enumerate().filter(move |(index, _)| self.0 & (1 << index) != 0).map(|(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mentions_are_a_set_of_names() {
        let mut mentions = Mentions::NONE;
        mentions.insert(2);
        assert!(mentions.contains("OUT_DIR") && !mentions.contains("CARGO_MANIFEST_DIR"));
        assert_eq!(mentions.without(|name| name == "OUT_DIR"), Mentions::NONE);
        assert_eq!(mentions.without(|name| name != "OUT_DIR"), mentions);
        assert_eq!(mentions.union(Mentions::NONE).names().collect::<Vec<_>>(), ["OUT_DIR"]);
    }
}
