//! What a terminal is shown and a pipe isn't: colours, and something that moves.

use crate::Place;
use crate::fake::{Fake, status};
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

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

#[test]
fn what_takes_long_shows_that_it_goes_on() {
    let place = Place::new();
    let Some(mut command) = on_a_terminal(&place, "verify") else { return };
    let (seen, release) = channel();
    let clean = r#"{"blobs":1,"bytes":512,"findings":[]}"#;
    let answers = vec![("POST /v1/verify", vec![(200, clean.into())]), ("GET /v1/status", vec![status(7)])];
    let _fake = Fake::serve_with(&place.path("s"), answers, move |question| {
        if question == "POST /v1/verify" {
            // The answer waits until something was shown.
            let _shown = release.recv_timeout(std::time::Duration::from_secs(30));
        }
    });
    let mut child = command.spawn().unwrap();
    let (mut out, mut text, mut buffer) = (child.stdout.take().unwrap(), String::new(), [0; 4096]);
    while let Ok(length @ 1..) = out.read(&mut buffer) {
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        if text.contains("re-hashing the store") {
            let _ = seen.send(());
        }
    }
    assert!(child.wait().unwrap().success());
    assert!(text.contains("re-hashing the store") && text.contains("1 blob checked, 512 B: nothing found"), "{text:?}");
}
