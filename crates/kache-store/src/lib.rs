//! The local store: blobs on disk named by their SHA-256, and an index of artifacts, input sets and small memos beside them.
//!
//! Promises: a blob enters only under the digest of its bytes and is checked before each use; an artifact is visible only when all its
//! blobs are in place; killing the process at any instruction loses only the last moments; two processes never have one store open.
//! `FORMAT.md` says what lies where.
//!
//! Deliberately absent: rustc, the network, async, configuration, logging. All calls block; all take `&self` from any thread.

mod copy;
mod error;
mod evict;
mod index;
mod keeper;
mod layout;
mod links;
mod memo;
mod place;
mod preview;
pub mod private;
mod probe;
mod publish;
mod removals;
mod sets;
mod shelf;
mod stage;
mod stamp;
mod verify;

pub use error::{Damage, FileError, OpenError, PlaceError, StoreError};
pub use evict::{GcLimit, GcReport};
pub use memo::OutputRow;
pub use place::{Placed, PlacedHow, Placement, Staged, temporary_name};
pub use probe::probe_link;
pub use publish::Publication;
pub use removals::RemovedFor;
pub use sets::{KnownSet, MAX_SETS};
pub use stage::{Capture, Scratch, StagedBlob};
pub use stamp::{stamp, stamp_of};
pub use verify::{Finding, Repair, VerifyProgress, VerifyReport};

use index::{ARTIFACTS, Fault, Index, OUTLINES, PENDING, decode};
use kache_model::{Artifact, ArtifactKey, BlobId, Digest, InputSet, Linked, UnitKey, UnitOutline};
use keeper::{Keeper, Life};
use layout::Layout;
use redb::ReadableTable;
use shelf::Shelf;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// What the store is told when it is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Above this many bytes of blobs and descriptors, the least recently used artifacts go.
    pub max_bytes: u64,
}

/// How full the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Artifacts held.
    pub artifacts: u64,
    /// Different blobs held.
    pub blobs: u64,
    /// What they take, blobs in disk blocks.
    pub bytes: u64,
    /// The limit.
    pub max_bytes: u64,
    /// Artifacts evicted since the store was opened, for want of space or because they were damaged.
    pub evicted_artifacts: u64,
    /// Blobs that were read again since the store was opened because their files looked other than recorded (somebody removed a link, say).
    pub rehashed_blobs: u64,
}

/// One line about an artifact, for lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its key.
    pub key: ArtifactKey,
    /// Package name.
    pub package: String,
    /// Crate name.
    pub crate_name: String,
    /// The unit that it was made of.
    pub unit: UnitKey,
    /// Bytes of its outputs.
    pub output_bytes: u64,
    /// Last use, milliseconds since the epoch.
    pub used_millis: u64,
    /// Whether it waits for its upload.
    pub pending_upload: bool,
    /// Whether it is good on other machines: not bound to paths, not made by continuing an incremental session.
    pub shareable: bool,
}

impl Summary {
    /// Whether its package or its crate bears this name; `-` and `_` are equal.
    pub fn is_of(&self, name: &str) -> bool {
        let same = |own: &str| own.replace('-', "_") == name.replace('-', "_");
        same(&self.package) || same(&self.crate_name)
    }
}

/// The open store. Dropping it writes everything out and gives the directory free.
#[derive(Debug)]
pub struct Store(Arc<Inner>, Option<JoinHandle<()>>);

/// What the store's threads and guards share.
///
/// Locks, in the order in which they may be taken: `settling`, `collecting`, one of `turns`, `writer`, then `shelf` or the keeper's, alone and briefly.
#[derive(Debug)]
pub(crate) struct Inner {
    layout: Layout,
    index: Index,
    shelf: Mutex<Shelf>,
    /// Held by whoever changes index and blobs; readers don't need it.
    writer: Mutex<()>,
    /// Held while a blob's file is compared with its record or linked, so that nobody takes our own links for somebody's write: one for each
    /// first byte of a digest.
    turns: [Mutex<()>; 256],
    reflinks: copy::Reflinks,
    keeper: Keeper,
    life: Life,
    max_bytes: AtomicU64,
    evicted: AtomicU64,
    rehashed: AtomicU64,
    removals: removals::Removals,
    /// Of the cache directory.
    device: u64,
    lock: File,
}

/// An artifact that was found, pinned: it isn't evicted for want of space while this lives.
#[derive(Debug)]
pub struct Held {
    artifact: Arc<Artifact>,
    key: ArtifactKey,
    inner: Arc<Inner>,
}

impl Held {
    /// The artifact.
    pub fn artifact(&self) -> &Arc<Artifact> {
        &self.artifact
    }

    /// Its key.
    pub fn key(&self) -> &ArtifactKey {
        &self.key
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.inner.shelf().unpin(&self.key);
    }
}

impl Store {
    /// Opens the store in `dir`, creating what is missing. A damaged index is set aside and an empty one begun.
    ///
    /// # Errors
    /// [`OpenError::Busy`] while another process has it open; [`OpenError::Newer`] for an index of a later version.
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let (layout, lock) = Layout::open(dir)?;
        let device = fs::metadata(dir).map_err(|source| FileError::new("stat", dir, source))?.dev();
        let path = layout.index();
        let index = Index::open(path.clone())?;
        let started = Life::begin(&index).and_then(|life| Ok((life, Shelf::load(&index)?)));
        let (life, shelf) = match started {
            Ok(started) => started,
            Err(error) => {
                index.start_anew(error)?;
                let fail = |error: StoreError| FileError::new("begin", &path, std::io::Error::other(error));
                (Life::begin(&index).map_err(fail)?, Shelf::load(&index).map_err(fail)?)
            }
        };
        let inner = Arc::new(Inner {
            layout,
            index,
            shelf: Mutex::new(shelf),
            writer: Mutex::new(()),
            turns: [const { Mutex::new(()) }; 256],
            reflinks: copy::Reflinks::default(),
            keeper: Keeper::default(),
            life,
            max_bytes: AtomicU64::new(options.max_bytes),
            evicted: AtomicU64::new(0),
            rehashed: AtomicU64::new(0),
            removals: removals::Removals::default(),
            device,
            lock,
        });
        let thread = keeper::start(&inner).map_err(|source| FileError::new("start a thread for", dir, source))?;
        Ok(Self(inner, Some(thread)))
    }

    /// The input set under which the artifact `key` was stored; `None` if either is gone.
    ///
    /// # Errors
    /// What the index said. A damaged row counts as none.
    pub fn input_set(&self, key: &ArtifactKey) -> Result<Option<InputSet>, StoreError> {
        let row: Option<(Artifact, Digest)> = self.0.read_row(ARTIFACTS, "artifacts", &key.0)?;
        let Some((artifact, id)) = row else { return Ok(None) };
        Ok(self.input_sets(&artifact.unit)?.into_iter().find(|set| set.id() == id))
    }

    /// What is told of `unit` as it was before its sources were read.
    ///
    /// # Errors
    /// What the index said. A damaged row counts as none.
    pub fn outline(&self, unit: &UnitKey) -> Result<Option<UnitOutline>, StoreError> {
        self.0.read_row(OUTLINES, "outlines", &unit.0)
    }

    /// The artifact under `key`, pinned and marked as used now.
    ///
    /// # Errors
    /// What the index said. A damaged row is evicted and counts as none.
    pub fn find(&self, key: &ArtifactKey) -> Result<Option<Held>, StoreError> {
        let Some(first) = self.0.shelf().pin(key) else { return Ok(None) };
        if first {
            self.0.keeper.note_uses();
        }
        let found = self.0.read_row::<(Artifact, Digest, Linked)>(ARTIFACTS, "artifacts", &key.0);
        match found {
            Ok(Some((artifact, _, linked))) => {
                let artifact = Arc::new(Artifact { linked, ..artifact });
                Ok(Some(Held { artifact, key: *key, inner: Arc::clone(&self.0) }))
            }
            other => {
                self.0.shelf().unpin(key);
                if other?.is_none() {
                    self.evict(key)?;
                }
                Ok(None)
            }
        }
    }

    /// Whether there is an artifact under `key`; doesn't count as a use.
    pub fn contains(&self, key: &ArtifactKey) -> bool {
        self.0.shelf().artifact(key).is_some()
    }

    /// Changes the limit. What is too much then goes in the background.
    pub fn set_max_bytes(&self, max_bytes: u64) {
        self.0.max_bytes.store(max_bytes, Ordering::Relaxed);
        if self.0.shelf().bytes() > max_bytes {
            self.0.keeper.want_gc();
        }
    }

    /// Why the artifact under `key` was let go, if it was one of the last since the start.
    pub fn removed(&self, key: &ArtifactKey) -> Option<RemovedFor> {
        self.0.removals.of(key)
    }

    /// How full the store is.
    pub fn usage(&self) -> Usage {
        let shelf = self.0.shelf();
        let (artifacts, blobs) = shelf.counts();
        Usage {
            artifacts: artifacts as u64,
            blobs: blobs as u64,
            bytes: shelf.bytes(),
            max_bytes: self.0.max_bytes(),
            evicted_artifacts: self.0.evicted.load(Ordering::Relaxed),
            rehashed_blobs: self.0.rehashed.load(Ordering::Relaxed),
        }
    }

    /// All artifacts, least recently used first, each read when it is asked for. Ones that go meanwhile, or can't be read, are left out.
    pub fn artifacts(&self) -> impl Iterator<Item = Summary> {
        let keys = self.0.shelf().by_age();
        keys.into_iter().filter_map(|(used_millis, key)| self.0.summary(key, used_millis))
    }

    /// Artifacts that wait for their upload, each with what [`Publication::pending_upload`] said.
    ///
    /// # Errors
    /// What the index said.
    pub fn pending_uploads(&self) -> Result<Vec<(ArtifactKey, u8)>, StoreError> {
        self.0.read(|transaction| {
            let table = transaction.open_table(PENDING)?;
            let mut pending = Vec::new();
            for row in table.iter()? {
                let (key, note) = row?;
                pending.push((ArtifactKey(Digest::from_bytes(*key.value())), note.value()));
            }
            Ok(pending)
        })
    }

    /// Takes the mark of a pending upload away.
    ///
    /// # Errors
    /// What the index said.
    pub fn upload_done(&self, key: &ArtifactKey) -> Result<(), StoreError> {
        let _writer = self.0.writer();
        self.0.write(|transaction| {
            transaction.open_table(PENDING)?.remove(key.0.as_bytes())?;
            Ok(())
        })
    }

    /// Where a blob's bytes lie, if the store has them. They are nobody's to write.
    pub fn blob_path(&self, id: &BlobId) -> PathBuf {
        self.0.layout.blob(id)
    }

    /// Whether the directory is still the one that was opened: somebody who emptied it took the lock's file away too, and perhaps another
    /// process has a store there by now.
    pub fn is_in_place(&self) -> bool {
        self.0.layout.is_in_place(&self.0.lock)
    }

    /// Returns when the disk has everything that was published or remembered before.
    ///
    /// # Errors
    /// What the index said.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.0.settle()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.0.keeper.stop();
        if let Some(thread) = self.1.take() {
            drop(thread.join());
        }
        if self.0.settle().is_ok() {
            drop(self.0.life.end(&self.0.index));
        }
        self.0.index.close();
        drop(self.0.lock.unlock());
    }
}

impl Inner {
    pub(crate) fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn turn(&self, id: &BlobId) -> MutexGuard<'_, ()> {
        self.turns[usize::from(id.0.as_bytes()[0])].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn writer(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read<T>(&self, ask: impl FnOnce(&redb::ReadTransaction) -> Result<T, Fault>) -> Result<T, StoreError> {
        self.index.read(ask).inspect_err(|error| {
            if Index::is_broken_by(error) {
                let _writer = self.writer();
                self.recover(error);
            }
        })
    }

    /// One change of the index; the caller holds the writer's lock and lets the keeper make it durable.
    pub(crate) fn write<T>(&self, change: impl FnOnce(&redb::WriteTransaction) -> Result<T, Fault>) -> Result<T, StoreError> {
        let result = self.index.write(change).inspect_err(|error| self.recover(error));
        self.keeper.note_change();
        result
    }

    /// After a failed write the database wants to be opened again; memory follows. The caller holds the writer's lock.
    pub(crate) fn recover(&self, error: &StoreError) {
        if self.index.recover(error)
            && let Ok(mut fresh) = Shelf::load(&self.index)
        {
            let mut shelf = self.shelf();
            fresh.keep_pins_of(&mut shelf);
            let lost = shelf.has_blobs_beyond(&fresh);
            *shelf = fresh;
            drop(shelf);
            if lost {
                self.keeper.want_sweep();
            }
        }
    }

    /// A checked row; damaged ones count as absent.
    fn read_row<T: serde::de::DeserializeOwned>(
        &self,
        table: redb::TableDefinition<'static, index::Key, index::Bytes>,
        name: &'static str,
        key: &Digest,
    ) -> Result<Option<T>, StoreError> {
        self.read(|transaction| {
            let table = transaction.open_table(table)?;
            let Some(row) = table.get(key.as_bytes())? else { return Ok(None) };
            Ok(decode(name, key, row.value()).ok())
        })
    }

    fn summary(&self, key: ArtifactKey, used_millis: u64) -> Option<Summary> {
        let artifact = self.read_row::<Artifact>(ARTIFACTS, "artifacts", &key.0).ok()??;
        let pending_upload =
            self.read(|transaction| Ok(transaction.open_table(PENDING)?.get(key.0.as_bytes())?.is_some())).unwrap_or(false);
        let shareable = artifact.may_travel();
        let Artifact { package, crate_name, unit, outputs, .. } = artifact;
        let output_bytes = outputs.iter().map(|output| output.len).sum();
        Some(Summary { key, package, crate_name, unit, output_bytes, used_millis, pending_upload, shareable })
    }
}
