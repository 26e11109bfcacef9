//! Who may look: nobody but the user, whatever the umask.
//!
//! Promises: what is made here has its mode from its first moment; what an earlier version or another hand left laxer is tightened when the store
//! is opened. A directory that holds other things beside ours isn't ours to close: then each of our own names in it is tightened, and that alone.
//!
//! Blobs are left out. One may share its inode with an output in a target directory, whose mode is the build's business; the directory above them
//! keeps others away.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// How our names in a cache directory begin.
const OURS: [&str; 10] =
    [".kache-", "CACHEDIR.TAG", "blobs-v", "builds-v", "hiding-key", "index-v", "kached.log", "kached.sock", "lock", "staging-v"];

/// Creates `dir` and its parents as far as they are missing.
///
/// # Errors
/// What the filesystem said.
pub fn create_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Opens a file to be read and written, and creates it if it is missing.
///
/// # Errors
/// What the filesystem said.
pub fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Takes away what group and others may do with our things in `dir`, and with `dir` itself if nothing else is in it. What can't be tightened (it
/// is another user's) stays as it is.
pub(crate) fn tighten(dir: &Path) {
    let mut alone = true;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if OURS.iter().any(|ours| name.to_string_lossy().starts_with(ours)) {
            close(&entry.path());
        } else {
            alone = false;
        }
    }
    if alone {
        close(dir);
    }
    for tree in ["blobs-v1", "builds-v2"] {
        for entry in fs::read_dir(dir.join(tree)).into_iter().flatten().flatten() {
            let closed_by_the_tree = tree == "blobs-v1" && !entry.file_type().is_ok_and(|kind| kind.is_dir());
            if !closed_by_the_tree {
                close(&entry.path());
            }
        }
    }
}

/// Leaves links alone: what they lead to may be anybody's.
fn close(path: &Path) {
    let Ok(there) = fs::symlink_metadata(path) else { return };
    let mode = there.permissions().mode() & 0o7777;
    if !there.is_symlink() && mode & 0o077 != 0 {
        drop(fs::set_permissions(path, Permissions::from_mode(mode & 0o700)));
    }
}
