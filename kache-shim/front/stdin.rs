//! Standard input: read for the daemon when rustc would read it, and put back for rustc when it must run after all.
//!
//! The file that it is put back in is made before the first byte is read: where none can be had, nothing has happened yet. What can go wrong
//! later ends the process: rustc must never take an empty or a cut-off standard input for the whole.

use crate::memory::Buffer;
use crate::process::Process;
use crate::sys;
use crate::wire;

/// What was taken.
pub enum Stdin {
    /// Nothing: the command line doesn't read it.
    Nothing,
    /// Everything, and an empty file for it.
    All(&'static [u8], i32),
    /// The beginning, and an empty file; the rest is still there.
    Beginning(&'static [u8], i32),
}

impl Stdin {
    /// Reads if the arguments hold a lone `-`. A read error is taken for the end. `Err`, and nothing read, if it couldn't be put back.
    pub fn take(process: &Process) -> sys::Result<Self> {
        if !process.argv().any(|argument| argument == c"-") {
            return Ok(Self::Nothing);
        }
        let file = sys::memory_file()?;
        let mut buffer = Buffer::mapped();
        while buffer.filled().len() <= wire::MAX_STDIN {
            let Ok(room) = buffer.room(8 << 10) else { break };
            let Ok(len @ 1..) = sys::read(0, room) else { break };
            buffer.advance(len);
        }
        let bytes = buffer.filled();
        Ok(if bytes.len() > wire::MAX_STDIN { Self::Beginning(bytes, file) } else { Self::All(bytes, file) })
    }

    /// Kind and bytes, as the request says it.
    pub fn to_wire(&self) -> (u8, &'static [u8]) {
        match self {
            Self::Nothing => (wire::stdin::NOT_READ, &[]),
            Self::All(bytes, _) => (wire::stdin::BYTES, bytes),
            Self::Beginning(..) => (wire::stdin::TOO_LARGE, &[]),
        }
    }

    /// Makes standard input read from its beginning again. What wasn't read yet is read now: rustc reads all of it before it
    /// begins, so nobody can tell. False if that can't be: then nothing may run that would read it.
    #[must_use]
    pub fn give_back(&self) -> bool {
        let (bytes, file, more) = match *self {
            Self::Nothing => return true,
            Self::All(bytes, file) => (bytes, file, false),
            Self::Beginning(bytes, file) => (bytes, file, true),
        };
        let mut whole = sys::write_all(file, bytes);
        let mut chunk = [0; 16 << 10];
        while more && whole {
            let Ok(len @ 1..) = sys::read(0, &mut chunk) else { break };
            whole = sys::write_all(file, chunk.get(..len).unwrap_or_default());
        }
        whole && sys::become_stdin(file).is_ok()
    }
}
