//! The blocking side of a connection: ask, wait while the daemon works, report.
//!
//! Every wait is bounded, and every error means the same to a wrapper: run rustc as if there were no cache. [`ClientError::Hung`] is the one
//! that is remembered ([`HungMarker`]), because it cost time.

use crate::decode::ProtocolError;
use crate::frame::{Message, Plan, Reply, Report, Request, read_plan_tail};
use crate::socket::{hung_marker, is_trusted};
use crate::wire::{self, Fields, kind};
use interprocess::ConnectWaitMode;
use interprocess::local_socket::traits::{Stream as _, StreamCommon as _};
use interprocess::local_socket::{ConnectOptions, GenericFilePath, Stream, ToFsName};
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Why the daemon gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no daemon at {}: {error}", path.display())]
    Absent {
        /// The socket.
        path: PathBuf,
        /// What connecting said.
        error: io::Error,
    },
    /// Another user listens there.
    #[error("{} is another user's", path.display())]
    Foreign {
        /// The socket.
        path: PathBuf,
    },
    /// It didn't accept, or fell silent, for longer than it may.
    #[error("the daemon doesn't answer")]
    Hung,
    /// It closed the connection, or died, in the middle.
    #[error("the connection to the daemon ended: {0}")]
    Lost(io::Error),
    /// It says what it shouldn't.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// It says something that doesn't belong here.
    #[error("the daemon sent a frame out of turn")]
    OutOfTurn,
}

/// A connection with its place in the conversation. The daemon takes it for the lease: dropping it gives the lease back.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    greeted: bool,
}

impl Connection {
    /// Connects. Waits at most [`wire::FIRST_BYTE_SECS`] for a daemon whose queue is full.
    pub fn open(path: &Path) -> Result<Self, ClientError> {
        let deadline = Instant::now() + Duration::from_secs(wire::FIRST_BYTE_SECS);
        let absent = |error| ClientError::Absent { path: path.to_owned(), error };
        loop {
            let name = path.to_fs_name::<GenericFilePath>().map_err(absent)?;
            let stream = ConnectOptions::new().name(name).wait_mode(ConnectWaitMode::Deferred).connect_sync().map_err(absent)?;
            // A connect that must not wait fails on a full queue, which interprocess takes for one in progress: the socket
            // says whether it has a peer.
            let Stream::UdSocket(socket) = &stream;
            if rustix::net::getpeername(socket).is_ok() {
                let trusted = is_trusted(&stream.peer_creds().map_err(absent)?);
                let connection = trusted.then_some(Self { stream, greeted: false });
                return connection.ok_or_else(|| ClientError::Foreign { path: path.to_owned() });
            }
            if Instant::now() >= deadline {
                return Err(ClientError::Hung);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends the request and waits for the answer: any reply but `Working` and `Done`.
    pub fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        self.set_timeouts(wire::FIRST_BYTE_SECS)?;
        let bytes = [wire::preamble().as_slice(), &request.encode()?].concat();
        self.stream.write_all(&bytes).map_err(lost)?;
        match self.answer(wire::WORKING_SECS)? {
            Reply::Done | Reply::Working => Err(ClientError::OutOfTurn),
            reply => Ok(reply),
        }
    }

    /// Reports how the compile ended, and waits until the daemon has dealt with it.
    pub fn report(&mut self, report: &Report) -> Result<(), ClientError> {
        self.set_timeouts(wire::DONE_SECS)?;
        self.stream.write_all(&report.encode()?).map_err(lost)?;
        match self.answer(wire::DONE_SECS)? {
            Reply::Done => Ok(()),
            _ => Err(ClientError::OutOfTurn),
        }
    }

    /// Takes over from a front that read a compile frame up to its `runner` and left `remaining` bytes of it in the socket.
    pub fn take_over(socket: OwnedFd, remaining: usize) -> Result<(Self, Plan), ClientError> {
        let mut connection = Self { stream: Stream::UdSocket(socket.into()), greeted: true };
        connection.set_timeouts(wire::WORKING_SECS)?;
        let body = connection.read_body(remaining)?;
        let mut fields = Fields::new(&body);
        let plan = read_plan_tail(PathBuf::new(), &mut fields).filter(|_| fields.end().is_some());
        Ok((connection, plan.ok_or(ProtocolError::Malformed(kind::COMPILE))?))
    }

    /// The next reply that isn't `Working`. Once the daemon has begun to speak, the wait for each next one is `patience` seconds.
    fn answer(&mut self, patience: u64) -> Result<Reply, ClientError> {
        if !self.greeted {
            self.greet()?;
            self.set_timeouts(patience)?;
        }
        loop {
            let mut header = [0; wire::HEADER_LEN];
            self.stream.read_exact(&mut header).map_err(lost)?;
            let (kind, len) = wire::parse_header(header).ok_or(ProtocolError::TooLarge)?;
            match Message::decode(kind, &self.read_body(len)?)? {
                Message::Reply(Reply::Working) => {}
                Message::Reply(reply) => return Ok(reply),
                Message::Request(_) | Message::Report(_) => return Err(ClientError::OutOfTurn),
            }
        }
    }

    fn greet(&mut self) -> Result<(), ClientError> {
        let mut preamble = [0; wire::PREAMBLE_LEN];
        self.stream.read_exact(&mut preamble).map_err(lost)?;
        let [m0, m1, m2, m3, version @ ..] = preamble;
        if [m0, m1, m2, m3] != wire::MAGIC {
            return Err(ProtocolError::NotKache.into());
        }
        let version = u32::from_le_bytes(version);
        if version != wire::VERSION {
            return Err(ProtocolError::OtherVersion(version).into());
        }
        self.greeted = true;
        Ok(())
    }

    /// Reads a body; memory grows with what arrives, not with what was announced.
    fn read_body(&mut self, len: usize) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        (&mut self.stream).take(len as u64).read_to_end(&mut body).map_err(lost)?;
        if body.len() < len {
            return Err(lost(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(body)
    }

    fn set_timeouts(&self, seconds: u64) -> Result<(), ClientError> {
        let bound = Some(Duration::from_secs(seconds));
        self.stream.set_recv_timeout(bound).and_then(|()| self.stream.set_send_timeout(bound)).map_err(lost)
    }
}

/// A socket with a time limit says "would block" when it is over.
fn lost(error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Hung,
        _ => ClientError::Lost(error),
    }
}

/// The note beside the socket that the daemon was found hung, so that a build pays for it a bounded number of times.
#[derive(Debug)]
pub struct HungMarker(PathBuf);

impl HungMarker {
    /// The marker of that socket.
    pub fn beside(socket: &Path) -> Self {
        Self(hung_marker(socket))
    }

    /// Whether the daemon was found hung within the last [`wire::HUNG_SECS`]. A time in the future says nothing, and neither does what another user
    /// may have left there.
    pub fn is_fresh(&self) -> bool {
        let Ok(marker) = fs::symlink_metadata(&self.0) else { return false };
        let trusted = marker.is_file() && wire::trusts(marker.uid(), rustix::process::geteuid().as_raw());
        let Some(modified) = marker.modified().ok().filter(|_| trusted) else { return false };
        SystemTime::now().duration_since(modified).is_ok_and(|age| age < Duration::from_secs(wire::HUNG_SECS))
    }

    /// Notes it, from now on. Failing to is no trouble: the next invocation waits, too. Follows no symlink, doesn't wait for a fifo's other end, and
    /// writes nothing into what is there.
    pub fn set(&self) {
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).custom_flags(flags).open(&self.0);
        if let Ok(file) = file {
            let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
            let _ = rustix::fs::futimens(&file, &rustix::fs::Timestamps { last_access: now, last_modification: now });
        }
    }
}
