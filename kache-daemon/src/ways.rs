//! The ways to files: the symlinks and directories on their paths. A link that is pointed elsewhere, or a directory that is moved away for another,
//! changes what a name leads to and leaves no trace in any file.

use crate::files;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Ways that were looked at. Sources stand side by side, so each directory is looked at once.
#[derive(Debug)]
pub(crate) struct Ways {
    began: i128,
    seen: HashSet<PathBuf>,
}

impl Ways {
    /// To find what changed since `began`.
    pub(crate) fn since(began: i128) -> Self {
        Self { began, seen: HashSet::new() }
    }

    /// A link or a directory on the way to `path` that wasn't there before.
    pub(crate) fn moved(&mut self, path: &Path) -> Option<PathBuf> {
        for part in path.ancestors() {
            if !self.seen.insert(part.to_owned()) {
                return None;
            }
            let Ok(there) = fs::symlink_metadata(part) else { continue };
            let stamp = kache_store::stamp_of(&there);
            // A rename changes the ctime of what is renamed. Whatever comes and goes in a directory changes its mtime with it.
            let suspect = there.is_symlink() || (there.is_dir() && stamp.mtime != stamp.ctime);
            if suspect && files::changed_since(stamp.ctime, self.began) {
                return Some(part.to_owned());
            }
            let target = there.is_symlink().then(|| fs::read_link(part).ok()).flatten();
            if let Some(target) = target
                && let Some(moved) = self.moved(&part.parent().unwrap_or(part).join(target))
            {
                return Some(moved);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A tree whose stamps are all older than the time that is returned with it.
    fn tree() -> (tempfile::TempDir, PathBuf, i128) {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        for name in ["v1", "v2", "src"] {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join("x.rs"), name).unwrap();
        }
        symlink("v1", root.join("current")).unwrap();
        symlink("current", root.join("gen")).unwrap();
        let began = later(&root);
        (dir, root, began)
    }

    /// A time after which the file clock has moved on.
    fn later(root: &Path) -> i128 {
        let probe = root.join("probe");
        fs::write(&probe, "").unwrap();
        let first = files::stamp(&probe).unwrap().ctime;
        loop {
            fs::write(&probe, "").unwrap();
            let now = files::stamp(&probe).unwrap().ctime;
            if now > first {
                return now - 1;
            }
        }
    }

    #[test]
    fn swapped_links_and_directories_are_told() {
        type Change = fn(&Path) -> std::io::Result<()>;
        let relink: Change = |root| symlink("v2", root.join("new")).and_then(|()| fs::rename(root.join("new"), root.join("current")));
        let swap: Change =
            |root| fs::rename(root.join("src"), root.join("old")).and_then(|()| fs::rename(root.join("v2"), root.join("src")));
        for (change, name, culprit) in [(relink, "gen/x.rs", "current"), (swap, "src/x.rs", "src"), (swap, "src/../src/x.rs", "src/../src")]
        {
            let (_dir, root, began) = tree();
            assert_eq!(Ways::since(began).moved(&root.join(name)), None, "{name} before");
            change(&root).unwrap();
            assert_eq!(Ways::since(began).moved(&root.join(name)), Some(root.join(culprit)), "{name}");
        }
    }

    #[test]
    fn files_that_come_and_go_beside_are_no_change_of_the_way() {
        let (_dir, root, began) = tree();
        fs::write(root.join("src/new.rs"), "").unwrap();
        fs::rename(root.join("src/new.rs"), root.join("src/y.rs")).unwrap();
        fs::create_dir_all(root.join("target/debug")).unwrap();
        fs::remove_file(root.join("v1/x.rs")).unwrap();
        for name in ["src/x.rs", "gen/x.rs", "target/debug/x.rs"] {
            assert_eq!(Ways::since(began).moved(&root.join(name)), None, "{name}");
        }
    }
}
