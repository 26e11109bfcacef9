//! Sends signed requests over a pool of connections and hands their bodies on, everything within deadlines.
//!
//! This replaces rusoto's HTTP client (and `hyper-tls-stub` its TLS stack).

use crate::connector::{Connector, find, root_cause};
use crate::counters::Counters;
use crate::error::{ErrorKind, RemoteError};
use crate::pool::{Busy, Pool};
use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::Request;
use hyper::body::Incoming;
use hyper::http::response::Parts;
use rustls::ClientConfig;
use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// For a connection, its TLS handshake included.
    pub connect: Duration,
    /// For an answer, once everything has been sent.
    pub answer: Duration,
    /// For the next bytes of a body that is arriving.
    pub idle: Duration,
    /// For the server to take more of what is being uploaded, and for its answer afterwards: the last megabytes may still be on their way.
    pub upload_idle: Duration,
    /// For one attempt in all, from its slot to its last byte.
    pub attempt: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(3), answer: seconds(10), idle: seconds(10), upload_idle: seconds(30), attempt: seconds(600) }
    }
}

/// What is sent with a request.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, io::Error>;

/// An answer whose body hasn't been read.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Status and headers.
    pub(crate) head: Parts,
    body: Incoming,
    /// The connection, unless the server answered before it had taken all of the request.
    line: Option<Busy>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Transport {
    pool: Pool,
    deadlines: Deadlines,
}

/// How far an upload has come.
#[derive(Debug)]
pub(crate) struct Progress {
    len: u64,
    taken: AtomicU64,
    last: Mutex<Instant>,
}

impl Progress {
    /// Nothing of `len` bytes yet.
    pub(crate) fn new(len: u64) -> Self {
        Self { len, taken: AtomicU64::new(0), last: Mutex::new(Instant::now()) }
    }

    /// So many more bytes were taken.
    pub(crate) fn add(&self, bytes: usize) {
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_complete(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.len
    }
}

impl Transport {
    /// Without connections yet.
    pub(crate) fn new(tls: ClientConfig, deadlines: Deadlines, counters: &Arc<Counters>) -> Self {
        Self { pool: Pool::new(Connector::new(tls, deadlines.connect, Arc::clone(counters))), deadlines }
    }

    /// Sends a request and waits for the head of its answer. `progress` is moved on by the request's body.
    pub(crate) async fn send(&self, request: Request<RequestBody>, progress: &Progress) -> Result<Reply, RemoteError> {
        let patience = if progress.len == 0 { self.deadlines.answer } else { self.deadlines.upload_idle };
        let mut answered = pin!(self.pool.send(request));
        loop {
            let end = progress.last() + patience;
            tokio::select! {
                answered = &mut answered => {
                    let (response, line) = answered?;
                    let (head, body) = response.into_parts();
                    return Ok(Reply { head, body, line: progress.is_complete().then_some(line) });
                }
                () = sleep_until(end) => {}
            }
            if progress.last() + patience <= Instant::now() {
                return Err(late(progress, patience));
            }
        }
    }

    /// The bytes of an answer. Ends with an error when they stop, break off, or are fewer than `announced`.
    pub(crate) fn chunks(
        &self,
        reply: Reply,
        announced: Option<u64>,
        until: Instant,
    ) -> impl Stream<Item = Result<Bytes, RemoteError>> + Send + use<> {
        let idle = self.deadlines.idle;
        unfold(Some((reply, announced)), move |state| async move {
            let (mut reply, left) = state?;
            match chunk(&mut reply.body, left, idle, until).await {
                Ok(Some(bytes)) => {
                    let left = left.map(|left| left.saturating_sub(bytes.len() as u64));
                    Some((Ok(bytes), Some((reply, left))))
                }
                Ok(None) => {
                    reply.finish();
                    None
                }
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// The first `max` bytes of an answer that nobody needs in full, or fewer when it breaks. Reading to the end keeps the connection.
    pub(crate) async fn glance(&self, mut reply: Reply, max: usize) -> Bytes {
        let limited = http_body_util::Limited::new(&mut reply.body, max);
        match timeout(self.deadlines.answer, limited.collect()).await {
            Ok(Ok(collected)) => {
                reply.finish();
                collected.to_bytes()
            }
            _ => Bytes::new(),
        }
    }
}

impl Reply {
    /// Its body has come to the end.
    fn finish(self) {
        if let Some(line) = self.line {
            line.give_back();
        }
    }
}

async fn chunk(body: &mut Incoming, left: Option<u64>, idle: Duration, until: Instant) -> Result<Option<Bytes>, RemoteError> {
    loop {
        let patience = idle.min(until.saturating_duration_since(Instant::now()));
        match timeout(patience, body.frame()).await {
            Err(_) if patience < idle => {
                return Err(RemoteError::new(ErrorKind::Timeout, "the object took too long to arrive"));
            }
            Err(_) => {
                let detail = format!("no more bytes came for {} s", idle.as_secs_f32());
                return Err(RemoteError::new(ErrorKind::Stalled, detail));
            }
            Ok(None) if left.is_some_and(|left| left > 0) => return Err(truncated()),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(broken(&error)),
            Ok(Some(Ok(frame))) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

fn truncated() -> RemoteError {
    RemoteError::new(ErrorKind::Truncated, "fewer bytes came than were announced")
}

fn late(progress: &Progress, patience: Duration) -> RemoteError {
    let seconds = patience.as_secs_f32();
    if progress.is_complete() {
        RemoteError::new(ErrorKind::Timeout, format!("no answer within {seconds} s"))
    } else {
        RemoteError::new(ErrorKind::Stalled, format!("the server took no more bytes for {seconds} s"))
    }
}

/// Names the trouble behind an error of the HTTP client.
pub(crate) fn broken(error: &(dyn Error + 'static)) -> RemoteError {
    if let Some(ours) = find::<RemoteError>(error) {
        return ours.clone();
    }
    if find::<io::Error>(error).is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof) {
        return truncated();
    }
    match find::<hyper::Error>(error) {
        Some(http) if http.is_parse() => {
            RemoteError::new(ErrorKind::Other, format!("the server's answer isn't HTTP: {}", root_cause(error)))
        }
        _ => RemoteError::new(ErrorKind::Reset, format!("the connection broke: {}", root_cause(error))),
    }
}
