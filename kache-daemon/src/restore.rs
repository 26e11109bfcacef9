//! Puts an artifact into a target directory.
//!
//! Promise: nothing is put anywhere but what the compile itself would have left there; all outputs or none become visible, each by a rename over whatever was there, and only while the asker is there to be told (what is
//! given up before leaves nothing behind; what has begun to land is finished, and the next one with that destination waits); the dep-info speaks of this checkout; every
//! file looks as if rustc had just made it (see [`kache_store::Placement`] for whose mtime that concerns).
//!
//! A file that stands there already with the right bytes and under no other name is stamped and nothing is moved: `touch`ed sources and branches
//! that come back cost no copies. (And a rename over a file that was just written makes ext4 write it out at once: 0.3 ms.)

use crate::engine::Engine;
use crate::files;
use crate::question::{Interface, Question};
use crate::sources::Contents;
use crate::spawn;
use kache_journal::Moved;
use kache_model::{Artifact, ArtifactKey, Digest, FileStamp, Role, Spelling};
use kache_proto::Reply;
use kache_rustc::{Unexpected, dep_info};
use kache_store::{Held, PlaceError, PlacedHow, Placement, Staged};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

const NANOS: i128 = 1_000_000_000;

/// Why an artifact couldn't be put into place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("{path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    /// It isn't what such a compile leaves.
    #[error(transparent)]
    Unexpected(#[from] Unexpected),
    #[error("whoever asked is gone")]
    AskerGone,
}

impl Engine {
    /// Restores `held` for `question`; returns the answer for the shim and what was moved.
    pub(crate) fn restore(&self, question: &Question, contents: Contents, held: &Held) -> Result<(Reply, Moved), RestoreError> {
        let artifact = held.artifact();
        if artifact.content != contents.content {
            return Err(Unexpected::Other.into());
        }
        self.accepts(question, artifact)?;
        let dir = question.out_dir();
        let mut restored = Moved::default();
        {
            let _no_child_starts = spawn::writing();
            if !artifact.outputs.is_empty() && artifact.dep_info.is_none() {
                // rustc makes its output directory too; but not for dep-info, which it writes first.
                create_directory(&dir, question.call.request.umask).map_err(|source| RestoreError::Write { path: dir.clone(), source })?;
            }
            self.put(question, contents, held, &dir, &mut restored)?;
        }
        Ok((replay(question, artifact), restored))
    }

    /// Whether `artifact` is one that the compile of `question` could have left, whoever says so.
    pub(crate) fn accepts(&self, question: &Question, artifact: &Artifact) -> Result<(), Unexpected> {
        if artifact.unit != question.unit {
            return Err(Unexpected::Other);
        }
        question.compile.accepts(artifact, || self.is_closed(question))
    }

    /// An artifact that isn't what it is stored as goes, and the bucket's copy is replaced when the unit has been compiled.
    pub(crate) fn refuse(&self, key: &ArtifactKey, why: &Unexpected) {
        tracing::warn!(%key, %why, "an artifact is refused");
        if let Err(error) = self.store.evict(key) {
            tracing::warn!(%key, %error, "eviction");
        }
        if let Some(bucket) = self.opened_bucket() {
            bucket.was_refused(*key, &why.to_string());
        }
    }

    fn put(&self, question: &Question, contents: Contents, held: &Held, dir: &Path, restored: &mut Moved) -> Result<(), RestoreError> {
        let artifact = held.artifact();
        let mut staged = Vec::with_capacity(artifact.outputs.len());
        for (index, output) in artifact.outputs.iter().enumerate() {
            let placement = if self.shares(question, output.role) { Placement::Share } else { Placement::Own };
            let mode = if output.executable { 0o777 } else { 0o666 } & !question.call.request.umask;
            let path = dir.join(local_name(question, &output.name));
            let stands = placement == Placement::Own && self.stands(&path, mode, output.blob.0);
            staged.push(if stands {
                Ready::Stands(path)
            } else {
                Ready::Staged(self.store.stage_out(held, index, &path, placement, mode)?)
            });
        }
        let dep_info = artifact.dep_info.as_ref().map(|dep_info| {
            let path = dir.join(local_name(question, &dep_info.name));
            let text = dep_info::show(&dep_info.text, &question.roots, &question.env);
            let mode = 0o666 & !question.call.request.umask;
            let stands = fs::read(&path).is_ok_and(|there| there == text) && alone(&path, mode).is_some();
            (path, text, mode, stands)
        });
        // The last look before anything is to be seen.
        if !question.call.asker.is_there() {
            return Err(RestoreError::AskerGone);
        }
        if let Some((path, text, mode, stands)) = dep_info {
            let done = if stands { touch(&path) } else { write_replacing(&path, &text, mode) };
            done.map_err(|source| RestoreError::Write { path, source })?;
        }
        for (output, staged) in artifact.outputs.iter().zip(staged) {
            let (stamp, how) = staged.land(restored)?;
            if matches!(output.role, Role::Metadata | Role::Rlib | Role::SharedObject) {
                let interface = Interface::of(question, |role| output_digest(artifact, role));
                let origin = question.origin(contents, interface, artifact.mentions, &artifact.linked);
                let path = dir.join(&output.name);
                if output.role == Role::SharedObject {
                    self.spellings.seen_at(output.blob.0, &path);
                }
                match how {
                    PlacedHow::Hardlink => self.outputs.remember_link(&self.store, &path, stamp, output.blob.0, origin),
                    PlacedHow::Reflink | PlacedHow::Copy => {
                        self.outputs.remember(&self.store, &path, stamp, Some(output.blob.0), origin);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the file at `path` is what restoring `bytes` there would make, but for its mtime.
    fn stands(&self, path: &Path, mode: u32, bytes: Digest) -> bool {
        alone(path, mode).is_some_and(|stamp| self.outputs.holds(path, &stamp, bytes))
    }
}

/// An output on its way.
enum Ready {
    /// Under a temporary name.
    Staged(Staged),
    /// In place, with an old mtime.
    Stands(PathBuf),
}

impl Ready {
    fn land(self, restored: &mut Moved) -> Result<(FileStamp, PlacedHow), RestoreError> {
        let staged = match self {
            Self::Staged(staged) => staged,
            Self::Stands(path) => {
                let stamped = touch(&path).and_then(|()| files::stamp(&path));
                return stamped.map(|stamp| (stamp, PlacedHow::Copy)).map_err(|source| RestoreError::Write { path, source });
            }
        };
        let placed = staged.land()?;
        match placed.how {
            PlacedHow::Reflink => restored.reflink += placed.bytes,
            PlacedHow::Hardlink => restored.hardlink += placed.bytes,
            PlacedHow::Copy => restored.copy += placed.bytes,
        }
        Ok((placed.stamp, placed.how))
    }
}

/// The stamp of a regular file with these permissions and no other name: a hard link may be Cargo's, with an mtime that means something there.
fn alone(path: &Path, mode: u32) -> Option<FileStamp> {
    let there = fs::symlink_metadata(path).ok()?;
    let fits = there.is_file() && there.nlink() == 1 && there.mode() & 0o7777 == mode;
    fits.then(|| kache_store::stamp_of(&there))
}

/// Sets the mtime to now, by the kernel's clock.
fn touch(path: &Path) -> io::Result<()> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    Ok(utimensat(CWD, path, &Timestamps { last_access: now, last_modification: now }, AtFlags::empty())?)
}

/// Sets the mtime to one that another file had.
fn set_mtime(path: &Path, mtime: i128) -> io::Result<()> {
    let part = |nanos: i128| i64::try_from(nanos).map_err(io::Error::other);
    let mtime = Timespec { tv_sec: part(mtime.div_euclid(NANOS))?, tv_nsec: part(mtime.rem_euclid(NANOS))? };
    Ok(utimensat(CWD, path, &Timestamps { last_access: mtime, last_modification: mtime }, AtFlags::empty())?)
}

/// The digest of an artifact's output with that role.
pub(crate) fn output_digest(artifact: &Artifact, role: Role) -> Option<Digest> {
    artifact.outputs.iter().find(|output| output.role == role).map(|output| output.blob.0)
}

/// A stored output's name as this compile calls it.
fn local_name(question: &Question, name: &str) -> String {
    String::from_utf8(question.compile.show_name(name.as_bytes().to_vec())).unwrap_or_default()
}

/// rustc's words, as it would have said them here.
fn replay(question: &Question, artifact: &Artifact) -> Reply {
    Reply::Replay {
        status: artifact.status,
        stdout: question.compile.show_name(question.compile.show_roots(&question.roots, &artifact.stdout, Spelling::Plain)),
        stderr: question.compile.show_name(question.compile.show_roots(&question.roots, &artifact.stderr, question.compile.spelling())),
    }
}

/// Makes a directory, and those above it that are missing, as the build's umask has it; the daemon's own may be another.
fn create_directory(path: &Path, umask: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        create_directory(above, umask)?;
    }
    match fs::create_dir(path) {
        Ok(()) => {
            // What it got from the directory above (a group that is passed on) stays.
            let inherited = fs::metadata(path)?.mode() & 0o7000;
            fs::set_permissions(path, Permissions::from_mode(inherited | 0o777 & !umask))
        }
        Err(_) if path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes a small file with these permissions under a temporary name and renames it over `path`.
fn write_replacing(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let temporary = temporary_beside(path);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(text)?;
        // Less what the daemon's umask took away.
        file.set_permissions(Permissions::from_mode(mode))?;
        std::fs::rename(&temporary, path)
    };
    let written = write();
    if written.is_err() {
        let _gone = std::fs::remove_file(&temporary);
    }
    written
}

/// Takes metadata that an incremental compile left off the inode that it shares with its session. rustc links that inode again, mtime and
/// all, as long as nothing in it changes, and then nothing would tell the next library from this one.
///
/// The copy's mtime is that of the metadata, or of the dep-info, which rustc wrote just before, where the metadata was linked with an old
/// one: newer than all that was made before this compile, and older than dependents that were started on its early notice and are done.
pub(crate) fn detach(question: &Question, path: &Path) -> io::Result<FileStamp> {
    let dep_info = question.dep_info_path().and_then(|path| files::stamp(&path).ok());
    let written = dep_info.map_or(i128::MIN, |dep_info| dep_info.mtime).max(files::stamp(path)?.mtime);
    renew(path, (written >= question.began).then_some(written), &|| question.call.asker.is_there())?;
    files::stamp(path)
}

/// Replaces a file by a copy of itself: new inode, same permissions, with that mtime, else stamped now by the kernel. Unless it isn't `wanted`
/// when it is ready.
fn renew(path: &Path, mtime: Option<i128>, wanted: &dyn Fn() -> bool) -> io::Result<()> {
    let temporary = temporary_beside(path);
    let copied = std::fs::copy(path, &temporary)
        .and_then(|_| mtime.map_or(Ok(()), |mtime| set_mtime(&temporary, mtime)))
        .and_then(|()| if wanted() { std::fs::rename(&temporary, path) } else { Err(io::Error::other("whoever asked is gone")) });
    if copied.is_err() {
        let _gone = std::fs::remove_file(&temporary);
    }
    copied
}

fn temporary_beside(path: &Path) -> PathBuf {
    path.with_file_name(kache_store::temporary_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_made_as_the_builds_umask_has_it_and_those_that_stand_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().mode() & 0o7777;
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::set_permissions(dir.path().join("a"), Permissions::from_mode(0o700)).unwrap();
        create_directory(&dir.path().join("a/b/c"), 0o002).unwrap();
        create_directory(&dir.path().join("a/b/c"), 0o077).unwrap();
        assert_eq!([mode("a"), mode("a/b"), mode("a/b/c")], [0o700, 0o775, 0o775]);
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(create_directory(&dir.path().join("file/d"), 0).is_err());
    }

    #[test]
    fn renewing_gives_a_new_inode_and_leaves_the_other_name_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (session, output) = (dir.path().join("metadata.rmeta"), dir.path().join("liba.rmeta"));
        std::fs::write(&session, "m").unwrap();
        std::fs::hard_link(&session, &output).unwrap();
        let before = files::stamp(&session).unwrap();
        renew(&output, None, &|| false).unwrap_err();
        assert_eq!(files::stamp(&output).unwrap().inode, before.inode);
        renew(&output, None, &|| true).unwrap();
        assert_eq!(std::fs::read(&output).unwrap(), b"m");
        assert_ne!(files::stamp(&output).unwrap().inode, before.inode);
        assert_eq!(files::stamp(&session).unwrap().mtime, before.mtime);
        renew(&output, Some(before.mtime), &|| true).unwrap();
        assert_eq!(files::stamp(&output).unwrap().mtime, before.mtime);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
