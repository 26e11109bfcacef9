//! A damaged, full or read-only store is a slower build, never a failed or a wrong one.

use kache_testkit::{Binaries, Machine, Outputs, run, samples};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ALL: [&str; 2] = ["build", "--workspace"];

fn blobs(machine: &Machine) -> Vec<PathBuf> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    walk(&machine.cache_dir().join("blobs-v1"), &mut found);
    assert!(!found.is_empty(), "blobs below {}", machine.cache_dir().display());
    found.sort();
    found
}

/// Damages every blob; the build must go on, give the right bytes, and have mended the store for the next one.
fn check(damage: impl Fn(&Path, &[PathBuf])) {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    machine.build(&project, &ALL);
    project.remove("target");
    let list = blobs(&machine);
    for blob in &list {
        damage(blob, &list);
    }
    let seen = machine.build(&project, &ALL);
    assert_eq!((seen.failed, seen.bypass), (0, 0), "{seen:?}");
    assert_eq!(run(project.file("target/debug/app")), samples::FULL_REPORT);
    let mended = Outputs::of(&project.file("target/debug"));
    project.remove("target");
    machine.restores(&project, &ALL);
    assert_eq!(Outputs::of(&project.file("target/debug")).difference(&mended), Vec::<PathBuf>::new());
    assert!(machine.kache(&["verify"]).status.success());
}

/// Replaces the file, so that files that share its inode with it stay as they are.
fn replace(blob: &Path, bytes: &[u8]) {
    fs::remove_file(blob).unwrap();
    fs::write(blob, bytes).unwrap();
}

#[test]
fn deleted_blobs_are_misses() {
    check(|blob, _| fs::remove_file(blob).unwrap());
}

#[test]
fn truncated_blobs_are_misses() {
    check(|blob, _| {
        let bytes = fs::read(blob).unwrap();
        replace(blob, &bytes[..bytes.len() / 2]);
    });
}

#[test]
fn flipped_bits_are_misses() {
    check(|blob, _| {
        let mut bytes = fs::read(blob).unwrap();
        if let Some(byte) = bytes.last_mut() {
            *byte ^= 1;
        }
        replace(blob, &bytes);
    });
}

#[test]
fn swapped_blobs_are_misses() {
    check(|blob, all| {
        let other = fs::read(&all[0]).unwrap();
        if blob != all[0] {
            replace(blob, &other);
        }
    });
}

#[test]
fn emptied_blobs_are_misses() {
    check(|blob, _| replace(blob, b""));
}

#[test]
fn verify_finds_damage_with_and_without_a_daemon() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    assert!(machine.kache(&["verify"]).status.success());
    machine.stop();
    assert!(machine.kache(&["verify"]).status.success(), "without a daemon");
    let blob = blobs(&machine).into_iter().max_by_key(|blob| fs::metadata(blob).unwrap().len()).unwrap();
    let mut bytes = fs::read(&blob).unwrap();
    bytes[10] ^= 1;
    replace(&blob, &bytes);
    let found = machine.kache(&["verify"]);
    assert!(!found.status.success(), "{}{}", found.stdout, found.stderr);
    machine.start();
    bytes[10] ^= 3;
    if blob.exists() {
        replace(&blob, &bytes);
        assert!(!machine.kache(&["verify"]).status.success(), "with a daemon");
    }
    project.remove("target");
    machine.build(&project, &["build"]);
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
}

#[test]
fn a_store_that_was_removed_is_an_empty_store() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    machine.stop();
    fs::remove_dir_all(machine.cache_dir()).unwrap();
    machine.start();
    project.remove("target");
    assert_eq!(machine.build(&project, &["build"]).miss, 2);
}

#[test]
fn a_store_removed_under_a_running_daemon_fails_no_build() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    fs::remove_dir_all(machine.cache_dir()).unwrap();
    for _ in 0..2 {
        project.remove("target");
        machine.cargo(&project).args(["build"]).ok();
        assert_eq!(run(project.file("target/debug/prog")), "1\n");
    }
}

#[test]
fn a_torn_index_fails_no_build() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    machine.kill();
    let blobs = blobs(&machine);
    let is_index = |path: &Path| path.is_file() && !blobs.contains(&path.to_owned()) && fs::metadata(path).unwrap().len() > 4096;
    let mut torn = 0;
    let mut directories = vec![machine.cache_dir()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if is_index(&path) {
                fs::write(&path, vec![0x5a; 8192]).unwrap();
                torn += 1;
            }
        }
    }
    assert!(torn > 0, "the index is a file below the cache directory");
    machine.start();
    project.remove("target");
    machine.build(&project, &["build"]);
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
    project.remove("target");
    machine.restores(&project, &["build"]);
}

/// `kached` after `prepare` has run in a mount namespace of its own; `None` where the system allows none.
pub(crate) fn in_namespace(machine: &Machine, prepare: &str) -> Option<Command> {
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).env("CACHE", machine.cache_dir());
        command
    };
    fs::create_dir_all(machine.cache_dir()).unwrap();
    let allowed = unshare(prepare).status().is_ok_and(|status| status.success());
    allowed.then(|| {
        let mut command = unshare(&format!("{prepare} && exec \"$KACHED\""));
        command.env("KACHED", Binaries::get().kached());
        command
    })
}

#[test]
fn a_full_disk_fails_no_build() {
    let machine = Machine::idle();
    let Some(command) = in_namespace(&machine, "mount -t tmpfs -o size=6m none \"$CACHE\"") else { return };
    machine.launch(command);
    let project = samples::full(machine.path("a"));
    for number in ["1", "2", "7"] {
        project.write("kernel/number.txt", number).remove("target");
        machine.cargo_beside_daemon(&project).args(ALL).ok();
    }
    let stats = machine.stats();
    assert!(stats.outcomes.miss > 0 && !stats.bypass_reasons.contains_key("other_filesystem"), "{:?}", stats.bypass_reasons);
    assert_eq!(run(project.file("target/debug/app")), samples::FULL_REPORT);
    assert_eq!(machine.plain(project.path()).args(ALL).json().rebuilt(), Vec::<String>::new());
}

#[test]
fn a_read_only_cache_directory_fails_no_build() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    machine.build(&project, &ALL);
    machine.stop();
    let Some(command) = in_namespace(&machine, "mount --bind \"$CACHE\" \"$CACHE\" && mount -o remount,ro,bind \"$CACHE\"") else { return };
    let mut daemon = machine.spawn(command);
    // It may refuse to start, or serve without storing: either way builds go on.
    kache_testkit::until("kached decides", std::time::Duration::from_secs(20), || {
        (machine.log().contains("kached ready") || daemon.try_wait().unwrap().is_some()).then_some(())
    });
    let build = || match daemon.id() {
        pid if machine.log().contains("kached ready") => machine.cargo(&project).args(ALL).in_namespaces_of(pid, &Machine::ENTER).ok(),
        _ => machine.cargo(&project).args(ALL).ok(),
    };
    project.write("kernel/number.txt", "8").remove("target");
    build();
    assert_ne!(run(project.file("target/debug/app")), samples::FULL_REPORT);
    project.write("kernel/number.txt", "7").remove("target");
    build();
    assert_eq!(run(project.file("target/debug/app")), samples::FULL_REPORT);
    let _ = daemon.kill();
    let _ = daemon.wait();
}
