//! Sends signed requests over a pool of connections and hands their bodies on, everything within deadlines.
//!
//! This replaces rusoto's HTTP client (and `hyper-tls-stub` its TLS stack). A connection that was idle for longer than
//! [`IDLE_CONNECTION`] isn't used again: S3 closes them after some 20 s, and a request on a connection that is being closed fails.

use crate::connector::{Connector, find, root_cause};
use crate::counters::Counters;
use crate::error::{ErrorKind, RemoteError};
use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

const IDLE_CONNECTION: Duration = Duration::from_secs(8);

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

/// The pool.
#[derive(Debug)]
pub(crate) struct Transport {
    client: Client<Connector, RequestBody>,
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
    /// A pool that keeps up to `idle` connections.
    pub(crate) fn new(tls: ClientConfig, idle: usize, deadlines: Deadlines, counters: &Arc<Counters>) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION)
            .pool_max_idle_per_host(idle)
            .build(Connector::new(tls, deadlines.connect, Arc::clone(counters)));
        Self { client, deadlines }
    }

    /// Sends a request and waits for the head of its answer. `progress` is moved on by the request's body.
    pub(crate) async fn send(&self, request: Request<RequestBody>, progress: &Progress) -> Result<Response<Incoming>, RemoteError> {
        let patience = if progress.len == 0 { self.deadlines.answer } else { self.deadlines.upload_idle };
        let mut response = pin!(self.client.request(request));
        loop {
            let end = progress.last() + patience;
            tokio::select! {
                response = &mut response => return response.map_err(|error| broken(&error)),
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
        body: Incoming,
        announced: Option<u64>,
        until: Instant,
    ) -> impl Stream<Item = Result<Bytes, RemoteError>> + Send + 'static {
        let idle = self.deadlines.idle;
        unfold(Some((body, announced)), move |state| async move {
            let (mut body, left) = state?;
            match chunk(&mut body, left, idle, until).await {
                Ok(Some(bytes)) => {
                    let left = left.map(|left| left.saturating_sub(bytes.len() as u64));
                    Some((Ok(bytes), Some((body, left))))
                }
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// The first `max` bytes of an answer that nobody needs in full, or fewer when it breaks. Reading to the end keeps the connection.
    pub(crate) async fn glance(&self, body: Incoming, max: usize) -> Bytes {
        let limited = http_body_util::Limited::new(body, max);
        match timeout(self.deadlines.answer, limited.collect()).await {
            Ok(Ok(collected)) => collected.to_bytes(),
            _ => Bytes::new(),
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
fn broken(error: &(dyn Error + 'static)) -> RemoteError {
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
