//! Published programs, through kache, from the registry. Run on demand: they take minutes and need the registry once.
//!
//! `cargo test -p kache-tests --release -- --ignored real_projects --nocapture --test-threads 1`

use kache_testkit::{Machine, Outputs, Project, published, run, samples, until};
use rustix::process::Signal;
use std::path::PathBuf;
use std::time::Duration;

/// Builds and requires that nothing is compiled but at most `drawn` probes: autocfg draws a new crate name for each of its probes.
fn restores(machine: &Machine, project: &Project, args: &[&str], drawn: u64) {
    let seen = machine.build(project, args);
    let told = (seen, machine.stats().bypass_reasons);
    assert!(seen.miss <= drawn && seen.bypass == 0 && seen.failed == 0 && seen.hits() > 0, "{args:?}: {told:?}\n{}", machine.log());
}

/// The whole story of one program. `drawn`: how many probes with a new name per run its build scripts send; apart from those nothing
/// may be compiled twice.
fn check(package: &str, version: &str, program: &str, drawn: u64) {
    let machine = Machine::with(&[("KACHE_LOG", "kached=debug")]);
    let project = published(package, version, &machine.path("one/checkout"), &machine.home());
    let debug = ["build", "--locked"];
    let cold = machine.build(&project, &debug);
    let told = |what: &str| format!("{package}, {what}: {:?}\n{}", machine.stats().bypass_reasons, machine.log());
    assert_eq!((cold.bypass, cold.failed), (0, 0), "{}", told("cold"));
    let first = Outputs::of(&project.file("target/debug"));
    assert!(!run_version(&project.file("target/debug").join(program)).is_empty());
    machine.is_fresh(&project, &debug);

    machine.cargo(&project).args(["clean"]).ok();
    restores(&machine, &project, &debug, drawn);
    assert_eq!(Outputs::of(&project.file("target/debug")).difference(&first), Vec::<PathBuf>::new(), "{}", told("after clean"));
    machine.is_fresh(&project, &debug);
    let target = machine.path("another-target");
    let elsewhere = ["build", "--locked", "--target-dir", target.to_str().unwrap()];
    restores(&machine, &project, &elsewhere, drawn);
    assert_eq!(Outputs::of(&target.join("debug")).linked().difference(&first.linked()), Vec::<PathBuf>::new(), "{}", told("new target"));
    machine.is_fresh(&project, &elsewhere);

    let other = project.copy_to(machine.path("other"));
    let warm = machine.build(&other, &debug);
    assert!(warm.miss <= drawn && warm.bypass == 0 && warm.failed == 0, "{warm:?} {}", told("another checkout"));
    assert!(!run_version(&other.file("target/debug").join(program)).is_empty());
    for checkout in [&other, &project] {
        machine.is_fresh(checkout, &debug);
    }

    for args in
        [&["check", "--locked"][..], &["build", "--locked", "--release"], &["test", "--locked", "--no-run"], &["clippy", "--locked"]]
    {
        machine.build(&project, args);
        project.remove("target");
        restores(&machine, &project, args, drawn);
        machine.is_fresh(&project, args);
    }
    assert!(machine.kache(&["verify"]).status.success());
}

fn run_version(program: &std::path::Path) -> String {
    let output = std::process::Command::new(program).arg("--version").output().unwrap();
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "takes minutes and needs the registry"]
fn ripgrep() {
    check("ripgrep", "15.2.0", "rg", 0);
}

#[test]
#[ignore = "takes minutes and needs the registry"]
fn fd_find() {
    check("fd-find", "10.5.0", "fd", 0);
}

#[test]
#[ignore = "takes minutes and needs the registry"]
fn hyperfine() {
    check("hyperfine", "1.20.0", "hyperfine", 0);
}

#[test]
#[ignore = "takes minutes and needs the registry"]
fn ripgrep_builds_with_the_daemon_stopped_hung_and_answering_garbage() {
    let machine = Machine::idle();
    let project = published("ripgrep", "15.2.0", &machine.path("rg"), &machine.home());
    let build = || {
        project.remove("target");
        machine.cargo(&project).args(["build", "--locked"]).ok();
        assert!(run_version(&project.file("target/debug/rg")).contains("ripgrep"));
    };
    build();
    machine.start();
    machine.signal(Signal::STOP);
    build();
    machine.kill();
    std::fs::remove_file(machine.socket()).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(machine.socket()).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, &[0xa5; 1000]);
        }
    });
    build();
}

#[test]
#[ignore = "takes minutes and needs the registry"]
fn ripgrep_survives_a_killed_daemon() {
    let machine = Machine::new();
    let project = published("ripgrep", "15.2.0", &machine.path("rg"), &machine.home());
    let cargo = machine.cargo(&project).args(["build", "--locked", "-j4"]);
    let child = cargo.spawn();
    until("half of it is built", Duration::from_secs(300), || (machine.stats().outcomes.all() >= 15).then_some(()));
    machine.kill();
    assert!(cargo.finish(child).status.success());
    machine.start();
    machine.build(&project, &["build", "--locked"]);
    project.remove("target");
    machine.build(&project, &["build", "--locked"]);
    assert!(run_version(&project.file("target/debug/rg")).contains("ripgrep"));
    assert!(machine.kache(&["verify"]).status.success());
}

/// The oracle on ripgrep: one change at a time in a member, a macro crate's feature, a flag; each against plain cargo.
#[test]
#[ignore = "takes minutes and needs the registry"]
fn ripgrep_perturbed_is_what_plain_cargo_makes() {
    let machine = Machine::new();
    let project = published("ripgrep", "15.2.0", &machine.path("rg"), &machine.home());
    let pristine = project.copy_to(machine.path("pristine"));
    machine.build(&project, &["build", "--locked"]);
    project.remove("target");
    machine.restores(&project, &["build", "--locked"]);
    type Change<'a> = (&'a str, &'a dyn Fn(), &'a [(&'a str, &'a str)]);
    let changes: [Change<'_>; 5] = [
        (
            "a line in main.rs",
            &|| {
                project.append("crates/core/main.rs", "\n#[used]\nstatic MARK: &str = \"marked\";\n");
            },
            &[],
        ),
        (
            "the version",
            &|| {
                project.edit("Cargo.toml", "\"15.2.0\"", "\"15.2.1\"");
            },
            &[],
        ),
        ("a cfg for all", &|| (), &[("RUSTFLAGS", "--cfg perturbed")]),
        ("optimisation", &|| (), &[("CARGO_PROFILE_DEV_OPT_LEVEL", "1")]),
        ("a variable that the build script reads", &|| (), &[("RIPGREP_BUILD_GIT_HASH", "abcdef0")]),
    ];
    for (name, change, variables) in changes {
        change();
        let version = |cargo: kache_testkit::Cargo| {
            project.remove("target");
            variables.iter().fold(cargo.args(["build", "--offline"]), |cargo, (name, value)| cargo.env(*name, *value)).ok();
            (run_version(&project.file("target/debug/rg")), run_help(&project.file("target/debug/rg")))
        };
        let plain = version(machine.plain(project.path()));
        for _ in 0..2 {
            assert_eq!(version(machine.cargo(&project)), plain, "{name}");
        }
        pristine.copy_to(project.path());
    }
}

fn run_help(program: &std::path::Path) -> String {
    let output = std::process::Command::new(program).arg("--help").output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Not a published program, but the same story for the sample that has everything, in release.
#[test]
#[ignore = "takes minutes"]
fn the_full_sample_in_release() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    machine.build(&project, &["build", "--workspace", "--release", "--all-targets"]);
    project.remove("target");
    machine.restores(&project, &["build", "--workspace", "--release", "--all-targets"]);
    assert_eq!(run(project.file("target/release/app")), samples::FULL_REPORT);
}
