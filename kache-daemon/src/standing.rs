//! Whether the daemon still stands where others look for it: the socket's file that it bound, and the cache directory whose lock it holds.
//!
//! One whose socket is gone (the last logout takes `/run/user/UID` away) is asked by nobody and keeps the next one from the cache; one whose
//! cache directory was emptied stores nothing any more. Both end in an orderly way, and the next build, or `kache start`, begins anew.

use crate::http::Front;
use crate::log;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked: some calls of `stat`.
const EVERY: Duration = Duration::from_secs(1);

/// The file of a socket that this process has bound.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    path: PathBuf,
    /// Device and inode; `None` if they couldn't be found out.
    id: Option<(u64, u64)>,
}

impl Bound {
    /// To be called when the file has just been made.
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), id: id(path) }
    }

    /// Whether the file is gone, or another process's.
    fn is_lost(&self) -> bool {
        self.id.is_some() && self.id != id(&self.path)
    }

    /// Removes the file, but not one that is another process's by now.
    pub(crate) fn remove(&self) {
        if !self.is_lost() {
            let _gone = fs::remove_file(&self.path);
        }
    }
}

fn id(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Looks now and then, and stops the daemon when it stands there no more. `bound`: none if a service manager has the socket.
pub(crate) async fn watch(front: Arc<Front>, bound: Option<Bound>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let (looked_for, looking) = (bound.clone(), Arc::clone(&front));
        let look = move || {
            log::keep_bounded(&looking.cache_dir);
            match looked_for {
                Some(bound) if bound.is_lost() => Some("the socket's file is gone"),
                _ if !looking.engine.store.is_in_place() => Some("the cache directory was removed or emptied"),
                _ => None,
            }
        };
        if let Ok(Some(why)) = tokio::task::spawn_blocking(look).await {
            tracing::warn!("{why}: kached ends");
            front.stop.cancel();
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_replaced_is_lost_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        fs::write(&path, "").unwrap();
        let bound = Bound::at(&path);
        assert!(!bound.is_lost());
        fs::write(dir.path().join("next"), "").unwrap();
        fs::rename(dir.path().join("next"), &path).unwrap();
        bound.remove();
        assert!(bound.is_lost() && path.exists());
        let bound = Bound::at(&path);
        bound.remove();
        assert!(bound.is_lost() && !path.exists());
    }
}
