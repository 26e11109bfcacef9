//! The frames as types, and their bytes.
//!
//! Encoding is total apart from size ([`ProtocolError::TooLarge`]); decoding refuses what it doesn't understand in full, trailing
//! bytes included. Strings of the operating system travel as the bytes they are.

use crate::decode::ProtocolError;
use crate::wire::{self, Fields, RequestHead, Sink, kind};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// One invocation, as the wrapper got it.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The compiler's path, as it was the wrapper's first argument, and the arguments after it.
    pub argv: Vec<OsString>,
    /// Working directory.
    pub cwd: PathBuf,
    /// Its device and inode as the client sees it: tells whether the daemon sees the same filesystem.
    pub cwd_id: (u64, u64),
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Who called: Cargo, as a rule.
    pub parent: Parent,
    /// The umask that outputs are to be made under.
    pub umask: u32,
    /// What rustc would read from standard input.
    pub stdin: Stdin,
}

/// A process, told apart from a later one with the same id by its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parent {
    /// Process id.
    pub pid: u32,
    /// Field 22 of `/proc/<pid>/stat`, clock ticks since boot; 0 if unknown.
    pub start: u64,
}

/// Standard input, which only a command line with a lone `-` reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// rustc won't read it.
    NotRead,
    /// All of it.
    Bytes(Vec<u8>),
    /// More than [`wire::MAX_STDIN`] bytes.
    TooLarge,
}

/// What the daemon says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Run rustc as if there were no cache.
    Exec {
        /// Why, for people who trace.
        reason: String,
    },
    /// Everything is in place: print this and exit.
    Replay {
        /// Exit status.
        status: i32,
        /// For standard output.
        stdout: Vec<u8>,
        /// For standard error.
        stderr: Vec<u8>,
    },
    /// Run rustc like this, and report.
    Compile(Plan),
    /// Still busy: wait on. Sent at least every few seconds, also before [`Reply::Done`].
    Working,
    /// The report has been dealt with: exit.
    Done,
}

/// How to run rustc.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// A program that can run the compile when called as `__compile <version> <fd> <remaining> <argv…>`: the daemon's own path. First in the frame, so that a
    /// front that hands over need not read further.
    pub runner: PathBuf,
    /// Index in the caller's argv at which `extra_args` go in: 1, or 2 after clippy-driver's rustc argument.
    pub insert_at: u32,
    /// Arguments to insert.
    pub extra_args: Vec<OsString>,
    /// `@file` arguments (by index in the caller's argv) to be replaced by a private file with these bytes.
    pub argfiles: Vec<(u32, Vec<u8>)>,
    /// Whole-path replacements to make in rustc's stdout and stderr before they go to Cargo: [`kache_model::roots::replace_paths`].
    pub show: Vec<(String, String)>,
    /// Whether the report shall hold what rustc wrote.
    pub capture: bool,
}

/// How rustc ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It exited.
    Code(i32),
    /// It was killed.
    Signal(i32),
}

/// What a compile came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How rustc ended.
    pub status: Status,
    /// What it wrote to standard output, before [`Plan::show`].
    pub stdout: Vec<u8>,
    /// What it wrote to standard error, before [`Plan::show`].
    pub stderr: Vec<u8>,
    /// `stdout` or `stderr` isn't all that was written.
    pub truncated: bool,
    /// From start to end of rustc, milliseconds of wall time.
    pub wall_millis: u64,
}

/// Any frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Client: an invocation.
    Request(Request),
    /// Client: how the compile ended.
    Report(Report),
    /// Daemon.
    Reply(Reply),
}

impl Message {
    /// The frame's bytes, header included.
    pub fn encode(&self) -> Result<Vec<u8>, ProtocolError> {
        match self {
            Self::Request(request) => request.encode(),
            Self::Report(report) => report.encode(),
            Self::Reply(reply) => reply.encode(),
        }
    }

    /// A frame from its kind and body.
    pub fn decode(kind: u8, body: &[u8]) -> Result<Self, ProtocolError> {
        let mut fields = Fields::new(body);
        let message = match kind {
            kind::REQUEST => read_request(&mut fields).map(Self::Request),
            kind::REPORT => read_report(&mut fields).map(Self::Report),
            kind::EXEC => read_text(&mut fields).map(|reason| Self::Reply(Reply::Exec { reason })),
            kind::REPLAY => read_replay(&mut fields).map(Self::Reply),
            kind::COMPILE => read_plan(&mut fields).map(|plan| Self::Reply(Reply::Compile(plan))),
            kind::WORKING => Some(Self::Reply(Reply::Working)),
            kind::DONE => Some(Self::Reply(Reply::Done)),
            _ => return Err(ProtocolError::UnknownKind(kind)),
        };
        message.filter(|_| fields.end().is_some()).ok_or(ProtocolError::Malformed(kind))
    }
}

/// Without the environment's values, which may be secrets.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { argv, cwd, cwd_id, env, parent, umask, stdin } = self;
        let names: Vec<&OsString> = env.iter().map(|(name, _)| name).collect();
        let mut shown = f.debug_struct("Request");
        shown.field("argv", argv).field("cwd", cwd).field("cwd_id", cwd_id).field("env", &names);
        shown.field("parent", parent).field("umask", umask).field("stdin", stdin).finish()
    }
}

impl Request {
    /// The frame's bytes, header included.
    pub fn encode(&self) -> Result<Vec<u8>, ProtocolError> {
        let Self { argv, cwd, cwd_id, env, parent, umask, stdin } = self;
        let (stdin_kind, stdin) = match stdin {
            Stdin::NotRead => (wire::stdin::NOT_READ, [].as_slice()),
            Stdin::Bytes(bytes) => (wire::stdin::BYTES, bytes.as_slice()),
            Stdin::TooLarge => (wire::stdin::TOO_LARGE, [].as_slice()),
        };
        let head = RequestHead {
            cwd_id: *cwd_id,
            parent_pid: parent.pid,
            parent_start: parent.start,
            umask: *umask,
            stdin_kind,
            stdin,
            cwd: cwd.as_os_str().as_bytes(),
        };
        frame(kind::REQUEST, |out| {
            let argc = list_len(argv.len())?;
            let envc = list_len(env.len())?;
            let variables = env.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            wire::write_request(out, head, (argc, argv.iter().map(|argument| argument.as_bytes())), (envc, variables))
        })
    }
}

impl Report {
    /// The frame's bytes, header included.
    pub fn encode(&self) -> Result<Vec<u8>, ProtocolError> {
        let Self { status, stdout, stderr, truncated, wall_millis } = self;
        let (by_signal, number) = match status {
            Status::Code(code) => (0, *code),
            Status::Signal(signal) => (1, *signal),
        };
        frame(kind::REPORT, |out| {
            out.put(&[by_signal])?;
            out.u32(number.cast_unsigned())?;
            out.put(&[u8::from(*truncated)])?;
            out.u64(*wall_millis)?;
            out.bytes(stdout)?;
            out.bytes(stderr)
        })
    }
}

impl Reply {
    /// The frame's bytes, header included.
    pub fn encode(&self) -> Result<Vec<u8>, ProtocolError> {
        match self {
            Self::Exec { reason } => frame(kind::EXEC, |out| out.bytes(reason.as_bytes())),
            Self::Replay { status, stdout, stderr } => frame(kind::REPLAY, |out| {
                out.u32(status.cast_unsigned())?;
                out.bytes(stdout)?;
                out.bytes(stderr)
            }),
            Self::Compile(plan) => frame(kind::COMPILE, |out| write_plan(out, plan)),
            Self::Working => frame(kind::WORKING, |_| Ok(())),
            Self::Done => frame(kind::DONE, |_| Ok(())),
        }
    }
}

fn write_plan(out: &mut Body, plan: &Plan) -> Result<(), ProtocolError> {
    let Plan { runner, insert_at, extra_args, argfiles, show, capture } = plan;
    out.bytes(runner.as_os_str().as_bytes())?;
    out.u32(*insert_at)?;
    out.put(&[u8::from(*capture)])?;
    out.u32(list_len(extra_args.len())?)?;
    for argument in extra_args {
        out.bytes(argument.as_bytes())?;
    }
    out.u32(list_len(argfiles.len())?)?;
    for (index, bytes) in argfiles {
        out.u32(*index)?;
        out.bytes(bytes)?;
    }
    out.u32(list_len(show.len())?)?;
    for (from, to) in show {
        out.bytes(from.as_bytes())?;
        out.bytes(to.as_bytes())?;
    }
    Ok(())
}

fn read_request(fields: &mut Fields<'_>) -> Option<Request> {
    let cwd_id = (fields.u64()?, fields.u64()?);
    let parent = Parent { pid: fields.u32()?, start: fields.u64()? };
    let umask = fields.u32()?;
    let stdin = match (fields.u8()?, fields.bytes()?) {
        (wire::stdin::NOT_READ, []) => Stdin::NotRead,
        (wire::stdin::BYTES, bytes) if bytes.len() <= wire::MAX_STDIN => Stdin::Bytes(bytes.to_vec()),
        (wire::stdin::TOO_LARGE, []) => Stdin::TooLarge,
        _ => return None,
    };
    let cwd = PathBuf::from(os_string(fields.bytes()?));
    let argv = read_list(fields, |fields| fields.bytes().map(os_string))?;
    let env = read_list(fields, |fields| {
        let (name, value) = wire::split_variable(fields.bytes()?)?;
        Some((os_string(name), os_string(value)))
    })?;
    Some(Request { argv, cwd, cwd_id, env, parent, umask, stdin })
}

fn read_report(fields: &mut Fields<'_>) -> Option<Report> {
    let by_signal = read_flag(fields)?;
    let number = fields.u32()?.cast_signed();
    let status = if by_signal { Status::Signal(number) } else { Status::Code(number) };
    let truncated = read_flag(fields)?;
    let wall_millis = fields.u64()?;
    Some(Report { status, truncated, wall_millis, stdout: fields.bytes()?.to_vec(), stderr: fields.bytes()?.to_vec() })
}

fn read_replay(fields: &mut Fields<'_>) -> Option<Reply> {
    let status = fields.u32()?.cast_signed();
    Some(Reply::Replay { status, stdout: fields.bytes()?.to_vec(), stderr: fields.bytes()?.to_vec() })
}

fn read_plan(fields: &mut Fields<'_>) -> Option<Plan> {
    let runner = PathBuf::from(os_string(fields.bytes()?));
    read_plan_tail(runner, fields)
}

/// The rest of a plan, after its `runner`: what a front that hands over leaves unread.
pub(crate) fn read_plan_tail(runner: PathBuf, fields: &mut Fields<'_>) -> Option<Plan> {
    let insert_at = fields.u32()?;
    let capture = read_flag(fields)?;
    let extra_args = read_list(fields, |fields| fields.bytes().map(os_string))?;
    let argfiles = read_list(fields, |fields| Some((fields.u32()?, fields.bytes()?.to_vec())))?;
    let show = read_list(fields, |fields| Some((read_text(fields)?, read_text(fields)?)))?;
    Some(Plan { runner, insert_at, extra_args, argfiles, show, capture })
}

fn read_list<'a, T>(fields: &mut Fields<'a>, mut item: impl FnMut(&mut Fields<'a>) -> Option<T>) -> Option<Vec<T>> {
    let count = fields.count()?;
    // No capacity ahead of the elements: a count is a claim until they have been read.
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(item(fields)?);
    }
    Some(list)
}

fn read_flag(fields: &mut Fields<'_>) -> Option<bool> {
    match fields.u8()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn read_text(fields: &mut Fields<'_>) -> Option<String> {
    std::str::from_utf8(fields.bytes()?).ok().map(str::to_owned)
}

fn os_string(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}

fn list_len(len: usize) -> Result<u32, ProtocolError> {
    u32::try_from(len).ok().filter(|len| *len as usize <= wire::MAX_LIST).ok_or(ProtocolError::TooLarge)
}

/// A frame under construction.
struct Body(Vec<u8>);

impl Sink for Body {
    type Error = ProtocolError;

    fn put(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        if self.0.len() + bytes.len() > wire::HEADER_LEN + wire::MAX_BODY {
            return Err(ProtocolError::TooLarge);
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn frame(kind: u8, write: impl FnOnce(&mut Body) -> Result<(), ProtocolError>) -> Result<Vec<u8>, ProtocolError> {
    let mut body = Body(vec![0; wire::HEADER_LEN]);
    write(&mut body)?;
    let Body(mut bytes) = body;
    let len = bytes.len() - wire::HEADER_LEN;
    bytes[..wire::HEADER_LEN].copy_from_slice(&wire::header(kind, len));
    Ok(bytes)
}
