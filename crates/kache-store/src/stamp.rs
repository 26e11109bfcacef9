//! What a stat says about a file, as a [`FileStamp`].

use crate::shelf::UNTRUSTED;
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

/// The mtime to record for a file whose bytes were read just before. A write within the tick of that mtime would not move it again, so
/// until the tick is over the file is recorded as one to hash once more.
pub(crate) fn settled_mtime(metadata: &Metadata) -> i64 {
    let mtime = mtime_of(metadata);
    if mtime < coarse_now() { mtime } else { UNTRUSTED }
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
