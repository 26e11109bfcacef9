//! Between rusoto and the transport: signs each request at the moment when it is sent, and keeps what rusoto would lose.
//!
//! rusoto shows few refusals as what they are, panics on some headers, never comes back from a listing that breaks off, and knows no
//! condition for PUT. So an [`Attempt`] stands in for its
//! HTTP client, for one request: it adds the condition before signing, passes on nothing but the bytes of a success, and keeps anything
//! else as a [`Failure`] for [`crate::S3Remote`].

use crate::answer::{Answer, Operation};
use crate::body::Body;
use crate::credential::Credentials;
use crate::error::{ErrorKind, RemoteError};
use crate::transport::{Progress, Reply, RequestBody, Transport};
use bytes::Bytes;
use futures_util::stream::TryStreamExt;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use rusoto_core::ByteStream;
use rusoto_core::request::{DispatchSignedRequest, DispatchSignedRequestFuture, HttpDispatchError, HttpResponse};
use rusoto_core::signature::{SignedRequest, SignedRequestPayload};
use rusoto_credential::AwsCredentials;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

const USER_AGENT: &str = concat!("kache/", env!("CARGO_PKG_VERSION"));
/// How much of a refusal, and of the answer to a PUT, is read.
const MAX_SMALL_BYTES: usize = 64 << 10;
/// A page of 1,000 keys of 1,024 bytes, each with all that is said about it, is smaller.
const MAX_LIST_BYTES: u64 = 16 << 20;

/// One request on its way.
#[derive(Clone)]
pub(crate) struct Attempt(Arc<Inner>);

struct Inner {
    transport: Arc<Transport>,
    credentials: Arc<Credentials>,
    operation: Operation,
    only_if_absent: bool,
    until: Instant,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    failure: Option<Failure>,
    announced: Option<u64>,
}

/// Why there was no success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server said no.
    Refused(Answer),
    /// The server said nothing that can be understood.
    Broken(RemoteError),
}

impl Attempt {
    pub(crate) fn new(
        transport: &Arc<Transport>,
        credentials: &Arc<Credentials>,
        operation: Operation,
        only_if_absent: bool,
        until: Instant,
    ) -> Self {
        Self(Arc::new(Inner {
            transport: Arc::clone(transport),
            credentials: Arc::clone(credentials),
            operation,
            only_if_absent,
            until,
            seen: Mutex::default(),
        }))
    }

    /// What went wrong, if something did.
    pub(crate) fn take_failure(&self) -> Option<Failure> {
        self.0.seen().failure.take()
    }

    /// The length that the server announced.
    pub(crate) fn announced_len(&self) -> Option<u64> {
        self.0.seen().announced
    }
}

impl DispatchSignedRequest for Attempt {
    fn dispatch(&self, request: SignedRequest, _timeout: Option<Duration>) -> DispatchSignedRequestFuture {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            inner.send(request).await.map_err(|failure| {
                inner.seen().failure = Some(failure);
                HttpDispatchError::new("see the attempt's failure".to_owned())
            })
        })
    }
}

impl Inner {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, mut request: SignedRequest) -> Result<HttpResponse, Failure> {
        if self.only_if_absent {
            request.add_header("if-none-match", "*");
        }
        request.add_header("user-agent", USER_AGENT);
        request.sign(&self.signer());
        let (request, progress) = into_hyper(request).map_err(Failure::Broken)?;
        let reply = self.transport.send(request, &progress).await.map_err(Failure::Broken)?;
        match reply.head.status.as_u16() {
            200 => self.succeed(reply).await,
            201 | 204 if self.operation == Operation::Put => self.succeed(reply).await,
            _ => Err(Failure::Refused(self.refusal(reply).await)),
        }
    }

    fn signer(&self) -> AwsCredentials {
        let Credentials { access_key, secret_key, session_token, expires: _, generation: _ } = &*self.credentials;
        AwsCredentials::new(access_key, secret_key, session_token.clone(), None)
    }

    async fn succeed(&self, reply: Reply) -> Result<HttpResponse, Failure> {
        let length = reply.head.headers.get("content-length").and_then(|value| value.to_str().ok());
        let announced = length.and_then(|length| length.parse().ok());
        self.seen().announced = announced;
        let chunks = |reply| self.transport.chunks(reply, announced, self.until);
        let body = match self.operation {
            Operation::List => ByteStream::from(listing(Body::new(announced, chunks(reply))).await.map_err(Failure::Broken)?),
            Operation::Get => ByteStream::new(chunks(reply).map_err(io::Error::other)),
            // rusoto doesn't read it, and only a connection whose answer was read can be used again.
            Operation::Put => ByteStream::from(self.transport.glance(reply, MAX_SMALL_BYTES).await.to_vec()),
        };
        Ok(HttpResponse { status: Default::default(), body, headers: Default::default() })
    }

    async fn refusal(&self, reply: Reply) -> Answer {
        let (status, headers) = (reply.head.status.as_u16(), reply.head.headers.clone());
        let body = self.transport.glance(reply, MAX_SMALL_BYTES).await;
        Answer::read(status, &headers, self.without_secrets(&body).as_bytes(), SystemTime::now())
    }

    /// A refusal ends up in messages, and some servers quote what they were sent.
    fn without_secrets(&self, body: &[u8]) -> String {
        let Credentials { access_key: _, secret_key, session_token, expires: _, generation: _ } = &*self.credentials;
        let secrets = [Some(secret_key), session_token.as_ref()];
        let text = String::from_utf8_lossy(body).into_owned();
        secrets.into_iter().flatten().filter(|secret| !secret.is_empty()).fold(text, |text, secret| text.replace(secret.as_str(), "…"))
    }
}

/// A listing as a whole, known to be XML: rusoto's parser never returns from anything else.
async fn listing(body: Body) -> Result<Vec<u8>, RemoteError> {
    let bytes = body.collect(MAX_LIST_BYTES).await?;
    let config = xml::ParserConfig::new().trim_whitespace(false);
    for event in xml::EventReader::new_with_config(&bytes[..], config) {
        event.map_err(|error| RemoteError::new(ErrorKind::Corrupt, format!("the listing isn't XML: {error}")))?;
    }
    Ok(bytes.into())
}

/// The same request in the types of the transport. Every header was signed, so each goes as it is.
fn into_hyper(request: SignedRequest) -> Result<(Request<RequestBody>, Arc<Progress>), RemoteError> {
    let mut uri = format!("{}://{}{}", request.scheme(), request.hostname(), request.canonical_path());
    if !request.canonical_query_string().is_empty() {
        uri = format!("{uri}?{}", request.canonical_query_string());
    }
    let mut builder = Request::builder().method(request.method()).uri(uri);
    for (name, values) in request.headers() {
        for value in values {
            builder = builder.header(name.as_str(), value.as_slice());
        }
    }
    let length = request.headers().get("content-length").and_then(|values| values.first());
    let length = length.and_then(|value| std::str::from_utf8(value).ok()).and_then(|value| value.parse().ok());
    let progress = Arc::new(Progress::new(length.unwrap_or(0)));
    // The text of this error would quote a header, and one of them is the session token.
    let refuse = |_| {
        RemoteError::new(ErrorKind::Configuration, "the endpoint, the bucket or the credentials hold characters that HTTP doesn't allow")
    };
    let request = builder.body(request_body(request.payload, Arc::clone(&progress))).map_err(refuse)?;
    Ok((request, progress))
}

fn request_body(payload: Option<SignedRequestPayload>, progress: Arc<Progress>) -> RequestBody {
    match payload {
        None => Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync(),
        Some(SignedRequestPayload::Buffer(bytes)) => {
            progress.add(bytes.len());
            Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
        }
        Some(SignedRequestPayload::Stream(stream)) => {
            let frames = stream.map_ok(move |bytes| {
                progress.add(bytes.len());
                Frame::data(bytes)
            });
            BodyExt::boxed_unsync(StreamBody::new(frames))
        }
    }
}
