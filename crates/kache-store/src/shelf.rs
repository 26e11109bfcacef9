//! What is kept in memory while the store is open: when each artifact was last used, what each blob looked like, and who is pinned.
//!
//! Promises: about 100 bytes per artifact and as much per blob, so 100,000 artifacts stay far below the daemon's budget. Everything
//! else (descriptors, input sets) is read from the index when asked for.
//! Doesn't touch files; the index only to fill itself.

use crate::error::StoreError;
use crate::index::{BLOBS, Index, LOOKS, META, USES};
use crate::stamp::Look;
use kache_model::{ArtifactKey, BlobId, Digest};
use redb::ReadableTable;
use std::collections::{HashMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

/// What a file takes on disk, at least and in steps.
const BLOCK: u64 = 4096;

/// An artifact.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Milliseconds since the epoch; unique enough to order by.
    pub(crate) used: u64,
    /// Bytes of its row in the index.
    pub(crate) row_bytes: u32,
}

/// A blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlobEntry {
    pub(crate) len: u64,
    /// Or [`Look::UNTRUSTED`].
    pub(crate) look: Look,
    /// In which life of the store it was written or last hashed.
    pub(crate) generation: u32,
    /// Outputs of artifacts that name it.
    pub(crate) refs: u32,
}

impl BlobEntry {
    /// What it takes on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.len.next_multiple_of(BLOCK)
    }

    /// As a row of the index, and as one of the table beside it.
    pub(crate) fn rows(&self) -> ((u64, i64, u32, u32), (i64, u64)) {
        ((self.len, self.look.mtime, self.generation, self.refs), (self.look.ctime, self.look.inode))
    }
}

/// The maps.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    artifacts: HashMap<ArtifactKey, Entry>,
    blobs: HashMap<BlobId, BlobEntry>,
    /// Kept apart: only what is being restored right now is in here, and it outlives an eviction.
    pins: HashMap<ArtifactKey, u32>,
    /// Artifacts whose last use isn't in the index yet.
    touched: HashSet<ArtifactKey>,
    /// Blobs whose record isn't in the index yet.
    rechecked: HashSet<BlobId>,
    bytes: u64,
}

impl Shelf {
    /// Fills the maps. Blobs of a suspect generation lose their recorded look, as have those that were recorded by a version
    /// without ctimes.
    pub(crate) fn load(index: &Index) -> Result<Self, StoreError> {
        index.read(|transaction| {
            let suspects = suspects(transaction.open_table(META)?.get("suspects")?.map(|row| row.value().to_vec()));
            let mut shelf = Self::default();
            let uses = transaction.open_table(USES)?;
            for row in uses.iter()? {
                let (key, value) = row?;
                let (used, row_bytes) = value.value();
                shelf.put_artifact(ArtifactKey(Digest::from_bytes(*key.value())), Entry { used, row_bytes });
            }
            let (blobs, looks) = (transaction.open_table(BLOBS)?, transaction.open_table(LOOKS)?);
            for row in blobs.iter()? {
                let (id, value) = row?;
                let (len, mtime, generation, refs) = value.value();
                let look = looks.get(id.value())?.map(|row| row.value()).filter(|_| !suspects.contains(&generation));
                let look = look.map_or(Look::UNTRUSTED, |(ctime, inode)| Look { mtime, ctime, inode });
                shelf.put_blob(BlobId(Digest::from_bytes(*id.value())), BlobEntry { len, look, generation, refs });
            }
            Ok(shelf)
        })
    }

    /// Takes over who is pinned from an earlier filling.
    pub(crate) fn keep_pins_of(&mut self, other: &mut Self) {
        self.pins = std::mem::take(&mut other.pins);
    }

    /// Whether it has blobs that `other` hasn't.
    pub(crate) fn has_blobs_beyond(&self, other: &Self) -> bool {
        self.blobs.keys().any(|id| !other.blobs.contains_key(id))
    }

    pub(crate) fn artifact(&self, key: &ArtifactKey) -> Option<&Entry> {
        self.artifacts.get(key)
    }

    pub(crate) fn blob(&self, id: &BlobId) -> Option<&BlobEntry> {
        self.blobs.get(id)
    }

    pub(crate) fn put_artifact(&mut self, key: ArtifactKey, entry: Entry) {
        self.bytes += u64::from(entry.row_bytes);
        if let Some(old) = self.artifacts.insert(key, entry) {
            self.bytes -= u64::from(old.row_bytes);
        }
    }

    pub(crate) fn remove_artifact(&mut self, key: &ArtifactKey) {
        self.touched.remove(key);
        if let Some(old) = self.artifacts.remove(key) {
            self.bytes -= u64::from(old.row_bytes);
        }
    }

    pub(crate) fn put_blob(&mut self, id: BlobId, entry: BlobEntry) {
        self.bytes += entry.disk_bytes();
        if let Some(old) = self.blobs.insert(id, entry) {
            self.bytes -= old.disk_bytes();
        }
    }

    pub(crate) fn remove_blob(&mut self, id: &BlobId) {
        self.rechecked.remove(id);
        if let Some(old) = self.blobs.remove(id) {
            self.bytes -= old.disk_bytes();
        }
    }

    /// Records what a blob's file looks like after its bytes were found to be right, or that they weren't.
    pub(crate) fn recheck(&mut self, id: &BlobId, look: Look, generation: u32) {
        if let Some(entry) = self.blobs.get_mut(id) {
            entry.look = look;
            entry.generation = generation;
            self.rechecked.insert(*id);
        }
    }

    /// Pins an artifact and marks it as used now. False if there is none. The second value says that this is the first mark since
    /// the last write.
    pub(crate) fn pin(&mut self, key: &ArtifactKey) -> Option<bool> {
        self.artifacts.get_mut(key)?.used = now_millis();
        *self.pins.entry(*key).or_insert(0) += 1;
        let first = self.touched.is_empty();
        self.touched.insert(*key);
        Some(first)
    }

    pub(crate) fn unpin(&mut self, key: &ArtifactKey) {
        if let Some(pins) = self.pins.get_mut(key) {
            *pins -= 1;
            if *pins == 0 {
                self.pins.remove(key);
            }
        }
    }

    pub(crate) fn is_pinned(&self, key: &ArtifactKey) -> bool {
        self.pins.contains_key(key)
    }

    /// Bytes of blobs (in disk blocks) and descriptors.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.artifacts.len(), self.blobs.len())
    }

    /// All artifacts, least recently used first.
    pub(crate) fn by_age(&self) -> Vec<(u64, ArtifactKey)> {
        let mut all: Vec<_> = self.artifacts.iter().map(|(key, entry)| (entry.used, *key)).collect();
        all.sort_unstable();
        all
    }

    pub(crate) fn blob_ids(&self) -> Vec<BlobId> {
        self.blobs.keys().copied().collect()
    }

    /// Hands out what the index hasn't seen.
    pub(crate) fn take_dirty(&mut self) -> Unwritten {
        let touched = std::mem::take(&mut self.touched);
        let rechecked = std::mem::take(&mut self.rechecked);
        Unwritten {
            uses: touched.into_iter().filter_map(|key| Some((key, *self.artifacts.get(&key)?))).collect(),
            blobs: rechecked.into_iter().filter_map(|id| Some((id, *self.blobs.get(&id)?))).collect(),
        }
    }

    /// Takes back what [`Shelf::take_dirty`] handed out and could not be written.
    pub(crate) fn still_dirty(&mut self, unwritten: &Unwritten) {
        self.touched.extend(unwritten.uses.iter().map(|(key, _)| *key));
        self.rechecked.extend(unwritten.blobs.iter().map(|(id, _)| *id));
    }
}

/// Records that are newer in memory than in the index.
#[derive(Debug)]
pub(crate) struct Unwritten {
    pub(crate) uses: Vec<(ArtifactKey, Entry)>,
    pub(crate) blobs: Vec<(BlobId, BlobEntry)>,
}

/// Generations that ended without a clean mark, as kept in `meta`.
pub(crate) fn suspects(row: Option<Vec<u8>>) -> HashSet<u32> {
    let row = row.unwrap_or_default();
    row.chunks_exact(4).filter_map(|chunk| Some(u32::from_le_bytes(chunk.try_into().ok()?))).collect()
}

/// The wall clock, milliseconds since the epoch.
pub(crate) fn now_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}
