//! Letting artifacts go: for want of space, for age, because they are damaged, or because somebody says so.
//!
//! **Order.** Input sets (when their unit has no other artifact), artifact, mark of a pending upload and blob records go in one transaction;
//! blob files go after that transaction is durable. A process that is killed in between leaves blobs that nothing refers to, never an
//! artifact without its blobs. Proven by `tests/it/crash.rs`.
//!
//! **What counts.** The limit is on what the store holds a name for. A blob that a target directory also links costs the disk nothing
//! today, but everything on the day after `cargo clean`; it counts in full, so the limit holds then too. What an eviction *really* freed
//! ([`GcReport::freed_bytes`]) leaves such blobs out. Shared blobs are freed with the last artifact that names them.

use crate::error::StoreError;
use crate::index::{ARTIFACTS, PENDING, USES, decode};
use crate::publish::{Ledger, uncount_unit};
use crate::removals::RemovedFor;
use crate::shelf::now_millis;
use crate::stamp::Look;
use crate::{Inner, Store};
use kache_model::{Artifact, ArtifactKey, BlobId};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Artifacts per transaction, so that publishing gets its turn in between.
const BATCH: usize = 64;

/// What may stay.
#[derive(Clone, Copy, Debug)]
pub struct GcLimit {
    /// Above this, artifacts go until 90 % of it are left.
    pub max_bytes: u64,
    /// Artifacts that weren't used for longer go in any case.
    pub max_age: Option<Duration>,
}

impl GcLimit {
    /// A last use before this is too long ago.
    pub(crate) fn oldest(&self, now_millis: u64) -> Option<u64> {
        self.max_age.map(|age| now_millis.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How much of `bytes` may be left.
    pub(crate) fn target(&self, bytes: u64) -> u64 {
        if bytes > self.max_bytes { self.max_bytes / 10 * 9 } else { u64::MAX }
    }
}

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Artifacts.
    pub artifacts: u64,
    /// By how much [`crate::Usage::bytes`] fell.
    pub removed_bytes: u64,
    /// How much of that the disk got back: blobs that nobody else links.
    pub freed_bytes: u64,
}

impl Store {
    /// Evicts until `limit` is met: least recently used first, pinned ones never. Calls at the same time take turns.
    ///
    /// # Errors
    /// What the index said.
    pub fn gc(&self, limit: GcLimit) -> Result<GcReport, StoreError> {
        let report = self.0.gc(limit)?;
        self.0.settle()?;
        Ok(report)
    }

    /// Lets these artifacts go, pinned or not; ones that there aren't are left out.
    ///
    /// # Errors
    /// What the index said.
    pub fn purge(&self, keys: &[ArtifactKey]) -> Result<GcReport, StoreError> {
        let report = self.0.purge(keys)?;
        self.0.settle()?;
        Ok(report)
    }

    /// Lets one artifact go that can't be restored, pinned or not. False if there was none.
    ///
    /// # Errors
    /// What the index said.
    pub fn evict(&self, key: &ArtifactKey) -> Result<bool, StoreError> {
        let _writer = self.0.writer();
        if self.0.shelf().artifact(key).is_none() {
            return Ok(false);
        }
        self.0.remove(&[*key], RemovedFor::Damage)?;
        Ok(true)
    }
}

impl Inner {
    pub(crate) fn gc(&self, limit: GcLimit) -> Result<GcReport, StoreError> {
        let _turn = self.keeper.collecting();
        let oldest = limit.oldest(now_millis());
        let before = self.shelf().bytes();
        let target = limit.target(before);
        let mut report = GcReport::default();
        let mut candidates = self.shelf().by_age().into_iter().peekable();
        loop {
            let _writer = self.writer();
            let batch = self.next_batch(&mut candidates, target, oldest);
            if batch.is_empty() {
                break;
            }
            report.artifacts += batch.len() as u64;
            report.freed_bytes += self.remove(&batch, RemovedFor::Room)?;
        }
        report.removed_bytes = before.saturating_sub(self.shelf().bytes());
        Ok(report)
    }

    fn purge(&self, keys: &[ArtifactKey]) -> Result<GcReport, StoreError> {
        let mut report = GcReport::default();
        for batch in keys.chunks(BATCH) {
            let _writer = self.writer();
            let before = self.shelf().bytes();
            let there: Vec<ArtifactKey> = batch.iter().filter(|key| self.shelf().artifact(key).is_some()).copied().collect();
            report.artifacts += there.len() as u64;
            report.freed_bytes += self.remove(&there, RemovedFor::Request)?;
            report.removed_bytes += before.saturating_sub(self.shelf().bytes());
        }
        Ok(report)
    }

    /// The next victims that are still there, unpinned and unused since the list was made.
    fn next_batch(
        &self,
        candidates: &mut std::iter::Peekable<impl Iterator<Item = (u64, ArtifactKey)>>,
        target: u64,
        oldest: Option<u64>,
    ) -> Vec<ArtifactKey> {
        let shelf = self.shelf();
        // Blobs may be shared, so what a victim frees is known when it is gone: small batches near the end.
        let excess = shelf.bytes().saturating_sub(target);
        let (mut batch, mut expected) = (Vec::new(), 0);
        while let Some((used, key)) = candidates.peek().copied() {
            let too_old = oldest.is_some_and(|oldest| used < oldest);
            if batch.len() == BATCH || !(too_old || expected < excess) {
                break;
            }
            candidates.next();
            if shelf.artifact(&key).is_some_and(|entry| entry.used == used) && !shelf.is_pinned(&key) {
                expected += self.disk_bytes(&shelf, &key);
                batch.push(key);
            }
        }
        batch
    }

    /// What an artifact takes at most.
    fn disk_bytes(&self, shelf: &crate::shelf::Shelf, key: &ArtifactKey) -> u64 {
        let blobs = self.outputs(key);
        blobs.iter().filter_map(|output| Some(shelf.blob(&output.blob)?.disk_bytes())).sum::<u64>()
            + shelf.artifact(key).map_or(0, |entry| u64::from(entry.row_bytes))
    }

    /// Removes artifacts from index and memory and hands their blobs to the keeper. The caller holds the writer's lock. Returns the bytes
    /// that the disk will get back.
    fn remove(&self, keys: &[ArtifactKey], why: RemovedFor) -> Result<u64, StoreError> {
        let mut ledger = Ledger::default();
        self.write(|transaction| {
            for key in keys {
                let row = transaction.open_table(ARTIFACTS)?.remove(key.0.as_bytes())?.map(|row| row.value().to_vec());
                // Of a damaged row nobody knows which blobs it named: they stay until the index is begun anew.
                if let Some(artifact) = row.and_then(|row| decode::<Artifact>("artifacts", &key.0, &row).ok()) {
                    uncount_unit(transaction, &artifact.unit)?;
                    for output in &artifact.outputs {
                        ledger.count(&self.shelf(), output.blob, -1);
                    }
                }
                transaction.open_table(PENDING)?.remove(key.0.as_bytes())?;
                transaction.open_table(USES)?.remove(key.0.as_bytes())?;
            }
            ledger.write(transaction)
        })?;
        let freed = {
            let mut shelf = self.shelf();
            keys.iter().for_each(|key| shelf.remove_artifact(key));
            ledger.apply(&mut shelf)
        };
        self.evicted.fetch_add(keys.len() as u64, Ordering::Relaxed);
        self.removals.note(keys, why);
        let bytes = freed.iter().map(|id| self.unshared_bytes(id)).sum();
        self.keeper.doom(freed);
        Ok(bytes)
    }

    pub(crate) fn unshared_bytes(&self, id: &BlobId) -> u64 {
        fs::symlink_metadata(self.layout.blob(id)).map_or(0, |there| if there.nlink() == 1 { there.blocks() * 512 } else { 0 })
    }

    /// A blob's bytes were found to be right, though its file looked different from its record.
    pub(crate) fn believe(&self, id: &BlobId, file: &Metadata) {
        let mut shelf = self.shelf();
        if let Some(entry) = shelf.blob(id).copied() {
            shelf.recheck(id, Look::settled(file), self.life.of_rechecked(entry.generation));
        }
    }

    /// A blob's file was linked or renamed by this store, and looked as recorded just before.
    pub(crate) fn relinked(&self, id: &BlobId, look: Look) {
        let mut shelf = self.shelf();
        if let Some(generation) = shelf.blob(id).map(|entry| entry.generation) {
            shelf.recheck(id, look, generation);
        }
    }

    /// A blob was found damaged while `key` was being restored: the artifact goes, and the blob isn't believed until it is hashed again. Others
    /// that name it find out when they are used; publishing the blob again heals it.
    pub(crate) fn condemn(&self, id: &BlobId, key: &ArtifactKey) {
        let _writer = self.writer();
        let there = fs::symlink_metadata(self.layout.blob(id)).ok();
        {
            let mut shelf = self.shelf();
            let healed =
                shelf.blob(id).is_some_and(|entry| there.is_some_and(|there| Look::of(&there) == entry.look && there.len() == entry.len));
            if healed || shelf.artifact(key).is_none() {
                return;
            }
            shelf.recheck(id, Look::UNTRUSTED, 0);
        }
        // Failing to forget it now means finding it damaged again.
        drop(self.remove(&[*key], RemovedFor::Damage));
    }
}
