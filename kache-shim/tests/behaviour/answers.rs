//! What a request says, and what comes of `Replay`, `Exec` and `Working`.

use crate::Case;
use crate::world::{World, assert_seen, run_with_input};
use kache_proto::{Reply, Stdin, wire};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::Duration;

pub(crate) const CASES: &[Case] = &[
    ("replay_is_printed_and_rustc_does_not_run", replay_is_printed),
    ("large_replay_arrives_whole", large_replay),
    ("request_tells_the_invocation", request_tells_the_invocation),
    ("exec_runs_rustc_with_the_callers_arguments", exec_runs_rustc),
    ("working_is_waited_for", working_is_waited_for),
    ("stdin_is_sent_and_given_back", stdin_is_sent_and_given_back),
    ("large_stdin_is_given_back_whole", large_stdin),
    ("stdin_is_left_alone_without_a_dash", stdin_is_left_alone),
    ("large_environment_arrives", large_environment),
    ("closed_standard_streams_are_no_trouble", closed_streams),
];

fn replay_is_printed(world: &World) {
    let daemon = world.answer(Reply::Replay { status: 7, stdout: b"out\0\xff".to_vec(), stderr: b"no newline".to_vec() });
    let output = world.call("echo wrong").output().unwrap();
    assert_eq!((output.status.code(), output.stdout, output.stderr), (Some(7), b"out\0\xff".to_vec(), b"no newline".to_vec()));
    daemon.join().unwrap();
}

fn large_replay(world: &World) {
    let (stdout, stderr) = (vec![b'o'; 3_000_000], vec![b'e'; 5_000_000]);
    let daemon = world.answer(Reply::Replay { status: 0, stdout: stdout.clone(), stderr: stderr.clone() });
    let output = world.call("echo wrong").output().unwrap();
    assert!(output.status.success() && output.stdout == stdout && output.stderr == stderr);
    daemon.join().unwrap();
}

fn request_tells_the_invocation(world: &World) {
    let daemon = world.answer(Reply::Replay { status: 0, stdout: vec![], stderr: vec![] });
    let argument = OsString::from_vec(b"odd \xff\n".to_vec());
    let mut command = world.wrapper_under(&["sh", "-c", "umask 027; exec \"$@\"", "sh"], "");
    command.arg(world.rustc()).arg(&argument).arg("").env("ODD", "a=b").env("EMPTY", "");
    assert_seen(&command.output().unwrap(), 0, "", "");
    let request = daemon.join().unwrap();
    assert_eq!(request.argv, [world.rustc().into_os_string(), argument, "".into()]);
    let here = std::fs::metadata(world.path(".")).unwrap();
    assert_eq!((request.cwd, request.cwd_id), (world.path(".").canonicalize().unwrap(), (here.dev(), here.ino())));
    for (name, value) in [("ODD", "a=b"), ("EMPTY", "")] {
        assert!(request.env.contains(&(name.into(), value.into())), "{name}");
    }
    let start = std::fs::read("/proc/self/stat").ok().and_then(|stat| wire::start_time(&stat)).unwrap_or(0);
    assert_eq!((request.parent.pid, request.parent.start), (std::process::id(), start));
    assert_eq!((request.umask, request.stdin), (0o27, Stdin::NotRead));
}

fn exec_runs_rustc(world: &World) {
    let daemon = world.answer(Reply::Exec { reason: "test".into() });
    let output = world.call(r#"echo "$# $1 $2"; echo err >&2; exit 3"#).args(["a b", "--c"]).output().unwrap();
    assert_seen(&output, 3, "2 a b --c\n", "err\n");
    daemon.join().unwrap();
}

fn working_is_waited_for(world: &World) {
    let daemon = world.serve(|peer| {
        peer.request();
        for _ in 0..3 {
            peer.send(&Reply::Working);
        }
        // Longer than a silent daemon has: it is the `Working` that buys the time.
        thread::sleep(Duration::from_secs(wire::FIRST_BYTE_SECS) + Duration::from_millis(300));
        peer.send(&Reply::Working);
        peer.send(&Reply::Replay { status: 0, stdout: b"hit".to_vec(), stderr: vec![] });
    });
    assert_seen(&world.call("echo wrong").output().unwrap(), 0, "hit", "");
    daemon.join().unwrap();
    assert!(!world.hung_marker().exists());
}

fn stdin_is_sent_and_given_back(world: &World) {
    let daemon = world.answer(Reply::Exec { reason: String::new() });
    let mut command = world.call("cat");
    command.args(["--crate-name", "x", "-"]);
    assert_seen(&run_with_input(command, b"fn main() {}".to_vec()), 0, "fn main() {}", "");
    assert_eq!(daemon.join().unwrap().stdin, Stdin::Bytes(b"fn main() {}".to_vec()));
}

fn large_stdin(world: &World) {
    let daemon = world.answer(Reply::Exec { reason: String::new() });
    let input: Vec<u8> = (0..wire::MAX_STDIN + 300_000).map(|index| (index % 251) as u8).collect();
    let mut command = world.call("cat");
    command.arg("-");
    assert!(run_with_input(command, input.clone()).stdout == input);
    assert_eq!(daemon.join().unwrap().stdin, Stdin::TooLarge);
}

fn stdin_is_left_alone(world: &World) {
    let daemon = world.answer(Reply::Exec { reason: String::new() });
    let mut command = world.call("cat");
    command.arg("-vV");
    assert_seen(&run_with_input(command, b"theirs".to_vec()), 0, "theirs", "");
    assert_eq!(daemon.join().unwrap().stdin, Stdin::NotRead);
}

fn large_environment(world: &World) {
    let daemon = world.answer(Reply::Replay { status: 0, stdout: b"hit".to_vec(), stderr: vec![] });
    let value = "v".repeat(120_000);
    let mut command = world.call("echo wrong");
    for index in 0..15 {
        command.env(format!("LARGE_{index}"), &value);
    }
    assert_seen(&command.output().unwrap(), 0, "hit", "");
    let large = daemon.join().unwrap().env.into_iter().filter(|(_, found)| *found == *value).count();
    assert_eq!(large, 15);
}

fn closed_streams(world: &World) {
    let daemon = world.answer(Reply::Replay { status: 5, stdout: b"nobody".to_vec(), stderr: b"listens".to_vec() });
    let mut command = world.wrapper_under(&["sh", "-c", "exec \"$@\" <&- >&- 2>&-", "sh"], "");
    assert_seen(&command.arg(world.rustc()).output().unwrap(), 5, "", "");
    daemon.join().unwrap();
}
