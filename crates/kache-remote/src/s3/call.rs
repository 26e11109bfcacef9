//! How one request to a bucket is carried through: let in, signed, sent, and sent once more where that puts it right.
//!
//! A server that says that the bucket is elsewhere is believed once per request, and the right region is remembered for all. A server that
//! refuses the credentials is asked once more with newer ones, if there are any; all requests that fail together share one renewal.

use super::S3Remote;
use crate::Priority;
use crate::answer::{Answer, Operation, Refused};
use crate::body::Body;
use crate::breaker::{Gate, Pass};
use crate::connector::find;
use crate::credential::Credentials;
use crate::dispatch::{Attempt, Failure};
use crate::error::{ErrorKind, RemoteError};
use crate::limit::Permit;
use crate::place::Place;
use futures_util::stream::{StreamExt, unfold};
use rusoto_core::{ByteStream, Client, RusotoError};
use rusoto_s3::S3Client;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What a request is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    operation: Operation,
    pub(super) key: &'a str,
    only_if_absent: bool,
    until: Instant,
}

/// Bytes per second below which an upload isn't worth going on with.
const SLOWEST: u64 = 16 << 10;

impl Target<'_> {
    /// Gives it time to send so many bytes over a slow line.
    pub(super) fn with(self, bytes: u64) -> Self {
        Self { until: self.until + Duration::from_secs(bytes / SLOWEST), ..self }
    }
}

/// How a request ended that was answered.
pub(super) enum Reply<T> {
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
    pub(super) fn target<'a>(&self, operation: Operation, key: &'a str, only_if_absent: bool) -> Target<'a> {
        Target { operation, key, only_if_absent, until: Instant::now() + self.options.deadlines.attempt }
    }

    /// Waits for a slot and for the breaker's leave.
    pub(super) async fn enter(&self, gate: &Gate, priority: Priority) -> Result<(Permit, Pass), RemoteError> {
        gate.check()?;
        let permit = self.limit.acquire(priority).await;
        Ok((permit, gate.pass()?))
    }

    /// Tells limit and breaker how a request ended.
    pub(super) fn settle<T>(&self, pass: Pass, result: &Result<T, RemoteError>) {
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
    pub(super) async fn call<T, E, F, A>(&self, target: Target<'_>, mut send: F) -> Result<Reply<T>, RemoteError>
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

    /// A body that keeps its slot until it ends, and tells breaker and counters how it ended.
    pub(super) fn body(&self, stream: ByteStream, len: Option<u64>, key: &str, permit: Permit, pass: Pass) -> Body {
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
}

/// An error of rusoto's own, or one of ours that came through it.
fn unreadable(error: &(dyn std::error::Error + 'static)) -> RemoteError {
    find::<RemoteError>(error)
        .cloned()
        .unwrap_or_else(|| RemoteError::new(ErrorKind::Corrupt, format!("the answer can't be read: {error}")))
}
