//! The bytes that a build left behind, to compare one build's with another's.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Path below a directory → digest of the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outputs(pub BTreeMap<PathBuf, String>);

impl Outputs {
    /// What Cargo put into a profile directory (`target/debug`): the final files, and all in `deps` and `examples` but dep-info.
    pub fn of(profile: &Path) -> Self {
        let mut found = BTreeMap::new();
        for part in ["", "deps", "examples"] {
            for file in files_in(&profile.join(part)) {
                let name = file.strip_prefix(profile).expect("a file below its directory").to_owned();
                if file.extension().is_none_or(|extension| extension != "d") && !name.starts_with(".cargo-lock") {
                    found.insert(name, digest(&file));
                }
            }
        }
        assert!(!found.is_empty(), "nothing was built in {}", profile.display());
        Self(found)
    }

    /// Only programs and shared objects: libraries that plain rustc makes in two incremental sessions differ in member names.
    #[must_use]
    pub fn linked(&self) -> Self {
        let linked = |name: &Path| name.extension().is_none_or(|extension| extension == "so");
        Self(self.0.iter().filter(|(name, _)| linked(name)).map(|(name, digest)| (name.clone(), digest.clone())).collect())
    }

    /// Names whose bytes differ or that only one side has.
    pub fn difference(&self, other: &Self) -> Vec<PathBuf> {
        let names: std::collections::BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        names.into_iter().filter(|name| self.0.get(*name) != other.0.get(*name)).cloned().collect()
    }
}

/// Runs a built program, requires success, and gives its standard output.
///
/// # Panics
/// If it can't be started or fails.
#[track_caller]
pub fn run(program: impl AsRef<Path>) -> String {
    let program = program.as_ref();
    let output = Command::new(program).output().unwrap_or_else(|error| panic!("run {}: {error}", program.display()));
    assert!(output.status.success(), "{} failed: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn files_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).filter(|path| path.is_file()).collect()
}

fn digest(file: &Path) -> String {
    let bytes = fs::read(file).unwrap_or_else(|error| panic!("read {}: {error}", file.display()));
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
