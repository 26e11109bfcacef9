//! `kache sync`: everything of a build's crates at once, instead of what a build asks for.
//!
//! Promises: a pull lists only the folders of the crates in `Cargo.lock` (all of the bucket only when told to), and ends when the store is full
//! of it; what is here already isn't moved,
//! so an interrupted run goes on where it was; one object's trouble, or one folder's, doesn't end the run, and is counted by its kind; when nobody
//! listens any more, nothing new is begun.

use super::Bucket;
use super::fetches::{Fetched, Purpose};
use super::lockfile::{Lockfile, LockfileError};
use futures_util::StreamExt as _;
use kache_model::ArtifactKey;
use kache_remote::{Asked, ObjectName, PackageName, RemoteError, Scope};
use kache_store::Store;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Folders listed at once.
const LISTINGS: usize = 16;

/// Uploads at once.
const UPLOADS: usize = 8;

/// What is to be done.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// Where to look for `Cargo.lock`.
    dir: PathBuf,
    /// Fetch what the bucket has.
    pull: bool,
    /// Upload what the store has.
    push: bool,
    /// All crates, whatever `Cargo.lock` says.
    all: bool,
    /// Say what would be moved, and move nothing.
    dry_run: bool,
}

/// How it goes, one line each.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// So many of so many are through.
    Progress { what: Direction, done: u64, of: u64 },
    /// It is over.
    Summary { pull: Tally, push: Tally },
    /// It can't be done.
    Refused { why: String },
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Direction {
    Pull,
    Push,
}

/// What one direction came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    /// Artifacts that were moved, or would be.
    moved: u64,
    /// Their bytes, packed; of a push that moves nothing, unpacked.
    bytes: u64,
    /// Artifacts that were on both sides.
    present: u64,
    /// Artifacts that may not leave this machine.
    kept: u64,
    /// Artifacts that the store has no room for beside the others of this run.
    no_room: u64,
    /// Troubles by kind.
    failed: BTreeMap<String, u64>,
}

/// Why nothing was begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SyncError {
    #[error(transparent)]
    Lockfile(#[from] LockfileError),
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("the bucket is only for reading here ([cache.remote] mode or KACHE_REMOTE_MODE), so nothing can be pushed")]
    ReadOnly,
}

/// What a pull may still bring: beyond that, it would drive out of the store what it has brought itself.
struct Room(AtomicU64);

impl Room {
    /// A store that is too large is emptied down to nine tenths.
    fn beside(store: &Store, there: &[(Asked, u64)]) -> Self {
        let wanted: HashSet<ArtifactKey> = there.iter().map(|(asked, _)| asked.key).collect();
        let here = store.artifacts().filter(|artifact| wanted.contains(&artifact.key)).map(|artifact| artifact.output_bytes).sum();
        Self(AtomicU64::new((store.usage().max_bytes / 10 * 9).saturating_sub(here)))
    }

    fn is_left(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    fn take(&self, store: &Store, key: &ArtifactKey) {
        let Ok(Some(held)) = store.find(key) else { return };
        let bytes: u64 = held.artifact().outputs.iter().map(|output| output.len).sum();
        self.0.store(self.0.load(Ordering::Relaxed).saturating_sub(bytes), Ordering::Relaxed);
    }
}

/// Where the events go.
type Listener = mpsc::UnboundedSender<Event>;

impl Tally {
    fn fail(&mut self, kind: &str) {
        *self.failed.entry(kind.to_owned()).or_default() += 1;
    }
}

impl Bucket {
    /// Does what is ordered, and tells how it goes; the last event is a summary or a refusal.
    pub(crate) async fn sync(self: Arc<Self>, order: Order, listener: Listener) {
        let done = tokio::select! {
            done = self.both(&order, &listener) => done,
            () = listener.closed() => return,
        };
        let last = match done {
            Ok((pull, push)) => Event::Summary { pull, push },
            Err(error) => Event::Refused { why: error.to_string() },
        };
        let _gone = listener.send(last);
    }

    async fn both(self: &Arc<Self>, order: &Order, listener: &Listener) -> Result<(Tally, Tally), SyncError> {
        if order.push && !order.dry_run && !self.takes_uploads() {
            return Err(SyncError::ReadOnly);
        }
        let packages = if order.all { None } else { Some(Lockfile::above(&order.dir)?.packages) };
        let (there, unlisted) = self.list(packages.iter().flatten().filter_map(|name| PackageName::new(name)).collect(), order.all).await?;
        let mut pull = if order.pull { self.pull(&there, order.dry_run, listener).await } else { Tally::default() };
        let in_scope = |package: &str| packages.as_ref().is_none_or(|packages| packages.contains(package));
        let mut push = if order.push { self.push(&there, in_scope, order.dry_run, listener).await } else { Tally::default() };
        let told = if order.pull { &mut pull } else { &mut push };
        unlisted.iter().for_each(|error| told.fail(error.kind().name()));
        Ok((pull, push))
    }

    /// The artifacts of `packages`, or of all, in the bucket, with their sizes; and what kept folders from being listed. If that is all of them, it
    /// is an error.
    async fn list(&self, packages: Vec<PackageName>, all: bool) -> Result<(Vec<(Asked, u64)>, Vec<RemoteError>), RemoteError> {
        let scopes = if all { vec![Scope::All] } else { packages.into_iter().map(Scope::Package).collect() };
        let folders = scopes.len();
        let mut listings = futures_util::stream::iter(scopes).map(|scope| self.list_scope(scope)).buffer_unordered(LISTINGS);
        let (mut there, mut unlisted) = (Vec::new(), Vec::new());
        while let Some(listed) = listings.next().await {
            match listed {
                Ok(found) => there.extend(found),
                Err(error) => {
                    tracing::warn!(%error, "not listed");
                    unlisted.push(error);
                }
            }
        }
        if unlisted.len() == folders
            && let Some(error) = unlisted.pop()
        {
            return Err(error);
        }
        Ok((there, unlisted))
    }

    async fn list_scope(&self, scope: Scope) -> Result<Vec<(Asked, u64)>, RemoteError> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.remote.list(&scope, after).await?;
            found.extend(page.objects.into_iter().filter_map(|(name, bytes)| match name {
                ObjectName::Artifact { package, key } => Some((Asked { package, key }, bytes)),
                _ => None,
            }));
            after = page.next;
            if after.is_none() {
                return Ok(found);
            }
        }
    }

    async fn pull(self: &Arc<Self>, there: &[(Asked, u64)], dry_run: bool, listener: &Listener) -> Tally {
        let missing: Vec<(Asked, u64)> = there.iter().filter(|(asked, _)| !self.store.contains(&asked.key)).cloned().collect();
        let mut tally = Tally { present: (there.len() - missing.len()) as u64, ..Tally::default() };
        if dry_run {
            tally.moved = missing.len() as u64;
            tally.bytes = missing.iter().map(|(_, bytes)| bytes).sum();
            return tally;
        }
        let of = missing.len() as u64;
        let room = Room::beside(&self.store, there);
        let mut fetches = futures_util::stream::iter(missing)
            .take_while(|_| std::future::ready(room.is_left()))
            .map(|(asked, bytes)| {
                let (key, fetch) = (asked.key, self.fetch(asked, Purpose::Sync));
                async move { (fetch.outcome().await, key, bytes) }
            })
            .buffer_unordered(self.concurrency);
        let mut done = 0;
        while let Some((outcome, key, bytes)) = fetches.next().await {
            match outcome {
                Fetched::Arrived => {
                    tally.moved += 1;
                    tally.bytes += bytes;
                    room.take(&self.store, &key);
                }
                // It went away since the listing.
                Fetched::Absent => {}
                Fetched::Failed(kind) => tally.fail(kind.name()),
            }
            done += 1;
            let _nobody = listener.send(Event::Progress { what: Direction::Pull, done, of });
        }
        tally.no_room = of - done;
        tally
    }

    async fn push(self: &Arc<Self>, there: &[(Asked, u64)], in_scope: impl Fn(&str) -> bool, dry_run: bool, listener: &Listener) -> Tally {
        let known: HashSet<ArtifactKey> = there.iter().map(|(asked, _)| asked.key).collect();
        let mut tally = Tally::default();
        let mut missing = Vec::new();
        for artifact in self.store.artifacts().filter(|artifact| in_scope(&artifact.package)) {
            if known.contains(&artifact.key) {
                tally.present += 1;
            } else if !artifact.shareable || PackageName::new(&artifact.package).is_none() {
                tally.kept += 1;
            } else {
                missing.push(artifact);
            }
        }
        if dry_run {
            tally.moved = missing.len() as u64;
            tally.bytes = missing.iter().map(|artifact| artifact.output_bytes).sum();
            return tally;
        }
        let of = missing.len() as u64;
        let _impatience = self.uploads.hurry();
        let mut uploads = futures_util::stream::iter(missing)
            .map(|artifact| {
                let bucket = Arc::clone(self);
                async move { (bucket.upload(artifact.key).await, artifact.key) }
            })
            .buffer_unordered(UPLOADS);
        let mut done = 0;
        while let Some((outcome, key)) = uploads.next().await {
            match outcome {
                Ok(()) => {
                    tally.moved += 1;
                    tally.bytes += self.sizes.get(&key).unwrap_or(0);
                    self.off_the_queue(&key);
                }
                Err(error) => {
                    tracing::warn!(%error, "not pushed");
                    tally.fail(error.kind().name());
                }
            }
            done += 1;
            let _nobody = listener.send(Event::Progress { what: Direction::Push, done, of });
        }
        tally
    }
}
