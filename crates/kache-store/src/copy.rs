//! How bytes get from one file to another: reflink where the filesystem can, else a copy inside the kernel, else by hand.
//!
//! Promises: the target is a new inode, written through one descriptor that is closed before anyone learns the file's name; its mtime
//! is the kernel's clock. Probes a device once and believes the answer.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Bytes read at once where the kernel doesn't copy by itself.
pub(crate) const CHUNK: usize = 256 << 10;

/// Which devices have refused a reflink.
#[derive(Debug, Default)]
pub(crate) struct Reflinks(Mutex<HashMap<u64, bool>>);

impl Reflinks {
    /// False if `device` has refused before.
    pub(crate) fn may_work_on(&self, device: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&device).copied().unwrap_or(true)
    }

    /// A new file at `path`, which lies on `device`, that shares the bytes of `source`; stamped now. `None` where the filesystem can't.
    pub(crate) fn new_clone(&self, source: &File, path: &Path, device: u64) -> io::Result<Option<File>> {
        if !self.may_work_on(device) {
            return Ok(None);
        }
        match clone_to(source, path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if is_refusal(&error) => {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(device, false);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(target_os = "linux")]
fn clone_to(source: &File, path: &Path) -> io::Result<File> {
    let target = create_new(path)?;
    rustix::fs::ioctl_ficlone(&target, source).map(|()| target).map_err(|error| {
        drop(fs::remove_file(path));
        error.into()
    })
}

/// APFS clones to a name and takes mode and times along; the caller sets the mode, the time is set here.
#[cfg(target_vendor = "apple")]
fn clone_to(source: &File, path: &Path) -> io::Result<File> {
    use rustix::fs::{CWD, CloneFlags, Timespec, Timestamps, UTIME_NOW, fclonefileat, futimens};
    fclonefileat(source, CWD, path, CloneFlags::NOFOLLOW)?;
    let finish = || -> io::Result<File> {
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        let target = OpenOptions::new().read(true).write(true).open(path)?;
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        futimens(&target, &Timestamps { last_access: now, last_modification: now })?;
        Ok(target)
    };
    finish().inspect_err(|_| drop(fs::remove_file(path)))
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn clone_to(_source: &File, _path: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The filesystem can't do this at all, as against: it failed.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let refusals = [Errno::OPNOTSUPP, Errno::NOTTY, Errno::INVAL, Errno::NOSYS, Errno::XDEV, Errno::PERM];
    error.kind() == io::ErrorKind::Unsupported || refusals.iter().any(|refusal| error.raw_os_error() == Some(refusal.raw_os_error()))
}

/// A new file at `path`, readable by its owner only until [`finish`].
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Sets the permission bits and closes.
pub(crate) fn finish(file: File, mode: u32) -> io::Result<()> {
    if mode & 0o7777 != 0o600 {
        file.set_permissions(Permissions::from_mode(mode & 0o7777))?;
    }
    drop(file);
    Ok(())
}

/// Copies all of `source` from its start; returns the number of bytes.
pub(crate) fn copy(source: &File, target: &File, len: u64) -> io::Result<u64> {
    let done = copy_in_kernel(source, target, len)?;
    if done > 0 || len == 0 {
        return Ok(done);
    }
    let mut buffer = vec![0; CHUNK.min(usize::try_from(len).unwrap_or(CHUNK)).max(1)];
    let (mut source, mut target, mut done) = (source, target, 0);
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(done),
            Ok(count) => {
                target.write_all(&buffer[..count])?;
                done += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// 0 where the kernel won't copy between these two; nothing has moved then.
#[cfg(target_os = "linux")]
fn copy_in_kernel(source: &File, target: &File, len: u64) -> io::Result<u64> {
    let mut done = 0;
    while done < len {
        let want = usize::try_from(len - done).unwrap_or(usize::MAX >> 1);
        match rustix::fs::copy_file_range(source, None, target, None, want) {
            Ok(0) => break,
            Ok(count) => done += count as u64,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) if done == 0 && is_refusal(&error.into()) => return Ok(0),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}

#[cfg(not(target_os = "linux"))]
fn copy_in_kernel(_source: &File, _target: &File, _len: u64) -> io::Result<u64> {
    Ok(0)
}
