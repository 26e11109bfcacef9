//! What the tests here say often.

use bytes::Bytes;
use kache_model::{ArtifactKey, Digest, UnitKey};
use kache_remote::{
    BreakerPolicy, Content, Deadlines, ErrorKind, ObjectName, PackageName, Priority, RemoteError, RetryPolicy, S3Options, S3Remote,
    StaticCredentials, fetch_bytes,
};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const ACCESS_KEY: &str = "AKIDEXAMPLE";
pub(crate) const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A bucket `team` behind `endpoint`, with the right keys.
pub(crate) fn options(endpoint: &str) -> S3Options {
    let millis = Duration::from_millis;
    let credentials = StaticCredentials::new(ACCESS_KEY, SECRET_KEY, "the test");
    S3Options {
        endpoint: Some(endpoint.to_owned()),
        deadlines: Deadlines {
            connect: millis(5000),
            answer: millis(9000),
            idle: millis(9000),
            upload_idle: millis(9000),
            attempt: millis(20_000),
        },
        retries: RetryPolicy { attempts: 4, base: millis(1), cap: millis(5), patience: millis(20_000) },
        breaker: BreakerPolicy { failures: 1000, ..BreakerPolicy::default() },
        ..S3Options::new("team", Arc::new(credentials))
    }
}

pub(crate) fn remote(endpoint: &str) -> S3Remote {
    S3Remote::new(options(endpoint)).unwrap()
}

/// The same with little patience, for servers that don't answer.
pub(crate) fn hasty(endpoint: &str) -> S3Options {
    let second = Duration::from_secs(1);
    let deadlines = Deadlines { answer: second, idle: second, upload_idle: second, ..options(endpoint).deadlines };
    S3Options { deadlines, ..options(endpoint) }
}

pub(crate) fn package(name: &str) -> PackageName {
    PackageName::new(name).unwrap()
}

pub(crate) fn artifact(name: &str, seed: impl AsRef<[u8]>) -> ObjectName {
    ObjectName::Artifact { package: package(name), key: ArtifactKey(Digest::of(seed.as_ref())) }
}

pub(crate) fn inputs(name: &str, seed: impl AsRef<[u8]>) -> ObjectName {
    ObjectName::Inputs { package: package(name), unit: UnitKey(Digest::of(seed.as_ref())) }
}

pub(crate) fn bytes(text: &str) -> Content {
    Content::Bytes(Bytes::copy_from_slice(text.as_bytes()))
}

pub(crate) async fn get(remote: &S3Remote, name: &ObjectName) -> Result<Option<Bytes>, RemoteError> {
    fetch_bytes(remote, name, Priority::Demand, 1 << 30).await
}

/// Requires that an error is of that kind and says these things.
pub(crate) fn check_error(error: &RemoteError, kind: ErrorKind, says: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for part in says {
        assert!(error.to_string().contains(part), "{part:?} isn't in: {error}");
    }
    for secret in [ACCESS_KEY, SECRET_KEY] {
        assert!(!error.to_string().contains(secret) && !format!("{error:?}").contains(secret), "{error}");
    }
}
