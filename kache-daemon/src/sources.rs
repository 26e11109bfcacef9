//! The contents of a unit's input set, as they are now.
//!
//! Two sides of one coin: [`Engine::read`] asks "which key do these names have now?" for a lookup, [`Engine::observed`] asks "what did this
//! compile read?" from its dep-info. Only the second decides what is stored. Promise of the second: no input that it names has changed
//! since the question came, nor a link or a directory on the way to one, so what rustc read is what was digested.
//!
//! What no dep-info tells, and nobody else does: files that `global_asm!(".incbin …")` reads (Cargo doesn't see them change either),
//! dynamic libraries that only `#[link]` names and no `-L` leads to (of those the linker's identity is all that is keyed), and those in a
//! `#[link]` that a proc macro makes.

use crate::engine::Engine;
use crate::files;
use crate::natives::names_of;
use crate::question::Question;
use crate::ways::Ways;
use kache_model::{ContentKey, Digest, InputSet, InputVar, Keying, Linked, Mentions, PortablePath, Rooted};
use kache_rustc::{Source, dep_info::DepInfo, licence};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Why a compile can't be stored. Not an error: rustc's result stands.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotStored {
    #[error("no dep-info: {0}")]
    NoDepInfo(String),
    #[error("{0} changed while rustc ran")]
    Moved(PathBuf),
    #[error("{0} isn't a file on a disk")]
    Unlasting(PathBuf),
    #[error("the variable {0} isn't UTF-8")]
    NonUtf8(String),
    #[error("rustc's messages name a file that it left beside them")]
    NamesFile,
    #[error("it failed, and not by what its source says")]
    FailedOtherwise,
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the output {0} is missing")]
    OutputMissing(String),
    #[error("{0} holds a member that nothing on the command line explains")]
    Unexplained(String),
    #[error("native library: {0}")]
    Native(String),
    #[error("somebody has written into {0} in place, and it may have been linked")]
    DamagedLibrary(PathBuf),
    #[error("rustc's output was too long to keep")]
    Truncated,
    #[error(transparent)]
    Store(#[from] kache_store::StoreError),
}

/// What a compile was seen to read.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    /// The names, not yet marked bound or noisy.
    pub(crate) set: InputSet,
    /// Unit and contents.
    pub(crate) contents: Contents,
    /// Digests of the set's files, in its order.
    pub(crate) digests: Vec<Digest>,
    /// Values of its variables, in its order.
    pub(crate) values: Vec<Option<String>>,
    /// The set's files here, in its order.
    pub(crate) paths: Vec<PathBuf>,
    /// Native libraries that the sources name.
    pub(crate) linked: Linked,
}

/// An input set with what it names now.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) set: InputSet,
    /// Digests of the set's files, in its order.
    pub(crate) digests: Vec<Digest>,
    /// Values of its variables, in its order.
    pub(crate) values: Vec<Option<String>>,
    pub(crate) contents: Contents,
}

/// Unit and contents of its inputs, as two keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contents {
    /// Names the unit's own artifacts.
    pub(crate) content: ContentKey,
    /// Names it to dependents, beside the digest of its interface: without literal paths.
    pub(crate) portable: ContentKey,
}

impl Contents {
    fn derive(question: &Question, set: &InputSet, digests: &[Digest], values: &[Option<String>]) -> Self {
        let derive = |unit, rooted| ContentKey::derive(unit, set, digests, values, &question.roots, rooted);
        Self { content: derive(&question.unit, Rooted::Literal), portable: derive(&question.portable_unit, Rooted::Portable) }
    }
}

impl Engine {
    /// The content key of `question` under `set` as things are now. `None` if the set doesn't apply: a file is gone or unreadable, or
    /// something exists that must not.
    pub(crate) fn read(&self, question: &Question, set: InputSet) -> Option<Read> {
        let mut digests = Vec::with_capacity(set.files.len());
        for file in &set.files {
            let path = question.roots.to_local(file)?;
            let local = question.absolute(path.as_ref());
            // A set may come from the bucket: it must not have us read a whole disk.
            if path == file.0 && Path::new(&file.0).is_absolute() && local.is_dir() {
                return None;
            }
            digests.push(self.files.digest(&local).ok()??.1);
        }
        for name in &set.absent {
            let path = question.roots.to_local(name)?;
            if question.absolute(path.as_ref()).exists() {
                return None;
            }
        }
        let values = values(question, &set).ok()?;
        let contents = Contents::derive(question, &set, &digests, &values);
        Some(Read { set, digests, values, contents })
    }

    /// What the compile of `question` read, from the dep-info that it wrote; for one without dep-info, its source alone.
    pub(crate) fn observed(&self, question: &Question, dep_info: Option<&[u8]>) -> Result<Observed, NotStored> {
        let read = match dep_info {
            Some(text) => DepInfo::parse(text).map_err(|error| NotStored::NoDepInfo(error.to_string()))?,
            None => closed_inputs(question),
        };
        let from_file = question.compile.source != Source::Stdin;
        let names = read.input_names(&question.call.request.cwd, &question.roots, from_file);
        let mut set = InputSet { files: names.files, absent: names.absent, ..InputSet::default() };
        let linked = self.add_linked(question, &mut set)?;
        let (digests, paths) = self.unmoved(question, &mut set)?;
        if let Some(path) = question.moved_by_rule(&self.files) {
            return Err(NotStored::Moved(path));
        }
        let mut sources = None;
        for (name, _) in &read.env {
            let value = question.env.get(name);
            let rooted = value.is_some_and(|value| question.roots.named_in(value));
            let keying = if rooted && !question.closure.library_mentions.contains(name) {
                let sources = sources.get_or_insert_with(|| read_all(&paths));
                let texts: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
                if licence::is_locator(name, &texts) { Keying::Locator } else { Keying::Literal }
            } else {
                Keying::Literal
            };
            set.vars.push(InputVar { name: name.to_owned(), keying });
        }
        set.vars.sort();
        set.vars.dedup();
        let values = values(question, &set)?;
        let contents = Contents::derive(question, &set, &digests, &values);
        Ok(Observed { set, contents, digests, values, paths, linked })
    }

    /// Native libraries that the sources name by `#[link]` are inputs like any other: the file of each kind that is found first on the search path, and
    /// the absence of those that would have been found before it.
    fn add_linked(&self, question: &Question, set: &mut InputSet) -> Result<Linked, NotStored> {
        let local = |file: &PortablePath| question.roots.to_local(file).map(|path| question.absolute(path.as_ref()));
        let sources = read_all(&set.files.iter().filter_map(local).collect::<Vec<_>>());
        let texts: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
        let linked = kache_rustc::linked(&texts);
        let wants = question.compile.wants();
        if wants.native_dirs.is_empty() || linked == Linked::default() {
            return Ok(linked);
        }
        let search = question.search(self, &wants);
        if linked.by_macro && question.compile.gathers() && search.is_own() {
            return Err(NotStored::Native("a macro of this crate fills in its name".into()));
        }
        let portable = |path: &PathBuf| question.roots.to_portable(&path.to_string_lossy());
        for name in &linked.names {
            set.files.extend(search.attribute(name).map_err(NotStored::Native)?.iter().map(portable));
            for file in names_of(name) {
                let before = wants.native_dirs.iter().map(|dir| dir.join(&file)).take_while(|path| !path.exists());
                set.absent.extend(before.map(|path| portable(&path)));
            }
        }
        for names in [&mut set.files, &mut set.absent] {
            names.sort();
            names.dedup();
        }
        Ok(linked)
    }

    /// Of the variables that a library's metadata mentions, those that its macros can bring into another crate as more than a
    /// locator. (`found` in a proc macro's code is another matter: that code runs.)
    pub(crate) fn exported_mentions(&self, question: &Question, observed: &Observed, found: Mentions) -> Mentions {
        if question.compile.is_proc_macro() || found == Mentions::NONE {
            return found;
        }
        let sources = read_all(&observed.paths);
        let texts: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
        found.without(|name| licence::is_locator(name, &texts))
    }

    /// The same, once everything else that is in the key has been looked at again.
    pub(crate) fn confirmed(&self, question: &Question, dep_info: Option<&[u8]>) -> Result<Observed, NotStored> {
        if !files::is_at(&question.call.request.cwd, question.call.request.cwd_id) {
            return Err(NotStored::Moved(question.call.request.cwd.clone()));
        }
        if let Some(path) = question.looked.moved(self, question) {
            return Err(NotStored::Moved(path));
        }
        self.observed(question, dep_info)
    }

    /// Digests of the set's files, none of which has changed since the question came.
    fn unmoved(&self, question: &Question, set: &mut InputSet) -> Result<(Vec<Digest>, Vec<PathBuf>), NotStored> {
        let mut digests = Vec::with_capacity(set.files.len());
        let mut paths = Vec::with_capacity(set.files.len());
        let mut ways = Ways::since(question.began);
        for file in &set.files {
            let local = question.roots.to_local(file).unwrap_or_else(|| file.0.clone());
            let path = question.absolute(local.as_ref());
            // Read by another process, `/proc/self` is another.
            if path.starts_with("/proc") || path.starts_with("/sys") {
                return Err(NotStored::Unlasting(path));
            }
            if let Some(part) = ways.moved(&path) {
                return Err(NotStored::Moved(part));
            }
            let found = self.files.digest(&path).map_err(|source| NotStored::Read { path: path.clone(), source })?;
            let (stamp, digest) = found.ok_or_else(|| NotStored::Moved(path.clone()))?;
            if files::changed_since(stamp.ctime, question.began) {
                return Err(NotStored::Moved(path));
            }
            digests.push(digest);
            paths.push(path);
        }
        let mut appeared = None;
        set.absent.retain(|name| {
            let local = question.roots.to_local(name).unwrap_or_else(|| name.0.clone());
            let path = question.absolute(local.as_ref());
            let Ok(Some(found)) = files::look(&path) else { return true };
            // What was there all along and didn't disturb rustc needn't be absent.
            if found.stamp().is_none_or(|stamp| files::changed_since(stamp.ctime, question.began)) {
                appeared = Some(path);
            }
            false
        });
        if let Some(path) = appeared {
            return Err(NotStored::Moved(path));
        }
        Ok((digests, paths))
    }
}

/// What a source that can't read anything else was compiled from.
fn closed_inputs(question: &Question) -> DepInfo {
    let source = question.compile.source_file().and_then(|path| path.to_str().map(str::to_owned));
    DepInfo { files: source.into_iter().collect(), ..DepInfo::default() }
}

/// The values of a set's variables. One that isn't UTF-8 is an error to rustc, which reports it as unset.
fn values(question: &Question, set: &InputSet) -> Result<Vec<Option<String>>, NotStored> {
    let text = |value: &OsStr| value.to_str().map(str::to_owned);
    let value =
        |name: &str| question.env.get_os(name).map(|value| text(value).ok_or_else(|| NotStored::NonUtf8(name.to_owned()))).transpose();
    set.vars.iter().map(|var| value(&var.name)).collect()
}

/// The texts that a licence is taken from. Directories, and files that have gone, hold no text.
fn read_all(paths: &[PathBuf]) -> Vec<Vec<u8>> {
    paths.iter().filter_map(|path| std::fs::read(path).ok()).collect()
}
