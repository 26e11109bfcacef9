//! What the filesystem says about a file without reading it.

use serde::{Deserialize, Serialize};

/// Device, inode, size and times of a file: if all agree, the bytes are taken to be the same.
///
/// Rules of use, learned from wrong hits in the field:
/// - for *inputs* every field counts, the change time (`ctime`) too: it can't be set by hand;
/// - for *outputs* use [`FileStamp::same_output`]: a hard link made elsewhere moves `ctime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileStamp {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Modification time, nanoseconds since the epoch.
    pub mtime: i128,
    /// Change time, nanoseconds since the epoch.
    pub ctime: i128,
    /// Birth time, nanoseconds since the epoch; 0 where the filesystem has none. Tells a reused inode number.
    pub btime: i128,
}

impl FileStamp {
    /// The same file with unchanged bytes, as far as a stat can tell, whoever has linked it elsewhere since.
    pub fn same_output(&self, other: &Self) -> bool {
        self.same_inode(other) && self.size == other.size && self.mtime == other.mtime
    }

    /// The same inode: not a new file that got the old one's number. `false` where the filesystem has no birth time
    /// and the times differ: then nobody can tell.
    pub fn same_inode(&self, other: &Self) -> bool {
        (self.device, self.inode, self.btime) == (other.device, other.inode, other.btime) && (self.btime != 0 || self.mtime == other.mtime)
    }
}
