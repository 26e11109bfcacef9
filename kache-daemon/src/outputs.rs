//! Where the files of target directories came from: what stands behind an `--extern`.
//!
//! Promise: an origin is given out only for a file that this cache compiled or restored and that nobody has replaced since. A
//! library that plain cargo built has none here, even when its bytes are the same: a macro behind a re-export may differ. What such a one
//! is, [`crate::foreign`] finds out.
//!
//! Cargo stamps the outputs of `check` builds after rustc has ended, so a moved mtime alone proves nothing: on the same inode
//! (birth time included) the bytes are hashed again and compared. A library whose inode is the store's, and perhaps other directories', can be
//! written to from any of them, with its mtime put back: of such a one the ctime counts too, unless the store vouches for it.

use crate::files::{self, Files};
use kache_model::{ContentKey, Digest, FileStamp, Linked, Mentions};
use kache_store::Store;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Above this many files the map in memory starts afresh; the store still knows them.
const MAX_OUTPUTS: usize = 100_000;

/// What a library file is, for those who depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// What went into it, and so into everything behind it.
    pub(crate) content: ContentKey,
    /// Digest of the interface that dependents read.
    pub(crate) interface: Option<Digest>,
    /// Variables that macros in it or behind it mention (by `macro_rules`).
    pub(crate) library_mentions: Mentions,
    /// Shared objects that rustc loads for those who depend on it: proc macros and what they load.
    pub(crate) code: BTreeSet<Digest>,
    /// A proc macro, or something that reaches one.
    pub(crate) runs_macros: bool,
    /// Native libraries that a program over it links, as they are named by `-l`: which files those are then is looked up then.
    pub(crate) libraries: BTreeSet<String>,
    /// Those that sources name.
    pub(crate) linked: Linked,
    /// Something in it or behind it wasn't made by this cache: what is made over it stays on this machine.
    pub(crate) foreign: bool,
}

/// What a row in the store begins with: rows of another shape are unknown.
const SHAPE: [u8; 4] = *b"out2";

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    stamp: FileStamp,
    /// Digest of this very file, to recognise it after Cargo has stamped it; `None` for what Cargo never stamps.
    bytes: Option<Digest>,
    origin: Origin,
    /// Whether its inode may have names elsewhere.
    shared: bool,
}

impl Row {
    fn encode(&self) -> Option<Vec<u8>> {
        postcard::to_extend(self, SHAPE.to_vec()).ok()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes.strip_prefix(&SHAPE)?).ok()
    }
}

/// What is found at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recalled {
    /// What this cache made.
    Known(Origin),
    /// Somebody else's, or nothing.
    Unknown,
    /// What this cache made, written into by somebody since.
    Damaged,
}

/// The map from path to origin, in memory, with the store behind it.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    map: Mutex<HashMap<String, Row>>,
    /// Libraries that were found damaged, as they looked then.
    damaged: Mutex<BTreeMap<PathBuf, FileStamp>>,
}

impl Outputs {
    /// Notes a file that was just compiled or restored.
    pub(crate) fn remember(&self, store: &Store, path: &Path, stamp: FileStamp, bytes: Option<Digest>, origin: Origin) {
        self.put(store, path, Row { stamp, bytes, origin, shared: false });
    }

    /// The same for one that is a link to the store's inode.
    pub(crate) fn remember_link(&self, store: &Store, path: &Path, stamp: FileStamp, bytes: Digest, origin: Origin) {
        self.put(store, path, Row { stamp, bytes: Some(bytes), origin, shared: true });
    }

    /// Notes that the inode of a file that was just noted is the store's, with these bytes.
    pub(crate) fn share(&self, store: &Store, path: &Path, bytes: Digest) {
        let row = path.to_str().and_then(|name| self.lock().get(name).cloned());
        let (Some(row), Ok(now)) = (row, files::stamp(path)) else { return };
        // The store's link has moved the ctime.
        if row.stamp.same_output(&now) {
            self.put(store, path, Row { stamp: now, bytes: Some(bytes), shared: true, ..row });
        }
    }

    fn put(&self, store: &Store, path: &Path, row: Row) {
        let Some(path) = path.to_str() else { return };
        if let Some(bytes) = row.encode() {
            store.remember_outputs(vec![(path.to_owned(), bytes)]);
        }
        let mut map = self.lock();
        if map.len() >= MAX_OUTPUTS {
            map.clear();
        }
        map.insert(path.to_owned(), row);
    }

    /// Whether the file at `path` was last seen with these bytes and hasn't been moved, linked or written since, as far as `stamp` can tell.
    pub(crate) fn holds(&self, path: &Path, stamp: &FileStamp, bytes: Digest) -> bool {
        let map = self.lock();
        path.to_str().and_then(|name| map.get(name)).is_some_and(|row| row.stamp == *stamp && row.bytes == Some(bytes))
    }

    /// What the file at `path` is, as it is now.
    pub(crate) fn recall(&self, store: &Store, files: &Files, path: &Path) -> Recalled {
        self.look(store, files, path).unwrap_or(Recalled::Unknown)
    }

    fn look(&self, store: &Store, files: &Files, path: &Path) -> Option<Recalled> {
        let name = path.to_str()?;
        let stamp = files::stamp(path).ok()?;
        let known = self.lock().get(name).cloned();
        let row = known.or_else(|| store.recall_output(name).ok().flatten().and_then(|bytes| Row::decode(&bytes)))?;
        let untouched = !row.shared || row.stamp.ctime == stamp.ctime || row.bytes.is_some_and(|bytes| store.vouches(&bytes, &stamp));
        if row.stamp.same_output(&stamp) && untouched {
            return Some(Recalled::Known(row.origin));
        }
        let bytes = row.bytes.filter(|_| row.stamp.same_inode(&stamp))?;
        if files.digest(path).ok()??.1 != bytes {
            tracing::warn!(path = %path.display(), "somebody has written into a library in place");
            self.damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), stamp);
            // Whoever mends it finds it in memory.
            self.lock().entry(name.to_owned()).or_insert(row);
            return Some(Recalled::Damaged);
        }
        if row.shared {
            store.confirm(&bytes, &stamp);
        }
        let origin = row.origin.clone();
        self.put(store, path, Row { stamp, ..row });
        Some(Recalled::Known(origin))
    }

    /// Puts the right bytes back where somebody has written into a name of the store's inode, if the store still has them.
    pub(crate) fn mend(&self, store: &Store, path: &Path) -> Option<Origin> {
        let row = self.lock().get(path.to_str()?).cloned().filter(|row| row.shared)?;
        let bytes = row.bytes?;
        let stamp = store.mend(&bytes, path).inspect_err(|error| tracing::warn!(path = %path.display(), %error, "not mended")).ok()??;
        tracing::warn!(path = %path.display(), "mended");
        self.put(store, path, Row { stamp, ..row.clone() });
        Some(row.origin)
    }

    /// The first library in these directories that shares its inode and was written to: what is linked there may have read it.
    pub(crate) fn written_to(&self, store: &Store, files: &Files, dirs: &BTreeSet<PathBuf>) -> Option<PathBuf> {
        let entries = dirs.iter().flat_map(|dir| std::fs::read_dir(dir).into_iter().flatten().flatten());
        let libraries = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "rlib"));
        let mut shared = libraries.filter(|path| path.to_str().is_some_and(|name| self.lock().get(name).is_some_and(|row| row.shared)));
        shared.find(|path| self.recall(store, files, path) == Recalled::Damaged)
    }

    /// A blob was found damaged: every library that shares its inode is.
    pub(crate) fn damaged_blob(&self, bytes: Digest) {
        let paths: Vec<PathBuf> =
            self.lock().iter().filter(|(_, row)| row.shared && row.bytes == Some(bytes)).map(|(path, _)| PathBuf::from(path)).collect();
        let there = paths.into_iter().filter_map(|path| files::stamp(&path).ok().map(|stamp| (path, stamp)));
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).extend(there);
    }

    /// Libraries that were found damaged and are so still.
    pub(crate) fn damaged(&self) -> Vec<PathBuf> {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        damaged.retain(|path, seen| files::stamp(path).is_ok_and(|now| now.same_output(seen)));
        damaged.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Row>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
