//! Paths of every kind: spaces, letters beyond ASCII, quotes, symlinks, bytes that are no text.

use kache_testkit::{Machine, Outputs, Project, run, samples};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

const ALL: [&str; 2] = ["build", "--workspace"];

#[test]
fn odd_names_share_with_ordinary_ones() {
    let machine = Machine::new();
    let project = samples::full(machine.path("plain"));
    let cold = machine.build(&project, &ALL);
    let first = Outputs::of(&project.file("target/debug"));
    for name in ["with space", "ünïcødé 日本", "quote's", "a=b", "brackets[1]{2}", "per%20cent", "comma,dot..", "-dash", "#hash"] {
        let odd = project.copy_to(machine.path("odd").join(name));
        let seen = machine.build(&odd, &ALL);
        assert_eq!((seen.failed, seen.bypass), (0, 0), "{name}: {:?}", machine.stats().bypass_reasons);
        assert_eq!(seen.hits(), cold.miss, "{name}");
        assert_eq!(Outputs::of(&odd.file("target/debug")).difference(&first), Vec::<PathBuf>::new(), "{name}");
        assert_eq!(run(odd.file("target/debug/app")), samples::FULL_REPORT, "{name}");
        machine.is_fresh(&odd, &ALL);
    }
}

#[test]
fn a_checkout_reached_through_a_symlink_shares() {
    let machine = Machine::new();
    let project = samples::full(machine.path("real/a"));
    machine.build(&project, &ALL);
    let other = project.copy_to(machine.path("real/b"));
    symlink(other.path(), machine.path("link")).unwrap();
    let linked = Project::at(machine.path("link"));
    machine.restores(&linked, &ALL);
    machine.is_fresh(&linked, &ALL);
    assert_eq!(run(linked.file("target/debug/app")), samples::FULL_REPORT);
    machine.is_fresh(&other, &ALL);
}

#[test]
fn built_through_a_symlink_is_good_elsewhere() {
    let machine = Machine::new();
    std::fs::create_dir(machine.path("real")).unwrap();
    symlink(machine.path("real"), machine.path("link")).unwrap();
    let project = samples::full(machine.path("link/a"));
    machine.build(&project, &ALL);
    let other = project.copy_to(machine.path("elsewhere"));
    machine.restores(&other, &ALL);
    assert_eq!(run(other.file("target/debug/app")), samples::FULL_REPORT);
}

#[test]
fn a_symlinked_target_directory_works() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    std::fs::create_dir(machine.path("outputs")).unwrap();
    symlink(machine.path("outputs"), project.file("target")).unwrap();
    let cold = machine.build(&project, &ALL);
    assert_eq!(cold.bypass, 0);
    std::fs::remove_dir_all(machine.path("outputs")).unwrap();
    std::fs::create_dir(machine.path("outputs")).unwrap();
    machine.restores(&project, &ALL);
    machine.is_fresh(&project, &ALL);
    let other = samples::full(machine.path("b"));
    machine.restores(&other, &ALL);
}

#[test]
fn a_target_directory_from_the_environment_and_a_build_directory_of_its_own_work() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    let cold = machine.build(&project, &ALL);
    for (name, value) in [("CARGO_TARGET_DIR", "../out/t"), ("CARGO_BUILD_BUILD_DIR", "../out/b")] {
        let cargo = machine.cargo(&project).args(ALL).env(name, value);
        let (_, seen) = machine.watch(|| cargo.ok());
        assert_eq!((seen.hits(), seen.compiled()), (cold.miss, 0), "{name}");
        let (_, again) = machine.watch(|| cargo.ok());
        assert_eq!(again.all(), 0, "{name}");
        project.remove("target");
    }
}

#[test]
fn a_path_that_is_no_text_does_what_plain_cargo_does() {
    let machine = Machine::new();
    let name = OsStr::from_bytes(b"not-\xff-text");
    let project = samples::pair(machine.path("odd").join(name));
    let plain = machine.plain(project.path()).args(["build"]).run();
    project.remove("target");
    let built = machine.cargo(&project).args(["build"]).run();
    assert_eq!(built.status.success(), plain.status.success(), "{}\n{}", plain.stderr, built.stderr);
    if plain.status.success() {
        assert_eq!(run(project.file("target/debug/prog")), "1\n");
    }
}

#[test]
fn a_target_directory_that_is_no_text_does_what_plain_cargo_does() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    let target = machine.path("odd").join(OsStr::from_bytes(b"t-\xff"));
    let plain = machine.plain(project.path()).args(["build"]).target(&target).run();
    let _ = std::fs::remove_dir_all(&target);
    let built = machine.cargo(&project).args(["build"]).target(&target).run();
    assert_eq!(built.status.success(), plain.status.success(), "{}\n{}", plain.stderr, built.stderr);
}

#[test]
fn a_dependency_outside_the_workspace_is_built_right_in_every_checkout() {
    let machine = Machine::new();
    for at in ["one", "two"] {
        let project = samples::pair(machine.path(at).join("main"));
        project.rename("below", "../outside");
        project.edit("Cargo.toml", "path = \"below\"", "path = \"../outside\"").edit("Cargo.toml", "members = [\"below\"]", "");
        let text = format!("{{ \"{at}\" }}");
        Project::at(machine.path(at).join("outside")).edit("src/lib.rs", "u32 { 1 }", &format!("&'static str {text}"));
        machine.build(&project, &["build"]);
        assert_eq!(run(project.file("target/debug/prog")), format!("{at}\n"));
        project.remove("target");
        machine.restores(&project, &["build"]);
    }
}

#[test]
fn sibling_directories_whose_names_begin_alike_are_kept_apart() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("work"));
    project.write("below/src/lib.rs", format!("pub fn value() -> &'static str {{ \"{}\" }}\n", machine.path("workspace/x").display()));
    machine.build(&project, &["build"]);
    assert_eq!(run(project.file("target/debug/prog")), format!("{}\n", machine.path("workspace/x").display()));
    // The artifact is bound all the same: in a binary, string constants lie side by side, so a name that goes on behind a root can't be told from
    // the root followed by another constant.
    let other = project.copy_to(machine.path("other"));
    machine.build(&other, &["build"]);
    assert_eq!(run(other.file("target/debug/prog")), run(project.file("target/debug/prog")));
}
