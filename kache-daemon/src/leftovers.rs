//! What stands, before a compile, where it will put its outputs. A rustc that fails leaves such files alone, and so does one that names
//! its outputs otherwise than is expected (`#![crate_name]`): they are not what it made.
//!
//! Told by every field of the stamp and not by a time: the clock of a network filesystem or of a virtual machine's host may be another. What
//! rustc links again from its session has a new ctime.

use crate::files;
use crate::question::Question;
use kache_model::{FileStamp, Role};
use kache_rustc::Expected;
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
        let debug_objects = debug_objects(question).into_iter().map(|name| dir.join(name));
        Self(outputs.chain(debug_objects).chain(question.dep_info_path()).filter_map(there).collect())
    }

    /// The debug objects that the compile made, by the names that they were found to have.
    pub(crate) fn debug_objects(&self, question: &Question) -> Vec<Expected> {
        let dir = question.out_dir();
        let made = debug_objects(question).into_iter().filter(|name| self.made(&dir.join(name)).is_ok());
        made.map(|name| Expected { role: Role::Debuginfo, name, required: true }).collect()
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

/// The names of the debug objects in the output directory that are of this unit, made now or earlier.
fn debug_objects(question: &Question) -> Vec<String> {
    if !question.compile.leaves_debug_objects() {
        return Vec::new();
    }
    let entries = std::fs::read_dir(question.out_dir()).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| question.compile.is_debug_object(name)).collect()
}
