//! A directory with sources in it: written by code, edited, copied, looked at.

use std::fs;
use std::path::{Path, PathBuf};

/// See the module. The directory belongs to whoever made the place it is in.
#[derive(Clone, Debug)]
pub struct Project {
    directory: PathBuf,
}

impl Project {
    /// An empty project at `directory`, which is made.
    ///
    /// # Panics
    /// As every method here: if the filesystem refuses.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        fs::create_dir_all(&directory).expect("make the project's directory");
        Self { directory }
    }

    /// A project at `directory` with these files.
    pub fn with(directory: impl Into<PathBuf>, files: &[(&str, &str)]) -> Self {
        let project = Self::at(directory);
        for (name, text) in files {
            project.write(name, text);
        }
        project
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a file, making its directory.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        let file = self.file(name);
        fs::create_dir_all(file.parent().expect("a file in a directory")).expect("make a directory");
        fs::write(&file, text).unwrap_or_else(|error| panic!("write {}: {error}", file.display()));
        self
    }

    /// A file's text.
    pub fn read(&self, name: &str) -> String {
        let file = self.file(name);
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("read {}: {error}", file.display()))
    }

    /// Replaces text that must be there.
    #[track_caller]
    pub fn edit(&self, name: &str, from: &str, to: &str) -> &Self {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no {from:?}");
        self.write(name, text.replace(from, to))
    }

    /// Adds text at a file's end.
    pub fn append(&self, name: &str, text: &str) -> &Self {
        self.write(name, format!("{}{text}", self.read(name)))
    }

    /// Moves a file.
    pub fn rename(&self, from: &str, to: &str) -> &Self {
        let to = self.file(to);
        fs::create_dir_all(to.parent().expect("a file in a directory")).expect("make a directory");
        fs::rename(self.file(from), to).expect("move a file");
        self
    }

    /// Removes a file or a directory; nothing happens if there is none.
    pub fn remove(&self, name: &str) -> &Self {
        let path = self.file(name);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        assert!(removed.is_ok() || !path.exists(), "remove {}: {removed:?}", path.display());
        self
    }

    /// Sets a file's times to now, as `touch` does.
    pub fn touch(&self, name: &str) -> &Self {
        self.write(name, self.read(name))
    }

    /// The same sources elsewhere, without `target`.
    pub fn copy_to(&self, directory: impl Into<PathBuf>) -> Self {
        let copy = Self::at(directory);
        copy_tree(&self.directory, &copy.directory);
        copy
    }
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("list a directory") {
        let entry = entry.expect("a directory entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            if entry.file_name() != "target" {
                fs::create_dir_all(&target).expect("make a directory");
                copy_tree(&entry.path(), &target);
            }
        } else {
            fs::copy(entry.path(), target).expect("copy a file");
        }
    }
}
