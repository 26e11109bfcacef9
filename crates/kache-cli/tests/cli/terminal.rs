//! What a terminal is shown and a pipe isn't: colours, and something that moves.

use crate::Place;
use crate::fake::{Answers, Fake, status};
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

/// `kache arguments` with a terminal for all three, by util-linux' `script`; `None` where there is no such program.
fn on_a_terminal(place: &Place, arguments: &str) -> Option<Command> {
    let probe = Command::new("script").arg("--version").output().ok()?;
    if !String::from_utf8_lossy(&probe.stdout).contains("util-linux") {
        return None;
    }
    let mut command = Command::new("script");
    command.args(["-qec", &format!("{} {arguments}", place.path("kache").display()), "/dev/null"]).env_clear();
    command.envs(place.kache(&[]).get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm").env("SHELL", "/bin/sh");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    Some(command)
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let place = Place::new();
    let Some(mut command) = on_a_terminal(&place, "stats") else { return };
    let escapes = |command: &mut Command| command.output().unwrap().stdout.contains(&0x1b);
    assert!(escapes(&mut command));
    assert!(!escapes(command.env("NO_COLOR", "1")));
    assert!(!place.run(&["stats"]).stderr.contains('\x1b'));
}

/// What `command` writes until it ends, while a fake daemon keeps the answer to `slow` back until `text` was read there.
fn read_while(place: &Place, mut command: Command, answers: Answers, slow: &'static str, text: &str) -> String {
    let (seen, release) = channel();
    let release = Mutex::new(release);
    let _fake = Fake::serve_with(&place.path("s"), answers, move |question| {
        if question == slow {
            let _shown = release.lock().unwrap().recv_timeout(Duration::from_secs(30));
        }
    });
    let mut child = command.spawn().unwrap();
    let mut out: Box<dyn Read> = match child.stderr.take() {
        Some(stderr) => Box::new(stderr),
        None => Box::new(child.stdout.take().unwrap()),
    };
    let (mut said, mut buffer) = (String::new(), [0; 4096]);
    while let Ok(length @ 1..) = out.read(&mut buffer) {
        said.push_str(&String::from_utf8_lossy(&buffer[..length]));
        if said.contains(text) {
            let _ = seen.send(());
        }
    }
    assert!(child.wait().unwrap().success());
    said
}

const CLEAN: &str = r#"{"blobs":1,"bytes":512,"findings":[]}"#;
const FLUSHED: &str = r#"{"bucket":"read-write","being_stored":0,"queued_uploads":0,"refused_uploads":0,"indexes":0,"last_error":null}"#;
const TO_GO: &str = "waiting for the bucket: 12 uploads, 1 build index to go";

/// A daemon that has something to upload.
fn flushing() -> Answers {
    let bucket = r#","bucket":{"mode":"read-write","name":"b","queued_uploads":12,"indexes":1},"field_of"#;
    let (code, status) = status(7);
    vec![("POST /v1/flush", vec![(200, FLUSHED.into())]), ("GET /v1/status", vec![(code, status.replace(r#","field_of"#, bucket))])]
}

#[test]
fn what_takes_long_shows_that_it_goes_on() {
    for (arguments, answers, slow, text, end) in [
        (
            "verify",
            vec![("POST /v1/verify", vec![(200, CLEAN.into())]), ("GET /v1/status", vec![status(7)])],
            "POST /v1/verify",
            "re-hashing the store",
            "1 blob checked, 512 B: nothing found",
        ),
        ("flush", flushing(), "POST /v1/flush", TO_GO, "everything is in the bucket"),
        ("doctor || true", vec![("GET /v1/status", vec![status(7)])], "GET /v1/status", "looking (", "problem"),
    ] {
        let place = Place::new();
        let Some(command) = on_a_terminal(&place, arguments) else { return };
        let said = read_while(&place, command, answers, slow, text);
        assert!(said.contains(text) && said.contains(end), "{arguments}: {said:?}");
    }
}

#[test]
fn a_sync_draws_a_bar() {
    let place = Place::new();
    let Some(mut command) = on_a_terminal(&place, "sync --pull") else { return };
    let progress = |done| format!("{{\"event\":\"progress\",\"what\":\"pull\",\"done\":{done},\"of\":2}}\n");
    let tally = r#"{"moved":2,"bytes":2048,"present":0,"kept":0,"failed":{}}"#;
    let lines = format!("{}{}{{\"event\":\"summary\",\"pull\":{tally},\"push\":{tally}}}\n", progress(1), progress(2));
    let _fake = Fake::serve(&place.path("s"), vec![("POST /v1/sync", vec![(200, lines)])]);
    let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(said.contains("pull [") && said.contains("/2") && said.contains("pull: moved 2 artifacts (2 KiB), 0 present"), "{said:?}");
}

#[test]
fn where_no_terminal_is_a_long_flush_says_now_and_then_what_is_to_go() {
    let place = Place::new();
    let mut command = place.kache(&["flush"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let said = read_while(&place, command, flushing(), "POST /v1/flush", TO_GO);
    assert_eq!(said, format!("kache: {TO_GO}\n"));
}
