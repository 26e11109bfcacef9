//! Questions to the daemon: HTTP/1.1 over its socket, one connection per question.
//!
//! Promises: no question waits longer than its bound for the first byte of an answer. Deliberately absent: retries; a caller that waits for a
//! daemon to appear asks again.

use crate::error::Error;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use interprocess::local_socket::GenericFilePath;
use interprocess::local_socket::tokio::{Stream, prelude::*};
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long an ordinary question may take.
pub(crate) const SHORT: Duration = Duration::from_secs(5);

/// Knows where the daemon listens.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// `GET target`, as text.
    pub(crate) fn get(&self, target: &str) -> Result<String, Error> {
        self.ask(Method::GET, target, String::new(), Some(SHORT))
    }

    /// The same with another bound; `None` waits for ever.
    pub(crate) fn get_for(&self, target: &str, bound: Option<Duration>) -> Result<String, Error> {
        self.ask(Method::GET, target, String::new(), bound)
    }

    /// `GET target`, as JSON.
    pub(crate) fn get_json<T: DeserializeOwned>(&self, target: &str) -> Result<T, Error> {
        parse(&format!("GET {target}"), &self.get(target)?)
    }

    /// `POST target`, without a body; `None` waits for ever.
    pub(crate) fn post(&self, target: &str, bound: Option<Duration>) -> Result<String, Error> {
        self.ask(Method::POST, target, String::new(), bound)
    }

    /// `POST target` with `body`; the answer as JSON.
    pub(crate) fn post_json<T: DeserializeOwned>(&self, target: &str, body: String, bound: Option<Duration>) -> Result<T, Error> {
        parse(&format!("POST {target}"), &self.ask(Method::POST, target, body, bound)?)
    }

    /// Whether a daemon is there. One that is there and silent is an error.
    pub(crate) fn is_up(&self) -> Result<bool, Error> {
        match self.ask(Method::GET, "/healthz", String::new(), Some(SHORT)) {
            Ok(_) => Ok(true),
            Err(Error::NotRunning { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn ask(&self, method: Method, target: &str, body: String, bound: Option<Duration>) -> Result<String, Error> {
        runtime()?.block_on(async {
            match bound {
                None => self.exchange(method, target, body).await,
                Some(bound) => match tokio::time::timeout(bound, self.exchange(method, target, body)).await {
                    Ok(answer) => answer,
                    Err(_) => Err(Error::Silent { socket: self.socket.clone(), after: bound }),
                },
            }
        })
    }

    /// `POST target` with `body`; `hear` gets each line of the answer as it comes. A signal that asks this process to end is an error, so that the
    /// caller can clear away what it holds.
    pub(crate) fn post_for_lines(&self, target: &str, body: String, hear: impl FnMut(&str) -> Result<(), Error>) -> Result<(), Error> {
        runtime()?.block_on(async {
            tokio::select! {
                heard = self.lines(Method::POST, target, body, hear) => heard,
                signal = interrupted() => Err(Error::Interrupted { signal: signal? }),
            }
        })
    }

    /// `GET target`; `hear` gets each line of the answer as it comes, and ends it by an error.
    pub(crate) fn get_for_lines(&self, target: &str, hear: impl FnMut(&str) -> Result<(), Error>) -> Result<(), Error> {
        runtime()?.block_on(self.lines(Method::GET, target, String::new(), hear))
    }

    async fn lines(
        &self,
        method: Method,
        target: &str,
        body: String,
        mut hear: impl FnMut(&str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let request = format!("{method} {target}");
        let mut answer = self.send(method, target, body).await?;
        let mut pending = Vec::new();
        while let Some(frame) = answer.frame().await {
            let frame = frame.map_err(|error| Error::BrokenOff { request: request.clone(), cause: error.to_string() })?;
            pending.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                hear(String::from_utf8_lossy(&line).trim_end())?;
            }
        }
        Ok(())
    }

    async fn exchange(&self, method: Method, target: &str, body: String) -> Result<String, Error> {
        let request = format!("{method} {target}");
        let body = self.send(method, target, body).await?.collect().await;
        let bytes = body.map_err(|error| Error::BrokenOff { request, cause: error.to_string() })?.to_bytes();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Sends a request; the body of an answer that is a success.
    async fn send(&self, method: Method, target: &str, body: String) -> Result<Incoming, Error> {
        let request = format!("{method} {target}");
        let stream = self.connect().await?;
        let broken = |error: hyper::Error| Error::BrokenOff { request: request.clone(), cause: error.to_string() };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let question = Request::builder().method(method).uri(target).header("host", "kache").body(Full::new(Bytes::from(body)));
        let question = question.map_err(|error| Error::BrokenOff { request: request.clone(), cause: error.to_string() })?;
        let answer = sender.send_request(question).await.map_err(broken)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        let bytes = answer.into_body().collect().await.map_err(broken)?.to_bytes();
        let body = String::from_utf8_lossy(&bytes).trim().to_owned();
        Err(Error::Refused { request, status: status.as_u16(), body })
    }

    async fn connect(&self) -> Result<Stream, Error> {
        let fail = |source| Error::Connect { socket: self.socket.clone(), source };
        let name = self.socket.as_path().to_fs_name::<GenericFilePath>().map_err(fail)?;
        let stream = Stream::connect(name).await.map_err(|source| match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Error::NotRunning { socket: self.socket.clone() },
            _ => fail(source),
        })?;
        let trusted = kache_proto::socket::is_trusted(&stream.peer_creds().map_err(fail)?);
        if trusted { Ok(stream) } else { Err(Error::Foreign { socket: self.socket.clone() }) }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|source| Error::io("starting an event loop", source))
}

/// Returns with the signal that asks this process to end.
async fn interrupted() -> Result<i32, Error> {
    let listen = |kind| signal(kind).map_err(|source| Error::io("waiting for signals", source));
    let (mut interrupt, mut terminate, mut hang_up) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    let kind = tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
        _ = hang_up.recv() => SignalKind::hangup(),
    };
    Ok(kind.as_raw_value())
}

/// Reads `body`, the answer to `request`.
pub(crate) fn parse<T: DeserializeOwned>(request: &str, body: &str) -> Result<T, Error> {
    serde_json::from_str(body).map_err(|error| Error::Nonsense { request: request.to_owned(), cause: error.to_string() })
}
