//! `kache list`, `gc`, `purge` and `verify --repair` with a daemon that runs: it answers as the store itself would, and builds go on.

use kache_testkit::{Machine, http_get, samples};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

fn packages(machine: &Machine, arguments: &[&str]) -> Vec<String> {
    let arguments: Vec<&str> = ["list", "--json"].into_iter().chain(arguments.iter().copied()).collect();
    let said = machine.kache(&arguments);
    assert!(said.status.success(), "{}", said.stderr);
    let list: Value = serde_json::from_str(&said.stdout).unwrap();
    list.as_array().unwrap().iter().map(|item| item["package"].as_str().unwrap().to_owned()).collect()
}

/// The status line's code and the body.
fn post(machine: &Machine, target: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(machine.socket()).unwrap();
    stream
        .write_all(format!("POST {target} HTTP/1.1\r\nHost: kache\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn the_daemon_lists_what_its_store_lists() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    let through_daemon = machine.kache(&["list", "--json"]).stdout;
    assert_eq!(packages(&machine, &[]), ["prog", "below"], "the last used first");
    assert_eq!(packages(&machine, &["--crate", "below"]), ["below"]);
    assert_eq!(packages(&machine, &["--crate", "none"]), Vec::<String>::new());
    machine.stop();
    assert_eq!(machine.kache(&["list", "--json"]).stdout, through_daemon);
}

#[test]
fn what_is_purged_is_compiled_again_and_nothing_else() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    let dry = machine.kache(&["purge", "--crate", "below", "--dry-run"]);
    assert!(dry.stdout.starts_with("would remove 1 artifact, "), "{}", dry.stdout);
    assert_eq!(machine.stats().store.artifacts, 2);
    let purged = machine.kache(&["purge", "--crate", "below", "--yes"]);
    assert!(purged.stdout.starts_with("removed 1 artifact, "), "{}{}", purged.stdout, purged.stderr);
    project.remove("target");
    let seen = machine.build(&project, &["build"]);
    assert_eq!((seen.miss, seen.hits()), (1, 1), "{seen:?}");
    assert!(machine.kache(&["purge", "--yes"]).status.success());
    let store = machine.stats().store;
    assert_eq!((store.artifacts, store.bytes), (0, 0));
}

#[test]
fn gc_goes_by_age_and_by_size() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    assert_eq!(machine.kache(&["gc", "--yes"]).stdout, "nothing to remove\n", "below the configured limit");
    assert_eq!(machine.kache(&["gc", "--max-age", "1h", "--yes"]).stdout, "nothing to remove\n");
    let limit = (machine.stats().store.bytes - 1).to_string();
    let planned = machine.kache(&["gc", "--max-size", &limit, "--dry-run"]).stdout;
    assert_eq!(machine.stats().store.artifacts, 2);
    let done = machine.kache(&["gc", "--max-size", &limit, "--yes"]).stdout;
    assert_eq!((planned.replace("would remove", "removed"), machine.stats().store.artifacts), (done, 0), "the program is nearly all of it");
    project.remove("target");
    machine.build(&project, &["build"]);
    assert!(machine.kache(&["gc", "--max-age", "0s", "--yes"]).stdout.starts_with("removed 2 artifacts"));
    assert_eq!(machine.stats().store.artifacts, 0);
}

#[test]
fn a_repair_lets_builds_make_what_was_damaged() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    let mut blobs = Vec::new();
    for dir in fs::read_dir(machine.cache_dir().join("blobs-v1")).unwrap().flatten() {
        blobs.extend(fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.path()));
    }
    for blob in &blobs {
        // Their inodes may be the target directory's, too.
        fs::remove_file(blob).unwrap();
        fs::write(blob, "rotten").unwrap();
    }
    let found = machine.kache(&["verify"]);
    assert_eq!((found.status.code(), machine.stats().store.artifacts), (Some(1), 2), "{}", found.stdout);
    let repaired = machine.kache(&["verify", "--repair"]);
    assert!(repaired.status.success() && repaired.stdout.ends_with("2 artifacts removed\n"), "{}", repaired.stdout);
    assert!(machine.kache(&["verify"]).status.success());
    project.remove("target");
    assert_eq!(machine.build(&project, &["build"]).miss, 2);
}

#[test]
fn requests_with_a_slip_are_told_what_is_wrong() {
    let machine = Machine::new();
    for (target, complaint) in [
        ("/v1/gc?max_byte=1", "unknown parameter max_byte\n"),
        ("/v1/gc?max_bytes=many", "max_bytes: a number\n"),
        ("/v1/gc?max_age_secs=-1", "max_age_secs: a number\n"),
        ("/v1/purge?krate=x", "unknown parameter krate\n"),
        ("/v1/verify?fix=1", "unknown parameter fix\n"),
    ] {
        assert_eq!(post(&machine, target), (400, complaint.to_owned()), "{target}");
    }
    assert_eq!(post(&machine, "/v1/artifacts").0, 405);
    assert_eq!(http_get(&machine.socket(), "/v1/purge").unwrap().0, 405);
}
