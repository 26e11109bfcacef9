//! `kache sync`: what ends it, what it leaves behind, and what a run that only reads doesn't touch.

use crate::bad_days::{at, filled};
use crate::team::{build, flush, number, remote};
use kache_testkit::{Built, Cargo, Fault, FaultProxy, Machine, Project, S3Server, When, samples, until};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::process::Child;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(120);

/// One after the other, so that there is something left when the first is stuck.
const SINGLY: &str = "concurrency = 1";

/// `kache sync ARGS…` in `project`.
fn sync(machine: &Machine, project: &Project, args: &[&str]) -> Cargo {
    let tmp = machine.path("tmp");
    fs::create_dir_all(&tmp).unwrap();
    machine.kache_in(project.path()).args(["sync"]).args(args.iter().copied()).env("TMPDIR", tmp)
}

/// The pair, with the `Cargo.lock` that a pull looks into.
fn locked(machine: &Machine) -> Project {
    let project = samples::pair(machine.path("a"));
    machine.plain(project.path()).args(["generate-lockfile"]).ok();
    project
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal).unwrap();
}

#[track_caller]
fn check(said: &Built, code: i32, stdout: &str, stderr: &str) {
    let lines = |text: &str| text.lines().filter(|line| !line.contains("WARN")).collect::<Vec<_>>().join("\n");
    assert_eq!((said.status.code(), lines(&said.stdout).as_str(), lines(&said.stderr).as_str()), (Some(code), stdout, stderr));
}

#[test]
fn an_interrupted_sync_leaves_no_daemon_behind_and_goes_on_where_it_was() {
    let server = filled();
    for (how, code) in [(Signal::TERM, Some(143)), (Signal::HUP, Some(129)), (Signal::INT, Some(130)), (Signal::KILL, None)] {
        let proxy = FaultProxy::to(server.address());
        let machine = at(&proxy.endpoint(), SINGLY);
        let project = locked(&machine);
        let stuck = proxy.inject(When::kind("GET").after(1), Fault::NoAnswer);
        let pull = sync(&machine, &project, &["--pull"]);
        let child = pull.spawn();
        until("a fetch is stuck", LONG, || (stuck.times() > 0).then_some(()));
        signal(&child, how);
        let ended = pull.finish(child);
        assert_eq!(ended.status.code(), code, "{how:?}: {}", ended.stderr);
        let is_free = || machine.kache(&["list"]).status.success();
        if code.is_some() {
            let said = "kache: error: interrupted; what was moved stays, and the same command goes on from there\n";
            assert!(ended.stderr.ends_with(said), "{how:?}: {}", ended.stderr);
            assert!(is_free(), "{how:?}: somebody holds the store");
            assert_eq!(fs::read_dir(machine.path("tmp")).unwrap().count(), 0, "{how:?}");
        }
        until("nobody holds the store", LONG, || is_free().then_some(()));
        proxy.clear();
        let again = pull.run();
        assert!(again.stdout.starts_with("pull: moved 3 artifacts (") && again.stdout.ends_with(", 1 present\n"), "{how:?}: {again:?}");
    }
}

#[test]
fn a_daemon_stops_a_sync_that_nobody_waits_for() {
    let server = filled();
    let proxy = FaultProxy::to(server.address());
    let machine = at(&proxy.endpoint(), SINGLY);
    let project = locked(&machine);
    machine.start();
    let slow = proxy.inject(When::kind("GET").times(1), Fault::Delay(Duration::from_secs(4)));
    let pull = sync(&machine, &project, &["--pull"]);
    let child = pull.spawn();
    until("a fetch is under way", LONG, || (slow.times() > 0).then_some(()));
    signal(&child, Signal::INT);
    assert_eq!(pull.finish(child).status.code(), Some(130));
    until("the fetch has ended", LONG, || (number(&remote(&machine), "in_flight") == 0).then_some(()));
    assert_eq!(number(&remote(&machine), "gets"), 1, "{}", machine.log());
    let again = pull.run();
    assert!(again.stdout.starts_with("pull: moved 3 artifacts (") && again.stdout.ends_with(", 1 present\n"), "{again:?}");
}

#[test]
fn a_plan_and_a_pull_store_nothing_in_the_bucket() {
    let server = S3Server::start();
    let machine = at(&server.endpoint(), "");
    let project = locked(&machine);
    machine.start();
    server.set_there(false);
    assert_eq!(build(&machine, &project, &["build"]).miss, 2);
    machine.stop();
    server.set_there(true);
    check(&sync(&machine, &project, &["--pull", "--dry-run"]).run(), 0, "pull: would move 0 artifacts (0 B), 0 present", "");
    check(&sync(&machine, &project, &["--pull"]).run(), 0, "pull: moved 0 artifacts (0 B), 0 present", "");
    let plan = sync(&machine, &project, &["--push", "--dry-run"]).run();
    assert!(plan.stdout.starts_with("push: would move 2 artifacts (") && plan.stderr.is_empty(), "{plan:?}");
    assert_eq!((server.requests("PUT"), server.keys().len()), (0, 0));
    let pushed = sync(&machine, &project, &["--push"]).run();
    // What waited from the build is uploaded beside it, so it may find one there.
    assert!(pushed.status.success(), "{pushed:?}");
    assert_eq!(server.keys().iter().filter(|key| key.ends_with(".tar.zst")).count(), 2);
}

#[test]
fn a_folder_that_can_not_be_listed_is_counted_and_the_others_are_moved() {
    let server = filled();
    let proxy = FaultProxy::to(server.address());
    let machine = at(&proxy.endpoint(), "");
    let project = locked(&machine);
    let refused = proxy.inject(When::kind("LIST").of("below"), Fault::access_denied());
    let pulled = sync(&machine, &project, &["--pull"]).run();
    assert_eq!(pulled.status.code(), Some(1), "{pulled:?}");
    assert!(
        pulled.stdout.starts_with("pull: moved 2 artifacts (") && pulled.stdout.ends_with("0 present; failed: 1 forbidden\n"),
        "{pulled:?}"
    );
    assert_eq!(refused.times(), 1);
    proxy.inject(When::kind("LIST"), Fault::access_denied());
    let pulled = sync(&machine, &project, &["--pull"]).run();
    assert!(pulled.status.code() == Some(1) && pulled.stdout.is_empty() && pulled.stderr.contains("s3:ListBucket"), "{pulled:?}");
}

#[test]
fn a_pull_ends_when_the_store_is_full_of_it() {
    let server = S3Server::start();
    let roomy = at(&server.endpoint(), "");
    roomy.start();
    let project = locked(&roomy);
    project.append("below/src/lib.rs", "pub static BYTES: &[u8] = include_bytes!(\"bytes\");\n");
    for version in 0..3 {
        project.write("below/src/bytes", format!("{version}").repeat(2 << 20));
        build(&roomy, &project, &["build"]);
    }
    flush(&roomy);
    let list: Vec<serde_json::Value> = serde_json::from_str(&roomy.kache(&["list", "--json"]).stdout).unwrap();
    let bytes: u64 = list.iter().map(|artifact| number(artifact, "output_bytes")).sum();

    let machine = at(&server.endpoint(), &format!("{SINGLY}\n[cache]\nmax_size = {}", bytes * 7 / 10));
    machine.start();
    for moved in [true, false] {
        let pulled = sync(&machine, &project, &["--pull", "--all"]).run();
        assert_eq!(pulled.status.code(), Some(1), "{pulled:?}");
        assert_eq!(pulled.stdout.starts_with("pull: moved 0 artifacts"), !moved, "{}", pulled.stdout);
        assert!(pulled.stdout.contains("; stopped because the store is full (`max_size`): "), "{}", pulled.stdout);
    }
    assert_eq!(machine.stats().store.evicted_artifacts, 0);
}

#[test]
fn a_long_pull_says_now_and_then_how_far_it_is() {
    let server = filled();
    let proxy = FaultProxy::to(server.address());
    let machine = at(&proxy.endpoint(), SINGLY);
    let project = locked(&machine);
    proxy.inject(When::kind("GET").after(1).times(1), Fault::Delay(Duration::from_secs(6)));
    let pulled = sync(&machine, &project, &["--pull"]).run();
    assert!(pulled.status.success() && pulled.stderr == "kache: pull: 2 of 4\n", "{pulled:?}");
}
