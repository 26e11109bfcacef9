//! What stands, before a compile, where it will put its outputs. A rustc that fails leaves such files alone, and so does one that names
//! its outputs otherwise than is expected (`#![crate_name]`): they are not what it made.
//!
//! Told by every field of the stamp and not by a time: the clock of a network filesystem or of a virtual machine's host may be another. What
//! rustc links again from its session has a new ctime.

use crate::files;
use crate::question::Question;
use kache_model::FileStamp;
use std::io;
use std::path::{Path, PathBuf};

/// The files of earlier compiles.
#[derive(Debug)]
pub(crate) struct Leftovers(Vec<(PathBuf, FileStamp)>);

impl Leftovers {
    /// Looks at what is there before rustc runs.
    pub(crate) fn before(question: &Question) -> Self {
        let dir = question.out_dir();
        let outputs = question.compile.expected_outputs().into_iter().map(|output| dir.join(output.name));
        let there = |path: PathBuf| files::stamp(&path).ok().map(|stamp| (path, stamp));
        Self(outputs.chain(question.dep_info_path()).filter_map(there).collect())
    }

    /// The stamp of a file that the compile made.
    ///
    /// # Errors
    /// What the look said; "not found" for a file that stood there before.
    pub(crate) fn made(&self, path: &Path) -> io::Result<FileStamp> {
        let stamp = files::stamp(path)?;
        let left = self.0.iter().any(|(known, before)| known == path && *before == stamp);
        if left { Err(io::ErrorKind::NotFound.into()) } else { Ok(stamp) }
    }
}
