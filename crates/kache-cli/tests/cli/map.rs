//! The arrows of `crates/README.md`, read from the manifests and the sources.

use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// The crates of this workspace that the manifest in `folder` names as ordinary dependencies.
fn dependencies(folder: &str) -> Vec<String> {
    let manifest = std::fs::read_to_string(workspace().join(folder).join("Cargo.toml")).unwrap();
    let tables = manifest.split("\n[").filter(|table| table.starts_with("dependencies]"));
    let mut names: Vec<String> = tables
        .flat_map(str::lines)
        .filter_map(|line| line.split(['.', ' ', '=']).next().filter(|name| name.starts_with("kache-")))
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

#[test]
fn crates_depend_on_what_the_map_says() {
    for (folder, expected) in [
        ("crates/kache-model", &[][..]),
        ("crates/kache-config", &["kache-model"]),
        ("crates/kache-journal", &["kache-model"]),
        ("crates/kache-rustc", &["kache-model"]),
        ("crates/kache-store", &["kache-model"]),
        ("crates/kache-remote", &["kache-model"]),
        ("crates/kache-proto", &["kache-model"]),
        ("kache-shim", &["kache-proto"]),
        ("crates/kache-cli", &["kache-config", "kache-journal", "kache-model", "kache-proto", "kache-store"]),
        ("kache-daemon", &["kache-config", "kache-journal", "kache-model", "kache-proto", "kache-remote", "kache-rustc", "kache-store"]),
    ] {
        assert_eq!(dependencies(folder), expected, "{folder}");
    }
}

/// Every Rust file below `directory`.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

#[test]
fn pure_crates_touch_nothing_outside_themselves() {
    for folder in ["crates/kache-model/src", "crates/kache-rustc/src", "crates/kache-journal/src"] {
        for path in sources(&workspace().join(folder)) {
            let text = std::fs::read_to_string(&path).unwrap();
            // A file's own tests may do what they like.
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for module in ["std::fs", "std::env", "std::net", "std::process", "std::time", "std::thread"] {
                assert!(!code.contains(module), "{} uses {module}", path.display());
            }
        }
    }
    let store = std::fs::read_to_string(workspace().join("crates/kache-store/Cargo.toml")).unwrap();
    assert!(!store.contains("tokio"), "the store is sync");
}
