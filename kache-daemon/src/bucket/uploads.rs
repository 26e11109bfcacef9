//! Uploads: what was compiled here travels to the bucket, behind everybody's back.
//!
//! Promises: the queue is the store's marks of pending uploads, so it survives a restart, and a mark goes only when the object is known to be
//! there or the artifact is gone; no answer waits for an upload; what fails is tried again, later and later.

use super::Bucket;
use futures_util::StreamExt as _;
use kache_config::CompressionLevel;
use kache_model::{ArtifactKey, Digest, Output, UnitKey};
use kache_remote::{Descriptor, ErrorKind, KnownInputs, PackageName, PutOutcome, PutWhen, RemoteError, add_known_inputs, upload_artifact};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Uploads at once: packing takes a core each.
const AT_ONCE: usize = 8;
/// Pause after an artifact's first failure; doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(300);

/// The queue's state in memory.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    /// There is something new, or somebody is impatient.
    wake: Notify,
    queue: Mutex<Queue>,
    /// Counts up when something left the queue or a round ended.
    moved: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: HashMap<ArtifactKey, Waiting>,
    /// Numbers what comes.
    came: u64,
    /// Input sets that the bucket is known to have.
    told: HashSet<(UnitKey, Digest)>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// First come, first served: a crate's dependents come after it.
    came: u64,
    /// zstd level that its build asked for.
    level: Option<CompressionLevel>,
    /// Why it is still here, and when it is tried again.
    failed: Option<(ErrorKind, Instant)>,
    tries: u32,
}

impl Waiting {
    fn is_refused(&self) -> bool {
        self.failed.is_some_and(|(kind, _)| !kind.retryable() && kind != ErrorKind::BreakerOpen)
    }
}

/// What is left in the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Artifacts that wait.
    pub(crate) queued: usize,
    /// Those of them that have failed since somebody was impatient.
    pub(crate) failed: usize,
    /// Those of them that failed for a reason that won't pass by itself.
    pub(crate) refused: usize,
}

impl Uploads {
    /// Puts an artifact that bears the store's mark into the queue.
    pub(crate) fn add(&self, key: ArtifactKey, level: Option<CompressionLevel>) {
        let mut queue = self.queue();
        queue.came += 1;
        let waiting = Waiting { came: queue.came, level, failed: None, tries: 0 };
        queue.waiting.insert(key, waiting);
        self.wake.notify_one();
    }

    /// Empties the queue; the store's marks stay.
    pub(crate) fn forget(&self) {
        self.queue().waiting.clear();
        self.moved.send_modify(|count| *count += 1);
    }

    /// Has everything tried again now.
    pub(crate) fn hurry(&self) {
        self.queue().waiting.values_mut().for_each(|waiting| waiting.failed = None);
        self.wake.notify_one();
    }

    /// What is left. Once the server has refused one, those that weren't tried because of that count as refused too.
    pub(crate) fn left(&self) -> Left {
        let queue = self.queue();
        let count = |which: &dyn Fn(&Waiting) -> bool| queue.waiting.values().filter(|waiting| which(waiting)).count();
        let failed = count(&|waiting| waiting.failed.is_some());
        let untried = count(&|waiting| waiting.failed.is_some_and(|(kind, _)| kind == ErrorKind::BreakerOpen));
        let refused = count(&Waiting::is_refused);
        Left { queued: queue.waiting.len(), failed, refused: if refused > 0 { refused + untried } else { 0 } }
    }

    /// Returns when something has left the queue since the last look, or a round has ended.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// Returns when none of `keys` waits any more, or only such as are refused.
    pub(crate) async fn settled(&self, keys: &HashSet<ArtifactKey>) {
        let mut moved = self.watch();
        loop {
            let waits = self.queue().waiting.iter().any(|(key, waiting)| keys.contains(key) && waiting.failed.is_none());
            if !waits || moved.changed().await.is_err() {
                return;
            }
        }
    }

    /// What is to be tried now, and when there will be more.
    fn ready(&self) -> (Vec<ArtifactKey>, Option<Instant>) {
        let (queue, now) = (self.queue(), Instant::now());
        let due = |waiting: &Waiting| waiting.failed.is_none_or(|(_, again)| again <= now);
        let mut ready: Vec<_> =
            queue.waiting.iter().filter(|(_, waiting)| due(waiting)).map(|(key, waiting)| (waiting.came, *key)).collect();
        ready.sort_unstable();
        let later = queue.waiting.values().filter(|waiting| !due(waiting)).filter_map(|waiting| waiting.failed);
        (ready.into_iter().map(|(_, key)| key).collect(), later.map(|(_, again)| again).min())
    }

    fn level(&self, key: &ArtifactKey) -> Option<CompressionLevel> {
        self.queue().waiting.get(key).and_then(|waiting| waiting.level)
    }

    fn ended(&self, key: &ArtifactKey, failed: Option<ErrorKind>) {
        let mut queue = self.queue();
        match (failed, queue.waiting.get_mut(key)) {
            (None, _) => drop(queue.waiting.remove(key)),
            (Some(kind), Some(waiting)) => {
                let pause = FIRST_PAUSE.saturating_mul(1 << waiting.tries.min(16)).min(LAST_PAUSE);
                waiting.tries += 1;
                waiting.failed = Some((kind, Instant::now() + pause));
            }
            (Some(_), None) => {}
        }
        drop(queue);
        self.moved.send_modify(|count| *count += 1);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    /// Works on the queue until the daemon stops.
    pub(super) async fn upload_all(self: Arc<Self>) {
        loop {
            let (keys, later) = self.uploads.ready();
            futures_util::stream::iter(keys).for_each_concurrent(AT_ONCE, |key| self.upload_one(key)).await;
            tokio::select! {
                () = self.uploads.wake.notified() => {}
                () = until(later) => {}
            }
        }
    }

    async fn upload_one(self: &Arc<Self>, key: ArtifactKey) {
        if !self.takes_uploads() {
            return;
        }
        match self.upload(key).await {
            Ok(()) => self.off_the_queue(&key),
            Err(error) => {
                tracing::warn!(%error, "not uploaded");
                self.uploads.ended(&key, Some(error.cause()));
            }
        }
    }

    /// The bucket has it.
    pub(super) fn off_the_queue(&self, key: &ArtifactKey) {
        if let Err(error) = self.store.upload_done(key) {
            tracing::warn!(%error, "mark of an upload");
        }
        self.uploads.ended(key, None);
    }

    /// Uploads an artifact and makes it findable. An artifact that the store no longer has needs no upload.
    pub(crate) async fn upload(self: &Arc<Self>, key: ArtifactKey) -> Result<(), RemoteError> {
        let when = if self.fetches.was_bad(&key) { PutWhen::Always } else { PutWhen::Absent };
        let bucket = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || bucket.read_for_upload(key)).await;
        let Some((descriptor, outputs)) = read.map_err(|error| RemoteError::new(ErrorKind::Other, error.to_string()))?? else {
            return Ok(());
        };
        let level = self.uploads.level(&key).unwrap_or(self.settings().level).get();
        let (unit, set) = (descriptor.artifact.unit, descriptor.set.clone());
        let Some(package) = PackageName::new(&descriptor.artifact.package) else { return Ok(()) };
        let scratch = self.store.scratch();
        let (outcome, packed) = upload_artifact(&*self.remote, descriptor, outputs, level, scratch.path(), when).await?;
        self.sizes.note(key, packed.len);
        tracing::debug!(%key, bytes = packed.len, already_there = outcome == PutOutcome::AlreadyThere, "uploaded");
        let id = set.id();
        if !self.uploads.queue().told.contains(&(unit, id)) {
            add_known_inputs(&*self.remote, &package, KnownInputs::new(unit, [set])).await?;
            self.uploads.queue().told.insert((unit, id));
        }
        Ok(())
    }

    /// The artifact with its open outputs; `None` if it is gone or isn't for others.
    #[expect(clippy::type_complexity, reason = "a list of outputs, each with its bytes")]
    fn read_for_upload(&self, key: ArtifactKey) -> Result<Option<(Descriptor, Vec<(Output, File)>)>, RemoteError> {
        let disk = |error: &dyn std::fmt::Display| RemoteError::new(ErrorKind::Disk, format!("{key} can't be read: {error}"));
        let Some(held) = self.store.find(&key).map_err(|error| disk(&error))? else { return Ok(None) };
        let artifact = held.artifact().as_ref().clone();
        let set = self.store.input_set(&key).map_err(|error| disk(&error))?;
        let unit_inputs = self.store.unit_inputs(&artifact.unit).map_err(|error| disk(&error))?;
        let (Some(set), Some(unit_inputs), false) = (set, unit_inputs, artifact.bound || artifact.continued_session) else {
            return Ok(None);
        };
        let mut outputs = Vec::with_capacity(artifact.outputs.len());
        for (index, output) in artifact.outputs.iter().enumerate() {
            match self.store.open_output(&held, index) {
                Ok(file) => outputs.push((output.clone(), file)),
                // It has just been evicted.
                Err(kache_store::PlaceError::Damaged { .. }) => return Ok(None),
                Err(error) => return Err(disk(&error)),
            }
        }
        Ok(Some((Descriptor { key, artifact, set, unit_inputs }, outputs)))
    }
}

/// Returns at that moment; without one, never.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
