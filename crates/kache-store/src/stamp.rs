//! What a stat says about a file: as a [`FileStamp`] for callers, as a [`Look`] for the records of blobs.

use kache_model::FileStamp;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

const NANOS: i128 = 1_000_000_000;

/// The stamp of the file at `path`, symbolic links followed.
///
/// # Errors
/// Those of `stat`.
pub fn stamp(path: &Path) -> io::Result<FileStamp> {
    fs::metadata(path).map(|metadata| stamp_of(&metadata))
}

/// The stamp in `metadata`.
pub fn stamp_of(metadata: &Metadata) -> FileStamp {
    let born = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    FileStamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        mtime: i128::from(metadata.mtime()) * NANOS + i128::from(metadata.mtime_nsec()),
        ctime: i128::from(metadata.ctime()) * NANOS + i128::from(metadata.ctime_nsec()),
        btime: born.map_or(0, |age| i128::try_from(age.as_nanos()).unwrap_or(0)),
    }
}

/// The modification time as the index keeps it: nanoseconds in 64 bits, good until 2262.
pub(crate) fn mtime_of(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

/// The change time likewise. Nobody can set it, but links and renames move it.
fn ctime_of(metadata: &Metadata) -> i64 {
    metadata.ctime().saturating_mul(1_000_000_000).saturating_add(metadata.ctime_nsec())
}

/// What a blob's file looked like when its bytes were last known to be right. An mtime can be put back after a write, a ctime can't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) mtime: i64,
    pub(crate) ctime: i64,
    pub(crate) inode: u64,
}

impl Look {
    /// Of no file: the blob is hashed before its next use.
    pub(crate) const UNTRUSTED: Self = Self { mtime: i64::MIN, ctime: i64::MIN, inode: 0 };

    /// Of a file.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { mtime: mtime_of(metadata), ctime: ctime_of(metadata), inode: metadata.ino() }
    }

    /// What to record for a file whose bytes were read just before. A write within the tick of its mtime would not move that again, so
    /// until the tick is over the file is recorded as one to hash once more.
    pub(crate) fn settled(metadata: &Metadata) -> Self {
        if mtime_of(metadata) < coarse_now() { Self::of(metadata) } else { Self::UNTRUSTED }
    }

    /// Whether it is the same file with the same mtime, whoever has linked it since.
    pub(crate) fn but_for_ctime(&self, other: &Self) -> bool {
        (self.mtime, self.inode) == (other.mtime, other.inode)
    }

    /// Whether a file with that stamp looks so.
    pub(crate) fn is_of(&self, stamp: &FileStamp) -> bool {
        (i128::from(self.mtime), i128::from(self.ctime), self.inode) == (stamp.mtime, stamp.ctime, stamp.inode)
    }
}

/// The clock by which the kernel stamps files, nanoseconds since the epoch.
fn coarse_now() -> i64 {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::RealtimeCoarse;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Realtime;
    let now = rustix::time::clock_gettime(clock);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}
