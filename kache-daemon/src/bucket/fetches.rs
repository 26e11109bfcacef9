//! Fetches under way: one per artifact, joined by everyone who wants it.
//!
//! Promises: at most one GET of an artifact runs at a time; it goes on when nobody waits for it any more, and what arrived and was found to be sound is in
//! the store before the waiters are woken.

use super::Bucket;
use kache_model::{ArtifactKey, BlobId, Output};
use kache_remote::{Asked, Descriptor, ErrorKind, Intake, Limits, Priority, RemoteError, Unpacked, fetch_artifact};
use kache_store::{Publication, StagedBlob, Store};
use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The fetches that run, and what came of them.
#[derive(Debug, Default)]
pub(crate) struct Fetches {
    running: Mutex<HashMap<ArtifactKey, Fetch>>,
    /// Artifacts that came from the bucket: whether ahead of demand, and whether they have been used.
    arrived: Mutex<HashMap<ArtifactKey, Arrival>>,
    joined: AtomicU64,
    prefetched: AtomicU64,
    prefetch_used: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct Arrival {
    ahead: bool,
    used: bool,
}

/// One that somebody may wait for.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    /// Whether it arrived; `None` as long as it runs.
    outcome: watch::Receiver<Option<bool>>,
    progress: Arc<AtomicU64>,
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
    /// Waits to the end; whether the artifact is in the store now.
    pub(crate) async fn ended(mut self) -> bool {
        let outcome = self.outcome.wait_for(Option::is_some).await;
        outcome.is_ok_and(|outcome| *outcome == Some(true))
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
        if arrival.used && joined {
            self.joined.fetch_add(1, Ordering::Relaxed);
        }
        let first = !std::mem::replace(&mut arrival.used, true);
        if first && arrival.ahead {
            self.prefetch_used.fetch_add(1, Ordering::Relaxed);
        }
        if first || joined { Came::Fetched } else { Came::Local }
    }

    /// Fetches joined, artifacts fetched ahead, and those of them that were used.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (get(&self.joined), get(&self.prefetched), get(&self.prefetch_used))
    }

    fn note_arrival(&self, key: ArtifactKey, ahead: bool) {
        if ahead {
            self.prefetched.fetch_add(1, Ordering::Relaxed);
        }
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arrival { ahead, used: false });
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

impl Bucket {
    /// Fetches an artifact into the store, or joins the fetch that is under way.
    pub(crate) fn fetch(self: &Arc<Self>, asked: Asked, priority: Priority) -> Fetch {
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
        self.tasks.spawn(async move {
            let key = asked.key;
            let arrived = bucket.fetch_now(&asked, priority, &progress).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "not fetched");
                false
            });
            if arrived {
                bucket.sizes.note(key, progress.load(Ordering::Relaxed));
                bucket.fetches.note_arrival(key, priority == Priority::Ahead);
            }
            bucket.fetches.running().remove(&key);
            sender.send_replace(Some(arrived));
        });
        fetch
    }

    async fn fetch_now(self: &Arc<Self>, asked: &Asked, priority: Priority, progress: &AtomicU64) -> Result<bool, RemoteError> {
        let staging = Arc::new(Staging(Arc::clone(&self.store)));
        let Some(unpacked) = fetch_artifact(&*self.remote, asked, priority, Limits::default(), staging, progress).await? else {
            return Ok(false);
        };
        let bucket = Arc::clone(self);
        let published = tokio::task::spawn_blocking(move || bucket.publish_fetched(unpacked)).await;
        published.unwrap_or_else(|error| Err(RemoteError::new(ErrorKind::Other, error.to_string()))).map(|()| true)
    }

    fn publish_fetched(&self, unpacked: Unpacked<StagedBlob>) -> Result<(), RemoteError> {
        let Unpacked { descriptor: Descriptor { key, artifact, set, unit_inputs }, staged } = unpacked;
        let new = Publication { key, unit: artifact.unit, unit_inputs, set, artifact, blobs: staged, pending_upload: false };
        self.store.publish(new).map_err(|error| {
            let mut error = RemoteError::new(ErrorKind::Disk, format!("{key} can't be stored: {error}"));
            self.remote.counters().note(&mut error);
            error
        })
    }
}
