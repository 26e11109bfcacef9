//! Where things lie under the cache directory. Every tree carries its format version in its name, so that two versions of kache never
//! read each other's files.
//!
//! Promises: everything is private to the user ([`crate::private`]), and the directory is tagged so that backup tools skip it.
//! Doesn't look inside blobs or the index.

use crate::error::{FileError, OpenError};
use crate::private;
use kache_model::BlobId;
use std::fs::{self, File, TryLockError};
use std::io;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# This directory holds what the kache build cache can make again.\n";

/// The paths of one store.
#[derive(Debug)]
pub(crate) struct Layout {
    dir: PathBuf,
    blobs: PathBuf,
    staging: PathBuf,
    next_name: AtomicU64,
}

impl Layout {
    /// Creates what is missing and takes the lock, which is held as long as the returned file lives.
    pub(crate) fn open(dir: &Path) -> Result<(Self, File), OpenError> {
        create_dir(dir)?;
        let lock = take_lock(dir)?;
        let layout =
            Self { dir: dir.to_owned(), blobs: dir.join("blobs-v1"), staging: dir.join("staging-v1"), next_name: AtomicU64::new(0) };
        create_dir(&layout.blobs)?;
        empty_staging(&layout.staging)?;
        let tag = dir.join("CACHEDIR.TAG");
        if !tag.exists() {
            let written = private::open_file(&tag).and_then(|mut file| file.write_all(TAG.as_bytes()));
            written.map_err(|source| FileError::new("write", &tag, source))?;
        }
        private::tighten(dir);
        Ok((layout, lock))
    }

    /// Whether `lock` is still the lock of this directory, and what is taken in has a place. What can't be found out is as it was.
    pub(crate) fn is_in_place(&self, lock: &File) -> bool {
        let gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        let ours = match (fs::metadata(lock_path(&self.dir)), lock.metadata()) {
            (Ok(there), Ok(ours)) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
            (there, _) => !there.is_err_and(gone),
        };
        ours && !fs::metadata(&self.staging).is_err_and(gone)
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.dir.join("index-v1.redb")
    }

    pub(crate) fn blobs(&self) -> &Path {
        &self.blobs
    }

    pub(crate) fn blob(&self, id: &BlobId) -> PathBuf {
        let hex = id.0.to_hex();
        self.blobs.join(&hex[..2]).join(hex)
    }

    /// A name in the staging directory that nobody else has.
    pub(crate) fn staging_name(&self) -> PathBuf {
        self.staging.join(self.next_name.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

/// Creates `dir` and its parents, private to the user.
pub(crate) fn create_dir(dir: &Path) -> Result<(), FileError> {
    private::create_dir(dir).map_err(|source| FileError::new("create", dir, source))
}

fn lock_path(dir: &Path) -> PathBuf {
    dir.join("lock")
}

fn take_lock(dir: &Path) -> Result<File, OpenError> {
    let path = lock_path(dir);
    let fail = |source| FileError::new("lock", &path, source);
    let file = private::open_file(&path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Busy { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(fail(source).into()),
    }
}

/// What lies there was being taken in when the last process ended; nothing refers to it.
fn empty_staging(dir: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(dir) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(FileError::new("empty", dir, source)),
        _ => {}
    }
    create_dir(dir)
}
