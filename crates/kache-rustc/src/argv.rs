//! Reads an argument vector the way rustc does: `@file`s expanded, options split from their values, free arguments apart.
//!
//! Promises that no value is lost or taken for an option: an unknown option ends the reading. Doesn't judge what options mean.

use crate::flags::{self, Flag, Takes};
use kache_model::{Bypass, BypassReason};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// The bytes of an `@file` as they were read, so that rustc can be given the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argfile {
    /// Index in the original argv of the `@path` argument.
    pub index: usize,
    /// The path after `@`, joined to the working directory.
    pub path: PathBuf,
    /// What was read.
    pub bytes: Vec<u8>,
}

/// One option with its value; `value` is empty for options that take none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opt {
    pub(crate) flag: Flag,
    pub(crate) value: String,
}

/// Arguments behind the compiler's name, read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Args {
    pub(crate) opts: Vec<Opt>,
    pub(crate) free: Vec<String>,
}

/// Arguments with `@file`s replaced by their lines, and the snapshots that were taken.
pub(crate) struct Expanded {
    pub(crate) args: Vec<String>,
    pub(crate) argfiles: Vec<Argfile>,
}

/// Replaces each `@path` by the lines of that file, as rustc does: no quoting, no nesting, one argument a line.
pub(crate) fn expand(
    argv: &[OsString],
    first: usize,
    cwd: &Path,
    read: &mut dyn FnMut(&Path) -> io::Result<Vec<u8>>,
) -> Result<Expanded, Bypass> {
    let mut expanded = Expanded { args: Vec::new(), argfiles: Vec::new() };
    for (index, arg) in argv.iter().enumerate().skip(first) {
        let text = arg.to_str().ok_or_else(|| Bypass::new(BypassReason::NonUtf8, arg.to_string_lossy()))?;
        let Some(name) = text.strip_prefix('@') else {
            expanded.args.push(text.to_owned());
            continue;
        };
        let unreadable = |why: String| Bypass::new(BypassReason::UnreadableArgfile, format!("{text}: {why}"));
        // `@shell:path` is another quoting, behind an unstable option.
        if name.starts_with("shell:") {
            return Err(unreadable("shell quoting".into()));
        }
        let path = cwd.join(name);
        let bytes = read(&path).map_err(|error| unreadable(error.to_string()))?;
        let lines = std::str::from_utf8(&bytes).map_err(|_| unreadable("not UTF-8".into()))?;
        for line in lines.lines() {
            // Whether a nested `@` is expanded or a file name is a question that no build asks.
            if line.starts_with('@') {
                return Err(unreadable("names another @file".into()));
            }
            expanded.args.push(line.to_owned());
        }
        expanded.argfiles.push(Argfile { index, path, bytes });
    }
    Ok(expanded)
}

/// Splits options from values and free arguments.
pub(crate) fn read(args: &[String]) -> Result<Args, Bypass> {
    let mut out = Args::default();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if arg == "--" {
            out.free.extend(rest.by_ref().cloned());
        } else if let Some(long) = arg.strip_prefix("--") {
            read_long(arg, long, &mut rest, &mut out)?;
        } else if arg.len() > 1 && arg.starts_with('-') {
            read_cluster(arg, &mut rest, &mut out)?;
        } else {
            out.free.push(arg.clone());
        }
    }
    Ok(out)
}

fn unknown(arg: &str) -> Bypass {
    Bypass::new(BypassReason::UnknownFlag, arg)
}

fn read_long(arg: &str, long: &str, rest: &mut std::slice::Iter<'_, String>, out: &mut Args) -> Result<(), Bypass> {
    let (name, attached) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (long, None),
    };
    let row = flags::long(name).ok_or_else(|| unknown(&format!("--{name}")))?;
    let value = match (row.2, attached) {
        (Takes::Nothing, None) => String::new(),
        (Takes::Nothing, Some(_)) => return Err(unknown(arg)),
        (Takes::Value, Some(value)) => value,
        (Takes::Value, None) => rest.next().cloned().ok_or_else(|| unknown(arg))?,
    };
    out.opts.push(Opt { flag: row.3, value });
    Ok(())
}

/// `-vV`, `-gCopt-level=2`, `-L dir`: letters without values may stand together, the first with a value takes what follows.
fn read_cluster(arg: &str, rest: &mut std::slice::Iter<'_, String>, out: &mut Args) -> Result<(), Bypass> {
    let letters = &arg[1..];
    for (at, letter) in letters.char_indices() {
        let row = flags::short(letter).ok_or_else(|| unknown(arg))?;
        if row.2 == Takes::Nothing {
            out.opts.push(Opt { flag: row.3, value: String::new() });
            continue;
        }
        let attached = &letters[at + letter.len_utf8()..];
        let value = if attached.is_empty() { rest.next().cloned().ok_or_else(|| unknown(arg))? } else { attached.to_owned() };
        out.opts.push(Opt { flag: row.3, value });
        return Ok(());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &[&str]) -> Result<Vec<(Flag, String)>, String> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        match read(&args) {
            Ok(args) => Ok(args.opts.into_iter().map(|opt| (opt.flag, opt.value)).collect()),
            Err(bypass) => Err(bypass.to_string()),
        }
    }

    #[test]
    fn both_spellings_of_a_value_are_one() {
        for (left, right) in [
            (&["--cfg=x=\"y\""][..], &["--cfg", "x=\"y\""][..]),
            (&["-Copt-level=3"], &["-C", "opt-level=3"]),
            (&["--codegen=opt-level=3"], &["-Copt-level=3"]),
            (&["-lfoo"], &["-l", "foo"]),
            (&["-vV"], &["-v", "-V"]),
            (&["-gCdebuginfo=1"], &["-g", "-C", "debuginfo=1"]),
            (&["--allow=x"], &["-A", "x"]),
        ] {
            assert_eq!(check(left).unwrap(), check(right).unwrap());
        }
    }

    #[test]
    fn a_value_is_never_taken_for_an_option_nor_lost() {
        assert_eq!(check(&["--crate-name", "--test"]).unwrap(), [(Flag::CrateName, "--test".to_owned())]);
        assert_eq!(check(&["-l", "-x"]).unwrap(), [(Flag::NativeLibrary, "-x".to_owned())]);
        assert_eq!(check(&["--crate-name"]).unwrap_err(), "unknown_flag (--crate-name)");
        assert_eq!(check(&["--test=yes"]).unwrap_err(), "unknown_flag (--test=yes)");
        assert_eq!(check(&["--frobnicate", "x"]).unwrap_err(), "unknown_flag (--frobnicate)");
        assert_eq!(check(&["-q"]).unwrap_err(), "unknown_flag (-q)");
        assert_eq!(check(&["-Lé", "-é"]).unwrap_err(), "unknown_flag (-é)");
    }

    #[test]
    fn all_behind_two_dashes_is_free() {
        let args: Vec<String> = ["-", "--", "-C", "x"].iter().map(|arg| (*arg).to_owned()).collect();
        assert_eq!(read(&args).unwrap().free, ["-", "-C", "x"]);
    }

    #[test]
    fn argfiles_are_expanded_line_by_line_and_remembered() {
        let argv = [OsString::from("rustc"), "-g".into(), "@args".into(), "x.rs".into()];
        let mut read = |path: &Path| {
            assert_eq!(path, Path::new("/w/args"));
            Ok(b"--cfg\nfeature=\"a b\"\n\n-O\r\n".to_vec())
        };
        let expanded = expand(&argv, 1, Path::new("/w"), &mut read).unwrap();
        assert_eq!(expanded.args, ["-g", "--cfg", "feature=\"a b\"", "", "-O", "x.rs"]);
        assert_eq!(expanded.argfiles[0].index, 2);
        for bad in [&b"@more\n"[..], b"\xff"] {
            let result = expand(&argv, 1, Path::new("/w"), &mut |_| Ok(bad.to_vec()));
            assert_eq!(result.err().unwrap().reason, BypassReason::UnreadableArgfile);
        }
        let gone = expand(&argv, 1, Path::new("/w"), &mut |_| Err(io::ErrorKind::NotFound.into()));
        assert_eq!(gone.err().unwrap().reason, BypassReason::UnreadableArgfile);
    }
}
