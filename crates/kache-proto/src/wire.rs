//! The format's numbers and its two primitives, reading and writing fields, for everybody who speaks it.
//!
//! Only `core`, no allocation: the shim's no-libc front compiles this very file (by `#[path]`), so that the format stands in one
//! place. `PROTOCOL.md` says it in prose. Deliberately not here: the frames as types (see `frame.rs`), anything that does I/O.

/// First bytes of a connection, in both directions. The zero byte can't begin an HTTP method, so one socket serves both languages.
pub const MAGIC: [u8; 4] = *b"\0KCH";
/// Raised with every change of the format. Unequal versions never guess: the client runs rustc as if there were no daemon.
pub const VERSION: u32 = 1;
/// Magic and version.
pub const PREAMBLE_LEN: usize = 8;
/// Kind and length of a frame.
pub const HEADER_LEN: usize = 5;
/// Longest body of a frame, bytes.
pub const MAX_BODY: usize = 64 << 20;
/// Longest list inside a frame, elements: what decoding can allocate beyond the bytes that were received stays small.
pub const MAX_LIST: usize = 1 << 18;
/// How much of rustc's stdout, and as much again of its stderr, a report carries, bytes. Both fit one frame.
pub const MAX_CAPTURE: usize = 31 << 20;
/// How much standard input a request carries, bytes.
pub const MAX_STDIN: usize = 1 << 20;

/// A daemon that doesn't accept, or doesn't send its first byte, within this is taken for hung, seconds. Not shorter: a rustc that
/// was exec'd isn't remapped, so its dependents miss too.
pub const FIRST_BYTE_SECS: u64 = 1;
/// How long each `Working` frame renews the wait, seconds.
pub const WORKING_SECS: u64 = 10;
/// How long a hung daemon is remembered, seconds.
pub const HUNG_SECS: u64 = 10;
/// How long the end of a compile waits for `Done`, seconds without a `Working`.
pub const DONE_SECS: u64 = 30;

/// What a frame is: the byte in front of its length.
pub mod kind {
    /// Client: an invocation.
    pub const REQUEST: u8 = 1;
    /// Client: how the compile ended.
    pub const REPORT: u8 = 2;
    /// Daemon: run rustc as if there were no cache.
    pub const EXEC: u8 = 16;
    /// Daemon: print this and exit.
    pub const REPLAY: u8 = 17;
    /// Daemon: run rustc like this and report.
    pub const COMPILE: u8 = 18;
    /// Daemon: still busy, wait on.
    pub const WORKING: u8 = 19;
    /// Daemon: the report has been dealt with.
    pub const DONE: u8 = 20;
}

/// What was read from standard input: the byte in front of a request's `stdin` field.
pub mod stdin {
    /// Not read: rustc won't either.
    pub const NOT_READ: u8 = 0;
    /// Read to its end.
    pub const BYTES: u8 = 1;
    /// More than [`super::MAX_STDIN`].
    pub const TOO_LARGE: u8 = 2;
}

/// A connection's first bytes.
pub const fn preamble() -> [u8; PREAMBLE_LEN] {
    let ([a, b, c, d], [e, f, g, h]) = (MAGIC, VERSION.to_le_bytes());
    [a, b, c, d, e, f, g, h]
}

/// A frame's first bytes. `body` must not exceed [`MAX_BODY`]; the codec refuses longer ones before they get here.
pub const fn header(kind: u8, body: usize) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = (body as u32).to_le_bytes();
    [kind, a, b, c, d]
}

/// Kind and body length of a frame; `None` if it is longer than [`MAX_BODY`].
pub const fn parse_header(bytes: [u8; HEADER_LEN]) -> Option<(u8, usize)> {
    let [kind, a, b, c, d] = bytes;
    let len = u32::from_le_bytes([a, b, c, d]) as usize;
    if len > MAX_BODY { None } else { Some((kind, len)) }
}

/// Whether a daemon that runs as `peer` may be told everything, and obeyed, by a client that runs as `own`: if it is the same user, or root, to
/// whom nothing is closed. (Who listens is whoever bound the socket: a service manager may do that as root.)
pub const fn trusts(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

/// A wrapper's own names: a "compiler" called so is ourselves, and running it would start all over.
pub const OWN_NAMES: [&[u8]; 2] = [b"kache-shim", b"kache"];

/// Whether a program's path names a kache wrapper.
pub fn is_own_name(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    OWN_NAMES.contains(&name)
}

/// Whether `KACHE_DISABLED` with this value switches the cache off. Whoever sets it wants that, unless it plainly says no.
pub fn is_disabled(value: &[u8]) -> bool {
    !matches!(value, b"" | b"0" | b"false" | b"no" | b"off")
}

/// Longest path of a socket on this platform, bytes.
pub const MAX_SOCKET_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Where the socket is, as two parts to be joined without a separator; `None` if the environment names no place. The first of
/// `KACHE_SOCKET`, `$XDG_RUNTIME_DIR/kache/kached.sock`, `kached.sock` in the user's cache directory. Empty values are
/// ignored everywhere, relative ones for the directories.
pub fn socket_place<'a>(variable: impl Fn(&str) -> Option<&'a [u8]>) -> Option<(&'a [u8], &'static str)> {
    let absolute = |name: &str| variable(name).filter(|value| value.first() == Some(&b'/'));
    if let Some(path) = variable("KACHE_SOCKET").filter(|value| !value.is_empty()) {
        return Some((path, ""));
    }
    if let Some(directory) = absolute("XDG_RUNTIME_DIR") {
        return Some((directory, "/kache/kached.sock"));
    }
    if cfg!(target_os = "macos") {
        return absolute("HOME").map(|home| (home, "/Library/Caches/kache/kached.sock"));
    }
    if let Some(directory) = absolute("XDG_CACHE_HOME") {
        return Some((directory, "/kache/kached.sock"));
    }
    absolute("HOME").map(|home| (home, "/.cache/kache/kached.sock"))
}

/// Where fields go. An error of the sink ends the writing.
pub trait Sink {
    /// What can go wrong.
    type Error;
    /// Takes the next bytes.
    fn put(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Four bytes, little endian.
    fn u32(&mut self, value: u32) -> Result<(), Self::Error> {
        self.put(&value.to_le_bytes())
    }

    /// Eight bytes, little endian.
    fn u64(&mut self, value: u64) -> Result<(), Self::Error> {
        self.put(&value.to_le_bytes())
    }

    /// A length and that many bytes. A longer string than 4 GiB can't be in a frame: its length is cut, and the frame's check refuses it.
    fn bytes(&mut self, value: &[u8]) -> Result<(), Self::Error> {
        self.u32(value.len() as u32)?;
        self.put(value)
    }
}

/// The head of a request: everything that isn't a list, in the order of the format.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// Device and inode of the working directory.
    pub cwd_id: (u64, u64),
    /// Parent's process id.
    pub parent_pid: u32,
    /// Parent's start time, 0 if unknown.
    pub parent_start: u64,
    /// The process's umask.
    pub umask: u32,
    /// One of [`stdin`].
    pub stdin_kind: u8,
    /// The bytes for [`stdin::BYTES`], else empty.
    pub stdin: &'a [u8],
    /// Working directory.
    pub cwd: &'a [u8],
}

/// Writes a request's body: the head, the arguments, and the environment as `NAME=value` strings. The front and the std client
/// both write it here.
pub fn write_request<'a, S: Sink>(
    sink: &mut S,
    head: RequestHead<'_>,
    (argc, argv): (u32, impl Iterator<Item = &'a [u8]>),
    (envc, env): (u32, impl Iterator<Item = (&'a [u8], &'a [u8])>),
) -> Result<(), S::Error> {
    let RequestHead { cwd_id, parent_pid, parent_start, umask, stdin_kind, stdin, cwd } = head;
    sink.u64(cwd_id.0)?;
    sink.u64(cwd_id.1)?;
    sink.u32(parent_pid)?;
    sink.u64(parent_start)?;
    sink.u32(umask)?;
    sink.put(&[stdin_kind])?;
    sink.bytes(stdin)?;
    sink.bytes(cwd)?;
    sink.u32(argc)?;
    for argument in argv {
        sink.bytes(argument)?;
    }
    sink.u32(envc)?;
    for (name, value) in env {
        sink.u32((name.len() + 1 + value.len()) as u32)?;
        sink.put(name)?;
        sink.put(b"=")?;
        sink.put(value)?;
    }
    Ok(())
}

/// `NAME=value` as its two halves. A name may begin with `=`, as some systems have it; `None` without a separator.
pub fn split_variable(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = 1 + entry.get(1..)?.iter().position(|byte| *byte == b'=')?;
    Some((entry.get(..at)?, entry.get(at + 1..)?))
}

/// Takes fields off the front of a body. Every method returns `None` when the body doesn't hold what is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The fields of a body.
    pub const fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Four bytes, little endian.
    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    /// Eight bytes, little endian.
    pub fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    /// A length and that many bytes.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.take(len as usize)
    }

    /// A list's element count; `None` for one that can't be true or is longer than [`MAX_LIST`].
    pub fn count(&mut self) -> Option<usize> {
        let count = self.u32()? as usize;
        // Each element begins with a length of four bytes.
        (count <= MAX_LIST && count <= self.0.len() / 4).then_some(count)
    }

    /// Ends the reading; `None` if something is left.
    pub fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// Field 22 of `/proc/<pid>/stat`: when the process started, clock ticks since boot. The second field is the program's name in
/// parentheses and may hold anything, so counting begins behind the last one.
pub fn start_time(stat: &[u8]) -> Option<u64> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let field = stat.get(after_name..)?.split(|byte| *byte == b' ').filter(|field| !field.is_empty()).nth(19)?;
    field.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { number.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}
