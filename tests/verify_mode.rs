//! `KACHE_VERIFY`: on a hit rustc runs as well, its own result is used, and both are compared.

use crate::team::{flush, member};
use kache_testkit::{Built, Machine, Outputs, Project, S3Server, run, samples};
use std::path::PathBuf;

#[test]
fn verified_builds_succeed_and_find_nothing() {
    for mode in ["always", "sampled"] {
        let machine = Machine::new();
        let project = samples::full(machine.path("a"));
        let args = ["build", "--workspace", "--config", "profile.dev.incremental=false"];
        machine.build(&project, &args);
        let first = Outputs::of(&project.file("target/debug"));
        for checkout in [project.clone(), project.copy_to(machine.path("b"))] {
            checkout.remove("target");
            machine.cargo(&checkout).args(args).env("KACHE_VERIFY", mode).ok();
            assert_eq!(
                Outputs::of(&checkout.file("target/debug")).difference(&first),
                Vec::<PathBuf>::new(),
                "{mode} in {}",
                checkout.path().display()
            );
            assert_eq!(run(checkout.file("target/debug/app")), samples::FULL_REPORT);
        }
        machine.is_fresh(&project, &args);
    }
}

/// `cargo build` below `kache exec --verify`, into a target directory.
fn verified(machine: &Machine, project: &Project, target: &str, incremental: &str) -> Built {
    let command = ["exec", "--verify", "--", "cargo", "build", "--workspace"];
    machine.kache_in(project.path()).args(command).target(target).env("CARGO_INCREMENTAL", incremental).run()
}

#[test]
fn nothing_is_found_in_what_is_right_incremental_or_not() {
    for incremental in ["1", "0"] {
        let machine = Machine::new();
        let project = samples::full(machine.path("a"));
        project.append("kernel/src/lib.rs", "\nfn nobody_calls_it() {}\n");
        machine.cargo(&project).args(["build", "--workspace"]).target("t1").env("CARGO_INCREMENTAL", incremental).ok();
        machine.settle();
        // From scratch, then with an edit that comes and goes: sessions that go on.
        let built = verified(&machine, &project, "t2", incremental);
        assert_eq!(built.status.code(), Some(0), "{}\n{}", built.stderr, machine.log());
        assert!(built.stderr.contains("verified (0 differed)"), "{}", built.stderr);
        let kept = project.read("kernel/src/lib.rs");
        project.append("kernel/src/lib.rs", "pub fn more() -> u32 { 1 }\n");
        verified(&machine, &project, "t2", incremental);
        machine.settle();
        project.write("kernel/src/lib.rs", &kept);
        let built = verified(&machine, &project, "t2", incremental);
        assert_eq!(built.status.code(), Some(0), "{}\n{}", built.stderr, machine.log());
        assert_eq!(run(project.file("t2/debug/app")), samples::FULL_REPORT);
    }
}

/// A macro that is never the same twice stands for everything that a key may lack.
#[test]
fn what_differs_is_named_and_goes_and_rustcs_result_takes_its_place() {
    for incremental in ["1", "0"] {
        let machine = Machine::new();
        let project = samples::reexported_macro(machine.path("a"));
        project.write("mac/src/number.rs", "pub fn text() -> String { std::process::id().to_string() }\n");
        let build = |target: &str| {
            machine.cargo(&project).args(["build"]).target(target).env("CARGO_INCREMENTAL", incremental).ok();
            machine.settle();
            run(project.file(target).join("debug/prog"))
        };
        let first = build("t1");
        assert_eq!(build("t2"), first, "restored, though rustc would make another");
        let built = verified(&machine, &project, "t3", incremental);
        assert_eq!(built.status.code(), Some(5), "{}\n{}", built.stderr, machine.log());
        machine.settle();
        let second = run(project.file("t3/debug/prog"));
        assert_ne!(second, first, "the build got rustc's own");
        let named = "1 of 3 verified hits differed and were replaced: prog";
        for said in [built.stderr, machine.kache(&["status"]).stdout, machine.kache(&["doctor"]).stdout] {
            assert!(said.contains(named), "incremental {incremental}: {said}");
        }
        assert_eq!(build("t4"), second, "and so does everybody after it");
    }
}

#[test]
fn a_library_is_compared_by_its_members() {
    let machine = Machine::new();
    let project = samples::reexported_macro(machine.path("a"));
    // The macro's value is in the code of a function alone; the library's interface doesn't tell.
    project.write("mac/src/number.rs", "pub fn text() -> String { std::process::id().to_string() }\n");
    project.append("mid/src/lib.rs", "\npub fn made() -> u32 { mac::number!() }\n");
    machine.cargo(&project).args(["build"]).target("t1").env("CARGO_INCREMENTAL", "1").ok();
    machine.settle();
    let built = verified(&machine, &project, "t2", "1");
    assert_eq!(built.status.code(), Some(5), "{}\n{}", built.stderr, machine.log());
    assert!(built.stderr.contains("mid"), "{}", built.stderr);
}

#[test]
fn a_verification_that_could_not_be_made_is_no_success() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    let status =
        |words: &[&str]| machine.kache_in(project.path()).args(["exec", "--verify", "--"]).args(words.iter().copied()).run().status;
    assert_eq!(status(&["false"]).code(), Some(1), "the command's own failure");
    let without = machine.kache_in(project.path()).args(["exec", "--verify", "--", "true"]).env("KACHE_DISABLED", "1").run();
    assert_eq!(without.status.code(), Some(3), "{}", without.stderr);
}

#[test]
fn what_differs_is_replaced_in_the_bucket_too() {
    let server = S3Server::start();
    let machine = member(&server, S3Server::OWNER, &[]);
    machine.start();
    let project = samples::reexported_macro(machine.path("a"));
    project.write("mac/src/number.rs", "pub fn text() -> String { std::process::id().to_string() }\n");
    let build = |machine: &Machine, project: &Project, target: &str| {
        machine.cargo(project).args(["build"]).target(target).env("CARGO_INCREMENTAL", "0").ok();
        machine.settle();
        flush(machine);
        run(project.file(target).join("debug/prog"))
    };
    let first = build(&machine, &project, "t1");
    assert_eq!(verified(&machine, &project, "t2", "0").status.code(), Some(5));
    machine.settle();
    flush(&machine);
    let second = run(project.file("t2/debug/prog"));
    assert_ne!(second, first);
    let other = member(&server, S3Server::OWNER, &[]);
    other.start();
    assert_eq!(build(&other, &project.copy_to(other.path("b")), "new"), second);
}
