//! Taking an artifact in.
//!
//! **Order.** Blobs (renamed into place), then in one transaction: the mark of a pending upload, the artifact, its input set. A reader that
//! finds a set or an artifact therefore finds all that it leads to, and a process that is killed in between leaves at most blobs that
//! nothing refers to; they are swept after the next start. Proven by `tests/it/crash.rs`.
//!
//! No fsync here: the commit is visible at once and durable within moments, by the keeper's thread.

use crate::error::{FileError, StoreError};
use crate::index::{ARTIFACTS, BLOBS, Fault, LOOKS, OUTLINES, PENDING, SETS, UNITS, USES, decode, encode};
use crate::layout::create_dir;
use crate::sets;
use crate::shelf::{BlobEntry, Entry, Shelf, now_millis};
use crate::stage::StagedBlob;
use crate::stamp::Look;
use crate::{Inner, Store};
use kache_model::{Artifact, ArtifactKey, BlobId, InputSet, UnitKey, UnitOutline, Witness};
use redb::{ReadableTable, WriteTransaction};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;

/// One artifact with all that makes it findable.
#[derive(Debug)]
pub struct Publication {
    /// Its key.
    pub key: ArtifactKey,
    /// The unit.
    pub unit: UnitKey,
    /// What may be told of what the unit key was made from.
    pub outline: UnitOutline,
    /// What the compile was seen to read.
    pub set: InputSet,
    /// Who saw it.
    pub witness: Witness,
    /// The result.
    pub artifact: Artifact,
    /// The bytes of its outputs; ones that the store has already may be left out.
    pub blobs: Vec<StagedBlob>,
    /// Whether it is to be uploaded, with a byte that the caller wants back from [`Store::pending_uploads`].
    pub pending_upload: Option<u8>,
}

impl Store {
    /// Stores an artifact, replacing one with the same key.
    ///
    /// # Errors
    /// [`StoreError::BlobNotGiven`], or what disk and index said; then the store is as it was before.
    pub fn publish(&self, new: Publication) -> Result<(), StoreError> {
        self.0.publish(new)?;
        if self.0.shelf().bytes() > self.0.max_bytes() {
            self.0.keeper.want_gc();
        }
        Ok(())
    }

    /// Adds an input set to a unit that has artifacts, or moves one that it has to the front. Does nothing for other units. It is a hint, so it is
    /// left with the keeper: a hit doesn't wait for the index, which may be on its way to the disk. Nobody has seen what is only preferred: a new set
    /// counts as the bucket's.
    pub fn prefer_set(&self, unit: &UnitKey, set: InputSet) {
        self.0.keeper.enqueue(|queue| queue.prefer(*unit, set));
    }
}

/// Puts the sets in front, the last one first.
pub(crate) fn prefer_sets(transaction: &WriteTransaction, preferred: &[(UnitKey, InputSet)]) -> Result<(), Fault> {
    let units = transaction.open_table(UNITS)?;
    for (unit, set) in preferred {
        if units.get(unit.0.as_bytes())?.is_some() {
            sets::put(transaction, unit, set, Witness::Bucket)?;
        }
    }
    Ok(())
}

impl Inner {
    fn publish(&self, new: Publication) -> Result<(), StoreError> {
        let Publication { key, unit, outline, set, witness, artifact, blobs, pending_upload } = new;
        let _writer = self.writer();
        let mut ledger = Ledger::default();
        let mut brought = Brought { inner: self, files: Vec::new() };
        let wanted: HashSet<BlobId> = artifact.outputs.iter().map(|output| output.blob).collect();
        for blob in blobs {
            if wanted.contains(&blob.id()) {
                self.shelve(blob, &mut ledger, &mut brought)?;
            }
        }
        for output in &artifact.outputs {
            let known = ledger.count(&self.shelf(), output.blob, 1);
            if known.is_none_or(|entry| entry.len != output.len) {
                return Err(StoreError::BlobNotGiven { key, blob: output.blob });
            }
        }
        let used = now_millis();
        let entry = self.write(|transaction| {
            if let Some(note) = pending_upload {
                transaction.open_table(PENDING)?.insert(key.0.as_bytes(), note)?;
            }
            let row = encode(&key.0, &(&artifact, set.id(), &artifact.linked))?;
            let entry = Entry { used, row_bytes: u32::try_from(row.len()).unwrap_or(u32::MAX) };
            let old = put_artifact(transaction, &key, &row)?;
            transaction.open_table(USES)?.insert(key.0.as_bytes(), (entry.used, entry.row_bytes))?;
            for output in old.iter().flat_map(|old| &old.outputs) {
                ledger.count(&self.shelf(), output.blob, -1);
            }
            ledger.write(transaction)?;
            count_unit(transaction, &unit, old.as_ref())?;
            let mut outlines = transaction.open_table(OUTLINES)?;
            if outlines.get(unit.0.as_bytes())?.is_none() {
                outlines.insert(unit.0.as_bytes(), encode(&unit.0, &outline)?.as_slice())?;
            }
            sets::put(transaction, &unit, &set, witness)?;
            Ok(entry)
        })?;
        brought.files.clear();
        let mut shelf = self.shelf();
        shelf.put_artifact(key, entry);
        self.keeper.doom(ledger.apply(&mut shelf));
        Ok(())
    }

    /// Moves a staged file among the blobs, unless a good one is there already.
    fn shelve(&self, blob: StagedBlob, ledger: &mut Ledger, brought: &mut Brought<'_>) -> Result<(), StoreError> {
        let id = blob.id();
        let path = self.layout.blob(&id);
        let known = ledger.entry(&self.shelf(), &id);
        if let Some(entry) = known {
            let there = fs::symlink_metadata(&path).ok();
            // A ctime that isn't recorded yet may be a link of our own that is being made; if it isn't, the next use finds out.
            if there.is_some_and(|there| there.is_file() && there.len() == entry.len && Look::of(&there).but_for_ctime(&entry.look)) {
                return Ok(());
            }
        }
        let len = blob.len();
        let dir = path.parent().unwrap_or(self.layout.blobs()).to_owned();
        if !dir.is_dir() {
            create_dir(&dir)?;
        }
        let look = blob.move_to(&path).map_err(|source| FileError::new("move a blob to", &path, source))?;
        if known.is_none() {
            brought.files.push(id);
        }
        ledger.set(id, BlobEntry { len, look, generation: self.life.generation, refs: known.map_or(0, |entry| entry.refs) });
        Ok(())
    }
}

/// Blobs that this publication brought; removed again if it fails.
struct Brought<'a> {
    inner: &'a Inner,
    files: Vec<BlobId>,
}

impl Drop for Brought<'_> {
    fn drop(&mut self) {
        for id in &self.files {
            match fs::remove_file(self.inner.layout.blob(id)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => self.inner.keeper.doom([*id]),
                _ => {}
            }
        }
    }
}

/// Blob records on their way from what they are to what a transaction makes them.
#[derive(Debug, Default)]
pub(crate) struct Ledger(HashMap<BlobId, BlobEntry>);

impl Ledger {
    fn entry(&self, shelf: &Shelf, id: &BlobId) -> Option<BlobEntry> {
        self.0.get(id).or_else(|| shelf.blob(id)).copied()
    }

    fn set(&mut self, id: BlobId, entry: BlobEntry) {
        self.0.insert(id, entry);
    }

    /// Adds references; `None` if the blob isn't known.
    pub(crate) fn count(&mut self, shelf: &Shelf, id: BlobId, by: i32) -> Option<BlobEntry> {
        let mut entry = self.entry(shelf, &id)?;
        entry.refs = entry.refs.saturating_add_signed(by);
        self.set(id, entry);
        Some(entry)
    }

    /// Writes the rows; ones without references go.
    pub(crate) fn write(&self, transaction: &WriteTransaction) -> Result<(), Fault> {
        let (mut blobs, mut looks) = (transaction.open_table(BLOBS)?, transaction.open_table(LOOKS)?);
        for (id, entry) in &self.0 {
            if entry.refs == 0 {
                blobs.remove(id.0.as_bytes())?;
                looks.remove(id.0.as_bytes())?;
            } else {
                let (row, look) = entry.rows();
                blobs.insert(id.0.as_bytes(), row)?;
                looks.insert(id.0.as_bytes(), look)?;
            }
        }
        Ok(())
    }

    /// Brings memory to the same state, after the commit. Returns the blobs whose files can go.
    pub(crate) fn apply(self, shelf: &mut Shelf) -> Vec<BlobId> {
        let mut freed = Vec::new();
        for (id, entry) in self.0 {
            if entry.refs == 0 {
                shelf.remove_blob(&id);
                freed.push(id);
            } else {
                shelf.put_blob(id, entry);
            }
        }
        freed
    }
}

/// Writes an artifact's row; returns the artifact that it replaces.
fn put_artifact(transaction: &WriteTransaction, key: &ArtifactKey, row: &[u8]) -> Result<Option<Artifact>, Fault> {
    let mut table = transaction.open_table(ARTIFACTS)?;
    let old = table.insert(key.0.as_bytes(), row)?;
    Ok(old.and_then(|old| decode("artifacts", &key.0, old.value()).ok()))
}

/// Counts the unit's artifact, unless it replaces one of the same unit.
fn count_unit(transaction: &WriteTransaction, unit: &UnitKey, old: Option<&Artifact>) -> Result<(), Fault> {
    match old {
        Some(old) if old.unit == *unit => return Ok(()),
        Some(old) => uncount_unit(transaction, &old.unit)?,
        None => {}
    }
    let mut units = transaction.open_table(UNITS)?;
    let count = units.get(unit.0.as_bytes())?.map_or(0, |row| row.value());
    units.insert(unit.0.as_bytes(), count + 1)?;
    Ok(())
}

/// Takes one artifact from the unit; with the last one, all that is known about the unit goes.
pub(crate) fn uncount_unit(transaction: &WriteTransaction, unit: &UnitKey) -> Result<(), Fault> {
    let key = unit.0.as_bytes();
    let mut units = transaction.open_table(UNITS)?;
    let count = units.get(key)?.map_or(0, |row| row.value());
    if count > 1 {
        units.insert(key, count - 1)?;
        return Ok(());
    }
    transaction.open_table(SETS)?.remove(key)?;
    transaction.open_table(OUTLINES)?.remove(key)?;
    units.remove(key)?;
    Ok(())
}
