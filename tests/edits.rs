//! Editing: exactly what depends on the edit is compiled, and going back hits.

use kache_testkit::{Machine, Outputs, run, samples};
use std::path::PathBuf;

const ALL: [&str; 2] = ["build", "--workspace"];

#[test]
fn one_edit_compiles_its_dependents_and_no_more_and_undoing_it_hits() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    machine.build(&project, &ALL);
    let first = Outputs::of(&project.file("target/debug"));
    for (file, from, to, dependents) in [
        ("kernel/src/inner.rs", "module_path!()", "\"edited\"", 3),
        ("app/src/main.rs", "println!(\"{}\"", "println!(\"edited {}\"", 1),
        ("kernel/src/words.txt", "alpha", "gamma", 3),
        ("kernel/number.txt", "7", "8", 3),
        ("macros/src/lib.rs", "42u32", "43u32", 4),
    ] {
        project.edit(file, from, to);
        let seen = machine.build(&project, &ALL);
        assert_eq!((seen.miss, seen.hits(), seen.bypass), (dependents, 0, 0), "{file} edited");
        assert_ne!(run(project.file("target/debug/app")), samples::FULL_REPORT, "{file} edited");
        project.edit(file, to, from);
        assert_eq!(machine.restores(&project, &ALL), dependents, "{file} edited back");
        assert_eq!(run(project.file("target/debug/app")), samples::FULL_REPORT, "{file} edited back");
        machine.is_fresh(&project, &ALL);
    }
    assert_eq!(Outputs::of(&project.file("target/debug")).linked().difference(&first.linked()), Vec::<PathBuf>::new());
}

#[test]
fn switching_between_two_branches_hits_after_the_first_round() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    machine.build(&project, &ALL);
    for round in 0..5 {
        for (from, to, report) in [("alpha", "omega", "omega"), ("omega", "alpha", "alpha")] {
            project.edit("kernel/src/words.txt", from, to);
            project.touch("kernel/src/lib.rs");
            let seen = machine.build(&project, &ALL);
            assert!(round == 0 || seen.compiled() == 0, "round {round}, to {to}: {seen:?}");
            assert!(run(project.file("target/debug/app")).contains(report));
        }
    }
}

#[test]
fn an_edit_in_one_checkout_is_a_hit_in_the_other() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    let other = project.copy_to(machine.path("b"));
    for checkout in [&project, &other] {
        machine.build(checkout, &[&ALL[..], &["--config", "profile.dev.incremental=false"]].concat());
        checkout.edit("kernel/src/inner.rs", "module_path!()", "\"edited\"");
    }
    let args = [&ALL[..], &["--config", "profile.dev.incremental=false"]].concat();
    machine.build(&project, &args);
    machine.restores(&other, &args);
    assert_eq!(run(other.file("target/debug/app")), run(project.file("target/debug/app")));
}

#[test]
fn a_feature_switched_on_and_off_again_hits() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    machine.build(&project, &["build", "-p", "app"]);
    machine.build(&project, &["build", "-p", "app", "--features", "kernel/loud"]);
    assert!(run(project.file("target/debug/app")).contains("LOUD"));
    project.remove("target");
    machine.restores(&project, &["build", "-p", "app"]);
    assert_eq!(run(project.file("target/debug/app")), samples::FULL_REPORT);
    machine.restores(&project, &["build", "-p", "app", "--features", "kernel/loud"]);
    assert!(run(project.file("target/debug/app")).contains("LOUD"));
}
