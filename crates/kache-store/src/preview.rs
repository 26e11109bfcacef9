//! What an eviction would do, told before it is done.
//!
//! Promises: changes nothing, and marks nothing as used. What is pinned, published or used meanwhile makes the real one differ.

use crate::index::{ARTIFACTS, decode};
use crate::shelf::now_millis;
use crate::{GcLimit, GcReport, Inner, Store};
use kache_model::{Artifact, ArtifactKey, BlobId, Output};
use std::collections::HashMap;

impl Store {
    /// What [`Store::gc`] would let go now.
    pub fn gc_preview(&self, limit: GcLimit) -> GcReport {
        let (usage, aged) = (self.usage(), limit.oldest(now_millis()));
        let target = limit.target(usage.bytes);
        let mut going = Going::of(&self.0);
        let all = self.0.shelf().by_age();
        for (used, key) in all {
            let too_old = aged.is_some_and(|oldest| used < oldest);
            if !too_old && usage.bytes.saturating_sub(going.report.removed_bytes) <= target {
                break;
            }
            if !self.0.shelf().is_pinned(&key) {
                going.add(&key);
            }
        }
        going.report
    }

    /// What [`Store::purge`] would let go now.
    pub fn purge_preview(&self, keys: &[ArtifactKey]) -> GcReport {
        let mut going = Going::of(&self.0);
        keys.iter().for_each(|key| going.add(key));
        going.report
    }
}

impl Inner {
    /// An artifact's outputs; none of one that is gone or can't be read.
    pub(crate) fn outputs(&self, key: &ArtifactKey) -> Vec<Output> {
        let outputs = self.index.read(|transaction| {
            let table = transaction.open_table(ARTIFACTS)?;
            let row = table.get(key.0.as_bytes())?;
            let artifact = row.and_then(|row| decode::<Artifact>("artifacts", &key.0, row.value()).ok());
            Ok(artifact.map_or(Vec::new(), |artifact| artifact.outputs))
        });
        outputs.unwrap_or_default()
    }
}

/// Artifacts that would go. A blob goes with the last output that names it.
struct Going<'a> {
    inner: &'a Inner,
    dropped: HashMap<BlobId, u32>,
    report: GcReport,
}

impl<'a> Going<'a> {
    fn of(inner: &'a Inner) -> Self {
        Self { inner, dropped: HashMap::new(), report: GcReport::default() }
    }

    fn add(&mut self, key: &ArtifactKey) {
        let Some(entry) = self.inner.shelf().artifact(key).copied() else { return };
        self.report.artifacts += 1;
        self.report.removed_bytes += u64::from(entry.row_bytes);
        for output in self.inner.outputs(key) {
            let dropped = self.dropped.entry(output.blob).or_insert(0);
            *dropped += 1;
            let blob = self.inner.shelf().blob(&output.blob).copied();
            if let Some(blob) = blob.filter(|blob| blob.refs == *dropped) {
                self.report.removed_bytes += blob.disk_bytes();
                self.report.freed_bytes += self.inner.unshared_bytes(&output.blob);
            }
        }
    }
}
