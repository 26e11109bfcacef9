//! The contents of a unit's input set, as they are now.
//!
//! Two sides of one coin: [`Engine::read`] asks "which key do these names have now?" for a lookup, [`Engine::observed`] asks "what did this
//! compile read?" from its dep-info. Only the second decides what is stored. Promise of the second: no input that it names has changed
//! since the question came, nor a link or a directory on the way to one, so what rustc read is what was digested. Promise of the first: of a set that
//! the bucket told nothing is looked at but what [`crate::fence`] lets through.
//!
//! What no dep-info tells, and nobody else does: files that `global_asm!(".incbin …")` reads (Cargo doesn't see them change either),
//! dynamic libraries that only `#[link]` names and no `-L` leads to (of those the linker's identity is all that is keyed), and those in a
//! `#[link]` that a proc macro makes.

use crate::engine::Engine;
use crate::fence::Fence;
use crate::files::{self, Limits};
use crate::natives::names_of;
use crate::question::Question;
use crate::untracked::{self, Script};
use crate::ways::Ways;
use kache_model::bounds::{self, Beyond};
use kache_model::{ContentKey, Digest, InputSet, InputVar, Keying, Linked, Mentions, NotStoredReason, PortablePath, Rooted, Witness};
use kache_rustc::{Source, dep_info::DepInfo, licence};
use kache_store::KnownSet;
use memchr::memmem;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::PathBuf;

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
    #[error("the variable {0} had another value for rustc than for the build")]
    OtherValue(String),
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
    #[error("its build script: {0}")]
    Script(String),
    #[error("somebody has written into {0} in place, and it may have been linked")]
    DamagedLibrary(PathBuf),
    #[error("rustc's output was too long to keep")]
    Truncated,
    #[error("a source spells a placeholder for a path, and so do rustc's messages")]
    AmbiguousWords,
    #[error(transparent)]
    Store(#[from] kache_store::StoreError),
}

impl NotStored {
    /// Which kind of reason it is.
    pub(crate) fn reason(&self) -> NotStoredReason {
        match self {
            Self::NoDepInfo(_) => NotStoredReason::NoDepInfo,
            Self::Moved(_) => NotStoredReason::Moved,
            Self::Unlasting(_) => NotStoredReason::Unlasting,
            Self::NonUtf8(_) => NotStoredReason::NonUtf8,
            Self::OtherValue(_) => NotStoredReason::OtherValue,
            Self::DamagedLibrary(_) => NotStoredReason::DamagedLibrary,
            Self::Script(_) => NotStoredReason::BuildScript,
            Self::NamesFile => NotStoredReason::NamesFile,
            Self::FailedOtherwise => NotStoredReason::FailedOtherwise,
            Self::Read { .. } => NotStoredReason::Unreadable,
            Self::OutputMissing(_) => NotStoredReason::OutputMissing,
            Self::Unexplained(_) => NotStoredReason::UnexplainedMember,
            Self::Native(_) => NotStoredReason::NativeLibrary,
            Self::Truncated => NotStoredReason::Truncated,
            Self::AmbiguousWords => NotStoredReason::AmbiguousWords,
            Self::Store(_) => NotStoredReason::Store,
        }
    }
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

/// Digests and values of what a set names, in its order.
type Seen = (Vec<Digest>, Vec<Option<String>>);

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
    /// The content key of `question` under a set as things are now. `None` if the set doesn't apply: a file is gone or unreadable, or
    /// something exists that must not;  if its results spell a root that
    /// this question doesn't have; or if the bucket had it name what it has no business with.
    pub(crate) fn read(&self, question: &Question, known: KnownSet) -> Option<Read> {
        let KnownSet { set, witness } = known;
        if !question.roots.kinds().holds(set.bound) {
            return None;
        }
        let read = match witness {
            Witness::Own => self.contents(question, &set, None),
            Witness::Bucket => self.contents_within(question, &set).unwrap_or_else(|beyond| {
                self.leave_alone(question, &set, beyond);
                None
            }),
        };
        let (digests, values) = read?;
        let contents = Contents::derive(question, &set, &digests, &values);
        Some(Read { set, digests, values, contents })
    }

    /// Digests and values of what the set names.
    fn contents(&self, question: &Question, set: &InputSet, mut limits: Option<&mut Limits<'_>>) -> Option<Seen> {
        let mut digests = Vec::with_capacity(set.files.len());
        for file in &set.files {
            let local = question.absolute(question.roots.to_local(file)?.as_ref());
            let found = match limits.as_deref_mut() {
                None => self.files.digest(&local),
                Some(limits) => self.files.digest_within(&local, limits),
            };
            digests.push(found.ok()??.1);
        }
        for name in &set.absent {
            let path = question.roots.to_local(name)?;
            if question.absolute(path.as_ref()).exists() {
                return None;
            }
        }
        Some((digests, values(question, set).ok()?))
    }

    /// The same for a set that the bucket told: an error if it names what an honest one doesn't, before anything of that is looked at.
    fn contents_within(&self, question: &Question, set: &InputSet) -> Result<Option<Seen>, Beyond> {
        let fence = Fence::around(question);
        fence.check(question, set)?;
        self.check_secrets(question, set)?;
        let mut limits = Limits::new(&fence);
        let seen = self.contents(question, set, Some(&mut limits));
        limits.beyond().map_or(Ok(seen), Err)
    }

    /// A variable that looks like a secret counts only if a compile of this unit was seen here to read it.
    fn check_secrets(&self, question: &Question, set: &InputSet) -> Result<(), Beyond> {
        let secret = |var: &&InputVar| bounds::looks_secret(&var.name, question.env.get(&var.name));
        let mut secrets = set.vars.iter().filter(secret).peekable();
        if secrets.peek().is_none() {
            return Ok(());
        }
        let known = self.store.known_sets(&question.unit).unwrap_or_default();
        let own: Vec<InputSet> = known.into_iter().filter(|known| known.witness == Witness::Own).map(|known| known.set).collect();
        let seen = |var: &InputVar| own.iter().flat_map(|set| &set.vars).any(|known| known.name == var.name);
        secrets.find(|var| !seen(var)).map_or(Ok(()), |var| Err(Beyond::Secret(var.name.clone())))
    }

    /// The set is never looked at again; but one that names a secret is, once a compile here was seen to read that.
    fn leave_alone(&self, question: &Question, set: &InputSet, beyond: Beyond) {
        tracing::warn!(krate = %question.compile.crate_name, unit = %question.unit, %beyond, "an input set from the bucket is left alone");
        if let Some(bucket) = self.opened_bucket() {
            bucket.oddities().set_left_alone(&beyond);
        }
        if !matches!(beyond, Beyond::Secret(_))
            && let Err(error) = self.store.disown_set(&question.unit, set)
        {
            tracing::warn!(%error, "input set");
        }
    }

    /// Whether other machines would look at what this set names: if not, its artifact is of no use to them.
    pub(crate) fn may_travel(&self, question: &Question, set: &InputSet) -> Result<(), Beyond> {
        Fence::around(question).check(question, set)
    }

    /// What the compile of `question` read, from the dep-info that it wrote; for one without dep-info, its source alone.
    pub(crate) fn observed(&self, question: &Question, dep_info: Option<&[u8]>) -> Result<Observed, NotStored> {
        let read = match dep_info {
            Some(text) => DepInfo::parse(text).map_err(|error| NotStored::NoDepInfo(error.to_string()))?,
            None => closed_inputs(question),
        };
        // A macro or a script in rustc's place has set it: neither the key nor what Cargo is told later would be true.
        if let Some((name, _)) = read.env.iter().find(|(name, seen)| question.env.get(name) != seen.as_deref()) {
            return Err(NotStored::OtherValue(name.clone()));
        }
        let from_file = question.compile.source != Source::Stdin;
        let names = read.input_names(&question.call.request.cwd, &question.roots, from_file);
        let mut set = InputSet { files: names.files, absent: names.absent, ..InputSet::default() };
        let local = |file: &PortablePath| question.roots.to_local(file).map(|path| question.absolute(path.as_ref()));
        let sources = read_all(&set.files.iter().filter_map(local).collect::<Vec<_>>());
        let texts: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
        let linked = self.add_linked(question, &texts, &mut set)?;
        let names = read.env.iter().map(|(name, _)| name.as_str());
        set.vars = self.variables(question, names, &texts);
        self.add_declared(question, &texts, &mut set)?;
        let (digests, paths) = self.unmoved(question, &mut set)?;
        if let Some(path) = question.moved_by_rule(&self.files) {
            return Err(NotStored::Moved(path));
        }
        let values = values(question, &set)?;
        let contents = Contents::derive(question, &set, &digests, &values);
        Ok(Observed { set, contents, digests, values, paths, linked })
    }

    /// The variables that the sources read, by what rustc says of them (`tracked`) and by what their macros can: of those on hand any that they spell.
    fn variables<'a>(&self, question: &Question, tracked: impl Iterator<Item = &'a str>, sources: &[&[u8]]) -> Vec<InputVar> {
        let Question { env, roots, closure, .. } = question;
        let mut names: BTreeSet<&str> = tracked.collect();
        let mut by_macros = BTreeSet::new();
        if !closure.code.is_empty() {
            let mentioned = kache_rustc::spelled_in_sources(&kache_rustc::candidates(env), sources);
            by_macros = untracked::spelled(self, env, closure);
            // Those that macros spell themselves are in the unit's key.
            names.extend(mentioned.into_iter().filter(|name| !by_macros.contains(*name)));
        }
        let keying = |name: &str| {
            let Some(value) = env.get(name).filter(|value| roots.named_in(value)) else { return Keying::Literal };
            let elsewhere = closure.library_mentions.contains(name) || by_macros.contains(name) || spelled_by_libraries(question, name);
            if !elsewhere && (untracked::literally(roots, name, value) != value || licence::is_locator(name, sources)) {
                Keying::Locator
            } else {
                Keying::Literal
            }
        };
        names.into_iter().map(|name| InputVar { name: name.to_owned(), keying: keying(name) }).collect()
    }

    /// Files that a build script declared, where assembly in the sources may include one; and those in `OUT_DIR`, where the sources hand it to a macro.
    fn add_declared(&self, question: &Question, sources: &[&[u8]], set: &mut InputSet) -> Result<(), NotStored> {
        let literal = InputVar { name: "OUT_DIR".into(), keying: Keying::Literal };
        let handed_on = !question.closure.code.is_empty() && set.vars.contains(&literal);
        let assembles = kache_rustc::assembly_may_include(sources);
        if !handed_on && !assembles {
            return Ok(());
        }
        let script = Script::of(&question.compile, &question.env, &question.roots).map_err(|bypass| NotStored::Script(bypass.detail))?;
        let Some(script) = script else { return Ok(()) };
        let mut paths: Vec<PathBuf> = if assembles { script.paths().collect() } else { Vec::new() };
        paths.extend(handed_on.then(|| script.out_dir.clone()));
        for path in paths {
            let names = if path.exists() { &mut set.files } else { &mut set.absent };
            names.push(question.roots.to_portable(&path.to_string_lossy()));
        }
        sort(set);
        Ok(())
    }

    /// Native libraries that the sources name by `#[link]` are inputs like any other: the file of each kind that is found first on the search path, and
    /// the absence of those that would have been found before it.
    fn add_linked(&self, question: &Question, sources: &[&[u8]], set: &mut InputSet) -> Result<Linked, NotStored> {
        let linked = kache_rustc::linked(sources);
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
        sort(set);
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

fn sort(set: &mut InputSet) {
    for names in [&mut set.files, &mut set.absent] {
        names.sort();
        names.dedup();
    }
}

/// Whether a library that this compile may reach spells `name`, and so may bring a macro along that uses the variable otherwise. (For the paths that are
/// a unit's own, the closure knows better.)
fn spelled_by_libraries(question: &Question, name: &str) -> bool {
    if Mentions::NAMES.contains(&name) {
        return false;
    }
    let entries = question.compile.dependency_dirs().into_iter().flat_map(|dir| std::fs::read_dir(dir).into_iter().flatten().flatten());
    let files = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "rmeta" || end == "rlib"));
    let finder = memmem::Finder::new(name);
    files.filter_map(|path| std::fs::read(path).ok()).any(|bytes| finder.find(&bytes).is_some())
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
