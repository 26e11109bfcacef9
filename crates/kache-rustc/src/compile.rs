//! One compile, read: what kind of unit it is and where its files are. What is in its key stands in `inputs`, what has to be
//! looked up in `wants`, what it leaves in `outputs`.

use crate::argv::Argfile;
use crate::codegen::CodegenOptions;
use crate::env::Env;
use crate::wants::NativeLibrary;
use kache_model::{RootKind, Roots, Spelling};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// What compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// rustc alone.
    Rustc,
    /// clippy-driver in front of rustc.
    Clippy {
        /// Its path, as Cargo wrote it.
        driver: PathBuf,
    },
}

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Cargo, for a unit: rustc announces its artifacts as JSON and has a `-C metadata`.
    CargoUnit,
    /// A build script, to find out what the compiler can do.
    Probe,
    /// Somebody else.
    Other,
}

/// Where the source is from, judged by its spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A registry, unpacked below Cargo's home.
    Registry,
    /// A git checkout below Cargo's home.
    Git,
    /// The workspace: Cargo names the source relative to the working directory.
    Workspace,
    /// Anywhere else: a path package outside the workspace, vendored sources.
    Outside,
    /// A build script.
    Script,
}

/// `--crate-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CrateType {
    /// `bin`
    Bin,
    /// `lib`: what rustc likes, which is `rlib`.
    Lib,
    /// `rlib`
    Rlib,
    /// `dylib`
    Dylib,
    /// `cdylib`
    Cdylib,
    /// `staticlib`
    Staticlib,
    /// `proc-macro`
    ProcMacro,
}

impl CrateType {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Bin, Self::Lib, Self::Rlib, Self::Dylib, Self::Cdylib, Self::Staticlib, Self::ProcMacro];

    /// As rustc spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bin => "bin",
            Self::Lib => "lib",
            Self::Rlib => "rlib",
            Self::Dylib => "dylib",
            Self::Cdylib => "cdylib",
            Self::Staticlib => "staticlib",
            Self::ProcMacro => "proc-macro",
        }
    }

    /// Whether a linker makes it.
    pub fn links(self) -> bool {
        matches!(self, Self::Bin | Self::Dylib | Self::Cdylib | Self::ProcMacro)
    }
}

/// The source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, as it is named on the command line.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

/// One `--extern`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extern {
    /// `noprelude`, `priv`, … without the colon; may be empty.
    pub modifiers: String,
    /// The name.
    pub name: String,
    /// The library, joined to the working directory; `None` for a crate of the sysroot or one found by `-L`.
    pub path: Option<PathBuf>,
}

/// A compile: everything that is known before any file is looked at.
#[derive(Clone, Debug)]
pub struct Compile {
    /// rustc, as Cargo wrote it. With clippy this is the rustc behind the driver.
    pub compiler: PathBuf,
    /// What stands in front of it.
    pub driver: Driver,
    /// Who asked.
    pub shape: Shape,
    /// Where the source is from.
    pub origin: Origin,
    /// Package as in `Cargo.lock`; the crate's name where Cargo doesn't say one.
    pub package: String,
    /// `--crate-name`, or what rustc derives from the source's name.
    pub crate_name: String,
    /// `--crate-type`, in order and without repeats; `bin` where none is given (also with `--test`).
    pub crate_types: Vec<CrateType>,
    /// The source.
    pub source: Source,
    /// Where outputs go, joined to the working directory.
    pub out_dir: PathBuf,
    /// `--extern`s in order.
    pub externs: Vec<Extern>,
    /// The directory of `-C incremental`, joined to the working directory.
    pub incremental: Option<PathBuf>,
    /// Index in argv at which [`Compile::extra_args`] go in: before the user's own.
    pub insert_at: usize,
    /// Snapshots of `@file`s: rustc has to be given these bytes.
    pub argfiles: Vec<Argfile>,
    /// rustc's working directory.
    pub cwd: PathBuf,
    /// `--emit` kinds.
    pub emit: BTreeSet<String>,
    /// `--test`.
    pub test: bool,
    /// `--target` as written.
    pub target: Option<String>,
    /// `--sysroot` as written: the toolchain's identity has to be taken from there.
    pub sysroot: Option<String>,
    /// Whether paths are remapped: not under coverage, compressed debug sections, unpacked debug information, or the user's opt-out (`KACHE_NO_REMAP=1`).
    pub remapped: bool,

    pub(crate) cargo_home: Option<PathBuf>,
    pub(crate) target_dir: Option<PathBuf>,
    pub(crate) stdin: Option<Vec<u8>>,
    pub(crate) edition: Option<String>,
    pub(crate) output_file: Option<PathBuf>,
    pub(crate) codegen: CodegenOptions,
    pub(crate) backend: Option<String>,
    pub(crate) native_cpu: bool,
    pub(crate) cfgs: BTreeSet<String>,
    pub(crate) check_cfgs: BTreeSet<String>,
    pub(crate) lints: Vec<String>,
    pub(crate) options: Vec<String>,
    pub(crate) announces: bool,
    pub(crate) diagnostics: Vec<String>,
    pub(crate) json: bool,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) libraries: Vec<NativeLibrary>,
    pub(crate) search: Vec<(String, PathBuf)>,
    pub(crate) clippy_config_from: Option<PathBuf>,
}

impl Compile {
    /// The machine-local roots of this compile as they are spelled; the daemon adds the toolchain and the canonical spellings.
    ///
    /// A path package outside the workspace has no workspace root: Cargo hashes its absolute path into the unit, so there is nothing to share.
    pub fn root_paths(&self) -> Vec<(RootKind, PathBuf)> {
        let mut roots = Vec::new();
        if let Some(home) = &self.cargo_home {
            roots.push((RootKind::CargoHome, home.clone()));
        }
        let below_home = self.cargo_home.as_ref().is_some_and(|home| self.cwd.starts_with(home));
        let relative = match &self.source {
            Source::Path(path) => path.is_relative(),
            Source::Stdin => true,
        };
        // A package outside the workspace has its absolute path hashed by Cargo: nothing to share. A probe's directory is its package's.
        if (relative || self.shape == Shape::Probe) && !below_home {
            roots.push((RootKind::Workspace, normalise(&self.cwd)));
        }
        if let Some(dir) = &self.target_dir {
            roots.push((RootKind::Target, dir.clone()));
        }
        roots
    }

    /// What rustc gets in addition, at [`Compile::insert_at`]. A pure function of unit and roots: any change would make rustc drop
    /// its incremental session.
    pub fn extra_args(&self, roots: &Roots) -> Vec<OsString> {
        if !self.remapped {
            return Vec::new();
        }
        roots.remaps().into_iter().map(|remap| OsString::from(format!("--remap-path-prefix={remap}"))).collect()
    }

    /// The roots that the key holds literally: all of them when nothing is remapped, none otherwise.
    pub fn literal_roots(&self, roots: &Roots) -> Vec<String> {
        if self.remapped { Vec::new() } else { roots.literal() }
    }

    /// What rustc printed, as it is stored. Where nothing is remapped, a placeholder in it is the source's own.
    pub fn hide_roots(&self, roots: &Roots, text: &[u8], spelling: Spelling) -> Vec<u8> {
        if self.remapped { roots.hide(text, spelling) } else { text.to_vec() }
    }

    /// The reverse of [`Compile::hide_roots`].
    pub fn show_roots(&self, roots: &Roots, text: &[u8], spelling: Spelling) -> Vec<u8> {
        if self.remapped { roots.show(text, spelling) } else { text.to_vec() }
    }

    /// What is replaced in rustc's words while they go out.
    pub fn shown(&self, roots: &Roots) -> Vec<(String, String)> {
        if self.remapped { roots.shown(self.spelling()) } else { Vec::new() }
    }

    /// Options that shape what is printed. Keyed only where something was printed.
    pub fn diagnostics(&self) -> Vec<String> {
        self.diagnostics.clone()
    }

    /// How standard error spells paths.
    pub fn spelling(&self) -> Spelling {
        if self.json { Spelling::Json } else { Spelling::Plain }
    }

    /// Whether a linker runs.
    pub fn links(&self) -> bool {
        self.emit.contains("link") && (self.test || self.crate_types.iter().any(|kind| kind.links()))
    }

    /// Whether native libraries of its dependencies become part of it.
    pub fn gathers(&self) -> bool {
        self.links() || (self.emit.contains("link") && self.crate_types.contains(&CrateType::Staticlib))
    }

    /// Whether rustc writes a dep-info file. Without one, the source has to be [`closed`](crate::closed_source) and is the only input.
    pub fn has_dep_info(&self) -> bool {
        self.emit.contains("dep-info")
    }

    /// The source file joined to the working directory; `None` for standard input.
    pub fn source_file(&self) -> Option<PathBuf> {
        match &self.source {
            Source::Path(path) => Some(self.cwd.join(path)),
            Source::Stdin => None,
        }
    }
}

/// `CARGO_HOME`, as Cargo finds it. A relative one is relative to a directory that nobody tells us, so it is taken from the source's path.
pub(crate) fn cargo_home(env: &Env, source: &Source) -> Option<PathBuf> {
    let set = env.get_os("CARGO_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = match set {
        Some(home) => Some(home),
        None => env.get_os("HOME").filter(|value| !value.is_empty()).map(|home| Path::new(home).join(".cargo")),
    };
    match home {
        Some(home) if home.is_absolute() => Some(normalise(&home)),
        _ => {
            let Source::Path(source) = source else { return None };
            let text = source.to_str()?;
            let at = text.find("/registry/src/").or_else(|| text.find("/git/checkouts/"))?;
            (at > 0).then(|| PathBuf::from(&text[..at]))
        }
    }
}

/// The directory above `deps`, `examples` or `build/PKG-HASH` of a unit's output directory; also above `build/PKG/HASH` of the newer layout.
pub(crate) fn target_dir(out_dir: &Path) -> Option<PathBuf> {
    let names: Vec<&str> = out_dir.components().map(|part| part.as_os_str().to_str().unwrap_or("\u{fffd}")).collect();
    let build = |at: &usize| {
        let hashed = |name: &&str| name.rsplit_once('-').is_some_and(|(_, hash)| is_unit_hash(hash));
        names[*at] == "build" && (names.get(at + 1).is_some_and(hashed) || names.get(at + 2).is_some_and(|name| is_unit_hash(name)))
    };
    let flat = |at: &usize| matches!(names[*at], "deps" | "examples") && at + 1 == names.len();
    let at = (1..names.len()).rev().find(build).or_else(|| (1..names.len()).rev().find(flat))?;
    Some(out_dir.components().take(at).collect())
}

fn is_unit_hash(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Drops `.` and repeated slashes, and nothing else: `..` behind a symlink means another directory than it looks like.
pub(crate) fn normalise(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, Component::CurDir)).collect()
}
