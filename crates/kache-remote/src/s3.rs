//! A bucket on S3 or on something that speaks like it.
//!
//! Every request takes the same way: it gets a slot, the breaker lets it through, it is signed and sent, and [`call`] puts right what can
//! be. What the server says is then a result, a miss or an error, and limit, breaker and counters learn of it.

mod call;

use crate::answer::{Answer, Operation};
use crate::body::{Body, Content};
use crate::breaker::{BreakerPolicy, Gate};
use crate::connector::tls;
use crate::counters::{BreakerStates, Counters, Snapshot};
use crate::credential::ProvideCredentials;
use crate::error::{ErrorKind, RemoteError};
use crate::limit::Limit;
use crate::name::{ObjectName, Scope};
use crate::pace::Pace;
use crate::place::Place;
use crate::retry::{RetryPolicy, retry};
use crate::transport::{Deadlines, Transport};
use crate::upload::{byte_stream, md5};
use crate::{Page, Priority, PutOutcome, PutWhen, Remote};
use call::Reply;
use futures_util::future::{BoxFuture, FutureExt};
use rusoto_core::RusotoError;
use rusoto_s3::{GetObjectRequest, ListObjectsV2Request, PutObjectRequest, S3};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

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
    /// Refuse every PUT; [`S3Remote::set_read_only`] changes it.
    pub read_only: bool,
    /// Bytes per second that all uploads together may send, if there is a limit; [`S3Remote::set_upload_rate`] changes it.
    pub upload_rate: Option<u64>,
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
            upload_rate: None,
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
    pace: Arc<Pace>,
    reads: Gate,
    writes: Gate,
    counters: Arc<Counters>,
    /// The generation of credentials that a server refused although they were fresh.
    refused_generation: AtomicU64,
    conditional_puts: AtomicBool,
    read_only: AtomicBool,
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
        let transport = Transport::new(tls, options.deadlines, &counters);
        Ok(Self {
            transport: Arc::new(transport),
            place: RwLock::new(place),
            limit: Limit::new(options.concurrency),
            pace: Arc::new(Pace::new(options.upload_rate)),
            reads: Gate::new(options.breaker),
            writes: Gate::new(options.breaker),
            counters,
            refused_generation: AtomicU64::new(u64::MAX),
            conditional_puts: AtomicBool::new(true),
            read_only: AtomicBool::new(options.read_only),
            options,
        })
    }

    /// Refuses every PUT from now on, or takes them again.
    pub fn set_read_only(&self, read_only: bool) {
        self.read_only.store(read_only, Ordering::Relaxed);
    }

    /// From now on uploads send no more than that per second, all of them together.
    pub fn set_upload_rate(&self, rate: Option<u64>) {
        self.pace.set(rate);
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

    fn subject(&self, operation: Operation, key: &str) -> String {
        format!("{} {}/{}/{key}", operation.verb(), self.place().endpoint, self.options.bucket)
    }

    fn to_error(&self, operation: Operation, answer: Answer) -> RemoteError {
        answer.into_error(operation, &self.options.credentials.source())
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
        let target = self.target(Operation::Put, key, only_if_absent).with(content.len());
        let reply = self.call(target, |client| {
            let request = PutObjectRequest {
                bucket: self.options.bucket.clone(),
                key: target.key.to_owned(),
                body: Some(byte_stream(content, &self.pace)),
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
                if self.read_only.load(Ordering::Relaxed) {
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

    fn refuses_puts(&self) -> Option<(RemoteError, Duration)> {
        self.writes.refusal()
    }

    fn try_puts_again(&self) {
        self.writes.shorten();
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
