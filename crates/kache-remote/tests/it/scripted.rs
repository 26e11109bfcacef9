//! A server that answers as a test says, byte for byte, and remembers what it was asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Request line and headers, in lower case but for the line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.split_once(':').filter(|(key, _)| key.eq_ignore_ascii_case(name)))
            .map(|(_, value)| value.trim())
    }
}

/// What to do with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answer, and keep the connection.
    Answer(Vec<u8>),
    /// Write this much of an answer and close.
    Close(Vec<u8>),
    /// Write this much of an answer and then nothing more.
    Stall(Vec<u8>),
    /// Wait, then answer.
    After(Duration, Vec<u8>),
    /// Answer before the body has been read, and close.
    Early(Vec<u8>),
    /// Write this, and then a byte after every pause.
    Trickle(Vec<u8>, Duration),
    /// Never read the body.
    Deaf,
    /// Read so many bytes of the body, pause, and so on; then answer.
    Sip(usize, Duration, Vec<u8>),
}

type Script = dyn Fn(usize, &Seen) -> Act + Send + Sync;

/// The server; lives as long as the test's runtime.
pub(crate) struct Scripted {
    pub(crate) endpoint: String,
    state: Arc<State>,
}

struct State {
    script: Box<Script>,
    seen: Mutex<Vec<Seen>>,
    busy: AtomicUsize,
    busiest: AtomicUsize,
}

impl Scripted {
    /// Answers the n-th request (from 0) with what `script` says; it is asked when the head has arrived.
    pub(crate) async fn start(script: impl Fn(usize, &Seen) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state =
            Arc::new(State { script: Box::new(script), seen: Mutex::default(), busy: AtomicUsize::new(0), busiest: AtomicUsize::new(0) });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&shared)));
            }
        });
        Self { endpoint, state }
    }

    /// Answers one request after the other, and all further ones like the last.
    pub(crate) async fn list(acts: Vec<Act>) -> Self {
        Self::start(move |n, _| acts[n.min(acts.len() - 1)].clone()).await
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// How many requests were being answered at the busiest moment.
    pub(crate) fn busiest(&self) -> usize {
        self.state.busiest.load(Ordering::SeqCst)
    }
}

impl State {
    /// Which request it is.
    fn remember(&self, request: Seen) -> usize {
        let mut seen = self.seen.lock().unwrap();
        seen.push(request);
        seen.len() - 1
    }
}

/// An answer with a body.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// 200.
pub(crate) fn ok(body: &str) -> Act {
    Act::Answer(answer("200 OK", "", body))
}

/// A refusal as S3 words it.
pub(crate) fn refusal(status: &str, headers: &str, code: &str) -> Vec<u8> {
    answer(status, headers, &format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>so it is</Message></Error>"))
}

async fn serve(mut socket: TcpStream, state: Arc<State>) -> std::io::Result<()> {
    loop {
        let Some((head, mut rest)) = read_head(&mut socket).await? else { return Ok(()) };
        let seen = Seen { head, body: Vec::new() };
        let n = state.remember(seen.clone());
        let busy = state.busy.fetch_add(1, Ordering::SeqCst) + 1;
        state.busiest.fetch_max(busy, Ordering::SeqCst);
        let act = (state.script)(n, &seen);
        let len: usize = seen.header("content-length").map_or(0, |value| value.parse().unwrap());
        if !matches!(act, Act::Early(_) | Act::Deaf) {
            let (sip, pause) = if let Act::Sip(sip, pause, _) = act { (sip, pause) } else { (usize::MAX, Duration::ZERO) };
            let mut next = sip;
            while rest.len() < len && socket.read_buf(&mut rest).await? > 0 {
                if rest.len() >= next {
                    next = rest.len() + sip;
                    tokio::time::sleep(pause).await;
                }
            }
        }
        state.seen.lock().unwrap()[n].body = rest;
        let done = carry_out(&mut socket, act).await;
        state.busy.fetch_sub(1, Ordering::SeqCst);
        if done? {
            return Ok(());
        }
    }
}

/// Whether the connection is over.
async fn carry_out(socket: &mut TcpStream, act: Act) -> std::io::Result<bool> {
    match act {
        Act::Answer(bytes) | Act::Sip(_, _, bytes) => socket.write_all(&bytes).await.map(|()| false),
        Act::Close(bytes) | Act::Early(bytes) => {
            socket.write_all(&bytes).await?;
            socket.shutdown().await?;
            Ok(true)
        }
        Act::Stall(bytes) => {
            socket.write_all(&bytes).await?;
            std::future::pending().await
        }
        Act::Trickle(bytes, pause) => {
            socket.write_all(&bytes).await?;
            loop {
                tokio::time::sleep(pause).await;
                socket.write_all(b".").await?;
            }
        }
        Act::Deaf => std::future::pending().await,
        Act::After(pause, bytes) => {
            tokio::time::sleep(pause).await;
            socket.write_all(&bytes).await.map(|()| false)
        }
    }
}

/// A head and what came with it; `None` when the client is gone.
async fn read_head(socket: &mut TcpStream) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            return Ok(Some((String::from_utf8(read).unwrap(), rest)));
        }
        if socket.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
    }
}
