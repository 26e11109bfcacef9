//! Putting outputs in place: the one function that decides how, and reports what it did.
//!
//! Promises:
//! - Nothing appears under its final name before it is complete, closed and has its mode; landing is a rename, so a read-only leftover is
//!   no obstacle and an open file isn't written into.
//! - The mtime of an inode that the store shares is never moved; every inode made here is stamped by the kernel's clock.
//! - A blob is looked at before each use (size, mtime, ctime and inode against the record, the bytes if these differ). Wrong bytes are a miss.
//!   What the store's own links and renames do to the ctime is recorded as they are made.
//! - Running out of descriptors, space or permission is an error of the filesystem, never taken for damage.
//!
//! The caller stages all outputs of an artifact before it lands the first, and keeps its own spawns of processes apart from staging:
//! an open write descriptor inherited by a child would make a freshly placed program busy (ETXTBSY).

use crate::copy::{copy, create_new, finish, is_refusal};
use crate::error::{Damage, FileError, PlaceError};
use crate::stage::hash_file;
use crate::stamp::{Look, stamp};
use crate::{Held, Inner, Store};
use kache_model::{BlobId, FileStamp};
use rustix::fs::{AtFlags, CWD, linkat};
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// What kind of inode the caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// May be the store's own inode, with whatever mtime that has.
    Share,
    /// An inode of its own, stamped now.
    Own,
}

/// What was really done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlacedHow {
    /// A new inode that shares the bytes.
    Reflink,
    /// The store's inode under another name.
    Hardlink,
    /// A new inode with a copy.
    Copy,
}

/// An output in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// By which way.
    pub how: PlacedHow,
    /// Its length.
    pub bytes: u64,
    /// What a stat says now.
    pub stamp: FileStamp,
}

/// An output that is ready under a temporary name beside its destination. Dropping it removes the file.
#[derive(Debug)]
pub struct Staged {
    /// Empty if the destination is the store's inode already.
    temporary: Temporary,
    dest: PathBuf,
    how: PlacedHow,
    bytes: u64,
    /// Of a hard link: whose.
    blob: Option<(Arc<Inner>, BlobId)>,
}

/// Removed when dropped; an empty path is nothing.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            drop(fs::remove_file(&self.0));
        }
    }
}

impl Staged {
    /// Renames it to its destination.
    ///
    /// # Errors
    /// [`PlaceError::Io`]; the destination is as it was.
    pub fn land(mut self) -> Result<Placed, PlaceError> {
        if !self.temporary.0.as_os_str().is_empty() {
            match &self.blob {
                Some((inner, id)) => inner.move_link(id, &self.temporary.0, &self.dest),
                None => fs::rename(&self.temporary.0, &self.dest),
            }
            .map_err(|source| FileError::new("rename to", &self.dest, source))?;
            // Renaming one link of an inode over another leaves both in place: then the temporary name still has to go.
            if self.how != PlacedHow::Hardlink {
                self.temporary.0 = PathBuf::new();
            }
        }
        let stamp = stamp(&self.dest).map_err(|source| FileError::new("stat", &self.dest, source))?;
        Ok(Placed { how: self.how, bytes: self.bytes, stamp })
    }
}

impl Store {
    /// [`Store::stage_out`] and [`Staged::land`] in one, for artifacts with one output.
    ///
    /// # Errors
    /// See [`Store::stage_out`].
    pub fn place(&self, held: &Held, output_index: usize, dest: &Path, placement: Placement, mode: u32) -> Result<Placed, PlaceError> {
        self.stage_out(held, output_index, dest, placement, mode)?.land()
    }

    /// The `output_index`-th output's bytes, checked as before every use.
    ///
    /// # Errors
    /// See [`Store::stage_out`].
    ///
    /// # Panics
    /// If the artifact has no such output.
    pub fn open_output(&self, held: &Held, output_index: usize) -> Result<File, PlaceError> {
        let output = &held.artifact().outputs[output_index];
        let job = Job { inner: &self.0, held, id: output.blob, path: self.0.layout.blob(&output.blob), mode: 0 };
        let file = File::open(&job.path).map_err(|error| job.fault("open", error))?;
        let _turn = self.0.turn(&output.blob);
        job.check(&file, output.len)?;
        Ok(file)
    }

    /// Prepares the `output_index`-th output of `held` for `dest`, whose directory must exist. `mode` is the permission bits that the file
    /// shall have, umask already applied; where the store's inode has others and is in use elsewhere, a copy is made instead of a link.
    ///
    /// # Errors
    /// [`PlaceError::Damaged`] is a miss; the artifact is gone from the store. [`PlaceError::Io`] names the path that was refused.
    ///
    /// # Panics
    /// If the artifact has no such output.
    pub fn stage_out(&self, held: &Held, output_index: usize, dest: &Path, placement: Placement, mode: u32) -> Result<Staged, PlaceError> {
        let output = &held.artifact().outputs[output_index];
        let job = Job { inner: &self.0, held, id: output.blob, path: self.0.layout.blob(&output.blob), mode: mode & 0o7777 };
        job.stage(dest, placement, output.len)
    }
}

/// One output on its way out.
struct Job<'a> {
    inner: &'a Arc<Inner>,
    held: &'a Held,
    id: BlobId,
    path: PathBuf,
    mode: u32,
}

impl Job<'_> {
    fn stage(&self, dest: &Path, placement: Placement, len: u64) -> Result<Staged, PlaceError> {
        let dir = dest.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let device = fs::metadata(dir).map_err(|source| FileError::new("stat", dir, source))?.dev();
        let temporary = Temporary(dir.join(temporary_name()));
        let staged = |temporary, how| {
            let blob = (how == PlacedHow::Hardlink).then(|| (Arc::clone(self.inner), self.id));
            Ok(Staged { temporary, dest: dest.to_owned(), how, bytes: len, blob })
        };
        let mut turn = Some(self.inner.turn(&self.id));
        if placement == Placement::Share && !self.inner.reflinks.may_work_on(device) {
            let blob = self.checked_by_name(len)?;
            if blob.dev() == device && fs::symlink_metadata(dest).is_ok_and(|there| (there.dev(), there.ino()) == (blob.dev(), blob.ino()))
            {
                return staged(Temporary(PathBuf::new()), PlacedHow::Hardlink);
            }
            if self.link(&blob, &temporary.0)? {
                return staged(temporary, PlacedHow::Hardlink);
            }
        }
        let source = File::open(&self.path).map_err(|error| self.fault("open", error))?;
        let recorded = self.check(&source, len)?;
        let cloned = self.inner.reflinks.new_clone(&source, &temporary.0, device);
        let how = match cloned.map_err(|error| FileError::new("write", &temporary.0, error))? {
            Some(file) => {
                finish(file, self.mode).map_err(|error| FileError::new("write", &temporary.0, error))?;
                PlacedHow::Reflink
            }
            None if placement == Placement::Share && self.link(&recorded, &temporary.0)? => PlacedHow::Hardlink,
            None => {
                // Copies take their time, and touch nothing.
                drop(turn.take());
                self.copy(&source, &temporary.0, len)?;
                PlacedHow::Copy
            }
        };
        if how != PlacedHow::Hardlink {
            drop(turn);
            self.check_unmoved(&source, &recorded, len)?;
        }
        staged(temporary, how)
    }

    /// False where a copy must do: another device, no more links, a filesystem or a policy without them, or permission bits that
    /// somebody else's link has.
    fn link(&self, blob: &Metadata, to: &Path) -> Result<bool, PlaceError> {
        use rustix::io::Errno;
        let fits = blob.mode() & 0o7777 == self.mode
            || (blob.nlink() == 1 && fs::set_permissions(&self.path, Permissions::from_mode(self.mode)).is_ok());
        if !fits {
            return Ok(false);
        }
        let linked = linkat(CWD, &self.path, CWD, to, AtFlags::empty());
        match linked {
            Ok(()) => {
                // The check is microseconds old; only its ctime, and with a new mode that of before, may differ.
                let now = fs::symlink_metadata(to).map_err(|source| FileError::new("stat", to, source))?;
                let (before, after) = (Look::of(blob), Look::of(&now));
                if before.but_for_ctime(&after) && self.as_recorded(blob, blob.size()) {
                    self.inner.relinked(&self.id, after);
                }
                Ok(true)
            }
            Err(Errno::MLINK) => Ok(false),
            Err(error) if is_refusal(&error.into()) => Ok(false),
            Err(error) => Err(FileError::new("link", to, error).into()),
        }
    }

    fn copy(&self, source: &File, to: &Path, len: u64) -> Result<(), PlaceError> {
        let fail = |error| FileError::new("write", to, error);
        let target = create_new(to).map_err(fail)?;
        let copied = copy(source, &target, len).map_err(fail)?;
        finish(target, self.mode).map_err(fail)?;
        if copied == len { Ok(()) } else { Err(self.damaged(Damage::Length)) }
    }

    fn checked_by_name(&self, len: u64) -> Result<Metadata, PlaceError> {
        let metadata = fs::symlink_metadata(&self.path).map_err(|error| self.fault("stat", error))?;
        if self.as_recorded(&metadata, len) {
            return Ok(metadata);
        }
        let file = File::open(&self.path).map_err(|error| self.fault("open", error))?;
        self.check(&file, len)
    }

    fn as_recorded(&self, metadata: &Metadata, len: u64) -> bool {
        let entry = self.inner.shelf().blob(&self.id).copied();
        metadata.is_file() && metadata.size() == len && entry.is_some_and(|entry| entry.len == len && entry.look == Look::of(metadata))
    }

    /// Compares with the record, and hashes if that differs.
    fn check(&self, file: &File, len: u64) -> Result<Metadata, PlaceError> {
        let fail = |error| self.fault("read", error);
        let metadata = file.metadata().map_err(fail)?;
        if self.as_recorded(&metadata, len) {
            return Ok(metadata);
        }
        if !metadata.is_file() || metadata.size() != len {
            return Err(self.damaged(Damage::Length));
        }
        // Through a descriptor of its own, so that the caller's stays at the start.
        let again = File::open(&self.path).map_err(fail)?;
        self.inner.rehashed.fetch_add(1, Ordering::Relaxed);
        let (found, _) = hash_file(&again, None, &mut |_| {}).map_err(fail)?;
        if found != self.id {
            return Err(self.damaged(Damage::Content));
        }
        self.inner.believe(&self.id, &metadata);
        Ok(metadata)
    }

    /// Somebody may have written to the blob between the check and the end of the copy, or linked it.
    fn check_unmoved(&self, source: &File, before: &Metadata, len: u64) -> Result<(), PlaceError> {
        let after = source.metadata().map_err(|error| self.fault("stat", error))?;
        let (was, is) = (Look::of(before), Look::of(&after));
        if after.size() != before.size() || is.mtime != was.mtime {
            return Err(self.damaged(Damage::Content));
        }
        if is.ctime != was.ctime {
            let _turn = self.inner.turn(&self.id);
            self.check(source, len)?;
        }
        Ok(())
    }

    /// A missing blob is damage, everything else is the filesystem's.
    fn fault(&self, doing: &'static str, error: io::Error) -> PlaceError {
        if error.kind() == io::ErrorKind::NotFound {
            self.damaged(Damage::Missing)
        } else {
            FileError::new(doing, &self.path, error).into()
        }
    }

    fn damaged(&self, what: Damage) -> PlaceError {
        self.inner.condemn(&self.id, self.held.key());
        PlaceError::Damaged { key: *self.held.key(), blob: self.id, what }
    }
}

/// A name for a file that is about to be renamed. No two of this process are alike; other processes have another number, or, where one comes
/// again (in a container each daemon may have the same), began at another time. What a killed one left is in nobody's way.
pub fn temporary_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static BEGAN: OnceLock<u128> = OnceLock::new();
    let since = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos());
    let began = BEGAN.get_or_init(since);
    format!(".kache-{}-{began:x}-{}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
