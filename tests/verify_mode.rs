//! `KACHE_VERIFY`: on a hit rustc runs as well, its own result is used, and both are compared.

use kache_testkit::{Machine, Outputs, run, samples};
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
