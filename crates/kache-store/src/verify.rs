//! Hashing everything again, while the store is in use.
//!
//! Promises: what is published or evicted meanwhile gives no false finding. Files that nothing refers to are counted, not blamed: a killed process
//! may leave them, and they are swept.

use crate::error::{Damage, StoreError};
use crate::index::{ARTIFACTS, decode};
use crate::stage::hash_file;
use crate::{Inner, Store};
use kache_model::{Artifact, ArtifactKey, BlobId, Digest};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io;

/// What to do about findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Only say so.
    No,
    /// Evict the artifacts concerned.
    Evict,
}

/// Something that isn't as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A blob's file disagrees with its name.
    Blob {
        /// The blob.
        blob: BlobId,
        /// How.
        damage: Damage,
    },
    /// A blob's file couldn't be read.
    Unreadable {
        /// The blob.
        blob: BlobId,
        /// What the system said.
        error: String,
    },
    /// An artifact names a blob that is damaged or that the index doesn't have with that length.
    Artifact {
        /// The artifact.
        key: ArtifactKey,
        /// The blob.
        blob: BlobId,
    },
    /// An artifact's row in the index is damaged.
    Row {
        /// The artifact.
        key: ArtifactKey,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob { blob, damage } => write!(f, "blob {blob}: {damage}"),
            Self::Unreadable { blob, error } => write!(f, "blob {blob}: {error}"),
            Self::Artifact { key, blob } => write!(f, "artifact {key}: no good blob {blob}"),
            Self::Row { key } => write!(f, "artifact {key}: damaged row"),
        }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyProgress {
    /// Blobs hashed.
    pub blobs: u64,
    /// Blobs to hash.
    pub all_blobs: u64,
    /// Bytes hashed.
    pub bytes: u64,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Artifacts looked at.
    pub artifacts: u64,
    /// Blobs hashed.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that no artifact names; swept in time.
    pub orphans: u64,
    /// Artifacts evicted.
    pub evicted: u64,
    /// What is wrong; empty is good.
    pub findings: Vec<Finding>,
}

impl Store {
    /// Hashes every blob and checks that each artifact's blobs are there.
    ///
    /// # Errors
    /// What the index said; damage is a finding, not an error.
    pub fn verify(&self, repair: Repair, progress: &mut dyn FnMut(VerifyProgress)) -> Result<VerifyReport, StoreError> {
        let mut report = VerifyReport { orphans: self.0.count_orphans(), ..VerifyReport::default() };
        let bad = self.0.verify_blobs(&mut report, progress);
        let victims = self.0.verify_artifacts(&bad, &mut report)?;
        if repair == Repair::Evict {
            for key in victims {
                report.evicted += u64::from(self.evict(&key)?);
            }
            self.flush()?;
        }
        Ok(report)
    }
}

impl Inner {
    fn verify_blobs(&self, report: &mut VerifyReport, progress: &mut dyn FnMut(VerifyProgress)) -> HashSet<BlobId> {
        let ids = self.shelf().blob_ids();
        let all_blobs = ids.len() as u64;
        let mut bad = HashSet::new();
        for id in ids {
            let finding = match self.hash_blob(&id) {
                Ok((found, len)) => {
                    report.bytes += len;
                    let recorded = self.shelf().blob(&id).map_or(len, |entry| entry.len);
                    let damage = if recorded != len { Damage::Length } else { Damage::Content };
                    (found != id).then_some(Finding::Blob { blob: id, damage })
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Finding::Blob { blob: id, damage: Damage::Missing }),
                Err(error) => Some(Finding::Unreadable { blob: id, error: error.to_string() }),
            };
            report.blobs += 1;
            // An eviction may have come first.
            if let Some(finding) = finding.filter(|_| self.shelf().blob(&id).is_some()) {
                report.findings.push(finding);
                bad.insert(id);
            }
            progress(VerifyProgress { blobs: report.blobs, all_blobs, bytes: report.bytes });
        }
        bad
    }

    fn hash_blob(&self, id: &BlobId) -> io::Result<(BlobId, u64)> {
        hash_file(&File::open(self.layout.blob(id))?, None, &mut |_| {})
    }

    /// Returns the artifacts that can't be restored.
    fn verify_artifacts(&self, bad: &HashSet<BlobId>, report: &mut VerifyReport) -> Result<Vec<ArtifactKey>, StoreError> {
        let mut victims = Vec::new();
        let keys = self.shelf().by_age();
        for (_, key) in keys {
            let artifact = self.read(|transaction| {
                let table = transaction.open_table(ARTIFACTS)?;
                let row = table.get(key.0.as_bytes())?;
                Ok(row.map(|row| decode::<Artifact>("artifacts", &key.0, row.value()).ok()))
            })?;
            report.artifacts += 1;
            let finding = match artifact {
                Some(Some(artifact)) => self.lacking(&artifact, bad).map(|blob| Finding::Artifact { key, blob }),
                Some(None) | None => Some(Finding::Row { key }),
            };
            if let Some(finding) = finding.filter(|_| self.shelf().artifact(&key).is_some()) {
                report.findings.push(finding);
                victims.push(key);
            }
        }
        Ok(victims)
    }

    fn lacking(&self, artifact: &Artifact, bad: &HashSet<BlobId>) -> Option<BlobId> {
        let shelf = self.shelf();
        let lens: HashMap<BlobId, u64> = artifact.outputs.iter().map(|output| (output.blob, output.len)).collect();
        let good = |(id, len): &(&BlobId, &u64)| !bad.contains(id) && shelf.blob(id).is_some_and(|entry| entry.len == **len);
        lens.iter().find(|pair| !good(pair)).map(|(id, _)| *id)
    }

    fn count_orphans(&self) -> u64 {
        let dirs = fs::read_dir(self.layout.blobs()).into_iter().flatten().flatten();
        let names = dirs.flat_map(|dir| fs::read_dir(dir.path()).into_iter().flatten().flatten());
        let ids = names.filter_map(|entry| entry.file_name().to_str()?.parse::<Digest>().ok()).map(BlobId);
        ids.filter(|id| self.shelf().blob(id).is_none()).count() as u64
    }
}
