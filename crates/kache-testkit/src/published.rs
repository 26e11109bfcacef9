//! Sources of published programs, got by cargo itself: real input for tests that are run on demand.

use crate::cargo::Cargo;
use crate::project::Project;
use std::path::{Path, PathBuf};

/// The sources of `name` at exactly `version`, at `directory`, with their own `Cargo.lock` and every dependency downloaded.
///
/// # Panics
/// If cargo can't get them: this needs a network, or a filled registry cache.
pub fn published(name: &str, version: &str, directory: &Path, home: &Path) -> Project {
    let online = |at: &Path| Cargo::plain(at, home).without("CARGO_NET_OFFLINE");
    online(home).args(["info".to_owned(), format!("{name}@{version}")]).ok();
    let project = Project::at(directory);
    copy_published(&unpacked(&format!("{name}-{version}"), &online(home)), &project);
    online(project.path()).args(["fetch", "--locked"]).ok();
    project
}

/// Where Cargo has unpacked a package: below one of its registries' directories.
fn unpacked(package: &str, cargo: &Cargo) -> PathBuf {
    let sources = PathBuf::from(cargo.variable("CARGO_HOME").expect("a Cargo home")).join("registry/src");
    let registries = std::fs::read_dir(&sources).unwrap_or_else(|error| panic!("list {}: {error}", sources.display()));
    let mut packages = registries.filter_map(|entry| entry.ok().map(|entry| entry.path().join(package)));
    packages.find(|path| path.is_dir()).unwrap_or_else(|| panic!("cargo did not unpack {package}"))
}

/// The registry's own marker stays behind; a workspace table keeps the copy apart from whatever is above it.
fn copy_published(from: &Path, to: &Project) {
    let copy = Cargo::plain(from, from).program("cp").args(["-R", "."]).args([to.path()]).run();
    assert!(copy.status.success(), "copy {}: {}", from.display(), copy.stderr);
    to.remove(".cargo-ok");
    if !to.read("Cargo.toml").contains("[workspace]") {
        to.append("Cargo.toml", "\n[workspace]\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs the registry"]
    fn a_published_program_builds_with_its_own_lock_file() {
        let place = tempfile::tempdir().unwrap();
        let project = published("ripgrep", "15.2.0", &place.path().join("ripgrep"), place.path());
        Cargo::plain(project.path(), place.path()).args(["check", "--locked"]).ok();
    }
}
