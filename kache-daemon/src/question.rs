//! An invocation, understood: everything that is known before a source file is read.
//!
//! Here the pure model of rustc meets the machine: the model says what it *wants* to know ([`kache_rustc::Wants`]), this module
//! looks it up. Whatever can't be found out with certainty is a bypass with a name.

use crate::asker::Asker;
use crate::bucket::{Session, Turn};
use crate::engine::Engine;
use crate::files::Files;
use crate::journal::Call;
use crate::linker::Linker;
use crate::looked::Looked;
use crate::natives::{Ask, Search};
use crate::outputs::{Origin, Recalled};
use crate::rules;
use crate::settings::Settings;
use crate::sources::Contents;
use crate::toolchain::{self, Toolchain};
use kache_config::Rule;
use kache_model::{Bypass, BypassReason, Digest, Encoder, ExternInput, Linked, Mentions, Root, RootKind, Roots, UnitInputs, UnitKey};
use kache_rustc::{Compile, Driver, Env, LinkerWant, NativeLibrary, Origin as Place, Source, Wants};
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
    /// The Cargo that asks; `None` where nothing is shared with a team.
    pub(crate) session: Option<Arc<Session>>,
    /// Its place in that session.
    pub(crate) turn: Option<Turn>,
}

/// What the externs of a unit reach, taken together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closure {
    pub(crate) library_mentions: Mentions,
    pub(crate) macro_mentions: Mentions,
    pub(crate) runs_macros: bool,
    /// Native libraries of theirs, as they are named by `-l`.
    pub(crate) libraries: BTreeSet<String>,
    /// Native libraries that their sources name.
    pub(crate) linked: Linked,
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
        let mut lookup = Lookup { engine, asker, compile: &compile, env: &env, cwd, roots: &roots, toolchain: &toolchain, looked };
        if let Driver::Clippy { driver } = &compile.driver {
            inputs.driver = Some(lookup.digest(&toolchain::resolve(driver, &env, cwd), BypassReason::UnknownToolchain)?);
        }
        let closure = lookup.externs(&mut inputs)?;
        lookup.wants(&compile.wants(), &closure, &mut inputs)?;
        lookup.untracked_by_macros(&closure, &mut inputs);
        rules::fold(
            &rule,
            rules::Scene { files: &engine.files, roots: &roots, package_dir: package_dir(&env, &request.cwd) },
            &env,
            &mut inputs,
        )?;
        let unit = inputs.key();
        let portable_unit = lookup.portable_unit(&closure, &inputs, unit);
        let lease = lookup.lease(&unit, inputs.stdin)?;
        let looked = lookup.looked;
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
            session,
            turn,
        })
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

    /// Directories of the libraries that it names.
    pub(crate) fn extern_dirs(&self) -> BTreeSet<PathBuf> {
        let paths = self.compile.externs.iter().filter_map(|item| item.path.as_deref());
        paths.filter_map(|path| Some(self.absolute(path).parent()?.to_owned())).collect()
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
    pub(crate) fn origin(&self, contents: Contents, interface: Option<Digest>, own: Mentions, linked: &Linked) -> Origin {
        let content = if interface.is_some() { contents.portable } else { contents.content };
        let Closure { library_mentions, macro_mentions, runs_macros, .. } = self.closure;
        let is_macro = self.compile.is_proc_macro();
        // What a macro links stays with it.
        let (libraries, linked) = if is_macro { Default::default() } else { self.libraries(linked) };
        Origin {
            content,
            interface,
            library_mentions: if is_macro { library_mentions } else { library_mentions.union(own) },
            macro_mentions: if is_macro { macro_mentions.union(own) } else { macro_mentions },
            runs_macros: runs_macros || is_macro,
            libraries,
            linked,
        }
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
        search(engine, wants, &self.env, &self.call.request.cwd)
    }
}

/// Where native libraries are searched for: in the unit's own directories, then where the linker looks.
fn search<'a>(engine: &'a Engine, wants: &Wants, env: &Env, cwd: &'a Path) -> Search<'a> {
    let linker = linker(engine, wants.linker.as_ref(), env, cwd);
    Search::new(&engine.natives, &wants.native_dirs, linker.as_ref().map_or(&[], |linker| &linker.library_dirs), cwd)
}

/// The linker that a unit wants; for one that doesn't link, the one that others would link it with.
fn linker(engine: &Engine, want: Option<&LinkerWant>, env: &Env, cwd: &Path) -> Option<Arc<Linker>> {
    let program = want.and_then(|want| want.program.as_deref());
    let chosen = want.and_then(|want| want.ld_path.as_deref().and_then(Path::to_str).or(want.fuse_ld.as_deref()));
    engine.linkers.identify(program, chosen, env, cwd, &engine.files)
}

fn package_dir<'a>(env: &'a Env, cwd: &'a Path) -> &'a Path {
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
        inputs.externs.clear();
        for item in &self.compile.externs {
            let mut input = ExternInput { modifiers: item.modifiers.clone(), name: item.name.clone(), content: None, interface: None };
            if let Some(path) = &item.path {
                let path = self.cwd.join(path);
                let origin = match self.engine.origin(&path) {
                    Recalled::Known(origin) => origin,
                    Recalled::Unknown => return Err(no_extern(BypassReason::UnknownExtern, &item.name, &path)),
                    Recalled::Damaged => self.mended(&path).ok_or_else(|| no_extern(BypassReason::DamagedExtern, &item.name, &path))?,
                };
                input.content = Some(origin.content);
                input.interface = origin.interface;
                closure.library_mentions = closure.library_mentions.union(origin.library_mentions);
                closure.macro_mentions = closure.macro_mentions.union(origin.macro_mentions);
                closure.runs_macros |= origin.runs_macros;
                closure.libraries.extend(origin.libraries.iter().cloned());
                closure.linked.extend(&origin.linked);
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
            inputs.linker = Some(self.linker(want)?);
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
                let digest = self.digest(file, BypassReason::UnknownToolchain)?;
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
            return found.map_err(|error| Bypass::new(BypassReason::UnknownToolchain, format!("libraries of the target: {error}")));
        };
        self.digest(&self.cwd.join(sysroot).join("lib"), BypassReason::UnknownToolchain)
    }

    fn linker(&self, want: &LinkerWant) -> Result<Digest, Bypass> {
        let found = linker(self.engine, Some(want), self.env, self.cwd).map(|linker| linker.identity);
        let name = want.program.as_deref().unwrap_or(Path::new("cc")).display().to_string();
        found.ok_or_else(|| Bypass::new(BypassReason::LinkerUnknown, name))
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
        if asked.is_empty() {
            return Ok(());
        }
        let search = search(self.engine, wants, self.env, self.cwd);
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

    /// What proc macros read without a trace: directories that they mention by variable, with the package's manifest, and the files
    /// that the package's build script declared.
    fn untracked_by_macros(&mut self, closure: &Closure, inputs: &mut UnitInputs) {
        if !closure.runs_macros {
            return;
        }
        for name in closure.macro_mentions.names() {
            if let Some(value) = self.env.get(name) {
                inputs.environment.insert(name.to_owned(), value.to_owned());
            }
        }
        let mentions_manifest = ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH"].iter().any(|name| closure.macro_mentions.contains(name));
        if let (true, Some(dir)) = (mentions_manifest, self.env.get("CARGO_MANIFEST_DIR")) {
            self.declare(&Path::new(dir).join("Cargo.toml"), inputs);
        }
        if matches!(self.compile.origin, Place::Registry | Place::Git) {
            return;
        }
        let Some(out_dir) = self.env.get("OUT_DIR") else { return };
        let Ok(output) = std::fs::read_to_string(Path::new(out_dir).with_file_name("output")) else { return };
        let package = Path::new(self.env.get("CARGO_MANIFEST_DIR").unwrap_or_default());
        for line in output.lines() {
            let declared = line.strip_prefix("cargo::rerun-if-changed=").or_else(|| line.strip_prefix("cargo:rerun-if-changed="));
            if let Some(path) = declared {
                self.declare(&package.join(path.trim()), inputs);
            }
        }
    }

    /// The unit key with placeholders in what [`Self::untracked_by_macros`] put in literally.
    fn portable_unit(&self, closure: &Closure, inputs: &UnitInputs, unit: UnitKey) -> UnitKey {
        if !closure.runs_macros || closure.macro_mentions == Mentions::NONE {
            return unit;
        }
        let mut inputs = inputs.clone();
        for name in closure.macro_mentions.names() {
            if let Some(value) = inputs.environment.get_mut(name) {
                *value = self.roots.to_portable(value).0;
            }
        }
        inputs.key()
    }

    fn declare(&mut self, path: &Path, inputs: &mut UnitInputs) {
        let digest = self.looked.digest(&self.engine.files, path).ok().flatten();
        inputs.declared.insert(self.portable(path), digest);
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

fn no_extern(reason: BypassReason, name: &str, path: &Path) -> Bypass {
    Bypass::new(reason, format!("{name}: {}", path.display()))
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
