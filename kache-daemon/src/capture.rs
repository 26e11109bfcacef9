//! Takes what rustc made.
//!
//! In two halves. Before the shim gets its `Done`, everything is taken that a later step could disturb or that dependents need (Cargo stamps
//! metadata in `check` builds, dependents ask for its digest, build scripts remove what their probes left), and the rest is opened.
//! Behind the reply, the rest (programs, libraries of code) is copied and hashed, and all is published.
//!
//! Promise: published bytes are the bytes that rustc left; an output that changed in between is not published, nor one that stood there before.

use crate::archive;
use crate::bucket;
use crate::engine::Engine;
use crate::files;
use crate::lease::Lease;
use crate::leftovers::Leftovers;
use crate::question::{Interface, Question};
use crate::restore::detach;
use crate::sources::{Contents, NotStored, Observed, Read};
use kache_config::Links;
use kache_journal::Kept;
use kache_model::artifact::DepInfoText;
use kache_model::{Artifact, ArtifactKey, FileStamp, InputSet, Mentions, Output, Role, RootKinds, Spelling, Stays, Witness};
use kache_proto::Report;
use kache_rustc::dep_info;
use kache_rustc::scan::Scanner;
use kache_rustc::{Expected, Shape, may_be_executable, streams};
use kache_store::{Capture, Publication, StagedBlob};
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A compile that succeeded (or a probe that ended), on its way into the store.
#[derive(Debug)]
pub(crate) struct Captured {
    question: Arc<Question>,
    report: Report,
    observed: Observed,
    dep_info: Option<DepInfoText>,
    outputs: Vec<Taken>,
    /// Members that bundled archives bring into a library.
    bundled: Vec<String>,
    /// Held until the artifact can be found, so that whoever asks for it waits.
    _lease: Option<Lease>,
    mentions: Mentions,
    continued_session: bool,
    status: i32,
    /// Counts it among those that are being stored.
    _storing: Arc<()>,
}

impl Captured {
    /// The question that it answers.
    pub(crate) fn question(&self) -> Arc<Question> {
        Arc::clone(&self.question)
    }

    /// What it was compiled from.
    pub(crate) fn read(&self) -> Read {
        let Observed { set, contents, digests, values, .. } = self.observed.clone();
        Read { set: InputSet { noisy: streams::has_diagnostics(&self.report.stderr), ..set }, digests, values, contents }
    }
}

#[derive(Debug)]
struct Taken {
    expected: Expected,
    path: PathBuf,
    stamp: FileStamp,
    /// Keeps the bytes within reach, whatever becomes of the name.
    open: File,
    blob: Option<Scanned>,
}

/// A blob in staging, and what the scan saw in it.
#[derive(Debug)]
struct Scanned {
    blob: StagedBlob,
    /// The roots that it spells.
    roots: RootKinds,
    /// One of them, as it is spelled.
    spells: Option<String>,
    mentions: Mentions,
}

impl Engine {
    /// The first half: everything that must happen before the shim may exit.
    pub(crate) fn capture(
        &self,
        question: &Arc<Question>,
        report: Report,
        status: i32,
        lease: Option<Lease>,
        continued_session: bool,
        leftovers: &Leftovers,
    ) -> Result<Captured, NotStored> {
        if report.truncated {
            return Err(NotStored::Truncated);
        }
        if streams::names_file(&report.stderr) {
            return Err(NotStored::NamesFile);
        }
        // A macro may fail for whatever it looked at.
        if status != 0 && (question.closure.runs_macros || status != 1 || !streams::fails_by_source(&report.stderr)) {
            return Err(NotStored::FailedOtherwise);
        }
        let dir = question.out_dir();
        let mut outputs = Vec::new();
        for expected in question.compile.expected_outputs().into_iter().chain(leftovers.debug_objects(question)) {
            let path = dir.join(&expected.name);
            match leftovers.made(&path) {
                Ok(mut stamp) => {
                    if question.inputs.incremental && expected.role == Role::Metadata {
                        stamp = detach(question, &path).map_err(|source| NotStored::Read { path: path.clone(), source })?;
                    }
                    let open = File::open(&path).map_err(|source| NotStored::Read { path: path.clone(), source })?;
                    outputs.push(Taken { expected, path, stamp, open, blob: None });
                }
                Err(_) if !expected.required || status != 0 => {}
                Err(_) => return Err(NotStored::OutputMissing(expected.name)),
            }
        }
        let dep_info = question.compile.dep_info_name().and_then(|name| {
            let path = dir.join(&name);
            let text = leftovers.made(&path).and_then(|_| std::fs::read(&path)).ok()?;
            Some(DepInfoText { name, text })
        });
        if dep_info.is_none() && question.compile.dep_info_name().is_some() && !self.is_closed(question) {
            return Err(NotStored::NoDepInfo("rustc wrote none".into()));
        }
        let observed = self.confirmed(question, dep_info.as_ref().map(|dep_info| dep_info.text.as_slice()))?;
        if self.placeholders.after(self, question, &report, &observed.paths) {
            return Err(NotStored::AmbiguousWords);
        }
        if question.compile.gathers()
            && let Some(path) = self.outputs.written_to(&self.store, &self.files, &question.library_dirs())
        {
            return Err(NotStored::DamagedLibrary(path));
        }
        let bundled = bundled(question, &observed);
        for taken in &mut outputs {
            if !can_wait(question, taken.expected.role) {
                taken.blob = Some(self.take(question, taken, &taken.path)?);
            }
        }
        let mentions = self.mentions(question, &observed, &outputs);
        self.remember(question, &observed, &outputs, mentions);
        let question = Arc::clone(question);
        Ok(Captured {
            question,
            report,
            observed,
            dep_info,
            outputs,
            bundled,
            mentions,
            _lease: lease,
            continued_session,
            status,
            _storing: self.storing(),
        })
    }

    /// Lets dependents know what the new libraries are.
    fn remember(&self, question: &Question, observed: &Observed, outputs: &[Taken], mentions: Mentions) {
        let blob = |role| outputs.iter().find(|taken| taken.expected.role == role).and_then(|taken| taken.blob.as_ref());
        let interface = Interface::of(question, |role| blob(role).map(|scanned| scanned.blob.id().0));
        for taken in outputs {
            if !matches!(taken.expected.role, Role::Metadata | Role::Rlib | Role::SharedObject) {
                continue;
            }
            let bytes = taken.blob.as_ref().map(|scanned| scanned.blob.id().0);
            if let (Role::SharedObject, Some(bytes)) = (taken.expected.role, bytes) {
                self.spellings.seen_at(bytes, &taken.path);
            }
            let origin = question.origin(observed.contents, interface, mentions, &observed.linked);
            self.outputs.remember(&self.store, &taken.path, taken.stamp, bytes, origin);
        }
    }

    /// Variables that macros of this library may read elsewhere: what its metadata mentions (`macro_rules`), or its code if it is a
    /// proc macro.
    fn mentions(&self, question: &Question, observed: &Observed, outputs: &[Taken]) -> Mentions {
        let read_by_dependents = |taken: &&Taken| matches!(taken.expected.role, Role::Metadata | Role::SharedObject);
        let scanned = outputs.iter().filter(read_by_dependents).filter_map(|taken| taken.blob.as_ref());
        let found = scanned.fold(Mentions::NONE, |all, scanned| all.union(scanned.mentions));
        self.exported_mentions(question, observed, found)
    }

    /// Takes one output into staging, hashed and scanned in one pass.
    fn take(&self, question: &Question, taken: &Taken, source: &Path) -> Result<Scanned, NotStored> {
        // rustc replaces a library by rename, so a link keeps what it made. Not for what people write into (`strip` on a member's).
        let capture = if self.shares(question, taken.expected.role) { Capture::Link } else { Capture::Copy };
        let mut scanner = Scanner::new(&question.roots);
        let blob = self.store.stage(source, capture, &mut |chunk| scanner.push(chunk))?;
        let now = files::stamp(source).map_err(|source| NotStored::Read { path: taken.path.clone(), source })?;
        if !now.same_output(&taken.stamp) {
            return Err(NotStored::Moved(taken.path.clone()));
        }
        let seen = scanner.finish();
        Ok(Scanned { blob, roots: seen.roots, spells: seen.spelled, mentions: seen.mentions })
    }

    /// What rustc itself puts into a library, as the toolchain's own libraries show. (One named by `--sysroot` is of the same compiler.)
    fn own_members(&self, question: &Question) -> BTreeSet<String> {
        let targets = [question.compile.target.as_deref(), None];
        let found = targets.map(|target| self.toolchains.target_libraries(&question.toolchain, target, &self.files, &self.store));
        found.into_iter().flatten().flat_map(|libraries| libraries.own_members.clone()).collect()
    }

    /// Whether an output of that role may be the store's own inode.
    pub(crate) fn shares(&self, question: &Question, role: Role) -> bool {
        question.compile.placement_shared(role) && self.settings.now().links == Links::Auto
    }

    /// The second half: hash the rest, decide whether the result is portable, publish.
    pub(crate) fn publish(&self, captured: Captured) -> Result<(ArtifactKey, Kept), NotStored> {
        let Captured {
            question,
            report,
            observed,
            dep_info,
            outputs,
            bundled,
            mentions,
            _lease: lease,
            continued_session,
            status,
            _storing,
        } = captured;
        let mut blobs = Vec::with_capacity(outputs.len());
        let mut listed = Vec::with_capacity(outputs.len());
        let (mut kept, mut bound, mut shared) = (Kept::Stored, RootKinds::NONE, Vec::new());
        for mut taken in outputs {
            let scanned = match taken.blob.take() {
                Some(scanned) => scanned,
                None => self.take(&question, &taken, &by_descriptor(&taken))?,
            };
            if taken.expected.role == Role::Rlib {
                audit(&question, &taken, &self.own_members(&question), &bundled)?;
            }
            if let Some(path) = &scanned.spells {
                bound = bound.union(scanned.roots);
                let output = taken.expected.name.clone();
                tracing::info!(krate = %question.compile.crate_name, %output, %path, roots = ?scanned.roots, "bound: the output spells a path");
                kept = Kept::Bound { output, path: path.clone(), roots: bound };
            }
            if self.shares(&question, taken.expected.role) {
                shared.push((taken.path.clone(), scanned.blob.id().0));
            }
            listed.push(Output {
                role: taken.expected.role,
                name: stored_name(&question, taken.expected.name),
                // Some filesystems call every file executable.
                executable: may_be_executable(taken.expected.role) && scanned.blob.executable(),
                blob: scanned.blob.id(),
                len: scanned.blob.len(),
            });
            blobs.push(scanned.blob);
        }
        let Observed { mut set, contents: Contents { content, .. }, linked, .. } = observed;
        set.bound = bound;
        set.noisy = streams::has_diagnostics(&report.stderr);
        let key = ArtifactKey::derive(&content, &set, &question.roots, &question.compile.diagnostics());
        let hide = |text: &[u8], spelling| question.compile.hide_name(question.compile.hide_roots(&question.roots, text, spelling));
        let stays = match () {
            () if question.closure.foreign => Stays::Foreign,
            () if question.by_script => Stays::Script,
            () if continued_session => Stays::ContinuedSession,
            () => Stays::No,
        };
        let artifact = Artifact {
            package: question.compile.package.clone(),
            crate_name: question.compile.keyed_name().to_owned(),
            unit: question.unit,
            content,
            outputs: listed,
            dep_info: dep_info.map(|DepInfoText { name, text }| DepInfoText {
                name: stored_name(&question, name),
                text: dep_info::hide(&text, &question.roots),
            }),
            stdout: hide(&report.stdout, Spelling::Plain),
            stderr: hide(&report.stderr, question.compile.spelling()),
            status,
            compile_millis: report.wall_millis,
            stays,
            bound,
            mentions,
            runs_macros: question.closure.runs_macros,
            linked,
        };
        let bucket = self.bucket().filter(|bucket| bucket.takes_uploads() && artifact.may_travel());
        let bucket = bucket.filter(|_| match self.may_travel(&question, &set) {
            Ok(()) => true,
            Err(beyond) => {
                tracing::info!(krate = %question.compile.crate_name, %beyond, "not uploaded: others would leave its input set alone");
                false
            }
        });
        if let Some(bucket) = self.bucket() {
            bucket.used(&question, &key, &artifact, false);
        }
        let level = bucket.map(|bucket| bucket.level(&question.env));
        let (unit, outline, pending_upload) = (question.unit, question.inputs.outline(), level.map(bucket::note));
        self.store.publish(Publication { key, unit, outline, set, witness: Witness::Own, artifact, blobs, pending_upload })?;
        for (path, bytes) in shared {
            self.outputs.share(&self.store, &path, bytes);
        }
        if let (Some(bucket), Some(level)) = (bucket, level) {
            bucket.upload_later(key, level);
        }
        drop(lease);
        Ok((key, kept))
    }
}

/// Whether an output may be read behind the reply. Programs and libraries of code are large, and nobody who depends on one asks for its digest
/// (Cargo stamps metadata only); what a probe left may be written over by the next one.
fn can_wait(question: &Question, role: Role) -> bool {
    question.compile.shape != Shape::Probe && matches!(role, Role::Executable | Role::Staticlib | Role::Rlib | Role::Debuginfo)
}

/// A path that leads to the open file even when its name is gone (`cargo clean` right after a build); elsewhere than on Linux its own.
fn by_descriptor(taken: &Taken) -> PathBuf {
    if cfg!(target_os = "linux") {
        return PathBuf::from(format!("/proc/self/fd/{}", taken.open.as_raw_fd()));
    }
    taken.path.clone()
}

/// An output's name as it is stored; other than its own only for probes with a random one.
fn stored_name(question: &Question, name: String) -> String {
    String::from_utf8(question.compile.hide_name(name.into_bytes())).unwrap_or_default()
}

/// The members that a library's archive may hold beside its own: those of the archives that options and sources name. A build directory may be
/// gone before the library is published, so they are read before.
fn bundled(question: &Question, observed: &Observed) -> Vec<String> {
    if !question.compile.expected_outputs().iter().any(|output| output.role == Role::Rlib) {
        return Vec::new();
    }
    let wants = question.compile.wants();
    let names = wants.libraries.iter().filter(|library| library.bundled()).flat_map(|library| library.file_names(&["a"]));
    let by_option = names.filter_map(|name| wants.native_dirs.iter().map(|dir| dir.join(&name)).find(|path| path.is_file()));
    let by_source = observed.paths.iter().filter(|path| path.extension().is_some_and(|end| end == "a")).cloned();
    let mut paths: Vec<PathBuf> = by_option.chain(by_source).collect();
    paths.sort();
    paths.dedup();
    let mut members = Vec::new();
    for path in paths {
        // What isn't an archive explains nothing.
        members.extend(archive::members(&path).unwrap_or_default());
        // With some modifiers the archive goes in as it is.
        members.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
    }
    members
}

/// `#[link(kind = "static")]` bundles a library that no argument names; its members show in the archive, one by one.
fn audit(question: &Question, taken: &Taken, own_members: &BTreeSet<String>, bundled: &[String]) -> Result<(), NotStored> {
    let members = archive::members(&by_descriptor(taken)).map_err(|source| NotStored::Read { path: taken.path.clone(), source })?;
    let unit = |name: &str| name.starts_with(&*question.compile.crate_name) && (name.ends_with(".rcgu.o") || name.ends_with(".rcgu.dwo"));
    let own = |name: &String| own_members.contains(name) || unit(name);
    let mut explained: HashMap<&str, usize> = HashMap::new();
    for name in bundled {
        *explained.entry(name).or_default() += 1;
    }
    let mut explains = |name: &String| explained.get_mut(name.as_str()).filter(|left| **left > 0).map(|left| *left -= 1).is_some();
    match members.into_iter().find(|name| !own(name) && !explains(name)) {
        None => Ok(()),
        Some(member) => Err(NotStored::Unexplained(format!("{}({member})", taken.expected.name))),
    }
}
