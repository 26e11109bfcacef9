//! `Cargo.lock`: where a build's is, and which packages it names.

use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A `Cargo.lock` as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lockfile {
    /// Its text.
    pub(crate) text: String,
    /// The names of all packages.
    pub(crate) packages: BTreeSet<String>,
    /// The names of those that come from no registry and no repository: the workspace's own.
    pub(crate) members: BTreeSet<String>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockfileError {
    #[error("there is no Cargo.lock in {0} or above it; run `cargo generate-lockfile`")]
    Missing(PathBuf),
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} isn't a Cargo.lock: {source}")]
    Parse { path: PathBuf, source: Box<toml::de::Error> },
}

#[derive(Deserialize)]
struct Text {
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    source: Option<String>,
}

impl Lockfile {
    /// The nearest one, in `dir` or above.
    pub(crate) fn above(dir: &Path) -> Result<Self, LockfileError> {
        let found = dir.ancestors().map(|dir| dir.join("Cargo.lock")).find(|path| path.is_file());
        Self::read(&found.ok_or_else(|| LockfileError::Missing(dir.to_owned()))?)
    }

    fn read(path: &Path) -> Result<Self, LockfileError> {
        let text = std::fs::read_to_string(path).map_err(|source| LockfileError::Read { path: path.to_owned(), source })?;
        Self::parse(text).map_err(|source| LockfileError::Parse { path: path.to_owned(), source: Box::new(source) })
    }

    fn parse(text: String) -> Result<Self, toml::de::Error> {
        let parsed: Text = toml::from_str(&text)?;
        let members = parsed.package.iter().filter(|package| package.source.is_none()).map(|package| package.name.clone()).collect();
        let packages = parsed.package.into_iter().map(|package| package.name).collect();
        Ok(Self { text, packages, members })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_with_a_source_are_no_members() {
        let text = "version = 4\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"b\"\nversion = \"1.0.0\"\nsource = \"registry+x\"\n";
        let lockfile = Lockfile::parse(text.to_owned()).unwrap();
        assert_eq!(lockfile.packages.iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(lockfile.members.iter().collect::<Vec<_>>(), ["a"]);
        assert!(Lockfile::parse("package = 1".to_owned()).is_err());
    }

    #[test]
    fn the_nearest_one_counts() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        assert!(matches!(Lockfile::above(&below), Err(LockfileError::Missing(_))));
        std::fs::write(dir.path().join("Cargo.lock"), "").unwrap();
        assert_eq!(Lockfile::above(&below).unwrap().text, "");
        std::fs::write(dir.path().join("a/Cargo.lock"), "# near\n").unwrap();
        assert_eq!(Lockfile::above(&below).unwrap().text, "# near\n");
        std::fs::write(dir.path().join("a/Cargo.lock"), "[").unwrap();
        assert!(Lockfile::above(&below).unwrap_err().to_string().contains("a/Cargo.lock"));
    }
}
