//! `kache` as people use it.

use kache_testkit::{Binaries, Machine, http_get, run, samples, until};
use std::path::PathBuf;
use std::time::Duration;

/// `kache ARGS…` in a project's directory.
fn kache(machine: &Machine, directory: &std::path::Path, args: &[&str]) -> kache_testkit::Cargo {
    machine.plain(directory).program(Binaries::get().kache()).args(args.iter().copied()).env("KACHE_CONFIG", machine.config())
}

#[test]
fn every_command_has_help() {
    let machine = Machine::idle();
    assert!(machine.kache(&["--help"]).status.success());
    assert!(machine.kache(&["--version"]).status.success());
    for command in ["stats", "exec", "start", "stop", "status", "verify", "flush", "sync"] {
        let help = machine.kache(&[command, "--help"]);
        assert!(help.status.success() && !help.stdout.is_empty(), "{command}: {}", help.stderr);
    }
    machine.plain("/".as_ref()).program(Binaries::get().kached()).args(["--help"]).ok();
}

#[test]
fn stats_are_printed_as_text_and_as_json_and_can_be_set_to_zero() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    assert!(machine.kache(&["stats"]).stdout.contains("miss"));
    let json: serde_json::Value = serde_json::from_str(&machine.kache(&["stats", "--json"]).stdout).unwrap();
    assert_eq!(json["outcomes"]["miss"], 2);
    assert!(machine.kache(&["stats", "--zero"]).status.success());
    let stats = machine.stats();
    assert_eq!((stats.outcomes.all(), stats.requests, stats.queries_answered), (0, 0, 0));
    assert_eq!(stats.store.artifacts, 2, "what is stored stays");
}

#[test]
fn without_a_daemon_stats_and_status_say_so() {
    let machine = Machine::idle();
    let stats = machine.kache(&["stats"]);
    assert!(!stats.status.success() && !stats.stderr.is_empty());
    let status = machine.kache(&["status"]);
    assert!(!(status.stdout.clone() + &status.stderr).is_empty());
}

#[test]
fn exec_starts_a_daemon_builds_through_it_and_reports_one_line() {
    let machine = Machine::idle();
    let project = samples::pair(machine.path("a"));
    let cargo = kache(&machine, project.path(), &["exec", "--", "cargo", "build"]);
    let first = cargo.ok();
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
    assert!(last_line(&first.stderr).contains("miss"), "{}", first.stderr);
    let pid = machine.stats().pid;
    project.remove("target");
    let second = cargo.ok();
    let line = last_line(&second.stderr);
    assert!(line.contains('2') && line.contains("hit"), "{line}");
    assert_eq!(machine.stats().pid, pid, "the same daemon");
    assert_eq!(machine.stats().outcomes.hits(), 2);

    // The daemon kept nothing of the build that started it.
    let proc = PathBuf::from(format!("/proc/{pid}"));
    assert!(!std::fs::read_link(proc.join("cwd")).unwrap().starts_with(project.path()));
    for descriptor in std::fs::read_dir(proc.join("fd")).unwrap().flatten() {
        let target = std::fs::read_link(descriptor.path()).unwrap_or_default();
        assert!(!target.starts_with(project.path()), "{}", target.display());
    }
    assert!(machine.kache(&["stop"]).status.success());
    until("the daemon has gone", Duration::from_secs(20), || http_get(&machine.socket(), "/healthz").is_err().then_some(()));
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn exec_passes_the_exit_status_and_signals_on() {
    let machine = Machine::new();
    let place = machine.home();
    assert_eq!(kache(&machine, &place, &["exec", "--", "sh", "-c", "exit 41"]).run().status.code(), Some(41));
    assert!(!kache(&machine, &place, &["exec", "--", "/no/such/program"]).run().status.success());
    let marker = machine.path("trapped");
    let script = format!("trap 'touch {0}; exit 7' TERM; touch {0}.ready; while :; do sleep 0.05; done", marker.display());
    let command = kache(&machine, &place, &["exec", "--", "sh", "-c", &script]);
    let child = command.spawn();
    until("the script is up", Duration::from_secs(20), || machine.path("trapped.ready").exists().then_some(()));
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(command.finish(child).status.code(), Some(7));
    assert!(marker.exists());
}

#[test]
fn start_status_and_stop_agree() {
    let machine = Machine::idle();
    assert!(machine.kache(&["start"]).status.success());
    let pid = machine.stats().pid;
    assert!(machine.kache(&["start"]).status.success(), "starting twice is no error");
    assert_eq!(machine.stats().pid, pid);
    let status = machine.kache(&["status"]);
    assert!(status.status.success() && status.stdout.contains(&pid.to_string()), "{}", status.stdout);
    assert!(machine.kache(&["stop"]).status.success());
    until("the daemon has gone", Duration::from_secs(20), || http_get(&machine.socket(), "/healthz").is_err().then_some(()));
}

#[test]
fn status_names_unknown_variables() {
    let machine = Machine::new();
    let status = kache(&machine, &machine.home(), &["status"]).env("KACHE_MAX_SISE", "1").run();
    assert!((status.stdout + &status.stderr).contains("KACHE_MAX_SISE"));
}

#[test]
fn kache_itself_can_stand_in_rustc_wrapper() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    let cargo = machine.cargo(&project).args(["build"]).env("RUSTC_WRAPPER", Binaries::get().kache());
    let (_, cold) = machine.watch(|| cargo.ok());
    assert_eq!(cold.miss, 2);
    project.remove("target");
    let (_, warm) = machine.watch(|| cargo.ok());
    assert_eq!((warm.hits(), warm.compiled()), (2, 0));
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
    project.remove("target");
    machine.restores(&project, &["build"]);
}

#[test]
fn the_shim_is_small() {
    let size = std::fs::metadata(Binaries::get().shim()).unwrap().len();
    assert!(cfg!(debug_assertions) || size < 500 * 1024, "{size} bytes");
}
