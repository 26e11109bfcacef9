//! Connections that are kept between requests.
//!
//! A request takes the one that was used last, or opens one where none is idle. Whoever has read an answer to its end gives the connection back
//! *before* giving up the slot of [`crate::limit`], so there are never more connections to a server than slots. One that was idle for longer than
//! [`IDLE`] isn't used again: S3 closes them after some 20 s, and a request on a connection that is being closed fails.
//!
//! hyper-util's client isn't used because its pool races a new connection against one that may come back, and so opens more than are needed.

use crate::connector::Connector;
use crate::error::RemoteError;
use crate::transport::{RequestBody, broken};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::http::uri::{Authority, Scheme};
use hyper::{Request, Response, Uri};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

const IDLE: Duration = Duration::from_secs(8);

/// For a connection that was given back, to have dealt with the end of its last answer.
const READY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connector: Connector,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    /// The one used last stands last.
    lines: Vec<(Line, Instant)>,
    /// Somebody looks after those that nobody takes.
    watched: bool,
}

/// One connection.
pub(crate) struct Line {
    server: Server,
    sender: SendRequest<RequestBody>,
}

/// Where a connection leads.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server(Option<Scheme>, Option<Authority>);

/// A connection whose answer is being read. Dropped before the end of that, it is closed.
#[derive(Debug)]
pub(crate) struct Busy {
    line: Line,
    pool: Weak<Inner>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Line").field(&self.server).finish()
    }
}

impl Pool {
    pub(crate) fn new(connector: Connector) -> Self {
        Self(Arc::new(Inner { connector, idle: Mutex::default() }))
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(&self, mut request: Request<RequestBody>) -> Result<(Response<Incoming>, Busy), RemoteError> {
        let uri = std::mem::take(request.uri_mut());
        let server = Server(uri.scheme().cloned(), uri.authority().cloned());
        *request.uri_mut() = uri.path_and_query().map_or_else(Uri::default, |path| Uri::from(path.clone()));
        while let Some(mut line) = self.0.take(&server) {
            if !matches!(timeout(READY, line.sender.ready()).await, Ok(Ok(()))) {
                continue;
            }
            match line.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, self.busy(line))),
                // The server closed it before anything was sent.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(broken(&error.into_error())),
                },
            }
        }
        let mut line = self.open(server, uri).await?;
        match line.sender.send_request(request).await {
            Ok(response) => Ok((response, self.busy(line))),
            Err(error) => Err(broken(&error)),
        }
    }

    async fn open(&self, server: Server, uri: Uri) -> Result<Line, RemoteError> {
        let stream = self.0.connector.open(uri).await?;
        let (sender, connection) = http1::handshake(stream).await.map_err(|error| broken(&error))?;
        // It ends when the server or all that is left of the line goes; what goes wrong is told to whoever waits for an answer.
        tokio::spawn(connection);
        Ok(Line { server, sender })
    }

    fn busy(&self, line: Line) -> Busy {
        Busy { line, pool: Arc::downgrade(&self.0) }
    }
}

impl Inner {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, server: &Server) -> Option<Line> {
        let mut idle = self.idle();
        idle.drop_old();
        let last = idle.lines.iter().rposition(|(line, _)| line.server == *server)?;
        Some(idle.lines.remove(last).0)
    }

    fn put(self: &Arc<Self>, line: Line) {
        let mut idle = self.idle();
        idle.lines.push((line, Instant::now()));
        if !std::mem::replace(&mut idle.watched, true) {
            tokio::spawn(watch(Arc::downgrade(self)));
        }
    }
}

impl Idle {
    fn drop_old(&mut self) {
        self.lines.retain(|(line, since)| since.elapsed() < IDLE && !line.sender.is_closed());
    }
}

/// Closes what nobody has taken for a while, until nothing is left.
async fn watch(pool: Weak<Inner>) {
    loop {
        sleep(IDLE).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle();
        idle.drop_old();
        if idle.lines.is_empty() {
            idle.watched = false;
            return;
        }
    }
}

impl Busy {
    /// The answer was read to its end: others may use the connection.
    pub(crate) fn give_back(self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.put(self.line);
        }
    }
}
