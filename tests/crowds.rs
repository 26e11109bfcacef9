//! Many at once, and many in all: one GET of an artifact however many want it, few requests, few connections, one look for credentials.

use crate::bad_days::{at, until_well};
use crate::team::{build, flush, number, remote};
use kache_testkit::{Binaries, Cargo, Fault, FaultProxy, Machine, Project, S3Server, When, samples, until};
use std::path::Path;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(120);

/// One library's compile through the shim, in `directory`, as Cargo would do it for package `wanted`.
fn compile(machine: &Machine, directory: &Path, out: &str) -> Cargo {
    let rustc = machine.plain(directory).program("rustup").args(["which", "rustc"]).ok().stdout;
    let args = ["--crate-name=wanted", "--crate-type=lib", "--edition=2024", "--emit=dep-info,metadata,link", "src/lib.rs"];
    let keyed = ["-Cmetadata=0123456789abcdef", "-Cextra-filename=-0123456789abcdef", "--out-dir", out];
    let cargo = machine.plain(directory).program(Binaries::get().shim()).args([rustc.trim()]).args(args).args(keyed);
    cargo.env("CARGO_PKG_NAME", "wanted").env("CARGO_MANIFEST_DIR", directory)
}

fn wanted(machine: &Machine, directory: &str) -> Project {
    Project::with(machine.path(directory), &[("Cargo.toml", &samples::package("wanted", "")), ("src/lib.rs", "pub fn wanted() {}\n")])
}

#[test]
fn sixty_four_shims_want_one_artifact_and_it_is_fetched_once() {
    let server = S3Server::start();
    let first = at(&server.endpoint(), "");
    first.start();
    let project = wanted(&first, "a");
    std::fs::create_dir_all(project.file("target/debug/deps")).unwrap();
    compile(&first, project.path(), "target/debug/deps").ok();
    flush(&first);
    let keys = server.keys();
    assert!(keys.iter().any(|key| key.starts_with("artifacts/wanted/")), "{keys:?}");

    let proxy = FaultProxy::to(server.address());
    let artifacts = proxy.inject(When::kind("GET").of(".tar.zst"), Fault::Delay(Duration::from_millis(1500)));
    let second = at(&proxy.endpoint(), "");
    second.start();
    let copies: Vec<Project> = (0..64).map(|copy| wanted(&second, &format!("b{copy}"))).collect();
    let runs: Vec<_> = copies.iter().map(|copy| compile(&second, copy.path(), "target/debug/deps")).collect();
    let (_, seen) = second.watch(|| {
        std::thread::scope(|scope| {
            for (copy, run) in copies.iter().zip(&runs) {
                std::fs::create_dir_all(copy.file("target/debug/deps")).unwrap();
                scope.spawn(|| run.ok());
            }
        });
    });
    assert_eq!((seen.remote_hit, seen.all()), (64, 64), "{seen:?}\n{}", second.log());
    assert_eq!(artifacts.times(), 1, "{}", remote(&second));
    // One for the artifact, one for the unit's input sets.
    assert!(number(&remote(&second), "gets") <= 2, "{}", remote(&second));
    let bytes = |project: &Project| std::fs::read(project.file("target/debug/deps/libwanted-0123456789abcdef.rlib")).unwrap();
    assert!(copies.iter().all(|copy| bytes(copy) == bytes(&project)));
}

const UNITS: u64 = 300;
const CONCURRENCY: u64 = 16;

/// A workspace of many small libraries, every tenth of which needs the nine before it.
pub(crate) fn many(directory: impl Into<std::path::PathBuf>, units: u64) -> Project {
    let project = Project::at(directory);
    for number in 0..units {
        let name = format!("unit{number}");
        let below = if number % 10 == 9 { number - 9..number } else { 0..0 };
        let dependencies: String = below.map(|below| format!("unit{below} = {{ path = \"../unit{below}\" }}\n")).collect();
        project.write(&format!("{name}/Cargo.toml"), samples::package(&name, &format!("[dependencies]\n{dependencies}")));
        project.write(&format!("{name}/src/lib.rs"), format!("pub const NUMBER: u64 = {number};\n"));
    }
    project.write("Cargo.toml", format!("[workspace]\nresolver = \"3\"\nmembers = [\"unit*\"]\n{}", samples::QUICK));
    project
}

#[test]
fn three_hundred_units_take_few_requests_and_connections() {
    let server = S3Server::start();
    let settings = format!("concurrency = {CONCURRENCY}");
    let first = at(&server.endpoint(), &settings);
    first.start();
    assert_eq!(build(&first, &many(first.path("a"), UNITS), &["check"]).miss, UNITS);
    flush(&first);
    assert_eq!(server.keys().iter().filter(|key| key.ends_with(".tar.zst")).count() as u64, UNITS);

    for (per_unit, indexed) in [(1, true), (2, false)] {
        if !indexed {
            std::fs::remove_dir_all(server.object("artifacts/_builds")).unwrap();
        }
        let machine = at(&server.endpoint(), &format!("{settings}\nmode = \"read-only\""));
        machine.start();
        let (heads, lists) = (server.requests("HEAD"), server.requests("LIST"));
        let seen = build(&machine, &many(machine.path("b"), UNITS), &["check"]);
        assert_eq!((seen.remote_hit, seen.miss), (UNITS, 0), "{seen:?}\n{}", machine.log());
        let numbers = remote(&machine);
        assert!(number(&numbers, "connections_opened") <= CONCURRENCY + number(&numbers, "retries"), "{numbers}");
        assert_eq!(number(&numbers, "credential_loads"), 1, "{numbers}");
        // Three for the indexes.
        assert!(number(&numbers, "gets") <= per_unit * UNITS + 3, "indexed: {indexed}, {numbers}");
        assert_eq!((server.requests("HEAD"), server.requests("LIST")), (heads, lists));
    }
}

#[test]
fn a_daemon_told_to_stop_leaves_its_queue_to_the_next_one() {
    let server = S3Server::start();
    let proxy = FaultProxy::to(server.address());
    let machine = at(&proxy.endpoint(), "");
    machine.start();
    let stuck = proxy.inject(When::kind("PUT"), Fault::NoAnswer);
    assert_eq!(build(&machine, &many(machine.path("a"), 200), &["check"]).miss, 200);
    until("uploads have begun", LONG, || (stuck.times() > 0).then_some(()));
    assert_eq!(number(&remote(&machine), "queued_uploads"), 200);
    // Waits 20 s at most; the daemon's own bound is 10 s.
    assert_eq!(machine.stop().code(), Some(0), "{}", machine.log());
    assert!(machine.log().contains("stopped before everything was uploaded"), "{}", machine.log());
    assert!(server.keys().is_empty());

    proxy.clear();
    machine.start();
    flush(&machine);
    until_well(&machine);
    let other = at(&server.endpoint(), "");
    other.start();
    let seen = build(&other, &many(other.path("b"), 200), &["check"]);
    assert_eq!((seen.remote_hit, seen.miss), (200, 0), "{seen:?}\n{}", other.log());
}
