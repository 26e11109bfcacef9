//! The socket: who may connect, which of the two languages is spoken, and an orderly end.
//!
//! Promises: the socket has mode 0600 and only the daemon's own user is answered; after a stop no new connection is taken, what is being
//! published is finished within a bound, and the socket's file is gone, unless a service manager goes on listening there.

use crate::conversation::{self, ConversationError};
use crate::http::{self, Front};
use crate::service;
use crate::standing::Bound;
use interprocess::local_socket::tokio::{Listener, Stream};
use interprocess::local_socket::traits::{StreamCommon as _, tokio::Listener as _};
use interprocess::local_socket::{GenericFilePath, ListenerOptions, ToFsName};
#[cfg(target_os = "linux")]
use interprocess::os::unix::local_socket::ListenerOptionsExt;
use interprocess::os::unix::uds_local_socket;
use kache_proto::ProtocolError;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// How long a stop waits for artifacts that are being published and uploaded.
const DRAIN: Duration = Duration::from_secs(8);

/// The daemon can't listen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("another kached listens on {0}")]
    Taken(PathBuf),
    #[error("can't listen on {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// Binds the socket. A file that nobody listens on is a leftover and replaced.
pub(crate) fn listen(path: &Path) -> Result<Listener, ListenError> {
    let fail = |source| ListenError::Io { path: path.to_owned(), source };
    if let Some(dir) = path.parent() {
        kache_store::private::create_dir(dir).map_err(fail)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(ListenError::Taken(path.to_owned()));
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => std::fs::remove_file(path).map_err(fail)?,
        Ok(_) => return Err(fail(io::Error::other("something that isn't a socket is in the way"))),
        Err(_) => {}
    }
    let _forgotten = std::fs::remove_file(kache_proto::socket::hung_marker(path));
    let name = path.to_fs_name::<GenericFilePath>().map_err(fail)?;
    // Whose file it is at the end, `Bound` looks at; the library would remove anybody's.
    private(ListenerOptions::new().name(name).reclaim_name(false), path).map_err(fail)
}

/// A listener that only its owner may connect to.
#[cfg(target_os = "linux")]
fn private(options: ListenerOptions<'_>, _path: &Path) -> io::Result<Listener> {
    options.mode(0o600).create_tokio()
}

/// macOS takes the mode only when the file is there; until then the look at each peer's user stands alone.
#[cfg(not(target_os = "linux"))]
fn private(options: ListenerOptions<'_>, path: &Path) -> io::Result<Listener> {
    let listener = options.create_tokio()?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

/// Takes over a socket that a service manager has bound. Connections that came before the daemon wait in it.
pub(crate) fn adopt(given: service::Socket) -> Result<Listener, ListenError> {
    let service::Socket { descriptor, path } = given;
    let _forgotten = std::fs::remove_file(kache_proto::socket::hung_marker(&path));
    let adopted = uds_local_socket::tokio::Listener::try_from(descriptor);
    adopted.map(Listener::from).map_err(|source| ListenError::Io { path, source })
}

/// Answers until the front's `stop` is cancelled, takes the socket's file away, if it is ours, and drains.
pub(crate) async fn serve(listener: Listener, bound: Option<Bound>, front: Arc<Front>) {
    let (connections, publishing) = (TaskTracker::new(), TaskTracker::new());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = front.stop.cancelled() => break,
        };
        match accepted {
            Ok(stream) => {
                let (front, publishing) = (Arc::clone(&front), publishing.clone());
                connections.spawn(async move {
                    if let Err(error) = attend(stream, &front, publishing).await {
                        tracing::debug!(%error, "connection");
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: those in use come back, so this isn't the end.
                tracing::warn!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    service::stopping();
    drop(listener);
    if let Some(bound) = bound {
        bound.remove();
    }
    publishing.close();
    let end = Instant::now() + DRAIN;
    if tokio::time::timeout_at(end, publishing.wait()).await.is_err() {
        tracing::warn!("stopped before everything was published");
    }
    if let Some(bucket) = front.engine.bucket() {
        bucket.drain(&front.engine, end.saturating_duration_since(Instant::now())).await;
    }
}

async fn attend(mut stream: Stream, front: &Arc<Front>, publishing: TaskTracker) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let creds = stream.peer_creds()?;
    if creds.euid() != Some(rustix::process::geteuid().as_raw()) {
        return Err("refused: another user".into());
    }
    let peer = creds.pid().and_then(|pid| u32::try_from(pid).ok());
    let mut first = vec![0; 16 * 1024];
    let n = stream.read(&mut first).await?;
    first.truncate(n);
    match first.first() {
        None => Ok(()),
        Some(byte) if kache_proto::decode::speaks_frames(*byte) => {
            let Stream::UdSocket(socket) = stream;
            let held = conversation::hold(Arc::clone(&front.engine), Arc::clone(&front.config), publishing, socket, peer, &first).await;
            if let Err(ConversationError::Protocol(ProtocolError::OtherVersion(version))) = held {
                front.strangers.met(version);
            }
            Ok(held?)
        }
        Some(_) => Ok(http::serve(Arc::clone(front), Rewound { first, stream }, peer).await?),
    }
}

/// A stream whose first bytes have been looked at already.
struct Rewound {
    first: Vec<u8>,
    stream: Stream,
}

impl AsyncRead for Rewound {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, into);
        }
        let n = self.first.len().min(into.remaining());
        into.put_slice(&self.first[..n]);
        self.first.drain(..n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
