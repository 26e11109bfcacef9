//! Reads linker arguments (`-C link-arg`) of a unit that links: which files, libraries and directories they name.
//!
//! A linker reads what its arguments say, so an argument is either known to name nothing, or names a file that is looked up, or the
//! unit is bypassed with the argument as detail. Linker scripts are declined: they include other files by names of their own.

use crate::link_options::{Means, means};
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
    /// Options that tell the compiler driver where to look for what it adds by itself (`-BDIR`, `--sysroot=DIR`, `-m32`), in order, each one word.
    pub(crate) places: Vec<String>,
}

/// An argument, and who reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    text: String,
    /// Handed on by the compiler driver (`-Wl,…`): no option of its own.
    handed_on: bool,
}

/// Whether debug sections are compressed, so that no scan can see what they say.
pub(crate) fn compresses(args: &[String]) -> bool {
    flat(args).iter().map(|token| token.text.as_str()).any(|arg| {
        arg.trim_start_matches('-').strip_prefix("compress-debug-sections").is_some_and(|value| value != "=none")
            || (arg.starts_with("-gz") && arg != "-gz=none")
    })
}

/// Reads the arguments in order.
pub(crate) fn read(args: &[String], cwd: &Path) -> Result<LinkArgs, Bypass> {
    let mut out = LinkArgs::default();
    let tokens = flat(args);
    let mut rest = tokens.iter();
    while let Some(Token { text, handed_on }) = rest.next() {
        let refuse = || Bypass::new(BypassReason::LinkArg, text);
        if !text.starts_with('-') {
            out.inputs.push(input(text, cwd).ok_or_else(refuse)?);
            continue;
        }
        let bare = text.trim_start_matches('-');
        let (name, value) = bare.split_once('=').map_or((bare, None), |(name, value)| (name, Some(value)));
        let mut needed = || value.or_else(|| rest.next().map(|token| token.text.as_str())).ok_or_else(refuse);
        match means(name) {
            Some(Means::Switch) if value.is_none() => {}
            Some(Means::Attached) => {}
            Some(Means::Text) => drop(needed()?),
            Some(Means::File) => out.files.push(cwd.join(needed()?)),
            Some(Means::Directory) => out.dirs.push(cwd.join(needed()?)),
            Some(Means::Library) => out.libraries.push(needed()?.to_owned()),
            Some(Means::Places) if !handed_on && (value.is_some() || name.starts_with('m')) => out.places.push(text.clone()),
            Some(Means::Switch | Means::Places) => return Err(refuse()),
            None if name == "fuse-ld" => out.fuse_ld = Some(value.ok_or_else(refuse)?.to_owned()),
            None if name == "ld-path" => out.ld_path = Some(cwd.join(value.ok_or_else(refuse)?)),
            None => short(text, *handed_on, &mut rest, cwd, &mut out)?,
        }
    }
    Ok(out)
}

/// Options that are one letter with their value attached: `-lfoo`, `-L/dir`, `-O2`, `-znow`.
fn short<'a>(
    text: &'a str,
    handed_on: bool,
    rest: &mut impl Iterator<Item = &'a Token>,
    cwd: &Path,
    out: &mut LinkArgs,
) -> Result<(), Bypass> {
    let refuse = || Bypass::new(BypassReason::LinkArg, text);
    let mut letters = text.trim_start_matches('-').chars();
    let letter = letters.next();
    let attached = letters.as_str();
    let mut value = || match attached {
        "" => rest.next().map(|token| token.text.as_str()).ok_or_else(refuse),
        _ => Ok(attached),
    };
    match letter {
        _ if text.starts_with("--") => return Err(refuse()),
        Some('l') => out.libraries.push(value()?.to_owned()),
        Some('L') => out.dirs.push(cwd.join(value()?)),
        Some('B') if !handed_on => out.places.push(format!("-B{}", value()?)),
        Some('O') if attached.len() <= 1 => {}
        Some('z') => drop(value()?),
        // A search path to lld and gold; to GNU ld the name of a file, unless that is a directory.
        Some('R') if value()?.starts_with("$ORIGIN") => {}
        Some('e' | 'u' | 'h') if !attached.is_empty() && !attached.contains(['/', '=']) => {}
        // The driver's warnings.
        Some('W') if !handed_on && !attached.is_empty() && !attached.contains([',', '=']) => {}
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

/// Arguments one by one: what the compiler driver hands on (`-Wl,a,b`, `-Xlinker a`) unwrapped.
fn flat(args: &[String]) -> Vec<Token> {
    let mut out = Vec::new();
    let mut rest = args.iter();
    let handed_on = |text: &str| Token { text: text.to_owned(), handed_on: true };
    while let Some(arg) = rest.next() {
        if let Some(list) = arg.strip_prefix("-Wl,") {
            out.extend(list.split(',').map(handed_on));
        } else if arg == "-Xlinker" {
            out.extend(rest.next().map(|arg| handed_on(arg)));
        } else {
            out.push(Token { text: arg.clone(), handed_on: false });
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

    /// What people pass: nothing is read for it but the words.
    #[test]
    fn popular_arguments_are_harmless() {
        for arg in [
            "-Wl,--disable-new-dtags",
            "-Wl,--enable-new-dtags",
            "-Wl,--exclude-libs,ALL",
            "-Wl,--exclude-libs=libfoo.a",
            "-Wl,-z,stack-size=8388608",
            "-Wl,-zstack-size=8388608",
            "-Wl,--no-undefined",
            "-Wl,--push-state,--as-needed,--pop-state",
            "-Wl,--warn-unresolved-symbols",
            "-Wl,--no-warn-mismatch",
            "-Wl,--export-dynamic-symbol=main",
            "-Wl,--error-limit=0",
            "-Wl,--color-diagnostics",
            "-Wl,--no-color-diagnostics",
            "-Wl,--print-gc-sections",
            "-Wl,--no-keep-memory",
            "-Wl,--icf=all",
            "-Wl,--threads=1",
            "-Wl,--no-threads",
            "-Wl,--thinlto-jobs=4",
            "-Wl,--sort-section=alignment",
            "-Wl,--sort-section,name",
            "-Wl,--sort-common",
            "-Wl,-O2",
            "-Wl,--strip-debug-non-line",
            "-Wl,--section-start=.foo=0x100000",
            "-Wl,-Ttext=0x100000",
            "-Wl,--build-id",
            "-Wl,--package-metadata={}",
            "-Wl,-R,$ORIGIN/../lib",
            "-O3",
            "-Wno-unused",
            "-static-libstdc++",
        ] {
            assert_eq!(run(&[arg]).unwrap(), LinkArgs::default(), "{arg}");
        }
    }

    #[test]
    fn the_driver_is_told_where_to_look_and_the_linker_is_not() {
        assert_eq!(run(&["-B/x", "-B", "y", "--sysroot=/s", "-m32"]).unwrap().places, ["-B/x", "-By", "--sysroot=/s", "-m32"]);
        for bad in ["-Wl,-B/x", "-Wl,--sysroot=/s", "-Wl,-m32"] {
            assert_eq!(run(&[bad]).unwrap_err(), bad.trim_start_matches("-Wl,"));
        }
        assert_eq!(run(&["-Wl,--library-path=/x,--library=foo"]).unwrap().dirs, [PathBuf::from("/x")]);
    }

    #[test]
    fn what_may_read_or_write_other_files_is_named() {
        for bad in [
            "-Tlink.x",
            "--script=x",
            "@args",
            "script.ld",
            "--sysroot",
            "-plugin",
            "--frob=/x",
            "-rpath-link",
            "-flto",
            "x",
            "-Ofast",
            "-specs=x",
            "-fsanitize=address",
            "-Map=x",
            "--dependency-file=x",
            "--reproduce=x",
            "--thinlto-cache-dir=x",
            "--print-gc-sections=x",
            "--compress-sections=x=zlib",
            "-R/x",
            "-Wa,x",
            "-Wp,x",
        ] {
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
