//! One compile or probe, as it ended.

use crate::value::{HidingKey, Value};
use kache_model::{
    ArtifactKey, Bypass, ContentKey, Digest, InputSet, Keying, NotStoredReason, Outcome, RootKinds, UnitInputs, UnitKey, UnitOutline,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number among the questions of its build, from 0 in the order in which they came.
    pub number: u64,
    /// Package as in `Cargo.lock`; for a compile outside Cargo the crate name.
    pub package: String,
    /// `--crate-name`.
    pub crate_name: String,
    /// What it makes.
    pub kind: Kind,
    /// Whether only metadata is made (`cargo check`).
    pub check: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was declined, if it was.
    pub bypass: Option<Bypass>,
    /// When the question came, microseconds since the build's begin.
    pub began_micros: u64,
    /// When the last answer went out; for a bypass, whose end nobody hears of, when it was declined.
    pub ended_micros: u64,
    /// What rustc took; for a hit, what it had taken when the artifact was made.
    pub rustc_millis: u64,
    /// What was put into place.
    pub restored: Moved,
    /// What it was keyed by; `None` for a bypass.
    pub seen: Option<Arc<Seen>>,
    /// The artifact's key, once it is known.
    pub key: Option<ArtifactKey>,
    /// What became of rustc's result.
    pub kept: Kept,
    /// Why it wasn't stored, by name; in words it stands in `kept`.
    #[serde(default)]
    pub not_stored: Option<NotStoredReason>,
    /// How the store had lost the artifact before, if this daemon saw it go.
    pub removal: Option<Removal>,
}

/// What a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A library.
    Lib,
    /// A program.
    Bin,
    /// An example.
    Example,
    /// A test harness.
    Test,
    /// A build script.
    BuildScript,
    /// A proc macro.
    ProcMacro,
    /// A build script's or Cargo's question what the compiler can do.
    Probe,
    /// None of these.
    Other,
}

impl Kind {
    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lib => "lib",
            Self::Bin => "bin",
            Self::Example => "example",
            Self::Test => "test",
            Self::BuildScript => "build script",
            Self::ProcMacro => "proc macro",
            Self::Probe => "probe",
            Self::Other => "crate",
        }
    }
}

/// Bytes put into place, by how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Sharing extents with the store.
    pub reflink: u64,
    /// Sharing the inode with the store.
    pub hardlink: u64,
    /// Written.
    pub copy: u64,
}

impl Moved {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.reflink + self.hardlink + self.copy
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.reflink += other.reflink;
        self.hardlink += other.hardlink;
        self.copy += other.copy;
    }
}

/// What became of a compile's result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// There was none to keep, or it isn't stored yet.
    #[default]
    No,
    /// Stored.
    Stored,
    /// Stored, and good only where the roots that it spells are the same.
    Bound {
        /// An output that spells one.
        output: String,
        /// The path.
        path: String,
        /// All roots that its outputs spell.
        roots: RootKinds,
    },
    /// Not stored, and why.
    Refused(String),
}

/// Why the store let an artifact go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Removal {
    /// The store was full, or the artifact too long unused.
    Evicted,
    /// Somebody purged it.
    Purged,
    /// It was damaged.
    Damaged,
}

/// What an invocation was keyed by, with names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The unit's key.
    pub unit: UnitKey,
    /// Everything that was known before a source was read, [without values](without_values) of variables.
    pub inputs: UnitInputs,
    /// What is kept of those; unset ones are left out.
    pub environment: BTreeMap<String, Value>,
    /// The compiler as it calls itself.
    pub toolchain: String,
    /// The names that were read.
    pub set: InputSet,
    /// Digests, in the order of the set's files; empty if the compile failed.
    pub digests: Vec<Digest>,
    /// Values, in the order of the set's variables.
    pub values: Vec<Value>,
    /// Machine-local roots, `placeholder=path` each.
    pub roots: Vec<String>,
    /// Options that shape diagnostics.
    pub diagnostics: Vec<String>,
    /// Unit and contents, with literal values.
    pub content: Option<ContentKey>,
    /// The same as dependents know it.
    pub portable: Option<ContentKey>,
}

/// Inputs without the texts that aren't shown, and what is kept of their variables.
pub fn without_values(mut inputs: UnitInputs, key: &HidingKey) -> (UnitInputs, BTreeMap<String, Value>) {
    let environment = std::mem::take(&mut inputs.environment);
    if !inputs.salt.is_empty() {
        inputs.salt = key.digest("", &inputs.salt).to_hex();
    }
    (inputs, environment.into_iter().map(|(name, value)| (name.clone(), Value::of(&name, Some(&value), key))).collect())
}

/// A variable with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable<'a> {
    /// Its name.
    pub name: &'a str,
    /// How it counts.
    pub keying: Keying,
    /// Its value.
    pub value: &'a Value,
}

impl Default for Seen {
    /// Of nothing.
    fn default() -> Self {
        Self {
            unit: UnitKey(Digest::of(b"")),
            inputs: UnitInputs::default(),
            environment: BTreeMap::new(),
            toolchain: String::new(),
            set: InputSet::default(),
            digests: Vec::new(),
            values: Vec::new(),
            roots: Vec::new(),
            diagnostics: Vec::new(),
            content: None,
            portable: None,
        }
    }
}

impl Seen {
    /// What an artifact's outline tells of its unit. Digests of files are all alike: of them, too, only the names are known.
    pub fn told(unit: UnitKey, outline: UnitOutline) -> Self {
        let UnitOutline {
            toolchain,
            driver,
            package,
            crate_name,
            crate_types,
            edition,
            test,
            emit,
            source,
            output_name,
            metadata,
            extra_filename,
            target,
            codegen,
            cfgs,
            lints,
            options,
            announces,
            externs,
            named_files,
            linker,
            environment,
            declared,
            incremental,
        } = outline;
        let untold = Digest::of(b"");
        let inputs = UnitInputs {
            toolchain,
            driver,
            package,
            crate_name,
            crate_types,
            edition,
            test,
            emit,
            source,
            output_name,
            metadata,
            extra_filename,
            target,
            codegen,
            cfgs,
            lints,
            options,
            announces,
            externs,
            named_files: named_files.into_iter().map(|name| (name, untold)).collect(),
            linker,
            declared: declared.into_iter().map(|name| (name, Some(untold))).collect(),
            incremental,
            ..UnitInputs::default()
        };
        let environment = environment.into_iter().map(|name| (name, Value::Untold)).collect();
        Self { unit, inputs, environment, ..Self::default() }
    }

    /// The same of this one, to be compared with what an artifact tells.
    pub fn as_told(&self) -> Self {
        let mut outline = self.inputs.outline();
        outline.environment = self.environment.keys().cloned().collect::<BTreeSet<_>>();
        Self::told(self.unit, outline)
    }

    /// Files with their digests.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Digest)> {
        self.set.files.iter().map(|path| path.0.as_str()).zip(&self.digests)
    }

    /// Variables with their values.
    pub fn variables(&self) -> impl Iterator<Item = Variable<'_>> {
        self.set.vars.iter().zip(&self.values).map(|(var, value)| Variable { name: &var.name, keying: var.keying, value })
    }

    /// Whether its contents are known, and not only the command line.
    pub fn has_contents(&self) -> bool {
        self.content.is_some()
    }
}

impl Record {
    /// Whether its package or its crate bears this name; `-` and `_` are equal.
    pub fn is_of(&self, name: &str) -> bool {
        let same = |own: &str| own.replace('-', "_") == name.replace('-', "_");
        same(&self.package) || same(&self.crate_name)
    }

    /// Microseconds from question to last answer.
    pub fn took_micros(&self) -> u64 {
        self.ended_micros.saturating_sub(self.began_micros)
    }

    /// Whether it was restored.
    pub fn is_hit(&self) -> bool {
        matches!(self.outcome, Outcome::LocalHit | Outcome::RemoteHit | Outcome::Joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_that_are_kept_have_neither_values_nor_salt() {
        let environment = [("API_TOKEN".to_owned(), "abc".to_owned()), ("SDKROOT".to_owned(), "/sdk".to_owned())].into();
        let inputs = UnitInputs { environment, salt: "pepper".into(), ..UnitInputs::default() };
        let key = HidingKey::new([7; 32]);
        let (kept, values) = without_values(inputs.clone(), &key);
        let outline = Seen::told(inputs.key(), inputs.outline());
        for text in [format!("{}{values:?}", serde_json::to_string(&kept).unwrap()), serde_json::to_string(&outline).unwrap()] {
            assert!(!text.contains("abc") && !text.contains("pepper"), "{text}");
        }
        assert_eq!(values["SDKROOT"], Value::Text("/sdk".into()));
        assert_eq!(values["API_TOKEN"], Value::Hidden(key.digest("API_TOKEN", "abc")));
        assert_eq!((&outline.environment["SDKROOT"], outline.unit), (&Value::Untold, inputs.key()));
    }
}
