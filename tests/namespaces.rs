//! Builds that see other files than the daemon under the same names: containers and sandboxes with the sources and the socket mounted into them.
#![cfg(target_os = "linux")]

use kache_testkit::{Binaries, Machine, Project, samples, skipped};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// A shell in a mount namespace of its own; its script follows.
const NAMESPACE: [&str; 6] = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"];

fn allowed(machine: &Machine) -> bool {
    let may = machine.plain(&machine.home()).program("true").under(NAMESPACE.into_iter().chain(["exec \"$0\""])).run().status.success();
    if !may {
        skipped("this system allows no mount namespaces");
    }
    may
}

/// The shim around `compiler`, in the project's directory.
fn shim(machine: &Machine, project: &Project, compiler: &str, args: &[&str]) -> kache_testkit::Cargo {
    machine.cargo(project).program(Binaries::get().shim()).args([compiler]).args(args.iter().copied())
}

#[test]
fn another_compiler_under_the_same_path_in_a_namespace_is_asked_itself() {
    let machine = Machine::new();
    if !allowed(&machine) {
        return;
    }
    let project = samples::pair(machine.path("a"));
    let sysroot = machine.plain(project.path()).program("rustc").args(["--print=sysroot"]).ok().stdout;
    let rustc = format!("{}/bin/rustc", sysroot.trim());
    let other = machine.path("other-rustc");
    fs::write(&other, "#!/bin/sh\necho another compiler\n").unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    let outside = shim(&machine, &project, &rustc, &["-vV"]).ok().stdout;
    assert!(outside.starts_with("rustc "), "{outside}");
    let script = format!("mount --bind {} {rustc} && exec \"$0\" \"$@\"", other.display());
    let inside = |args: &[&str]| {
        let run = shim(&machine, &project, &rustc, args).under(NAMESPACE.into_iter().chain([script.as_str()]));
        machine.watch(|| run.ok().stdout)
    };
    let (said, seen) = inside(&["-vV"]);
    assert_eq!((said.as_str(), seen.bypass), ("another compiler\n", 1));
    let compile = ["--crate-name", "lone", "--crate-type=lib", "--emit=dep-info,metadata", "--out-dir", ".", "lone.rs"];
    project.write("lone.rs", "pub fn lone() {}\n");
    let (said, seen) = inside(&compile);
    assert_eq!((said.as_str(), seen.bypass), ("another compiler\n", 1));
    assert_eq!(machine.stats().bypass_reasons.get("other_filesystem"), Some(&2));
    let (_, seen) = machine.watch(|| shim(&machine, &project, &rustc, &compile).ok());
    assert_eq!((seen.miss, seen.hits()), (1, 0), "nothing of the other compiler's was stored");
}

#[test]
fn doctor_in_a_namespace_says_that_compiles_are_bypassed() {
    let machine = Machine::new();
    if !allowed(&machine) {
        return;
    }
    let doctor = || machine.kache_in(&machine.home()).args(["doctor"]);
    let outside = doctor().run().stdout;
    assert!(outside.contains("as it is seen here") && !outside.contains("doesn't see"), "{outside}");
    let inside = doctor().under(NAMESPACE.into_iter().chain(["exec \"$0\" \"$@\""])).run();
    assert!(!inside.status.success() && inside.stdout.contains("doesn't see"), "{}{}", inside.stdout, inside.stderr);
}
