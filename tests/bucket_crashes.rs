//! Machines that end, or whose disk does, while something is on its way from or to the bucket: nothing is lost, and nothing is half.

use crate::bad_days::{at, configure, until_well, verified};
use crate::damage::in_namespace;
use crate::team::{build, flush, number, remote};
use kache_testkit::{Fault, FaultProxy, Link, Machine, Project, S3Server, When, run, samples, until};
use std::fs;
use std::path::Path;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(120);

/// Some seconds for the artifacts of `samples::pair`.
const SLOW: Link = Link { round_trip: Duration::ZERO, bytes_per_second: Some(100_000) };

fn prints(project: &Project) -> String {
    run(project.file("target/debug/prog"))
}

/// Files below a directory.
fn files(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

/// A machine restores everything from the bucket, without a single error.
fn restores_all(server: &S3Server) {
    let machine = at(&server.endpoint(), "");
    machine.start();
    let project = samples::pair(machine.path("all"));
    assert_eq!(build(&machine, &project, &["build"]).remote_hit, 2, "{}", machine.log());
    assert_eq!(remote(&machine)["errors"], serde_json::json!({}));
    assert_eq!(prints(&project), "1\n");
}

/// A server that has both artifacts of `samples::pair`.
fn filled() -> S3Server {
    let server = S3Server::start();
    let machine = at(&server.endpoint(), "");
    machine.start();
    build(&machine, &samples::pair(machine.path("a")), &["build"]);
    flush(&machine);
    server
}

#[test]
fn a_daemon_killed_while_it_uploads_goes_on_after_its_restart() {
    let server = S3Server::start();
    let proxy = FaultProxy::over(server.address(), SLOW);
    let machine = at(&proxy.endpoint(), "");
    machine.start();
    let program = proxy.inject(When::kind("PUT").of("artifacts/prog/"), Fault::Delay(Duration::ZERO));
    let project = samples::pair(machine.path("a"));
    proxy.set_there(false);
    assert_eq!(build(&machine, &project, &["build"]).miss, 2);
    // By the end of it the store has written down what is to be uploaded.
    assert_eq!(machine.kache(&["flush", "--timeout", "2"]).status.code(), Some(1));
    proxy.set_there(true);
    until("the program's upload under way", LONG, || (program.times() > 0).then_some(()));
    machine.kill();
    assert!(server.keys().iter().filter(|key| key.ends_with(".tar.zst")).count() < 2, "{:?}", server.keys());
    configure(&machine, &server.endpoint(), "");
    machine.start();
    flush(&machine);
    assert_eq!(files(&machine.cache_dir().join("staging")), 0);
    verified(&machine);
    restores_all(&server);
}

#[test]
fn a_daemon_killed_while_it_fetches_leaves_nothing_half() {
    let server = filled();
    let proxy = FaultProxy::over(server.address(), SLOW);
    let machine = at(&proxy.endpoint(), "");
    machine.start();
    let project = samples::pair(machine.path("b"));
    let cargo = machine.cargo(&project).args(["build"]).env("CARGO_INCREMENTAL", "0");
    let child = cargo.spawn();
    until("some bytes of an artifact", LONG, || {
        let numbers = remote(&machine);
        (number(&numbers, "in_flight") > 0 && number(&numbers, "get_bytes") > 50_000).then_some(())
    });
    machine.kill();
    let built = cargo.finish(child);
    assert!(built.status.success(), "{}", built.stderr);
    assert_eq!(prints(&project), "1\n");
    configure(&machine, &server.endpoint(), "");
    machine.start();
    verified(&machine);
    assert_eq!(files(&machine.cache_dir().join("staging")), 0);
    project.remove("target");
    let seen = build(&machine, &project, &["build"]);
    assert_eq!((seen.hits(), seen.miss), (2, 0), "{seen:?}");
    assert_eq!(prints(&project), "1\n");
    verified(&machine);
}

#[test]
fn a_disk_that_fills_up_while_fetching_fails_no_build() {
    let server = S3Server::start();
    let first = at(&server.endpoint(), "");
    first.start();
    let args = ["build", "--workspace"];
    build(&first, &samples::full(first.path("a")), &args);
    flush(&first);

    let machine = at(&server.endpoint(), "");
    let Some(command) = in_namespace(&machine, "mount -t tmpfs -o size=3m none \"$CACHE\"") else { return };
    machine.launch(command);
    let project = samples::full(machine.path("b"));
    machine.cargo_beside_daemon(&project).args(args).env("CARGO_INCREMENTAL", "0").ok();
    assert_eq!(run(project.file("target/debug/app")), samples::FULL_REPORT);
    let numbers = remote(&machine);
    assert!(numbers["errors"]["disk"].as_u64() > Some(0), "{numbers}\n{}", machine.log());
    assert_eq!(numbers["breaker"]["read"], "closed", "the bucket isn't to blame");
    until_well(&machine);
    assert_eq!(machine.plain(project.path()).args(args).env("CARGO_INCREMENTAL", "0").json().rebuilt(), Vec::<String>::new());
}

#[test]
fn a_build_killed_while_it_fetches_costs_the_next_one_nothing() {
    let server = filled();
    let proxy = FaultProxy::over(server.address(), SLOW);
    let machine: Machine = at(&proxy.endpoint(), "");
    machine.start();
    let project = samples::pair(machine.path("b"));
    let mut child = machine.cargo(&project).args(["build"]).env("CARGO_INCREMENTAL", "0").spawn();
    until("some bytes of an artifact", LONG, || (number(&remote(&machine), "get_bytes") > 50_000).then_some(()));
    let group = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    child.wait().unwrap();
    // The library may have come in time for the build that was killed.
    let seen = build(&machine, &project, &["build"]);
    assert!(seen.miss == 0 && seen.hits() > 0, "{seen:?}\n{}", machine.log());
    assert_eq!(prints(&project), "1\n");
    verified(&machine);
}

#[test]
fn a_daemon_that_is_stopped_in_the_middle_of_a_build_leaves_an_index_of_what_was_built() {
    let server = S3Server::start();
    let machine = at(&server.endpoint(), "");
    machine.start();
    let project = samples::pair(machine.path("a"));
    let go = machine.path("go");
    project.write(
        "build.rs",
        format!(
            "fn main() {{ while !std::path::Path::new({go:?}).exists() {{ std::thread::sleep(std::time::Duration::from_millis(10)) }} }}"
        ),
    );
    let cargo = machine.cargo(&project).args(["build"]).env("CARGO_INCREMENTAL", "0");
    let child = cargo.spawn();
    until("the library's upload", LONG, || server.keys().iter().any(|key| key.starts_with("artifacts/below/")).then_some(()));
    assert_eq!(machine.stop().code(), Some(0));
    let indexes = server.keys().iter().filter(|key| key.starts_with("artifacts/_builds/")).count();
    assert_eq!(indexes, 3, "{:?}\n{}", server.keys(), machine.log());
    fs::write(go, "").unwrap();
    assert!(cargo.finish(child).status.success());
    assert_eq!(prints(&project), "1\n");
}
