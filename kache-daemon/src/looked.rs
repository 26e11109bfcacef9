//! What a unit key was made from beside the command line: files that it named, and the libraries behind its externs.
//!
//! Promise: what has moved between the question and the end of the compile is told, however it came back: rustc may have read either.
//! (The sources aren't among these, they are known only afterwards: see [`crate::sources`].)

use crate::engine::Engine;
use crate::files::{Files, Tree};
use crate::foreign::Around;
use crate::natives::Ask;
use crate::outputs::{Origin, Recalled};
use crate::question::Question;
use kache_model::{Digest, FileStamp};
use std::io;
use std::path::{Path, PathBuf};

/// What a look at a file or a directory gave; `None` if nothing was there.
type Found = Option<(FileStamp, Digest)>;

/// Everything that was looked at.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    files: Vec<(PathBuf, Found)>,
    trees: Vec<(PathBuf, Tree, Option<Digest>)>,
    externs: Vec<(PathBuf, Origin)>,
    natives: Vec<(Ask, Vec<PathBuf>)>,
    system: Option<Digest>,
}

impl Looked {
    /// Digests a file or a directory.
    pub(crate) fn digest(&mut self, files: &Files, path: &Path) -> io::Result<Option<Digest>> {
        let found = files.digest(path)?;
        self.files.push((path.to_owned(), found));
        Ok(found.map(|(_, digest)| digest))
    }

    /// Digests a file, or as much of a directory as `tree` says.
    pub(crate) fn tree(&mut self, files: &Files, path: &Path, tree: Tree) -> io::Result<Option<Digest>> {
        if !path.is_dir() {
            return self.digest(files, path);
        }
        let found = files.tree(path, tree)?;
        self.trees.push((path.to_owned(), tree, found));
        Ok(found)
    }

    /// Notes a name under which nothing was found.
    pub(crate) fn absent(&mut self, path: PathBuf) {
        self.files.push((path, None));
    }

    /// Takes names off the list.
    pub(crate) fn forget(&mut self, paths: &[PathBuf]) {
        self.files.retain(|(path, _)| !paths.contains(path));
    }

    /// Notes who made the library at `path`.
    pub(crate) fn library(&mut self, path: PathBuf, origin: Origin) {
        self.externs.push((path, origin));
    }

    /// Notes which files may be read for a native library.
    pub(crate) fn natives(&mut self, ask: Ask, found: Vec<PathBuf>) {
        self.natives.push((ask, found));
    }

    /// Notes the state of the system's native libraries.
    pub(crate) fn system(&mut self, state: Digest) {
        self.system = Some(state);
    }

    /// One of them that isn't what it was when `question` came.
    pub(crate) fn moved(&self, engine: &Engine, question: &Question) -> Option<PathBuf> {
        let file = self.files.iter().find(|(path, before)| !stands(&engine.files, path, *before)).map(|(path, _)| path);
        let around = question.around();
        let library = || self.externs.iter().find(|(path, before)| !is_from(engine, path, before, &around)).map(|(path, _)| path);
        let differs = |path: &Path, tree, before: &Option<Digest>| engine.files.tree(path, tree).ok().as_ref() != Some(before);
        let tree = || self.trees.iter().find(|(path, tree, before)| differs(path, *tree, before)).map(|(path, ..)| path);
        file.or_else(library).or_else(tree).cloned().or_else(|| self.found_elsewhere(engine, question))
    }

    /// The directory of a unit one of whose native libraries is another file now.
    fn found_elsewhere(&self, engine: &Engine, question: &Question) -> Option<PathBuf> {
        if self.natives.is_empty() && self.system.is_none() {
            return None;
        }
        let wants = question.compile.wants();
        let search = question.search(engine, &wants);
        let differs = self.natives.iter().any(|(ask, found)| search.ask(ask).as_ref() != Ok(found));
        let differs = differs || self.system.is_some_and(|before| search.system() != before);
        differs.then(|| wants.native_dirs.first().cloned().unwrap_or_default())
    }
}

/// A file must not have been touched. Of a directory only the contents count: its own stamp tells of every file that comes and goes.
fn stands(files: &Files, path: &Path, before: Found) -> bool {
    match (before, files.digest(path)) {
        (None, Ok(None)) => true,
        (Some((then, digest)), Ok(Some((now, still)))) => digest == still && (then == now || path.is_dir()),
        _ => false,
    }
}

/// Not by its stamp: a library that was still being compiled gets another inode when it is done, and Cargo may stamp it.
fn is_from(engine: &Engine, path: &Path, before: &Origin, around: &Around) -> bool {
    matches!(engine.origin(path, around), Ok(Recalled::Known(now)) if (now.content, now.interface) == (before.content, before.interface))
}
