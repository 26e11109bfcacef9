//! A cache in trouble is a plain rustc.

use crate::Case;
use crate::world::{World, assert_seen, run_with_input};
use kache_proto::{Reply, wire};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

pub(crate) const CASES: &[Case] = &[
    ("no_daemon_means_rustc", no_daemon),
    ("refused_means_rustc", refused),
    ("switched_off_means_rustc_and_no_connection", switched_off),
    ("hung_daemon_is_waited_for_once", hung_daemon),
    ("old_marker_counts_no_more", old_marker),
    ("full_queue_counts_as_hung", full_queue),
    ("garbage_means_rustc", garbage),
    ("another_version_means_rustc", another_version),
    ("frame_out_of_turn_means_rustc", out_of_turn),
    ("death_in_mid_answer_prints_nothing_of_it", death_in_mid_answer),
    ("death_before_the_answer_gives_stdin_back", death_before_the_answer),
    ("socket_path_too_long_means_rustc", path_too_long),
    ("no_place_for_a_socket_means_rustc", no_place),
    ("own_names_in_front_are_skipped", own_names),
    ("nothing_to_run_is_nothing_done", nothing_to_run),
    ("compiler_is_looked_up_in_path", path_lookup),
    ("compiler_that_is_missing_is_status_127_and_silence", missing_compiler),
];

const SCRIPT: &str = "echo \"ran $1\"; echo err >&2; exit 3";

#[track_caller]
fn assert_runs_rustc(mut command: Command) {
    assert_seen(&command.arg("x").output().unwrap(), 3, "ran x\n", "err\n");
}

#[track_caller]
fn assert_nobody_asked(listener: &UnixListener) {
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

fn no_daemon(world: &World) {
    assert_runs_rustc(world.call(SCRIPT));
    assert!(!world.hung_marker().exists());
}

fn refused(world: &World) {
    drop(world.listen());
    assert_runs_rustc(world.call(SCRIPT));
}

fn switched_off(world: &World) {
    let listener = world.listen();
    for value in ["1", "true", "yes"] {
        let mut command = world.call(SCRIPT);
        command.env("KACHE_DISABLED", value);
        assert_runs_rustc(command);
    }
    assert_nobody_asked(&listener);
}

fn hung_daemon(world: &World) {
    let listener = world.listen();
    assert_runs_rustc(world.call(SCRIPT));
    assert!(world.hung_marker().exists());
    listener.accept().unwrap();
    assert_runs_rustc(world.call(SCRIPT));
    assert_nobody_asked(&listener);
}

fn old_marker(world: &World) {
    let marker = fs::File::create(world.hung_marker()).unwrap();
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    marker.set_modified(hour_ago).unwrap();
    let daemon = world.answer(Reply::Replay { status: 0, stdout: b"hit".to_vec(), stderr: vec![] });
    assert_seen(&world.call(SCRIPT).output().unwrap(), 0, "hit", "");
    daemon.join().unwrap();
}

fn full_queue(world: &World) {
    let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(world.socket()).unwrap()).unwrap();
    listen(&listener, 0).unwrap();
    let _waiting = UnixStream::connect(world.socket()).unwrap();
    assert_runs_rustc(world.call(SCRIPT));
    assert!(world.hung_marker().exists());
}

fn garbage(world: &World) {
    for noise in [b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), b"\0KCHx", &[0; 4096]] {
        let daemon = world.serve(move |peer| {
            peer.request();
            peer.send_raw(noise);
        });
        assert_runs_rustc(world.call(SCRIPT));
        daemon.join().unwrap();
        fs::remove_file(world.socket()).unwrap();
    }
}

fn another_version(world: &World) {
    let daemon = world.serve(|peer| {
        peer.request();
        let mut bytes = [wire::preamble().to_vec(), Reply::Replay { status: 0, stdout: vec![], stderr: vec![] }.encode().unwrap()].concat();
        bytes[4] += 1;
        peer.send_raw(&bytes);
    });
    assert_runs_rustc(world.call(SCRIPT));
    daemon.join().unwrap();
}

fn out_of_turn(world: &World) {
    let daemon = world.answer(Reply::Done);
    assert_runs_rustc(world.call(SCRIPT));
    daemon.join().unwrap();
}

fn death_in_mid_answer(world: &World) {
    let whole = Reply::Replay { status: 0, stdout: vec![b'o'; 200], stderr: vec![b'e'; 200] }.encode().unwrap();
    for cut in [1, 5, 100, whole.len() - 1] {
        let bytes = [wire::preamble().as_slice(), &whole[..cut]].concat();
        let daemon = world.serve(move |peer| {
            peer.request();
            peer.send_raw(&bytes);
        });
        assert_runs_rustc(world.call(SCRIPT));
        daemon.join().unwrap();
        fs::remove_file(world.socket()).unwrap();
    }
    assert!(!world.hung_marker().exists());
}

fn death_before_the_answer(world: &World) {
    let daemon = world.serve(|peer| drop(peer.request()));
    let mut command = world.call("cat");
    command.arg("-");
    assert_seen(&run_with_input(command, b"source".to_vec()), 0, "source", "");
    daemon.join().unwrap();
}

fn path_too_long(world: &World) {
    let mut command = world.call(SCRIPT);
    command.env("KACHE_SOCKET", format!("/tmp/{}", "x".repeat(200)));
    assert_runs_rustc(command);
}

fn no_place(world: &World) {
    let mut command = world.call(SCRIPT);
    command.env_remove("KACHE_SOCKET").env("HOME", "relative");
    assert_runs_rustc(command);
}

fn own_names(world: &World) {
    let mut command = world.wrapper(SCRIPT);
    command.args(["/somewhere/kache-shim", "kache"]).arg(world.rustc());
    assert_runs_rustc(command);
}

fn nothing_to_run(world: &World) {
    assert_seen(&world.wrapper("").output().unwrap(), 0, "", "");
}

fn path_lookup(world: &World) {
    let directory = world.path(".");
    let mut command = world.wrapper(SCRIPT);
    command.arg("fake-rustc").env("PATH", format!("/nonexistent:/dev/null:{}:/bin:/usr/bin", directory.display()));
    assert_runs_rustc(command);
}

fn missing_compiler(world: &World) {
    assert_seen(&world.wrapper("").arg("/nonexistent/rustc").output().unwrap(), 127, "", "");
    assert_seen(&world.wrapper("").arg("nonexistent-rustc").output().unwrap(), 127, "", "");
}
