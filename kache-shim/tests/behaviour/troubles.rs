//! A cache in trouble is a plain rustc.

use crate::world::{World, assert_seen, run_with_input};
use crate::{Case, say};
use kache_proto::{Reply, wire};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::time::Duration;

pub(crate) const CASES: &[Case] = &[
    ("no_daemon_means_rustc", no_daemon),
    ("refused_means_rustc", refused),
    ("switched_off_means_rustc_and_no_connection", switched_off),
    ("hung_daemon_is_waited_for_once", hung_daemon),
    ("old_marker_counts_no_more", old_marker),
    ("marker_of_another_user_counts_for_nothing", foreign_marker),
    ("marker_that_is_no_file_counts_for_nothing_and_holds_nobody_up", odd_marker),
    ("full_queue_counts_as_hung", full_queue),
    ("garbage_means_rustc", garbage),
    ("another_version_means_rustc", another_version),
    ("frame_out_of_turn_means_rustc", out_of_turn),
    ("death_in_mid_answer_prints_nothing_of_it", death_in_mid_answer),
    ("daemon_that_has_begun_to_speak_is_not_hung", slow_after_the_first_byte),
    ("another_users_socket_is_left_alone", another_user),
    ("no_descriptor_to_put_stdin_back_in_means_rustc_and_stdin_untouched", no_descriptor),
    ("no_memory_to_put_stdin_back_in_means_rustc_and_stdin_untouched", no_memory_file),
    ("stdin_that_cannot_be_put_back_runs_nothing", stdin_lost),
    ("death_before_the_answer_gives_stdin_back", death_before_the_answer),
    ("socket_path_too_long_means_rustc", path_too_long),
    ("no_place_for_a_socket_means_rustc", no_place),
    ("own_names_in_front_are_skipped", own_names),
    ("nothing_to_run_is_nothing_done", nothing_to_run),
    ("compiler_is_looked_up_in_path", path_lookup),
    ("tools_of_other_languages_are_run_and_nobody_is_asked", other_tools),
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

#[track_caller]
fn assert_asks(world: &World) {
    let daemon = world.answer(Reply::Replay { status: 0, stdout: b"hit".to_vec(), stderr: vec![] });
    assert_seen(&world.call(SCRIPT).output().unwrap(), 0, "hit", "");
    daemon.join().unwrap();
    fs::remove_file(world.socket()).unwrap();
}

fn foreign_marker(world: &World) {
    if !rustix::process::geteuid().is_root() {
        say("skipped: only root can make another user's file");
        return;
    }
    fs::write(world.hung_marker(), "").unwrap();
    chown(world.hung_marker(), Some(65534), None).unwrap();
    assert_asks(world);
    // It can't be told apart from one's own by where a link leads.
    fs::write(world.path("own"), "").unwrap();
    fs::remove_file(world.hung_marker()).unwrap();
    symlink(world.path("own"), world.hung_marker()).unwrap();
    assert_asks(world);
}

fn odd_marker(world: &World) {
    fs::create_dir(world.hung_marker()).unwrap();
    assert_asks(world);
    fs::remove_dir(world.hung_marker()).unwrap();
    assert!(Command::new("mkfifo").arg(world.hung_marker()).status().unwrap().success());
    assert_asks(world);
    // A hung daemon can't be noted then, and that is all.
    let _listener = world.listen();
    assert_runs_rustc(world.call(SCRIPT));
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

fn slow_after_the_first_byte(world: &World) {
    let daemon = world.serve(|peer| {
        peer.request();
        peer.send_raw(&wire::preamble());
        let left = peer.is_left_within(Duration::from_secs(wire::FIRST_BYTE_SECS) * 2);
        if !left {
            peer.send_raw(&Reply::Replay { status: 0, stdout: b"hit".to_vec(), stderr: vec![] }.encode().unwrap());
        }
        left
    });
    assert_seen(&world.call(SCRIPT).output().unwrap(), 0, "hit", "");
    assert!(!daemon.join().unwrap());
    assert!(!world.hung_marker().exists());
}

/// Whoever begins to listen counts, so a thread that has become another user does.
#[cfg(target_os = "linux")]
fn another_user(world: &World) {
    use std::io::{Read as _, Write as _};
    if !rustix::process::geteuid().is_root() {
        say("skipped: only root can be another user");
        return;
    }
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    bind(&socket, &SocketAddrUnix::new(world.socket()).unwrap()).unwrap();
    let daemon = std::thread::spawn(move || {
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65534)).unwrap();
        listen(&socket, 8).unwrap();
        UnixListener::from(socket)
    });
    let listener = daemon.join().unwrap();
    let talk = std::thread::spawn(move || {
        let mut heard = Vec::new();
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let _ = (&stream).read_to_end(&mut heard);
        let answer = Reply::Replay { status: 0, stdout: b"from a stranger".to_vec(), stderr: vec![] };
        let _ = (&stream).write_all(&[wire::preamble().as_slice(), &answer.encode().unwrap()].concat());
        heard
    });
    assert_runs_rustc(world.call(SCRIPT));
    assert_eq!(talk.join().unwrap(), b"", "a stranger is told nothing");
    assert!(!world.hung_marker().exists());
}

#[cfg(not(target_os = "linux"))]
fn another_user(_world: &World) {
    say("skipped: needs a thread that can be another user");
}

/// Runs `cat -` for a compiler, below `front`, with a daemon that leaves it to rustc.
fn cat_below(world: &World, front: &[&str], input: &[u8]) -> std::process::Output {
    let daemon = world.serve(|peer| {
        if !peer.is_left() {
            peer.send(&Reply::Exec { reason: "test".into() });
        }
    });
    let mut command = world.wrapper_under(front, "");
    command.args(["/bin/cat", "-"]);
    let output = run_with_input(command, input.to_vec());
    daemon.join().unwrap();
    output
}

fn no_descriptor(world: &World) {
    // The standard streams and the socket: nothing is left.
    let output = cat_below(world, &["sh", "-c", "ulimit -n 4 && exec \"$@\"", "sh"], b"source");
    assert_seen(&output, 0, "source", "");
}

fn strace_can(injection: &str) -> bool {
    let tried = Command::new("strace").args(["-qq", "-o", "/dev/null", "-e", injection, "true"]).output();
    let can = tried.is_ok_and(|output| output.status.success());
    if !can {
        say("skipped: needs strace");
    }
    can
}

fn no_memory_file(world: &World) {
    let injection = "inject=memfd_create:error=ENOMEM";
    if strace_can(injection) {
        assert_seen(&cat_below(world, &["strace", "-qq", "-o", "/dev/null", "-e", injection], b"source"), 0, "source", "");
    }
}

fn stdin_lost(world: &World) {
    let injection = "inject=lseek:error=EIO";
    if strace_can(injection) {
        assert_seen(&cat_below(world, &["strace", "-qq", "-o", "/dev/null", "-e", injection], b"source"), 1, "", "");
    }
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

fn other_tools(world: &World) {
    let listener = world.listen();
    for name in ["cc", "x86_64-linux-gnu-g++-12", "ar"] {
        let tool = world.path(name);
        fs::copy(world.rustc(), &tool).unwrap();
        let mut by_path = world.wrapper(SCRIPT);
        by_path.arg(&tool);
        assert_runs_rustc(by_path);
        let mut by_name = world.wrapper(SCRIPT);
        by_name.arg(name).env("PATH", format!("{}:/usr/bin:/bin", world.path(".").display()));
        assert_runs_rustc(by_name);
    }
    assert_nobody_asked(&listener);
}

fn missing_compiler(world: &World) {
    assert_seen(&world.wrapper("").arg("/nonexistent/rustc").output().unwrap(), 127, "", "");
    assert_seen(&world.wrapper("").arg("nonexistent-rustc").output().unwrap(), 127, "", "");
}
