//! `kached` as a citizen: one per cache directory, private, quick to end, talking HTTP, evicting what is too much.

use kache_testkit::{Binaries, Machine, finish_within, http_get, run, samples, skipped, until};
use rustix::process::Signal;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(20);

fn kached() -> Command {
    Command::new(Binaries::get().kached())
}

#[test]
fn a_second_daemon_on_the_same_cache_directory_exits_with_3_and_says_why() {
    let machine = Machine::new();
    let mut second = machine.spawn(kached());
    let status = finish_within(&mut second, BOUND).expect("the second daemon ends");
    assert_eq!(status.code(), Some(3), "{}", machine.log());
    assert!(!machine.log().trim().is_empty());
    assert_eq!(http_get(&machine.socket(), "/healthz").unwrap().0, 200, "the first one goes on");
}

#[test]
fn termination_and_interrupt_end_it_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let machine = Machine::idle();
        let mut child = machine.spawn(kached());
        until("kached ready", BOUND, || machine.log().contains("kached ready").then_some(()));
        // Idle and half-spoken connections must not hold it up.
        let _idle = UnixStream::connect(machine.socket()).unwrap();
        let mut half = UnixStream::connect(machine.socket()).unwrap();
        half.write_all(b"GET /hea").unwrap();
        let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
        assert_eq!(finish_within(&mut child, BOUND).expect("kached ends").code(), Some(0), "{}", machine.log());
    }
}

#[test]
fn the_socket_is_private_and_a_dead_daemons_socket_is_replaced() {
    let machine = Machine::new();
    let mode = || fs::metadata(machine.socket()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    machine.kill();
    assert!(machine.socket().exists());
    machine.start();
    assert_eq!(mode(), 0o600);
}

#[test]
fn a_daemon_that_ends_leaves_the_socket_of_another_alone() {
    let machine = Machine::new();
    let next = machine.path("next");
    let _listener = UnixListener::bind(&next).unwrap();
    fs::rename(&next, machine.socket()).unwrap();
    machine.stop();
    assert!(machine.socket().exists());
}

/// The last logout takes `/run/user/UID` away.
#[test]
fn a_daemon_whose_socket_is_gone_ends_and_gives_the_cache_free() {
    let machine = Machine::idle();
    let mut child = machine.spawn(kached());
    until("kached ready", BOUND, || machine.log().contains("kached ready").then_some(()));
    fs::remove_file(machine.socket()).unwrap();
    assert_eq!(finish_within(&mut child, BOUND).expect("kached ends").code(), Some(0), "{}", machine.log());
    machine.start();
}

#[test]
fn a_daemon_whose_cache_directory_was_emptied_ends_and_the_next_one_stores_again() {
    let machine = Machine::idle();
    let mut child = machine.spawn(kached());
    until("kached ready", BOUND, || machine.log().contains("kached ready").then_some(()));
    for entry in fs::read_dir(machine.cache_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    assert_eq!(finish_within(&mut child, BOUND).expect("kached ends").code(), Some(0), "{}", machine.log());
    machine.start();
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    project.remove("target");
    machine.restores(&project, &["build"]);
}

/// Who could put a socket where ours should be, in `/tmp` for instance, would get everything that a build tells.
#[test]
fn a_daemon_of_another_user_is_asked_nothing() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root can start a daemon of another user");
        return;
    }
    let machine = Machine::idle();
    let own = Command::new("chown").args(["-R", "65534"]).arg(machine.home().parent().unwrap()).status().unwrap();
    assert!(own.success());
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--clear-groups"]).arg(Binaries::get().kached());
    machine.launch(command);
    let asked = machine.kache(&["status"]);
    assert!(!asked.status.success() && asked.stderr.contains("somebody else listens"), "{}{}", asked.stdout, asked.stderr);
    let project = samples::pair(machine.path("a"));
    machine.cargo(&project).args(["build"]).ok();
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
}

#[test]
fn it_speaks_http_on_the_same_socket() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    assert_eq!(http_get(&machine.socket(), "/healthz").unwrap().0, 200);
    assert_eq!(http_get(&machine.socket(), "/nothing").unwrap().0, 404);
    let (status, body) = http_get(&machine.socket(), "/metrics").unwrap();
    let text = String::from_utf8(body).unwrap();
    let mut samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).peekable();
    assert!(status == 200 && samples.peek().is_some());
    for line in samples {
        assert!(line.starts_with("kache_"), "{line}");
        assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
    }
    // The program is stored behind the reply.
    let stats = until("both artifacts are stored", BOUND, || Some(machine.stats()).filter(|stats| stats.store.artifacts == 2));
    assert_eq!((stats.pid, stats.outcomes.miss), (machine.pid(), 2));
    assert!(stats.requests >= 2 && stats.store.bytes > 0);
    assert!(stats.latency_us.contains_key("hit") && stats.latency_us.contains_key("miss_overhead"));
}

#[test]
fn counters_tell_what_was_saved_and_placed() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    machine.build(&project, &["build"]);
    project.remove("target");
    machine.restores(&project, &["build"]);
    let stats = machine.stats();
    assert!(stats.saved_compile_secs > 0.0);
    let placed = stats.restored_bytes;
    assert!(placed.reflink + placed.hardlink + placed.copy > 0);
}

#[test]
fn a_size_limit_evicts_and_builds_go_on() {
    let machine = Machine::with(&[("KACHE_MAX_SIZE", "8MiB")]);
    let project = samples::full(machine.path("a"));
    for number in 0..4 {
        project.write("kernel/number.txt", number.to_string());
        machine.build(&project, &["build", "--workspace"]);
    }
    let store = until("eviction", BOUND, || Some(machine.stats().store).filter(|store| store.bytes <= store.max_bytes));
    assert_eq!(store.max_bytes, 8 << 20);
    assert!(store.evicted_artifacts > 0, "{store:?}");
    project.write("kernel/number.txt", "7").remove("target");
    machine.build(&project, &["build", "--workspace"]);
    assert_eq!(run(project.file("target/debug/app")), samples::FULL_REPORT);
    assert!(machine.kache(&["verify"]).status.success());
}

#[test]
fn an_unknown_key_in_the_configuration_is_an_error_that_names_file_and_key() {
    let machine = Machine::idle();
    fs::write(machine.config(), "[cache]\nmax_sise = \"1GiB\"\n").unwrap();
    let mut child = machine.spawn(kached());
    let status = finish_within(&mut child, BOUND).expect("kached ends");
    assert!(!status.success());
    assert!(machine.log().contains("max_sise") && machine.log().contains("config.toml"), "{}", machine.log());
}

#[test]
fn a_socket_path_that_is_too_long_is_an_error_with_a_way_out() {
    let machine = Machine::idle();
    let mut command = Command::new("env");
    command.arg(format!("KACHE_SOCKET=/tmp/{}", "x".repeat(150))).arg(Binaries::get().kached());
    let mut child = machine.spawn(command);
    assert!(!finish_within(&mut child, BOUND).expect("kached ends").success());
    assert!(machine.log().contains("KACHE_SOCKET"), "{}", machine.log());
}

#[test]
fn settings_of_a_build_do_not_reach_the_daemon() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    let before = machine.stats().store.max_bytes;
    machine.cargo(&project).args(["build"]).env("KACHE_MAX_SIZE", "1MiB").ok();
    assert_eq!(machine.stats().store.max_bytes, before);
}

#[test]
fn a_flood_of_connections_does_not_stop_a_build() {
    let machine = Machine::new();
    let idle: Vec<UnixStream> = (0..200).filter_map(|_| UnixStream::connect(machine.socket()).ok()).collect();
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    project.remove("target");
    machine.restores(&project, &["build"]);
    drop(idle);
}
