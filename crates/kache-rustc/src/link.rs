//! Reads linker arguments (`-C link-arg`) of a unit that links: which files, libraries and directories they name.
//!
//! A linker reads what its arguments say, so an argument is either known to name nothing, or names a file that is looked up, or the
//! unit is bypassed with the argument as detail. Linker scripts are declined: they include other files by names of their own.

use kache_model::{Bypass, BypassReason};
use std::path::{Path, PathBuf};

/// What linker arguments name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkArgs {
    /// Files that are linked in as they are, joined to the working directory.
    pub(crate) inputs: Vec<PathBuf>,
    /// Files that options read, joined to the working directory.
    pub(crate) files: Vec<PathBuf>,
    /// `-lNAME`, in order.
    pub(crate) libraries: Vec<String>,
    /// `-LDIR`, in order.
    pub(crate) dirs: Vec<PathBuf>,
    /// `-fuse-ld=`, the last one.
    pub(crate) fuse_ld: Option<String>,
    /// `--ld-path=`, the last one.
    pub(crate) ld_path: Option<PathBuf>,
}

/// Options without a value.
const SWITCHES: &[&str] = &[
    "Bdynamic",
    "Bstatic",
    "Bsymbolic",
    "Bsymbolic-functions",
    "E",
    "ObjC",
    "S",
    "X",
    "as-needed",
    "allow-multiple-definition",
    "allow-shlib-undefined",
    "dead_strip",
    "dead_strip_dylibs",
    "demangle",
    "discard-all",
    "discard-locals",
    "dynamic",
    "eh-frame-hdr",
    "emit-relocs",
    "end-group",
    "export-dynamic",
    "fPIC",
    "fPIE",
    "fatal-warnings",
    "g",
    "gc-sections",
    "gdb-index",
    "headerpad_max_install_names",
    "m32",
    "m64",
    "n",
    "nmagic",
    "no-allow-shlib-undefined",
    "no-as-needed",
    "no-demangle",
    "no-dynamic-linker",
    "no-eh-frame-hdr",
    "no-export-dynamic",
    "no-fatal-warnings",
    "no-gc-sections",
    "no-pie",
    "no-relax",
    "no-rosegment",
    "no-undefined",
    "no-whole-archive",
    "nodefaultlibs",
    "nopie",
    "nostartfiles",
    "nostdlib",
    "omagic",
    "pie",
    "pthread",
    "q",
    "rdynamic",
    "relax",
    "s",
    "shared",
    "shared-libgcc",
    "start-group",
    "static",
    "static-libgcc",
    "static-pie",
    "strip-all",
    "strip-debug",
    "v",
    "verbose",
    "warn-common",
    "whole-archive",
    "x",
];

/// Options with a value that is text, attached by `=` or following.
const TEXTS: &[&str] = &[
    "arch",
    "compatibility_version",
    "current_version",
    "defsym",
    "dynamic-linker",
    "e",
    "entry",
    "framework",
    "h",
    "image-base",
    "init",
    "fini",
    "install_name",
    "m",
    "rpath",
    "soname",
    "stack_size",
    "u",
    "undefined",
    "wrap",
    "z",
];

/// Options with a value that is text and always attached by `=`.
const ATTACHED: &[&str] = &[
    "build-id",
    "compress-debug-sections",
    "hash-style",
    "icf",
    "march",
    "mcpu",
    "mtune",
    "mmacosx-version-min",
    "pack-dyn-relocs",
    "threads",
    "thread-count",
    "unresolved-symbols",
];

/// Options with a value that names a file.
const FILES: &[&str] = &[
    "dynamic-list",
    "export-dynamic-symbol-list",
    "exported_symbols_list",
    "order_file",
    "retain-symbols-file",
    "symbol-ordering-file",
    "unexported_symbols_list",
    "version-script",
];

/// Whether debug sections are compressed, so that no scan can see what they say.
pub(crate) fn compresses(args: &[String]) -> bool {
    flat(args).iter().any(|arg| {
        arg.trim_start_matches('-').strip_prefix("compress-debug-sections").is_some_and(|value| value != "=none")
            || (arg.starts_with("-gz") && arg != "-gz=none")
    })
}

/// Reads the arguments in order.
pub(crate) fn read(args: &[String], cwd: &Path) -> Result<LinkArgs, Bypass> {
    let mut out = LinkArgs::default();
    let tokens = flat(args);
    let mut rest = tokens.iter().map(String::as_str);
    while let Some(token) = rest.next() {
        let refuse = || Bypass::new(BypassReason::LinkArg, token);
        if !token.starts_with('-') {
            out.inputs.push(input(token, cwd).ok_or_else(refuse)?);
            continue;
        }
        let (name, value) = match token.trim_start_matches('-').split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (token.trim_start_matches('-'), None),
        };
        let mut needed = || value.or_else(|| rest.next()).ok_or_else(refuse);
        if FILES.contains(&name) {
            out.files.push(cwd.join(needed()?));
        } else if TEXTS.contains(&name) {
            needed()?;
        } else if name == "fuse-ld" {
            out.fuse_ld = Some(value.ok_or_else(refuse)?.to_owned());
        } else if name == "ld-path" {
            out.ld_path = Some(cwd.join(value.ok_or_else(refuse)?));
        } else if ATTACHED.contains(&name) || (value.is_none() && SWITCHES.contains(&name)) {
            // Names nothing.
        } else {
            short(token, &mut rest, cwd, &mut out)?;
        }
    }
    Ok(out)
}

/// Options that are one letter with their value attached: `-lfoo`, `-L/dir`, `-O2`, `-znow`.
fn short<'a>(token: &'a str, rest: &mut impl Iterator<Item = &'a str>, cwd: &Path, out: &mut LinkArgs) -> Result<(), Bypass> {
    let refuse = || Bypass::new(BypassReason::LinkArg, token);
    let mut letters = token.trim_start_matches('-').chars();
    let letter = letters.next();
    let attached = letters.as_str();
    let mut value = || if attached.is_empty() { rest.next().ok_or_else(refuse) } else { Ok(attached) };
    match letter {
        _ if token.starts_with("--") => return Err(refuse()),
        Some('l') => out.libraries.push(value()?.to_owned()),
        Some('L') => out.dirs.push(cwd.join(value()?)),
        Some('O') if attached.len() <= 1 => {}
        Some('z') => drop(value()?),
        Some('e' | 'u' | 'h') if !attached.is_empty() && !attached.contains(['/', '=']) => {}
        _ => return Err(refuse()),
    }
    Ok(())
}

/// A file that is linked in as it is; anything else may be a linker script or a response file.
fn input(token: &str, cwd: &Path) -> Option<PathBuf> {
    let name = token.rsplit('/').next()?;
    let known = [".o", ".a", ".so", ".dylib", ".rlib", ".tbd", ".obj", ".lib"].iter().any(|ending| name.ends_with(ending));
    ((known || name.contains(".so.")) && !token.starts_with('@')).then(|| cwd.join(token))
}

/// Arguments as the linker sees them: what the compiler driver hands on (`-Wl,a,b`, `-Xlinker a`) unwrapped.
fn flat(args: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if let Some(list) = arg.strip_prefix("-Wl,") {
            out.extend(list.split(',').map(str::to_owned));
        } else if arg == "-Xlinker" {
            out.extend(rest.next().cloned());
        } else {
            out.push(arg.clone());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Result<LinkArgs, String> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        read(&args, Path::new("/w")).map_err(|bypass| bypass.detail)
    }

    #[test]
    fn files_libraries_and_directories_are_found() {
        let files = |args: &[&str], files: &[&str]| {
            assert_eq!(run(args).unwrap().files, files.iter().map(PathBuf::from).collect::<Vec<_>>(), "{args:?}");
        };
        assert_eq!(run(&["/x/y.a", "z.o"]).unwrap().inputs, [PathBuf::from("/x/y.a"), PathBuf::from("/w/z.o")]);
        files(&["-Wl,--version-script=/x/v.map"], &["/x/v.map"]);
        files(&["-Wl,--version-script", "-Wl,v.map", "-s"], &["/w/v.map"]);
        files(&["-Xlinker", "--dynamic-list=d"], &["/w/d"]);
        files(&["-Wl,-rpath,$ORIGIN/lib.a", "-Wl,--gc-sections", "-Wl,-z,relro,-znow", "-Wl,-O1", "-Wl,--build-id=none"], &[]);
        files(&["-undefined", "dynamic_lookup", "-framework", "Foundation"], &[]);
        let args = run(&["-lfoo", "-l", "bar", "-L/a", "-Wl,-L,b", "-fuse-ld=mold"]).unwrap();
        assert_eq!(args.libraries, ["foo", "bar"]);
        assert_eq!(args.dirs, [PathBuf::from("/a"), PathBuf::from("/w/b")]);
        assert_eq!(args.fuse_ld.as_deref(), Some("mold"));
    }

    #[test]
    fn what_may_read_other_files_is_named() {
        for bad in ["-Tlink.x", "@args", "script.ld", "-B/dir", "--sysroot=/s", "-plugin", "--frob=/x", "-rpath-link", "-flto", "x"] {
            assert_eq!(run(&[bad]).unwrap_err(), bad);
        }
    }

    #[test]
    fn compressed_sections_are_noticed() {
        for (arg, yes) in [
            ("-Wl,--compress-debug-sections=zlib", true),
            ("-Wl,--compress-debug-sections=none", false),
            ("-gz", true),
            ("-gz=none", false),
            ("-g", false),
        ] {
            assert_eq!(compresses(&[arg.to_owned()]), yes, "{arg}");
        }
    }
}
