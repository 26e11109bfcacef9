//! `start` and `stop`: what a started daemon inherits, and when they are done.

use crate::fake::{Fake, stats, status};
use crate::{Place, check};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Waits until `path` exists.
fn wait_for(path: &Path) {
    let begin = Instant::now();
    while !path.exists() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{} never came", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A program that writes down what it inherited, and ends when it is told to.
const CURIOUS: &str = r#"
dir=$(dirname "$0")
{ echo "cwd=$(pwd)"; echo "session=$(test "$(ps -o sid= -p $$ | tr -d ' ')" = $$ && echo own)"; echo "fds=$(ls /proc/$$/fd | tr '\n' ' ')"; env; } > "$dir/seen.tmp"
echo "a line for the log" >&2
mv "$dir/seen.tmp" "$dir/seen"
while test -d "$dir" && ! test -e "$dir/end"; do sleep 0.02; done
"#;

#[test]
#[cfg(target_os = "linux")]
fn a_started_daemon_holds_nothing_of_the_build_that_started_it() {
    let place = Place::new();
    place.script("kached", CURIOUS);
    let mut child = {
        // Descriptor 9 stands for a pipe that a CI job waits for.
        let mut through = Command::new("sh");
        through.args(["-c", "exec \"$0\" start 9>/dev/null"]).arg(place.path("kache")).env_clear();
        through.envs(place.kache(&[]).get_envs().filter_map(|(name, value)| Some((name, value?))));
        through.env("CARGO_MAKEFLAGS", "--jobserver").env("KACHE_VERIFY", "always").env("KACHE_MAX_SIZE", "7GiB");
        through.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    wait_for(&place.path("seen"));
    assert!(child.try_wait().unwrap().is_none(), "it waits until the daemon answers");
    let _fake = Fake::serve(&place.path("s"), vec![("GET /v1/status", vec![status(7)])]);
    let said = place.said(child.wait_with_output().unwrap());
    check(&said, 0, "kached 0.1.0 started (pid 7)", "");

    let seen = std::fs::read_to_string(place.path("seen")).unwrap();
    let has = |line: &str| seen.lines().any(|known| known == line);
    assert!(has("cwd=/") && has("session=own") && has("KACHE_MAX_SIZE=7GiB"), "{seen}");
    assert!(!seen.contains("CARGO_MAKEFLAGS") && !seen.contains("KACHE_VERIFY"), "{seen}");
    // 10 is the shell's own descriptor for the script.
    assert!(seen.lines().any(|line| line.strip_prefix("fds=").is_some_and(|fds| fds.split(' ').all(|fd| fd != "9"))), "{seen}");
    assert_eq!(std::fs::read_to_string(place.path("cache/kached.log")).unwrap(), "a line for the log\n");
    std::fs::write(place.path("end"), "").unwrap();
}

#[test]
fn a_daemon_that_ends_early_is_quoted() {
    let place = Place::new();
    std::fs::create_dir(place.path("cache")).unwrap();
    std::fs::write(place.path("cache/kached.log"), "an old line\n").unwrap();
    place.script("kached", "echo 'kached: no room on the disk' >&2; exit 1");
    let expected = "kache: error: kached ended with exit status: 1 before it was ready:\n  kached: no room on the disk";
    check(&place.run(&["start"]), 1, "", expected);
}

#[test]
fn start_with_a_running_daemon_says_so() {
    let place = Place::new();
    let _fake = Fake::serve(&place.path("s"), vec![("GET /v1/status", vec![status(7)])]);
    check(&place.run(&["start"]), 0, "kached 0.1.0 was running already (pid 7)", "");
}

#[test]
fn losing_the_race_to_start_is_as_good_as_winning() {
    let place = Place::new();
    place.script("kached", "touch \"$(dirname \"$0\")/seen\"; exit 3");
    let child = place.kache(&["start"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&place.path("seen"));
    let _fake = Fake::serve(&place.path("s"), vec![("GET /v1/status", vec![status(7)]), ("GET /v1/stats", vec![stats(0, 0, 0, 0.0)])]);
    check(&place.said(child.wait_with_output().unwrap()), 0, "kached 0.1.0 started (pid 7)", "");
}

#[test]
fn stop_waits_until_the_process_is_gone() {
    let place = Place::new();
    let mut daemon = Command::new("sleep").arg("1000").spawn().unwrap();
    let (pid, process) = (daemon.id(), rustix::process::Pid::from_child(&daemon));
    let _fake = Fake::serve_with(
        &place.path("s"),
        vec![("GET /v1/status", vec![status(pid)]), ("POST /v1/stop", vec![(200, String::new())])],
        move |question| {
            if question == "POST /v1/stop" {
                rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
            }
        },
    );
    check(&place.run(&["stop"]), 0, &format!("kached stopped (pid {pid})"), "");
    assert!(!daemon.wait().unwrap().success());
}
