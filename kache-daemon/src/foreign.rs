//! Libraries that this cache didn't make: plain cargo did, or their target directory came from elsewhere, or the store has lost them.
//!
//! Such a library is an input like any other, by content, and so is all that rustc may read through it: of the files in the directories where
//! rustc looks for crates those that its metadata names ([`kache_rustc::reach`]), and theirs; all of them where that can't be told. The
//! rest of its origin is assumed at its worst: that it runs macros, that every variable that its bytes mention counts, and that it links
//! whatever native library there is.
//!
//! Code is another matter than metadata: a unit that compiles against a library reads the metadata alone, and what links takes the code of all
//! that it reaches, also of what lies below libraries that this cache made ([`Foreign::with_code`]).
//!
//! Promise: what is made over one is right on this machine and stays there; nobody else has these bytes. It has an origin like any
//! other, so what lies above it is cached too.

use crate::engine::Engine;
use crate::files::{self, Files};
use crate::natives::Natives;
use crate::outputs::{Origin, Recalled};
use crate::toolchain::Toolchain;
use kache_model::{ContentKey, Digest, Encoder, Linked, Mentions, Roots};
use kache_rustc::Compile;
use kache_rustc::reach::{ReachScanner, ending_of, is_library};
use kache_rustc::scan::Scanner;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Above this many libraries the memo starts afresh.
const MAX_KNOWN: usize = 20_000;

/// What libraries say of themselves, by their bytes.
#[derive(Debug, Default)]
pub(crate) struct Foreign(Mutex<HashMap<Digest, Arc<Said>>>);

#[derive(Debug)]
struct Said {
    /// Endings of the names of the crates that it needs; empty if it says nothing that is understood.
    endings: BTreeSet<String>,
    is_macro: bool,
    mentions: Mentions,
}

/// What was found behind a library: by path, what stands for each file in a key.
#[derive(Debug, Default)]
struct Reached {
    files: BTreeMap<PathBuf, Digest>,
    library_mentions: Mentions,
    /// Shared objects that rustc loads.
    code: BTreeSet<Digest>,
}

/// One of them.
#[derive(Clone, Debug)]
struct Part {
    digest: Digest,
    library_mentions: Mentions,
    code: BTreeSet<Digest>,
    /// What it says; nothing that is needed of a library that this cache made.
    said: Option<Arc<Said>>,
}

impl Foreign {
    /// What the library at `path`, which this cache didn't make, is to those who depend on it.
    pub(crate) fn origin(&self, engine: &Engine, path: &Path, around: &Around) -> io::Result<Origin> {
        let (own, said) = self.look(&engine.files, path)?;
        let mut reached = Reached::default();
        reached.note(engine, path, own, &said);
        self.walk(engine, path, &said, around, &mut reached)?;
        let mut encoder = Encoder::new("kache.foreign.v1");
        encoder.field("library", own.as_bytes());
        reached.encode(&mut encoder);
        // What a macro links stays with it.
        let linked = if said.is_macro { Linked::default() } else { Linked { by_macro: true, ..Linked::default() } };
        Ok(Origin {
            content: ContentKey(encoder.finish()),
            interface: Some(own),
            library_mentions: reached.library_mentions,
            code: reached.code,
            runs_macros: true,
            libraries: BTreeSet::new(),
            linked,
            foreign: true,
        })
    }

    /// The origin of a library at `path` that this cache made over others' libraries, for a unit that gathers their code: it was made from their
    /// metadata, and what that says of the code may have changed since (an archive that is bundled).
    pub(crate) fn with_code(&self, engine: &Engine, origin: Origin, path: &Path, around: &Around) -> io::Result<Origin> {
        let (_, said) = self.look(&engine.files, path)?;
        let mut reached = Reached::default();
        self.walk(engine, path, &said, around, &mut reached)?;
        let mut encoder = Encoder::new("kache.foreign-code.v1");
        encoder.field("content", origin.content.0.as_bytes());
        reached.encode(&mut encoder);
        Ok(Origin { content: ContentKey(encoder.finish()), ..origin })
    }

    /// Follows the names that libraries give for what they need.
    fn walk(&self, engine: &Engine, from: &Path, said: &Said, around: &Around, reached: &mut Reached) -> io::Result<()> {
        if said.is_macro {
            return Ok(());
        }
        let mut due = around.needed(&engine.natives, from, &said.endings);
        while let Some(next) = due.pop() {
            if next == from || reached.files.contains_key(&next) {
                continue;
            }
            let part = self.part(engine, &next, around)?;
            reached.library_mentions = reached.library_mentions.union(part.library_mentions);
            reached.code.extend(part.code);
            reached.files.insert(next.clone(), part.digest);
            if let Some(said) = part.said.filter(|said| !said.is_macro && !said.endings.is_empty()) {
                due.extend(around.needed(&engine.natives, &next, &said.endings));
            }
        }
        Ok(())
    }

    /// A file that is reached: looked at once for all the externs of a unit.
    fn part(&self, engine: &Engine, path: &Path, around: &Around) -> io::Result<Part> {
        if let Some(part) = around.parts().get(path) {
            return Ok(part.clone());
        }
        // Of what this cache made, two equal compiles may differ in bytes. What it needs stands in the table above it.
        let part = match engine.outputs.recall(&engine.store, &engine.files, path) {
            Recalled::Known(origin) => {
                Part { digest: made(&origin), library_mentions: origin.library_mentions, code: origin.code, said: None }
            }
            Recalled::Unknown | Recalled::Damaged => {
                let (digest, said) = self.look(&engine.files, path)?;
                let mut reached = Reached::default();
                reached.note(engine, path, digest, &said);
                let Reached { library_mentions, code, .. } = reached;
                Part { digest, library_mentions, code, said: Some(said) }
            }
        };
        around.parts().insert(path.to_owned(), part.clone());
        Ok(part)
    }

    /// Digest of a library, and what it says.
    fn look(&self, files: &Files, path: &Path) -> io::Result<(Digest, Arc<Said>)> {
        files::stamp(path)?;
        let (_, digest) = files.digest(path)?.ok_or(io::ErrorKind::NotFound)?;
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned();
        let said = match known {
            Some(said) => said,
            None => {
                let said = Arc::new(read(path, digest)?);
                let mut memo = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if memo.len() >= MAX_KNOWN {
                    memo.clear();
                }
                memo.insert(digest, Arc::clone(&said));
                said
            }
        };
        Ok((digest, said))
    }
}

impl Reached {
    fn note(&mut self, engine: &Engine, path: &Path, library: Digest, said: &Said) {
        if said.is_macro {
            engine.spellings.seen_at(library, path);
            self.code.insert(library);
        } else {
            self.library_mentions = self.library_mentions.union(said.mentions);
        }
    }

    /// By file name: a target directory may move.
    fn encode(&self, encoder: &mut Encoder) {
        let name = |path: &PathBuf| path.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
        let mut files: Vec<(Vec<u8>, &Digest)> = self.files.iter().map(|(path, digest)| (name(path), digest)).collect();
        files.sort();
        encoder.list("names", files.iter().map(|(name, _)| name)).list("digests", files.iter().map(|(_, digest)| digest.as_bytes()));
    }
}

/// What stands for a library that this cache made.
fn made(origin: &Origin) -> Digest {
    let mut encoder = Encoder::new("kache.made.v1");
    encoder.field("content", origin.content.0.as_bytes());
    encoder.optional("interface", origin.interface.as_ref().map(|digest| digest.as_bytes().as_slice()));
    encoder.finish()
}

/// Reads a library that has this digest.
fn read(path: &Path, digest: Digest) -> io::Result<Said> {
    use sha2::Digest as _;
    let mut file = std::fs::File::open(path)?;
    let (mut hasher, mut reach, mut names) = (sha2::Sha256::new(), ReachScanner::default(), Scanner::new(&Roots::default()));
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        reach.push(&buffer[..n]);
        names.push(&buffer[..n]);
    }
    if Digest::from_bytes(hasher.finalize().into()) != digest {
        return Err(io::Error::other("changed while it was read"));
    }
    let reach = reach.finish();
    Ok(Said { endings: reach.endings, is_macro: reach.is_macro, mentions: names.finish().mentions })
}

/// Where rustc looks for what the libraries of one unit need. Listed once, when it is first asked for.
#[derive(Debug)]
pub(crate) struct Around {
    dirs: Vec<PathBuf>,
    sysroot: PathBuf,
    /// What the unit itself makes.
    own: Vec<PathBuf>,
    /// Whether code is read too, not only metadata.
    gathers: bool,
    shelves: OnceLock<Shelves>,
    parts: Mutex<HashMap<PathBuf, Part>>,
}

/// The libraries in those directories.
#[derive(Debug, Default)]
struct Shelves {
    by_ending: HashMap<String, Vec<PathBuf>>,
    /// Those that Cargo hasn't named: any library may need them without a word.
    others: Vec<PathBuf>,
    /// Endings of the standard library's crates, which the toolchain's identity stands for.
    standard: BTreeSet<String>,
}

impl Around {
    pub(crate) fn of(compile: &Compile, cwd: &Path, toolchain: &Toolchain) -> Self {
        let out_dir = cwd.join(&compile.out_dir);
        Self {
            dirs: compile.dependency_dirs(),
            sysroot: compile.sysroot.as_ref().map_or_else(|| toolchain.sysroot.clone(), |sysroot| cwd.join(sysroot)),
            own: compile.expected_outputs().into_iter().map(|output| out_dir.join(output.name)).collect(),
            gathers: compile.gathers(),
            shelves: OnceLock::new(),
            parts: Mutex::default(),
        }
    }

    fn parts(&self) -> MutexGuard<'_, HashMap<PathBuf, Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the unit reads code, not only metadata.
    pub(crate) fn gathers(&self) -> bool {
        self.gathers
    }

    /// The files that may be read for a library at `path` that names these endings.
    fn needed(&self, natives: &Natives, path: &Path, endings: &BTreeSet<String>) -> Vec<PathBuf> {
        let shelves = self.shelves.get_or_init(|| self.list(natives));
        // The code of a library may come without the metadata.
        let beside = path.with_extension("rmeta");
        let mut needed: Vec<PathBuf> = Vec::new();
        if path.extension() == Some(OsStr::new("rlib")) && beside.is_file() {
            needed.push(beside.clone());
        }
        needed.extend(shelves.others.iter().cloned());
        let own = path.file_name().and_then(OsStr::to_str).and_then(ending_of);
        let mut told = !endings.is_empty() || needed.first() == Some(&beside);
        for ending in endings {
            match shelves.by_ending.get(ending) {
                // Named by its metadata, its code is found beside it.
                Some(files) if self.gathers || Some(ending.as_str()) != own => needed.extend(self.read_of(files)),
                Some(_) => {}
                // One that isn't there under its name may be found under another.
                None => told &= Some(ending.as_str()) == own || shelves.standard.contains(ending),
            }
        }
        if !told {
            needed.extend(shelves.by_ending.values().flatten().cloned());
        }
        needed
    }

    /// Of the files of one name those that are read: the code where it is gathered, else the metadata; a shared object in any case.
    fn read_of<'a>(&self, files: &'a [PathBuf]) -> impl Iterator<Item = PathBuf> + 'a {
        let has = |end: &str| files.iter().any(|path| path.extension() == Some(OsStr::new(end)));
        let left_out = match (self.gathers, has("rlib"), has("rmeta")) {
            (true, true, true) => Some(OsStr::new("rmeta")),
            (false, true, true) => Some(OsStr::new("rlib")),
            _ => None,
        };
        files.iter().filter(move |path| path.extension() != left_out || left_out.is_none()).cloned()
    }

    fn list(&self, natives: &Natives) -> Shelves {
        let mut shelves = Shelves::default();
        let dirs: BTreeSet<&PathBuf> = self.dirs.iter().collect();
        for (dir, name) in dirs.into_iter().flat_map(|dir| natives.names_in(dir).into_iter().map(move |name| (dir, name))) {
            let path = dir.join(&name);
            match name.to_str().filter(|name| is_library(name)) {
                Some(_) if self.own.contains(&path) => {}
                Some(text) => match ending_of(text) {
                    Some(ending) => shelves.by_ending.entry(ending.to_owned()).or_default().push(path),
                    None => shelves.others.push(path),
                },
                None => {}
            }
        }
        let rustlib = self.sysroot.join("lib/rustlib");
        for target in natives.names_in(&rustlib) {
            let names = natives.names_in(&rustlib.join(target).join("lib"));
            let endings = names.iter().filter_map(|name| name.to_str()).filter(|name| is_library(name)).filter_map(ending_of);
            shelves.standard.extend(endings.map(str::to_owned));
        }
        shelves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "-aaaaaaaaaaaaaaaa";
    const B: &str = "-bbbbbbbbbbbbbbbb";
    const C: &str = "-cccccccccccccccc";
    const STD: &str = "-dddddddddddddddd";

    fn around(dir: &Path, gathers: bool) -> Around {
        let deps = dir.join("deps");
        Around {
            own: vec![deps.join(format!("libown{C}.rmeta"))],
            dirs: vec![deps.clone(), deps],
            sysroot: dir.join("sysroot"),
            gathers,
            shelves: OnceLock::new(),
            parts: Mutex::default(),
        }
    }

    /// What is read for `liba`, if it names these.
    fn needed(dir: &Path, gathers: bool, file: &str, endings: &[&str]) -> Vec<String> {
        let endings = endings.iter().map(|ending| (*ending).to_owned()).collect();
        let found = around(dir, gathers).needed(&Natives::default(), &dir.join("deps").join(file), &endings);
        let names: BTreeSet<String> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        names.into_iter().collect()
    }

    #[test]
    fn what_a_library_names_is_read_and_all_of_it_where_that_does_not_lead_to_files() {
        let dir = tempfile::tempdir().unwrap();
        let std = dir.path().join("sysroot/lib/rustlib/x/lib");
        std::fs::create_dir_all(&std).unwrap();
        std::fs::create_dir(dir.path().join("deps")).unwrap();
        std::fs::write(std.join(format!("libcore{STD}.rlib")), "").unwrap();
        let write = |name: String| std::fs::write(dir.path().join("deps").join(name), "").unwrap();
        for (name, ending) in [("a", A), ("b", B), ("stale", C)] {
            write(format!("lib{name}{ending}.rlib"));
            write(format!("lib{name}{ending}.rmeta"));
            write(format!("{name}{ending}.d"));
        }
        write(format!("libown{C}.rmeta"));
        let file = format!("liba{A}.rmeta");
        let names = |gathers, file: &str, endings: &[&str]| needed(dir.path(), gathers, file, endings);
        assert_eq!(names(false, &file, &[A, B, STD]), [format!("libb{B}.rmeta")]);
        assert_eq!(names(true, &file, &[A, B, STD]), [format!("liba{A}.rlib"), format!("libb{B}.rlib")]);
        assert_eq!(
            names(false, &format!("liba{A}.rlib"), &[A, B]),
            [format!("liba{A}.rmeta"), format!("libb{B}.rmeta")],
            "metadata beside"
        );
        let all = ["a", "b", "stale"]
            .into_iter()
            .zip([A, B, C])
            .flat_map(|(name, ending)| ["rlib", "rmeta"].map(|end| format!("lib{name}{ending}.{end}")));
        let all: Vec<String> = all.collect();
        assert_eq!(names(false, &file, &[]), all, "it says nothing");
        assert_eq!(names(false, &file, &[A, B, "-eeeeeeeeeeeeeeee"]), all, "it names what isn't there");
        write("libunnamed.rlib".into());
        assert_eq!(names(false, &file, &[A, STD]), ["libunnamed.rlib"], "what Cargo hasn't named may be needed by any");
    }
}
