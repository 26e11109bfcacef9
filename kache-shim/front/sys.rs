//! Linux system calls, as many as are needed, by number.
//!
//! Results are the kernel's: a value, or `Err` with the errno. Interrupted calls are repeated where that is right.

use crate::memory::place;
use core::ffi::CStr;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const LSEEK: usize = 8;
    pub const MMAP: usize = 9;
    pub const SOCKET: usize = 41;
    pub const CONNECT: usize = 42;
    pub const SENDTO: usize = 44;
    pub const RECVFROM: usize = 45;
    pub const SETSOCKOPT: usize = 54;
    pub const GETSOCKOPT: usize = 55;
    pub const EXECVE: usize = 59;
    pub const FCNTL: usize = 72;
    pub const GETCWD: usize = 79;
    pub const UMASK: usize = 95;
    pub const GETEUID: usize = 107;
    pub const GETPPID: usize = 110;
    pub const CLOCK_GETTIME: usize = 228;
    pub const EXIT_GROUP: usize = 231;
    pub const OPENAT: usize = 257;
    pub const NEWFSTATAT: usize = 262;
    pub const PPOLL: usize = 271;
    pub const UTIMENSAT: usize = 280;
    pub const DUP3: usize = 292;
    pub const MEMFD_CREATE: usize = 319;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const GETCWD: usize = 17;
    pub const DUP3: usize = 24;
    pub const FCNTL: usize = 25;
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const LSEEK: usize = 62;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const PPOLL: usize = 73;
    pub const NEWFSTATAT: usize = 79;
    pub const UTIMENSAT: usize = 88;
    pub const EXIT_GROUP: usize = 94;
    pub const CLOCK_GETTIME: usize = 113;
    pub const UMASK: usize = 166;
    pub const GETPPID: usize = 173;
    pub const GETEUID: usize = 175;
    pub const SOCKET: usize = 198;
    pub const CONNECT: usize = 203;
    pub const SENDTO: usize = 206;
    pub const RECVFROM: usize = 207;
    pub const SETSOCKOPT: usize = 208;
    pub const GETSOCKOPT: usize = 209;
    pub const EXECVE: usize = 221;
    pub const MMAP: usize = 222;
    pub const MEMFD_CREATE: usize = 279;
}

/// An errno.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    pub const NOENT: Self = Self(2);
    pub const INTR: Self = Self(4);
    pub const AGAIN: Self = Self(11);
    pub const ACCES: Self = Self(13);
    pub const NOTDIR: Self = Self(20);
}

pub type Result<T> = core::result::Result<T, Errno>;

const AT_FDCWD: usize = -100_isize as usize;
const O_CLOEXEC: usize = 0o2_000_000;

/// # Safety
/// As the system call: pointers among the arguments must be good for what the kernel does with them.
#[cfg(target_arch = "x86_64")]
unsafe fn call(number: usize, [a, b, c, d, e, f]: [usize; 6]) -> Result<usize> {
    let result: isize;
    // SAFETY: the kernel's calling convention; rcx and r11 are what it clobbers.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    if (-4095..0).contains(&result) { Err(Errno(-result as i32)) } else { Ok(result as usize) }
}

/// # Safety
/// As the system call: pointers among the arguments must be good for what the kernel does with them.
#[cfg(target_arch = "aarch64")]
unsafe fn call(number: usize, [a, b, c, d, e, f]: [usize; 6]) -> Result<usize> {
    let result: isize;
    // SAFETY: the kernel's calling convention; it clobbers nothing else.
    unsafe {
        core::arch::asm!("svc 0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") d,
            in("x4") e, in("x5") f, options(nostack));
    }
    if (-4095..0).contains(&result) { Err(Errno(-result as i32)) } else { Ok(result as usize) }
}

fn again_if_interrupted(mut attempt: impl FnMut() -> Result<usize>) -> Result<usize> {
    loop {
        match attempt() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Ends the process.
pub fn exit(status: i32) -> ! {
    loop {
        // SAFETY: no pointers.
        let _ = unsafe { call(number::EXIT_GROUP, [status as usize, 0, 0, 0, 0, 0]) };
    }
}

/// Reads once.
pub fn read(fd: i32, into: &mut [u8]) -> Result<usize> {
    // SAFETY: the kernel writes at most the slice's length into it.
    again_if_interrupted(|| unsafe { call(number::READ, [fd as usize, into.as_mut_ptr() as usize, into.len(), 0, 0, 0]) })
}

/// Writes everything, as far as somebody takes it. A descriptor in non-blocking mode is waited for.
pub fn write_all(fd: i32, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        // SAFETY: the kernel reads at most the slice's length from it.
        match unsafe { call(number::WRITE, [fd as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0]) } {
            Ok(len) => bytes = bytes.get(len..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_writable(fd),
            Err(_) => return false,
        }
    }
    true
}

fn wait_writable(fd: i32) {
    // `struct pollfd`: descriptor, events asked for (POLLOUT), events that came.
    let mut entry = [fd.to_ne_bytes(), [4, 0, 0, 0]];
    // SAFETY: one entry, which the kernel may write to; no time limit and no signal mask.
    let _ = unsafe { call(number::PPOLL, [entry.as_mut_ptr() as usize, 1, 0, 0, 0, 0]) };
}

/// Closes a descriptor.
pub fn close(fd: i32) {
    // SAFETY: no pointers; descriptors are plain numbers in this program, each closed by who opened it.
    let _ = unsafe { call(number::CLOSE, [fd as usize, 0, 0, 0, 0, 0]) };
}

/// Opens for reading.
pub fn open_read(path: &CStr) -> Result<i32> {
    // SAFETY: a terminated string.
    let fd = unsafe { call(number::OPENAT, [AT_FDCWD, path.as_ptr() as usize, O_CLOEXEC, 0, 0, 0]) }?;
    Ok(fd as i32)
}

/// Makes the file, if it isn't there, and sets its times to now. Follows no symlink, and doesn't wait for a fifo's other end.
pub fn touch(path: &CStr) {
    const O_WRONLY: usize = 0o1;
    const O_CREAT: usize = 0o100;
    const O_NONBLOCK: usize = 0o4_000;
    const O_NOFOLLOW: usize = if cfg!(target_arch = "aarch64") { 0o100_000 } else { 0o400_000 };
    let flags = O_WRONLY | O_CREAT | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC;
    // SAFETY: a terminated string.
    if let Ok(fd) = unsafe { call(number::OPENAT, [AT_FDCWD, path.as_ptr() as usize, flags, 0o600, 0, 0]) } {
        // SAFETY: the times' pointer may be null and then means now, as may the path's, which then means the descriptor.
        let _ = unsafe { call(number::UTIMENSAT, [fd, 0, 0, 0, 0, 0]) };
        close(fd as i32);
    }
}

/// What is used of `struct stat`.
pub struct Stat {
    pub device: u64,
    pub inode: u64,
    pub is_file: bool,
    pub owner: u32,
    pub modified_secs: i64,
}

/// Follows symlinks.
pub fn stat(path: &CStr) -> Result<Stat> {
    stat_with(path, 0)
}

/// The same of a symlink itself.
pub fn stat_link(path: &CStr) -> Result<Stat> {
    const AT_SYMLINK_NOFOLLOW: usize = 0x100;
    stat_with(path, AT_SYMLINK_NOFOLLOW)
}

fn stat_with(path: &CStr, flags: usize) -> Result<Stat> {
    const S_IFMT: u64 = 0o170_000;
    const S_IFREG: u64 = 0o100_000;
    // Larger than the kernel's structure. Device, inode and times are at the same places on both architectures. In between x86-64 has 64 bits of
    // links, then mode and owner of 32 bits each; aarch64 has mode, links and owner, all of 32 bits.
    let mut buffer = [0_u64; 32];
    // SAFETY: a terminated string, and room for the structure.
    unsafe { call(number::NEWFSTATAT, [AT_FDCWD, path.as_ptr() as usize, buffer.as_mut_ptr() as usize, flags, 0, 0]) }?;
    let (mode, owner) = if cfg!(target_arch = "aarch64") { (buffer[2], buffer[3]) } else { (buffer[3], buffer[3] >> 32) };
    let is_file = mode & S_IFMT == S_IFREG;
    Ok(Stat { device: buffer[0], inode: buffer[1], is_file, owner: owner as u32, modified_secs: buffer[11] as i64 })
}

/// The working directory.
pub fn cwd(buffer: &mut [u8]) -> Result<&[u8]> {
    // SAFETY: the kernel writes at most the slice's length into it.
    let len = unsafe { call(number::GETCWD, [buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0, 0]) }?;
    // The length counts the terminating zero. "(unreachable)/…" is what it says for a directory outside of the root.
    buffer.get(..len.saturating_sub(1)).filter(|path| path.first() == Some(&b'/')).ok_or(Errno::NOENT)
}

/// The umask. Reading it means setting it, for a moment.
pub fn umask() -> u32 {
    // SAFETY: no pointers.
    let umask = unsafe { call(number::UMASK, [0; 6]) }.unwrap_or(0);
    // SAFETY: no pointers.
    let _ = unsafe { call(number::UMASK, [umask, 0, 0, 0, 0, 0]) };
    umask as u32
}

/// Who started this process.
pub fn parent() -> u32 {
    // SAFETY: no pointers.
    unsafe { call(number::GETPPID, [0; 6]) }.unwrap_or(0) as u32
}

/// As whom this process acts.
pub fn user() -> Result<u32> {
    // SAFETY: no pointers.
    unsafe { call(number::GETEUID, [0; 6]) }.map(|user| user as u32)
}

/// Seconds since the epoch.
pub fn now_secs() -> Option<i64> {
    let mut time = [0_i64; 2];
    // SAFETY: room for a `struct timespec`. Clock 0 is the wall clock.
    unsafe { call(number::CLOCK_GETTIME, [0, time.as_mut_ptr() as usize, 0, 0, 0, 0]) }.ok().map(|_| time[0])
}

/// A Unix stream socket that isn't inherited, with a number above those of the standard streams even if one of these is closed.
pub fn unix_socket() -> Result<i32> {
    const AF_UNIX: usize = 1;
    const SOCK_STREAM: usize = 1;
    const F_DUPFD_CLOEXEC: usize = 1030;
    // SAFETY: no pointers.
    let fd = unsafe { call(number::SOCKET, [AF_UNIX, SOCK_STREAM | O_CLOEXEC, 0, 0, 0, 0]) }?;
    if fd > 2 {
        return Ok(fd as i32);
    }
    // SAFETY: no pointers.
    let higher = unsafe { call(number::FCNTL, [fd, F_DUPFD_CLOEXEC, 3, 0, 0, 0]) };
    close(fd as i32);
    Ok(higher? as i32)
}

/// Which waits of a socket a bound is for.
#[derive(Clone, Copy)]
pub enum Wait {
    Receive = 20,
    /// Connecting, too: for a place in the listener's queue.
    Send = 21,
}

/// Bounds each wait; when it is over, calls fail with [`Errno::AGAIN`].
pub fn set_timeout(fd: i32, wait: Wait, seconds: u64) {
    const SOL_SOCKET: usize = 1;
    let time = [seconds, 0];
    let args = [fd as usize, SOL_SOCKET, wait as usize, time.as_ptr() as usize, size_of_val(&time), 0];
    // SAFETY: a `struct timeval` of the stated size.
    let _ = unsafe { call(number::SETSOCKOPT, args) };
}

/// Connects to the socket at a path of at most 107 bytes.
pub fn connect(fd: i32, path: &[u8]) -> Result<()> {
    // `struct sockaddr_un`: the family in two bytes, then the path, zeros after it.
    let mut address = [0_u8; 110];
    let placed = place(&mut address, 0, &1_u16.to_ne_bytes()).and_then(|()| place(&mut address, 2, path));
    placed.filter(|()| path.len() < 108).ok_or(Errno::NOENT)?;
    // SAFETY: an address of the stated length.
    again_if_interrupted(|| unsafe { call(number::CONNECT, [fd as usize, address.as_ptr() as usize, 3 + path.len(), 0, 0, 0]) })?;
    Ok(())
}

/// As whom the peer of a connected socket acts; of a listener's end: who began to listen.
pub fn peer_user(fd: i32) -> Result<u32> {
    const SOL_SOCKET: usize = 1;
    const SO_PEERCRED: usize = 17;
    // `struct ucred`: process, user, group.
    let mut credentials = [0_u32; 3];
    let mut len = size_of_val(&credentials) as u32;
    let args = [fd as usize, SOL_SOCKET, SO_PEERCRED, credentials.as_mut_ptr() as usize, &raw mut len as usize, 0];
    // SAFETY: room for the structure, and its size, which the kernel may write to.
    unsafe { call(number::GETSOCKOPT, args) }.map(|_| credentials[1])
}

/// Sends everything; a peer that is gone is an error, not a signal.
pub fn send_all(fd: i32, mut bytes: &[u8]) -> Result<()> {
    const MSG_NOSIGNAL: usize = 0x4000;
    while !bytes.is_empty() {
        let args = [fd as usize, bytes.as_ptr() as usize, bytes.len(), MSG_NOSIGNAL, 0, 0];
        // SAFETY: the kernel reads at most the slice's length from it.
        let len = again_if_interrupted(|| unsafe { call(number::SENDTO, args) })?;
        bytes = bytes.get(len..).unwrap_or_default();
    }
    Ok(())
}

/// Receives once; 0 at the end of the stream.
pub fn receive(fd: i32, into: &mut [u8]) -> Result<usize> {
    let args = [fd as usize, into.as_mut_ptr() as usize, into.len(), 0, 0, 0];
    // SAFETY: the kernel writes at most the slice's length into it.
    again_if_interrupted(|| unsafe { call(number::RECVFROM, args) })
}

/// Whether the next program inherits a descriptor.
pub fn set_inherited(fd: i32, inherited: bool) {
    const F_SETFD: usize = 2;
    // SAFETY: no pointers. 1 is FD_CLOEXEC.
    let _ = unsafe { call(number::FCNTL, [fd as usize, F_SETFD, usize::from(!inherited), 0, 0, 0]) };
}

/// A nameless file in memory, inherited.
pub fn memory_file() -> Result<i32> {
    // SAFETY: a terminated string.
    let fd = unsafe { call(number::MEMFD_CREATE, [c"kache".as_ptr() as usize, 0, 0, 0, 0, 0]) }?;
    Ok(fd as i32)
}

/// Makes `fd`, from its beginning, standard input.
pub fn become_stdin(fd: i32) -> Result<()> {
    // SAFETY: no pointers.
    unsafe { call(number::LSEEK, [fd as usize, 0, 0, 0, 0, 0]) }?;
    if fd != 0 {
        // SAFETY: no pointers.
        unsafe { call(number::DUP3, [fd as usize, 0, 0, 0, 0, 0]) }?;
        close(fd);
    }
    Ok(())
}

/// Fresh zeroed memory, never given back.
pub fn map(len: usize) -> Result<*mut u8> {
    const READ_WRITE: usize = 3;
    const PRIVATE_ANONYMOUS: usize = 0x22;
    // SAFETY: the kernel chooses a place that nobody has.
    let address = unsafe { call(number::MMAP, [0, len, READ_WRITE, PRIVATE_ANONYMOUS, usize::MAX, 0]) }?;
    Ok(core::ptr::with_exposed_provenance_mut(address))
}

/// Becomes another program; returns only the reason why not.
///
/// # Safety
/// `argv` and `envp` must be null-terminated arrays of terminated strings.
pub unsafe fn exec(program: &CStr, argv: *const *const u8, envp: *const *const u8) -> Errno {
    // SAFETY: passed on.
    match unsafe { call(number::EXECVE, [program.as_ptr() as usize, argv as usize, envp as usize, 0, 0, 0]) } {
        Ok(_) => Errno::NOENT,
        Err(error) => error,
    }
}
