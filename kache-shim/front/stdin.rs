//! Standard input: read for the daemon when rustc would read it, and put back for rustc when it must run after all.

use crate::memory::Buffer;
use crate::process::Process;
use crate::sys;
use crate::wire;

/// What was taken.
pub enum Stdin {
    /// Nothing: the command line doesn't read it.
    Nothing,
    /// Everything.
    All(&'static [u8]),
    /// The beginning; the rest is still there.
    Beginning(&'static [u8]),
}

impl Stdin {
    /// Reads if the arguments hold a lone `-`. A read error is taken for the end: rustc meets it again.
    pub fn take(process: &Process) -> Self {
        if !process.argv().any(|argument| argument == c"-") {
            return Self::Nothing;
        }
        let mut buffer = Buffer::mapped();
        while buffer.filled().len() <= wire::MAX_STDIN {
            let Ok(room) = buffer.room(8 << 10) else { break };
            let Ok(len @ 1..) = sys::read(0, room) else { break };
            buffer.advance(len);
        }
        let bytes = buffer.filled();
        if bytes.len() > wire::MAX_STDIN { Self::Beginning(bytes) } else { Self::All(bytes) }
    }

    /// Kind and bytes, as the request says it.
    pub fn to_wire(&self) -> (u8, &'static [u8]) {
        match self {
            Self::Nothing => (wire::stdin::NOT_READ, &[]),
            Self::All(bytes) => (wire::stdin::BYTES, bytes),
            Self::Beginning(_) => (wire::stdin::TOO_LARGE, &[]),
        }
    }

    /// Makes standard input read from its beginning again. What wasn't read yet is read now: rustc reads all of it before it
    /// begins, so nobody can tell.
    pub fn give_back(&self) {
        let (bytes, more) = match self {
            Self::Nothing => return,
            Self::All(bytes) => (bytes, false),
            Self::Beginning(bytes) => (bytes, true),
        };
        let Ok(file) = sys::memory_file() else { return };
        let mut whole = sys::write_all(file, bytes);
        let mut chunk = [0; 16 << 10];
        while more && whole {
            let Ok(len @ 1..) = sys::read(0, &mut chunk) else { break };
            whole = sys::write_all(file, chunk.get(..len).unwrap_or_default());
        }
        sys::become_stdin(file);
    }
}
