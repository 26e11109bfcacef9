//! Credentials that end while a daemon runs: renewed once, for all, and not for ever.

use crate::scripted::{Act, Scripted, ok, refusal};
use crate::support::{artifact, bytes, check_error, get, options};
use futures_util::future::{BoxFuture, join_all};
use kache_remote::{Credentials, ErrorKind, ProvideCredentials, PutWhen, Remote, RemoteError, S3Options, S3Remote};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

/// Gives `AKID1`, and after a renewal `AKID2`, and so on.
#[derive(Debug, Default)]
struct Rolling {
    generation: Mutex<u64>,
    asked: AtomicU64,
}

impl Rolling {
    fn of(generation: u64) -> Arc<Credentials> {
        Arc::new(Credentials {
            access_key: format!("AKID{generation}"),
            secret_key: "secret".to_owned(),
            session_token: Some(format!("token{generation}==")),
            expires: None,
            generation,
        })
    }
}

impl ProvideCredentials for Rolling {
    fn current(&self) -> BoxFuture<'_, Result<Arc<Credentials>, RemoteError>> {
        Box::pin(async { Ok(Self::of(*self.generation.lock().await)) })
    }

    fn renew(&self, stale: u64) -> BoxFuture<'_, Result<Arc<Credentials>, RemoteError>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let mut generation = self.generation.lock().await;
            if *generation == stale {
                tokio::time::sleep(Duration::from_millis(20)).await;
                *generation += 1;
            }
            Ok(Self::of(*generation))
        })
    }

    fn source(&self) -> String {
        "rolling".to_owned()
    }

    fn loads(&self) -> u64 {
        0
    }
}

fn rolling(endpoint: &str) -> (S3Remote, Arc<Rolling>) {
    let credentials = Arc::new(Rolling::default());
    let remote = S3Remote::new(S3Options { credentials: Arc::<Rolling>::clone(&credentials), ..options(endpoint) }).unwrap();
    (remote, credentials)
}

#[tokio::test]
async fn expired_credentials_are_renewed_once_for_all() {
    for (status, code) in [("400 Bad", "ExpiredToken"), ("403 Forbidden", "InvalidAccessKeyId"), ("403 Forbidden", "AccessDenied")] {
        let server = Scripted::start(move |_, seen| {
            let stale = seen.header("authorization").unwrap().contains("AKID0/");
            assert_eq!(seen.header("x-amz-security-token").unwrap(), if stale { "token0==" } else { "token1==" });
            if stale { Act::Answer(refusal(status, "", code)) } else { ok("found") }
        })
        .await;
        let (remote, credentials) = rolling(&server.endpoint);
        let name = artifact("serde", "a");
        for found in join_all((0..16).map(|_| get(&remote, &name))).await {
            assert_eq!(found.unwrap().unwrap(), "found", "{code}");
        }
        assert_eq!(*credentials.generation.lock().await, 1, "{code}");
    }
}

#[tokio::test]
async fn what_is_denied_to_fresh_credentials_too_is_not_worth_further_renewals() {
    let server = Scripted::list(vec![Act::Answer(refusal("403 Forbidden", "", "AccessDenied"))]).await;
    let (remote, credentials) = rolling(&server.endpoint);
    for _ in 0..5 {
        let error = get(&remote, &artifact("serde", "a")).await.unwrap_err();
        check_error(&error, ErrorKind::Forbidden, &["access denied", "rolling", "s3:GetObject and s3:ListBucket"]);
    }
    assert_eq!(credentials.asked.load(Ordering::SeqCst), 1);
    assert_eq!(server.seen().len(), 6);
    assert_eq!(remote.snapshot().breaker.read, "closed");
}

#[tokio::test]
async fn a_forbidden_upload_pauses_uploads_and_nothing_else() {
    let server = Scripted::start(|_, seen| {
        if seen.line().starts_with("PUT") { Act::Answer(refusal("403 Forbidden", "", "AccessDenied")) } else { ok("found") }
    })
    .await;
    let (remote, _) = rolling(&server.endpoint);
    let name = artifact("serde", "a");
    let error = remote.put(&name, bytes("x"), PutWhen::Always).await.unwrap_err();
    check_error(&error, ErrorKind::Forbidden, &["PUT http", "s3:PutObject", "read-only"]);
    let asked = server.seen().len();
    let error = remote.put(&name, bytes("x"), PutWhen::Always).await.unwrap_err();
    check_error(&error, ErrorKind::BreakerOpen, &["s3:PutObject", "not tried for another 300 s"]);
    assert_eq!(server.seen().len(), asked);
    assert_eq!(get(&remote, &name).await.unwrap().unwrap(), "found");
    let breaker = remote.snapshot().breaker;
    assert_eq!((breaker.read.as_str(), breaker.write.as_str()), ("closed", "open"));
}

/// Has none.
#[derive(Debug)]
struct Nobody;

impl ProvideCredentials for Nobody {
    fn current(&self) -> BoxFuture<'_, Result<Arc<Credentials>, RemoteError>> {
        Box::pin(async { Err(RemoteError::new(ErrorKind::NoCredentials, "no credentials found; set AWS_ACCESS_KEY_ID")) })
    }

    fn renew(&self, _: u64) -> BoxFuture<'_, Result<Arc<Credentials>, RemoteError>> {
        self.current()
    }

    fn source(&self) -> String {
        "none".to_owned()
    }

    fn loads(&self) -> u64 {
        0
    }
}

#[tokio::test]
async fn without_credentials_nothing_is_sent() {
    let server = Scripted::list(vec![ok("found")]).await;
    let remote = S3Remote::new(S3Options { credentials: Arc::new(Nobody), ..options(&server.endpoint) }).unwrap();
    let error = get(&remote, &artifact("serde", "a")).await.unwrap_err();
    check_error(&error, ErrorKind::NoCredentials, &["AWS_ACCESS_KEY_ID", "GET http"]);
    assert_eq!(server.seen().len(), 0);
}
