//! Whatever is wrong with the daemon, the build succeeds and looks as it would without kache.

use kache_testkit::{Machine, Outcomes, run, samples};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

/// Builds on `machine`, requires the right program and output that is that of plain cargo.
fn builds(machine: &Machine) {
    let project = samples::pair(machine.path("a"));
    project.append("below/src/lib.rs", "fn warned() {}\n");
    let plain = machine.plain(project.path()).args(["build", "-j1"]).ok().seen();
    project.remove("target");
    let built = machine.cargo(&project).args(["build", "-j1"]).ok();
    assert_eq!(built.seen(), plain);
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
    assert_eq!(machine.plain(project.path()).args(["build"]).json().rebuilt(), Vec::<String>::new());
}

/// Builds against something that listens where the daemon should, and treats every connection like this.
fn builds_against(talk: impl Fn(UnixStream) + Send + Sync + Clone + 'static) {
    let machine = Machine::idle();
    let listener = UnixListener::bind(machine.socket()).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let talk = talk.clone();
            std::thread::spawn(move || talk(stream));
        }
    });
    builds(&machine);
}

#[test]
fn no_daemon_at_all() {
    builds(&Machine::idle());
}

#[test]
fn a_socket_that_nobody_listens_on_any_more() {
    let machine = Machine::idle();
    drop(UnixListener::bind(machine.socket()).unwrap());
    assert!(machine.socket().exists());
    builds(&machine);
}

#[test]
fn a_file_or_a_directory_where_the_socket_should_be() {
    let machine = Machine::idle();
    std::fs::write(machine.socket(), "not a socket").unwrap();
    builds(&machine);
    let machine = Machine::idle();
    std::fs::create_dir(machine.socket()).unwrap();
    builds(&machine);
}

#[test]
fn a_daemon_that_is_stopped_by_a_signal() {
    let machine = Machine::new();
    machine.signal(Signal::STOP);
    builds(&machine);
    machine.signal(Signal::CONT);
    machine.stop();
}

#[test]
fn a_daemon_that_answers_garbage() {
    builds_against(|mut stream| {
        let _ = stream.write_all(&[0xff; 4096]);
        let _ = stream.read(&mut [0; 65536]);
    });
    builds_against(|mut stream| {
        let _ = stream.read(&mut [0; 65536]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
}

#[test]
fn a_daemon_that_sends_zeros_for_ever() {
    builds_against(|mut stream| while stream.write_all(&[0; 4096]).is_ok() {});
}

#[test]
fn a_daemon_that_hangs_up_at_once_or_after_the_question() {
    builds_against(drop);
    builds_against(|mut stream| {
        let _ = stream.read(&mut [0; 16]);
    });
}

#[test]
fn a_daemon_that_accepts_and_says_nothing() {
    builds_against(|stream| {
        let mut all = Vec::new();
        let _ = (&stream).read_to_end(&mut all);
    });
}

#[test]
fn a_listener_that_never_accepts() {
    let machine = Machine::idle();
    let _listener = UnixListener::bind(machine.socket()).unwrap();
    builds(&machine);
}

#[test]
fn a_disabled_build_asks_nothing() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    let cargo = machine.cargo(&project).args(["build"]).env("KACHE_DISABLED", "1");
    let (_, seen) = machine.watch(|| cargo.ok());
    assert_eq!(seen, Outcomes::default());
    assert_eq!(machine.stats().requests, 0);
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
}

#[test]
fn a_daemon_that_comes_back_is_used_again() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    machine.stop();
    project.remove("target");
    machine.cargo(&project).args(["build"]).ok();
    machine.start();
    project.remove("target");
    machine.restores(&project, &["build"]);
}
