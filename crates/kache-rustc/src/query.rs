//! Questions to rustc that compile nothing: `-vV`, `--print …`. Their answers are the same for the same toolchain, arguments and a
//! few variables, so they are given from memory.

use crate::argv::Argfile;
use crate::compile::Driver;
use crate::env::{Env, covers};
use kache_model::{Digest, Encoder};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Variables that change an answer.
const COUNTS: &[&str] = &[
    "RUSTC_BOOTSTRAP",
    "RUSTC_FORCE_RUSTC_VERSION",
    "RUSTC_OVERRIDE_VERSION_STRING",
    "RUST_TARGET_PATH",
    "*_DEPLOYMENT_TARGET",
    "SDKROOT",
    "SYSROOT",
];

/// One query. Good for this machine only: an answer may depend on its CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// rustc, as Cargo wrote it.
    pub compiler: PathBuf,
    /// What stands in front of it.
    pub driver: Driver,
    /// Arguments behind the compiler, `@file`s expanded.
    pub args: Vec<String>,
    /// Snapshots of `@file`s.
    pub argfiles: Vec<Argfile>,
    /// `--sysroot` as written: the toolchain's identity has to be taken from there.
    pub sysroot: Option<String>,
    pub(crate) stdin: Vec<u8>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) environment: Vec<(OsString, OsString)>,
}

impl Query {
    /// Names the answer of `toolchain` (the identity of compiler and driver).
    pub fn key(&self, toolchain: &Digest) -> Digest {
        let Self { compiler, driver, args, argfiles: _, sysroot: _, stdin, cwd, environment } = self;
        let driver = match driver {
            Driver::Rustc => OsStr::new(""),
            Driver::Clippy { driver } => driver.as_os_str(),
        };
        let mut encoder = Encoder::new("kache.query.v1");
        encoder
            .field("toolchain", toolchain.as_bytes())
            .field("compiler", compiler.as_os_str().as_bytes())
            .field("driver", driver.as_bytes())
            .list("args", args)
            .field("stdin", stdin)
            .optional("cwd", cwd.as_ref().map(|cwd| cwd.as_os_str().as_bytes()))
            .list("names", environment.iter().map(|(name, _)| name.as_bytes()))
            .list("values", environment.iter().map(|(_, value)| value.as_bytes()));
        encoder.finish()
    }
}

/// The variables of `env` that change an answer.
pub(crate) fn environment(env: &Env) -> Vec<(OsString, OsString)> {
    let counts = |name: &OsStr| name.to_str().is_some_and(|name| COUNTS.iter().any(|pattern| covers(pattern, name)));
    env.iter().filter(|(name, _)| counts(name)).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
