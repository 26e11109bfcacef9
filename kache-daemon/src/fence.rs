//! The fence around what an input set from the bucket may name: [`kache_model::bounds`] on the disk.
//!
//! Promise: a path that is let through lies within the build's own directories as it is spelled *and* as its symlinks lead. What isn't there is
//! judged by where it would be.

use crate::question::{Question, package_dir};
use kache_model::bounds::{self, Beyond, Bounds};
use kache_model::{InputSet, PortablePath};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// See the module. Made for one look, for it remembers where directories lead.
#[derive(Debug)]
pub(crate) struct Fence {
    bounds: Bounds,
    led: RefCell<HashMap<PathBuf, Option<PathBuf>>>,
}

impl Fence {
    /// Around the directories of a question's build.
    pub(crate) fn around(question: &Question) -> Self {
        let mut bounds = Bounds::new(&question.roots);
        let cwd = &*question.call.request.cwd;
        for dir in [cwd, package_dir(&question.env, cwd)] {
            if !dir.to_str().is_some_and(|dir| bounds.hold(dir)) {
                let real = std::fs::canonicalize(dir).ok();
                [Some(dir), real.as_deref()].into_iter().flatten().filter_map(Path::to_str).for_each(|dir| bounds.add(dir));
            }
        }
        Self { bounds, led: RefCell::default() }
    }

    /// Whether an absolute path may be looked at.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        let within = |path: &Path| path.to_str().is_some_and(|path| self.bounds.hold(path));
        within(path) && self.leads(path).is_some_and(|real| real == path || within(&real))
    }

    /// Whether nothing that the set names lies beyond; what it names isn't read.
    pub(crate) fn check(&self, question: &Question, set: &InputSet) -> Result<(), Beyond> {
        bounds::check(set)?;
        // A root that this build doesn't have has no files here either.
        let beyond = |name: &&PortablePath| {
            let local = question.roots.to_local(name);
            local.is_some_and(|path| !self.holds(&question.absolute(path.as_ref())))
        };
        match set.files.iter().chain(&set.absent).find(beyond) {
            Some(name) => Err(Beyond::File(name.0.clone())),
            None => Ok(()),
        }
    }

    /// Where the path leads; `None` if that can't be told. Of many files in one directory only the first costs more than a stat.
    fn leads(&self, path: &Path) -> Option<PathBuf> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return real(path) };
        match std::fs::symlink_metadata(path) {
            Ok(there) if there.is_symlink() => std::fs::canonicalize(path).ok(),
            _ => {
                let known = self.led.borrow().get(above).cloned();
                let above = known.unwrap_or_else(|| {
                    let real = real(above);
                    self.led.borrow_mut().insert(above.to_owned(), real.clone());
                    real
                });
                Some(above?.join(name))
            }
        }
    }
}

/// The path without symlinks, as far as it is there.
fn real(path: &Path) -> Option<PathBuf> {
    match std::fs::canonicalize(path) {
        Ok(real) => Some(real),
        // A link that leads nowhere yet: nobody knows where it will.
        Err(_) if std::fs::symlink_metadata(path).is_ok() => None,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Some(real(path.parent()?)?.join(path.file_name()?))
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Files, Limits};
    use kache_model::{Root, RootKind, Roots};
    use std::fs;
    use std::os::unix::fs::symlink;

    fn place() -> (tempfile::TempDir, Fence) {
        let place = tempfile::tempdir().unwrap();
        let dir = |name: &str| place.path().join(name);
        fs::create_dir_all(dir("ws/src")).unwrap();
        fs::create_dir(dir("home")).unwrap();
        fs::write(dir("ws/src/lib.rs"), "pub fn f() {}").unwrap();
        fs::write(dir("home/secret"), "pin=1111").unwrap();
        symlink(dir("home"), dir("ws/away")).unwrap();
        symlink(dir("home/secret"), dir("ws/src/secret.rs")).unwrap();
        symlink("src", dir("ws/same")).unwrap();
        symlink(dir("home/later"), dir("ws/later")).unwrap();
        let root = Root::new(RootKind::Workspace, dir("ws").to_str().unwrap(), fs::canonicalize(dir("ws")).unwrap().to_str().unwrap());
        let fence = Fence { bounds: Bounds::new(&Roots::new(vec![root])), led: RefCell::default() };
        (place, fence)
    }

    #[test]
    fn symlinks_lead_nowhere_else() {
        let (place, fence) = place();
        for within in ["ws/src/lib.rs", "ws/same/lib.rs", "ws/src/../src/lib.rs", "ws/none/mod.rs", "ws/src/lib/mod.rs", "ws"] {
            assert!(fence.holds(&place.path().join(within)), "{within}");
        }
        for beyond in [
            "home/secret",
            "ws/away/secret",
            "ws/away/none",
            "ws/src/secret.rs",
            "ws/same/../../home/secret",
            "ws/away/../home/secret",
            "ws/later",
        ] {
            assert!(!fence.holds(&place.path().join(beyond)), "{beyond}");
        }
    }

    #[test]
    fn directories_are_listed_as_far_as_the_fence() {
        let (place, fence) = place();
        let files = Files::default();
        let within = |name: &str| {
            let mut limits = Limits::new(&fence);
            let path = place.path().join(name);
            let found = files.digest_within(&path, &mut limits);
            (found.ok().flatten().map(|(_, digest)| digest), limits.beyond())
        };
        let plain = |name: &str| files.digest(&place.path().join(name)).unwrap().map(|(_, digest)| digest);
        fs::create_dir(place.path().join("ws/data")).unwrap();
        fs::write(place.path().join("ws/data/a"), "1").unwrap();
        assert_eq!(within("ws/data"), (plain("ws/data"), None));
        assert_eq!(within("ws/src/lib.rs"), (plain("ws/src/lib.rs"), None));
        assert!(matches!(within("ws/src"), (None, Some(Beyond::File(_)))), "a link leads away");
        fs::write(place.path().join("ws/data/.env"), "").unwrap();
        assert!(matches!(within("ws/data"), (None, Some(Beyond::File(_)))), "hidden");

        let large = fs::File::create(place.path().join("ws/large")).unwrap();
        large.set_len(257 << 20).unwrap();
        assert_eq!(within("ws/large"), (None, Some(Beyond::TooMuch)));
        assert!(std::process::Command::new("mkfifo").arg(place.path().join("ws/fifo")).status().unwrap().success());
        assert!(matches!(within("ws/fifo"), (None, Some(Beyond::NoFile(_)))));
        fs::create_dir(place.path().join("ws/many")).unwrap();
        (0..10_001).for_each(|number| fs::write(place.path().join(format!("ws/many/{number}")), "").unwrap());
        assert_eq!(within("ws/many"), (None, Some(Beyond::TooMuch)));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_without_an_end_ends() {
        let (_place, fence) = place();
        assert!(Files::default().digest_within(Path::new("/proc/self/pagemap"), &mut Limits::new(&fence)).is_err());
    }
}
