//! Runs rustc as a plan says, passes its output on, and reports.
//!
//! Promises: the caller gets rustc's own status whatever happens to the daemon meanwhile; rustc doesn't outlive us (Linux); the
//! socket isn't inherited by it.

use super::forward::{Kept, Pump};
use super::{exec, exit_code, file};
use crate::client::Connection;
use crate::frame::{Plan, Report, Status};
use crate::wire;
use rustix::process::{Resource, Rlimit, Signal, getpid, kill_process, setrlimit};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::Instant;

/// Takes a compile over from a front that can't run it: `args` are what follows `__compile`, that is the protocol's
/// version, the socket's descriptor, how many bytes of the compile frame are left in it, and the compiler with its arguments. A version that isn't
/// ours (programs are exchanged while builds run) makes it a plain rustc. Call it on the main thread, first thing.
pub fn run_compile(args: impl Iterator<Item = OsString>) -> ExitCode {
    let mut args = args.peekable();
    // However many there are in another version: a compiler isn't called by a number.
    let numbers: Vec<u32> = std::iter::from_fn(|| args.next_if(|text| number(text).is_some()).as_ref().and_then(number)).collect();
    let argv: Vec<OsString> = args.collect();
    let taken_over = match numbers.as_slice() {
        &[wire::VERSION, socket, remaining] => inherited_socket(socket).zip(usize::try_from(remaining).ok()),
        _ => None,
    };
    match taken_over.and_then(|(socket, remaining)| Connection::take_over(socket, remaining).ok()) {
        Some((connection, plan)) => run(connection, &plan, &argv),
        None => exec(&argv),
    }
}

fn number(text: &OsString) -> Option<u32> {
    text.to_str()?.parse().ok()
}

/// Runs rustc for an invocation whose question was answered with `plan`.
pub(super) fn run(mut connection: Connection, plan: &Plan, argv: &[OsString]) -> ExitCode {
    let Ok((mut command, private_files)) = command(plan, argv) else {
        drop(connection);
        return exec(argv);
    };
    let start = Instant::now();
    let Ok(mut child) = spawn(&mut command) else {
        // It can't be started with these arguments; whether it can without them, it will say itself.
        drop((connection, private_files));
        return exec(argv);
    };
    let pumps = pumps(&mut child, plan);
    let Ok(status) = child.wait() else {
        return ExitCode::FAILURE;
    };
    let wall_millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (stdout, stderr) = pumps.as_ref().map_or_else(Default::default, |(stdout, stderr)| (stdout.kept(), stderr.kept()));
    let report = report(status, stdout, stderr, wall_millis);
    // Whether the daemon heard it or not: rustc has run, and its status is the answer.
    let _ = connection.report(&report);
    drop(pumps);
    end_like(report.status)
}

/// The command line of the plan, and the private files that it names.
fn command(plan: &Plan, argv: &[OsString]) -> io::Result<(Command, Vec<File>)> {
    let Plan { runner: _, insert_at, extra_args, argfiles, show, capture } = plan;
    let mut args = argv.to_vec();
    let mut files = Vec::new();
    for (index, bytes) in argfiles {
        let slot = args.get_mut(*index as usize).ok_or(io::ErrorKind::InvalidInput)?;
        let file = file::inherited(bytes)?;
        *slot = [OsString::from("@"), file::inherited_name(&file)].into_iter().collect();
        files.push(file);
    }
    let insert_at = (*insert_at as usize).clamp(1, args.len().max(1));
    let program = args.first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(&args[1..insert_at]).args(extra_args).args(&args[insert_at..]);
    if *capture || !show.is_empty() {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    Ok((command, files))
}

/// Starts rustc so that it dies with us. The kernel ties it to the *thread* that started it: hence the main thread, which stays.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "a killed wrapper must not leave a rustc writing into a target directory whose lease is free again")]
fn spawn(command: &mut Command) -> io::Result<Child> {
    use std::os::unix::process::CommandExt as _;
    let parent = getpid();
    let die_with_us = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // We may be gone already.
        if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
    };
    // SAFETY: the closure runs between fork and exec; it makes two system calls and allocates nothing.
    unsafe { command.pre_exec(die_with_us) };
    command.spawn()
}

#[cfg(not(target_os = "linux"))]
fn spawn(command: &mut Command) -> io::Result<Child> {
    command.spawn()
}

fn pumps(child: &mut Child, plan: &Plan) -> Option<(Pump, Pump)> {
    let (stdout, stderr) = (child.stdout.take()?, child.stderr.take()?);
    let Plan { show, capture, .. } = plan;
    Some((
        Pump::start(stdout, rustix::stdio::stdout(), show.clone(), *capture),
        Pump::start(stderr, rustix::stdio::stderr(), show.clone(), *capture),
    ))
}

fn report(status: ExitStatus, stdout: Kept, stderr: Kept, wall_millis: u64) -> Report {
    let status = match (status.code(), status.signal()) {
        (Some(code), _) => Status::Code(code),
        (None, signal) => Status::Signal(signal.unwrap_or(0)),
    };
    Report { status, truncated: stdout.truncated || stderr.truncated, stdout: stdout.bytes, stderr: stderr.bytes, wall_millis }
}

/// Ends as rustc did; by the same signal, if it was one, but without a core dump of ours on top of rustc's.
fn end_like(status: Status) -> ExitCode {
    match status {
        Status::Code(code) => exit_code(code),
        Status::Signal(number) => {
            if let Some(signal) = Signal::from_named_raw(number) {
                let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
                restore_default_action(number);
                let _ = kill_process(getpid(), signal);
            }
            exit_code(128 + number)
        }
    }
}

/// Takes back what std has set up: it ignores SIGPIPE, and looks at SIGSEGV and SIGBUS first.
#[expect(unsafe_code, reason = "neither std nor rustix has a call for it")]
fn restore_default_action(number: i32) {
    use std::ffi::c_int;
    const DEFAULT: usize = 0;
    unsafe extern "C" {
        fn signal(number: c_int, action: usize) -> usize;
    }
    // SAFETY: as POSIX has it. The default action runs no code of ours, and this process is about to end.
    unsafe { signal(number, DEFAULT) };
}

/// The socket that the front left open for us, no longer to be inherited. `None` if the number isn't that of a socket.
#[expect(unsafe_code, reason = "a descriptor that comes over exec is a bare number")]
fn inherited_socket(number: u32) -> Option<OwnedFd> {
    use std::os::fd::{BorrowedFd, FromRawFd};
    let number = i32::try_from(number).ok().filter(|number| *number > 2)?;
    // SAFETY: only asked what it is, which an unused number answers with an error.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    let is_socket = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(descriptor).ok()?.st_mode) == rustix::fs::FileType::Socket;
    rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC).ok().filter(|()| is_socket)?;
    // SAFETY: it is open, came over exec and is named on our command line: nobody else in this process owns it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
