//! Taking files in: link or copy into the staging directory, hash in one pass, and hold the result until it is published or dropped.
//!
//! Promises: what is published is what was hashed, unless somebody writes to the file afterwards, which the check before each use
//! notices; a file that moves *during* the hash is refused. A dropped [`StagedBlob`] leaves nothing behind.

use crate::copy::{CHUNK, create_new, is_refusal};
use crate::error::{FileError, StoreError};
use crate::stamp::{Look, mtime_of};
use crate::{Inner, Store};
use kache_model::{BlobId, Digest};
use rustix::fs::{AtFlags, CWD, linkat};
use sha2::Digest as _;
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How a file is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// By hard link: for files that their maker replaces by rename and nobody writes to (rustc's `.rlib`). Falls back to a copy.
    Link,
    /// By an inode of the store's own.
    Copy,
}

/// A file in the staging directory, hashed. Dropping it removes the file.
#[derive(Debug)]
pub struct StagedBlob {
    id: BlobId,
    len: u64,
    executable: bool,
    /// What to record for it: untrusted if a write could still hide in the clock's current tick.
    look: Look,
    file: StagedFile,
}

impl StagedBlob {
    /// Its name.
    pub fn id(&self) -> BlobId {
        self.id
    }

    /// Its bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes; that is legal.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether its owner may execute it.
    pub fn executable(&self) -> bool {
        self.executable
    }

    /// Moves the file to its place among the blobs. Returns what to record for it: as it looks there, if nobody touched it since it was hashed.
    pub(crate) fn move_to(mut self, path: &Path) -> io::Result<Look> {
        let untouched = Look::of(&fs::symlink_metadata(&self.file.0)?) == self.look;
        fs::rename(&self.file.0, path)?;
        self.file.0 = PathBuf::new();
        if untouched { Ok(Look::of(&fs::symlink_metadata(path)?)) } else { Ok(Look::UNTRUSTED) }
    }
}

/// Removes the file when dropped.
#[derive(Debug)]
struct StagedFile(PathBuf);

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            drop(fs::remove_file(&self.0));
        }
    }
}

impl Store {
    /// Takes a copy of, or a link to, the file at `source` and hashes it, calling `observe` with each chunk of bytes in order.
    ///
    /// # Errors
    /// [`StoreError::Changed`] if it was written to meanwhile, [`StoreError::NotAFile`], or what the filesystem said.
    pub fn stage(&self, source: &Path, capture: Capture, observe: &mut dyn FnMut(&[u8])) -> Result<StagedBlob, StoreError> {
        let file = StagedFile(self.0.layout.staging_name());
        if capture == Capture::Link && link(source, &file.0)? {
            return hash_linked(source, file, observe);
        }
        copy_in(&self.0, source, file, observe)
    }

    /// Takes in bytes that were never a file here.
    ///
    /// # Errors
    /// What the filesystem said.
    pub fn stage_bytes(&self, bytes: &[u8], executable: bool) -> Result<StagedBlob, StoreError> {
        self.stage_from(&mut &*bytes, executable)
    }

    /// Takes in what comes out of a stream, to its end. Whether that is what was expected, the caller sees by the blob's name.
    ///
    /// # Errors
    /// What the stream or the filesystem said.
    pub fn stage_from(&self, source: &mut dyn Read, executable: bool) -> Result<StagedBlob, StoreError> {
        let file = StagedFile(self.0.layout.staging_name());
        let fail = |source| FileError::new("write", &file.0, source);
        let target = create_new(&file.0).map_err(fail)?;
        let (id, len) = hash(source, CHUNK, Some(&target), &mut |_| {}).map_err(fail)?;
        target.set_permissions(Permissions::from_mode(0o644)).map_err(fail)?;
        let look = Look::of(&target.metadata().map_err(fail)?);
        Ok(StagedBlob { id, len, executable, look, file })
    }

    /// A name in the staging directory for a file of the caller's own.
    pub fn scratch(&self) -> Scratch {
        Scratch(StagedFile(self.0.layout.staging_name()))
    }
}

/// A path that nobody else uses; whatever is there goes when this is dropped, or at the next start.
#[derive(Debug)]
pub struct Scratch(StagedFile);

impl Scratch {
    /// The path. Nothing is there at first.
    pub fn path(&self) -> &Path {
        &self.0.0
    }
}

/// False where a link can't be had and a copy must do.
fn link(source: &Path, target: &Path) -> Result<bool, FileError> {
    use rustix::io::Errno;
    match linkat(CWD, source, CWD, target, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(true),
        // No entry: a descriptor's path whose file has lost its last name; its bytes are still there to be copied.
        Err(Errno::MLINK | Errno::ACCESS | Errno::NOENT) => Ok(false),
        Err(error) if is_refusal(&error.into()) => Ok(false),
        Err(error) => Err(FileError::new("link", source, error)),
    }
}

fn hash_linked(source: &Path, file: StagedFile, observe: &mut dyn FnMut(&[u8])) -> Result<StagedBlob, StoreError> {
    let fail = |error| FileError::new("read", source, error);
    let opened = File::open(&file.0).map_err(fail)?;
    let before = regular(source, &opened)?;
    let (id, len) = hash_file(&opened, None, observe).map_err(fail)?;
    let after = unchanged(source, &opened, &before, len)?;
    let look = Look::settled(&after);
    Ok(StagedBlob { id, len, executable: is_executable(&after), look, file })
}

fn copy_in(inner: &Inner, source: &Path, file: StagedFile, observe: &mut dyn FnMut(&[u8])) -> Result<StagedBlob, StoreError> {
    let fail_read = |error| FileError::new("read", source, error);
    let fail_write = |error| FileError::new("write", &file.0, error);
    let opened = File::open(source).map_err(fail_read)?;
    let before = regular(source, &opened)?;
    let cloned = inner.reflinks.new_clone(&opened, &file.0, inner.device).map_err(fail_write)?;
    let (target, hashed) = match cloned {
        Some(target) => {
            let hashed = hash_file(&target, None, observe);
            (target, hashed)
        }
        None => {
            let target = create_new(&file.0).map_err(fail_write)?;
            let hashed = hash_file(&opened, Some(&target), observe);
            (target, hashed)
        }
    };
    let (id, len) = hashed.map_err(fail_write)?;
    let after = unchanged(source, &opened, &before, len)?;
    // Permission bits as rustc's umask left them, so that a link to this blob looks right; never executable, never closed to ourselves.
    target.set_permissions(Permissions::from_mode(after.mode() & 0o666 | 0o600)).map_err(fail_write)?;
    let look = Look::of(&target.metadata().map_err(fail_write)?);
    Ok(StagedBlob { id, len, executable: is_executable(&after), look, file })
}

fn regular(path: &Path, file: &File) -> Result<Metadata, StoreError> {
    let metadata = file.metadata().map_err(|source| FileError::new("stat", path, source))?;
    if metadata.is_file() { Ok(metadata) } else { Err(StoreError::NotAFile { path: path.to_owned() }) }
}

fn unchanged(path: &Path, file: &File, before: &Metadata, len: u64) -> Result<Metadata, StoreError> {
    let after = file.metadata().map_err(|source| FileError::new("stat", path, source))?;
    let same = after.size() == len && before.size() == len && mtime_of(before) == mtime_of(&after);
    if same { Ok(after) } else { Err(StoreError::Changed { path: path.to_owned() }) }
}

fn is_executable(metadata: &Metadata) -> bool {
    metadata.mode() & 0o100 != 0
}

/// Digest and number of the bytes of `source`, which are also written to `copy` if given.
pub(crate) fn hash_file(mut source: &File, copy: Option<&File>, observe: &mut dyn FnMut(&[u8])) -> io::Result<(BlobId, u64)> {
    let size = usize::try_from(source.metadata()?.size()).unwrap_or(CHUNK);
    hash(&mut source, size, copy, observe)
}

/// The same for any stream, of perhaps `size` bytes.
fn hash(source: &mut dyn Read, size: usize, mut copy: Option<&File>, observe: &mut dyn FnMut(&[u8])) -> io::Result<(BlobId, u64)> {
    let mut buffer = vec![0; size.clamp(1, CHUNK)];
    let (mut hasher, mut len) = (sha2::Sha256::new(), 0);
    loop {
        let chunk = match source.read(&mut buffer) {
            Ok(0) => return Ok((BlobId(Digest::from_bytes(hasher.finalize().into())), len)),
            Ok(count) => &buffer[..count],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(chunk);
        observe(chunk);
        if let Some(copy) = copy.as_mut() {
            copy.write_all(chunk)?;
        }
        len += chunk.len() as u64;
    }
}
