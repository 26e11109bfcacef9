//! The conversation, up to the answer. Every wait is bounded; a daemon that lets one pass is noted beside the socket as hung.

use crate::exec::Decimal;
use crate::memory::{Buffer, place, terminated};
use crate::process::Process;
use crate::stdin::Stdin;
use crate::sys::{self, Errno, Wait};
use crate::wire::{self, Fields, RequestHead, Sink, kind};
use core::ffi::CStr;

/// The socket's path with room for the marker's ending, zeros after it.
struct Path {
    bytes: [u8; wire::MAX_SOCKET_PATH + 6],
    len: usize,
}

/// A connection.
pub struct Socket {
    fd: i32,
    path: Path,
}

/// What is to be done.
pub enum Answer {
    /// Print and exit.
    Replay { status: i32, stdout: &'static [u8], stderr: &'static [u8] },
    /// Let `runner` go on; `remaining` bytes of the frame are left in the socket.
    Compile { runner: &'static [u8], remaining: usize },
    /// Become rustc: the daemon says so, or has nothing sensible to say.
    Compiler,
}

/// Why there was no answer.
enum Trouble {
    /// A wait was over.
    Hung,
    /// Anything else.
    Lost,
}

impl From<Errno> for Trouble {
    fn from(error: Errno) -> Self {
        if error == Errno::AGAIN { Self::Hung } else { Self::Lost }
    }
}

impl Socket {
    /// Connects, if the environment wants it and a daemon is there that isn't known to hang and isn't another user's.
    pub fn reach(process: &Process) -> Option<Self> {
        if process.variable("KACHE_DISABLED").is_some_and(wire::is_disabled) {
            return None;
        }
        let path = Path::find(process)?;
        if path.is_known_hung() {
            return None;
        }
        let fd = sys::unix_socket().ok()?;
        sys::set_timeout(fd, Wait::Send, wire::FIRST_BYTE_SECS);
        let connected = sys::connect(fd, path.socket());
        if connected == Err(Errno::AGAIN) {
            path.note_hung();
        }
        connected.ok()?;
        // In a directory that others may write to, anybody may have put a socket there.
        let trusted = wire::trusts(sys::peer_user(fd).ok()?, sys::user().ok()?);
        trusted.then_some(Self { fd, path })
    }

    /// The descriptor.
    pub fn fd(&self) -> i32 {
        self.fd
    }

    /// Sends the request and waits for the answer.
    pub fn ask(&mut self, process: &Process, stdin: &Stdin) -> Answer {
        // SAFETY: the only buffer of this kind; standard input's has memory of its own.
        let mut buffer = unsafe { Buffer::new() };
        match self.send(&mut buffer, process, stdin).and_then(|()| self.answer(&mut buffer)) {
            Ok(answer) => answer,
            Err(Trouble::Hung) => {
                self.path.note_hung();
                Answer::Compiler
            }
            Err(Trouble::Lost) => Answer::Compiler,
        }
    }

    fn send(&self, buffer: &mut Buffer, process: &Process, stdin: &Stdin) -> Result<(), Trouble> {
        buffer.put(&wire::preamble())?;
        buffer.put(&[0; wire::HEADER_LEN])?;
        write_request(buffer, process, stdin)?;
        let bytes = buffer.filled_mut();
        let body = bytes.len().checked_sub(wire::PREAMBLE_LEN + wire::HEADER_LEN).filter(|len| *len <= wire::MAX_BODY);
        let header = wire::header(kind::REQUEST, body.ok_or(Trouble::Lost)?);
        place(bytes, wire::PREAMBLE_LEN, &header).ok_or(Trouble::Lost)?;
        Ok(sys::send_all(self.fd, bytes)?)
    }

    fn answer(&self, buffer: &mut Buffer) -> Result<Answer, Trouble> {
        sys::set_timeout(self.fd, Wait::Receive, wire::FIRST_BYTE_SECS);
        if self.receive(buffer, wire::PREAMBLE_LEN)? != wire::preamble() {
            return Err(Trouble::Lost);
        }
        sys::set_timeout(self.fd, Wait::Receive, wire::WORKING_SECS);
        loop {
            let header = self.receive(buffer, wire::HEADER_LEN)?;
            let (kind, len) = header.try_into().ok().and_then(wire::parse_header).ok_or(Trouble::Lost)?;
            match kind {
                kind::WORKING if len == 0 => {}
                kind::REPLAY => return replay(self.receive(buffer, len)?).ok_or(Trouble::Lost),
                kind::COMPILE => return self.runner(buffer, len),
                _ => return Ok(Answer::Compiler),
            }
        }
    }

    /// Reads of a compile frame what is needed here.
    fn runner(&self, buffer: &mut Buffer, body: usize) -> Result<Answer, Trouble> {
        let len = Fields::new(self.receive(buffer, 4.min(body))?).u32().ok_or(Trouble::Lost)? as usize;
        let remaining = body.checked_sub(4 + len).ok_or(Trouble::Lost)?;
        Ok(Answer::Compile { runner: self.receive(buffer, len)?, remaining })
    }

    /// The next `len` bytes, in place of what was in the buffer. Memory grows with what arrives, not with what was announced.
    fn receive(&self, buffer: &mut Buffer, len: usize) -> Result<&'static [u8], Trouble> {
        buffer.clear();
        while let Some(missing @ 1..) = len.checked_sub(buffer.filled().len()) {
            let room = buffer.room(missing.min(32 << 10))?;
            let wanted = missing.min(room.len());
            let received = sys::receive(self.fd, room.get_mut(..wanted).unwrap_or_default())?;
            if received == 0 {
                return Err(Trouble::Lost);
            }
            buffer.advance(received);
        }
        Ok(buffer.filled())
    }
}

fn replay(body: &'static [u8]) -> Option<Answer> {
    let mut fields = Fields::new(body);
    let status = fields.u32()?.cast_signed();
    let answer = Answer::Replay { status, stdout: fields.bytes()?, stderr: fields.bytes()? };
    fields.end().map(|()| answer)
}

fn write_request(buffer: &mut Buffer, process: &Process, stdin: &Stdin) -> Result<(), Errno> {
    let here = sys::stat(c".")?;
    let mut cwd = [0; 4096];
    let (stdin_kind, stdin) = stdin.to_wire();
    let parent_pid = sys::parent();
    let head = RequestHead {
        cwd_id: (here.device, here.inode),
        parent_pid,
        parent_start: start_time(parent_pid).unwrap_or(0),
        umask: sys::umask(),
        stdin_kind,
        stdin,
        cwd: sys::cwd(&mut cwd)?,
    };
    let variables = || process.environment().filter_map(|entry| wire::split_variable(entry.to_bytes()));
    let (argc, envc) = (process.argv().count(), variables().count());
    if argc.max(envc) > wire::MAX_LIST {
        return Err(Errno::NOENT);
    }
    let argv = process.argv().map(CStr::to_bytes);
    wire::write_request(buffer, head, (argc as u32, argv), (envc as u32, variables()))
}

/// When a process started.
fn start_time(pid: u32) -> Option<u64> {
    let mut path = [0; 32];
    let mut len = 0;
    for part in [b"/proc/".as_slice(), Decimal::new(pid).as_bytes(), b"/stat"] {
        place(&mut path, len, part)?;
        len += part.len();
    }
    let file = sys::open_read(terminated(&path)?).ok()?;
    let mut stat = [0; 1024];
    let len = sys::read(file, &mut stat);
    sys::close(file);
    wire::start_time(stat.get(..len.ok()?)?)
}

impl Path {
    /// `None` if there is no place, or none that fits a socket's address.
    fn find(process: &Process) -> Option<Self> {
        let (front, rest) = wire::socket_place(|name| process.variable(name))?;
        let mut path = Self { bytes: [0; wire::MAX_SOCKET_PATH + 6], len: front.len() + rest.len() };
        if path.len > wire::MAX_SOCKET_PATH || front.first() != Some(&b'/') {
            return None;
        }
        place(&mut path.bytes, 0, front)?;
        place(&mut path.bytes, front.len(), rest.as_bytes())?;
        place(&mut path.bytes, path.len, b".hung")?;
        Some(path)
    }

    fn socket(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn marker(&self) -> Option<&CStr> {
        terminated(&self.bytes)
    }

    /// A time in the future says nothing, and neither does what another user may have left there.
    fn is_known_hung(&self) -> bool {
        let Some(Ok(marker)) = self.marker().map(sys::stat_link) else {
            return false;
        };
        if !marker.is_file || !sys::user().is_ok_and(|own| wire::trusts(marker.owner, own)) {
            return false;
        }
        let age = sys::now_secs().and_then(|now| now.checked_sub(marker.modified_secs));
        age.is_some_and(|age| (0..wire::HUNG_SECS.cast_signed()).contains(&age))
    }

    fn note_hung(&self) {
        if let Some(marker) = self.marker() {
            sys::touch(marker);
        }
    }
}
