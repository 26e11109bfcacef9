//! `kache exec`: what the command gets, and what becomes of its end and of signals.

use crate::fake::{Fake, stats, stats_with_trouble};
use crate::{Place, check};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Stdio};

fn with_daemon() -> (Place, Fake) {
    let place = Place::new();
    place.script("kache-shim", "");
    let fake = Fake::serve(&place.path("s"), vec![("GET /v1/stats", vec![stats(10, 2, 3, 5.0), stats(17, 3, 3, 12.25)])]);
    (place, fake)
}

const SUMMARY: &str = "kache: 8 units, 7 hits, 1 miss, 0 bypasses; 7.2 s of compiling saved";

#[test]
fn the_command_gets_the_shim_and_its_exit_code_is_passed_on() {
    let (place, _fake) = with_daemon();
    check(&place.run(&["exec", "--", "sh", "-c", "echo $RUSTC_WRAPPER; exit 7"]), 7, "DIR/kache-shim", SUMMARY);
}

#[test]
fn nothing_is_added_to_stdout() {
    let (place, _fake) = with_daemon();
    check(&place.run(&["exec", "printf", "%s", "--flag"]), 0, "--flag", SUMMARY);
}

#[test]
fn a_signal_that_ends_the_command_ends_kache_too() {
    let (place, _fake) = with_daemon();
    let output = place.kache(&["exec", "--", "sh", "-c", "kill -KILL $$"]).output().unwrap();
    assert_eq!(output.status.signal(), Some(9));
    assert_eq!(String::from_utf8(output.stderr).unwrap().trim_end(), SUMMARY);
}

/// Starts a command that says `ready` and then waits for a signal.
fn waiting(place: &Place, trap: &str) -> Child {
    let script = format!("{trap}; echo ready; while :; do sleep 0.05; done");
    let mut child = place.kache(&["exec", "--", "sh", "-c", &script]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

fn send(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

#[test]
fn signals_reach_the_command() {
    let (place, _fake) = with_daemon();
    let mut child = waiting(&place, "trap 'exit 42' TERM");
    send(&child, rustix::process::Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(42));
}

#[test]
fn an_ignored_hangup_stays_ignored() {
    let (place, _fake) = with_daemon();
    let script = "trap '' HUP; exec \"$0\" exec -- sh -c 'kill -HUP $$; echo alive'";
    let mut command = place.kache(&[]);
    let output = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(place.path("kache"))
        .env_clear()
        .envs(command.env("X", "").get_envs().filter_map(|(name, value)| Some((name, value?))))
        .output()
        .unwrap();
    check(&place.said(output), 0, "alive", SUMMARY);
}

#[test]
fn a_command_that_does_not_exist_ends_with_127() {
    let (place, _fake) = with_daemon();
    check(&place.run(&["exec", "--", "DIRx"]), 127, "", "kache: error: DIRx can't be started: No such file or directory (os error 2)");
}

#[test]
fn without_a_daemon_to_start_the_command_runs_all_the_same() {
    let place = Place::new();
    place.script("kache-shim", "");
    let warning =
        "kache: warning: building without the cache: kached isn't beside DIR/kache: install the three programs into one directory";
    check(&place.run(&["exec", "--", "echo", "built"]), 0, "built", warning);
}

#[test]
fn a_disabled_cache_is_not_even_asked() {
    let (place, fake) = with_daemon();
    let output = place.kache(&["exec", "--", "sh", "-c", "echo ${RUSTC_WRAPPER-none}"]).env("KACHE_DISABLED", "1").output().unwrap();
    check(&place.said(output), 0, "none", "");
    assert!(fake.asked().is_empty());
}

#[test]
fn counters_that_began_again_meanwhile_are_not_subtracted() {
    let place = Place::new();
    place.script("kache-shim", "");
    let _fake = Fake::serve(&place.path("s"), vec![("GET /v1/stats", vec![stats(10, 2, 3, 5.0), stats(1, 0, 0, 0.0)])]);
    check(&place.run(&["exec", "true"]), 0, "", "kache: kached was restarted or set to zero meanwhile: no counts");
}

#[test]
fn a_daemon_of_another_version_is_a_warning_with_a_way_out() {
    let place = Place::new();
    place.script("kache-shim", "");
    let old = |(code, body): (u16, String)| (code, body.replace("\"version\":\"0.1.0\"", "\"version\":\"0.0.9\""));
    let _fake = Fake::serve(&place.path("s"), vec![("GET /v1/stats", vec![old(stats(10, 2, 3, 5.0)), old(stats(17, 3, 3, 12.25))])]);
    let warning = concat!("kache: warning: versions differ: kached is 0.0.9, kache ", env!("CARGO_PKG_VERSION"));
    let advice = "restart kached: `kache stop`, then `kache start`";
    check(&place.run(&["exec", "true"]), 0, "", &format!("{warning}; {advice}\n{SUMMARY}"));
}

#[test]
fn most_of_a_build_bypassed_and_results_that_are_never_stored_are_warned_of() {
    let place = Place::new();
    place.script("kache-shim", "");
    let answers = vec![stats_with_trouble(10, 2, 0, 7), stats_with_trouble(10, 3, 2, 8), stats_with_trouble(12, 3, 2, 8)];
    let _fake = Fake::serve(&place.path("s"), vec![("GET /v1/stats", answers)]);
    let warnings = "\
kache: 3 units, 0 hits, 1 miss, 2 bypasses; 0.0 s of compiling saved
kache: warning: 2 bypasses: emit_kind (mir): Build without that --emit kind
kache: warning: 2 bypasses: reason_of_tomorrow: Look at `kache why`
kache: warning: the last 12 programs could not be stored: truncated (words): Do this";
    check(&place.run(&["exec", "true"]), 0, "", warnings);
    // A build that nothing of it concerns.
    let quiet = "kache: 0 units, 0 hits, 0 misses, 0 bypasses; 0.0 s of compiling saved";
    check(&place.run(&["exec", "true"]), 0, "", quiet);
}
