//! Unstable options, of rustc and of Cargo: a build with one is cached as far as the same build without it. By a stable compiler that is
//! told to allow them, and by a nightly where there is one.

use kache_testkit::{Cargo, Machine, Outcomes, Project, run, samples};

/// How to call each compiler that takes unstable options.
fn compilers(machine: &Machine) -> Vec<(&'static str, &'static str)> {
    let listed = machine.plain("/".as_ref()).program("rustup").args(["toolchain", "list"]).run().stdout;
    let nightly = listed.lines().any(|line| line.starts_with("nightly")).then_some(("RUSTUP_TOOLCHAIN", "nightly"));
    [("RUSTC_BOOTSTRAP", "1")].into_iter().chain(nightly).collect()
}

/// What a build counts the second time in another target directory, after which Cargo finds all fresh.
fn again(machine: &Machine, project: &Project, cargo: &Cargo) -> Outcomes {
    for _ in 0..2 {
        project.remove("target");
        cargo.ok();
        machine.settle();
    }
    project.remove("target");
    let (_, seen) = machine.watch(|| cargo.ok());
    assert_eq!(run(project.file("target/debug/app")), samples::FULL_REPORT);
    let (_, fresh) = machine.watch(|| cargo.ok());
    assert_eq!(fresh, Outcomes::default(), "fresh");
    machine.settle();
    seen
}

#[test]
fn what_nightly_users_switch_on_is_cached() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    for (name, value) in compilers(&machine) {
        let cargo = || machine.cargo(&project).args(["build", "-p", "app"]).env(name, value);
        let plain = again(&machine, &project, &cargo());
        let rustc = "-Zhint-mostly-unused -Ztune-cpu=native -Zcodegen-backend=llvm -Zcrate-attr=feature(test) -Zvalidate-mir -Zlocation-detail=line \
                     -Zcross-crate-inline-threshold=always -Zmir-enable-passes=+GVN -Zdebuginfo-compression=none -Zmin-function-alignment=16";
        let seen = again(&machine, &project, &cargo().env("RUSTFLAGS", rustc));
        assert_eq!(seen, plain, "{value}: {:?}", machine.stats().bypass_reasons);
        let seen = again(&machine, &project, &cargo().args(["-Zchecksum-freshness"]));
        assert_eq!(seen, plain, "{value}: {:?}", machine.stats().bypass_reasons);
        if value == "nightly" {
            let seen = again(&machine, &project, &cargo().args(["-Zno-embed-metadata"]));
            assert_eq!(seen, plain, "each library twice: {:?}", machine.stats().bypass_reasons);
        }
    }
    assert_eq!(machine.stats().outcomes.bypass, 0);
}

/// Cargo compares contents instead of times: those that a restored dep-info states are those of the sources in this checkout.
#[test]
fn freshness_by_checksum_survives_a_restore() {
    let machine = Machine::new();
    let (one, two) = (samples::pair(machine.path("a")), samples::pair(machine.path("b")));
    let cargo = |project: &Project| machine.cargo(project).args(["build", "-Zchecksum-freshness"]).env("RUSTC_BOOTSTRAP", "1");
    cargo(&one).ok();
    machine.settle();
    for project in [&one, &two] {
        project.remove("target");
        let (_, seen) = machine.watch(|| cargo(project).ok());
        assert_eq!((seen.compiled(), seen.hits()), (0, 2), "{seen:?}");
        // A new time and the same text.
        project.write("below/src/lib.rs", project.read("below/src/lib.rs"));
        let (_, seen) = machine.watch(|| cargo(project).ok());
        assert_eq!(seen, Outcomes::default(), "fresh");
        // Another text, with the time that it had.
        let file = project.file("below/src/lib.rs");
        let before = std::fs::metadata(&file).unwrap().modified().unwrap();
        project.edit("below/src/lib.rs", "1", "2");
        std::fs::File::open(&file).unwrap().set_modified(before).unwrap();
        cargo(project).ok();
        assert_eq!(run(project.file("target/debug/prog")), "2\n");
        machine.settle();
    }
}
