//! Uploads: what was compiled here travels to the bucket, behind everybody's back.
//!
//! Promises: the queue is the store's marks of pending uploads, so it survives a restart, and a mark goes only when the object is known to be
//! there or the artifact is gone; no answer waits for an upload; what fails is tried again, later and later.

use super::queue::{Left, Next, Queue};
use super::{Bucket, MAX_REMEMBERED};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use kache_config::CompressionLevel;
use kache_model::{ArtifactKey, Digest, Output, UnitKey};
use kache_remote::{
    Descriptor, ErrorKind, KnownInputs, PackageName, PutOutcome, PutWhen, RemoteError, add_known_inputs, set_packers, upload_artifact,
};
use std::collections::HashSet;
use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

/// Uploads at once: each holds an artifact's outputs open and its packed bytes on the disk.
const AT_ONCE: usize = 8;

/// With more artifacts than this in the queue one is packed at a time even while rustc runs: the rest would take too long afterwards.
const MANY: usize = 64;

/// The queue, and who looks at it.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    queue: Mutex<Queue>,
    /// There is something new, or somebody is impatient.
    wake: Notify,
    /// Counts up when something came, left or failed.
    moved: watch::Sender<u64>,
    /// Those who wait for the queue's end.
    impatient: AtomicUsize,
    /// Tells whoever pauses that somebody has become impatient.
    hurried: Notify,
    memory: Mutex<Memory>,
}

/// What the bucket is known to have, or not to have.
#[derive(Debug, Default)]
struct Memory {
    told: HashSet<(UnitKey, Digest)>,
    unknown: HashSet<UnitKey>,
}

/// Somebody who waits for uploads, as long as this value lives.
#[derive(Debug)]
pub(crate) struct Impatience<'a>(&'a Uploads);

impl Drop for Impatience<'_> {
    fn drop(&mut self) {
        self.0.impatient.fetch_sub(1, Ordering::Relaxed);
        self.0.moved();
    }
}

impl Uploads {
    /// Puts an artifact that bears the store's mark into the queue.
    pub(crate) fn add(&self, key: ArtifactKey, level: Option<CompressionLevel>) {
        self.queue().add(key, level, Instant::now());
        self.moved();
        self.wake.notify_one();
    }

    /// Empties the queue; the store's marks stay.
    pub(crate) fn forget(&self) {
        *self.queue() = Queue::default();
        self.moved();
    }

    /// Has everything tried again now, and nothing wait for rustc as long as the value lives.
    pub(crate) fn hurry(&self) -> Impatience<'_> {
        self.impatient.fetch_add(1, Ordering::Relaxed);
        self.queue().hurry(Instant::now());
        self.moved();
        self.wake.notify_one();
        self.hurried.notify_waiters();
        Impatience(self)
    }

    /// Returns after `pause`, or earlier when somebody becomes impatient.
    pub(crate) async fn pause(&self, pause: Duration) {
        let _hurried = timeout(pause, self.hurried.notified()).await;
    }

    /// What is left.
    pub(crate) fn left(&self) -> Left {
        self.queue().left()
    }

    /// Returns when something has come to the queue, left it or failed since the last look.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// Returns when none of `keys` waits any more, or only such as have failed.
    pub(crate) async fn settled(&self, keys: &HashSet<ArtifactKey>) {
        let mut moved = self.watch();
        while self.queue().expects_any(keys) && moved.changed().await.is_ok() {}
    }

    /// The bucket has said that it knows nothing of `unit`.
    pub(crate) fn is_unknown(&self, unit: UnitKey) {
        let mut memory = self.memory();
        if memory.unknown.len() >= MAX_REMEMBERED {
            memory.unknown.clear();
        }
        memory.unknown.insert(unit);
    }

    fn ended(&self, key: &ArtifactKey, failed: Option<ErrorKind>) {
        let impatient = self.impatient.load(Ordering::Relaxed) > 0;
        match failed {
            None => self.queue().done(key, Instant::now()),
            Some(kind) => self.queue().failed(key, kind, impatient, fastrand::f64(), Instant::now()),
        }
        self.moved();
    }

    fn moved(&self) {
        self.moved.send_modify(|count| *count += 1);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn tell(&mut self, unit: UnitKey, set: Digest) {
        if self.told.len() >= MAX_REMEMBERED {
            self.told.clear();
        }
        self.told.insert((unit, set));
        self.unknown.remove(&unit);
    }
}

impl Bucket {
    /// Works on the queue until the daemon stops.
    pub(super) async fn upload_all(self: Arc<Self>) {
        let mut under_way = FuturesUnordered::new();
        loop {
            self.heed_refusals();
            let mut later = None;
            while under_way.len() < AT_ONCE {
                let next = self.uploads.queue().next(Instant::now());
                match next {
                    Next::Upload(key) => under_way.push(self.upload_one(key)),
                    Next::Wait(until) => {
                        later = until;
                        break;
                    }
                }
            }
            tokio::select! {
                Some(()) = under_way.next() => {}
                () = self.uploads.wake.notified() => {}
                () = until(later) => {}
            }
        }
    }

    /// While every PUT would be refused, nothing is packed.
    fn heed_refusals(&self) {
        let Some((error, pause)) = self.remote.refuses_puts() else { return };
        let now = Instant::now();
        self.uploads.queue().put_off(error.cause(), now + pause, now);
        self.uploads.moved();
    }

    /// Leaves the processors to rustc: nothing is packed while one runs. How many are left over can't be told from the number of compiles, for one takes
    /// as many as Cargo's jobserver gives it.
    pub(super) async fn mind_the_load(self: Arc<Self>, mut compiles: watch::Receiver<usize>) {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let mut moved = self.uploads.watch();
        loop {
            let running = *compiles.borrow_and_update();
            let impatient = self.uploads.impatient.load(Ordering::Relaxed) > 0;
            let beside_rustc = usize::from(self.uploads.left().queued > MANY);
            set_packers(if impatient || running == 0 { processors } else { beside_rustc });
            let changed = tokio::select! {
                changed = compiles.changed() => changed,
                changed = moved.changed() => changed,
            };
            if changed.is_err() {
                return;
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
                match error.kind() {
                    // Why was said when the first one failed.
                    ErrorKind::BreakerOpen => tracing::debug!(%error, "not uploaded"),
                    _ => tracing::warn!(%error, "not uploaded"),
                }
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
        let level = self.uploads.queue().level(&key).unwrap_or(self.settings().level).get();
        let (unit, set) = (descriptor.artifact.unit, descriptor.set.clone());
        let Some(package) = PackageName::new(&descriptor.artifact.package) else { return Ok(()) };
        let scratch = self.store.scratch();
        let (outcome, packed) = upload_artifact(&*self.remote, descriptor, outputs, level, scratch.path(), when).await?;
        self.sizes.note(key, packed.len);
        tracing::debug!(%key, bytes = packed.len, already_there = outcome == PutOutcome::AlreadyThere, "uploaded");
        let id = set.id();
        if !self.uploads.memory().told.contains(&(unit, id)) {
            let first = self.uploads.memory().unknown.contains(&unit);
            add_known_inputs(&*self.remote, &package, KnownInputs::new(unit, [set]), first).await?;
            self.uploads.memory().tell(unit, id);
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
        let outline = self.store.outline(&artifact.unit).map_err(|error| disk(&error))?;
        let (Some(set), Some(outline), true) = (set, outline, artifact.may_travel()) else {
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
        let descriptor = Descriptor { key, artifact, set, outline };
        if !descriptor.may_travel() {
            tracing::info!(%key, "not uploaded: others would refuse it for what it says or names");
            return Ok(None);
        }
        Ok(Some((descriptor, outputs)))
    }
}

/// Returns at that moment; without one, never.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
