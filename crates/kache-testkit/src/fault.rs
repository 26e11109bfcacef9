//! A proxy that stands between a client and a server and makes trouble on demand: what servers do on bad days and no test server does.
//!
//! Requests pass as they are, `Host` included, so that signatures stay valid. A fault fires for requests that its [`When`] picks; of several the
//! one that was injected first. Each counts how often it fired. Faults of the answer come after the server has done what it was asked.

use crate::link::{Lane, Link};
use crate::loopback::{Answer, Body, Handler, Line, Loopback};
use crate::s3;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::CONTENT_LENGTH;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An answer of S3's kind that the server never sees: status, `<Code>`, and further headers.
    Refuse(u16, &'static str, Vec<(&'static str, String)>),
    /// The connection is reset before the server sees the request.
    DropRequest,
    /// The server does what it is asked; then the connection is reset before it answers.
    DropAnswer,
    /// A reset after so many bytes of the answer's body.
    ResetAfter(usize),
    /// Silence after so many bytes of the answer's body.
    StallAfter(usize),
    /// Silence instead of an answer.
    NoAnswer,
    /// An orderly end after so many bytes of the answer's body, which the headers announce in full.
    CutAfter(usize),
    /// The headers announce this length, whatever the body has; the body ends there, or before.
    ClaimLength(usize),
    /// One flipped bit: index of the byte (from the end if negative), index of the bit.
    FlipBit(isize, u8),
    /// Another body, announced properly.
    Replace(Vec<u8>),
    /// So much later.
    Delay(Duration),
}

impl Fault {
    /// 503 `SlowDown`.
    pub fn slow_down() -> Self {
        Self::Refuse(503, "SlowDown", Vec::new())
    }

    /// 500 `InternalError`.
    pub fn internal_error() -> Self {
        Self::Refuse(500, "InternalError", Vec::new())
    }

    /// 403 `AccessDenied`.
    pub fn access_denied() -> Self {
        Self::Refuse(403, "AccessDenied", Vec::new())
    }

    /// 403 `RequestTimeTooSkewed`.
    pub fn clock_skew() -> Self {
        Self::Refuse(403, "RequestTimeTooSkewed", Vec::new())
    }

    /// 400 `ExpiredToken`.
    pub fn expired_token() -> Self {
        Self::Refuse(400, "ExpiredToken", Vec::new())
    }

    /// 301 `PermanentRedirect` that names the bucket's region.
    pub fn wrong_region(region: &str) -> Self {
        Self::Refuse(301, "PermanentRedirect", vec![("x-amz-bucket-region", region.to_owned())])
    }
}

/// Which requests.
#[derive(Clone, Debug)]
pub struct When {
    kind: Option<&'static str>,
    part: String,
    skip: u64,
    times: u64,
}

impl When {
    /// All of them.
    pub fn any() -> Self {
        Self { kind: None, part: String::new(), skip: 0, times: u64::MAX }
    }

    /// `GET` (of an object), `LIST`, `PUT`, `HEAD`, …
    pub fn kind(kind: &'static str) -> Self {
        Self { kind: Some(kind), ..Self::any() }
    }

    /// Only those whose path and query contain `part`.
    #[must_use]
    pub fn of(self, part: &str) -> Self {
        Self { part: part.to_owned(), ..self }
    }

    /// Not the first `skip` of them.
    #[must_use]
    pub fn after(self, skip: u64) -> Self {
        Self { skip, ..self }
    }

    /// At most `times` of them.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times, ..self }
    }

    fn picks<B>(&self, request: &Request<B>) -> bool {
        let target = request.uri().path_and_query().map_or("", |target| target.as_str());
        self.kind.is_none_or(|kind| kind == s3::kind(request)) && target.contains(&self.part)
    }
}

/// A fault that was injected: how often it fired.
#[derive(Clone, Debug)]
pub struct Fired(Arc<Rule>);

impl Fired {
    /// So far.
    pub fn times(&self) -> u64 {
        let Rule { when, seen, .. } = &*self.0;
        seen.load(Ordering::Relaxed).saturating_sub(when.skip).min(when.times)
    }
}

#[derive(Debug)]
struct Rule {
    when: When,
    fault: Fault,
    seen: AtomicU64,
}

/// See the module. Ends with its value.
#[derive(Debug)]
pub struct FaultProxy {
    rules: Rules,
    requests: Arc<AtomicU64>,
    server: Loopback,
}

type Rules = Arc<Mutex<Vec<Arc<Rule>>>>;

impl FaultProxy {
    /// In front of the HTTP server at `upstream`; makes no trouble yet.
    pub fn to(upstream: SocketAddr) -> Self {
        Self::over(upstream, Link::default())
    }

    /// Behind a slow and narrow line.
    pub fn over(upstream: SocketAddr, link: Link) -> Self {
        let (rules, requests) = (Rules::default(), Arc::<AtomicU64>::default());
        let shared = Arc::new(Shared {
            upstream,
            round_trip: link.round_trip,
            up: Lane::new(&link),
            down: Lane::new(&link),
            rules: Arc::clone(&rules),
            client: Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build_http(),
        });
        let counted = Arc::clone(&requests);
        let handler: Handler = Arc::new(move |request, line| -> Answer {
            counted.fetch_add(1, Ordering::Relaxed);
            Box::pin(Arc::clone(&shared).answer(request, line))
        });
        Self { rules, requests, server: Loopback::start(None, link.round_trip, handler) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its URL, to be used as the endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// From now on, this trouble for those requests.
    pub fn inject(&self, when: When, fault: Fault) -> Fired {
        let rule = Arc::new(Rule { when, fault, seen: AtomicU64::new(0) });
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&rule));
        Fired(rule)
    }

    /// No more trouble.
    pub fn clear(&self) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Requests that came in, whatever became of them.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Goes away with all its connections (connecting is refused), or comes back at the same port.
    pub fn set_there(&self, there: bool) {
        self.server.set_there(there);
    }
}

struct Shared {
    upstream: SocketAddr,
    round_trip: Duration,
    up: Lane,
    down: Lane,
    rules: Rules,
    client: Client<HttpConnector, Body>,
}

impl Shared {
    async fn answer(self: Arc<Self>, request: Request<Incoming>, line: Line) -> io::Result<Response<Body>> {
        tokio::time::sleep(self.round_trip).await;
        let fault = self.fault(&request);
        match &fault {
            Some(Fault::Refuse(status, code, headers)) => {
                // A server that answers before it has read the request is another trouble.
                request.into_body().collect().await.map_err(io::Error::other)?;
                return refusal(*status, code, headers);
            }
            Some(Fault::DropRequest) => {
                line.will_reset();
                return Err(io::Error::other("dropped on demand"));
            }
            Some(Fault::NoAnswer) => std::future::pending().await,
            Some(Fault::Delay(delay)) => tokio::time::sleep(*delay).await,
            _ => {}
        }
        let answer = self.forward(request).await?;
        match fault {
            None | Some(Fault::Delay(_)) => Ok(answer.map(|body| self.down.shape(body))),
            Some(Fault::DropAnswer) => {
                line.will_reset();
                Err(io::Error::other("dropped on demand"))
            }
            Some(fault) => spoil(answer, &fault, line).await,
        }
    }

    fn fault(&self, request: &Request<Incoming>) -> Option<Fault> {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let fires = |rule: &&Arc<Rule>| {
            let Rule { when, seen, .. } = &***rule;
            when.picks(request) && {
                let earlier = seen.fetch_add(1, Ordering::Relaxed);
                earlier >= when.skip && earlier - when.skip < when.times
            }
        };
        rules.iter().find(fires).map(|rule| rule.fault.clone())
    }

    async fn forward(&self, request: Request<Incoming>) -> io::Result<Response<Incoming>> {
        let (mut head, body) = request.into_parts();
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        head.uri = format!("http://{}{target}", self.upstream).parse::<Uri>().map_err(io::Error::other)?;
        head.headers.remove("connection");
        self.client.request(Request::from_parts(head, self.up.shape(body))).await.map_err(io::Error::other)
    }
}

fn refusal(status: u16, code: &str, headers: &[(&'static str, String)]) -> io::Result<Response<Body>> {
    let xml = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>On demand.</Message></Error>");
    let mut answer = Response::builder().status(status).header("content-type", "application/xml");
    for (name, value) in headers {
        answer = answer.header(*name, value);
    }
    answer.body(whole(xml.into())).map_err(io::Error::other)
}

/// The answer with its body spoiled.
async fn spoil(answer: Response<Incoming>, fault: &Fault, line: Line) -> io::Result<Response<Body>> {
    let (mut head, body) = answer.into_parts();
    let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let announced = match fault {
        Fault::Replace(other) => other.len(),
        Fault::ClaimLength(len) => *len,
        _ => bytes.len(),
    };
    head.headers.insert(CONTENT_LENGTH, announced.into());
    let until = |len: &usize| bytes.slice(..bytes.len().min(*len));
    let body = match fault {
        Fault::ResetAfter(len) => broken(until(len), Some(line)),
        Fault::CutAfter(len) => broken(until(len), None),
        Fault::ClaimLength(len) if *len > bytes.len() => broken(bytes, None),
        Fault::ClaimLength(len) => whole(until(len)),
        Fault::StallAfter(len) => streamed(stream::once(std::future::ready(Ok(until(len)))).chain(stream::pending())),
        Fault::FlipBit(at, bit) => whole(flipped(&bytes, *at, *bit)),
        Fault::Replace(other) => whole(other.clone().into()),
        _ => whole(bytes),
    };
    Ok(Response::from_parts(head, body))
}

fn flipped(bytes: &Bytes, at: isize, bit: u8) -> Bytes {
    let mut flipped = bytes.to_vec();
    let at = if at < 0 { flipped.len().checked_add_signed(at) } else { usize::try_from(at).ok() };
    if let Some(byte) = at.and_then(|at| flipped.get_mut(at)) {
        *byte ^= 1 << (bit % 8);
    }
    flipped.into()
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A body that ends too early: by a reset of `line`, or in good order.
fn broken(bytes: Bytes, line: Option<Line>) -> Body {
    let end = async move {
        // What was sent must be on its way first: the end discards it.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Some(line) = line {
            line.will_reset();
        }
        Err(io::Error::other("broken on demand"))
    };
    streamed(stream::once(std::future::ready(Ok(bytes))).chain(stream::once(end)))
}

/// A body that doesn't know its length, so that the headers may lie about it.
fn streamed(chunks: impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))).boxed_unsync()
}

#[cfg(test)]
mod tests;
