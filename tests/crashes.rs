//! Killed daemons, killed builds, killed leaders: no failure, no wrong output, nothing left behind.

use crate::odd_invocations::archive;
use kache_testkit::{Cargo, Machine, Outputs, Project, run, samples, until};
use rustix::process::{Pid, Signal, kill_process_group};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

const ALL: [&str; 3] = ["build", "--workspace", "-j4"];

#[test]
fn a_daemon_killed_in_the_middle_of_a_build_costs_nothing_but_work() {
    for answered in [1, 4, 8] {
        let machine = Machine::new();
        let project = samples::full(machine.path("a"));
        let cargo = machine.cargo(&project).args(ALL);
        let child = cargo.spawn();
        until("some answers", Duration::from_secs(60), || (machine.stats().outcomes.all() >= answered).then_some(()));
        machine.kill();
        let built = cargo.finish(child);
        assert!(built.status.success(), "{}", built.stderr);
        assert_eq!(run(project.file("target/debug/app")), samples::FULL_REPORT);
        machine.start();
        machine.build(&project, &ALL);
        machine.cargo(&project).args(["clean"]).ok();
        machine.build(&project, &ALL);
        assert_eq!(run(project.file("target/debug/app")), samples::FULL_REPORT);
        machine.cargo(&project).args(["clean"]).ok();
        machine.restores(&project, &ALL);
        machine.is_fresh(&project, &ALL);
        let verified = machine.kache(&["verify"]);
        assert!(verified.status.success(), "{}{}", verified.stdout, verified.stderr);
    }
}

#[test]
fn what_was_stored_survives_a_kill_and_a_restart() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    machine.build(&project, &ALL);
    let first = Outputs::of(&project.file("target/debug"));
    machine.restart();
    project.remove("target");
    machine.restores(&project, &ALL);
    assert_eq!(Outputs::of(&project.file("target/debug")).difference(&first), Vec::<PathBuf>::new());
}

/// A program whose compile stops inside a macro while `HOLD` names an existing file, and says so by making `HOLD`.seen. The macro doesn't spell the
/// variable, so it doesn't count.
fn held(machine: &Machine, at: &str) -> Project {
    let project = samples::reexported_macro(machine.path(at));
    project.write(
        "mac/src/number.rs",
        "pub fn text() -> String {
    if let Some(hold) = std::env::var_os(\"H.LD\".replace('.', \"O\")).map(std::path::PathBuf::from) {
        if hold.exists() { std::fs::write(hold.with_extension(\"seen\"), \"\").unwrap(); }
        while hold.exists() { std::thread::sleep(std::time::Duration::from_millis(10)); }
    }
    1.to_string()
}\n",
    );
    project
}

fn holding(machine: &Machine, project: &Project) -> Cargo {
    machine.cargo(project).args(["build"]).env("HOLD", machine.path("hold"))
}

fn kill_build(mut child: Child) {
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process_group(group, Signal::KILL).unwrap();
    child.wait().unwrap();
}

/// Starts a build and waits until its program's compile stands still.
fn start_held(machine: &Machine, project: &Project) -> Child {
    std::fs::write(machine.path("hold"), "").unwrap();
    let child = holding(machine, project).spawn();
    until("a compile that is held", Duration::from_secs(60), || machine.path("hold.seen").exists().then_some(()));
    child
}

/// Waits until the daemon has got the question for the program of a second checkout.
fn until_asked(machine: &Machine, before: u64) {
    // mac, mid and prog; queries may or may not count.
    until("the second checkout's questions", Duration::from_secs(60), || (machine.stats().requests >= before + 3).then_some(()));
}

#[test]
fn a_killed_build_hands_its_lease_to_the_next_waiter() {
    let machine = Machine::new();
    let (first, second) = (held(&machine, "a"), held(&machine, "b"));
    let leader = start_held(&machine, &first);
    let before = machine.stats().requests;
    let cargo = holding(&machine, &second);
    let waiter = cargo.spawn();
    until_asked(&machine, before);
    kill_build(leader);
    std::fs::remove_file(machine.path("hold")).unwrap();
    let built = cargo.finish(waiter);
    assert!(built.status.success(), "{}", built.stderr);
    assert_eq!(run(second.file("target/debug/prog")), "1\n");
    machine.build(&first, &["build"]);
    assert_eq!(run(first.file("target/debug/prog")), "1\n");
    assert!(machine.kache(&["verify"]).status.success());
}

#[test]
fn nobody_waits_for_a_build_that_is_suspended() {
    let machine = Machine::new();
    let (first, second) = (held(&machine, "a"), held(&machine, "b"));
    let leader = start_held(&machine, &first);
    let group = Pid::from_raw(i32::try_from(leader.id()).unwrap()).unwrap();
    kill_process_group(group, Signal::STOP).unwrap();
    std::fs::remove_file(machine.path("hold")).unwrap();
    let built = holding(&machine, &second).limit(Duration::from_secs(60)).run();
    assert!(built.status.success(), "{}", built.stderr);
    assert_eq!(run(second.file("target/debug/prog")), "1\n");
    kill_process_group(group, Signal::CONT).unwrap();
    assert!(holding(&machine, &first).finish(leader).status.success());
    machine.settle();
    for project in [first, second] {
        project.remove("target");
        machine.restores(&project, &["build"]);
        assert_eq!(run(project.file("target/debug/prog")), "1\n");
    }
}

#[test]
fn a_waiter_gets_the_leaders_result() {
    let machine = Machine::new();
    let (first, second) = (held(&machine, "a"), held(&machine, "b"));
    let leader = start_held(&machine, &first);
    let before = machine.stats().requests;
    let waiting = holding(&machine, &second);
    let waiter = waiting.spawn();
    until_asked(&machine, before);
    std::fs::remove_file(machine.path("hold")).unwrap();
    assert!(holding(&machine, &first).finish(leader).status.success());
    assert!(waiting.finish(waiter).status.success());
    let outcomes = machine.stats().outcomes;
    assert_eq!((outcomes.miss, outcomes.hits(), outcomes.bypass, outcomes.failed), (3, 3, 0, 0), "{outcomes:?}");
    assert_eq!(run(second.file("target/debug/prog")), "1\n");
}

#[test]
fn an_interrupted_build_leaves_nothing_that_disturbs_the_next() {
    let machine = Machine::new();
    let project = held(&machine, "a");
    let mut child = start_held(&machine, &project);
    kill_process_group(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    assert!(!child.wait().unwrap().success());
    std::fs::remove_file(machine.path("hold")).unwrap();
    machine.build(&project, &["build"]);
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
    project.remove("target");
    machine.restores(&project, &["build"]);
}

#[test]
fn a_source_that_changes_while_it_is_compiled_is_not_stored() {
    let machine = Machine::new();
    let project = held(&machine, "a");
    let child = start_held(&machine, &project);
    let old = project.read("src/main.rs");
    project.append("src/main.rs", "// changed while rustc was at it\n");
    std::fs::remove_file(machine.path("hold")).unwrap();
    assert!(holding(&machine, &project).finish(child).status.success());
    for text in [old.clone() + "// changed while rustc was at it\n", old] {
        project.write("src/main.rs", &text).remove("target");
        let seen = machine.build(&project, &["build"]);
        assert_eq!((seen.hits(), seen.miss), (2, 1), "only the libraries are known");
        assert_eq!(run(project.file("target/debug/prog")), "1\n");
    }
}

#[test]
fn a_directory_that_is_swapped_while_its_sources_are_compiled_is_seen() {
    for by_link in [true, false] {
        let machine = Machine::new();
        let project = held(&machine, "a");
        project.edit(
            "src/main.rs",
            "fn main() { println!(\"{}\", ",
            "#[path = \"../gen/x.rs\"]\nmod x;\nfn main() { println!(\"{} {}\", x::N, ",
        );
        project.write("v1/x.rs", "pub const N: u8 = 1;\n").write("v2/x.rs", "pub const N: u8 = 2;\n");
        let point_at = |version: &str| match by_link {
            true => symlink(version, project.file("link")).and_then(|()| std::fs::rename(project.file("link"), project.file("gen"))),
            false => std::fs::rename(project.file(version), project.file("gen")),
        };
        point_at("v1").unwrap();
        let child = start_held(&machine, &project);
        if !by_link {
            project.rename("gen", "v1");
        }
        point_at("v2").unwrap();
        std::fs::remove_file(machine.path("hold")).unwrap();
        assert!(holding(&machine, &project).finish(child).status.success());
        project.remove("target");
        machine.build(&project, &["build"]);
        assert_eq!(run(project.file("target/debug/prog")), "2 1\n", "by link: {by_link}");
    }
}

#[test]
fn what_appears_beside_sources_while_they_are_compiled_does_not_matter() {
    let machine = Machine::new();
    let project = held(&machine, "a");
    let child = start_held(&machine, &project);
    // As editors save: beside, then by rename.
    project.write("src/.other.rs.swp", "").write("notes/today.md", "").rename("src/.other.rs.swp", "src/other.rs");
    project.write("Makefile.new", "").rename("Makefile.new", "Makefile");
    std::fs::remove_file(machine.path("hold")).unwrap();
    assert!(holding(&machine, &project).finish(child).status.success());
    machine.settle();
    project.remove("target");
    machine.restores(&project, &["build"]);
}

#[test]
fn a_native_library_that_changes_while_its_user_is_compiled_is_not_stored() {
    let machine = Machine::new();
    let project = held(&machine, "a");
    project.edit(
        "src/main.rs",
        "fn main() { println!(\"{}\", ",
        "unsafe extern \"C\" { fn number() -> i32; }\nfn main() { println!(\"{} {}\", unsafe { number() }, ",
    );
    let dir = project.file("native");
    let script =
        format!("println!(\"cargo::rustc-link-search=native={}\"); println!(\"cargo::rustc-link-lib=static=number\");", dir.display());
    project.write("build.rs", format!("fn main() {{ println!(\"cargo::rerun-if-changed=build.rs\"); {script} }}\n"));
    archive(&machine, &dir, 1);
    let child = start_held(&machine, &project);
    archive(&machine, &dir, 2);
    std::fs::remove_file(machine.path("hold")).unwrap();
    assert!(holding(&machine, &project).finish(child).status.success());
    for number in [1, 2] {
        archive(&machine, &dir, number);
        project.remove("target");
        machine.build(&project, &["build"]);
        assert_eq!(run(project.file("target/debug/prog")), format!("{number} 1\n"));
    }
}

#[test]
fn a_daemon_stopped_during_a_compile_ends_well_and_so_does_the_build() {
    let machine = Machine::new();
    let project = held(&machine, "a");
    let child = start_held(&machine, &project);
    let cargo = holding(&machine, &project);
    let releaser = std::thread::spawn({
        let hold = machine.path("hold");
        let socket = machine.socket();
        move || {
            until("the daemon stops listening", Duration::from_secs(20), || {
                kache_testkit::http_get(&socket, "/healthz").is_err().then_some(())
            });
            std::fs::remove_file(hold).unwrap();
        }
    });
    assert_eq!(machine.stop().code(), Some(0));
    releaser.join().unwrap();
    assert!(cargo.finish(child).status.success());
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
}
