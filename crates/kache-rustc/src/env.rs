//! The environment of an invocation, as a value; and which of its variables count although rustc leaves no trace of reading them.
//!
//! Variables that the *source* reads (`env!`) are in dep-info and no business of this file. The lists are named on purpose: the
//! whole environment holds per-run values that would spoil every hit.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;

/// Environment variables of one invocation.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Env(BTreeMap<OsString, OsString>);

impl Env {
    /// The value, if it is set and UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_os(name).and_then(OsStr::to_str)
    }

    /// The value as it is.
    pub fn get_os(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// Whether the variable is set to something.
    pub fn has(&self, name: &str) -> bool {
        self.get_os(name).is_some_and(|value| !value.is_empty())
    }

    /// All variables, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(vars: I) -> Self {
        Self(vars.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Names only: values may be secrets.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// When an untracked variable counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// For every compile.
    Always,
    /// For what links.
    Linking,
    /// For what links into a file that holds a time: not ELF, not WebAssembly.
    LinkingDated,
    /// For clippy-driver.
    Clippy,
    /// For compiles on which a proc macro may run.
    Macros,
}

/// Variables that count, by exact name, by beginning (`NAME*`) or by ending (`*NAME`).
#[rustfmt::skip]
pub(crate) const UNTRACKED: &[(&str, When)] = &[
    ("RUSTC_BOOTSTRAP",               When::Always),
    ("RUSTC_FORCE_RUSTC_VERSION",     When::Always),
    ("RUSTC_OVERRIDE_VERSION_STRING", When::Always),
    ("RUST_TARGET_PATH",              When::Always),
    ("*_DEPLOYMENT_TARGET",           When::Always),
    // Cranelift's, where it is the backend.
    ("CG_CLIF_*",                     When::Always),
    // What bitcode says of who made it. The rest that LLVM asks for concerns its crashes.
    ("LLVM_OVERRIDE_*",               When::Always),
    // The linker's, and those of the compiler driver that starts it.
    ("SDKROOT",                       When::Linking),
    ("DEVELOPER_DIR",                 When::Linking),
    ("LIBRARY_PATH",                  When::Linking),
    ("LPATH",                         When::Linking),
    ("COMPILER_PATH",                 When::Linking),
    ("GCC_EXEC_PREFIX",               When::Linking),
    ("GCC_COMPARE_DEBUG",             When::Linking),
    ("CCC_OVERRIDE_OPTIONS",          When::Linking),
    ("GNUTARGET",                     When::Linking),
    ("LDEMULATION",                   When::Linking),
    ("LD_RUN_PATH",                   When::Linking),
    ("LDPATH",                        When::Linking),
    ("LD",                            When::Linking),
    ("NIX_LDFLAGS*",                  When::Linking),
    ("NIX_CFLAGS_LINK*",              When::Linking),
    ("NIX_DONT_SET_RPATH*",           When::Linking),
    ("NIX_HARDENING_ENABLE*",         When::Linking),
    // `mold -run`: another linker in the place of the one that the driver starts.
    ("LD_PRELOAD",                    When::Linking),
    ("MOLD_PATH",                     When::Linking),
    ("LLD_REPRODUCE",                 When::Linking),
    ("LLD_VERSION",                   When::Linking),
    ("ZERO_AR_DATE",                  When::Linking),
    // rustc and LLVM don't read it, linkers only for the time in the header of PE and Mach-O files. (Macros may, like any variable.)
    ("SOURCE_DATE_EPOCH",             When::LinkingDated),
    // clippy-driver's own.
    ("CLIPPY_ARGS",                   When::Clippy),
    ("CLIPPY_CONF_DIR",               When::Clippy),
    ("CLIPPY_DISABLE_DOCS_LINKS",     When::Clippy),
    ("SYSROOT",                       When::Clippy),
    // What Cargo says about the package: macros read it untracked. CARGO_MANIFEST_DIR and its kin are added by whoever knows
    // that a reachable macro mentions them; CARGO_PRIMARY_PACKAGE flips with `-p` and isn't about the package.
    ("CARGO_PKG_*",                   When::Macros),
    ("CARGO_CRATE_NAME",              When::Macros),
    ("CARGO_BIN_NAME",                When::Macros),
];

/// Variables that have rustc print beside its diagnostics, while they are set to something: of its own doings, or where a constant's evaluation gave up
/// (also one that it tried for a lint). What it says then is for whoever set them. `RUST_LOG` is none of them: rustc doesn't look at it.
pub(crate) const TALKATIVE: &[&str] = &["RUSTC_LOG*", "RUSTC_CTFE_BACKTRACE"];

/// Whether a row's pattern covers `name`.
pub(crate) fn covers(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(ending), _) => name.ends_with(ending),
        (_, Some(beginning)) => name.starts_with(beginning),
        _ => name == pattern,
    }
}
