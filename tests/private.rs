//! The store is the user's alone, whatever the umask of the daemon; a build's outputs have the modes of the build's own umask.

use kache_testkit::{Binaries, Machine, samples};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn start(machine: &Machine, umask: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("umask {umask}; exec \"$0\"")]).arg(Binaries::get().kached());
    machine.launch(command);
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path.as_ref()).unwrap().permissions().mode() & 0o7777
}

/// Everything below a directory, and the directory itself.
fn all(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(all(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

/// What others may do something with, blobs apart: a blob may be an output in a target directory, too.
fn open_to_others(directory: &Path) -> Vec<(PathBuf, String)> {
    let blob = |path: &Path| path.is_file() && path.starts_with(directory.join("blobs-v1"));
    let open = |path: &PathBuf| !path.is_symlink() && mode(path) & 0o077 != 0 && !blob(path);
    all(directory).into_iter().filter(open).map(|path| (path.clone(), format!("{:o}", mode(path)))).collect()
}

/// Name and mode of what a build leaves.
fn outputs(machine: &Machine, project: &kache_testkit::Project, umask: &str) -> Vec<(String, String)> {
    project.remove("target");
    let script = format!("umask {umask} && exec cargo build");
    machine.cargo(project).program("sh").args(["-c", &script]).ok();
    machine.settle();
    let below = fs::read_dir(project.file("target/debug/deps")).unwrap().map(|entry| entry.unwrap());
    let mut list: Vec<_> = below.map(|entry| (entry.file_name().into_string().unwrap(), format!("{:o}", mode(entry.path())))).collect();
    list.sort();
    list
}

#[test]
fn nothing_of_the_store_is_open_to_others_whatever_the_umask() {
    for umask in ["000", "022", "077"] {
        let machine = Machine::idle();
        // Made by the daemon itself.
        let _none_yet = fs::remove_dir_all(machine.cache_dir());
        start(&machine, umask);
        let project = samples::pair(machine.path("a"));
        let made: Vec<_> = ["022", "002", "077"].map(|build| outputs(&machine, &project, build)).into();
        for (list, build) in made.iter().zip([0o022, 0o002, 0o077]) {
            for (name, found) in list {
                let full = if name.contains('.') { 0o666 } else { 0o777 };
                assert_eq!(*found, format!("{:o}", full & !build), "{name}, daemon {umask}, build {build:o}");
            }
        }
        assert!(made.iter().all(|list| list.len() >= 4), "{made:?}");
        machine.stop();
        assert_eq!(open_to_others(&machine.cache_dir()), [], "under {umask}");
        assert!(["index-v1.redb", "builds-v2", "hiding-key", "lock"].iter().all(|name| machine.cache_dir().join(name).exists()));
    }
}

#[test]
fn a_store_that_is_open_to_others_is_closed_at_the_start() {
    let machine = Machine::idle();
    start(&machine, "022");
    let project = samples::pair(machine.path("a"));
    outputs(&machine, &project, "022");
    machine.stop();
    let cache = machine.cache_dir();
    let values_of_before = cache.join("builds-v1");
    let open = || {
        for path in all(&cache) {
            fs::set_permissions(&path, fs::Permissions::from_mode(if path.is_dir() { 0o755 } else { 0o644 })).unwrap();
        }
    };
    fs::create_dir_all(&values_of_before).unwrap();
    fs::write(values_of_before.join("1.json.zst"), "values").unwrap();
    fs::write(cache.join("kached.log"), "").unwrap();
    open();
    machine.start();
    assert_eq!(open_to_others(&cache), []);
    assert!(!values_of_before.exists());
    assert!(outputs(&machine, &project, "022").len() >= 4);
    machine.stop();

    // With other things in it, the directory isn't the store's to close.
    open();
    fs::write(cache.join("notes.txt"), "").unwrap();
    fs::set_permissions(cache.join("notes.txt"), fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink(cache.join("notes.txt"), cache.join("kached.log.old")).unwrap();
    machine.start();
    machine.stop();
    let left: Vec<PathBuf> = open_to_others(&cache).into_iter().map(|(path, _)| path).collect();
    assert_eq!(left, [cache.clone(), cache.join("notes.txt")]);
}
