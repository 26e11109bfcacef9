//! Standard input: read for the daemon when rustc would read it, and put back for rustc when it must run after all.

use super::file;
use crate::frame::Stdin;
use crate::wire;
use std::ffi::OsString;
use std::io::{self, Read};

/// What was taken from standard input.
#[derive(Debug)]
pub(super) enum TakenStdin {
    /// Nothing: the command line doesn't read it.
    Nothing,
    /// Everything.
    All(Vec<u8>),
    /// The beginning; the rest is still there.
    Beginning(Vec<u8>),
}

impl TakenStdin {
    /// Reads standard input if `argv` holds a lone `-`, up to a byte more than a request carries. A read error is taken for the
    /// end: rustc meets it again.
    pub(super) fn take(argv: &[OsString]) -> Self {
        if !argv.iter().any(|argument| argument == "-") {
            return Self::Nothing;
        }
        let mut bytes = Vec::new();
        let _ = input().take(wire::MAX_STDIN as u64 + 1).read_to_end(&mut bytes);
        if bytes.len() > wire::MAX_STDIN { Self::Beginning(bytes) } else { Self::All(bytes) }
    }

    /// As the request says it.
    pub(super) fn to_frame(&self) -> Stdin {
        match self {
            Self::Nothing => Stdin::NotRead,
            Self::All(bytes) => Stdin::Bytes(bytes.clone()),
            Self::Beginning(_) => Stdin::TooLarge,
        }
    }

    /// Makes standard input read from its beginning again. What wasn't read yet is read now: rustc reads all of it before it
    /// begins, so nobody can tell.
    pub(super) fn give_back(self) {
        let given = match self {
            Self::Nothing => return,
            Self::All(bytes) => file::inherited(&bytes, io::empty()),
            Self::Beginning(bytes) => file::inherited(&bytes, input()),
        };
        if let Ok(file) = given {
            let _ = rustix::stdio::dup2_stdin(&file);
            let _ = rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::CLOEXEC);
        }
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
