//! Machines that share a bucket.

use crate::crowds;
use kache_testkit::{Fault, FaultProxy, Machine, Outcomes, Outputs, Project, S3Server, S3User, When, samples};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Members' integration tests and the like, in debug and release as CI builds them.
const DEBUG: [&str; 3] = ["build", "--workspace", "--all-targets"];
const RELEASE: [&str; 4] = ["build", "--workspace", "--all-targets", "--release"];

/// A machine that uses the bucket of `server` as `user`; its daemon isn't running yet.
pub(crate) fn member(server: &S3Server, user: S3User, more: &[(&str, &str)]) -> Machine {
    let endpoint = server.endpoint();
    let mut settings = vec![
        ("KACHE_S3_BUCKET", S3Server::BUCKET),
        ("KACHE_S3_ENDPOINT", endpoint.as_str()),
        ("KACHE_S3_ACCESS_KEY", user.access_key),
        ("KACHE_S3_SECRET_KEY", user.secret_key),
    ];
    settings.extend(more);
    Machine::idle_with(&settings)
}

/// The `remote` part of the daemon's statistics.
pub(crate) fn remote(machine: &Machine) -> Value {
    let (_, body) = kache_testkit::http_get(&machine.socket(), "/v1/stats").unwrap();
    serde_json::from_slice::<Value>(&body).unwrap()["remote"].clone()
}

pub(crate) fn number(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap_or_else(|| panic!("{name} in {of}"))
}

/// As CI does it: no incremental compilation.
pub(crate) fn build(machine: &Machine, project: &Project, args: &[&str]) -> Outcomes {
    let cargo = machine.cargo(project).args(args.iter().copied()).env("CARGO_INCREMENTAL", "0");
    let (_, seen) = machine.watch(|| cargo.ok());
    machine.settle();
    seen
}

pub(crate) fn flush(machine: &Machine) {
    let flushed = machine.kache(&["flush", "--timeout", "300"]);
    assert!(flushed.status.success(), "{}{}\n{}", flushed.stdout, flushed.stderr, machine.log());
}

/// A profile `team` of the machine whose keys a program prints, each time with another session token that begins with `token`. Answers the file that
/// grows by a line each time.
pub(crate) fn program_of_credentials(machine: &Machine, token: &str) -> PathBuf {
    let (program, asked) = (machine.path("credentials"), machine.path("asked"));
    let S3User { access_key, secret_key } = S3Server::OWNER;
    let answer = format!(r#"{{"Version":1,"AccessKeyId":"{access_key}","SecretAccessKey":"{secret_key}","SessionToken":"{token}%s"}}"#);
    let script = format!("#!/bin/sh\necho >> {asked}\nprintf '{answer}' $(wc -l < {asked})\n", asked = asked.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir_all(machine.home().join(".aws")).unwrap();
    let config = format!("[profile team]\nregion = us-east-1\ncredential_process = {}\n", program.display());
    std::fs::write(machine.home().join(".aws/config"), config).unwrap();
    asked
}

#[test]
fn credentials_that_expire_in_the_middle_of_a_build_are_looked_up_once_more() {
    const UNITS: u64 = 12;
    let server = S3Server::start();
    let first = member(&server, S3Server::OWNER, &[]);
    first.start();
    assert_eq!(build(&first, &crowds::many(first.path("a"), UNITS), &["check"]).miss, UNITS);
    flush(&first);
    let proxy = FaultProxy::to(server.address());
    let settings = [("KACHE_S3_BUCKET", S3Server::BUCKET), ("KACHE_S3_ENDPOINT", &proxy.endpoint()), ("KACHE_S3_PROFILE", "team")];
    let machine = Machine::idle_with(&settings);
    let asked = program_of_credentials(&machine, "t");
    machine.start();
    let expired = proxy.inject(When::kind("GET").of(".tar.zst").after(4).times(3), Fault::expired_token());
    let seen = build(&machine, &crowds::many(machine.path("b"), UNITS), &["check"]);
    assert_eq!((seen.remote_hit, seen.miss), (UNITS, 0), "{seen:?} {}\n{}", remote(&machine), machine.log());
    assert_eq!(expired.times(), 3);
    assert_eq!(std::fs::read_to_string(asked).unwrap().lines().count(), 2);
    assert_eq!(number(&remote(&machine), "credential_loads"), 2, "{}", remote(&machine));
}

#[test]
fn what_one_machine_built_another_restores_byte_for_byte() {
    let server = S3Server::start();
    let log = [("KACHE_LOG", "kached=debug")];
    let first = member(&server, S3Server::OWNER, &log);
    first.start();
    let project = samples::full(first.path("one/checkout"));
    for args in [&DEBUG[..], &RELEASE[..]] {
        assert!(build(&first, &project, args).miss > 0);
    }
    flush(&first);
    assert_eq!(number(&remote(&first), "queued_uploads"), 0);

    let second = member(&server, S3Server::OWNER, &log);
    second.start();
    let copy = samples::full(second.path("elsewhere/deeper/two"));
    let mut fetched = 0;
    for (args, profile) in [(&DEBUG[..], "debug"), (&RELEASE[..], "release")] {
        let seen = build(&second, &copy, args);
        fetched += seen.remote_hit;
        // The integration test reads CARGO_BIN_EXE_app, an absolute path.
        assert_eq!((seen.miss, seen.bypass, seen.failed), (samples::FULL_BOUND_IN_TESTS, 0, 0), "{seen:?}\n{}", second.log());
        assert!(seen.remote_hit > 0 && seen.local_hit + seen.joined <= 1, "{seen:?}");
        let (here, there) = (Outputs::of(&copy.file("target").join(profile)), Outputs::of(&project.file("target").join(profile)));
        let differ: Vec<PathBuf> = here.linked().difference(&there.linked());
        assert!(differ.iter().all(|path| path.to_string_lossy().contains("runs-")), "{differ:?}");
        assert_eq!(build(&second, &copy, args), Outcomes::default(), "a second build finds all fresh");
    }
    let numbers = remote(&second);
    assert_eq!(number(&numbers, "lists"), 0, "{numbers}");
    assert_eq!(number(&numbers, "credential_loads"), 1, "{numbers}");
    assert_eq!(server.requests("HEAD"), 0);
    // The indexes know everything that the first machine made, what was still being taken in when its Cargo ended as well: beside the three of each
    // build only the units that nobody could share are asked for.
    let asked = fetched + 2 * (3 + samples::FULL_BOUND_IN_TESTS);
    assert_eq!(
        (number(&numbers, "gets"), number(&numbers, "prefetch_used")),
        (asked, number(&numbers, "prefetched")),
        "{numbers}\n{}\n{}",
        first.log(),
        second.log()
    );
}

#[test]
fn without_an_index_units_are_found_by_their_input_sets() {
    let server = S3Server::start();
    let first = member(&server, S3Server::OWNER, &[]);
    first.start();
    let units = build(&first, &samples::full(first.path("a")), &DEBUG).miss;
    flush(&first);
    std::fs::remove_dir_all(server.object("artifacts/_builds")).unwrap();

    let second = member(&server, S3Server::OWNER, &[]);
    second.start();
    let seen = build(&second, &samples::full(second.path("b")), &DEBUG);
    assert_eq!(seen.miss, samples::FULL_BOUND_IN_TESTS, "{seen:?}\n{}", second.log());
    let numbers = remote(&second);
    // Three for the indexes that aren't there; of the bound unit there is a set at most.
    assert!(number(&numbers, "gets") <= 2 * units + 3, "{numbers}");
    assert_eq!(number(&numbers, "prefetched"), 0);
}

#[test]
fn a_reader_fetches_and_stores_nothing() {
    let server = S3Server::start();
    let first = member(&server, S3Server::OWNER, &[]);
    first.start();
    build(&first, &samples::pair(first.path("a")), &["build"]);
    flush(&first);
    let objects = server.keys();

    let second = member(&server, S3Server::READER, &[("KACHE_REMOTE_MODE", "read-only")]);
    second.start();
    let project = samples::pair(second.path("b"));
    assert_eq!(build(&second, &project, &["build"]).remote_hit, 2, "{}", second.log());
    project.edit("below/src/lib.rs", "{ 1 }", "{ 2 }");
    assert_eq!(build(&second, &project, &["build"]).miss, 2);
    flush(&second);
    assert_eq!(server.keys(), objects);
    assert!(!second.log().contains("WARN"), "{}", second.log());
    assert_eq!(number(&remote(&second), "queued_uploads"), 0);
}

#[test]
fn a_bucket_that_is_switched_off_is_left_alone() {
    let server = S3Server::start();
    let machine = member(&server, S3Server::OWNER, &[("KACHE_REMOTE_MODE", "off")]);
    machine.start();
    assert_eq!(build(&machine, &samples::pair(machine.path("a")), &["build"]).miss, 2);
    flush(&machine);
    assert_eq!((server.requests("GET"), server.requests("PUT"), server.keys().len()), (0, 0, 0));
}

/// The window of an object's zstd frame, which tells levels apart: 2^19 bytes at level 1, 2^21 at level 3 (RFC 8878, 3.1.1.1.2).
fn window_log(server: &S3Server, key: &str) -> u8 {
    10 + (std::fs::read(server.object(key)).unwrap()[5] >> 3)
}

#[test]
fn uploads_wait_for_a_bucket_that_comes_back_and_for_the_next_daemon() {
    let server = S3Server::start();
    let machine = member(&server, S3Server::OWNER, &[]);
    machine.start();
    server.set_there(false);
    let project = samples::pair(machine.path("a"));
    machine.cargo(&project).args(["build"]).env("CARGO_INCREMENTAL", "0").env("KACHE_COMPRESSION_LEVEL", "1").ok();
    let flushed = machine.kache(&["flush", "--timeout", "1"]);
    assert_eq!(flushed.status.code(), Some(1), "{}", flushed.stdout);
    assert!(flushed.stdout.contains("2 uploads"), "{}", flushed.stdout);
    machine.kill();
    machine.start();
    assert_eq!(number(&remote(&machine), "queued_uploads"), 2);
    server.set_there(true);
    flush(&machine);
    let packed = server.keys().into_iter().filter(|key| key.ends_with(".tar.zst"));
    assert_eq!(packed.map(|key| window_log(&server, &key)).collect::<Vec<_>>(), [19, 19], "packed at the level of the build, 1");
    let other = member(&server, S3Server::OWNER, &[]);
    other.start();
    assert_eq!(build(&other, &samples::pair(other.path("b")), &["build"]).remote_hit, 2);
}

#[test]
fn an_edited_unit_is_compiled_and_the_rest_still_comes_from_the_bucket() {
    let server = S3Server::start();
    let first = member(&server, S3Server::OWNER, &[]);
    first.start();
    build(&first, &samples::full(first.path("a")), &DEBUG);
    flush(&first);

    let second = member(&server, S3Server::OWNER, &[]);
    second.start();
    let project = samples::full(second.path("b"));
    project.append("app/src/main.rs", "\n#[used]\nstatic EDITED: u8 = 1;\n");
    // Another Cargo.lock: the nearest index of the workspace still knows the rest.
    project.append("archive/Cargo.toml", "[dependencies]\ncfg-if = \"1\"\n");
    let seen = build(&second, &project, &DEBUG);
    let own = seen.miss;
    assert!((1..=5).contains(&own) && seen.remote_hit >= 8, "{seen:?}\n{}", second.log());
    assert!(number(&remote(&second), "prefetched") > 0);
}

#[test]
fn the_level_of_a_build_counts_for_its_artifacts_and_a_bad_one_is_named() {
    let server = S3Server::start();
    let machine = member(&server, S3Server::OWNER, &[]);
    machine.start();
    let project = samples::pair(machine.path("a"));
    let with = |level: &str| {
        project.edit("below/src/lib.rs", "value() -> u32 {", "value() -> u32 { let _ = 0;");
        machine.cargo(&project).args(["build"]).env("CARGO_INCREMENTAL", "0").env("KACHE_COMPRESSION_LEVEL", level).ok();
        flush(&machine);
    };
    with("22");
    assert!(!machine.kache(&["status"]).stdout.contains("KACHE_COMPRESSION_LEVEL"));
    with("23");
    let status = machine.kache(&["status"]).stdout;
    assert!(status.contains("KACHE_COMPRESSION_LEVEL=\"23\"") && status.contains("3 is used"), "{status}");
    assert!(machine.log().contains("KACHE_COMPRESSION_LEVEL"), "{}", machine.log());
    assert_eq!(server.keys().iter().filter(|key| key.ends_with(".tar.zst")).count(), 4);
}

#[test]
fn sync_moves_what_cargo_lock_names_both_ways_with_and_without_a_daemon() {
    let server = S3Server::start();
    let first = member(&server, S3Server::OWNER, &[("KACHE_REMOTE_MODE", "read-only")]);
    first.start();
    let project = samples::pair(first.path("a"));
    build(&first, &project, &["build"]);
    first.stop();
    let sync = |machine: &Machine, project: &Project, mode: &str, args: &[&str]| {
        machine.kache_in(project.path()).args(["sync"]).args(args.iter().copied()).env("KACHE_REMOTE_MODE", mode).run()
    };
    let refused = sync(&first, &project, "read-only", &["--push"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("only for reading"), "{}", refused.stderr);
    let planned = sync(&first, &project, "read-write", &["--push", "--dry-run"]);
    assert!(planned.status.success() && planned.stdout.contains("would move 2 artifacts"), "{}{}", planned.stdout, planned.stderr);
    assert_eq!(server.keys().len(), 0);
    let pushed = sync(&first, &project, "read-write", &["--push"]);
    assert!(pushed.status.success() && pushed.stdout.contains("moved 2 artifacts"), "{}{}", pushed.stdout, pushed.stderr);
    let again = sync(&first, &project, "read-write", &[]);
    assert!(again.stdout.contains("push: moved 0 artifacts (0 B), 2 present"), "{}{}", again.stdout, again.stderr);

    let second = member(&server, S3Server::READER, &[("KACHE_REMOTE_MODE", "read-only")]);
    second.start();
    let copy = samples::pair(second.path("b"));
    let missing = sync(&second, &copy, "read-only", &["--pull"]);
    assert!(missing.stderr.contains("Cargo.lock") && !missing.status.success(), "{}", missing.stderr);
    second.plain(copy.path()).args(["generate-lockfile"]).ok();
    let lists = server.requests("LIST");
    let pulled = sync(&second, &copy, "read-only", &["--pull"]);
    assert!(pulled.status.success() && pulled.stdout.contains("pull: moved 2 artifacts"), "{}{}", pulled.stdout, pulled.stderr);
    assert_eq!(server.requests("LIST") - lists, 2, "one for each package of Cargo.lock");
    server.set_there(false);
    assert_eq!(build(&second, &copy, &["build"]).local_hit, 2, "{}", second.log());
    server.set_there(true);
    let third = member(&server, S3Server::OWNER, &[]);
    let all = sync(&third, &samples::program(third.path("c"), "fn main() {}"), "read-write", &["--pull", "--all"]);
    assert!(all.status.success() && all.stdout.contains("moved 2 artifacts"), "{}{}", all.stdout, all.stderr);
    std::fs::write(server.object(server.keys().iter().find(|key| key.ends_with(".tar.zst")).unwrap()), "no tarball").unwrap();
    let fourth = member(&server, S3Server::OWNER, &[]);
    let damaged = sync(&fourth, &copy, "read-write", &["--pull"]);
    assert_eq!(damaged.status.code(), Some(1));
    assert!(damaged.stdout.contains("moved 1 artifact ") && damaged.stdout.contains("failed: 1 corrupt"), "{}", damaged.stdout);
}

#[test]
fn a_damaged_object_is_replaced_by_whoever_compiles_it_again() {
    let server = S3Server::start();
    let first = member(&server, S3Server::OWNER, &[]);
    first.start();
    build(&first, &samples::pair(first.path("a")), &["build"]);
    flush(&first);
    let sound: Vec<_> = server.keys().into_iter().filter(|key| key.ends_with(".tar.zst")).collect();
    for key in &sound {
        std::fs::write(server.object(key), "no tarball").unwrap();
    }
    for misses in [2, 0] {
        let other = member(&server, S3Server::OWNER, &[]);
        other.start();
        assert_eq!(build(&other, &samples::pair(other.path("b")), &["build"]).miss, misses, "{}", other.log());
        flush(&other);
    }
}
