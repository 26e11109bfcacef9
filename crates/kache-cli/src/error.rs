//! What can go wrong, as people read it, and the exit code that goes with it.

use crate::exit;
use kache_config::ConfigError;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("kached isn't running (no answer at {}); start it by `kache start`", .socket.display())]
    NotRunning { socket: PathBuf },
    #[error("can't connect to kached at {}: {source}", .socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    #[error("somebody else listens at {}, not this user's kached: set KACHE_SOCKET to a path in a directory that is yours alone", .socket.display())]
    Foreign { socket: PathBuf },
    #[error("kached accepts connections at {} but gave no answer within {} s", .socket.display(), .after.as_secs())]
    Silent { socket: PathBuf, after: Duration },
    #[error("kached broke off its answer to {request}: {cause}")]
    BrokenOff { request: String, cause: String },
    #[error("kached answered {request} with {status}: {body}")]
    Refused { request: String, status: u16, body: String },
    #[error("kached's answer to {request} makes no sense: {cause}")]
    Nonsense { request: String, cause: String },
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Socket(#[from] kache_proto::SocketPathError),
    #[error("{name} isn't beside {}: install the three programs into one directory", .kache.display())]
    NoBinary { name: &'static str, kache: PathBuf },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("kached ended with {status} before it was ready{}", .log)]
    DiedEarly { status: String, log: LogTail },
    #[error("kached (pid {pid}) wasn't ready after {} s; see {}", .after.as_secs(), .log.display())]
    NotReady { pid: u32, after: Duration, log: PathBuf },
    #[error("kached (pid {pid}) is still running after {} s", .after.as_secs())]
    StillRunning { pid: i32, after: Duration },
    #[error("{0}")]
    Unknown(String),
    #[error("kache monitor draws on a terminal, and this is none; `kache stats --watch` prints, and GET /v1/events tells programs")]
    NoTerminal,
    #[error("interrupted; what was moved stays, and the same command goes on from there")]
    Interrupted { signal: i32 },
    #[error("nobody listens any more")]
    Unheard,
    #[error("{0}")]
    Store(String),
    #[error("{0}")]
    Sync(String),
    #[error("nobody can be asked here: pass --yes to {doing}, or {look} to see what would be done")]
    NoConsent { doing: &'static str, look: &'static str },
    #[error("{0}")]
    CargoConfig(#[from] crate::cargo_config::CargoConfigError),
    #[error("{0}")]
    Setup(String),
}

/// The last lines that a daemon wrote, below an error's first line.
#[derive(Debug, Default)]
pub(crate) struct LogTail(pub(crate) Vec<String>);

impl std::fmt::Display for LogTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.0.is_empty() {
            f.write_str(":")?;
        }
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl Error {
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::NotRunning { .. } => exit::NOT_RUNNING,
            Self::Config(_) | Self::Socket(_) | Self::NoConsent { .. } | Self::CargoConfig(_) => exit::USAGE,
            // As shells count.
            Self::Interrupted { signal } => u8::try_from(128 + signal).unwrap_or(exit::FAILED),
            _ => exit::FAILED,
        }
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
