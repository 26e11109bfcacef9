//! Credentials as a remote sees them: a pair of keys of some generation, and something that can make a newer one.
//!
//! Promise: nothing in here prints a key, a secret or a token.

use crate::error::RemoteError;
use futures_util::future::BoxFuture;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// What signs requests. Shared and never changed: new credentials are a new value of a higher generation.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: String,
    /// Session token of temporary credentials.
    pub session_token: Option<String>,
    /// When they end.
    pub expires: Option<SystemTime>,
    /// Counts up with every renewal, so that many requests that fail with one generation ask for one renewal.
    pub generation: u64,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { access_key: _, secret_key: _, session_token, expires, generation } = self;
        f.debug_struct("Credentials")
            .field("session_token", &session_token.as_ref().map(|_| "…"))
            .field("expires", expires)
            .field("generation", generation)
            .finish_non_exhaustive()
    }
}

/// Where credentials come from. Shared by all requests.
pub trait ProvideCredentials: Send + Sync + fmt::Debug {
    /// Credentials that are good now. Cheap when they are known already; concurrent callers share one lookup.
    fn current(&self) -> BoxFuture<'_, Result<Arc<Credentials>, RemoteError>>;

    /// Credentials newer than generation `stale`, which a server refused. When they are newer already, those; concurrent callers share
    /// one lookup. A source that has nothing newer gives what it has, with the same generation.
    fn renew(&self, stale: u64) -> BoxFuture<'_, Result<Arc<Credentials>, RemoteError>>;

    /// Which source won, for people: `KACHE_S3_ACCESS_KEY`, `profile ci (~/.aws/credentials)`. Never a secret.
    fn source(&self) -> String;

    /// How often the source was really asked.
    fn loads(&self) -> u64;
}

/// Credentials that stay.
#[derive(Debug)]
pub struct StaticCredentials {
    credentials: Arc<Credentials>,
    source: String,
}

impl StaticCredentials {
    /// A pair of keys, and where it came from.
    pub fn new(access_key: impl Into<String>, secret_key: impl Into<String>, source: impl Into<String>) -> Self {
        let credentials =
            Credentials { access_key: access_key.into(), secret_key: secret_key.into(), session_token: None, expires: None, generation: 1 };
        Self { credentials: Arc::new(credentials), source: source.into() }
    }
}

impl ProvideCredentials for StaticCredentials {
    fn current(&self) -> BoxFuture<'_, Result<Arc<Credentials>, RemoteError>> {
        Box::pin(async { Ok(Arc::clone(&self.credentials)) })
    }

    fn renew(&self, _stale: u64) -> BoxFuture<'_, Result<Arc<Credentials>, RemoteError>> {
        self.current()
    }

    fn source(&self) -> String {
        self.source.clone()
    }

    fn loads(&self) -> u64 {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_that_signs() {
        let mut credentials = (*StaticCredentials::new("AKIDEXAMPLE", "hunter2", "test").credentials).clone();
        credentials.session_token = Some("tokentoken".to_owned());
        let shown = format!("{credentials:?} {:?}", StaticCredentials::new("AKIDEXAMPLE", "hunter2", "test"));
        for secret in ["AKIDEXAMPLE", "hunter2", "tokentoken"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
