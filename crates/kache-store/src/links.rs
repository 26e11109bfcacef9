//! Names that the store's inodes have in target directories: whether one is still what it was, and what to do where it isn't.
//!
//! Promises: nobody's write is taken for a link of the store's own, nor the other way round, as far as a ctime can tell (one that puts the mtime
//! back within the same tick of the clock, some milliseconds, as a link of ours can't be told). A damaged name gets the right bytes only from
//! a blob that is good.

use crate::stage::hash_file;
use crate::stamp::{Look, stamp};
use crate::{Inner, Store, temporary_name};
use kache_model::{BlobId, Digest, FileStamp};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

impl Store {
    /// Whether a file with this stamp is the store's own inode of those bytes, and looks as the store knows it: nobody has written to it.
    pub fn vouches(&self, bytes: &Digest, file: &FileStamp) -> bool {
        let id = BlobId(*bytes);
        let _turn = self.0.turn(&id);
        let entry = self.0.shelf().blob(&id).copied();
        file.device == self.0.device && entry.is_some_and(|entry| entry.len == file.size && entry.look.is_of(file))
    }

    /// A file with this stamp was read, and holds those bytes: if it is the store's own inode, it needn't be read again.
    pub fn confirm(&self, bytes: &Digest, file: &FileStamp) {
        let id = BlobId(*bytes);
        let _turn = self.0.turn(&id);
        let Ok(there) = fs::symlink_metadata(self.0.layout.blob(&id)) else { return };
        if there.dev() == file.device && there.size() == file.size && Look::of(&there).is_of(file) {
            self.0.believe(&id, &there);
        }
    }

    /// Puts a link to the blob with those bytes in the place of a name that has lost them. `None` if there is no good blob, or no link can be had.
    ///
    /// # Errors
    /// What the filesystem said.
    pub fn mend(&self, bytes: &Digest, dest: &Path) -> io::Result<Option<FileStamp>> {
        let id = BlobId(*bytes);
        let path = self.0.layout.blob(&id);
        let _turn = self.0.turn(&id);
        let Some(entry) = self.0.shelf().blob(&id).copied() else { return Ok(None) };
        let there = fs::symlink_metadata(&path)?;
        if there.size() != entry.len || (Look::of(&there) != entry.look && hash_file(&File::open(&path)?, None, &mut |_| {})?.0 != id) {
            return Ok(None);
        }
        let temporary = dest.with_file_name(temporary_name());
        if fs::hard_link(&path, &temporary).is_err() {
            return Ok(None);
        }
        fs::rename(&temporary, dest).inspect_err(|_| drop(fs::remove_file(&temporary)))?;
        self.0.relinked(&id, Look::of(&fs::symlink_metadata(dest)?));
        stamp(dest).map(Some)
    }
}

impl Inner {
    /// Renames a link of a blob, which moves its ctime.
    pub(crate) fn move_link(&self, id: &BlobId, from: &Path, to: &Path) -> io::Result<()> {
        let _turn = self.turn(id);
        let entry = self.shelf().blob(id).copied();
        let as_recorded = fs::symlink_metadata(from).is_ok_and(|there| entry.is_some_and(|entry| entry.look == Look::of(&there)));
        fs::rename(from, to)?;
        if as_recorded && let Ok(there) = fs::symlink_metadata(to) {
            self.relinked(id, Look::of(&there));
        }
        Ok(())
    }
}
