//! Becoming another program: rustc, or the runner that a compile is handed to.

use crate::memory::{Buffer, place, terminated};
use crate::process::Process;
use crate::sys::{self, Errno};
use crate::talk::Socket;
use crate::wire;
use core::ffi::CStr;

/// Longest path that is tried, terminator included, bytes: the kernel's own bound.
const PATH_MAX: usize = 4096;

/// Becomes rustc with the caller's arguments. Returns only if that can't be: then with a shell's status for it.
pub fn exec_compiler(process: &Process) -> i32 {
    let Some(program) = process.argv().next() else {
        return 2;
    };
    let error =
        if program.to_bytes().iter().any(|byte| *byte == b'/') { exec(process, program) } else { search(process, program.to_bytes()) };
    if error == Errno::NOENT { 127 } else { 126 }
}

fn exec(process: &Process, program: &CStr) -> Errno {
    let (argv, envp) = process.raw();
    // SAFETY: as the kernel gave them to us.
    unsafe { sys::exec(program, argv, envp) }
}

/// Tries the directories of `PATH`, as a C library would.
fn search(process: &Process, name: &[u8]) -> Errno {
    let mut worst = Errno::NOENT;
    if name.is_empty() {
        return worst;
    }
    for directory in process.variable("PATH").unwrap_or(b"/bin:/usr/bin").split(|byte| *byte == b':') {
        let mut path = [0; PATH_MAX];
        let separator: &[u8] = if directory.is_empty() { b"" } else { b"/" };
        let Some(program) = join(&mut path, [directory, separator, name]) else { continue };
        match exec(process, program) {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCES => worst = Errno::ACCES,
            error => return error,
        }
    }
    worst
}

fn join<'a>(path: &'a mut [u8; PATH_MAX], parts: [&[u8]; 3]) -> Option<&'a CStr> {
    let mut len = 0;
    for part in parts {
        place(path, len, part)?;
        len += part.len();
    }
    terminated(path)
}

/// Becomes `runner __compile <version> <socket> <remaining> <argv…>`. Returns if that can't be, with the socket private again.
pub fn exec_runner(process: &Process, socket: &Socket, runner: &[u8], remaining: usize) {
    let mut path = [0; PATH_MAX];
    let Some(runner) = join(&mut path, [runner, b"", b""]).filter(|runner| !runner.is_empty()) else { return };
    let (version, fd, remaining) =
        (Decimal::new(wire::VERSION), Decimal::new(socket.fd().cast_unsigned()), Decimal::new(remaining as u32));
    let front = [runner.as_ptr().cast(), c"__compile".as_ptr().cast(), version.as_ptr(), fd.as_ptr(), remaining.as_ptr()];
    let (_, envp) = process.raw();
    let mut argv = Buffer::mapped();
    let pointers = front.into_iter().chain(process.argv().map(|argument| argument.as_ptr().cast())).chain([core::ptr::null()]);
    for pointer in pointers {
        if argv.put_pointer(pointer).is_err() {
            return;
        }
    }
    sys::set_inherited(socket.fd(), true);
    // SAFETY: a null-terminated array of terminated strings that live until the end of this function; mapped memory is aligned.
    let _ = unsafe { sys::exec(runner, argv.filled().as_ptr().cast(), envp) };
    sys::set_inherited(socket.fd(), false);
}

/// A number's digits, terminated.
pub struct Decimal {
    digits: [u8; 11],
    start: usize,
}

impl Decimal {
    /// Writes the number.
    pub fn new(mut number: u32) -> Self {
        let mut decimal = Self { digits: [0; 11], start: 10 };
        loop {
            decimal.start -= 1;
            if let Some(digit) = decimal.digits.get_mut(decimal.start) {
                *digit = b'0' + (number % 10) as u8;
            }
            number /= 10;
            if number == 0 {
                return decimal;
            }
        }
    }

    /// The digits.
    pub fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.start..10).unwrap_or_default()
    }

    /// For the kernel: terminated.
    fn as_ptr(&self) -> *const u8 {
        self.digits.get(self.start..).unwrap_or_default().as_ptr()
    }
}
