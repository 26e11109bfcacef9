//! `kached` as a service: emulated, as systemd would start it (a listening socket at descriptor 3, `NOTIFY_SOCKET`, `WATCHDOG_USEC`), and the unit
//! files as their own tools judge them.

use kache_testkit::{Binaries, Machine, finish_within, http_get, run, samples, until};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(20);

/// Stands for the service manager: listens, starts the daemon, and hears what it says.
struct Manager {
    machine: Machine,
    listener: UnixListener,
    heard: Arc<Mutex<String>>,
}

impl Manager {
    fn new() -> Self {
        let machine = Machine::idle();
        let listener = UnixListener::bind(machine.socket()).unwrap();
        let notices = UnixDatagram::bind(machine.path("notify")).unwrap();
        let heard = Arc::new(Mutex::new(String::new()));
        let log = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = notices.recv(&mut buffer) {
                log.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        Self { machine, listener, heard }
    }

    /// Starts kached with the listener at descriptor 3, for the process that `pid` names in the shell.
    fn start_for(&self, pid: &str) -> Child {
        let mut command = Command::new("sh");
        let script = format!("exec 3<&0 </dev/null; LISTEN_PID={pid} LISTEN_FDS=1 exec \"$0\"");
        command.arg("-c").arg(script).arg(Binaries::get().kached());
        command.env("NOTIFY_SOCKET", self.machine.path("notify")).env("WATCHDOG_USEC", "300000");
        self.machine.spawn_reading(command, OwnedFd::from(self.listener.try_clone().unwrap()))
    }

    fn start(&self) -> Child {
        self.start_for("$$")
    }

    /// Returns when a shim has connected.
    fn waits_for_a_connection(&self) {
        let arrival = rustix::event::PollFd::new(&self.listener, rustix::event::PollFlags::IN);
        let bound = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut [arrival], Some(&bound)), Ok(1), "a shim connects");
    }

    /// Waits until the daemon has said a line that begins so.
    fn hears(&self, line: &str) {
        let said = || self.heard.lock().unwrap().lines().any(|heard| heard.starts_with(line)).then_some(());
        until(line, BOUND, said);
    }

    fn ends(&self, child: &mut Child) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        finish_within(child, BOUND).unwrap_or_else(|| panic!("kached goes on:\n{}", self.machine.log())).code()
    }
}

#[test]
fn the_service_manager_hears_that_it_is_ready_alive_and_ending() {
    let manager = Manager::new();
    let mut child = manager.start();
    manager.hears("READY=1");
    manager.hears("STATUS=0 artifacts, 0 B of ");
    manager.hears("WATCHDOG=1");
    let stopped = manager.machine.kache(&["stop"]);
    assert_eq!(stopped.stdout, format!("kached stopped (pid {})\n", child.id()), "{}", stopped.stderr);
    let advice = "kache: its service starts it again for the next build; to end that: `systemctl --user stop kached.socket`\n";
    assert_eq!(stopped.stderr, advice);
    assert_eq!(finish_within(&mut child, BOUND).and_then(|status| status.code()), Some(0), "{}", manager.machine.log());
    manager.hears("STOPPING=1");
}

#[test]
fn nothing_that_came_before_the_daemon_is_lost() {
    let manager = Manager::new();
    let ask = || {
        let mut stream = UnixStream::connect(manager.machine.socket()).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: kache\r\nConnection: close\r\n\r\n").unwrap();
        stream
    };
    let hear = |mut stream: UnixStream| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    let early = ask();
    let mut first = manager.start();
    hear(early);
    assert_eq!(manager.ends(&mut first), Some(0));
    assert!(manager.machine.socket().exists(), "the socket's file isn't the daemon's to remove");

    // What comes between two daemons waits for the second one.
    let between = ask();
    let mut second = manager.start();
    hear(between);
    assert_eq!(manager.ends(&mut second), Some(0));
}

#[test]
fn the_first_build_activates_the_socket_and_is_cached_from_its_first_unit() {
    let manager = Manager::new();
    let project = samples::pair(manager.machine.path("a"));
    let cargo = manager.machine.cargo(&project).args(["build"]);
    let build = cargo.spawn();
    manager.waits_for_a_connection();
    let mut child = manager.start();
    assert!(cargo.finish(build).status.success());
    manager.machine.settle();
    let stats = manager.machine.stats();
    assert_eq!((stats.outcomes.miss, stats.outcomes.bypass, stats.outcomes.all()), (2, 0, 2));
    assert_eq!(manager.ends(&mut child), Some(0));
    let mut child = manager.start();
    manager.hears("READY=1");
    project.remove("target");
    manager.machine.restores(&project, &["build"]);
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
    assert_eq!(manager.ends(&mut child), Some(0));
}

#[test]
fn after_a_reboot_the_first_build_finds_everything() {
    let mut manager = Manager::new();
    let project = samples::pair(manager.machine.path("a"));
    for boot in 0..3 {
        project.remove("target");
        let cargo = manager.machine.cargo(&project).args(["build"]);
        let build = cargo.spawn();
        manager.waits_for_a_connection();
        let mut child = manager.start();
        assert!(cargo.finish(build).status.success());
        manager.machine.settle();
        let outcomes = manager.machine.stats().outcomes;
        let (hits, misses) = if boot == 0 { (0, 2) } else { (2, 0) };
        assert_eq!((outcomes.local_hit, outcomes.miss, outcomes.all()), (hits, misses, 2), "boot {boot}: every question came through");
        assert_eq!(run(project.file("target/debug/prog")), "1\n");
        // A reboot ends the daemon, and takes the runtime directory with the socket's file in it.
        assert_eq!(manager.ends(&mut child), Some(0));
        std::fs::remove_file(manager.machine.socket()).unwrap();
        manager.listener = UnixListener::bind(manager.machine.socket()).unwrap();
    }
}

#[test]
fn a_socket_that_was_handed_to_another_process_is_left_alone() {
    let manager = Manager::new();
    // Somebody listens there already, so this daemon must not begin; it would, had it taken the socket.
    let mut child = manager.start_for("1");
    assert_eq!(finish_within(&mut child, BOUND).and_then(|status| status.code()), Some(3));
    assert!(manager.machine.log().contains("another kached listens on"), "{}", manager.machine.log());
}

#[test]
fn what_is_no_listening_socket_is_refused() {
    let machine = Machine::idle();
    for (descriptors, input, complaint) in [
        ("1", "/dev/null", "kached: the service manager handed over something that isn't a listening Unix socket\n"),
        ("2", "/dev/null", "kached: the service manager handed over 2 sockets, expected one\n"),
    ] {
        let mut command = Command::new("sh");
        let script = format!("exec 3<{input} 4<{input}; LISTEN_PID=$$ LISTEN_FDS={descriptors} exec \"$0\"");
        command.arg("-c").arg(script).arg(Binaries::get().kached());
        let mut child = machine.spawn(command);
        assert_eq!(finish_within(&mut child, BOUND).and_then(|status| status.code()), Some(1));
        assert_eq!(machine.log(), complaint);
    }
    assert!(http_get(&machine.socket(), "/healthz").is_err());
}

fn in_repository(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name)
}

/// Whether a tool is on this machine; where it isn't, its check is left out.
fn has(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if !has("systemd-analyze") {
        return;
    }
    let machine = Machine::idle();
    let units = ["kached.socket", "kached.service"].map(|name| {
        let text = std::fs::read_to_string(in_repository("systemd").join(name)).unwrap();
        let there = text.replace("%h/.cargo/bin/kached", &Binaries::get().kached().display().to_string());
        assert_eq!(there == text, name == "kached.socket");
        std::fs::write(machine.path(name), there).unwrap();
        machine.path(name)
    });
    let mut verify = Command::new("systemd-analyze");
    verify.args(["--user", "--man=no", "verify"]).args(units).env("XDG_RUNTIME_DIR", machine.path("home"));
    let said = verify.output().unwrap();
    let complaints = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && complaints.trim().is_empty(), "{complaints}");
}

#[test]
fn the_property_list_is_well_formed_and_names_the_socket() {
    if !has("python3") {
        return;
    }
    let script = "\
import plistlib, sys
agent = plistlib.load(open(sys.argv[1], 'rb'))
print(agent['Label'], *agent['ProgramArguments'], *agent['Sockets'], oct(agent['Sockets']['Listener']['SockPathMode']))";
    let said = Command::new("python3").arg("-c").arg(script).arg(in_repository("launchd/dev.kache.kached.plist")).output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout);
    assert_eq!(text.trim(), "dev.kache.kached HOME/.cargo/bin/kached Listener 0o600", "{}", String::from_utf8_lossy(&said.stderr));
}
