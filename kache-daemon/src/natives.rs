//! Native libraries: which files a link reads for a name, as things are now.
//!
//! Promise: every file that could be read for it is told, in an order that follows the search, also the real ones behind a linker script.
//! Where that can't be known (thin archives, scripts that say more, whatever isn't a library) the answer is an error.
//!
//! Directories are listed once and looked up by name from then on, for as long as their stamps agree: a link asks for dozens of names.

use crate::files::{self, Found};
use kache_model::{Digest, Encoder, FileStamp};
use kache_rustc::{Named, NativeKind, NativeLibrary, named_in_script};
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Above this many entries a memo starts afresh.
const MAX_KNOWN: usize = 10_000;

/// Longest text that is taken for a linker script.
const MAX_SCRIPT: u64 = 64 << 10;

/// How deep scripts may name scripts.
const MAX_DEPTH: u32 = 4;

/// The directories and files that are known.
#[derive(Debug, Default)]
pub(crate) struct Natives {
    listings: Mutex<HashMap<PathBuf, (FileStamp, Names)>>,
    kinds: Mutex<HashMap<PathBuf, (FileStamp, Kind)>>,
}

type Names = Arc<HashSet<OsString>>;

/// What a file in a library's place is.
#[derive(Clone, Debug)]
enum Kind {
    /// A library or an object.
    Real,
    /// A linker script, and what it names.
    Script(Arc<[Named]>),
    /// A thin archive, a script that can't be read, something else.
    Other,
}

impl Natives {
    /// Whether the file is a library or an object that holds all that a linker takes from it.
    pub(crate) fn is_real(&self, path: &Path) -> bool {
        matches!(self.kind(path), Kind::Real)
    }

    /// The names in a directory; none if there is no such directory.
    pub(crate) fn names_in(&self, directory: &Path) -> Vec<OsString> {
        let Ok(Some(Found::Directory(stamp))) = files::look(directory) else { return Vec::new() };
        self.listing(directory, stamp).iter().cloned().collect()
    }

    fn kind(&self, path: &Path) -> Kind {
        let Ok(stamp) = files::stamp(path) else { return Kind::Other };
        remembered(&self.kinds, path, stamp, || kind_of(path, stamp.size))
    }

    /// The names in a directory.
    fn listing(&self, directory: &Path, stamp: FileStamp) -> Names {
        remembered(&self.listings, directory, stamp, || {
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            Arc::new(entries.map(|entry| entry.file_name()).collect())
        })
    }
}

/// What `memo` knows of `path` under this stamp, else what `look` says.
fn remembered<T: Clone>(memo: &Mutex<HashMap<PathBuf, (FileStamp, T)>>, path: &Path, stamp: FileStamp, look: impl FnOnce() -> T) -> T {
    if let Some((known, value)) = memo.lock().unwrap_or_else(PoisonError::into_inner).get(path)
        && *known == stamp
    {
        return value.clone();
    }
    let began = files::now();
    let value = look();
    if files::settled(&stamp, began) {
        let mut memo = memo.lock().unwrap_or_else(PoisonError::into_inner);
        if memo.len() >= MAX_KNOWN {
            memo.clear();
        }
        memo.insert(path.to_owned(), (stamp, value.clone()));
    }
    value
}

fn kind_of(path: &Path, len: u64) -> Kind {
    let mut begin = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_SCRIPT).read_to_end(&mut begin));
    if read.is_err() {
        return Kind::Other;
    }
    match begin.get(..8) {
        Some(b"!<arch>\n" | b"--- !tap") => Kind::Real,
        Some([0x7f, b'E', b'L', b'F', ..] | [b'B', b'C', 0xc0, 0xde, ..]) => Kind::Real,
        Some([0xfe, 0xed, 0xfa, 0xce | 0xcf, ..] | [0xce | 0xcf, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..]) => Kind::Real,
        _ if len > MAX_SCRIPT => Kind::Other,
        _ => named_in_script(&begin).map_or(Kind::Other, |named| Kind::Script(named.into())),
    }
}

/// What is searched for.
#[derive(Debug)]
pub(crate) enum Ask {
    /// What `-l` names.
    Library(NativeLibrary),
    /// What `#[link]` names.
    Attribute(String),
    /// Whatever a macro may have named.
    Any,
}

/// The search of one unit.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    natives: &'a Natives,
    /// In order, each once.
    dirs: Vec<Directory>,
    /// How many of them are the unit's own; the rest are the linker's.
    own: usize,
    cwd: &'a Path,
}

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    /// Whether the linker looks there in any case.
    system: bool,
    names: Names,
}

impl<'a> Search<'a> {
    /// Along the unit's own directories, then along the linker's.
    pub(crate) fn new(natives: &'a Natives, own: &[PathBuf], linkers: &[PathBuf], cwd: &'a Path) -> Self {
        let look = |path: &PathBuf| match files::look(path) {
            Ok(Some(Found::Directory(stamp))) => Some((path.clone(), stamp)),
            _ => None,
        };
        let id = |stamp: &FileStamp| (stamp.device, stamp.inode);
        let linkers: Vec<_> = linkers.iter().filter_map(look).collect();
        let system: HashSet<_> = linkers.iter().map(|(_, stamp)| id(stamp)).collect();
        let mut seen = HashSet::new();
        let mut list = |found: Vec<(PathBuf, FileStamp)>| -> Vec<Directory> {
            let new = found.into_iter().filter(|(_, stamp)| seen.insert(id(stamp)));
            new.map(|(path, stamp)| Directory { names: natives.listing(&path, stamp), system: system.contains(&id(&stamp)), path })
                .collect()
        };
        let mut dirs = list(own.iter().filter_map(look).collect());
        let own = dirs.len();
        dirs.extend(list(linkers));
        Self { natives, dirs, own, cwd }
    }

    /// The files that may be read for it.
    pub(crate) fn ask(&self, ask: &Ask) -> Result<Vec<PathBuf>, String> {
        match ask {
            Ask::Library(library) => self.library(library),
            Ask::Attribute(name) => self.attribute(name),
            Ask::Any => self.any(),
        }
    }

    /// Whether the unit has directories of its own that aren't the system's too.
    pub(crate) fn is_own(&self) -> bool {
        self.dirs.iter().take(self.own).any(|dir| !dir.system)
    }

    /// What may be read for `-l`, by rustc or the linker: which ending is taken depends on how the program is linked, so the first file of each
    /// counts. Frameworks belong to the SDK, which the linker's identity stands for.
    pub(crate) fn library(&self, library: &NativeLibrary) -> Result<Vec<PathBuf>, String> {
        let ends: &[&str] = match library.kind {
            NativeKind::Framework => return Ok(Vec::new()),
            NativeKind::Static => &["a"],
            NativeKind::Dylib => &["so", "dylib", "tbd", "a"],
        };
        let found = self.first_of_each(&library.file_names(ends), self.dirs.len());
        if found.is_empty() {
            return Err(library.text.clone());
        }
        self.all_behind(found)
    }

    /// What may be read for a name in `#[link]`, as far as the unit's own directories lead to it.
    pub(crate) fn attribute(&self, name: &str) -> Result<Vec<PathBuf>, String> {
        let mut found = self.first_of_each(&names_of(name), self.own);
        // The bare name is a library's only with `+verbatim`.
        found.retain(|path| !path.ends_with(name) || self.natives.is_real(path));
        self.all_behind(found)
    }

    /// All that may be read for a name that nobody knows: the libraries in those of the unit's own directories that aren't the system's too.
    pub(crate) fn any(&self) -> Result<Vec<PathBuf>, String> {
        let is_library = |name: &str| name.starts_with("lib") && [".a", ".so", ".dylib"].iter().any(|end| name.ends_with(end));
        let mut all = Vec::new();
        for dir in self.dirs.iter().take(self.own).filter(|dir| !dir.system) {
            let mut names: Vec<&OsString> = dir.names.iter().filter(|name| name.to_str().is_some_and(is_library)).collect();
            names.sort();
            all.extend(names.into_iter().map(|name| dir.path.join(name)));
        }
        self.all_behind(all)
    }

    /// The state of all libraries in the system's directories, by their stamps: means something on this machine only.
    pub(crate) fn system(&self) -> Digest {
        let mut encoder = Encoder::new("kache.system-libraries.v1");
        for dir in self.dirs.iter().enumerate().filter(|(place, dir)| *place >= self.own || dir.system).map(|(_, dir)| dir) {
            let ends = [".a", ".so", ".dylib", ".tbd"];
            let is_library = |name: &&OsString| name.to_str().is_some_and(|name| ends.iter().any(|end| name.ends_with(end)));
            let mut names: Vec<&OsString> = dir.names.iter().filter(is_library).collect();
            names.sort();
            for name in names {
                encoder.field("name", name.as_encoded_bytes());
                if let Ok(FileStamp { device, inode, size, mtime, ctime, btime }) = files::stamp(&dir.path.join(name)) {
                    encoder
                        .list("file", [device, inode, size].map(u64::to_le_bytes))
                        .list("times", [mtime, ctime, btime].map(i128::to_le_bytes));
                }
            }
        }
        encoder.finish()
    }

    /// The first file with each of these names, in the order in which the search comes to them.
    fn first_of_each(&self, names: &[String], within: usize) -> Vec<PathBuf> {
        let first = |name: &String| {
            let dirs = self.dirs.iter().take(within).enumerate().filter(|(_, dir)| dir.names.contains(OsStr::new(name)));
            dirs.map(|(place, dir)| (place, dir.path.join(name))).find(|(_, path)| files::stamp(path).is_ok())
        };
        let mut found: Vec<(usize, PathBuf)> = names.iter().filter_map(first).collect();
        found.sort_by_key(|(place, _)| *place);
        found.into_iter().map(|(_, path)| path).collect()
    }

    fn all_behind(&self, paths: Vec<PathBuf>) -> Result<Vec<PathBuf>, String> {
        let mut all = Vec::with_capacity(paths.len());
        paths.into_iter().try_for_each(|path| self.behind(path, &mut all, 0))?;
        Ok(all)
    }

    /// The file itself, and if it is a script those that it names.
    fn behind(&self, path: PathBuf, all: &mut Vec<PathBuf>, depth: u32) -> Result<(), String> {
        let kind = self.natives.kind(&path);
        let refuse = || format!("{} isn't all that is linked", path.display());
        let named = match kind {
            Kind::Script(named) if depth < MAX_DEPTH => named,
            Kind::Real => {
                all.push(path);
                return Ok(());
            }
            _ => return Err(refuse()),
        };
        for name in &*named {
            let found = match name {
                Named::File(name) if name.starts_with('/') => vec![PathBuf::from(name)],
                Named::File(name) => vec![self.beside(&path, name).ok_or_else(refuse)?],
                Named::Library(name) => {
                    let found = self.first_of_each(&[format!("lib{name}.so"), format!("lib{name}.a")], self.dirs.len());
                    if found.is_empty() { Err(refuse()) } else { Ok(found) }?
                }
            };
            found.into_iter().try_for_each(|path| self.behind(path, all, depth + 1))?;
        }
        all.push(path);
        Ok(())
    }

    /// A file that a script names without a directory.
    fn beside(&self, script: &Path, name: &str) -> Option<PathBuf> {
        let near = [script.with_file_name(name), self.cwd.join(name)];
        near.into_iter().find(|path| files::stamp(path).is_ok()).or_else(|| self.first_of_each(&[name.to_owned()], self.dirs.len()).pop())
    }
}

/// The files that `#[link(name = …)]` may mean, in rustc's and the linker's order; the verbatim name too.
pub(crate) fn names_of(name: &str) -> Vec<String> {
    let ends = ["a", "so", "dylib"].map(|end| format!("lib{name}.{end}"));
    ends.into_iter().chain([name.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(text: &str) -> NativeLibrary {
        NativeLibrary::parse(text).unwrap()
    }

    #[test]
    fn the_first_file_of_each_ending_counts_in_the_order_of_the_search() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
        for (dir, name) in [(&one, "libz.a"), (&two, "libz.a"), (&two, "libz.so"), (&two, "liby.so")] {
            std::fs::create_dir_all(dir).unwrap();
            std::fs::write(dir.join(name), "!<arch>\n").unwrap();
        }
        let natives = Natives::default();
        let search = Search::new(&natives, std::slice::from_ref(&one), std::slice::from_ref(&two), dir.path());
        assert_eq!(search.library(&library("z")).unwrap(), [one.join("libz.a"), two.join("libz.so")]);
        assert_eq!(search.library(&library("static=z")).unwrap(), [one.join("libz.a")]);
        assert_eq!(search.library(&library("static:+verbatim=libz.a")).unwrap(), [one.join("libz.a")]);
        assert_eq!(search.attribute("z").unwrap(), [one.join("libz.a")]);
        assert!(search.attribute("y").unwrap().is_empty() && search.library(&library("x")).is_err());
        assert_eq!(search.any().unwrap(), [one.join("libz.a")]);
        let system = Search::new(&natives, std::slice::from_ref(&one), std::slice::from_ref(&one), dir.path());
        assert!(system.any().unwrap().is_empty());
    }

    #[test]
    fn scripts_lead_to_the_real_libraries_and_thin_archives_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for (name, text) in [
            ("libc.so", format!("GROUP ( {} AS_NEEDED ( -lm ) )", path("libc.so.6").display())),
            ("libc.so.6", "\x7fELF....".into()),
            ("libm.a", "INPUT(libm-2.a)".into()),
            ("libm-2.a", "!<arch>\n".into()),
            ("libthin.a", "!<thin>\n".into()),
            ("libself.so", "INPUT(libself.so)".into()),
            ("libodd.so", "INCLUDE other".into()),
        ] {
            std::fs::write(path(name), text).unwrap();
        }
        let natives = Natives::default();
        let search = Search::new(&natives, &[dir.path().to_owned()], &[], dir.path());
        let all = ["libc.so.6", "libm-2.a", "libm.a", "libc.so"].map(path);
        assert_eq!(search.library(&library("c")).unwrap(), all);
        for bad in ["thin", "self", "odd"] {
            assert!(search.library(&library(bad)).is_err(), "{bad}");
        }
    }
}
