//! Standard input: read for the daemon when rustc would read it, and put back for rustc when it must run after all.
//!
//! The file that it is put back in is made before the first byte is read: where none can be had, nothing has happened yet. What can go wrong
//! later ends the process: rustc must never take an empty or a cut-off standard input for the whole.

use super::file;
use crate::frame::Stdin;
use crate::wire;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};

/// What was taken from standard input.
#[derive(Debug)]
pub(super) enum TakenStdin {
    /// Nothing: the command line doesn't read it.
    Nothing,
    /// Everything, and an empty file for it.
    All(Vec<u8>, File),
    /// The beginning, and an empty file; the rest is still there.
    Beginning(Vec<u8>, File),
}

impl TakenStdin {
    /// Reads standard input if `argv` holds a lone `-`, up to a byte more than a request carries. A read error is taken for the
    /// end. `Err`, and nothing read, if it couldn't be put back.
    pub(super) fn take(argv: &[OsString]) -> io::Result<Self> {
        if !argv.iter().any(|argument| argument == "-") {
            return Ok(Self::Nothing);
        }
        let file = file::unnamed()?;
        let mut bytes = Vec::new();
        let _ = input().take(wire::MAX_STDIN as u64 + 1).read_to_end(&mut bytes);
        Ok(if bytes.len() > wire::MAX_STDIN { Self::Beginning(bytes, file) } else { Self::All(bytes, file) })
    }

    /// As the request says it.
    pub(super) fn to_frame(&self) -> Stdin {
        match self {
            Self::Nothing => Stdin::NotRead,
            Self::All(bytes, _) => Stdin::Bytes(bytes.clone()),
            Self::Beginning(..) => Stdin::TooLarge,
        }
    }

    /// Makes standard input read from its beginning again. What wasn't read yet is read now: rustc reads all of it before it
    /// begins, so nobody can tell. `Err` if that can't be: then nothing may run that would read it.
    pub(super) fn give_back(self) -> io::Result<()> {
        let file = match self {
            Self::Nothing => return Ok(()),
            Self::All(bytes, file) => file::fill(&file, &bytes, io::empty()).map(|()| file)?,
            Self::Beginning(bytes, file) => file::fill(&file, &bytes, input()).map(|()| file)?,
        };
        rustix::stdio::dup2_stdin(&file)?;
        Ok(rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::CLOEXEC)?)
    }
}

/// Standard input without std's buffer, which would keep bytes to itself.
fn input() -> impl Read {
    struct Input;
    impl Read for Input {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            Ok(rustix::io::retry_on_intr(|| rustix::io::read(rustix::stdio::stdin(), &mut *buffer))?)
        }
    }
    Input
}
