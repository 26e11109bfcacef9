//! Fetches under way: one per artifact, joined by everyone who wants it.
//!
//! Promises: at most one GET of an artifact runs at a time; it goes on when nobody waits for it any more, and what arrived and was found to be sound is in
//! the store before the waiters are woken. What doesn't answer the question that it was fetched for doesn't enter.

use super::{Bucket, remember};
use crate::engine::Engine;
use crate::question::Question;
use kache_model::{Artifact, ArtifactKey, BlobId, InputSet, Output, Witness};
use kache_remote::{Asked, Descriptor, ErrorKind, Intake, Limits, Priority, RemoteError, Unpacked, fetch_artifact};
use kache_rustc::Unexpected;
use kache_store::{Publication, StagedBlob, Store};
use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The fetches that run, and what came of them.
#[derive(Debug, Default)]
pub(crate) struct Fetches {
    running: Mutex<HashMap<ArtifactKey, Fetch>>,
    /// Artifacts that came from the bucket: whether ahead of demand, and whether they have been used.
    arrived: Mutex<HashMap<ArtifactKey, Arrival>>,
    /// Objects whose bytes were no good.
    bad: Mutex<HashMap<ArtifactKey, ()>>,
    joined: AtomicU64,
    prefetched: AtomicU64,
    prefetch_used: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct Arrival {
    ahead: bool,
    used: bool,
    at: Instant,
}

/// Within this time after an artifact's arrival whoever waited for it together with its first user counts as served by the bucket, too.
const TOGETHER: Duration = Duration::from_secs(60);

/// One that somebody may wait for.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    /// `None` as long as it runs.
    outcome: watch::Receiver<Option<Fetched>>,
    progress: Arc<AtomicU64>,
}

/// What became of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// The artifact is in the store.
    Arrived,
    /// The bucket hasn't got it.
    Absent,
    /// It couldn't be had.
    Failed(ErrorKind),
}

/// Why something is fetched.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// A build waits for it.
    Demand(Asker),
    /// A build will probably ask for it.
    Ahead,
    /// Somebody wants to have it here.
    Sync,
}

/// Whose question an artifact is to answer.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) engine: Arc<Engine>,
    pub(crate) question: Arc<Question>,
}

impl Asker {
    /// Whether it is an answer; what isn't never enters the store. Where nobody asks yet, that is looked at when it is first used.
    fn accepts(&self, artifact: &Artifact, set: &InputSet) -> Result<(), RemoteError> {
        let Self { engine, question } = self;
        let unexpected = |why: Unexpected| RemoteError::new(ErrorKind::UnexpectedOutputs, why.to_string());
        engine.accepts(question, artifact).map_err(unexpected)?;
        engine.may_travel(question, set).map_err(|beyond| RemoteError::new(ErrorKind::UnsafeNames, beyond.to_string()))
    }
}

impl Purpose {
    fn priority(&self) -> Priority {
        match self {
            Self::Demand(_) => Priority::Demand,
            Self::Ahead | Self::Sync => Priority::Ahead,
        }
    }
}

/// How a restored artifact came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// It was here.
    Local,
    /// From the bucket, and this is its first use.
    Fetched,
}

impl Fetch {
    /// Waits to the end.
    pub(crate) async fn outcome(mut self) -> Fetched {
        let outcome = self.outcome.wait_for(Option::is_some).await;
        outcome.ok().and_then(|outcome| *outcome).unwrap_or(Fetched::Failed(ErrorKind::Other))
    }

    /// Waits to the end; whether the artifact is in the store now.
    pub(crate) async fn ended(self) -> bool {
        self.outcome().await == Fetched::Arrived
    }

    /// Waits as long as bytes arrive at least once per `patience`.
    pub(crate) async fn ended_or_stuck(self, patience: Duration) -> bool {
        let mut ended = std::pin::pin!(self.clone().ended());
        let mut seen = self.progress.load(Ordering::Relaxed);
        loop {
            if let Ok(arrived) = tokio::time::timeout(patience, &mut ended).await {
                return arrived;
            }
            let now = self.progress.load(Ordering::Relaxed);
            if now == seen {
                return false;
            }
            seen = now;
        }
    }
}

impl Fetches {
    /// Whether `key` is on its way.
    pub(crate) fn is_running(&self, key: &ArtifactKey) -> bool {
        self.running().contains_key(key)
    }

    /// Notes a use of `key`. `joined`: by somebody who waited for another one's question.
    pub(crate) fn used(&self, key: &ArtifactKey, joined: bool) -> Came {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(arrival) = arrived.get_mut(key) else { return Came::Local };
        let joined = joined && arrival.at.elapsed() < TOGETHER;
        if arrival.used && joined {
            self.joined.fetch_add(1, Ordering::Relaxed);
        }
        let first = !std::mem::replace(&mut arrival.used, true);
        if first && arrival.ahead {
            self.prefetch_used.fetch_add(1, Ordering::Relaxed);
        }
        if first || joined { Came::Fetched } else { Came::Local }
    }

    /// The object in the bucket, if there is one, is no good.
    pub(crate) fn note_bad(&self, key: ArtifactKey) {
        remember(&mut self.bad.lock().unwrap_or_else(PoisonError::into_inner), key, ());
    }

    /// Whether the object in the bucket was seen to be no good: only replacing it mends that.
    pub(crate) fn was_bad(&self, key: &ArtifactKey) -> bool {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner).contains_key(key)
    }

    /// Fetches joined, artifacts fetched ahead, and those of them that were used.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (get(&self.joined), get(&self.prefetched), get(&self.prefetch_used))
    }

    /// What was synchronised counts as local from then on.
    fn note_arrival(&self, key: ArtifactKey, purpose: &Purpose) {
        let ahead = match purpose {
            Purpose::Demand(_) => false,
            Purpose::Ahead => true,
            Purpose::Sync => return,
        };
        if ahead {
            self.prefetched.fetch_add(1, Ordering::Relaxed);
        }
        let arrival = Arrival { ahead, used: false, at: Instant::now() };
        remember(&mut self.arrived.lock().unwrap_or_else(PoisonError::into_inner), key, arrival);
    }

    fn running(&self) -> MutexGuard<'_, HashMap<ArtifactKey, Fetch>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store as a place for what arrives.
struct Staging(Arc<Store>);

impl Intake for Staging {
    type Staged = StagedBlob;

    fn stage(&self, output: &Output, bytes: &mut dyn Read) -> io::Result<StagedBlob> {
        self.0.stage_from(bytes, output.executable).map_err(io::Error::other)
    }

    fn id(staged: &StagedBlob) -> BlobId {
        staged.id()
    }
}

/// Wakes those who wait for a fetch when it ends, however it does.
struct Landing {
    bucket: Arc<Bucket>,
    key: ArtifactKey,
    sender: watch::Sender<Option<Fetched>>,
    fetched: Fetched,
}

impl Landing {
    fn land(&mut self, fetched: Fetched) {
        self.fetched = fetched;
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.bucket.fetches.running().remove(&self.key);
        self.sender.send_replace(Some(self.fetched));
    }
}

impl Bucket {
    /// Fetches an artifact into the store, or joins the fetch that is under way.
    pub(crate) fn fetch(self: &Arc<Self>, asked: Asked, purpose: Purpose) -> Fetch {
        let mut running = self.fetches.running();
        if let Some(fetch) = running.get(&asked.key) {
            self.fetches.joined.fetch_add(1, Ordering::Relaxed);
            return fetch.clone();
        }
        let (sender, outcome) = watch::channel(None);
        let fetch = Fetch { outcome, progress: Arc::default() };
        running.insert(asked.key, fetch.clone());
        drop(running);
        let (bucket, progress) = (Arc::clone(self), Arc::clone(&fetch.progress));
        let mut landing = Landing { bucket: Arc::clone(self), key: asked.key, sender, fetched: Fetched::Failed(ErrorKind::Other) };
        self.tasks.spawn(async move {
            let key = asked.key;
            let fetched = bucket.fetch_now(&asked, &purpose, &progress).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "not fetched");
                if error.kind().is_odd() {
                    bucket.was_refused(key, error.detail());
                } else if error.kind().is_about_bytes() {
                    bucket.fetches.note_bad(key);
                }
                Fetched::Failed(error.kind())
            });
            if fetched == Fetched::Arrived {
                bucket.sizes.note(key, progress.load(Ordering::Relaxed));
                bucket.fetches.note_arrival(key, &purpose);
            }
            landing.land(fetched);
        });
        fetch
    }

    async fn fetch_now(self: &Arc<Self>, asked: &Asked, purpose: &Purpose, progress: &AtomicU64) -> Result<Fetched, RemoteError> {
        let staging = Arc::new(Staging(Arc::clone(&self.store)));
        let fetched = fetch_artifact(&*self.remote, asked, purpose.priority(), Limits::default(), staging, progress).await?;
        let Some(unpacked) = fetched else { return Ok(Fetched::Absent) };
        let (bucket, name) = (Arc::clone(self), asked.object_name());
        let asker = match purpose {
            Purpose::Demand(asker) => Some(asker.clone()),
            Purpose::Ahead | Purpose::Sync => None,
        };
        let published = tokio::task::spawn_blocking(move || {
            let Descriptor { artifact, set, .. } = &unpacked.descriptor;
            asker.map_or(Ok(()), |asker| asker.accepts(artifact, set)).map_err(|mut error| {
                bucket.remote.counters().note(&mut error);
                error.at(&name)
            })?;
            bucket.publish_fetched(unpacked)
        })
        .await;
        published.unwrap_or_else(|error| Err(RemoteError::new(ErrorKind::Other, error.to_string()))).map(|()| Fetched::Arrived)
    }

    fn publish_fetched(&self, unpacked: Unpacked<StagedBlob>) -> Result<(), RemoteError> {
        let Unpacked { descriptor: Descriptor { key, artifact, set, outline }, staged } = unpacked;
        let new =
            Publication { key, unit: artifact.unit, outline, set, witness: Witness::Bucket, artifact, blobs: staged, pending_upload: None };
        self.store.publish(new).map_err(|error| {
            let mut error = RemoteError::new(ErrorKind::Disk, format!("{key} can't be stored: {error}"));
            self.remote.counters().note(&mut error);
            error
        })
    }
}
