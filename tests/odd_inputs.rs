//! Inputs that few builds have: target specifications, profiles, compressed debug sections, a salt. Each counts by content.

use kache_testkit::{Binaries, Cargo, Machine, Outcomes, Outputs, Place, run, samples};
use std::path::Path;

/// `rustc ARGS…` through the shim, in a directory of the machine's.
pub(crate) fn rustc(machine: &Machine, directory: &Path, args: &[&str]) -> Cargo {
    let rustc = machine.plain(directory).program("rustup").args(["which", "rustc"]).ok().stdout;
    machine.plain(directory).program(Binaries::get().shim()).args([rustc.trim()]).args(args.iter().copied()).env("RUSTC_BOOTSTRAP", "1")
}

/// How one more run of `cargo` ended.
fn outcome(machine: &Machine, cargo: &Cargo) -> Outcomes {
    let (_, seen) = machine.watch(|| cargo.ok());
    machine.settle();
    seen
}

#[test]
fn a_target_specification_counts_by_content_by_path_and_by_name() {
    let machine = Machine::new();
    let directory = machine.path("a");
    std::fs::create_dir_all(directory.join("out")).unwrap();
    std::fs::write(directory.join("lib.rs"), "#![feature(no_core)]\n#![no_core]\n#![crate_type = \"lib\"]\n").unwrap();
    let print = ["-Zunstable-options", "--print=target-spec-json"];
    let specification = machine.plain(&directory).program("rustc").args(print).env("RUSTC_BOOTSTRAP", "1").ok().stdout;
    let other = specification.replacen("\"cpu\": \"x86-64\"", "\"cpu\": \"x86-64-v2\"", 1).replacen("\"generic\"", "\"cortex-a72\"", 1);
    assert_ne!(specification, other);
    let compile = |target| {
        let common = ["lib.rs", "--crate-name=lib", "--emit=dep-info,metadata", "--out-dir=out", "-Zunstable-options", "--target", target];
        rustc(&machine, &directory, &common).env("RUST_TARGET_PATH", &directory)
    };
    for target in ["special.json", "special"] {
        for (text, expected) in [(&specification, "miss"), (&specification, "hit"), (&other, "miss"), (&specification, "hit")] {
            std::fs::write(directory.join("special.json"), text).unwrap();
            let seen = outcome(&machine, &compile(target));
            assert_eq!((seen.miss, seen.hits()), if expected == "miss" { (1, 0) } else { (0, 1) }, "{target}: {seen:?}");
        }
    }
}

#[test]
fn a_profile_counts_by_content() {
    let machine = Machine::new();
    let project = samples::program(machine.path("a"), "fn main() { println!(\"built\"); }\n");
    let profile = machine.path("a.profdata");
    let profiles = ["1", "2"].map(|count| {
        std::fs::write(machine.path("text"), format!(":ir\nnone\n7\n1\n{count}\n")).unwrap();
        let mut merge = std::process::Command::new("llvm-profdata");
        merge.arg("merge").arg(machine.path("text")).arg("-o").arg(&profile);
        merge.status().is_ok_and(|status| status.success()).then(|| std::fs::read(&profile).unwrap())
    });
    // Only where there is an `llvm-profdata`.
    let [Some(first), Some(second)] = profiles else { return };
    assert_ne!(first, second);
    for (bytes, misses) in [(&first, 1), (&first, 0), (&second, 1), (&first, 0)] {
        std::fs::write(&profile, bytes).unwrap();
        project.remove("target");
        let flags = format!("-Cprofile-use={}", profile.display());
        let seen = outcome(&machine, &machine.cargo(&project).args(["build"]).env("RUSTFLAGS", flags));
        assert_eq!((seen.miss, seen.bypass), (misses, 0), "{seen:?} {:?}", machine.stats().bypass_reasons);
        assert_eq!(run(project.file("target/debug/prog")), "built\n");
    }
}

#[test]
fn compressed_debug_sections_are_not_shared_between_checkouts() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("one"));
    let build = |project: &kache_testkit::Project, cargo: Cargo| {
        project.remove("target");
        let flags = "-Clink-arg=-Wl,--compress-debug-sections=zlib";
        let (_, seen) = machine.watch(|| cargo.args(["build"]).env("CARGO_PROFILE_DEV_DEBUG", "2").env("RUSTFLAGS", flags).ok());
        machine.settle();
        (Outputs::of(&project.file("target/debug")).linked(), seen)
    };
    let (_, cold) = build(&project, machine.cargo(&project));
    let (_, warm) = build(&project, machine.cargo(&project));
    assert_eq!((cold.miss, warm.miss), (2, 0));
    let other = project.copy_to(machine.path("elsewhere/two"));
    let (linked, seen) = build(&other, machine.cargo(&other));
    assert!(seen.miss > 0, "the program's sections can't be searched for the first checkout's path: {seen:?}");
    assert_eq!(build(&other, machine.cargo(&other)).0.difference(&linked), Vec::<std::path::PathBuf>::new());
    assert_eq!(run(other.file("target/debug/prog")), "1\n");
}

#[test]
fn caches_with_different_salts_share_nothing() {
    let machine = Machine::idle();
    let project = samples::pair(machine.path("a"));
    for (salt, misses) in [("one", 2), ("one", 0), ("two", 2), ("one", 0)] {
        std::fs::write(machine.config(), format!("[cache]\nsalt = \"{salt}\"\n")).unwrap();
        machine.start();
        project.remove("target");
        assert_eq!(machine.build(&project, &["build"]).miss, misses, "{salt}");
        machine.stop();
    }
}

/// A root that is one short word (`/src` in a container) can't be searched for in the outputs: too much looks like it.
#[test]
fn a_checkout_at_a_root_of_one_component_is_built_right() {
    let machine = Machine::idle();
    let project = samples::program(machine.path("a"), "fn main() { println!(\"{}\", env!(\"CARGO_MANIFEST_DIR\")); }\n");
    let place = Place::of_length(24);
    let script = |at: &str| {
        format!(
            "mount --bind {} {at} && cd {at} && rm -rf target && \"$KACHE\" exec -- cargo build && target/debug/prog && \"$KACHE\" stop >&2",
            project.path().display()
        )
    };
    let run_at = |at: &str| {
        let cargo = machine.plain(place.path()).program("unshare").env("KACHE", Binaries::get().kache());
        cargo.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script(at)]).run()
    };
    // Only where mount namespaces are allowed.
    if !machine.plain(place.path()).program("unshare").args(["--user", "--map-root-user", "--mount", "true"]).run().status.success() {
        return;
    }
    for at in ["/mnt", "/srv", "/mnt"] {
        let built = run_at(at);
        assert!(built.status.success(), "{}{}", built.stdout, built.stderr);
        assert_eq!(built.stdout, format!("{at}\n"), "{}", built.stderr);
    }
}
