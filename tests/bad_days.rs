//! A bucket in trouble: builds succeed with the right bytes, the trouble is counted by its kind, nothing wrong is kept, and once it is over
//! everything works again.
//!
//! The bound on what a bad bucket costs a build: a unit never waits longer than `wait_ms` (3 s by default) without progress, and requests that hang
//! fail after 10 s. Five failures in a row open the breaker, four units in a row of which nothing came make a session stop waiting: so 20 s in all
//! for a server that says nothing, however many units there are, and retries within 0.7 s for one that refuses.

use crate::team::{build, flush, number, remote};
use kache_testkit::{Fault, FaultProxy, Machine, Project, S3Server, When, run, samples, until};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(120);

/// Gives up soon, so that tests are quick.
const HASTY: &str = "wait_ms = 300";

/// What is in the bucket after `samples::pair` and its [`next`] version were built and flushed.
static FILLED: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
    let server = S3Server::start();
    let machine = at(&server.endpoint(), "");
    machine.start();
    let project = samples::pair(machine.path("a"));
    assert_eq!(build(&machine, &project, &["build"]).miss, 2);
    flush(&machine);
    next(&project);
    assert_eq!(build(&machine, &project, &["build"]).miss, 2);
    flush(&machine);
    server.keys().into_iter().map(|key| (key.clone(), fs::read(server.object(key)).unwrap())).collect()
});

/// A machine that uses the bucket at `endpoint`, with further lines in `[cache.remote]`; its daemon isn't running yet.
pub(crate) fn at(endpoint: &str, more: &str) -> Machine {
    let keys = [("KACHE_S3_ACCESS_KEY", S3Server::OWNER.access_key), ("KACHE_S3_SECRET_KEY", S3Server::OWNER.secret_key)];
    let machine = Machine::idle_with(&keys);
    configure(&machine, endpoint, more);
    machine
}

/// Sets where the next daemon finds its bucket.
pub(crate) fn configure(machine: &Machine, endpoint: &str, more: &str) {
    let bucket = S3Server::BUCKET;
    let text = format!("[cache.remote]\ntype = \"s3\"\nbucket = \"{bucket}\"\nendpoint = \"{endpoint}\"\n{more}\n");
    fs::write(machine.config(), text).unwrap();
}

/// A server with a bucket that both versions of the pair are in.
pub(crate) fn filled() -> S3Server {
    let server = S3Server::start();
    for (key, bytes) in &*FILLED {
        let path = server.object(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    server
}

fn next(project: &Project) {
    project.edit("below/src/lib.rs", "{ 1 }", "{ 2 }");
}

fn prints(project: &Project) -> String {
    run(project.file("target/debug/prog"))
}

pub(crate) fn verified(machine: &Machine) {
    let verified = machine.kache(&["verify"]);
    assert!(verified.status.success(), "{}{}", verified.stdout, verified.stderr);
}

/// Errors by kind.
fn errors(machine: &Machine) -> BTreeMap<String, u64> {
    serde_json::from_value(remote(machine)["errors"].clone()).unwrap()
}

/// Waits until no request is under way and the breakers let requests through.
pub(crate) fn until_well(machine: &Machine) {
    until("nothing under way, breakers not open", LONG, || {
        let numbers = remote(machine);
        let open = ["read", "write"].iter().any(|name| numbers["breaker"][name] == "open");
        (number(&numbers, "in_flight") == 0 && !open).then_some(())
    });
}

/// With `fault` in the way of artifacts (of everything, if so said), a build compiles for itself; `kinds` are the names under which the trouble
/// may be counted, of which one must be. Afterwards the machine works as ever.
fn check(name: &str, when: When, fault: Fault, kinds: &[&str]) {
    check_all(name, [(when, fault)], kinds);
}

fn check_all(name: &str, faults: impl IntoIterator<Item = (When, Fault)>, kinds: &[&str]) {
    let server = filled();
    let proxy = FaultProxy::to(server.address());
    let machine = at(&proxy.endpoint(), HASTY);
    machine.start();
    let injected: Vec<_> = faults.into_iter().map(|(when, fault)| proxy.inject(when, fault)).collect();
    let project = samples::pair(machine.path("a"));
    let seen = build(&machine, &project, &["build"]);
    assert_eq!((seen.miss, seen.failed, seen.bypass), (2, 0, 0), "{name}: {seen:?}\n{}", machine.log());
    assert_eq!(prints(&project), "1\n", "{name}");
    until(name, LONG, || errors(&machine).keys().any(|kind| kind != "breaker_open").then_some(()));
    assert!(injected.iter().any(|fault| fault.times() > 0), "{name}");
    let counted = errors(&machine);
    assert!(counted.keys().all(|kind| kind == "breaker_open" || kinds.contains(&kind.as_str())), "{name}: {counted:?}\n{}", machine.log());
    verified(&machine);

    proxy.clear();
    recovers(&machine, &project);
}

/// Checks several, three at a time: mostly they wait.
fn at_once<const N: usize>(cases: [(&str, When, Fault, &[&str]); N]) {
    let left = Mutex::new(cases.into_iter());
    let work = || {
        while let Some((name, when, fault, kinds)) = { left.lock().unwrap().next() } {
            check(name, when, fault, kinds);
        }
    };
    std::thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(work))));
}

/// What the bucket has is fetched again, and what was made in bad times is uploaded.
fn recovers(machine: &Machine, project: &Project) {
    until_well(machine);
    flush(machine);
    next(project);
    let seen = build(machine, project, &["build"]);
    assert_eq!((seen.remote_hit, seen.miss), (2, 0), "{seen:?} {}\n{}", remote(machine), machine.log());
    assert_eq!(prints(project), "2\n");
    verified(machine);
}

fn artifacts() -> When {
    When::kind("GET").of(".tar.zst")
}

#[test]
fn refusals_are_misses() {
    at_once([
        ("503 storm", artifacts(), Fault::slow_down(), &["throttled"][..]),
        ("500s", artifacts(), Fault::internal_error(), &["server"]),
        ("403", artifacts(), Fault::access_denied(), &["forbidden"]),
        ("301", artifacts(), Fault::wrong_region("eu-west-1"), &["wrong_region"]),
        ("skewed clock", artifacts(), Fault::clock_skew(), &["clock_skew"]),
        ("expired", artifacts(), Fault::expired_token(), &["expired_credentials"]),
    ]);
}

#[test]
fn broken_bodies_are_misses() {
    at_once([
        ("reset mid-body", artifacts(), Fault::ResetAfter(700), &["reset"][..]),
        ("reset instead of an answer", artifacts(), Fault::DropAnswer, &["reset"]),
        ("truncation", artifacts(), Fault::CutAfter(700), &["truncated", "reset"]),
        ("length too large", artifacts(), Fault::ClaimLength(10 << 20), &["truncated", "reset"]),
        ("length too small", artifacts(), Fault::ClaimLength(700), &["truncated"]),
        ("no length", artifacts(), Fault::ClaimLength(0), &["truncated"]),
        ("flipped bit", artifacts(), Fault::FlipBit(900, 3), &["corrupt", "digest_mismatch", "wrong_key"]),
        ("flipped bit at the end", artifacts(), Fault::FlipBit(-1, 0), &["corrupt"]),
        ("not an artifact", artifacts(), Fault::Replace(b"<html>Please log in</html>".to_vec()), &["corrupt"]),
    ]);
}

#[test]
fn hostile_objects_are_misses_and_leave_nothing_behind() {
    let each = |spoil: &dyn Fn(&str, &[u8]) -> Vec<u8>| {
        let artifacts = FILLED.iter().filter(|(key, _)| key.ends_with(".tar.zst"));
        artifacts.map(|(key, object)| (When::kind("GET").of(key), Fault::Replace(spoil(key, object)))).collect::<Vec<_>>()
    };
    let bomb = Repacked { json_len: Some(1 << 30), padding: 256 << 20, ..Repacked::default() };
    check_all("bomb", each(&|_, object| bomb.of(object)), &["too_large"]);
    let admitted = Repacked { json: &|json| json.replacen("\"len\":", "\"len\":9000000000", 1), ..Repacked::default() };
    check_all("a bomb that admits it", each(&|_, object| admitted.of(object)), &["too_large"]);
    let names = [("libbelow-", "../../escaped-"), ("prog-", "../../escaped-")];
    let json = |json: &str| {
        names.iter().fold(json.to_owned(), |json, (from, to)| json.replace(&format!("\"name\":\"{from}"), &format!("\"name\":\"{to}")))
    };
    let name = |name: &str| names.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to));
    let traversal = Repacked { json: &json, name: &name, ..Repacked::default() };
    check_all("traversal", each(&|_, object| traversal.of(object)), &["corrupt"]);
    let other = |key: &str| FILLED.iter().find(|(other, _)| other.ends_with(".tar.zst") && *other != key).unwrap().1.clone();
    check_all("another's object", each(&|key, _| other(key)), &["wrong_key"]);
}

#[test]
fn nobody_waits_for_a_server_that_stands_still() {
    at_once([
        ("stall", artifacts(), Fault::StallAfter(700), &["stalled"][..]),
        ("no answer", artifacts(), Fault::NoAnswer, &["timeout"]),
        ("no answer to anything", When::kind("GET"), Fault::NoAnswer, &["timeout"]),
    ]);
}

#[test]
fn a_bucket_that_is_in_trouble_altogether_is_left_alone() {
    at_once([
        ("503 to all", When::any(), Fault::slow_down(), &["throttled"][..]),
        ("500 to all", When::any(), Fault::internal_error(), &["server"]),
        ("resets of all", When::any(), Fault::DropRequest, &["reset"]),
    ]);
}

#[test]
fn a_server_that_is_gone_for_a_while_is_a_server_without_anything() {
    let server = filled();
    let machine = at(&server.endpoint(), HASTY);
    machine.start();
    server.set_there(false);
    let project = samples::pair(machine.path("a"));
    assert_eq!(build(&machine, &project, &["build"]).miss, 2);
    assert_eq!(prints(&project), "1\n");
    until("the breaker opens", LONG, || (remote(&machine)["breaker"]["read"] == "open").then_some(()));
    assert!(errors(&machine)["connect"] > 0, "{:?}", errors(&machine));
    // While it is open nothing is tried, and a build is as quick as without a bucket: nothing is sent for it.
    let before = number(&remote(&machine), "gets");
    let other = samples::program(machine.path("other"), "fn main() {}");
    assert_eq!(build(&machine, &other, &["build"]).miss, 1);
    if remote(&machine)["breaker"]["read"] == "open" {
        assert!(number(&remote(&machine), "gets") <= before + 1, "{}", remote(&machine));
    }
    verified(&machine);
    server.set_there(true);
    recovers(&machine, &project);
}

/// Five units in a row, each of which would wait if waiting weren't bounded for all of them together.
#[test]
fn a_server_that_takes_its_time_is_not_waited_for_by_every_unit() {
    let server = filled();
    let proxy = FaultProxy::to(server.address());
    let machine = at(&proxy.endpoint(), "wait_ms = 2000");
    machine.start();
    proxy.inject(When::kind("GET"), Fault::NoAnswer);
    let project = chain(machine.path("a"), 24);
    let cargo = machine.cargo(&project).args(["check"]).env("CARGO_INCREMENTAL", "0");
    // 24 × 2 s, if each waited for the indexes alone.
    let (_, seen) = machine.watch(|| cargo.limit(Duration::from_secs(40)).ok());
    assert_eq!((seen.miss, number(&remote(&machine), "get_bytes")), (24, 0), "{seen:?}");
}

/// `length` libraries, each of which needs the one before it.
fn chain(directory: std::path::PathBuf, length: usize) -> Project {
    let project = Project::at(directory);
    for number in 0..length {
        let (name, below) = (format!("link{number}"), number.checked_sub(1).map(|below| format!("link{below}")));
        let dependency = below.map(|below| format!("[dependencies]\n{below} = {{ path = \"../{below}\" }}\n")).unwrap_or_default();
        project.write(&format!("{name}/Cargo.toml"), samples::package(&name, &dependency));
        project.write(&format!("{name}/src/lib.rs"), "");
    }
    project.write("Cargo.toml", format!("[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\nexclude = [\"target\"]\n{}", samples::QUICK));
    project
}

#[test]
fn latency_below_the_patience_is_waited_for() {
    let server = filled();
    let proxy = FaultProxy::to(server.address());
    let machine = at(&proxy.endpoint(), "");
    machine.start();
    proxy.inject(When::any(), Fault::Delay(Duration::from_millis(400)));
    let project = samples::pair(machine.path("a"));
    assert_eq!(build(&machine, &project, &["build"]).remote_hit, 2, "{}", machine.log());
    assert_eq!(prints(&project), "1\n");
}

#[test]
fn what_arrives_too_late_for_a_build_is_there_for_the_next() {
    let server = filled();
    let proxy = FaultProxy::to(server.address());
    let machine = at(&proxy.endpoint(), HASTY);
    machine.start();
    proxy.inject(artifacts(), Fault::Delay(Duration::from_secs(8)));
    let project = samples::pair(machine.path("a"));
    let seen = build(&machine, &project, &["build"]);
    assert_eq!(seen.miss, 2, "{seen:?}");
    assert_eq!(prints(&project), "1\n");
    until_well(&machine);
    assert_eq!(errors(&machine), BTreeMap::new());
    next(&project);
    assert_eq!(build(&machine, &project, &["build"]).miss, 0, "{}", machine.log());
    assert_eq!(prints(&project), "2\n");
    verified(&machine);
}

#[test]
fn trouble_that_passes_is_overcome_by_trying_again() {
    for (name, fault, kind) in [
        ("503", Fault::slow_down(), "throttled"),
        ("500", Fault::internal_error(), "server"),
        ("reset", Fault::ResetAfter(700), "reset"),
        ("truncation", Fault::ClaimLength(700), "truncated"),
        ("region", Fault::wrong_region("eu-west-1"), "wrong_region"),
    ] {
        let server = filled();
        let proxy = FaultProxy::to(server.address());
        let machine = at(&proxy.endpoint(), "");
        machine.start();
        proxy.inject(artifacts().times(1), fault);
        let project = samples::pair(machine.path("a"));
        let seen = build(&machine, &project, &["build"]);
        assert_eq!(seen.remote_hit, 2, "{name}: {seen:?} {}\n{}", remote(&machine), machine.log());
        assert_eq!(prints(&project), "1\n");
        assert_eq!(errors(&machine), BTreeMap::from([(kind.to_owned(), 1)]), "{name}");
        assert!(number(&remote(&machine), "retries") >= 1);
    }
}

#[test]
fn a_bucket_that_refuses_writes_is_still_read_and_flush_says_so() {
    let server = filled();
    let proxy = FaultProxy::to(server.address());
    let machine = at(&proxy.endpoint(), "");
    machine.start();
    let refused = proxy.inject(When::kind("PUT"), Fault::access_denied());
    let project = samples::pair(machine.path("a"));
    assert_eq!(build(&machine, &project, &["build"]).remote_hit, 2);
    project.edit("below/src/lib.rs", "{ 1 }", "{ 3 }");
    assert_eq!(build(&machine, &project, &["build"]).miss, 2);
    let flushed = machine.kache(&["flush"]);
    assert_eq!(flushed.status.code(), Some(1), "{}{}", flushed.stdout, flushed.stderr);
    assert!(errors(&machine)["forbidden"] > 0 && number(&remote(&machine), "queued_uploads") == 2, "{}", remote(&machine));
    let before = refused.times();
    assert_eq!(machine.kache(&["flush"]).status.code(), Some(1));
    assert_eq!(refused.times(), before + 1, "one is enough to find out");
    proxy.clear();
    flush(&machine);
    assert_eq!(number(&remote(&machine), "queued_uploads"), 0);
}

/// Enough for an operation to fail with all its retries, and too few for the breaker.
const ATTEMPTS: u64 = 4;

#[test]
fn a_single_upload_that_failed_is_tried_again_without_any_occasion() {
    let server = S3Server::start();
    let proxy = FaultProxy::to(server.address());
    let machine = at(&proxy.endpoint(), "");
    machine.start();
    let failed = proxy.inject(When::kind("PUT").of(".tar.zst").times(ATTEMPTS), Fault::internal_error());
    let project = Project::with(machine.path("a"), &[("Cargo.toml", &samples::package("one", "")), ("src/lib.rs", "")]);
    assert_eq!(build(&machine, &project, &["check"]).miss, 1);
    until("the artifact in the bucket", LONG, || server.keys().iter().any(|key| key.ends_with(".tar.zst")).then_some(()));
    assert_eq!(failed.times(), ATTEMPTS);
    until("an empty queue", LONG, || (number(&remote(&machine), "queued_uploads") == 0).then_some(()));
}

#[test]
fn a_flush_that_began_in_bad_times_ends_when_they_are_over() {
    let server = S3Server::start();
    let proxy = FaultProxy::to(server.address());
    let machine = at(&proxy.endpoint(), "");
    machine.start();
    let failing = proxy.inject(When::kind("PUT"), Fault::internal_error());
    let project = Project::with(machine.path("a"), &[("Cargo.toml", &samples::package("one", "")), ("src/lib.rs", "")]);
    assert_eq!(build(&machine, &project, &["check"]).miss, 1);
    std::thread::scope(|scope| {
        let flushing = scope.spawn(|| machine.kache(&["flush"]));
        until("the breaker", LONG, || (failing.times() > ATTEMPTS).then_some(()));
        proxy.clear();
        let flushed = flushing.join().unwrap();
        assert!(flushed.status.success(), "{}{}\n{}", flushed.stdout, flushed.stderr, machine.log());
    });
    assert!(server.keys().iter().any(|key| key.ends_with(".tar.zst")));
}

#[test]
fn a_build_index_that_could_not_be_stored_is_not_forgotten() {
    let server = S3Server::start();
    let proxy = FaultProxy::to(server.address());
    let machine = at(&proxy.endpoint(), "");
    machine.start();
    let failing = proxy.inject(When::kind("PUT").of("/_builds/"), Fault::internal_error());
    let project = samples::pair(machine.path("a"));
    assert_eq!(build(&machine, &project, &["build"]).miss, 2);
    until("failures", LONG, || (failing.times() >= ATTEMPTS).then_some(()));
    let flushed = machine.kache(&["flush", "--timeout", "1"]);
    assert_eq!(flushed.status.code(), Some(1), "{}{}", flushed.stdout, flushed.stderr);
    assert!(flushed.stdout.contains("1 build index"), "{}", flushed.stdout);
    proxy.clear();
    flush(&machine);
    assert_eq!(server.keys().iter().filter(|key| key.contains("/_builds/")).count(), 3);
}

#[test]
fn over_tls_two_machines_share_and_a_foreign_authority_is_named() {
    let server = S3Server::start_tls();
    let ca = server.ca_file();
    let member = |more: &[(&str, &str)]| {
        let mut settings = vec![("KACHE_S3_ACCESS_KEY", S3Server::OWNER.access_key), ("KACHE_S3_SECRET_KEY", S3Server::OWNER.secret_key)];
        settings.extend(more);
        let machine = Machine::idle_with(&settings);
        configure(&machine, &server.endpoint(), HASTY);
        machine.start();
        machine
    };
    let trusted = [("SSL_CERT_FILE", ca.to_str().unwrap())];
    let first = member(&trusted);
    assert_eq!(build(&first, &samples::pair(first.path("a")), &["build"]).miss, 2);
    flush(&first);
    let second = member(&trusted);
    assert_eq!(build(&second, &samples::pair(second.path("b")), &["build"]).remote_hit, 2, "{}", second.log());
    let stranger = member(&[]);
    assert_eq!(build(&stranger, &samples::pair(stranger.path("c")), &["build"]).miss, 2);
    until("tls", LONG, || errors(&stranger).contains_key("tls").then_some(()));
    assert!(stranger.log().contains("SSL_CERT_FILE"), "{}", stranger.log());
    stranger.signal(Signal::KILL);
}

/// An artifact's object, taken apart and put together otherwise.
struct Repacked<'a> {
    json: &'a dyn Fn(&str) -> String,
    name: &'a dyn Fn(&str) -> String,
    /// What the header says of `artifact.json`, if not the truth.
    json_len: Option<usize>,
    /// Blanks behind the end.
    padding: usize,
}

impl Default for Repacked<'_> {
    fn default() -> Self {
        Self { json: &str::to_owned, name: &str::to_owned, json_len: None, padding: 0 }
    }
}

impl Repacked<'_> {
    fn of(&self, object: &[u8]) -> Vec<u8> {
        const BLOCK: usize = 512;
        let text = |bytes: &[u8]| String::from_utf8(bytes.iter().copied().take_while(|byte| *byte != 0).collect()).unwrap();
        let tar = zstd::decode_all(object).unwrap();
        let mut repacked = Vec::new();
        let mut rest = &tar[..];
        while rest.iter().take(BLOCK).any(|byte| *byte != 0) {
            let mut header: [u8; BLOCK] = rest[..BLOCK].try_into().unwrap();
            let len = usize::from_str_radix(&text(&header[124..135]), 8).unwrap();
            let mut content = rest[BLOCK..BLOCK + len].to_vec();
            rest = &rest[BLOCK + len.next_multiple_of(BLOCK)..];
            let first = repacked.is_empty();
            if first {
                content = (self.json)(std::str::from_utf8(&content).unwrap()).into_bytes();
            }
            let (name, stated) = ((self.name)(&text(&header[..100])), self.json_len.filter(|_| first).unwrap_or(content.len()));
            header[..100].fill(0);
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[124..135].copy_from_slice(format!("{stated:011o}").as_bytes());
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
            repacked.extend(header);
            content.resize(content.len().next_multiple_of(BLOCK), 0);
            repacked.extend(content);
        }
        repacked.extend_from_slice(rest);
        repacked.resize(repacked.len() + self.padding, b' ');
        zstd::encode_all(&repacked[..], 1).unwrap()
    }
}
