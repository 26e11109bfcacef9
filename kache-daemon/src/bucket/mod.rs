//! The bucket that a team shares, as the daemon uses it. The way of one unit that the local store doesn't know:
//!
//! ```text
//! look     what do the build indexes say of this unit? ....... fetch it, or join the fetch that is on its way
//!          else, where input sets are known: their contents now → artifact key → fetch
//!          else ask for the unit's input sets ................ then the same
//!          nothing: rustc runs. After four units in a row of which the bucket knew nothing, it isn't waited for any more
//! publish  behind the reply: marked in the store, packed, uploaded; its input set added to the unit's
//! end      the session's Cargo is gone: its build index is stored for the next machine
//! ```
//!
//! Promises: no LIST and no HEAD on the path of a build; every wait is bounded by `wait_ms` without progress; while the bucket is out of reach,
//! builds run as if there were none. Bytes enter the store only after [`kache_remote::unpack`] found them to be what was asked for.

mod ahead;
mod check;
mod command;
mod connect;
mod fetches;
mod indexes;
mod lockfile;
mod oddities;
mod queue;
mod session;
mod sizes;
mod snapshot;
mod sync;
mod uploads;

pub(crate) use check::Condition;
pub(crate) use connect::connect;
pub(crate) use fetches::Came;
pub(crate) use session::{Session, Turn};
pub(crate) use snapshot::Snapshot;

use crate::engine::Engine;
use crate::question::Question;
use ahead::Names;
use check::Whereabouts;
use fetches::{Asker, Fetches, Purpose};
use indexes::Indexes;
use kache_config::{CompressionLevel, RemoteConfig, RemoteMode};
use kache_model::{Artifact, ArtifactKey, Witness};
use kache_proto::Request;
use kache_remote::{Asked, IndexEntry, PackageName, Priority, Remote, fetch_known_inputs};
use kache_rustc::Env;
use kache_store::{KnownSet, Store};
use oddities::Oddities;
use queue::Left;
use serde::Serialize;
use session::{Hints, Scene, Sessions};
use sizes::Sizes;
use std::collections::HashMap;
use std::hash::Hash;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use uploads::Uploads;

/// How often it is looked whether a session's Cargo is gone.
const LOOK: Duration = Duration::from_millis(500);

/// Counts from a build's environment.
const LEVEL: &str = "KACHE_COMPRESSION_LEVEL";

/// Keys tried for one unit, at most.
const MAX_KEYS: usize = 3;

/// What the bucket takes from the configuration, and may take anew while the daemon runs.
#[derive(Clone, Copy, Debug)]
struct Settings {
    mode: RemoteMode,
    /// How long a build waits for a fetch that makes no progress.
    wait: Duration,
    /// zstd level of builds that don't name one.
    level: CompressionLevel,
}

impl From<&RemoteConfig> for Settings {
    fn from(remote: &RemoteConfig) -> Self {
        Self { mode: remote.mode, wait: remote.wait, level: remote.compression_level }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Bucket {
    settings: RwLock<Settings>,
    /// Fetches ahead at once.
    concurrency: usize,
    remote: Arc<dyn Remote>,
    whereabouts: Whereabouts,
    store: Arc<Store>,
    sessions: Sessions,
    fetches: Fetches,
    uploads: Uploads,
    sizes: Sizes,
    oddities: Oddities,
    /// The last level that was asked for and is none.
    bad_level: Mutex<Option<String>>,
    /// What runs beside the builds.
    tasks: TaskTracker,
    /// Indexes that are being written.
    indexes: Arc<Indexes>,
    runtime: tokio::runtime::Handle,
}

/// What a flush left undone.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Unflushed {
    /// Artifacts that are still being taken in.
    pub(crate) being_stored: usize,
    /// Artifacts that wait for their upload.
    pub(crate) queued_uploads: usize,
    /// Of these, refused by the server.
    pub(crate) refused_uploads: usize,
    /// Build indexes that aren't stored.
    pub(crate) indexes: usize,
}

impl Bucket {
    /// Begins to work on what is queued, beside `compiles` compiles. To be called within the runtime.
    fn open(config: &RemoteConfig, whereabouts: Whereabouts, store: Arc<Store>, compiles: watch::Receiver<usize>) -> Arc<Self> {
        let bucket = Arc::new(Self {
            settings: RwLock::new(config.into()),
            concurrency: config.concurrency.get() as usize,
            remote: Arc::<kache_remote::S3Remote>::clone(&whereabouts.s3),
            whereabouts,
            store,
            sessions: Sessions::default(),
            fetches: Fetches::default(),
            uploads: Uploads::default(),
            sizes: Sizes::default(),
            oddities: Oddities::default(),
            bad_level: Mutex::default(),
            tasks: TaskTracker::new(),
            indexes: Arc::default(),
            runtime: tokio::runtime::Handle::current(),
        });
        bucket.load_queue();
        bucket.runtime.spawn(Arc::clone(&bucket).watch_sessions());
        bucket.runtime.spawn(Arc::clone(&bucket).upload_all());
        bucket.runtime.spawn(Arc::clone(&bucket).mind_the_load(compiles));
        bucket
    }

    /// Takes over what `config` says of mode, waiting and packing; the rest of it counts when a bucket is opened. What is queued stays in the store
    /// while nothing may be written.
    pub(crate) fn adjust(&self, config: &RemoteConfig) {
        let wrote = std::mem::replace(&mut *self.settings.write().unwrap_or_else(PoisonError::into_inner), config.into()).mode.writes();
        self.whereabouts.s3.set_read_only(!config.mode.writes());
        self.whereabouts.s3.set_upload_rate(config.upload_rate.map(|rate| rate.0));
        match (wrote, config.mode.writes()) {
            (false, true) => self.load_queue(),
            (true, false) => self.uploads.forget(),
            _ => {}
        }
    }

    /// Uses it no more, until [`Bucket::adjust`] says otherwise.
    pub(crate) fn rest(&self) {
        self.settings.write().unwrap_or_else(PoisonError::into_inner).mode = RemoteMode::Off;
        self.whereabouts.s3.set_read_only(true);
        self.uploads.forget();
    }

    /// Queues what bears the store's mark of a pending upload.
    fn load_queue(&self) {
        if self.takes_uploads() {
            let pending = self.store.pending_uploads().unwrap_or_default();
            pending.into_iter().for_each(|(key, note)| self.uploads.add(key, CompressionLevel::new(note.into())));
        }
    }

    /// Whether it is used at all.
    pub(crate) fn is_on(&self) -> bool {
        self.settings().mode != RemoteMode::Off
    }

    fn settings(&self) -> Settings {
        *self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session of a request. As soon as it is known what is being built, the daemon looks ahead: with the first request as a rule, with the
    /// first compile (`compiles`) where Cargo had no lockfile yet.
    pub(crate) fn session(self: &Arc<Self>, engine: &Engine, request: &Request, compiler: &Path, compiles: bool) -> Arc<Session> {
        let (session, new) = self.sessions.of(request.parent);
        // Whoever comes while the first is still looking waits for it: Cargo's first compiles come side by side.
        session.scene.get_or_init(|| {
            let env = request.env.iter().map(|(name, value)| (name, value)).collect();
            let toolchain = engine.toolchain(compiler, &env, &request.cwd).ok()?;
            Some(Scene::new(session.cargo, &request.cwd, toolchain))
        });
        if (new || compiles) && !session.looks_ahead() {
            match Names::of(&session) {
                Some(names) if session.begin_to_look() => {
                    self.runtime.spawn(Arc::clone(self).look_ahead(Arc::clone(&session), names));
                }
                None if compiles && session.begin_to_look() => session.tell(Hints::default()),
                _ => {}
            }
        }
        session
    }

    /// Looks for what `question` would make, and brings it into the store if it is found in time. `candidates` are the keys that known input sets
    /// lead to now, none of which the store has.
    pub(crate) async fn look(self: &Arc<Self>, engine: &Arc<Engine>, question: &Arc<Question>, candidates: Vec<ArtifactKey>) {
        let (Some(session), Some(package)) = (&question.session, PackageName::new(&question.compile.package)) else { return };
        let wait = self.settings().wait;
        let asker = || Asker { engine: Arc::clone(engine), question: Arc::clone(question) };
        let hints = tokio::time::timeout(wait, session.hints()).await.unwrap_or_default();
        for (package, key) in hints.expected.get(&question.unit).into_iter().flatten().take(MAX_KEYS) {
            if !self.store.contains(key) {
                let asked = Asked { package: package.clone(), key: *key };
                self.fetch(asked, Purpose::Demand(asker())).ended_or_stuck(wait).await;
            }
        }
        let candidates = match hints.expected.contains_key(&question.unit) {
            true => keys_now(engine, question).await,
            false => candidates,
        };
        if candidates.iter().any(|key| self.store.contains(key)) {
            return session.heard(true);
        }
        if session.is_alone() {
            self.ask_beside(session, question, package);
            return;
        }
        let candidates = if candidates.is_empty() { self.learn(engine, question, &package).await } else { candidates };
        let mut arrived = false;
        for key in candidates.into_iter().take(MAX_KEYS) {
            let asked = Asked { package: package.clone(), key };
            arrived = self.fetch(asked, Purpose::Demand(asker())).ended_or_stuck(wait).await;
            if arrived {
                break;
            }
        }
        session.heard(arrived);
    }

    /// Asks for the unit's input sets, and tells which keys they lead to.
    async fn learn(&self, engine: &Arc<Engine>, question: &Arc<Question>, package: &PackageName) -> Vec<ArtifactKey> {
        let asking = fetch_known_inputs(&*self.remote, package, &question.unit, Priority::Demand);
        let known = match tokio::time::timeout(self.settings().wait, asking).await {
            Ok(Ok(Some(known))) => known,
            Ok(Ok(None)) => {
                self.uploads.is_unknown(question.unit);
                return Vec::new();
            }
            Err(_) => return Vec::new(),
            Ok(Err(error)) => {
                tracing::warn!(%error, "input sets");
                return Vec::new();
            }
        };
        let (engine, question) = (Arc::clone(engine), Arc::clone(question));
        let told = |set| KnownSet { set, witness: Witness::Bucket };
        let sets = known.into_sets().into_iter().map(told).collect();
        let keys = tokio::task::spawn_blocking(move || engine.keys(&question, sets)).await;
        keys.unwrap_or_default()
    }

    /// Whether the bucket knows the unit after all, found out while rustc runs.
    fn ask_beside(self: &Arc<Self>, session: &Arc<Session>, question: &Arc<Question>, package: PackageName) {
        let (bucket, session, unit) = (Arc::clone(self), Arc::clone(session), question.unit);
        self.tasks.spawn(async move {
            match fetch_known_inputs(&*bucket.remote, &package, &unit, Priority::Ahead).await {
                Ok(Some(_)) => session.heard(true),
                Ok(None) => bucket.uploads.is_unknown(unit),
                Err(error) => tracing::debug!(%error, "input sets"),
            }
        });
    }

    /// Notes that a question led to an artifact: for the session's index, and to know whether it came from here.
    pub(crate) fn used(&self, question: &Question, key: &ArtifactKey, artifact: &Artifact, joined: bool) -> Came {
        let entry = PackageName::new(&artifact.package).filter(|_| artifact.may_travel());
        if let (Some(session), Some(turn), Some(package)) = (&question.session, &question.turn, entry) {
            let entry = IndexEntry {
                package,
                artifact: *key,
                unit: question.unit,
                slot: question.slot(),
                bytes: 0,
                compile_millis: artifact.compile_millis,
            };
            session.used(turn, entry);
        }
        self.fetches.used(key, joined)
    }

    /// Whether results made here are to be uploaded.
    pub(crate) fn takes_uploads(&self) -> bool {
        self.settings().mode.writes()
    }

    /// What the bucket has under this key isn't what rustc makes: the next upload replaces it.
    pub(crate) fn condemn(&self, key: ArtifactKey) {
        self.fetches.note_bad(key);
    }

    /// An artifact that bears the store's mark of a pending upload, and the level that its build asked for.
    pub(crate) fn upload_later(&self, key: ArtifactKey, level: Option<CompressionLevel>) {
        self.uploads.add(key, level);
    }

    /// The zstd level that a build asks for. One that is none is noted, and the configured one is used.
    pub(crate) fn level(&self, env: &Env) -> Option<CompressionLevel> {
        let text = env.get(LEVEL)?;
        let level = text.parse().ok().and_then(CompressionLevel::new);
        if level.is_none() {
            let notice = format!(
                "{LEVEL}={text:?} in a build's environment isn't a whole number from 1 to 22; {} is used",
                self.settings().level.get()
            );
            let mut known = self.bad_level.lock().unwrap_or_else(PoisonError::into_inner);
            if known.as_ref() != Some(&notice) {
                tracing::warn!("{notice}");
                *known = Some(notice);
            }
        }
        level
    }

    /// What people should know.
    pub(crate) fn notice(&self) -> Option<String> {
        self.bad_level.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn watch_sessions(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.end(self.sessions.take_ended());
        }
    }

    /// Has the indexes of these sessions stored.
    fn end(self: &Arc<Self>, sessions: Vec<Arc<Session>>) {
        for session in sessions {
            if self.takes_uploads() {
                let (bucket, unwritten) = (Arc::clone(self), self.indexes.begin());
                self.runtime.spawn(async move { bucket.write_index(&session, &unwritten).await });
            }
        }
    }

    /// Waits until everything that builds have left here is in the bucket: what is being taken in, the queue, the indexes of ended sessions. Tells
    /// what is left when `timeout` is over, or when only what the server refuses is left.
    pub(crate) async fn flush(self: &Arc<Self>, engine: &Engine, timeout: Option<Duration>) -> Unflushed {
        self.wait_for_uploads(engine, timeout, Left::hopeless).await
    }

    /// Waits until nothing is left but what `hopeless` counts.
    async fn wait_for_uploads(
        self: &Arc<Self>,
        engine: &Engine,
        timeout: Option<Duration>,
        hopeless: impl Fn(&Left, bool) -> usize,
    ) -> Unflushed {
        let deadline = timeout.map(|timeout| tokio::time::Instant::now() + timeout);
        self.remote.try_puts_again();
        self.indexes.hurry();
        let _impatience = self.uploads.hurry();
        let mut moved = self.uploads.watch();
        loop {
            self.end(self.sessions.take_ended());
            let (uploads, indexes) = (self.uploads.left(), self.indexes.left());
            let refused = uploads.refused + indexes.refused > 0;
            let left = Unflushed {
                being_stored: engine.being_stored(),
                queued_uploads: uploads.queued,
                refused_uploads: uploads.hopeless(refused),
                indexes: indexes.queued,
            };
            let over = left.being_stored == 0 && [uploads, indexes].iter().all(|left| left.queued == hopeless(left, refused));
            if over || deadline.is_some_and(|deadline| tokio::time::Instant::now() >= deadline) {
                return left;
            }
            // Ends of compiles and of sessions tell nobody, so this looks again now and then.
            let _changed = tokio::time::timeout(Duration::from_millis(50), moved.changed()).await;
        }
    }

    /// At the daemon's end: uploads as much as `limit` allows, and nothing that fails. The rest waits for the next start. The index of a build that
    /// goes on knows what was used until now.
    pub(crate) async fn drain(self: &Arc<Self>, engine: &Engine, limit: Duration) {
        self.end(self.sessions.take_all());
        let left = self.wait_for_uploads(engine, Some(limit), |left, _| left.failed).await;
        if left != Unflushed::default() {
            tracing::warn!(?left, "stopped before everything was uploaded; it goes on at the next start");
        }
    }

    /// What was found in it that no kache would have put there.
    pub(crate) fn oddities(&self) -> &Oddities {
        &self.oddities
    }

    /// An artifact turned out not to be what a compile leaves: its object is to be replaced.
    pub(crate) fn was_refused(&self, key: ArtifactKey, why: &str) {
        self.oddities.artifact_refused(why);
        self.fetches.note_bad(key);
    }

    /// The numbers.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let (joined_fetches, prefetched, prefetch_used) = self.fetches.counts();
        let queued_uploads = self.uploads.left().queued;
        let (ignored_input_sets, refused_artifacts) = self.oddities.counts();
        Snapshot {
            remote: self.remote.snapshot(),
            joined_fetches,
            prefetched,
            prefetch_used,
            queued_uploads,
            ignored_input_sets,
            refused_artifacts,
        }
    }
}

/// Entries of a map that only saves work: beyond that it begins anew, for this daemon runs for months.
const MAX_REMEMBERED: usize = 100_000;

fn remember<K: Eq + Hash, V>(map: &mut HashMap<K, V>, key: K, value: V) {
    if map.len() >= MAX_REMEMBERED {
        map.clear();
    }
    map.insert(key, value);
}

/// What the store's mark of a pending upload says: the level that the build asked for, 0 for none.
pub(crate) fn note(level: Option<CompressionLevel>) -> u8 {
    level.and_then(|level| u8::try_from(level.get()).ok()).unwrap_or(0)
}

async fn keys_now(engine: &Arc<Engine>, question: &Arc<Question>) -> Vec<ArtifactKey> {
    let (engine, question) = (Arc::clone(engine), Arc::clone(question));
    let keys = tokio::task::spawn_blocking(move || {
        let sets = engine.store.known_sets(&question.unit).unwrap_or_default();
        engine.keys(&question, sets)
    });
    keys.await.unwrap_or_default()
}
