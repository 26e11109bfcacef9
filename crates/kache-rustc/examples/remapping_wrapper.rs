//! A `RUSTC_WRAPPER` without a cache: writes each call down below `$CALLS` (argv, directory, environment, standard input), adds what
//! [`kache_rustc::Compile::extra_args`] says, and becomes the compiler. The tests build real projects with it.

use kache_model::{Root, RootKind, Roots};
use kache_rustc::{Compile, Env, Invocation, Verdict, judge};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn main() -> io::Result<()> {
    let argv: Vec<OsString> = std::env::args_os().skip(1).collect();
    let cwd = std::env::current_dir()?;
    let calls = PathBuf::from(std::env::var_os("CALLS").ok_or(io::ErrorKind::NotFound)?);
    let log = calls.join(std::process::id().to_string());
    let mut stdin = Vec::new();
    if argv.iter().any(|arg| arg == "-") {
        io::stdin().read_to_end(&mut stdin)?;
    }
    fs::write(log.with_extension("stdin"), &stdin)?;
    fs::write(log.with_extension("cwd"), cwd.as_os_str().as_bytes())?;
    let env: Vec<u8> = std::env::vars_os().flat_map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat()).collect();
    fs::write(log.with_extension("env"), env)?;
    fs::write(log.with_extension("argv"), argv.iter().flat_map(|arg| [arg.as_bytes(), b"\0"].concat()).collect::<Vec<u8>>())?;
    let args = remapped(&argv, &cwd, &stdin);
    let mut command = Command::new(&args[0]);
    command.args(&args[1..]);
    command.stdin(if stdin.is_empty() { Stdio::null() } else { File::open(log.with_extension("stdin"))?.into() });
    Err(command.exec())
}

fn remapped(argv: &[OsString], cwd: &Path, stdin: &[u8]) -> Vec<OsString> {
    let env: Env = std::env::vars_os().collect();
    let inv = Invocation { argv, cwd, env: &env, stdin: Some(stdin) };
    let mut args = argv.to_vec();
    if let Verdict::Compile(unit) = judge(&inv, &mut |path| fs::read(path)) {
        args.splice(unit.insert_at..unit.insert_at, unit.extra_args(&roots(&unit)));
    }
    args
}

fn roots(unit: &Compile) -> Roots {
    let root = |(kind, path): (RootKind, PathBuf)| {
        let canonical = path.canonicalize().unwrap_or_else(|_| path.clone());
        Root::new(kind, path.to_string_lossy(), canonical.to_string_lossy())
    };
    Roots::new(unit.root_paths().into_iter().map(root).collect())
}
