//! An invocation, understood: everything that is known before a source file is read.
//!
//! Here the pure model of rustc meets the machine: the model says what it *wants* to know ([`kache_rustc::Wants`]), this module
//! looks it up. Whatever can't be found out with certainty is a bypass with a name.

use crate::asker::Asker;
use crate::bucket::{Session, Turn};
use crate::engine::Engine;
use crate::files::Files;
use crate::foreign::Around;
use crate::journal::Call;
use crate::linker::{Choice, Linker};
use crate::looked::Looked;
use crate::natives::{Ask, Search};
use crate::outputs::{Origin, Recalled};
use crate::program::is_script;
use crate::rules;
use crate::settings::Settings;
use crate::sources::Contents;
use crate::toolchain::{self, Toolchain};
use crate::untracked::Untracked;
use kache_config::Rule;
use kache_model::{Bypass, BypassReason, Digest, Encoder, ExternInput, Linked, Mentions, Role, Root, RootKind, Roots, UnitInputs, UnitKey};
use kache_rustc::{Compile, Driver, Env, LinkerWant, NativeLibrary, Source, Wants};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The question that the store is asked.
#[derive(Debug)]
pub(crate) struct Question {
    /// The invocation, with what came from the shim.
    pub(crate) call: Arc<Call>,
    /// What rustc is to do.
    pub(crate) compile: Box<Compile>,
    /// The build's environment.
    pub(crate) env: Env,
    /// What compiles it.
    pub(crate) toolchain: Arc<Toolchain>,
    /// Its machine-local roots.
    pub(crate) roots: Roots,
    /// Everything but the contents of its sources.
    pub(crate) inputs: UnitInputs,
    /// The digest of that.
    pub(crate) unit: UnitKey,
    /// The same without literal paths: what dependents know it by.
    pub(crate) portable_unit: UnitKey,
    /// What it reaches.
    pub(crate) closure: Closure,
    /// What its key was made from.
    pub(crate) looked: Looked,
    /// What the configuration declares of it.
    pub(crate) rule: Rule,
    /// Names the lease: the unit and the contents of its root module.
    pub(crate) lease: Digest,
    /// The file clock when the question came: whatever an input's stamp says later than this, was changed under rustc's hands.
    pub(crate) began: i128,
    /// A script has a hand in it, which may read what nobody sees: good here, not for others.
    pub(crate) by_script: bool,
    /// The Cargo that asks; `None` where nothing is shared with a team.
    pub(crate) session: Option<Arc<Session>>,
    /// Its place in that session.
    pub(crate) turn: Option<Turn>,
}

/// What dependents see of a library's files.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Interface {
    /// Digest of what they read: of the `.rmeta`, else of the shared object, unless an incremental session shaped its bytes.
    pub(crate) pinned: Option<Digest>,
    /// Digest of the shared object that rustc loads for them.
    pub(crate) code: Option<Digest>,
}

impl Interface {
    /// `digest` looks an output's digest up by its role.
    pub(crate) fn of(question: &Question, digest: impl Fn(Role) -> Option<Digest>) -> Self {
        let code = digest(Role::SharedObject);
        Self { pinned: digest(Role::Metadata).or_else(|| code.filter(|_| !question.inputs.incremental)), code }
    }
}

/// What the externs of a unit reach, taken together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closure {
    pub(crate) library_mentions: Mentions,
    /// Shared objects that rustc loads for it: proc macros and what they load.
    pub(crate) code: BTreeSet<Digest>,
    pub(crate) runs_macros: bool,
    /// Native libraries of theirs, as they are named by `-l`.
    pub(crate) libraries: BTreeSet<String>,
    /// Native libraries that their sources name.
    pub(crate) linked: Linked,
    /// Some of it wasn't made by this cache.
    pub(crate) foreign: bool,
}

impl Question {
    /// Looks up what the model wants to know.
    pub(crate) fn new(
        engine: &Engine,
        settings: &Settings,
        call: &Arc<Call>,
        compile: Box<Compile>,
        env: Env,
        began: i128,
    ) -> Result<Self, Bypass> {
        let request = &call.request;
        let rule = settings.rules.of(&compile.package, &compile.crate_name);
        if rule.bypass {
            return Err(Bypass::new(BypassReason::Rule, compile.package.clone()));
        }
        let session = engine.bucket().map(|bucket| bucket.session(engine, request, &compile.compiler, true));
        let turn = session.as_ref().map(|session| session.turn());
        let toolchain = engine.toolchain(&compile.compiler, &env, &request.cwd)?;
        let roots = roots(&compile, &toolchain, &settings.base_dirs)?;
        let mut inputs = compile.inputs(&roots);
        inputs.salt.clone_from(&settings.salt);
        inputs.toolchain = Some(toolchain.identity);
        let (cwd, looked) = (&*request.cwd, Looked::default());
        let asker = &call.asker;
        let mut lookup =
            Lookup { engine, asker, compile: &compile, env: &env, cwd, roots: &roots, toolchain: &toolchain, looked, by_script: false };
        if let Driver::Clippy { driver } = &compile.driver {
            let driver = toolchain::resolve(driver, &env, cwd);
            if is_script(&driver).unwrap_or(true) {
                return Err(Bypass::new(BypassReason::RustcScript, driver.display().to_string()));
            }
            inputs.driver = Some(lookup.digest(&driver, BypassReason::UnknownToolchain)?);
        }
        inputs.options.extend(lookup.rpath());
        let closure = lookup.externs(&mut inputs)?;
        lookup.wants(&compile.wants(), &closure, &mut inputs)?;
        let untracked = Untracked { engine, compile: &compile, env: &env, roots: &roots };
        rules::fold(
            &rule,
            rules::Scene { files: &engine.files, roots: &roots, package_dir: package_dir(&env, &request.cwd) },
            &env,
            &mut inputs,
        )?;
        let (unit, portable_unit) = untracked.fold(&closure, &mut lookup.looked, &mut inputs)?;
        let lease = lookup.lease(&unit, inputs.stdin)?;
        let Lookup { looked, by_script, .. } = lookup;
        Ok(Self {
            call: Arc::clone(call),
            compile,
            env,
            toolchain,
            roots,
            inputs,
            unit,
            portable_unit,
            closure,
            looked,
            rule,
            lease,
            began,
            by_script,
            session,
            turn,
        })
    }

    /// The same question about a compile in which no path is remapped.
    pub(crate) fn without_remapping(&self, engine: &Engine) -> Result<Self, Bypass> {
        let mut compile = self.compile.clone();
        compile.remapped = false;
        Self::new(engine, &engine.settings.now(), &self.call, compile, self.env.clone(), self.began)
    }

    /// A file that the configuration declares and that changed since the question came.
    pub(crate) fn moved_by_rule(&self, files: &Files) -> Option<PathBuf> {
        let package_dir = package_dir(&self.env, &self.call.request.cwd);
        rules::moved(&self.rule, rules::Scene { files, roots: &self.roots, package_dir }, &self.inputs, self.began)
    }

    /// An absolute path for one that rustc would take from its working directory.
    pub(crate) fn absolute(&self, path: &Path) -> PathBuf {
        self.call.request.cwd.join(path)
    }

    /// Directories of the libraries that it names or that these need: in newer layouts each has one of its own.
    pub(crate) fn library_dirs(&self) -> BTreeSet<PathBuf> {
        let named = self.compile.externs.iter().filter_map(|item| Some(self.absolute(item.path.as_deref()?).parent()?.to_owned()));
        named.chain(self.compile.dependency_dirs()).collect()
    }

    /// Where the outputs go.
    pub(crate) fn out_dir(&self) -> PathBuf {
        self.absolute(&self.compile.out_dir)
    }

    /// Where the dep-info goes, if one is asked for.
    pub(crate) fn dep_info_path(&self) -> Option<PathBuf> {
        self.compile.dep_info_name().map(|name| self.out_dir().join(name))
    }

    /// What stays the same when the sources change: crate name and Cargo's `-C extra-filename`; for probes, which have none, the unit.
    pub(crate) fn slot(&self) -> String {
        let name = &self.compile.crate_name;
        self.inputs.extra_filename.as_ref().map_or_else(|| format!("{name}={}", self.unit), |ending| format!("{name}{ending}"))
    }

    /// What a library made from this question is to its dependents. Without an interface to pin, its paths count too.
    pub(crate) fn origin(&self, contents: Contents, made: Interface, own: Mentions, linked: &Linked) -> Origin {
        let Interface { pinned: interface, code: loaded } = made;
        let content = if interface.is_some() { contents.portable } else { contents.content };
        let Closure { library_mentions, runs_macros, foreign, .. } = self.closure;
        let is_macro = self.compile.is_proc_macro();
        // What a macro links stays with it.
        let (libraries, linked) = if is_macro { Default::default() } else { self.libraries(linked) };
        Origin {
            content,
            interface,
            library_mentions: if is_macro { library_mentions } else { library_mentions.union(own) },
            code: self.closure.code.iter().copied().chain(loaded).collect(),
            runs_macros: runs_macros || is_macro,
            libraries,
            linked,
            foreign,
        }
    }

    /// Where rustc looks for what its externs need.
    pub(crate) fn around(&self) -> Around {
        Around::of(&self.compile, &self.call.request.cwd, &self.toolchain)
    }

    /// Native libraries that a program over this unit links: those of its dependencies and its own, unless they are part of it.
    fn libraries(&self, linked: &Linked) -> (BTreeSet<String>, Linked) {
        let (mut libraries, mut all) = (self.closure.libraries.clone(), self.closure.linked.clone());
        let own = self.compile.wants().libraries.into_iter().filter(|library| !library.bundled());
        libraries.extend(own.map(|library| library.text));
        all.extend(linked);
        (libraries, all)
    }

    /// Where this unit's native libraries are searched for.
    pub(crate) fn search<'a>(&'a self, engine: &'a Engine, wants: &Wants) -> Search<'a> {
        let bundled = bundled_linkers(&self.toolchain, &self.compile, &self.call.request.cwd);
        search(engine, wants, bundled.as_deref(), &self.env, &self.call.request.cwd)
    }
}

/// Where native libraries are searched for: in the unit's own directories, then where the linker looks.
fn search<'a>(engine: &'a Engine, wants: &Wants, bundled: Option<&Path>, env: &Env, cwd: &'a Path) -> Search<'a> {
    let linker = linker(engine, wants.linker.as_ref(), bundled, env, cwd);
    Search::new(&engine.natives, &wants.native_dirs, linker.as_ref().map_or(&[], |linker| &linker.library_dirs), cwd)
}

/// The linker that a unit wants; for one that doesn't link, the one that others would link it with.
fn linker(engine: &Engine, want: Option<&LinkerWant>, bundled: Option<&Path>, env: &Env, cwd: &Path) -> Option<Arc<Linker>> {
    let choice = Choice {
        program: want.and_then(|want| want.program.as_deref()),
        chosen: want.and_then(|want| want.ld_path.as_deref().and_then(Path::to_str).or(want.fuse_ld.as_deref())),
        places: want.map_or(&[], |want| &want.places),
        bundled,
    };
    engine.linkers.identify(choice, env, cwd, &engine.files)
}

/// Where the toolchain has the linkers that rustc may name to a compiler driver.
fn bundled_linkers(toolchain: &Toolchain, compile: &Compile, cwd: &Path) -> Option<PathBuf> {
    let sysroot = compile.sysroot.as_ref().map_or_else(|| toolchain.sysroot.clone(), |sysroot| cwd.join(sysroot));
    let dir = sysroot.join("lib/rustlib").join(&toolchain.host).join("bin/gcc-ld");
    dir.is_dir().then_some(dir)
}

/// The directory of the package that is compiled.
pub(crate) fn package_dir<'a>(env: &'a Env, cwd: &'a Path) -> &'a Path {
    env.get("CARGO_MANIFEST_DIR").map_or(cwd, Path::new)
}

/// The roots of an invocation, both spellings; a root that isn't there yet has only one.
fn roots(compile: &Compile, toolchain: &Toolchain, base_dirs: &[PathBuf]) -> Result<Roots, Bypass> {
    let mut list = compile.root_paths();
    list.extend(base_dirs.iter().zip(0..).map(|(dir, place)| (RootKind::Base(place), dir.clone())));
    list.push((RootKind::Toolchain, toolchain.sysroot.clone()));
    let mut roots = Vec::with_capacity(list.len());
    for (kind, raw) in list {
        let canonical = std::fs::canonicalize(&raw).unwrap_or_else(|_| raw.clone());
        let (Some(raw), Some(canonical)) = (raw.to_str(), canonical.to_str()) else {
            return Err(Bypass::new(BypassReason::NonUtf8, raw.to_string_lossy()));
        };
        roots.push(Root::new(kind, raw, canonical));
    }
    Ok(Roots::new(roots))
}

/// What a lookup needs to see.
struct Lookup<'a> {
    engine: &'a Engine,
    asker: &'a Asker,
    compile: &'a Compile,
    env: &'a Env,
    cwd: &'a Path,
    roots: &'a Roots,
    toolchain: &'a Toolchain,
    /// All that it digests.
    looked: Looked,
    /// As [`Question::by_script`].
    by_script: bool,
}

impl Lookup<'_> {
    /// The digest of what has to be there.
    fn digest(&mut self, path: &Path, reason: BypassReason) -> Result<Digest, Bypass> {
        match self.looked.digest(&self.engine.files, path) {
            Ok(Some(digest)) => Ok(digest),
            Ok(None) => Err(Bypass::new(reason, path.display().to_string())),
            Err(error) => Err(Bypass::new(reason, format!("{}: {error}", path.display()))),
        }
    }

    /// Identifies each extern and gathers what lies behind it.
    fn externs(&mut self, inputs: &mut UnitInputs) -> Result<Closure, Bypass> {
        let mut closure = Closure { runs_macros: self.compile.is_proc_macro(), ..Closure::default() };
        let around = Around::of(self.compile, self.cwd, self.toolchain);
        inputs.externs.clear();
        for item in &self.compile.externs {
            let mut input = ExternInput { modifiers: item.modifiers.clone(), name: item.name.clone(), content: None, interface: None };
            if let Some(path) = &item.path {
                let path = self.cwd.join(path);
                let origin = match self.engine.origin(&path, &around).map_err(|error| unknown(&item.name, &path, &error))? {
                    Recalled::Known(origin) => origin,
                    Recalled::Damaged | Recalled::Unknown => self.mended(&path).ok_or_else(|| damaged(&item.name, &path))?,
                };
                input.content = Some(origin.content);
                input.interface = origin.interface;
                closure.library_mentions = closure.library_mentions.union(origin.library_mentions);
                closure.code.extend(&origin.code);
                closure.runs_macros |= origin.runs_macros;
                closure.libraries.extend(origin.libraries.iter().cloned());
                closure.linked.extend(&origin.linked);
                closure.foreign |= origin.foreign;
                self.looked.library(path, origin);
            }
            inputs.externs.push(input);
        }
        Ok(closure)
    }

    /// What a library is again that was written into, for an asker who is there.
    fn mended(&self, path: &Path) -> Option<Origin> {
        if self.asker.is_there() { self.engine.outputs.mend(&self.engine.store, path) } else { None }
    }

    /// Native libraries, files named by options, directories searched for crates, the linker.
    fn wants(&mut self, wants: &Wants, closure: &Closure, inputs: &mut UnitInputs) -> Result<(), Bypass> {
        for file in &wants.files {
            if !file.required && !file.path.exists() {
                self.looked.absent(file.path.clone());
                continue;
            }
            let digest = self.digest(&file.path, BypassReason::LinkArg)?;
            if file.linked && !self.engine.natives.is_real(&file.path) {
                return Err(Bypass::new(BypassReason::LinkArg, file.path.display().to_string()));
            }
            inputs.named_files.insert(file.name.clone(), digest);
        }
        self.natives(wants, closure, inputs)?;
        for dir in &wants.crate_dirs {
            if let Some(digest) = self.crates_in(dir)? {
                inputs.named_files.insert(format!("crates {}", self.portable(dir)), digest);
            }
        }
        self.clippy_config(wants, inputs)?;
        inputs.named_files.insert("target libraries".into(), self.target_libraries()?);
        if let Some(want) = &wants.linker {
            self.linker(want, inputs)?;
        }
        if wants.assembler {
            let assembler = toolchain::resolve(Path::new("as"), self.env, self.cwd);
            let digest = self.digest(&assembler, BypassReason::UnknownToolchain)?;
            inputs.named_files.insert("assembler".into(), digest);
        }
        if wants.native_cpu {
            inputs.named_files.insert("native cpu".into(), host_cpu());
        }
        Ok(())
    }

    /// What the nearest directory holds that has a configuration. clippy looks along the real path.
    fn clippy_config(&mut self, wants: &Wants, inputs: &mut UnitInputs) -> Result<(), Bypass> {
        let Some(from) = wants.clippy_config_from.as_ref().and_then(|from| std::fs::canonicalize(from).ok()) else { return Ok(()) };
        for files in kache_rustc::clippy_configs(&from) {
            let (there, missing): (Vec<&PathBuf>, Vec<&PathBuf>) = files.iter().partition(|file| file.exists());
            missing.into_iter().for_each(|file| self.looked.absent(file.clone()));
            for file in &there {
                let digest = self.digest(file, BypassReason::ClippyConfig)?;
                inputs.named_files.insert(format!("clippy configuration {}", self.portable(file)), digest);
            }
            if !there.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn target_libraries(&mut self) -> Result<Digest, Bypass> {
        let Some(sysroot) = &self.compile.sysroot else {
            let Engine { toolchains, files, store, .. } = self.engine;
            let found = toolchains.target_libraries(self.toolchain, self.compile.target.as_deref(), files, store);
            let failed = |error| Bypass::new(BypassReason::UnknownToolchain, format!("libraries of the target: {error}"));
            return found.map(|libraries| libraries.digest).map_err(failed);
        };
        self.digest(&self.cwd.join(sysroot).join("lib"), BypassReason::UnknownToolchain)
    }

    /// What a linked output learns about where the toolchain's libraries are from where it is.
    fn rpath(&self) -> Option<String> {
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let sysroot = self.compile.sysroot.as_ref().map_or_else(|| self.toolchain.sysroot.clone(), |sysroot| self.cwd.join(sysroot));
        let way = || kache_rustc::way(&real(&self.cwd.join(&self.compile.out_dir)), &real(&sysroot));
        self.compile.has_rpath().then(|| format!("rpath={}", way().display()))
    }

    /// The linker, and the variables that it may read if it is a script.
    fn linker(&mut self, want: &LinkerWant, inputs: &mut UnitInputs) -> Result<(), Bypass> {
        let bundled = bundled_linkers(self.toolchain, self.compile, self.cwd);
        let name = want.program.as_deref().unwrap_or(Path::new("cc")).display().to_string();
        let found = linker(self.engine, Some(want), bundled.as_deref(), self.env, self.cwd)
            .ok_or_else(|| Bypass::new(BypassReason::LinkerUnknown, name))?;
        inputs.linker = Some(found.identity);
        if let Some(script) = &found.script {
            self.by_script = true;
            inputs.environment.extend(script.variables(self.env).map_err(|name| Bypass::new(BypassReason::NonUtf8, name))?);
        }
        Ok(())
    }

    /// Native libraries by content, as far as they become part of the unit: of a library those that it bundles, of what links its own and those of its
    /// dependencies. A library is linked as it is then, not as it was when the dependency was compiled.
    fn natives(&mut self, wants: &Wants, closure: &Closure, inputs: &mut UnitInputs) -> Result<(), Bypass> {
        let gathers = self.compile.gathers();
        let own: Vec<&NativeLibrary> = wants.libraries.iter().filter(|library| gathers || library.bundled()).collect();
        let inherits = gathers && (!closure.libraries.is_empty() || !wants.native_dirs.is_empty());
        let mut asked: Vec<(String, Ask)> =
            own.into_iter().map(|library| (format!("native {}", library.text), Ask::Library(library.clone()))).collect();
        if inherits {
            for text in &closure.libraries {
                asked.push((format!("inherited {text}"), Ask::Library(NativeLibrary::parse(text)?)));
            }
            asked.extend(closure.linked.names.iter().map(|name| (format!("inherited #[link] {name}"), Ask::Attribute(name.clone()))));
            asked.extend(closure.linked.by_macro.then(|| ("inherited #[link]".to_owned(), Ask::Any)));
        }
        // A library of somebody else's may link what no option leads to.
        let by_system = gathers && closure.foreign && closure.linked.by_macro;
        if asked.is_empty() && !by_system {
            return Ok(());
        }
        let bundled = bundled_linkers(self.toolchain, self.compile, self.cwd);
        let search = search(self.engine, wants, bundled.as_deref(), self.env, self.cwd);
        if by_system {
            let state = search.system();
            inputs.named_files.insert("the system's libraries".into(), state);
            self.looked.system(state);
        }
        for (what, ask) in asked {
            let found = search.ask(&ask).map_err(|detail| Bypass::new(BypassReason::NativeLibrary, detail))?;
            for (place, path) in found.iter().enumerate() {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                inputs.named_files.insert(format!("{what} {place} {name}"), self.digest(path, BypassReason::NativeLibrary)?);
            }
            self.looked.natives(ask, found);
        }
        Ok(())
    }

    /// Names and contents of the crates in a `-L` directory; `None` if it holds none.
    fn crates_in(&mut self, dir: &Path) -> Result<Option<Digest>, Bypass> {
        let mut crates = BTreeMap::new();
        let own: Vec<PathBuf> = self.compile.expected_outputs().into_iter().map(|output| self.compile.out_dir.join(output.name)).collect();
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_crate = name.starts_with("lib") && [".rlib", ".rmeta", ".so", ".dylib"].iter().any(|end| name.ends_with(end));
            if is_crate {
                crates.insert(name, self.digest(&entry.path(), BypassReason::SearchDir)?);
            }
        }
        // What the compile itself puts there is another afterwards.
        self.looked.forget(&own);
        let mut encoder = Encoder::new("kache.crate-dir.v1");
        encoder.list("names", crates.keys()).list("digests", crates.values().map(Digest::as_bytes));
        Ok((!crates.is_empty()).then(|| encoder.finish()))
    }

    fn portable(&self, path: &Path) -> String {
        self.roots.to_portable(&path.to_string_lossy()).0
    }

    /// The unit and its root module's contents: two branches of one crate needn't wait for each other.
    fn lease(&self, unit: &UnitKey, stdin: Option<Digest>) -> Result<Digest, Bypass> {
        let source = match &self.compile.source {
            Source::Stdin => stdin,
            Source::Path(path) => self.engine.files.digest(&self.cwd.join(path)).ok().flatten().map(|(_, digest)| digest),
        };
        let mut encoder = Encoder::new("kache.lease.v1");
        encoder.field("unit", unit.0.as_bytes()).optional("source", source.as_ref().map(|digest| digest.as_bytes().as_slice()));
        Ok(encoder.finish())
    }
}

fn unknown(name: &str, path: &Path, error: &std::io::Error) -> Bypass {
    Bypass::new(BypassReason::UnknownExtern, format!("{name}: {}: {error}", path.display()))
}

fn damaged(name: &str, path: &Path) -> Bypass {
    Bypass::new(BypassReason::DamagedExtern, format!("{name}: {}", path.display()))
}

/// What `-C target-cpu=native` means here: the processor's identity and features as the kernel lists them.
fn host_cpu() -> Digest {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let first: Vec<&str> = info
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| {
            ["vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU "].iter().any(|front| line.starts_with(front))
        })
        .collect();
    let mut encoder = Encoder::new("kache.cpu.v1");
    encoder.list("lines", first);
    encoder.finish()
}
