//! What the objects in the bucket are called. `LAYOUT.md` says what is in them.
//!
//! Promises: a name made here stays below the prefix, and parsing a listed key gives back the name that makes it or nothing.

use kache_model::{ArtifactKey, Digest, UnitKey};
use std::fmt;
use std::str::FromStr;

/// Folders of ours directly below the prefix. A package of such a name has no place in the bucket.
const RESERVED: [&str; 3] = [INPUTS, BUILDS, "_seeds"];
const INPUTS: &str = "_inputs";
const BUILDS: &str = "_builds";
const NEAREST: &str = "_nearest";
/// S3 allows 1,024 bytes for the whole key.
const MAX_PACKAGE_BYTES: usize = 255;

/// A package name that may stand in an object's path: letters, digits, `-`, `_`, as Cargo allows them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackageName(String);

impl PackageName {
    /// `name`, if it can be a folder below the prefix. `None` also for the names of our own folders.
    pub fn new(name: &str) -> Option<Self> {
        let plain = name.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_');
        let fits = !name.is_empty() && name.len() <= MAX_PACKAGE_BYTES && !RESERVED.contains(&name);
        (plain && fits).then(|| Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectName {
    /// `{package}/{key}.tar.zst`: an artifact with its outputs.
    Artifact {
        /// Package name as in `Cargo.lock`.
        package: PackageName,
        /// Its key.
        key: ArtifactKey,
    },
    /// `_inputs/{package}/{unit}.json`: the known input sets of a unit.
    Inputs {
        /// Package name as in `Cargo.lock`.
        package: PackageName,
        /// The unit.
        unit: UnitKey,
    },
    /// `_builds/{index}.json.zst`: what a finished session used.
    Build(Digest),
    /// `_builds/_nearest/{workspace}.json.zst`: the latest build index of a workspace, whatever its `Cargo.lock` said.
    Nearest(Digest),
}

/// What a listing covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The artifacts of one package.
    Package(PackageName),
    /// The input sets of one package's units.
    Inputs(PackageName),
    /// Everything below the prefix.
    All,
}

impl ObjectName {
    /// The object's key in the bucket.
    pub fn path(&self, prefix: &str) -> String {
        match self {
            Self::Artifact { package, key } => format!("{prefix}/{package}/{key}.tar.zst"),
            Self::Inputs { package, unit } => format!("{prefix}/{INPUTS}/{package}/{unit}.json"),
            Self::Build(index) => format!("{prefix}/{BUILDS}/{index}.json.zst"),
            Self::Nearest(workspace) => format!("{prefix}/{BUILDS}/{NEAREST}/{workspace}.json.zst"),
        }
    }

    /// The name behind a key in a listing; `None` for anything that isn't ours.
    pub fn parse(prefix: &str, path: &str) -> Option<Self> {
        let below = path.strip_prefix(prefix)?.strip_prefix('/')?;
        let parts: Vec<&str> = below.split('/').collect();
        match parts[..] {
            [BUILDS, file] => Some(Self::Build(stem(file, ".json.zst")?)),
            [BUILDS, NEAREST, file] => Some(Self::Nearest(stem(file, ".json.zst")?)),
            [INPUTS, package, file] => Some(Self::Inputs { package: PackageName::new(package)?, unit: stem(file, ".json")? }),
            [package, file] => Some(Self::Artifact { package: PackageName::new(package)?, key: stem(file, ".tar.zst")? }),
            _ => None,
        }
    }
}

/// The name below the prefix.
impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path("").trim_start_matches('/'))
    }
}

impl Scope {
    /// What the keys of all objects in it begin with.
    pub fn path(&self, prefix: &str) -> String {
        match self {
            Self::Package(package) => format!("{prefix}/{package}/"),
            Self::Inputs(package) => format!("{prefix}/{INPUTS}/{package}/"),
            Self::All => format!("{prefix}/"),
        }
    }
}

fn stem<K: FromStr>(file: &str, ending: &str) -> Option<K> {
    file.strip_suffix(ending)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        Digest::of(b"abc")
    }

    fn package(name: &str) -> PackageName {
        PackageName::new(name).unwrap()
    }

    #[test]
    fn names_are_laid_out_as_documented_and_parse_back() {
        let hex = digest().to_hex();
        for (name, path) in [
            (ObjectName::Artifact { package: package("serde"), key: ArtifactKey(digest()) }, format!("artifacts/serde/{hex}.tar.zst")),
            (ObjectName::Inputs { package: package("serde"), unit: UnitKey(digest()) }, format!("artifacts/_inputs/serde/{hex}.json")),
            (ObjectName::Build(digest()), format!("artifacts/_builds/{hex}.json.zst")),
            (ObjectName::Nearest(digest()), format!("artifacts/_builds/_nearest/{hex}.json.zst")),
        ] {
            assert_eq!(name.path("artifacts"), path);
            assert_eq!(ObjectName::parse("artifacts", &path), Some(name.clone()));
            assert_eq!(ObjectName::parse("team/artifacts", &format!("team/{path}")), Some(name.clone()));
            assert_eq!(format!("artifacts/{name}"), path);
        }
    }

    #[test]
    fn anything_else_in_the_bucket_is_not_ours() {
        let hex = digest().to_hex();
        for path in [
            "",
            "artifacts",
            "artifacts/",
            &format!("artifactsserde/{hex}.tar.zst"),
            &format!("other/serde/{hex}.tar.zst"),
            &format!("artifacts/{hex}.tar.zst"),
            &format!("artifacts//{hex}.tar.zst"),
            &format!("artifacts/serde/{hex}.tar"),
            &format!("artifacts/serde/{hex}"),
            &format!("artifacts/serde/{}.tar.zst", &hex[1..]),
            &format!("artifacts/serde/{}.tar.zst", hex.to_uppercase()),
            &format!("artifacts/serde/x/{hex}.tar.zst"),
            &format!("artifacts/../{hex}.tar.zst"),
            &format!("artifacts/_seeds/{hex}.tar.zst"),
            &format!("artifacts/_builds/{hex}.tar.zst"),
            &format!("artifacts/_inputs/_builds/{hex}.json"),
            &format!("artifacts/_inputs/{hex}.json"),
            &format!("artifacts/_builds/_farthest/{hex}.json.zst"),
        ] {
            assert_eq!(ObjectName::parse("artifacts", path), None, "{path}");
        }
    }

    #[test]
    fn package_names_are_what_cargo_allows() {
        for good in ["serde", "serde_json", "a-b", "_x", "7z", "Ünïcode", "_inputs2", &"a".repeat(255)] {
            assert!(PackageName::new(good).is_some(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a.b", "a%b", "a\\b", "a\nb", "_inputs", "_builds", "_seeds", &"a".repeat(256)] {
            assert!(PackageName::new(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_scope_covers_the_names_in_it() {
        let inputs = ObjectName::Inputs { package: package("serde"), unit: UnitKey(digest()) };
        let artifact = ObjectName::Artifact { package: package("serde"), key: ArtifactKey(digest()) };
        let covers = |scope: Scope, name: &ObjectName| name.path("p").starts_with(&scope.path("p"));
        assert!(covers(Scope::Package(package("serde")), &artifact) && covers(Scope::All, &artifact));
        assert!(covers(Scope::Inputs(package("serde")), &inputs) && !covers(Scope::Package(package("serde")), &inputs));
        assert!(!covers(Scope::Package(package("serd")), &artifact));
    }
}
