//! What comes of `Compile`: rustc runs as planned, its output streams through, the report is true.

use crate::Case;
use crate::world::{World, assert_seen, plan, run_with_input};
use kache_proto::{Plan, Reply, Status};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

pub(crate) const CASES: &[Case] = &[
    ("compile_reports_what_rustc_did", compile_reports),
    ("lines_are_forwarded_as_they_come", lines_are_forwarded),
    ("paths_are_spelled_back_for_the_caller_only", paths_are_spelled_back),
    ("extra_arguments_go_where_the_plan_says", extra_arguments),
    ("argument_files_are_replaced_by_private_ones", argument_files),
    ("stdin_reaches_the_compile", stdin_reaches_the_compile),
    ("output_on_both_pipes_does_not_deadlock", both_pipes),
    ("rustc_killed_by_a_signal_is_told_and_imitated", killed_rustc),
    ("rustc_dies_with_its_wrapper", rustc_dies_with_its_wrapper),
    ("rustc_inherits_pipes_but_not_the_socket", inheritance),
    ("daemon_gone_during_the_compile_changes_nothing", daemon_gone),
    ("runner_that_is_missing_means_rustc", missing_runner),
    ("plan_that_cannot_be_read_means_rustc", unreadable_plan),
    ("compile_without_capture_reports_no_output", without_capture),
];

fn compile_reports(world: &World) {
    let daemon = world.compile(plan());
    let output = world.call("echo out; echo err >&2; printf partial >&2; exit 4").output().unwrap();
    assert_seen(&output, 4, "out\n", "err\npartial");
    let report = daemon.join().unwrap();
    assert_eq!((report.status, report.truncated), (Status::Code(4), false));
    assert_eq!((report.stdout, report.stderr), (b"out\n".to_vec(), b"err\npartial".to_vec()));
}

fn lines_are_forwarded(world: &World) {
    // Replacements in play: whole lines must go out all the same.
    let daemon = world.compile(Plan { show: vec![("/from".into(), "/to".into())], ..plan() });
    let gate = world.path("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let mut child = world.call("echo first >&2; printf sec >&2; read x < gate; echo ond >&2").spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert_eq!(line, "first\n", "and rustc still waits at the gate");
    fs::write(&gate, "go\n").unwrap();
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "second\n");
    assert!(child.wait().unwrap().success());
    daemon.join().unwrap();
}

fn paths_are_spelled_back(world: &World) {
    let daemon = world.compile(Plan { show: vec![("/@kache/target".into(), "/home/me/target".into())], ..plan() });
    let output = world.call("echo '/@kache/target/a'; echo 'x/@kache/target/b' >&2; printf ' /@kache/target' >&2").output().unwrap();
    assert_seen(&output, 0, "/home/me/target/a\n", "x/@kache/target/b\n /home/me/target");
    let report = daemon.join().unwrap();
    assert_eq!(report.stdout, b"/@kache/target/a\n");
    assert_eq!(report.stderr, b"x/@kache/target/b\n /@kache/target");
}

fn extra_arguments(world: &World) {
    let daemon = world.compile(Plan { insert_at: 2, extra_args: vec!["new 1".into(), "new2".into()], ..plan() });
    let output = world.call(r#"for x; do echo "[$x]"; done"#).args(["a", "b"]).output().unwrap();
    assert_seen(&output, 0, "[a]\n[new 1]\n[new2]\n[b]\n", "");
    daemon.join().unwrap();
}

fn argument_files(world: &World) {
    let daemon = world.compile(Plan { argfiles: vec![(2, b"private\n".to_vec())], ..plan() });
    let output = world.call(r#"echo "$1 $3"; cat "${2#@}"; cat "${2#@}""#).args(["a", "@theirs", "b"]).output().unwrap();
    assert_seen(&output, 0, "a b\nprivate\nprivate\n", "");
    daemon.join().unwrap();
}

fn stdin_reaches_the_compile(world: &World) {
    let daemon = world.compile(plan());
    let mut command = world.call("cat");
    command.arg("-");
    assert_seen(&run_with_input(command, b"fn f() {}".to_vec()), 0, "fn f() {}", "");
    assert_eq!(daemon.join().unwrap().stdout, b"fn f() {}");
}

fn both_pipes(world: &World) {
    let daemon = world.compile(plan());
    let script = "(head -c 3000000 /dev/zero | tr '\\0' e >&2) & head -c 3000000 /dev/zero; wait";
    let output = world.call(script).output().unwrap();
    assert_eq!((output.stdout.len(), output.stderr.len()), (3_000_000, 3_000_000));
    let report = daemon.join().unwrap();
    assert_eq!((report.stdout.len(), report.stderr.len(), report.truncated), (3_000_000, 3_000_000, false));
}

fn killed_rustc(world: &World) {
    // Kill, broken pipe, and those by which a program dies that runs out of its stack or out of its files.
    for (name, number) in [("KILL", 9), ("PIPE", 13), ("SEGV", 11), ("BUS", 7), ("ABRT", 6)] {
        let number = if name == "BUS" && !cfg!(target_os = "linux") { 10 } else { number };
        let daemon = world.compile(plan());
        let output = world.call(&format!("ulimit -c 0; kill -{name} $$")).output().unwrap();
        assert_eq!(output.status.signal(), Some(number));
        assert_eq!(daemon.join().unwrap().status, Status::Signal(number));
        fs::remove_file(world.socket()).unwrap();
    }
}

fn rustc_dies_with_its_wrapper(world: &World) {
    if !cfg!(target_os = "linux") {
        return;
    }
    let daemon = world.serve(|peer| {
        peer.request();
        peer.send(&Reply::Compile(plan()));
        assert!(peer.is_left(), "the lease ends with the wrapper");
    });
    assert!(Command::new("mkfifo").arg(world.path("gate")).status().unwrap().success());
    let mut child = world.call("echo $$; read x < gate").spawn().unwrap();
    let mut rustc = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut rustc).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let stat = format!("/proc/{}/stat", rustc.trim());
    let lives = || fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z"));
    while lives() {
        thread::sleep(Duration::from_millis(5));
    }
    daemon.join().unwrap();
}

fn inheritance(world: &World) {
    let daemon = world.compile(plan());
    // As Cargo's jobserver: a pipe that children get, by number.
    let (read, write) = rustix::pipe::pipe().unwrap();
    let script = format!("echo token > /proc/$$/fd/{}; ls -l /proc/$$/fd", write.as_raw_fd());
    let output = world.call(&script).output().unwrap();
    drop(write);
    let mut token = String::new();
    fs::File::from(read).read_to_string(&mut token).unwrap();
    assert_eq!(token, "token\n");
    assert!(output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("socket:"), "{output:?}");
    daemon.join().unwrap();
}

fn daemon_gone(world: &World) {
    let daemon = world.serve(|peer| {
        peer.request();
        peer.send(&Reply::Compile(plan()));
    });
    assert_seen(&world.call("echo out; echo err >&2; exit 6").output().unwrap(), 6, "out\n", "err\n");
    daemon.join().unwrap();
}

/// Only a front needs the runner; the std wrapper compiles by itself. The caller sees the same.
fn missing_runner(world: &World) {
    let daemon = world.serve(|peer| {
        peer.request();
        peer.send(&Reply::Compile(Plan { runner: "/nonexistent/kached".into(), ..plan() }));
    });
    assert_seen(&world.call("echo \"ran $1\"").arg("x").output().unwrap(), 0, "ran x\n", "");
    daemon.join().unwrap();
}

fn unreadable_plan(world: &World) {
    let daemon = world.serve(|peer| {
        peer.request();
        let mut frame = Reply::Compile(plan()).encode().unwrap();
        // The capture flag, neither 0 nor 1; the runner's path before it is fine.
        let at = frame.len() - 13;
        frame[at] = 9;
        peer.send_raw(&[kache_proto::wire::preamble().as_slice(), &frame].concat());
    });
    assert_seen(&world.call("echo \"ran $1\"").arg("x").output().unwrap(), 0, "ran x\n", "");
    daemon.join().unwrap();
}

fn without_capture(world: &World) {
    let daemon = world.compile(Plan { capture: false, ..plan() });
    assert_seen(&world.call("echo out; echo err >&2").output().unwrap(), 0, "out\n", "err\n");
    let report = daemon.join().unwrap();
    assert_eq!((report.stdout, report.stderr, report.truncated), (vec![], vec![], false));
}
