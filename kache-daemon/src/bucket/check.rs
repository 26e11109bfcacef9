//! Tries the bucket out, for `kache doctor`: what an artifact's way needs, one request each.
//!
//! Reading asks for a build index under a name that no build has, and listing for the input sets of a package that nobody has, so both move nothing.
//! Writing is tried only if it is asked for: it stores an empty build index under that same name, if nothing is there yet. `LAYOUT.md` knows it.

use super::Bucket;
use kache_model::Digest;
use kache_remote::fetch_build_index;
use kache_remote::{
    BreakerStates, BuildIndex, Content, ErrorKind, ObjectName, PackageName, Priority, PutWhen, RemoteError, S3Remote, Scope,
};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How long one request may take, retries included.
const BOUND: Duration = Duration::from_secs(20);

/// The bucket as it was configured, beside what was found out about it since.
#[derive(Clone, Debug)]
pub(super) struct Whereabouts {
    pub(super) s3: Arc<S3Remote>,
    pub(super) bucket: String,
    pub(super) region: Option<String>,
}

/// What came of it. Names are a contract with `kache doctor`.
#[derive(Debug, Serialize)]
pub(crate) struct Checkup {
    bucket: String,
    endpoint: String,
    /// Where the server says that the bucket is.
    region: String,
    configured_region: Option<String>,
    /// Which source of credentials won.
    credentials: String,
    writes: bool,
    read: Trial,
    list: Trial,
    /// `None`: not tried.
    write: Option<Trial>,
    /// Uploads since the daemon started.
    puts: u64,
    /// What the server has refused since then, by kind.
    refused_uploads: usize,
}

/// Which bucket it is and how it goes, as far as that is known without asking it. Names are a contract with `kache status`.
#[derive(Debug, Serialize)]
pub(crate) struct Condition {
    name: String,
    endpoint: String,
    /// Which source of credentials won; empty before the first request.
    credentials: String,
    queued_uploads: usize,
    /// Of these, refused by the server.
    refused_uploads: usize,
    /// Build indexes that are being stored.
    indexes: usize,
    breaker: BreakerStates,
    /// Input sets that were left alone for what they name.
    ignored_input_sets: u64,
    /// Artifacts that were refused for what they hold.
    refused_artifacts: u64,
    /// The last of these in words.
    last_oddity: Option<String>,
    last_error: Option<LastError>,
}

/// What last went wrong.
#[derive(Debug, Serialize)]
struct LastError {
    what: String,
    secs_ago: u64,
}

/// One request.
#[derive(Debug, Serialize)]
struct Trial {
    ok: bool,
    millis: u128,
    kind: Option<&'static str>,
    detail: Option<String>,
}

impl Bucket {
    /// See the module.
    pub(crate) async fn check(&self, write: bool) -> Checkup {
        let name = ObjectName::Build(Digest::from_bytes([0; 32]));
        let read = trial(async { fetch_build_index(&*self.remote, &name, Priority::Demand).await.map(drop) }).await;
        let nobody = PackageName::new("kache-doctor").map(Scope::Inputs).unwrap_or(Scope::All);
        let list = trial(async { self.remote.list(&nobody, None).await.map(drop) }).await;
        let write = match write && self.takes_uploads() {
            true => Some(trial(self.store_nothing(&name)).await),
            false => None,
        };
        let Whereabouts { s3, bucket, region } = &self.whereabouts;
        let snapshot = self.remote.snapshot();
        Checkup {
            bucket: bucket.clone(),
            endpoint: s3.endpoint(),
            region: s3.region(),
            configured_region: region.clone(),
            credentials: snapshot.credential_source,
            writes: self.takes_uploads(),
            read,
            list,
            write,
            puts: snapshot.puts,
            refused_uploads: self.refused_uploads(),
        }
    }

    /// How it goes.
    pub(crate) fn condition(&self) -> Condition {
        let snapshot = self.remote.snapshot();
        let left = self.uploads.left();
        let (ignored_input_sets, refused_artifacts) = self.oddities.counts();
        let secs = |at: SystemTime| at.elapsed().map_or(0, |age| age.as_secs());
        Condition {
            name: self.whereabouts.bucket.clone(),
            endpoint: self.whereabouts.s3.endpoint(),
            credentials: snapshot.credential_source,
            queued_uploads: left.queued,
            refused_uploads: self.refused_uploads(),
            indexes: self.indexes.left().queued,
            breaker: snapshot.breaker,
            ignored_input_sets,
            refused_artifacts,
            last_oddity: self.oddities.last(),
            last_error: self.remote.counters().last_error().map(|(at, what)| LastError { what, secs_ago: secs(at) }),
        }
    }

    fn refused_uploads(&self) -> usize {
        let left = self.uploads.left();
        left.hopeless(left.refused > 0)
    }

    /// What last went wrong.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.remote.counters().last_error().map(|(_, what)| what)
    }

    async fn store_nothing(&self, name: &ObjectName) -> Result<(), RemoteError> {
        let empty = BuildIndex::default().write()?;
        self.remote.put(name, Content::Bytes(empty.into()), PutWhen::Absent).await.map(drop)
    }
}

async fn trial(request: impl Future<Output = Result<(), RemoteError>>) -> Trial {
    let start = Instant::now();
    let error = match tokio::time::timeout(BOUND, request).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error),
        Err(_) => Some(RemoteError::new(ErrorKind::Timeout, format!("no answer within {} s", BOUND.as_secs()))),
    };
    Trial {
        ok: error.is_none(),
        millis: start.elapsed().as_millis(),
        kind: error.as_ref().map(|error| error.kind().name()),
        detail: error.as_ref().map(|error| error.detail().to_owned()),
    }
}
