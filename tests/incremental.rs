//! Incremental compilation stays as Cargo wants it, and an old `.rmeta` that rustc re-links from a session never makes a stale binary.

use kache_testkit::{Machine, Project, disguised, run, samples, until};
use std::time::Duration;

fn with_incremental(machine: &Machine, project: &Project, args: &[&str]) -> kache_testkit::Outcomes {
    let cargo = machine.cargo(project).args(args.iter().copied()).env("CARGO_INCREMENTAL", "1");
    machine.watch(|| cargo.ok()).1
}

#[test]
fn a_session_continued_after_a_hit_gives_no_stale_binary() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    let other = samples::pair(machine.path("b"));
    other.edit("below/src/lib.rs", "{ 1 }", "{ 2 }");
    with_incremental(&machine, &other, &["build"]);

    with_incremental(&machine, &project, &["build"]);
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
    project.edit("below/src/lib.rs", "{ 1 }", "{ 2 }");
    let second = with_incremental(&machine, &project, &["build"]);
    assert_eq!(second.compiled(), 0, "v2 is a hit");
    assert_eq!(run(project.file("target/debug/prog")), "2\n");
    project.edit("below/src/lib.rs", "{ 2 }", "{ 1 }").append("below/src/lib.rs", "// the session's own v1, with a comment\n");
    let third = with_incremental(&machine, &project, &["build", "-p", "below"]);
    assert_eq!(third.miss, 1, "v1 with a comment is a miss");
    with_incremental(&machine, &project, &["build"]);
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
    assert_eq!(with_incremental(&machine, &project, &["build"]).all(), 0);
}

#[test]
fn incremental_directories_are_used_on_a_miss() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    with_incremental(&machine, &project, &["build"]);
    let sessions = std::fs::read_dir(project.file("target/debug/incremental")).unwrap().count();
    assert!(sessions >= 2, "{sessions} incremental directories");
}

#[test]
fn incremental_on_and_off_each_hit_their_own() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    for value in ["0", "1"] {
        let cargo = machine.cargo(&project).args(["build"]).env("CARGO_INCREMENTAL", value);
        cargo.ok();
        project.remove("target");
        let (_, seen) = machine.watch(|| cargo.ok());
        assert_eq!((seen.compiled(), seen.hits()), (0, 2), "CARGO_INCREMENTAL={value}");
        assert_eq!(run(project.file("target/debug/prog")), "1\n");
    }
}

#[test]
fn a_long_edit_loop_always_gives_the_current_answer() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    let mut current = 1;
    for next in [2, 1, 3, 2, 4, 1, 3] {
        project.edit("below/src/lib.rs", &format!("{{ {current} }}"), &format!("{{ {next} }}"));
        let only_below = next % 2 == 0;
        if only_below {
            with_incremental(&machine, &project, &["build", "-p", "below"]);
        }
        with_incremental(&machine, &project, &["build"]);
        assert_eq!(run(project.file("target/debug/prog")), format!("{next}\n"));
        current = next;
    }
}

/// A program above `middle` above `below`, which bundles an archive that its build script makes of `number.c`. Nothing of the archive shows
/// in the metadata of `below`.
fn with_archive(machine: &Machine) -> Project {
    let depends = |name: &str, on: &str| samples::package(name, &format!("[dependencies]\n{on} = {{ path = \"../{on}\" }}\n"));
    Project::with(
        machine.path("a"),
        &[
            ("Cargo.toml", "[workspace]\nmembers = [\"below\", \"middle\", \"prog\"]\nresolver = \"3\"\n"),
            ("below/Cargo.toml", &samples::package("below", "")),
            ("below/number.c", "int number(void) { return 1; }\n"),
            (
                "below/build.rs",
                r#"fn main() {
    let script = "cc -c number.c -o \"$OUT_DIR/n.o\" && ar crsD \"$OUT_DIR/libnumber.a\" \"$OUT_DIR/n.o\"";
    assert!(std::process::Command::new("sh").args(["-c", script]).status().unwrap().success());
    println!("cargo::rerun-if-changed=number.c");
    println!("cargo::rustc-link-search=native={}", std::env::var("OUT_DIR").unwrap());
    println!("cargo::rustc-link-lib=static=number");
}
"#,
            ),
            (
                "below/src/lib.rs",
                "mod c { unsafe extern \"C\" { pub fn number() -> i32; } }\npub fn value() -> i32 { unsafe { c::number() } }\n",
            ),
            ("middle/Cargo.toml", &depends("middle", "below")),
            ("middle/src/lib.rs", "pub fn value() -> i32 { below::value() }\n"),
            ("prog/Cargo.toml", &depends("prog", "middle")),
            ("prog/src/main.rs", "fn main() { println!(\"{}\", middle::value()); }\n"),
        ],
    )
}

/// A rustc whose compile of `below` ends only when `hold` is gone; a compile of `middle` that begins before leaves `hold.seen`.
fn holding_rustc(machine: &Machine) -> Project {
    let real = machine.plain(&machine.home()).program("rustup").args(["which", "rustc"]).ok().stdout;
    let script = format!(
        r#"#!/bin/sh
case " $* " in *" --crate-name middle "*) [ ! -e {hold} ] || : > {hold}.seen ;; esac
{real} "$@"
status=$?
case " $* " in *" --crate-name below "*) while [ -e {hold} ]; do sleep 0.01; done ;; esac
exit $status
"#,
        hold = machine.path("hold").display(),
        real = real.trim()
    );
    let bin = Project::with(machine.path("bin"), &[]);
    disguised(&bin.file("rustc"), &script);
    bin
}

#[test]
fn dependents_of_a_library_that_is_still_compiled_are_those_of_the_new_one() {
    let machine = Machine::new();
    let (project, bin, hold) = (with_archive(&machine), holding_rustc(&machine), machine.path("hold"));
    let cargo = machine.cargo(&project).args(["build"]).env("CARGO_INCREMENTAL", "1").env("RUSTC", bin.file("rustc"));
    let (_, first) = machine.watch(|| cargo.ok());
    machine.settle();
    assert_eq!((first.miss, first.bypass), (4, 0), "{:?}", machine.stats().bypass_reasons);
    assert_eq!(run(project.file("target/debug/prog")), "1\n");

    project.edit("below/number.c", "return 1", "return 2");
    std::fs::write(&hold, "").unwrap();
    let before = machine.stats().outcomes;
    let child = cargo.spawn();
    until("an answer for the dependent", Duration::from_secs(60), || {
        (machine.path("hold.seen").exists() || machine.stats().outcomes.since(&before).hits() > 0).then_some(())
    });
    std::fs::remove_file(&hold).unwrap();
    let built = cargo.finish(child);
    assert!(built.status.success(), "{}", built.stderr);
    assert_eq!(run(project.file("target/debug/prog")), "2\n");
    assert_eq!(machine.watch(|| cargo.ok()).1.all(), 0, "all is fresh");
}
