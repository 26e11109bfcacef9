//! Libraries that the cache didn't make: by plain cargo, by another wrapper, from a target directory that came from elsewhere, or from a store
//! that is gone. What lies over them is cached, on this machine, and is what plain cargo would make.

use crate::team::{flush, member};
use kache_testkit::{Cargo, Machine, Outcomes, Project, S3Server, run, samples};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Prints what each part of it was made from.
fn subject(machine: &Machine, name: &str) -> Project {
    let root = samples::package("prog", "[dependencies]\nmid = { path = \"mid\" }\n[workspace]\nmembers = [\"low\", \"mac\", \"mid\"]\n");
    let mid = samples::package("mid", "[dependencies]\nlow = { path = \"../low\" }\nmac = { path = \"../mac\" }\n");
    Project::with(
        machine.path(name),
        &[
            ("Cargo.toml", root.as_str()),
            // An incremental compile leaves the metadata's time as it was if it didn't change: Cargo then finds what lies above it fresh.
            (INCREMENTAL, "[build]\nincremental = false\n"),
            ("src/main.rs", "fn main() { println!(\"{} {} {}\", \"main\", mid::text(), mid::number!()); }\n"),
            ("mid/Cargo.toml", mid.as_str()),
            ("mid/src/lib.rs", "pub use mac::number;\npub fn text() -> String { format!(\"mid {}\", low::text()) }\n"),
            ("low/Cargo.toml", &samples::package("low", "build = \"build.rs\"\n")),
            ("low/build.rs", NATIVE),
            ("low/value.c", "int low_value(void) { return 1; }\n"),
            ("low/src/lib.rs", LOW),
            ("mac/Cargo.toml", &samples::package("mac", "[lib]\nproc-macro = true\n")),
            ("mac/src/lib.rs", MACRO),
        ],
    )
}

const INCREMENTAL: &str = ".cargo/config.toml";

const NATIVE: &str = r#"use std::{env, process::Command};
fn main() {
    let out = env::var("OUT_DIR").unwrap();
    let run = |program: &str, args: &[&str]| assert!(Command::new(program).args(args).status().unwrap().success());
    run("cc", &["-c", "-o", &format!("{out}/value.o"), "value.c"]);
    run("ar", &["rcsD", &format!("{out}/libvalue.a"), &format!("{out}/value.o")]);
    println!("cargo:rustc-link-search=native={out}");
    println!("cargo:rustc-link-lib=static=value");
    println!("cargo:rerun-if-changed=value.c");
}
"#;

const LOW: &str = r#"unsafe extern "C" { fn low_value() -> i32; }
pub fn text() -> String { format!("low {}", unsafe { low_value() }) }
"#;

const MACRO: &str = r#"const NUMBER: u32 = 1;
#[proc_macro]
pub fn number(_: proc_macro::TokenStream) -> proc_macro::TokenStream { NUMBER.to_string().parse().unwrap() }
"#;

fn through(machine: &Machine, project: &Project) -> Cargo {
    machine.cargo(project).args(["build"])
}

fn plain(machine: &Machine, project: &Project) -> Cargo {
    machine.plain(project.path()).args(["build"])
}

/// Builds through the cache. Nothing is declined, and the program says what plain cargo's says from scratch.
#[track_caller]
fn build(machine: &Machine, project: &Project, target: &Path) -> Outcomes {
    let (_, seen) = machine.watch(|| through(machine, project).target(target).ok());
    machine.settle();
    let oracle = machine.path("oracle");
    let _ = fs::remove_dir_all(&oracle);
    plain(machine, project).target(&oracle).ok();
    assert_eq!(run(target.join("debug/prog")), run(oracle.join("debug/prog")));
    assert_eq!((seen.bypass, seen.failed), (0, 0), "{:?}\n{}", machine.stats().bypass_reasons, machine.log());
    let (_, again) = machine.watch(|| through(machine, project).target(target).ok());
    assert_eq!(again.all(), 0, "fresh");
    seen
}

/// An edit is compiled, a second one too; the first one undone is found.
#[track_caller]
fn edits_are_cached(machine: &Machine, project: &Project, target: &Path) {
    let says = |word: &str| project.write("mid/src/lib.rs", project.read("mid/src/lib.rs").replace("mid ", &format!("{word} mid ")));
    let before = project.read("mid/src/lib.rs");
    says("one");
    let seen = build(machine, project, target);
    assert_eq!((seen.miss, seen.hits()), (2, 0));
    let one = project.read("mid/src/lib.rs");
    says("two");
    assert_eq!(build(machine, project, target).miss, 2);
    project.write("mid/src/lib.rs", one);
    let undone = build(machine, project, target);
    assert_eq!((undone.miss, undone.hits()), (0, 2));
    project.write("mid/src/lib.rs", before);
}

#[test]
fn a_target_directory_of_plain_cargo_is_built_upon() {
    let machine = Machine::new();
    let project = subject(&machine, "a");
    project.remove(INCREMENTAL);
    plain(&machine, &project).ok();
    edits_are_cached(&machine, &project, &project.file("target"));
    // After the daemon has forgotten what it knew.
    machine.restart();
    project.edit("src/main.rs", "\"main\"", "\"other main\"");
    assert_eq!(build(&machine, &project, &project.file("target")).compiled(), 2, "mid as it was first, and the program");
}

#[test]
fn a_target_directory_that_was_copied_is_built_upon() {
    let machine = Machine::new();
    let project = subject(&machine, "a");
    plain(&machine, &project).target(machine.path("packed")).ok();
    let target = machine.path("somewhere/else");
    fs::create_dir_all(machine.path("somewhere")).unwrap();
    machine.plain(project.path()).program("cp").args(["-a".as_ref(), machine.path("packed").as_os_str(), target.as_os_str()]).ok();
    edits_are_cached(&machine, &project, &target);
}

#[test]
fn a_target_directory_outlives_the_store() {
    let machine = Machine::new();
    let project = subject(&machine, "a");
    build(&machine, &project, &project.file("target"));
    assert!(machine.kache(&["purge", "--yes"]).status.success());
    edits_are_cached(&machine, &project, &project.file("target"));
    machine.stop();
    fs::remove_dir_all(machine.cache_dir()).unwrap();
    machine.start();
    edits_are_cached(&machine, &project, &project.file("target"));
}

/// rust-analyzer runs `cargo check` with a wrapper of its own, which makes the macros.
#[test]
fn macros_that_another_wrapper_made_are_inputs_like_others() {
    let machine = Machine::new();
    let project = subject(&machine, "a");
    let wrapper = machine.path("other-wrapper");
    fs::write(&wrapper, "#!/bin/sh\nexec \"$@\"\n").unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let target = project.file("target");
    let other = |package: &str| plain(&machine, &project).env("RUSTC_WRAPPER", &wrapper).args(["-p", package]).ok();
    machine.plain(project.path()).args(["check"]).env("RUSTC_WRAPPER", &wrapper).ok();
    // What links is made through the cache, over the macro and the build script that are there.
    assert_eq!(build(&machine, &project, &target).miss, 3);
    for (from, to, found) in [("= 1", "= 2", 0), ("= 2", "= 1", 0), ("= 1", "= 2", 1), ("= 2", "= 1", 1)] {
        project.edit("mac/src/lib.rs", from, to);
        other("mid");
        let seen = build(&machine, &project, &target);
        assert_eq!((seen.hits(), seen.miss), (found, 1 - found), "{to}");
    }
}

/// The metadata stays the same. A bundled archive is in the library's code, also when a CI cache has left the archive itself out; another one is
/// read by what links.
#[test]
fn code_that_plain_cargo_replaced_below_is_linked() {
    let machine = Machine::new();
    for (name, kind, pruned) in
        [("bundled", "static=value", false), ("pruned", "static=value", true), ("beside", "static:-bundle=value", false)]
    {
        let project = subject(&machine, name);
        project.edit("low/build.rs", "static=value", kind);
        let target = project.file("target");
        plain(&machine, &project).ok();
        project.edit("src/main.rs", "\"main\"", "\"my main\"");
        build(&machine, &project, &target);
        let replace = |from: &str, to: &str| {
            project.edit("low/value.c", from, to);
            plain(&machine, &project).args(["-p", "low"]).ok();
            let scripts = fs::read_dir(target.join("debug/build")).unwrap().flatten();
            scripts.filter(|_| pruned).for_each(|script| drop(fs::remove_file(script.path().join("out/libvalue.a"))));
        };
        replace("return 1", "return 2");
        build(&machine, &project, &target);
        assert!(run(target.join("debug/prog")).contains("low 2"), "{name}");
        replace("return 2", "return 3");
        build(&machine, &project, &target);
        replace("return 3", "return 2");
        let seen = build(&machine, &project, &target);
        assert_eq!((seen.miss, seen.hits()), (0, 2), "{name}");
        // Through the cache again: known from here on.
        project.edit("low/value.c", "return 2", "return 4");
        build(&machine, &project, &target);
    }
}

#[test]
fn a_crate_that_plain_cargo_replaced_far_below_counts() {
    let machine = Machine::new();
    let project = subject(&machine, "a");
    let target = project.file("target");
    build(&machine, &project, &target);
    project.edit("low/src/lib.rs", "low {}", "LOW {}");
    plain(&machine, &project).args(["-p", "low"]).ok();
    build(&machine, &project, &target);
    assert!(run(target.join("debug/prog")).contains("LOW 1"));
    project.edit("low/src/lib.rs", "LOW {}", "low {}");
    plain(&machine, &project).args(["-p", "low", "-p", "mid"]).ok();
    build(&machine, &project, &target);
    assert!(run(target.join("debug/prog")).contains("low 1"));
}

#[test]
fn what_other_builds_left_beside_changes_nothing() {
    let machine = Machine::new();
    let project = subject(&machine, "a");
    let target = project.file("target");
    plain(&machine, &project).ok();
    project.edit("src/main.rs", "\"main\"", "\"one\"");
    build(&machine, &project, &target);
    // The same crates under other hashes.
    for flag in ["-Cdebug-assertions=off", "-Coverflow-checks=off"] {
        plain(&machine, &project).env("RUSTFLAGS", flag).ok();
    }
    plain(&machine, &project).ok();
    project.edit("src/main.rs", "\"one\"", "\"two\"");
    assert_eq!(build(&machine, &project, &target).miss, 1);
    project.edit("src/main.rs", "\"two\"", "\"one\"");
    assert_eq!(build(&machine, &project, &target).hits(), 1);
}

#[test]
fn a_declined_dependency_declines_nothing_above_it() {
    let machine = Machine::idle();
    fs::write(machine.config(), "[rules.low]\nbypass = true\n").unwrap();
    machine.start();
    let project = subject(&machine, "a");
    let build = |expected: (u64, u64, u64)| {
        let (_, seen) = machine.watch(|| through(&machine, &project).ok());
        machine.settle();
        assert_eq!((seen.bypass, seen.miss, seen.hits()), expected);
        assert_eq!(run(project.file("target/debug/prog")), "main mid low 1 1\n");
    };
    // The declined crate, and its build script.
    build((2, 3, 0));
    project.remove("target");
    build((2, 0, 3));
}

#[test]
fn what_lies_over_foreign_libraries_stays_on_this_machine() {
    let server = S3Server::start();
    let machine = member(&server, S3Server::OWNER, &[]);
    machine.start();
    let project = subject(&machine, "a");
    plain(&machine, &project).ok();
    project.edit("mid/src/lib.rs", "mid ", "my mid ");
    let (_, seen) = machine.watch(|| through(&machine, &project).ok());
    assert_eq!(seen.miss, 2);
    flush(&machine);
    let objects = server.keys();
    assert!(!objects.iter().any(|key| key.ends_with(".tar.zst") || key.contains("/_inputs/")), "{objects:?}");
    let listed = machine.kache(&["list", "--json"]).stdout;
    assert!(listed.contains("\"shareable\"") && !listed.replace(": ", ":").contains("\"shareable\":true"), "{listed}");
}
