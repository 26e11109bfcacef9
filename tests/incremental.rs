//! Incremental compilation stays as Cargo wants it, and an old `.rmeta` that rustc re-links from a session never makes a stale binary.

use kache_testkit::{Machine, Project, run, samples};

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
