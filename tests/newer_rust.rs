//! What comes with newer toolchains, tried with the one at hand: the build-dir layout that is Cargo's default since 1.100.
//!
//! `KACHE_TEST_TOOLCHAIN` names another toolchain (or a directory of programs) to run any of these tests with; `.ci/run` does so with a nightly.

use kache_testkit::{Machine, Outcomes, Project, run, samples};

/// Builds all of the workspace with an unstable option of Cargo's.
fn build(machine: &Machine, project: &Project, option: &str) -> Outcomes {
    let cargo = machine.cargo(project).args(["build", "--workspace", option]).env("RUSTC_BOOTSTRAP", "1");
    let (_, seen) = machine.watch(|| cargo.ok());
    machine.settle();
    seen
}

fn is_restored(option: &str) {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    let cold = build(&machine, &project, option);
    assert_eq!((cold.bypass, cold.failed, cold.hits()), (0, 0, 0), "{:?}", machine.stats().bypass_reasons);
    assert_eq!(build(&machine, &project, option), Outcomes::default(), "fresh");
    let other = project.copy_to(machine.path("quite/another/place"));
    other.remove("target");
    for project in [&project, &other] {
        project.remove("target");
        let warm = build(&machine, project, option);
        assert_eq!((warm.compiled(), warm.hits()), (0, cold.miss), "{:?}\n{}", machine.stats().bypass_reasons, machine.log());
        assert_eq!(run(project.file("target/debug/app")), samples::FULL_REPORT);
        assert_eq!(build(&machine, project, option), Outcomes::default(), "fresh");
    }
    other.append("kernel/src/inner.rs", "// A remark.\n");
    assert!(build(&machine, &other, option).miss > 0);
    assert_eq!(run(other.file("target/debug/app")), samples::FULL_REPORT);
}

#[test]
fn the_build_dir_layout_of_newer_cargos_is_restored() {
    is_restored("-Zbuild-dir-new-layout");
}
