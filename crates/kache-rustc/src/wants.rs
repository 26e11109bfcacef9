//! What has to be looked up before a unit has a key: libraries, files that options name, directories that rustc searches, the linker.
//! The lookups themselves are the daemon's.

use crate::compile::{Compile, CrateType};
use crate::link;
use kache_model::{Bypass, BypassReason};
use std::path::{Path, PathBuf};

/// Everything to look up. All paths are absolute (joined to the working directory).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// `-l` options, in order, and for what links the `-lNAME` of linker arguments.
    pub libraries: Vec<NativeLibrary>,
    /// Where rustc and the linker look for them, in order (`-L native=`, `-L all=`, linker arguments).
    pub native_dirs: Vec<PathBuf>,
    /// The same for frameworks (`-L framework=`, `-L all=`).
    pub framework_dirs: Vec<PathBuf>,
    /// Files named by options; each goes into `named_files` under its name.
    pub files: Vec<NamedFile>,
    /// Directories in which rustc finds crates that no `--extern` names (`-L crate=`, `-L all=`): `lib*.{rlib,rmeta,so}` there has to be
    /// keyed, or there must be none.
    pub crate_dirs: Vec<PathBuf>,
    /// The linker, for what links.
    pub linker: Option<LinkerWant>,
    /// Whether code is made for this machine's CPU.
    pub native_cpu: bool,
    /// Whether the system's assembler may take part.
    pub assembler: bool,
    /// Where clippy-driver begins to look for its configuration; see [`clippy_configs`].
    pub clippy_config_from: Option<PathBuf>,
}

/// A file that an option names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// Its name in the key: which option it belongs to.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it has to exist; if not, its absence is keyed.
    pub required: bool,
    /// Whether it is linked in, so that it has to be a library or an object: a script or a thin archive would name other files.
    pub linked: bool,
}

/// How a native library is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeKind {
    /// `static`: read now, bundled into an rlib unless `-bundle` says otherwise.
    Static,
    /// `dylib`, also where no kind is given: read by the linker.
    Dylib,
    /// `framework`: read by the linker.
    Framework,
}

/// One `-l`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeLibrary {
    /// How it is linked.
    pub kind: NativeKind,
    /// As written: `+whole-archive,-bundle`; may be empty.
    pub modifiers: String,
    /// The name that it has here and in the source.
    pub name: String,
    /// The name that is looked for instead (`-l NAME:RENAME`).
    pub rename: Option<String>,
    /// The whole option value, which is keyed.
    pub text: String,
}

impl NativeLibrary {
    /// Reads the value of `-l`.
    ///
    /// # Errors
    /// A kind or modifier that isn't known.
    pub fn parse(text: &str) -> Result<Self, Bypass> {
        let refuse = || Bypass::new(BypassReason::UnknownFlag, format!("-l {text}"));
        let (kind, name) = text.split_once('=').unwrap_or(("dylib", text));
        let (kind, modifiers) = kind.split_once(':').unwrap_or((kind, ""));
        let kind = match kind {
            "static" => NativeKind::Static,
            "dylib" => NativeKind::Dylib,
            "framework" => NativeKind::Framework,
            _ => return Err(refuse()),
        };
        let known = |word: &str| {
            word.strip_prefix(['+', '-']).is_some_and(|name| matches!(name, "bundle" | "verbatim" | "whole-archive" | "as-needed"))
        };
        if !modifiers.is_empty() && !modifiers.split(',').all(known) {
            return Err(refuse());
        }
        let (name, rename) = match name.split_once(':') {
            Some((name, rename)) => (name, Some(rename.to_owned())),
            None => (name, None),
        };
        if name.is_empty() {
            return Err(refuse());
        }
        Ok(Self { kind, modifiers: modifiers.to_owned(), name: name.to_owned(), rename, text: text.to_owned() })
    }

    /// Whether the name is a file's name as it stands (`+verbatim`), instead of `libNAME.a`.
    pub fn verbatim(&self) -> bool {
        self.says("verbatim").unwrap_or(false)
    }

    /// The names that a file of it may have, with one of these endings.
    pub fn file_names(&self, ends: &[&str]) -> Vec<String> {
        let name = self.rename.as_ref().unwrap_or(&self.name);
        if self.verbatim() { vec![name.clone()] } else { ends.iter().map(|end| format!("lib{name}.{end}")).collect() }
    }

    /// Whether a static library becomes part of an rlib.
    pub fn bundled(&self) -> bool {
        self.kind == NativeKind::Static && self.says("bundle").unwrap_or(true)
    }

    fn says(&self, modifier: &str) -> Option<bool> {
        self.modifiers.split(',').rev().find_map(|word| match word.split_at_checked(1) {
            Some(("+", name)) if name == modifier => Some(true),
            Some(("-", name)) if name == modifier => Some(false),
            _ => None,
        })
    }
}

/// The linker of a unit that links. Its options are keyed as text; what runs has to be identified by content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkerWant {
    /// `-C linker=`: a path, or a name to be found along `PATH`. `None`: what rustc takes for the target (`cc`).
    pub program: Option<PathBuf>,
    /// `-fuse-ld=`: a name or a path.
    pub fuse_ld: Option<String>,
    /// `--ld-path=`.
    pub ld_path: Option<PathBuf>,
    /// Options that tell the compiler driver where to look (`-BDIR`, `--sysroot=DIR`, `-m32`).
    pub places: Vec<String>,
    /// `-C linker-flavor=`.
    pub flavor: Option<String>,
    /// `--target`.
    pub target: Option<String>,
    /// Every `-C` option that has to do with linking, as text.
    pub options: Vec<String>,
}

impl Compile {
    /// Everything that has to be looked up.
    pub fn wants(&self) -> Wants {
        let dirs = |kinds: [&str; 2]| -> Vec<PathBuf> {
            self.search.iter().filter(|(kind, _)| kinds.contains(&kind.as_str())).map(|(_, dir)| dir.clone()).collect()
        };
        let mut wants = Wants {
            libraries: self.libraries.clone(),
            native_dirs: dirs(["native", "all"]),
            framework_dirs: dirs(["framework", "all"]),
            crate_dirs: dirs(["crate", "all"]),
            files: self.target_specification().into_iter().chain(self.backend_library()).collect(),
            native_cpu: self.native_cpu,
            assembler: self.assembles_elsewhere(),
            linker: None,
            clippy_config_from: self.clippy_config_from.clone(),
        };
        if self.links() {
            self.want_linker(&mut wants);
        }
        wants
    }

    /// Where rustc looks for the crates that its externs need.
    pub fn dependency_dirs(&self) -> Vec<PathBuf> {
        let kinds = ["dependency", "crate", "all"];
        self.search.iter().filter(|(kind, _)| kinds.contains(&kind.as_str())).map(|(_, dir)| dir.clone()).collect()
    }

    fn want_linker(&self, wants: &mut Wants) {
        // Judged to be readable when the verdict was given.
        let args = link::read(&self.codegen.linker_words(), &self.cwd).unwrap_or_default();
        let files = args.files.into_iter().map(|path| (path, false)).chain(args.inputs.into_iter().map(|path| (path, true)));
        for (index, (path, linked)) in files.enumerate() {
            wants.files.push(NamedFile { name: format!("link-arg {index}"), path, required: true, linked });
        }
        wants.files.extend(self.preloaded());
        wants.native_dirs.extend(args.dirs);
        wants.libraries.extend(args.libraries.into_iter().map(|name| NativeLibrary {
            kind: NativeKind::Dylib,
            modifiers: String::new(),
            text: name.clone(),
            name,
            rename: None,
        }));
        let about_linking =
            |text: &String| text.starts_with("link") || text.starts_with("prefer-dynamic") || text.starts_with("relocation");
        wants.linker = Some(LinkerWant {
            program: self.codegen.linker.as_ref().map(PathBuf::from),
            fuse_ld: args.fuse_ld,
            ld_path: args.ld_path,
            places: args.places,
            flavor: self.codegen.get("linker-flavor").map(str::to_owned),
            target: self.target.clone(),
            options: self.codegen.canonical().into_iter().filter(about_linking).collect(),
        });
    }

    /// `--target x.json`, or a name that `RUST_TARGET_PATH` may lead to one.
    fn target_specification(&self) -> Vec<NamedFile> {
        let Some(target) = &self.target else { return Vec::new() };
        if target.ends_with(".json") {
            return vec![NamedFile { name: "target".into(), path: self.cwd.join(target), required: true, linked: false }];
        }
        let path = self.environment.get("RUST_TARGET_PATH").map(String::as_str).unwrap_or_default();
        let dirs = path.split(':').filter(|dir| !dir.is_empty()).enumerate();
        let file = |(index, dir): (usize, &str)| NamedFile {
            name: format!("target {index}"),
            path: self.cwd.join(dir).join(format!("{target}.json")),
            required: false,
            linked: false,
        };
        dirs.map(file).collect()
    }

    /// `-Z codegen-backend` with a library's path. rustc takes what holds a dot for one.
    fn backend_library(&self) -> Option<NamedFile> {
        let path = self.backend.as_ref().filter(|name| name.contains('.'))?;
        Some(NamedFile { name: "codegen backend".into(), path: self.cwd.join(path), required: true, linked: false })
    }

    /// Cranelift hands assembly to the system's assembler, which it finds beside the linker.
    fn assembles_elsewhere(&self) -> bool {
        self.backend.as_ref().is_some_and(|name| name != "llvm")
    }

    /// Backends whose parts can't be told.
    pub(crate) fn refuse_backend(&self) -> Result<(), Bypass> {
        let elsewhere = self.sysroot.is_some() || self.codegen.linker.is_some();
        match self.backend.as_deref() {
            None | Some("llvm") => Ok(()),
            Some(name) if !elsewhere && (name == "cranelift" || name.contains('.')) => Ok(()),
            Some(_) => Err(Bypass::new(BypassReason::UnknownFlag, "-Z codegen-backend")),
        }
    }

    /// What `mold -run` puts in the linker's place, by content. Names without a path are found in ways of the loader's own.
    fn preloaded(&self) -> impl Iterator<Item = NamedFile> {
        let values = ["LD_PRELOAD", "MOLD_PATH"].into_iter().filter_map(|name| self.environment.get(name));
        let paths = values.flat_map(|value| value.split([':', ' '])).filter(|path| path.starts_with('/'));
        paths.map(|path| NamedFile { name: format!("preloaded {path}"), path: path.into(), required: false, linked: false })
    }

    /// Whether the unit is a library whose dependents may run it as a macro.
    pub fn is_proc_macro(&self) -> bool {
        !self.test && self.crate_types.contains(&CrateType::ProcMacro)
    }
}

/// The files that may be clippy-driver's configuration, nearest first: the first directory that has any of them counts (key their contents, or
/// that there is none). `from` has to be canonical: that is how clippy goes up.
pub fn clippy_configs(from: &Path) -> impl Iterator<Item = [PathBuf; 2]> {
    from.ancestors().map(|dir| [dir.join(".clippy.toml"), dir.join("clippy.toml")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_libraries_are_read_with_modifiers_and_rename() {
        let check = |text: &str, kind, name: &str, rename: Option<&str>, bundled: bool, verbatim: bool| {
            let library = NativeLibrary::parse(text).unwrap();
            assert_eq!((library.kind, library.name.as_str(), library.rename.as_deref()), (kind, name, rename), "{text}");
            assert_eq!((library.bundled(), library.verbatim(), library.text.as_str()), (bundled, verbatim, text), "{text}");
        };
        check("z", NativeKind::Dylib, "z", None, false, false);
        check("static=z", NativeKind::Static, "z", None, true, false);
        check("static:-bundle,+verbatim=libz.a", NativeKind::Static, "libz.a", None, false, true);
        check("static:+whole-archive=a:b", NativeKind::Static, "a", Some("b"), true, false);
        check("framework=Foundation", NativeKind::Framework, "Foundation", None, false, false);
        let names = |text: &str| NativeLibrary::parse(text).unwrap().file_names(&["so", "a"]);
        assert_eq!(names("z"), ["libz.so", "libz.a"]);
        assert_eq!(names("static=a:b"), ["libb.so", "libb.a"]);
        assert_eq!(names("static:+verbatim=libz.a"), ["libz.a"]);
        for bad in ["raw-dylib=x", "static:+frob=x", "static="] {
            assert_eq!(NativeLibrary::parse(bad).unwrap_err().detail, format!("-l {bad}"));
        }
    }
}
