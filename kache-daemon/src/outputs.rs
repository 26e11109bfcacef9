//! Where the files of target directories came from: what stands behind an `--extern`.
//!
//! Promise: an origin is given out only for a file that this cache compiled or restored and that nobody has replaced since. A
//! library that plain cargo built has none here, even when its bytes are the same: a macro behind a re-export may differ. What such a one
//! is, [`crate::foreign`] finds out.
//!
//! Cargo stamps the outputs of `check` builds after rustc has ended, so a moved mtime alone proves nothing: on the same inode
//! (birth time included) the bytes are hashed again and compared.

use crate::files::{self, Files};
use kache_model::{ContentKey, Digest, FileStamp, Linked, Mentions};
use kache_store::Store;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

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
}

/// The map from path to origin, in memory, with the store behind it.
#[derive(Debug, Default)]
pub(crate) struct Outputs(Mutex<HashMap<String, Row>>);

impl Outputs {
    /// Notes a file that was just compiled or restored.
    pub(crate) fn remember(&self, store: &Store, path: &Path, stamp: FileStamp, bytes: Option<Digest>, origin: Origin) {
        let Some(path) = path.to_str() else { return };
        let row = Row { stamp, bytes, origin };
        if let Ok(bytes) = postcard::to_extend(&row, SHAPE.to_vec()) {
            store.remember_outputs(vec![(path.to_owned(), bytes)]);
        }
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= MAX_OUTPUTS {
            map.clear();
        }
        map.insert(path.to_owned(), row);
    }

    /// Whether the file at `path` was last seen with these bytes and hasn't been moved, linked or written since, as far as `stamp` can tell.
    pub(crate) fn holds(&self, path: &Path, stamp: &FileStamp, bytes: Digest) -> bool {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        path.to_str().and_then(|name| map.get(name)).is_some_and(|row| row.stamp == *stamp && row.bytes == Some(bytes))
    }

    /// What the file at `path` is; `None` if unknown, replaced or gone.
    pub(crate) fn recall(&self, store: &Store, files: &Files, path: &Path) -> Option<Origin> {
        let name = path.to_str()?;
        let stamp = files::stamp(path).ok()?;
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let row = known.or_else(|| postcard::from_bytes(store.recall_output(name).ok()??.strip_prefix(&SHAPE)?).ok())?;
        if row.stamp.same_output(&stamp) {
            return Some(row.origin);
        }
        if !row.stamp.same_inode(&stamp) || files.digest(path).ok()??.1 != row.bytes? {
            return None;
        }
        self.remember(store, path, stamp, row.bytes, row.origin.clone());
        Some(row.origin)
    }
}
