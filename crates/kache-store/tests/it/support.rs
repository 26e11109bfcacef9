//! Artifacts made of a few files, for the store's tests.

use kache_model::{
    Artifact, ArtifactKey, ContentKey, Digest, InputSet, Linked, Mentions, Output, PortablePath, Role, UnitKey, UnitOutline, Witness,
};
use kache_store::{Capture, Options, Publication, StagedBlob, Store};
use std::path::{Path, PathBuf};

/// A store without a limit that matters.
pub(crate) fn open(dir: &Path) -> Store {
    open_with(dir, 1 << 40)
}

pub(crate) fn open_with(dir: &Path, max_bytes: u64) -> Store {
    Store::open(dir, Options { max_bytes }).unwrap()
}

pub(crate) fn key(name: &str) -> ArtifactKey {
    ArtifactKey(Digest::of(name.as_bytes()))
}

pub(crate) fn unit(name: &str) -> UnitKey {
    UnitKey(Digest::of(name.as_bytes()))
}

pub(crate) fn set(file: &str) -> InputSet {
    InputSet { files: vec![PortablePath(file.to_owned())], ..InputSet::default() }
}

/// An artifact with an `.rlib` of each of these blobs.
pub(crate) fn artifact(name: &str, blobs: &[StagedBlob]) -> Artifact {
    Artifact {
        package: name.to_owned(),
        crate_name: name.to_owned(),
        unit: unit(name),
        content: ContentKey(Digest::of(name.as_bytes())),
        outputs: blobs
            .iter()
            .enumerate()
            .map(|(index, blob)| Output {
                role: Role::Rlib,
                name: format!("lib{name}{index}.rlib"),
                executable: blob.executable(),
                blob: blob.id(),
                len: blob.len(),
            })
            .collect(),
        dep_info: None,
        stdout: b"out".to_vec(),
        stderr: b"err".to_vec(),
        status: 0,
        compile_millis: 7,
        stays: kache_model::Stays::No,
        bound: kache_model::RootKinds::NONE,
        mentions: Mentions::NONE,
        runs_macros: false,
        linked: Linked { names: [name.to_owned()].into(), by_macro: true },
    }
}

/// All that is published for an artifact called `name` of its own unit.
pub(crate) fn publication(name: &str, blobs: Vec<StagedBlob>) -> Publication {
    Publication {
        key: key(name),
        unit: unit(name),
        outline: UnitOutline { crate_name: name.to_owned(), ..UnitOutline::default() },
        set: set("src/lib.rs"),
        witness: Witness::Own,
        artifact: artifact(name, &blobs),
        blobs,
        pending_upload: None,
    }
}

/// Publishes an artifact whose outputs have these contents.
pub(crate) fn publish(store: &Store, name: &str, contents: &[&[u8]]) {
    let blobs = contents.iter().map(|bytes| store.stage_bytes(bytes, false).unwrap()).collect();
    store.publish(publication(name, blobs)).unwrap();
}

/// Publishes an artifact with the one file at `source`.
pub(crate) fn publish_file(store: &Store, name: &str, source: &Path, capture: Capture) {
    let blob = store.stage(source, capture, &mut |_| {}).unwrap();
    store.publish(publication(name, vec![blob])).unwrap();
}

/// Where the bytes lie.
pub(crate) fn blob_path(store_dir: &Path, bytes: &[u8]) -> PathBuf {
    let hex = Digest::of(bytes).to_hex();
    store_dir.join("blobs-v1").join(&hex[..2]).join(hex)
}

/// Files under `dir`, at any depth.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

/// A copy of a store directory as a killed process would have left it: files with their times, no clean mark, no lock.
pub(crate) fn snapshot(from: &Path, to: &Path) {
    for source in files(from) {
        let target = to.join(source.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&source, &target).unwrap();
        set_mtime(&target, mtime(&source));
    }
}

pub(crate) fn mtime(path: &Path) -> std::time::SystemTime {
    std::fs::metadata(path).unwrap().modified().unwrap()
}

pub(crate) fn set_mtime(path: &Path, time: std::time::SystemTime) {
    std::fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// This test program again, to run one ignored test on `dir`.
pub(crate) fn child(test: &str, dir: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]).env("STORE_TEST_DIR", dir);
    command
}

/// The directory that a child was given.
pub(crate) fn child_dir() -> PathBuf {
    std::env::var_os("STORE_TEST_DIR").expect("run by another test only").into()
}
