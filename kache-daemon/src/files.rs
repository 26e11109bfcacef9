//! Digests of input files, remembered by stamp.
//!
//! Promise: a digest that is handed out belongs to bytes that the file had at some moment after the call began, and a
//! remembered one is used only while device, inode, size, mtime, ctime and birth time all agree. A file that
//! changed within the clock's last ticks is hashed again each time: a second write in the same tick would leave no trace in its stamp.
//!
//! Names that somebody else chose are looked at within [`Limits`]: nothing but files and directories, and only so much of them.

use crate::fence::Fence;
use kache_model::bounds::Beyond;
use kache_model::{Digest, Encoder, FileStamp};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Younger than this, a stamp proves nothing. The kernel's file clock ticks every 1 to 10 ms, network filesystems are coarser.
const RACY_NANOS: i128 = 50_000_000;

/// The same where stamps are whole seconds (ext4 with small inodes, HFS+, some NFS), or every second one (FAT).
const COARSE_NANOS: i128 = 2_000_000_000;

/// Bytes that a set from the bucket may have read, or looked up: a quarter of a second's hashing.
const MAX_BYTES: u64 = 256 << 20;

/// Names in directories that a set from the bucket may have listed.
const MAX_ENTRIES: usize = 10_000;

/// Above this many files the memo starts afresh; about 100 bytes each beside the path.
const MAX_FILES: usize = 300_000;

/// What a stat says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A regular file.
    File(FileStamp),
    /// A directory.
    Directory(FileStamp),
    /// Something else: socket, device, …
    Other,
}

impl Found {
    /// The stamp, whatever it is of.
    pub(crate) fn stamp(self) -> Option<FileStamp> {
        match self {
            Self::File(stamp) | Self::Directory(stamp) => Some(stamp),
            Self::Other => None,
        }
    }
}

/// Looks at a path, following symlinks. `None` if nothing is there.
pub(crate) fn look(path: &Path) -> io::Result<Option<Found>> {
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (stamp, kind) = (kache_store::stamp_of(&found), found.file_type());
    Ok(Some(match (kind.is_file(), kind.is_dir()) {
        (true, _) => Found::File(stamp),
        (_, true) => Found::Directory(stamp),
        _ => Found::Other,
    }))
}

/// Whether that device and inode are behind `path`.
pub(crate) fn is_at(path: &Path, id: (u64, u64)) -> bool {
    let seen = look(path).ok().flatten().and_then(Found::stamp);
    seen.is_some_and(|stamp| (stamp.device, stamp.inode) == id)
}

/// The stamp of a regular file; an error if there is none.
pub(crate) fn stamp(path: &Path) -> io::Result<FileStamp> {
    match look(path)? {
        Some(Found::File(stamp)) => Ok(stamp),
        Some(_) => Err(io::Error::other("not a regular file")),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

/// The time now, nanoseconds since the epoch, by the finest clock that stamps are taken from: kernels from 6.13 on give a file that
/// was looked at just before it changed a fine-grained time, ahead of the coarse clock that all others get.
pub(crate) fn now() -> i128 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// Whether a filesystem stamped this that knows no more than seconds; a finer one hits upon such a time once in a billion.
fn is_coarse(time: i128) -> bool {
    time % 1_000_000_000 == 0
}

/// Whether something with that change time may have changed after `began`. A coarse time was rounded down, so in doubt it may.
///
/// A fine one may be a tick (at most 10 ms) older than the change. rustc takes longer than that to start, so a change that hides in the tick of
/// the question was made before the sources were read.
pub(crate) fn changed_since(ctime: i128, began: i128) -> bool {
    if is_coarse(ctime) { ctime + COARSE_NANOS > began } else { ctime > began }
}

/// Whether the file can't change once more, at `now` or later, without another stamp.
pub(crate) fn settled(stamp: &FileStamp, now: i128) -> bool {
    let blur = if is_coarse(stamp.ctime) { COARSE_NANOS } else { RACY_NANOS };
    stamp.ctime.max(stamp.mtime) + blur < now
}

/// How a directory's tree is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    /// All that is below it.
    Whole,
    /// What a build script means by it: without `.git`, and without directories that say by a `CACHEDIR.TAG` that they are made by tools.
    Declared,
    /// What belongs to a package: also without the packages inside it.
    Package,
}

/// More files than this below a directory that a build script means aren't looked at.
pub(crate) const MAX_DECLARED: usize = 10_000;

impl Tree {
    fn leaves_out(self, path: &Path) -> bool {
        match self {
            Self::Whole => false,
            Self::Declared => path.ends_with(".git") || path.join("CACHEDIR.TAG").exists(),
            Self::Package => Self::Declared.leaves_out(path) || path.join("Cargo.toml").exists(),
        }
    }
}

/// What a look at names that aren't to be believed may cost, and where it may lead.
#[derive(Debug)]
pub(crate) struct Limits<'a> {
    fence: &'a Fence,
    bytes: u64,
    entries: usize,
    /// Why it went no further.
    beyond: Option<Beyond>,
}

impl<'a> Limits<'a> {
    /// What all names of one set may cost together.
    pub(crate) fn new(fence: &'a Fence) -> Self {
        Self { fence, bytes: MAX_BYTES, entries: MAX_ENTRIES, beyond: None }
    }

    /// Why it went no further; `None` if it did.
    pub(crate) fn beyond(&mut self) -> Option<Beyond> {
        self.beyond.take()
    }

    fn file(&mut self, stamp: &FileStamp) -> io::Result<()> {
        match self.bytes.checked_sub(stamp.size) {
            Some(left) => self.bytes = left,
            None => return self.stop(Beyond::TooMuch),
        }
        Ok(())
    }

    /// One more name in a directory.
    fn entry(&mut self, path: &Path) -> io::Result<()> {
        match self.entries.checked_sub(1) {
            Some(left) => self.entries = left,
            None => return self.stop(Beyond::TooMuch),
        }
        if self.fence.holds(path) { Ok(()) } else { self.stop(Beyond::File(path.display().to_string())) }
    }

    fn stop<T>(&mut self, beyond: Beyond) -> io::Result<T> {
        let error = io::Error::other(beyond.to_string());
        self.beyond = Some(beyond);
        Err(error)
    }
}

/// A walk through a directory.
struct Walk<'l, 'f> {
    tree: Tree,
    /// How many files more it may look at.
    left: usize,
    limits: Option<&'l mut Limits<'f>>,
}

/// The memo. Cheap to share; one per daemon.
#[derive(Debug, Default)]
pub(crate) struct Files(Mutex<HashMap<Arc<Path>, (FileStamp, Digest)>>);

impl Files {
    /// The digest of a file's bytes, or of a directory's listing and the contents below it; `None` if nothing is there.
    pub(crate) fn digest(&self, path: &Path) -> io::Result<Option<(FileStamp, Digest)>> {
        self.look_into(path, None)
    }

    /// The same as far as `limits` go; they know why it went no further.
    pub(crate) fn digest_within(&self, path: &Path, limits: &mut Limits<'_>) -> io::Result<Option<(FileStamp, Digest)>> {
        self.look_into(path, Some(limits))
    }

    fn look_into(&self, path: &Path, limits: Option<&mut Limits<'_>>) -> io::Result<Option<(FileStamp, Digest)>> {
        match (look(path)?, limits) {
            (None, _) => Ok(None),
            (Some(Found::File(stamp)), limits) => self.file(path, stamp, limits).map(Some),
            (Some(Found::Directory(stamp)), limits) => {
                let mut walk = Walk { tree: Tree::Whole, left: usize::MAX, limits };
                Ok(Some((stamp, self.directory(path, 0, &mut walk)?)))
            }
            (Some(Found::Other), Some(limits)) => limits.stop(Beyond::NoFile(path.display().to_string())),
            (Some(Found::Other), None) => Err(io::Error::other("neither file nor directory")),
        }
    }

    /// The digest of a file, or of as much of a directory as `tree` says and at most [`MAX_DECLARED`] files; `None` if nothing is there.
    pub(crate) fn tree(&self, path: &Path, tree: Tree) -> io::Result<Option<Digest>> {
        let mut walk = Walk { tree, left: MAX_DECLARED, limits: None };
        match look(path)? {
            Some(Found::Directory(_)) => self.directory(path, 0, &mut walk).map(Some),
            _ => Ok(self.digest(path)?.map(|(_, digest)| digest)),
        }
    }

    /// The digest of a file whose stamp was just taken.
    fn file(&self, path: &Path, stamp: FileStamp, limits: Option<&mut Limits<'_>>) -> io::Result<(FileStamp, Digest)> {
        // A file of the kernel's may have no size and no end.
        let most = if limits.is_some() { stamp.size } else { u64::MAX };
        limits.map_or(Ok(()), |limits| limits.file(&stamp))?;
        if let Some((known, digest)) = self.lock().get(path)
            && *known == stamp
        {
            return Ok((stamp, *digest));
        }
        let began = now();
        let digest = hash_file(path, most)?;
        let after = self::stamp(path)?;
        if after != stamp {
            return Err(io::Error::other("changed while it was read"));
        }
        if settled(&stamp, began) {
            let mut memo = self.lock();
            if memo.len() >= MAX_FILES {
                memo.clear();
            }
            memo.insert(path.into(), (stamp, digest));
        }
        Ok((stamp, digest))
    }

    /// Names in order, each with what is behind it. Symlinks to directories are not followed into loops: 32 levels at most.
    fn directory(&self, path: &Path, depth: u32, walk: &mut Walk<'_, '_>) -> io::Result<Digest> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let name = entry?.file_name();
            walk.limits.as_deref_mut().map_or(Ok(()), |limits| limits.entry(&path.join(&name)))?;
            names.push(name);
        }
        names.sort();
        let mut encoder = Encoder::new("kache.directory.v1");
        for name in names {
            let child = path.join(&name);
            let found = look(&child)?;
            if matches!(found, Some(Found::Directory(_))) && walk.tree.leaves_out(&child) {
                continue;
            }
            walk.left = walk.left.checked_sub(1).ok_or_else(|| io::Error::other(format!("more than {MAX_DECLARED} files")))?;
            encoder.field("name", name.as_encoded_bytes());
            match found {
                Some(Found::File(stamp)) => encoder.field("file", self.file(&child, stamp, walk.limits.as_deref_mut())?.1.as_bytes()),
                Some(Found::Directory(_)) if depth < 32 => encoder.field("directory", self.directory(&child, depth + 1, walk)?.as_bytes()),
                _ => encoder.field("other", b""),
            };
        }
        Ok(encoder.finish())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<Path>, (FileStamp, Digest)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SHA-256 of a file's bytes, streamed; an error if there are more than `most`.
fn hash_file(path: &Path, most: u64) -> io::Result<Digest> {
    use sha2::Digest as _;
    let mut file = std::fs::File::open(path)?;
    let mut left = most;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let n = io::Read::read(&mut file, &mut buffer)?;
        if n == 0 {
            return Ok(Digest::from_bytes(hasher.finalize().into()));
        }
        left = left.checked_sub(n as u64).ok_or_else(|| io::Error::other("more than it is said to hold"))?;
        hasher.update(&buffer[..n]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_even_within_one_tick_of_the_clock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let files = Files::default();
        for round in 0..200_u32 {
            std::fs::write(&path, round.to_le_bytes()).unwrap();
            assert_eq!(files.digest(&path).unwrap().unwrap().1, Digest::of(&round.to_le_bytes()));
        }
    }

    #[test]
    fn a_stamp_of_whole_seconds_proves_less() {
        const SECOND: i128 = 1_000_000_000;
        let began = 1_000 * SECOND + 300_000_000;
        let check = |ctime: i128, changed: bool, racy: bool| {
            let stamp = FileStamp { device: 1, inode: 1, size: 1, mtime: ctime, ctime, btime: 0 };
            assert_eq!((changed_since(ctime, began), !settled(&stamp, began)), (changed, racy), "{ctime}");
        };
        check(began + 1, true, true);
        check(began - 1, false, true);
        check(began - RACY_NANOS - 1, false, false);
        // Of this second, of the one before, and of those long past.
        check(1_000 * SECOND, true, true);
        check(999 * SECOND, true, true);
        check(998 * SECOND, false, false);
    }

    #[test]
    fn a_directory_counts_names_and_contents() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::default();
        let digest = || files.digest(dir.path()).unwrap().unwrap().1;
        let empty = digest();
        std::fs::write(dir.path().join("a"), "1").unwrap();
        let one = digest();
        std::fs::write(dir.path().join("a"), "2").unwrap();
        let two = digest();
        std::fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        let renamed = digest();
        assert_eq!(std::collections::HashSet::from([empty, one, two, renamed]).len(), 4);
        assert!(files.digest(&dir.path().join("none")).unwrap().is_none());
    }

    #[test]
    fn a_packages_tree_is_what_is_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::default();
        let mut seen = std::collections::HashSet::new();
        let mut looks_other = |tree: Tree| seen.insert(files.tree(dir.path(), tree).unwrap().unwrap());
        assert!(looks_other(Tree::Package));
        for (name, package, declared) in [
            ("Cargo.toml", true, true),
            ("data/deep/a", true, true),
            (".git/HEAD", false, false),
            ("target/CACHEDIR.TAG", false, false),
            ("target/debug/a", false, false),
            ("nested/Cargo.toml", false, true),
            ("nested/a", false, true),
        ] {
            let path = dir.path().join(name);
            let before = files.tree(dir.path(), Tree::Declared).unwrap();
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
            assert_eq!(files.tree(dir.path(), Tree::Declared).unwrap() != before, declared, "{name}");
            assert_eq!(looks_other(Tree::Package), package, "{name}");
        }
    }

    #[test]
    fn a_declared_directory_has_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        for name in 0..=MAX_DECLARED {
            std::fs::write(dir.path().join(name.to_string()), "").unwrap();
        }
        assert!(Files::default().tree(dir.path(), Tree::Declared).is_err());
        std::fs::remove_file(dir.path().join("0")).unwrap();
        assert!(Files::default().tree(dir.path(), Tree::Declared).unwrap().is_some());
    }
}
