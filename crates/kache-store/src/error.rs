//! What can go wrong, in words for an operator. A miss is never in here: it is `Ok(None)`.

use kache_model::{ArtifactKey, BlobId};
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// The store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("another kached uses {}; stop it, or choose another cache directory", dir.display())]
    Busy {
        /// The cache directory.
        dir: PathBuf,
    },
    /// Written by a later version.
    #[error("{} was written by a later version of kache (format {found}, this one reads {known}); use that version, or remove the file", path.display())]
    Newer {
        /// The index.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The index is damaged and can't be set aside either.
    #[error("{} is damaged and could not be set aside; remove it: the cache starts empty", path.display())]
    Corrupt {
        /// The index.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: Box<redb::Error>,
    },
    /// The filesystem refused.
    #[error(transparent)]
    Io(#[from] FileError),
}

/// A file operation failed.
#[derive(Debug, thiserror::Error)]
#[error("can't {doing} {}", path.display())]
pub struct FileError {
    /// The verb: `create`, `read`, …
    pub doing: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl FileError {
    pub(crate) fn new(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self { doing, path: path.to_owned(), source: source.into() }
    }
}

/// A question to the store, or a change of it, failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The filesystem refused: no space, no permission, too many open files.
    #[error(transparent)]
    Io(#[from] FileError),
    /// The index refused.
    #[error("the index {} failed", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: Box<redb::Error>,
    },
    /// A row of the index doesn't hold what was written there.
    #[error("the index holds a damaged row for {key} in {table}")]
    Row {
        /// The table.
        table: &'static str,
        /// The row's key.
        key: String,
    },
    /// A file was written to while it was being taken in.
    #[error("{} changed while it was being stored", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Not a regular file.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// An artifact was published without the bytes of one of its outputs.
    #[error("artifact {key} names blob {blob}, which is neither stored nor handed in")]
    BlobNotGiven {
        /// The artifact.
        key: ArtifactKey,
        /// The blob.
        blob: BlobId,
    },
}

/// An output couldn't be put in place.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The blob is gone or holds other bytes. It and the artifact have been evicted: treat as a miss.
    #[error("blob {blob} of artifact {key} is damaged ({what}) and was evicted")]
    Damaged {
        /// The artifact.
        key: ArtifactKey,
        /// The blob.
        blob: BlobId,
        /// In which way.
        what: Damage,
    },
    /// The filesystem refused; the store is as it was.
    #[error(transparent)]
    Io(#[from] FileError),
}

/// How a blob disagrees with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// No file.
    Missing,
    /// Another number of bytes.
    Length,
    /// Other bytes.
    Content,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Length => "wrong length",
            Self::Content => "wrong bytes",
        })
    }
}
