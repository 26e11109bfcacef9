//! The verdict on one invocation: bypass, query or compile.
//!
//! The story of [`judge`]: who compiles (rustc, or clippy-driver in front of it), which arguments (`@file`s expanded), does it
//! compile at all, and if so is every part of the command line one that kache understands. A doubt is a bypass with a name.

use crate::argv::{self, Argfile, Args, Expanded, Opt};
use crate::closed::closed_source;
use crate::codegen::CodegenOptions;
use crate::compile::{Compile, CrateType, Driver, Extern, Origin, Shape, Source, cargo_home, target_dir};
use crate::env::{Env, UNTRACKED, When, covers};
use crate::flags::{self, Flag};
use crate::link;
use crate::query::{self, Query};
use crate::target::Family;
use crate::wants::NativeLibrary;
use kache_model::{Bypass, BypassReason};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// One call of the compiler.
#[derive(Clone, Copy, Debug)]
pub struct Invocation<'a> {
    /// The compiler's path and its arguments; with a workspace wrapper, the wrapper's path comes first.
    pub argv: &'a [OsString],
    /// Working directory, absolute.
    pub cwd: &'a Path,
    /// Environment.
    pub env: &'a Env,
    /// What was piped to standard input, when the source is `-`; empty for `/dev/null`. `None`: not read, or too much of it.
    pub stdin: Option<&'a [u8]>,
}

/// What becomes of an invocation.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// rustc runs as if there were no cache.
    Bypass(Bypass),
    /// To be answered from memory.
    Query(Query),
    /// To be looked up.
    Compile(Box<Compile>),
}

/// Judges an invocation. `read_argfile` gets absolute paths (for an absolute `cwd`), at most once per `@file` argument.
pub fn judge(inv: &Invocation<'_>, read_argfile: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>) -> Verdict {
    decide(inv, read_argfile).unwrap_or_else(Verdict::Bypass)
}

fn decide(inv: &Invocation<'_>, read_argfile: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>) -> Result<Verdict, Bypass> {
    let (driver, compiler, first) = compiler(inv.argv)?;
    if inv.cwd.to_str().is_none() {
        return Err(Bypass::new(BypassReason::NonUtf8, inv.cwd.to_string_lossy()));
    }
    let Expanded { args: texts, argfiles } = argv::expand(inv.argv, first, inv.cwd, read_argfile)?;
    let args = argv::read(&texts)?;
    if is_query(&args)? {
        return query(inv, driver, compiler, texts, &args, argfiles).map(Verdict::Query);
    }
    let seen = Seen::of(&args, inv.cwd)?;
    compile(inv, (driver, compiler, first), &args, seen, argfiles).map(|compile| Verdict::Compile(Box::new(compile)))
}

/// Who compiles, and the index of the first argument.
fn compiler(argv: &[OsString]) -> Result<(Driver, PathBuf, usize), Bypass> {
    let not = |detail: &str| Bypass::new(BypassReason::NotACompile, detail);
    let program = Path::new(argv.first().ok_or_else(|| not("empty command line"))?);
    let stem = |path: &Path| path.file_stem().and_then(|stem| stem.to_str().map(str::to_owned)).unwrap_or_default();
    let wrapper = |path: &Path| Bypass::new(BypassReason::UnknownWrapper, path.to_string_lossy());
    // What clippy-driver itself asks to find out whether it stands in front of a compiler.
    let second = argv.get(1).map(Path::new).filter(|path| stem(path) == "rustc" && path.extension().is_none_or(|ext| ext == "exe"));
    match (stem(program).as_str(), second) {
        ("rustdoc", _) => Err(not("rustdoc")),
        ("clippy-driver", Some(rustc)) => Ok((Driver::Clippy { driver: program.to_owned() }, rustc.to_owned(), 2)),
        ("clippy-driver", None) | (_, Some(_)) => Err(wrapper(program)),
        (name, None) if name != "rustc" && argv.get(1).is_some_and(is_program) => Err(wrapper(program)),
        _ => Ok((Driver::Rustc, program.to_owned(), 1)),
    }
}

/// Whether the first argument of something that isn't called rustc looks like a program rather than an option or a source.
fn is_program(arg: &OsString) -> bool {
    let text = arg.to_string_lossy();
    !text.starts_with(['-', '@']) && !text.ends_with(".rs")
}

/// Whether rustc only answers a question. Questions that are asked on the way through a compile don't count.
fn is_query(args: &Args) -> Result<bool, Bypass> {
    let mut version = false;
    let mut prints = 0;
    let mut along = 0;
    for Opt { flag, value } in &args.opts {
        match flag {
            Flag::Help => return Err(Bypass::new(BypassReason::NotACompile, "help")),
            Flag::Version => version = true,
            Flag::Print if value.contains('=') => return Err(Bypass::new(BypassReason::OutputPath, format!("--print {value}"))),
            Flag::Print => {
                prints += 1;
                along += usize::from(flags::PRINTS_ALONG.iter().any(|(name, _)| name == value));
            }
            Flag::Lint(_) | Flag::Unstable if value == "help" => return Err(Bypass::new(BypassReason::NotACompile, "help")),
            _ => {}
        }
    }
    if !version && prints == 0 && args.free.is_empty() {
        return Err(Bypass::new(BypassReason::NotACompile, "no source"));
    }
    Ok(version || (prints > 0 && along < prints))
}

fn query(
    inv: &Invocation<'_>,
    driver: Driver,
    compiler: PathBuf,
    texts: Vec<String>,
    args: &Args,
    argfiles: Vec<Argfile>,
) -> Result<Query, Bypass> {
    let version = args.opts.iter().any(|opt| opt.flag == Flag::Version);
    // With a file's name rustc may read the file: its attributes can name the crate.
    if let (false, Some(source)) = (version, args.free.iter().find(|free| *free != "-")) {
        return Err(Bypass::new(BypassReason::NotACompile, format!("--print with {source}")));
    }
    let last = |wanted: Flag| args.opts.iter().rev().find(|opt| opt.flag == wanted).map(|opt| opt.value.clone());
    let target = last(Flag::Target).unwrap_or_default();
    if target.ends_with(".json") || (!target.is_empty() && inv.env.has("RUST_TARGET_PATH")) {
        return Err(Bypass::new(BypassReason::NotACompile, format!("--print for the specification of {target}")));
    }
    let sysroot = last(Flag::Sysroot);
    let relative = sysroot.as_ref().is_some_and(|path| Path::new(path).is_relative());
    Ok(Query {
        compiler,
        driver,
        args: texts,
        argfiles,
        sysroot,
        stdin: inv.stdin.unwrap_or_default().to_vec(),
        cwd: relative.then(|| inv.cwd.to_owned()),
        environment: query::environment(inv.env),
    })
}

/// The options of a compile, sorted by what they are.
#[derive(Default)]
struct Seen {
    crate_name: Option<String>,
    crate_types: Vec<CrateType>,
    edition: Option<String>,
    test: bool,
    target: Option<String>,
    sysroot: Option<String>,
    emit: BTreeSet<String>,
    output: Option<String>,
    out_dir: Option<String>,
    externs: Vec<Extern>,
    search: Vec<(String, PathBuf)>,
    libraries: Vec<NativeLibrary>,
    codegen: CodegenOptions,
    cfgs: BTreeSet<String>,
    check_cfgs: BTreeSet<String>,
    lints: Vec<String>,
    options: Vec<String>,
    diagnostics: BTreeMap<&'static str, String>,
    announces: bool,
}

impl Seen {
    fn of(args: &Args, cwd: &Path) -> Result<Self, Bypass> {
        let mut seen = Self::default();
        for opt in &args.opts {
            seen.take(opt, cwd)?;
        }
        if seen.emit.is_empty() {
            seen.emit.insert("link".into());
        }
        Ok(seen)
    }

    fn take(&mut self, opt: &Opt, cwd: &Path) -> Result<(), Bypass> {
        let value = opt.value.as_str();
        match opt.flag {
            // Both were looked at by `is_query`, which sent the invocation elsewhere.
            Flag::Help | Flag::Version => return Err(Bypass::new(BypassReason::NotACompile, value)),
            Flag::Print => self.print_along(value)?,
            Flag::Verbose => self.options.push("verbose".into()),
            Flag::Cfg => drop(self.cfgs.insert(value.into())),
            Flag::CheckCfg => drop(self.check_cfgs.insert(value.into())),
            Flag::SearchPath => self.search_path(value, cwd)?,
            Flag::NativeLibrary => self.libraries.push(NativeLibrary::parse(value)?),
            Flag::CrateType => self.crate_type(value)?,
            Flag::CrateName => self.crate_name = Some(value.into()),
            Flag::Edition => self.edition = Some(value.into()),
            Flag::Emit => self.emit(value)?,
            Flag::DebugInfo => self.codegen.set("debuginfo", Some("2")),
            // Level 2 to a compiler before 1.86, level 3 to later ones.
            Flag::Optimize => self.codegen.set("opt-level", Some("O")),
            Flag::Output => self.output = Some(value.into()),
            Flag::OutDir => self.out_dir = Some(value.into()),
            Flag::Test => self.test = true,
            Flag::Target => self.target = Some(value.into()),
            Flag::Lint(level) => self.lints.push(format!("{level}={value}")),
            Flag::Codegen => self.codegen.push(value)?,
            Flag::Unstable => self.unstable(value)?,
            Flag::Extern => self.externs.push(parse_extern(value, cwd)),
            Flag::Sysroot => self.sysroot = Some(value.into()),
            Flag::Diagnostics(name) => drop(self.diagnostics.insert(name, format!("{name}={value}"))),
            Flag::Json => self.json(value)?,
            Flag::RemapPrefix => self.options.push(format!("remap-path-prefix={value}")),
            Flag::Keyed(name) => self.options.push(format!("{name}={value}")),
            Flag::Declined(name) => return Err(Bypass::new(BypassReason::UnknownFlag, name)),
        }
        Ok(())
    }

    fn print_along(&mut self, value: &str) -> Result<(), Bypass> {
        match flags::PRINTS_ALONG.iter().find(|(name, _)| *name == value) {
            Some((_, true)) => self.options.push(format!("print={value}")),
            _ => return Err(Bypass::new(BypassReason::NotACompile, format!("--print {value}"))),
        }
        Ok(())
    }

    fn search_path(&mut self, value: &str, cwd: &Path) -> Result<(), Bypass> {
        let (kind, path) = match value.split_once('=') {
            Some((kind @ ("dependency" | "crate" | "native" | "framework" | "all"), path)) => (kind, path),
            _ => ("all", value),
        };
        if path.starts_with("@RUSTC_BUILTIN") {
            return Err(Bypass::new(BypassReason::SearchDir, value));
        }
        self.search.push((kind.into(), cwd.join(path)));
        Ok(())
    }

    fn crate_type(&mut self, value: &str) -> Result<(), Bypass> {
        for name in value.split(',') {
            let kind = CrateType::ALL.into_iter().find(|kind| kind.name() == name);
            let kind = kind.ok_or_else(|| Bypass::new(BypassReason::CrateType, name))?;
            if !self.crate_types.contains(&kind) {
                self.crate_types.push(kind);
            }
        }
        Ok(())
    }

    fn emit(&mut self, value: &str) -> Result<(), Bypass> {
        for kind in value.split(',') {
            if kind.contains('=') {
                return Err(Bypass::new(BypassReason::OutputPath, format!("--emit {kind}")));
            }
            if !flags::EMIT.contains(&kind) {
                return Err(Bypass::new(BypassReason::EmitKind, kind));
            }
            self.emit.insert(kind.into());
        }
        Ok(())
    }

    fn unstable(&mut self, value: &str) -> Result<(), Bypass> {
        let name = value.split_once('=').map_or(value, |(name, _)| name).replace('_', "-");
        let reason = if flags::UNSTABLE.contains(&name.as_str()) {
            self.options.push(format!("-Z{value}"));
            return Ok(());
        } else if flags::UNSTABLE_DUMPS.iter().any(|beginning| name.starts_with(beginning)) {
            BypassReason::SaveTemps
        } else if matches!(name.as_str(), "unpretty" | "parse-crate-root-only" | "no-analysis" | "ls") {
            BypassReason::NotACompile
        } else {
            BypassReason::UnknownFlag
        };
        Err(Bypass::new(reason, format!("-Z {name}")))
    }

    fn json(&mut self, value: &str) -> Result<(), Bypass> {
        for word in value.split(',') {
            match word {
                "artifacts" => self.announces = true,
                "diagnostic-short" | "diagnostic-rendered-ansi" | "diagnostic-unicode" | "future-incompat" => {
                    let known = self.diagnostics.entry("json").or_insert_with(|| "json=".into());
                    known.push_str(word);
                    known.push(',');
                }
                _ => return Err(Bypass::new(BypassReason::UnknownFlag, format!("--json={word}"))),
            }
        }
        Ok(())
    }
}

fn parse_extern(value: &str, cwd: &Path) -> Extern {
    let (name, path) = match value.split_once('=') {
        Some((name, path)) => (name, Some(cwd.join(path))),
        None => (value, None),
    };
    let (modifiers, name) = name.rsplit_once(':').unwrap_or(("", name));
    Extern { modifiers: modifiers.into(), name: name.into(), path }
}

fn compile(
    inv: &Invocation<'_>,
    (driver, compiler, insert_at): (Driver, PathBuf, usize),
    args: &Args,
    seen: Seen,
    argfiles: Vec<Argfile>,
) -> Result<Compile, Bypass> {
    let source = match args.free.as_slice() {
        [one] if one == "-" => Source::Stdin,
        [one] => Source::Path(one.into()),
        several => return Err(Bypass::new(BypassReason::SeveralInputs, several.join(" "))),
    };
    let shape = shape(&seen, inv.env);
    let crate_name = crate_name(&seen, &source);
    let package = package(inv.env, &crate_name)?;
    let (out_dir, output_file) = output_place(&seen, shape, inv.cwd)?;
    let cargo_home = cargo_home(inv.env, &source);
    let target_dir = target_dir(&out_dir).or_else(|| {
        let out = inv.env.get("OUT_DIR").filter(|_| shape != Shape::Other)?;
        target_dir(Path::new(out))
    });
    let mut options = seen.options;
    options.extend(spoken_dir(seen.output.as_deref().or(seen.out_dir.as_deref()), &out_dir, target_dir.as_deref()));
    let links = seen.emit.contains("link");
    let opted_out = inv.env.get("KACHE_NO_REMAP").is_some_and(|value| !matches!(value, "" | "0"));
    let mut unit = Compile {
        origin: origin(shape, &source, cargo_home.as_deref()),
        compiler,
        shape,
        package,
        crate_name,
        crate_types: if seen.crate_types.is_empty() { vec![CrateType::Bin] } else { seen.crate_types },
        source,
        out_dir,
        externs: seen.externs,
        incremental: seen.codegen.incremental.as_ref().map(|dir| inv.cwd.join(dir)),
        insert_at,
        argfiles,
        cwd: inv.cwd.to_owned(),
        emit: seen.emit,
        test: seen.test,
        target: seen.target,
        sysroot: seen.sysroot,
        remapped: !(opted_out || seen.codegen.on("instrument-coverage") || (links && link::compresses(&seen.codegen.link_args))),
        cargo_home,
        target_dir,
        stdin: None,
        edition: seen.edition,
        output_file,
        codegen: seen.codegen,
        cfgs: seen.cfgs,
        check_cfgs: seen.check_cfgs,
        lints: seen.lints,
        options,
        announces: seen.announces,
        json: seen.diagnostics.get("error-format").is_some_and(|format| format.ends_with("=json")),
        diagnostics: seen.diagnostics.into_values().collect(),
        environment: BTreeMap::new(),
        libraries: seen.libraries,
        search: seen.search,
        clippy_config_from: clippy_config_from(&driver, inv),
        driver,
    };
    refuse(&unit)?;
    take_stdin(&mut unit, inv.stdin)?;
    unit.environment = environment(&unit, inv.env)?;
    Ok(unit)
}

/// Where clippy-driver begins to look for its configuration.
fn clippy_config_from(driver: &Driver, inv: &Invocation<'_>) -> Option<PathBuf> {
    let Driver::Clippy { .. } = driver else { return None };
    let from = inv.env.get_os("CLIPPY_CONF_DIR").or_else(|| inv.env.get_os("CARGO_MANIFEST_DIR"));
    Some(from.map_or_else(|| inv.cwd.to_owned(), |dir| inv.cwd.join(dir)))
}

fn shape(seen: &Seen, env: &Env) -> Shape {
    if seen.announces && !seen.codegen.metadata.is_empty() {
        Shape::CargoUnit
    } else if ["OUT_DIR", "TARGET", "HOST", "NUM_JOBS"].iter().all(|name| env.has(name)) {
        Shape::Probe
    } else {
        Shape::Other
    }
}

fn origin(shape: Shape, source: &Source, cargo_home: Option<&Path>) -> Origin {
    let below = |name: &str, path: &Path| cargo_home.is_some_and(|home| path.starts_with(home.join(name)));
    match source {
        _ if shape == Shape::Probe => Origin::Script,
        Source::Path(path) if path.is_absolute() && below("registry", path) => Origin::Registry,
        Source::Path(path) if path.is_absolute() && below("git", path) => Origin::Git,
        Source::Path(path) if path.is_absolute() => Origin::Outside,
        _ => Origin::Workspace,
    }
}

/// `--crate-name`, else what rustc makes of the source's name.
fn crate_name(seen: &Seen, source: &Source) -> String {
    match (&seen.crate_name, source) {
        (Some(name), _) => name.clone(),
        (None, Source::Stdin) => "rust_out".into(),
        (None, Source::Path(path)) => path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().replace('-', "_"),
    }
}

/// The package's name, which becomes part of object names: nothing but letters, digits, `-` and `_`.
fn package(env: &Env, crate_name: &str) -> Result<String, Bypass> {
    let name = match env.get_os("CARGO_PKG_NAME") {
        Some(name) => name.to_str().ok_or_else(|| Bypass::new(BypassReason::NonUtf8, "CARGO_PKG_NAME"))?,
        None => crate_name,
    };
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'));
    if !plain || matches!(name, "_inputs" | "_builds" | "_seeds") {
        return Err(Bypass::new(BypassReason::ReservedName, name));
    }
    Ok(name.to_owned())
}

/// The output directory, and the file that `-o` names. With several kinds of output rustc ignores the name in ways of its own.
fn output_place(seen: &Seen, shape: Shape, cwd: &Path) -> Result<(PathBuf, Option<PathBuf>), Bypass> {
    let Some(output) = &seen.output else {
        return Ok((cwd.join(seen.out_dir.as_deref().unwrap_or(".")).components().collect(), None));
    };
    let refuse = || Bypass::new(BypassReason::OutputPath, format!("-o {output}"));
    let file = cwd.join(output);
    let plain = seen.emit.len() == 1 && seen.crate_types.len() <= 1 && output != "-" && seen.out_dir.is_none();
    match file.parent() {
        Some(dir) if shape == Shape::Probe && plain && file.file_name().is_some() => Ok((dir.to_owned(), Some(file.clone()))),
        _ => Err(refuse()),
    }
}

/// Dep-info and notices of artifacts speak of the output directory as it is spelled. Below the target directory that is portable; any other
/// one counts.
fn spoken_dir(spelled: Option<&str>, out_dir: &Path, target_dir: Option<&Path>) -> Option<String> {
    let spelled = spelled?;
    let portable = Path::new(spelled).is_absolute() && target_dir.is_some_and(|dir| out_dir.starts_with(dir));
    (!portable).then(|| format!("out-dir={spelled}"))
}

/// What is understood but not kept.
fn refuse(unit: &Compile) -> Result<(), Bypass> {
    let codegen = &unit.codegen;
    // Outputs are named, not placed.
    let stem = unit.stem();
    if stem.is_empty() || stem.contains(['/', '\0']) {
        return Err(Bypass::new(BypassReason::OutputPath, stem));
    }
    let family = Family::of(unit.target.as_deref());
    if codegen.on("save-temps") {
        return Err(Bypass::new(BypassReason::SaveTemps, "-C save-temps"));
    }
    let split = codegen.get("split-debuginfo");
    let beside = match family {
        Family::Apple => unit.links() && split != Some("off"),
        _ => split.is_some_and(|split| split != "off"),
    };
    let generates = unit.emit.iter().any(|kind| !matches!(kind.as_str(), "metadata" | "dep-info"));
    if generates && beside && codegen.debuginfo() {
        return Err(Bypass::new(BypassReason::SplitDebuginfo, format!("split-debuginfo={}", split.unwrap_or("default"))));
    }
    if unit.emit.contains("link") {
        let unknown = unit.linked_types().into_iter().find(|kind| family.linked(*kind, "x").is_none());
        if let Some(kind) = unknown {
            let target = unit.target.as_deref().unwrap_or("this host");
            return Err(Bypass::new(BypassReason::CrateType, format!("{} for {target}", kind.name())));
        }
    }
    if unit.links() {
        if codegen.on("linker-plugin-lto") {
            return Err(Bypass::new(BypassReason::LinkerPluginLto, "-C linker-plugin-lto"));
        }
        if codegen.on("rpath") {
            return Err(Bypass::new(BypassReason::LinkArg, "-C rpath"));
        }
        link::read(&codegen.link_args, &unit.cwd)?;
    }
    if !unit.has_dep_info() && unit.externs.iter().any(|item| item.path.is_some()) {
        return Err(Bypass::new(BypassReason::OpenProbe, "--extern without dep-info"));
    }
    Ok(())
}

/// The source on standard input belongs to the key, so it has to be there; without dep-info nothing else may be read.
fn take_stdin(unit: &mut Compile, stdin: Option<&[u8]>) -> Result<(), Bypass> {
    if unit.source != Source::Stdin {
        return Ok(());
    }
    let bytes = stdin.ok_or_else(|| Bypass::new(BypassReason::StdinTooLarge, ""))?;
    if !unit.has_dep_info() && !closed_source(bytes) {
        return Err(Bypass::new(BypassReason::OpenProbe, "standard input"));
    }
    unit.stdin = Some(bytes.to_vec());
    Ok(())
}

/// The untracked variables that count for this unit.
fn environment(unit: &Compile, env: &Env) -> Result<BTreeMap<String, String>, Bypass> {
    let clippy = matches!(unit.driver, Driver::Clippy { .. });
    let macros = unit.shape != Shape::Probe || unit.externs.iter().any(|item| item.path.is_some());
    let applies = |when: When| match when {
        When::Always => true,
        When::Linking => unit.links(),
        When::Clippy => clippy,
        When::Macros => macros,
    };
    // Without dependencies, clippy is silent about packages that weren't selected.
    let selected = clippy && env.get("CLIPPY_ARGS").is_some_and(|args| args.contains("--no-deps"));
    let mut out = BTreeMap::new();
    for (name, value) in env.iter() {
        let Some(name) = name.to_str() else { continue };
        let counts = UNTRACKED.iter().any(|(pattern, when)| covers(pattern, name) && applies(*when))
            || (selected && name == "CARGO_PRIMARY_PACKAGE");
        // An empty RUSTC_BOOTSTRAP is none.
        if !counts || (name == "RUSTC_BOOTSTRAP" && value.is_empty()) {
            continue;
        }
        let value = value.to_str().ok_or_else(|| Bypass::new(BypassReason::NonUtf8, name))?;
        out.insert(name.to_owned(), value.to_owned());
    }
    Ok(out)
}
