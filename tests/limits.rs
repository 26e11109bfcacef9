//! A machine that says no: too few descriptors, no permission. Builds go on, nothing good is thrown away.

use kache_testkit::{Binaries, Machine, run, samples};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const ALL: [&str; 2] = ["build", "--workspace"];

#[test]
fn a_daemon_short_of_descriptors_fails_no_build_and_throws_nothing_away() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    machine.build(&project, &ALL);
    let artifacts = machine.stats().store.artifacts;
    let idle = fs::read_dir(format!("/proc/{}/fd", machine.pid())).unwrap().count();
    machine.stop();
    // What it needs to start, and hardly more.
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {} && exec \"$KACHED\"", idle + 3)]).env("KACHED", Binaries::get().kached());
    machine.launch(command);
    project.remove("target");
    machine.cargo(&project).args(ALL).args(["-j16"]).ok();
    assert_eq!(run(project.file("target/debug/app")), samples::FULL_REPORT);
    assert!(machine.log().contains("os error 24"), "it never ran out of descriptors:\n{}", machine.log());
    machine.kill();
    machine.start();
    assert!(machine.stats().store.artifacts >= artifacts);
    assert!(machine.kache(&["verify"]).status.success());
    project.remove("target");
    machine.restores(&project, &ALL);
}

#[test]
#[cfg(target_os = "linux")]
fn a_daemon_takes_as_many_descriptors_as_it_may_have() {
    let machine = Machine::idle();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 64 && ulimit -Hn 300 && exec \"$KACHED\""]).env("KACHED", Binaries::get().kached());
    machine.launch(command);
    let limits = fs::read_to_string(format!("/proc/{}/limits", machine.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("300"), "{files}");
}

/// `program` as a user to whom permissions apply: root without the right to pass over them.
fn bound_by_permissions(program: impl AsRef<std::ffi::OsStr>) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.arg("--bounding-set=-dac_override,-dac_read_search").arg(program);
    command
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_store_that_may_not_be_written_fails_no_build() {
    let machine = Machine::idle();
    machine.launch(bound_by_permissions(Binaries::get().kached()));
    let project = samples::full(machine.path("a"));
    machine.build(&project, &ALL);
    let trees = ["blobs-v1", "staging-v1"].map(|name| machine.cache_dir().join(name));
    trees.iter().for_each(|tree| set_mode(tree, 0o500));
    project.write("kernel/number.txt", "8").remove("target");
    machine.cargo(&project).args(ALL).ok();
    assert_ne!(run(project.file("target/debug/app")), samples::FULL_REPORT);
    trees.iter().for_each(|tree| set_mode(tree, 0o700));
    project.remove("target");
    machine.build(&project, &ALL);
    project.remove("target");
    machine.restores(&project, &ALL);
}

#[test]
fn blobs_that_may_not_be_read_are_misses() {
    let machine = Machine::idle();
    machine.launch(bound_by_permissions(Binaries::get().kached()));
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    let blobs = machine.cache_dir().join("blobs-v1");
    set_mode(&blobs, 0o000);
    project.remove("target");
    machine.cargo(&project).args(["build"]).ok();
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
    set_mode(&blobs, 0o700);
    project.remove("target");
    machine.build(&project, &["build"]);
    project.remove("target");
    machine.restores(&project, &["build"]);
}

/// The daemon may not read what the build's own user may, or the reverse: rustc has the last word, in its own words.
#[test]
fn a_source_that_may_not_be_read_is_rustcs_error() {
    let machine = Machine::idle();
    machine.launch(bound_by_permissions(Binaries::get().kached()));
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    set_mode(&project.file("below/src/lib.rs"), 0o000);
    project.remove("target");
    let build = |cargo: kache_testkit::Cargo| {
        let mut command = bound_by_permissions("cargo");
        let prepared = cargo.args(["build", "--workspace", "-j1"]).command();
        command.args(prepared.get_args()).env_clear().current_dir(project.path());
        command.envs(prepared.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = command.output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        let said = words.lines().filter(|line| line.starts_with("error") && !line.contains("could not compile"));
        (output.status.success(), said.map(str::to_owned).collect::<Vec<_>>())
    };
    let plain = build(machine.plain(project.path()));
    assert!(!plain.0 && !plain.1.is_empty(), "{plain:?}");
    assert_eq!(build(machine.cargo(&project)), plain);
    set_mode(&project.file("below/src/lib.rs"), 0o644);
    machine.restores(&project, &["build"]);
}
