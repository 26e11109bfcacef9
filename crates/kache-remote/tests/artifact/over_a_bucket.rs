//! Artifacts over a real bucket, through whatever happens between here and there.

use crate::support::*;
use kache_remote::*;
use kache_testkit::{Fault, FaultProxy, S3Server, S3User, When};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A server that holds the sample, and a proxy in front of it.
struct Bucket {
    server: S3Server,
    proxy: FaultProxy,
}

impl Bucket {
    fn new() -> Self {
        let server = S3Server::start();
        let proxy = FaultProxy::to(server.address());
        let bucket = Self { server, proxy };
        let path = bucket.server.object(asked().object_name().path("artifacts"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, sample_object()).unwrap();
        bucket
    }

    fn remote(&self, user: S3User) -> S3Remote {
        remote(self.proxy.endpoint(), user, Vec::new())
    }
}

fn remote(endpoint: String, user: S3User, extra_roots: Vec<Vec<u8>>) -> S3Remote {
    let credentials = Arc::new(StaticCredentials::new(user.access_key, user.secret_key, "test"));
    let seconds = Duration::from_secs;
    S3Remote::new(S3Options {
        endpoint: Some(endpoint),
        extra_roots,
        deadlines: Deadlines {
            answer: Duration::from_millis(400),
            idle: Duration::from_millis(400),
            attempt: seconds(20),
            ..Deadlines::default()
        },
        retries: RetryPolicy { attempts: 3, base: Duration::from_millis(1), cap: Duration::from_millis(5), patience: seconds(20) },
        ..S3Options::new(S3Server::BUCKET, credentials)
    })
    .unwrap()
}

async fn fetch(remote: &S3Remote) -> Result<Option<Unpacked<Taken>>, RemoteError> {
    let intake = Arc::new(Memory::default());
    let fetched = fetch_artifact(remote, &asked(), Priority::Demand, Limits::default(), Arc::clone(&intake), &AtomicU64::new(0)).await;
    match &fetched {
        Ok(Some(unpacked)) => {
            assert_eq!(unpacked.descriptor, sample());
            assert!(unpacked.staged.iter().map(|taken| &taken.bytes[..]).eq(OUTPUTS.map(|(_, _, bytes)| bytes)));
        }
        _ => assert_eq!(intake.alive.load(Ordering::Relaxed), 0, "something was kept"),
    }
    fetched
}

/// Every GET fails like this: the fetch ends as `kind`, after so many requests. Once it passes, the artifact comes.
async fn check(fault: Fault, kind: ErrorKind, gets: u64) {
    let bucket = Bucket::new();
    let remote = bucket.remote(S3Server::OWNER);
    let fired = bucket.proxy.inject(When::kind("GET"), fault.clone());
    let error = fetch(&remote).await.expect_err("a fault");
    assert_eq!((error.kind(), fired.times()), (kind, gets), "{fault:?}: {error}");
    assert!(remote.counters().errors(kind) >= 1, "{fault:?}");
    bucket.proxy.clear();
    let remote = bucket.remote(S3Server::OWNER);
    bucket.proxy.inject(When::kind("GET").times(1), fault.clone());
    if gets > 1 {
        assert!(fetch(&remote).await.unwrap_or_else(|error| panic!("{fault:?}: {error}")).is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_on_the_way_is_retried_and_then_named() {
    check(Fault::slow_down(), ErrorKind::Throttled, 3).await;
    check(Fault::internal_error(), ErrorKind::Server, 3).await;
    check(Fault::ResetAfter(500), ErrorKind::Reset, 3).await;
    check(Fault::StallAfter(500), ErrorKind::Stalled, 3).await;
    check(Fault::CutAfter(500), ErrorKind::Truncated, 3).await;
    check(Fault::ClaimLength(9_999), ErrorKind::Truncated, 3).await;
    check(Fault::NoAnswer, ErrorKind::Timeout, 3).await;
}

/// A length that is too short is indistinguishable from a shorter object, so the frame has to tell.
#[tokio::test(flavor = "multi_thread")]
async fn bad_bytes_are_refused_by_kind() {
    check(Fault::ClaimLength(500), ErrorKind::Truncated, 3).await;
    check(Fault::FlipBit(-1, 0), ErrorKind::Corrupt, 1).await;
    check(Fault::Replace(b"<html>a captive portal</html>".to_vec()), ErrorKind::Corrupt, 1).await;
    check(Fault::Replace(compressed(&vec![0; 100 << 20])), ErrorKind::Corrupt, 1).await;
    let mut other = descriptor(&[(kache_model::Role::Rlib, "x", b"x")]);
    other.artifact.package = "other".into();
    other.outline.package = "other".into();
    check(Fault::Replace(packed(&other, &[b"x"]).unwrap().0), ErrorKind::WrongKey, 1).await;
    let mut tar = decompressed(&sample_object());
    let last = tar.iter().rposition(|byte| *byte == 7).unwrap();
    tar[last] ^= 1;
    check(Fault::Replace(compressed(&tar)), ErrorKind::DigestMismatch, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_not_repeated() {
    check(Fault::access_denied(), ErrorKind::Forbidden, 1).await;
    check(Fault::clock_skew(), ErrorKind::ClockSkew, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_fetches_and_may_not_store() {
    let bucket = Bucket::new();
    let remote = bucket.remote(S3Server::READER);
    assert!(fetch(&remote).await.unwrap().is_some());
    let page = remote.list(&Scope::All, None).await.unwrap();
    assert_eq!(page.objects, [(asked().object_name(), sample_object().len() as u64)]);
    let content = Content::Bytes("x".into());
    let error = remote.put(&asked().object_name(), content, PutWhen::Always).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    let (server, key) = (&bucket.server, asked().object_name().path("artifacts"));
    assert_eq!((server.requests("GET"), server.requests("LIST"), server.requests("PUT"), server.keys()), (1, 1, 1, vec![key]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_refused() {
    let bucket = Bucket::new();
    let error = fetch(&bucket.remote(S3User { secret_key: "other", ..S3Server::OWNER })).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_only_with_its_authority() {
    let server = S3Server::start_tls();
    let pem = std::fs::read_to_string(server.ca_file()).unwrap();
    let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, base64).unwrap();
    assert!(fetch(&remote(server.endpoint(), S3Server::OWNER, vec![der])).await.unwrap().is_none());
    let error = fetch(&remote(server.endpoint(), S3Server::OWNER, Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_lands_once_and_survives_trouble() {
    let bucket = Bucket::new();
    let path = bucket.server.object(asked().object_name().path("artifacts"));
    std::fs::remove_file(&path).unwrap();
    let remote = bucket.remote(S3Server::OWNER);
    let place = tempfile::tempdir().unwrap();
    let staging = place.path().join("up");
    let outputs = sample().artifact.outputs.into_iter().zip(OUTPUTS.map(|(_, _, bytes)| bytes));
    // The first attempt is lost before the server, the second after it stored.
    bucket.proxy.inject(When::kind("PUT").times(1), Fault::DropRequest);
    bucket.proxy.inject(When::kind("PUT").times(1), Fault::DropAnswer);
    let upload = upload_artifact(&remote, sample(), outputs, 3, &staging, PutWhen::Absent).await;
    assert_eq!(upload.unwrap().0, PutOutcome::AlreadyThere);
    assert_eq!(std::fs::read(&path).unwrap(), sample_object());
    assert_eq!(place.path().read_dir().unwrap().count(), 0);
    assert!(fetch(&remote).await.unwrap().is_some());
}
