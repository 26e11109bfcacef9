//! After a restored build Cargo finds everything fresh: here, in other checkouts, and for cargo without kache.

use kache_testkit::{Machine, run, samples};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

const ALL: [&str; 2] = ["build", "--workspace"];

#[test]
fn restoring_in_one_checkout_leaves_the_others_fresh() {
    for args in [&ALL[..], &["check", "--workspace"]] {
        let machine = Machine::new();
        let project = samples::full(machine.path("a"));
        machine.build(&project, args);
        let second = project.copy_to(machine.path("b"));
        machine.restores(&second, args);
        let third = project.copy_to(machine.path("c"));
        // Chosen alone, a proc macro and its dependents are other units for Cargo, so this one may compile.
        machine.build(&third, &[args[0], "-p", "kernel"]);
        for checkout in [&project, &second] {
            machine.is_fresh(checkout, args);
        }
        machine.build(&third, args);
        for checkout in [&project, &second, &third] {
            machine.is_fresh(checkout, args);
        }
    }
}

#[test]
fn touching_a_file_asks_again_and_hits() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    machine.build(&project, &ALL);
    project.touch("kernel/src/inner.rs");
    assert_eq!(machine.restores(&project, &ALL), 3, "kernel, app and plugin");
    machine.is_fresh(&project, &ALL);
}

#[test]
fn what_stands_already_is_stamped_and_what_was_written_to_is_replaced() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    machine.build(&project, &ALL);
    project.remove("target");
    machine.restores(&project, &ALL);
    let find = |end: &str| {
        let entries = fs::read_dir(project.file("target/debug/deps")).unwrap().map(|entry| entry.unwrap().path());
        let named = |path: &PathBuf| path.to_str().is_some_and(|name| name.contains("kernel-") && name.ends_with(end));
        entries.into_iter().find(named).unwrap()
    };
    for path in [find(".rmeta"), find(".d")] {
        let (bytes, before) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap());
        project.touch("kernel/src/inner.rs");
        machine.restores(&project, &ALL);
        let after = fs::metadata(&path).unwrap();
        assert_eq!(after.ino(), before.ino(), "{}", path.display());
        assert!(after.modified().unwrap() > before.modified().unwrap(), "{}", path.display());
        machine.is_fresh(&project, &ALL);

        fs::write(&path, vec![b'x'; bytes.len()]).unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(after.modified().unwrap()).unwrap();
        project.touch("kernel/src/inner.rs");
        machine.restores(&project, &ALL);
        assert!(fs::read(&path).unwrap() == bytes, "{}", path.display());
        machine.is_fresh(&project, &ALL);
    }
}

#[test]
fn plain_cargo_finds_a_restored_target_directory_fresh() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    machine.build(&project, &ALL);
    project.remove("target");
    machine.restores(&project, &ALL);
    assert_eq!(machine.plain(project.path()).args(ALL).json().rebuilt(), Vec::<String>::new());
}

#[test]
fn kache_finds_what_plain_cargo_built_fresh() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    machine.plain(project.path()).args(ALL).ok();
    machine.is_fresh(&project, &ALL);
}

#[test]
fn plain_cargo_between_two_builds_through_kache_does_not_mislead_it() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    project.edit("below/src/lib.rs", "{ 1 }", "{ 2 }");
    machine.plain(project.path()).args(["build"]).ok();
    project.append("src/main.rs", "// another main\n");
    machine.build(&project, &["build"]);
    assert_eq!(run(project.file("target/debug/prog")), "2\n");
    project.edit("below/src/lib.rs", "{ 2 }", "{ 1 }");
    machine.build(&project, &["build"]);
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
    project.remove("target");
    machine.build(&project, &["build"]);
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
}

#[test]
fn a_cleaned_package_comes_back() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    machine.build(&project, &ALL);
    for package in ["kernel", "macros", "app", "itoa"] {
        machine.cargo(&project).args(["clean", "-p", package]).ok();
        machine.restores(&project, &ALL);
        machine.is_fresh(&project, &ALL);
        assert_eq!(run(project.file("target/debug/app")), samples::FULL_REPORT);
    }
}

#[test]
fn fix_works_on_a_restored_target_directory() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    project.append("src/main.rs", "#[allow(dead_code)]\nfn unused() { let mut x = 1; println!(\"{x}\"); }\n");
    machine.build(&project, &["check"]);
    project.remove("target");
    machine.restores(&project, &["check"]);
    machine.cargo(&project).args(["fix", "--allow-no-vcs", "--bin", "prog"]).ok();
    assert!(project.read("src/main.rs").contains("let x = 1"));
    machine.build(&project, &["build"]);
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
}

#[test]
fn warnings_are_replayed_by_a_fresh_build_after_a_restored_one() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    project.append("below/src/lib.rs", "fn never_called() {}\n");
    machine.build(&project, &["build"]);
    project.remove("target");
    machine.restores(&project, &["build"]);
    let built = machine.cargo(&project).args(["build"]).ok();
    assert!(built.stderr.contains("never_called"), "{}", built.stderr);
}
