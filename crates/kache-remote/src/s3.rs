//! A bucket on S3 or on something that speaks like it.
//!
//! One request at a time, this is what happens: the breaker lets it through, it gets a slot, is signed and sent; when the server says
//! that the bucket is elsewhere it is sent there, and when it refuses the credentials it is sent once more with newer ones, if there are.
//! What the server says is then a result, a miss or an error, and limit, breaker and counters learn of it.

use crate::answer::{Answer, Operation, Refused};
use crate::body::{Body, Content};
use crate::breaker::{BreakerPolicy, Gate, Pass};
use crate::connector::{find, tls};
use crate::counters::{BreakerStates, Counters, Snapshot};
use crate::credential::{Credentials, ProvideCredentials};
use crate::dispatch::{Attempt, Failure};
use crate::error::{ErrorKind, RemoteError};
use crate::limit::{Limit, Permit};
use crate::name::{ObjectName, Scope};
use crate::place::Place;
use crate::retry::{RetryPolicy, retry};
use crate::transport::{Deadlines, Transport};
use crate::upload::{byte_stream, md5};
use crate::{Page, Priority, PutOutcome, PutWhen, Remote};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{StreamExt, unfold};
use rusoto_core::{ByteStream, Client, RusotoError};
use rusoto_s3::{GetObjectRequest, ListObjectsV2Request, PutObjectRequest, S3, S3Client};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::time::{Instant, timeout_at};

/// What a bucket is and how it is used.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// The bucket's name.
    pub bucket: String,
    /// URL of an S3-compatible service; `None` for AWS.
    pub endpoint: Option<String>,
    /// The bucket's region; `None` for `us-east-1`.
    pub region: Option<String>,
    /// What all keys begin with, without slashes at its ends.
    pub prefix: String,
    /// How many requests run at once.
    pub concurrency: usize,
    /// Refuse every PUT.
    pub read_only: bool,
    /// Who signs.
    pub credentials: Arc<dyn ProvideCredentials>,
    /// How long to wait.
    pub deadlines: Deadlines,
    /// How to try again.
    pub retries: RetryPolicy,
    /// When to stop trying.
    pub breaker: BreakerPolicy,
    /// Certificates (DER) to trust besides the system's.
    pub extra_roots: Vec<Vec<u8>>,
}

impl S3Options {
    /// A bucket on AWS, with defaults for everything else.
    pub fn new(bucket: impl Into<String>, credentials: Arc<dyn ProvideCredentials>) -> Self {
        Self {
            bucket: bucket.into(),
            endpoint: None,
            region: None,
            prefix: "artifacts".to_owned(),
            concurrency: 64,
            read_only: false,
            credentials,
            deadlines: Deadlines::default(),
            retries: RetryPolicy::default(),
            breaker: BreakerPolicy::default(),
            extra_roots: Vec::new(),
        }
    }
}

/// A bucket.
#[derive(Debug)]
pub struct S3Remote {
    options: S3Options,
    transport: Arc<Transport>,
    place: RwLock<Place>,
    limit: Limit,
    reads: Gate,
    writes: Gate,
    counters: Arc<Counters>,
    /// The generation of credentials that a server refused although they were fresh.
    refused_generation: AtomicU64,
    conditional_puts: AtomicBool,
}

/// What a request is about.
#[derive(Clone, Copy, Debug)]
struct Target<'a> {
    operation: Operation,
    key: &'a str,
    only_if_absent: bool,
    until: Instant,
}

/// How a request ended that was answered.
enum Reply<T> {
    Done(T, Option<u64>),
    Refused(Answer),
}

/// What has been tried already for one request.
#[derive(Default)]
struct Remedies {
    followed: bool,
    renewed: bool,
}

impl S3Remote {
    /// Gets ready. Sends nothing, so it fails only over what it is told and over certificates.
    pub fn new(options: S3Options) -> Result<Self, RemoteError> {
        if options.bucket.is_empty() || options.bucket.contains(|c: char| c == '/' || c.is_whitespace()) {
            return Err(RemoteError::new(ErrorKind::Configuration, "the bucket's name is empty or holds slashes or spaces"));
        }
        let place = Place::new(options.endpoint.as_deref(), options.region.as_deref())?;
        let tls = tls(place.is_https(), &options.extra_roots)?;
        let counters = Arc::new(Counters::default());
        let transport = Transport::new(tls, options.concurrency, options.deadlines, &counters);
        Ok(Self {
            transport: Arc::new(transport),
            place: RwLock::new(place),
            limit: Limit::new(options.concurrency),
            reads: Gate::new(options.breaker),
            writes: Gate::new(options.breaker),
            counters,
            refused_generation: AtomicU64::new(u64::MAX),
            conditional_puts: AtomicBool::new(true),
            options,
        })
    }

    /// Where requests go at present.
    pub fn endpoint(&self) -> String {
        self.place().endpoint
    }

    /// Which region requests are signed for at present.
    pub fn region(&self) -> String {
        self.place().region
    }

    fn place(&self) -> Place {
        self.place.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn target<'a>(&self, operation: Operation, key: &'a str, only_if_absent: bool) -> Target<'a> {
        Target { operation, key, only_if_absent, until: Instant::now() + self.options.deadlines.attempt }
    }

    fn subject(&self, operation: Operation, key: &str) -> String {
        format!("{} {}/{}/{key}", operation.verb(), self.place().endpoint, self.options.bucket)
    }

    fn to_error(&self, operation: Operation, answer: Answer) -> RemoteError {
        answer.into_error(operation, &self.options.credentials.source())
    }

    /// Waits for a slot and for the breaker's leave.
    async fn enter(&self, gate: &Gate, priority: Priority) -> Result<(Permit, Pass), RemoteError> {
        gate.check()?;
        let permit = self.limit.acquire(priority).await;
        Ok((permit, gate.pass()?))
    }

    /// Tells limit and breaker how a request ended.
    fn settle<T>(&self, pass: Pass, result: &Result<T, RemoteError>) {
        match result {
            Ok(_) => {
                self.limit.succeeded();
                pass.well();
            }
            Err(error) => {
                if error.kind() == ErrorKind::Throttled {
                    self.limit.throttled(std::time::Instant::now());
                }
                pass.failed(error);
            }
        }
    }

    /// Sends a request until there is nothing more to put right.
    async fn call<T, E, F, A>(&self, target: Target<'_>, mut send: F) -> Result<Reply<T>, RemoteError>
    where
        F: FnMut(S3Client) -> A,
        A: Future<Output = Result<T, RusotoError<E>>>,
        E: std::error::Error + 'static,
    {
        let mut remedies = Remedies::default();
        loop {
            let credentials = self.options.credentials.current().await?;
            let place = self.place();
            let attempt = Attempt::new(&self.transport, &credentials, target.operation, target.only_if_absent, target.until);
            let client = S3Client::new_with_client(Client::new_not_signing(attempt.clone()), place.as_rusoto());
            let Ok(result) = timeout_at(target.until, send(client)).await else {
                return Err(RemoteError::new(ErrorKind::Timeout, "it took too long"));
            };
            let answer = match (result, attempt.take_failure()) {
                (Ok(value), _) => return Ok(Reply::Done(value, attempt.announced_len())),
                (Err(_), Some(Failure::Refused(answer))) => answer,
                (Err(_), Some(Failure::Broken(error))) => return Err(error),
                (Err(error), None) => return Err(unreadable(&error)),
            };
            if !self.put_right(target.operation, &answer, &place, &credentials, &mut remedies).await? {
                return Ok(Reply::Refused(answer));
            }
            self.counters.note(&mut self.to_error(target.operation, answer));
            self.counters.retries.one();
        }
    }

    /// Whether the request should be sent once more, to another place or with other credentials.
    async fn put_right(
        &self,
        operation: Operation,
        answer: &Answer,
        place: &Place,
        credentials: &Credentials,
        tried: &mut Remedies,
    ) -> Result<bool, RemoteError> {
        if let Some(region) = answer.right_region() {
            return Ok(!std::mem::replace(&mut tried.followed, true) && self.move_to(region, place));
        }
        let Some(refused) = answer.refuses_credentials() else { return Ok(false) };
        let known_to_be_refused = self.refused_generation.load(Ordering::Relaxed) == credentials.generation;
        if tried.renewed || (refused == Refused::Perhaps && known_to_be_refused) {
            self.refused_generation.store(credentials.generation, Ordering::Relaxed);
            return Ok(false);
        }
        tried.renewed = true;
        tracing::debug!(operation = operation.verb(), ?answer, "asking for newer credentials");
        let newer = self.options.credentials.renew(credentials.generation).await?;
        let renewed = newer.generation != credentials.generation;
        if !renewed {
            self.refused_generation.store(credentials.generation, Ordering::Relaxed);
        }
        Ok(renewed)
    }

    /// Remembers where the bucket is. False when the server sends us to where we were.
    fn move_to(&self, region: &str, from: &Place) -> bool {
        let moved = from.moved_to(region);
        let news = moved != *from;
        if news {
            tracing::info!(bucket = self.options.bucket, region, "the bucket is in another region than configured");
            *self.place.write().unwrap_or_else(PoisonError::into_inner) = moved;
        }
        news
    }

    async fn get_once(&self, key: &str, priority: Priority) -> Result<Option<Body>, RemoteError> {
        let (permit, pass) = self.enter(&self.reads, priority).await?;
        let target = self.target(Operation::Get, key, false);
        let reply = self.call(target, |client| {
            self.counters.gets.one();
            let request = GetObjectRequest { bucket: self.options.bucket.clone(), key: key.to_owned(), ..Default::default() };
            async move { client.get_object(request).await }
        });
        let result = match reply.await {
            Ok(Reply::Done(object, len)) => {
                self.limit.succeeded();
                return Ok(Some(self.body(object.body.unwrap_or_else(|| Vec::new().into()), len, key, permit, pass)));
            }
            Ok(Reply::Refused(answer)) if answer.says_missing() => Ok(None),
            Ok(Reply::Refused(answer)) => Err(self.to_error(Operation::Get, answer)),
            Err(error) => Err(error),
        };
        self.settle(pass, &result);
        if result.is_ok() {
            self.counters.not_found.one();
        }
        result
    }

    /// A body that keeps its slot until it ends, and tells breaker and counters how it ended.
    fn body(&self, stream: ByteStream, len: Option<u64>, key: &str, permit: Permit, pass: Pass) -> Body {
        let counters = Arc::clone(&self.counters);
        let subject = self.subject(Operation::Get, key);
        let chunks = unfold(Some((stream, permit, pass)), move |state| {
            let (counters, subject) = (Arc::clone(&counters), subject.clone());
            async move {
                let (mut stream, permit, pass) = state?;
                match stream.next().await {
                    Some(Ok(bytes)) => {
                        counters.get_bytes.add(bytes.len() as u64);
                        Some((Ok(bytes), Some((stream, permit, pass))))
                    }
                    Some(Err(error)) => {
                        let mut error = unreadable(&error).at(subject);
                        counters.note(&mut error);
                        pass.failed(&error);
                        Some((Err(error), None))
                    }
                    None => {
                        pass.well();
                        None
                    }
                }
            }
        });
        Body::new(len, chunks)
    }

    async fn put_once(&self, key: &str, content: &Content, md5: &str, when: PutWhen) -> Result<PutOutcome, RemoteError> {
        let (_permit, pass) = self.enter(&self.writes, Priority::Upload).await?;
        let only_if_absent = when == PutWhen::Absent && self.conditional_puts.load(Ordering::Relaxed);
        let mut reply = self.send_put(key, content, md5, only_if_absent).await;
        if only_if_absent && matches!(&reply, Ok(Reply::Refused(answer)) if answer.says_not_implemented()) {
            self.conditional_puts.store(false, Ordering::Relaxed);
            reply = self.send_put(key, content, md5, false).await;
        }
        let result = match reply {
            Ok(Reply::Done(..)) => {
                self.counters.put_bytes.add(content.len());
                Ok(PutOutcome::Stored)
            }
            Ok(Reply::Refused(answer)) if only_if_absent && answer.says_already_there() => Ok(PutOutcome::AlreadyThere),
            Ok(Reply::Refused(answer)) => Err(self.to_error(Operation::Put, answer)),
            Err(error) => Err(error),
        };
        self.settle(pass, &result);
        match &result {
            Ok(_) => self.counters.puts.one(),
            Err(error) if error.kind() == ErrorKind::Forbidden => self.writes.forbid(error.detail()),
            Err(_) => {}
        }
        result
    }

    async fn send_put(&self, key: &str, content: &Content, md5: &str, only_if_absent: bool) -> Result<Reply<()>, RemoteError> {
        let target = self.target(Operation::Put, key, only_if_absent);
        let reply = self.call(target, |client| {
            let request = PutObjectRequest {
                bucket: self.options.bucket.clone(),
                key: target.key.to_owned(),
                body: Some(byte_stream(content)),
                content_length: i64::try_from(content.len()).ok(),
                content_md5: Some(md5.to_owned()),
                ..Default::default()
            };
            async move { client.put_object(request).await.map(drop) }
        });
        reply.await
    }

    async fn list_once(&self, scope: &Scope, after: Option<&str>) -> Result<Page, RemoteError> {
        let (_permit, pass) = self.enter(&self.reads, Priority::Ahead).await?;
        let path = scope.path(&self.options.prefix);
        let target = self.target(Operation::List, &path, false);
        let reply = self.call(target, |client| {
            self.counters.lists.one();
            let request = ListObjectsV2Request {
                bucket: self.options.bucket.clone(),
                prefix: Some(path.clone()),
                continuation_token: after.map(str::to_owned),
                ..Default::default()
            };
            // rusoto's parser panics on numbers that aren't.
            let listing = AssertUnwindSafe(async move { client.list_objects_v2(request).await }).catch_unwind();
            async move {
                match listing.await {
                    Ok(listed) => listed,
                    Err(_) => Err(RusotoError::ParseError("not a listing".to_owned())),
                }
            }
        });
        let result = match reply.await {
            Ok(Reply::Done(listing, _)) => Ok(self.page(listing)),
            Ok(Reply::Refused(answer)) => Err(self.to_error(Operation::List, answer)),
            Err(error) => Err(error),
        };
        self.settle(pass, &result);
        result
    }

    fn page(&self, listing: rusoto_s3::ListObjectsV2Output) -> Page {
        let named = listing.contents.into_iter().flatten().filter_map(|object| {
            let name = ObjectName::parse(&self.options.prefix, &object.key?)?;
            Some((name, u64::try_from(object.size?).ok()?))
        });
        let more = listing.is_truncated.unwrap_or(false);
        Page { objects: named.collect(), next: listing.next_continuation_token.filter(|_| more) }
    }
}

/// An error of rusoto's own, or one of ours that came through it.
fn unreadable(error: &(dyn std::error::Error + 'static)) -> RemoteError {
    find::<RemoteError>(error)
        .cloned()
        .unwrap_or_else(|| RemoteError::new(ErrorKind::Corrupt, format!("the answer can't be read: {error}")))
}

impl Remote for S3Remote {
    fn get(&self, name: &ObjectName, priority: Priority) -> BoxFuture<'_, Result<Option<Body>, RemoteError>> {
        let key = name.path(&self.options.prefix);
        Box::pin(async move {
            let mut result = self.get_once(&key, priority).await.map_err(|error| error.at(self.subject(Operation::Get, &key)));
            result.as_mut().err().into_iter().for_each(|error| self.counters.note(error));
            result
        })
    }

    fn put(&self, name: &ObjectName, content: Content, when: PutWhen) -> BoxFuture<'_, Result<PutOutcome, RemoteError>> {
        let key = name.path(&self.options.prefix);
        Box::pin(async move {
            let stored = async {
                if self.options.read_only {
                    return Err(RemoteError::new(ErrorKind::ReadOnly, "this remote is for reading (mode = \"read-only\")"));
                }
                let md5 = md5(&content).await?;
                retry(&self.options.retries, &self.counters, || self.put_once(&key, &content, &md5, when)).await
            };
            stored.await.map_err(|error| error.at(self.subject(Operation::Put, &key)))
        })
    }

    fn list(&self, scope: &Scope, after: Option<String>) -> BoxFuture<'_, Result<Page, RemoteError>> {
        let scope = scope.clone();
        Box::pin(async move {
            let listed = retry(&self.options.retries, &self.counters, || self.list_once(&scope, after.as_deref()));
            listed.await.map_err(|error| error.at(self.subject(Operation::List, &scope.path(&self.options.prefix))))
        })
    }

    fn retry_policy(&self) -> RetryPolicy {
        self.options.retries
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            credential_loads: self.options.credentials.loads(),
            breaker: BreakerStates { read: self.reads.state_name().to_owned(), write: self.writes.state_name().to_owned() },
            credential_source: self.options.credentials.source(),
            in_flight: self.limit.busy() as u64,
            ..self.counters.snapshot()
        }
    }
}
