//! How far the names reach that an input set from the bucket may hold.
//!
//! Whoever may write into the bucket may have a set name anything, and which key its reader asks for next depends on what the names hold there: each
//! lookup would answer one guess about one file or variable. So such a set is looked at only as far as an honest one goes:
//!
//! - **Files** below the build's own directories, what the system offers to all builds (`/usr`, `/lib`, `/nix/store`), and nowhere else. Of
//!   Cargo's home only what it unpacked, for its tokens lie beside that. Nothing hidden (`.env`, `.git`, `.ssh`), however wide a root is.
//! - **Variables** with a plain name. One whose name or value looks like a secret only if a compile on this machine was seen to read it.
//!
//! What remains: whole contents of files in a build's own directories, and plain variables, can be guessed at. That can't be closed without
//! knowing who wrote the set.
//!
//! Pure: symlinks are resolved by whoever looks, who asks again with what they lead to.

use crate::inputs::InputSet;
use crate::roots::{RootKind, Roots};

/// Names in a set, at most: what is looked at costs time even if nothing is there.
pub const MAX_NAMES: usize = 20_000;

/// Longest name of a variable.
const MAX_VARIABLE: usize = 256;

/// Where libraries and headers lie that every build on a system may use.
const SYSTEM: [&str; 6] = ["/usr", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"];

/// Of Cargo's home.
const UNPACKED: &[&str] = &["registry", "git"];

/// Why a set is left alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Beyond {
    /// A file that is none of this build's.
    #[error("it names {0:?}, which lies outside of the build's directories")]
    File(String),
    /// A variable.
    #[error("it names the variable {0:?}")]
    Variable(String),
    /// A variable that holds a secret, as far as one can tell.
    #[error("it names the variable {0:?}, which no compile on this machine was seen to read")]
    Secret(String),
    /// More names, or more behind them, than an honest set has.
    #[error("it names too much")]
    TooMuch,
    /// Neither a file nor a directory.
    #[error("it names {0:?}, which is neither file nor directory")]
    NoFile(String),
}

/// The directories that names may lie in.
#[derive(Clone, Debug)]
pub struct Bounds(Vec<Bound>);

#[derive(Clone, Debug)]
struct Bound {
    dir: String,
    /// Names directly in it that lead on; empty for all.
    only: &'static [&'static str],
}

impl Bounds {
    /// The roots of an invocation in both spellings, and what the system offers.
    pub fn new(roots: &Roots) -> Self {
        let mut bounds = Self(SYSTEM.map(|dir| Bound { dir: dir.to_owned(), only: &[] }).into());
        for root in roots.iter() {
            let only = if root.kind == RootKind::CargoHome { UNPACKED } else { &[] };
            bounds.0.extend(root.spellings().map(|dir| Bound { dir: dir.to_owned(), only }));
        }
        bounds
    }

    /// One more directory of the build's: of a package outside of the workspace. The whole filesystem is none.
    pub fn add(&mut self, dir: &str) {
        if let Some(dir) = lexically(dir).filter(|dir| !self.has(dir)) {
            self.0.push(Bound { dir, only: &[] });
        }
    }

    /// Whether an absolute path lies within, as it is spelled. The innermost directory decides.
    pub fn hold(&self, path: &str) -> bool {
        let Some(path) = lexically(path) else { return false };
        let below = |bound: &Bound| path.strip_prefix(&*bound.dir).filter(|rest| rest.is_empty() || rest.starts_with('/')).map(str::len);
        let Some((bound, rest)) = self.0.iter().filter_map(|bound| Some((bound, below(bound)?))).min_by_key(|(_, rest)| *rest) else {
            return false;
        };
        let mut names = path[path.len() - rest..].split('/').skip(1).peekable();
        let leads_on = bound.only.is_empty() || names.peek().is_some_and(|first| bound.only.contains(first));
        leads_on && !names.any(|name| name.starts_with('.'))
    }

    fn has(&self, dir: &str) -> bool {
        self.0.iter().any(|bound| bound.dir == dir)
    }
}

/// What can be said of a set by anybody: that it doesn't name too much, nothing by way of the kernel's own files, nothing relative, no odd variables.
///
/// # Errors
/// What is wrong with it.
pub fn check(set: &InputSet) -> Result<(), Beyond> {
    let InputSet { files, absent, vars, bound: _, noisy: _ } = set;
    if files.len() + absent.len() + vars.len() > MAX_NAMES {
        return Err(Beyond::TooMuch);
    }
    let workspace = RootKind::Workspace.placeholder();
    for name in files.iter().chain(absent) {
        let place = lexically(&name.0).filter(|_| !name.0.contains(char::is_control));
        let kernels = |path: &String| ["proc", "sys", "dev"].iter().any(|dir| path.split('/').nth(1) == Some(dir));
        let within = |path: &String| path.strip_prefix(workspace).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if !place.is_some_and(|path| !kernels(&path) || within(&path)) {
            return Err(Beyond::File(name.0.clone()));
        }
    }
    match vars.iter().find(|var| !is_plain_variable(&var.name)) {
        Some(var) => Err(Beyond::Variable(var.name.clone())),
        None => Ok(()),
    }
}

/// An absolute path without `.`, `..` and repeated slashes, as it would be if there were no symlinks. `None` for other paths, for `/` and for what is
/// above it.
fn lexically(path: &str) -> Option<String> {
    let mut names = Vec::new();
    for name in path.strip_prefix('/')?.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()?),
            _ if name.contains('\0') => return None,
            _ => names.push(name),
        }
    }
    (!names.is_empty()).then(|| format!("/{}", names.join("/")))
}

/// Whether a variable is called as programs call theirs: ASCII letters, digits, `_`, and `-` and `.` (`CARGO_BIN_EXE_a-program`).
pub fn is_plain_variable(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !name.is_empty() && name.len() <= MAX_VARIABLE && name.bytes().all(plain)
}

/// Whether a variable's name speaks of a secret, or its value is an address with a password in it.
pub fn looks_secret(name: &str, value: Option<&str>) -> bool {
    const ANYWHERE: [&str; 7] = ["TOKEN", "SECRET", "PASSW", "PASSPHRASE", "CREDENTIAL", "APIKEY", "PRIVATE"];
    const WORDS: [&str; 12] = ["KEY", "KEYS", "PASS", "PWD", "AUTH", "PIN", "OTP", "PAT", "JWT", "COOKIE", "DSN", "SESSION"];
    let name = name.to_ascii_uppercase();
    let word = |word: &str| WORDS.contains(&word);
    // The shell's own.
    let known = matches!(&*name, "PWD" | "OLDPWD");
    let by_name = !known && (ANYWHERE.iter().any(|part| name.contains(part)) || name.split(['_', '-', '.']).any(word));
    by_name || value.is_some_and(has_password)
}

/// `scheme://user:password@host`
fn has_password(value: &str) -> bool {
    let authority = value.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    authority.is_some_and(|authority| authority.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::{InputVar, Keying, PortablePath};
    use crate::roots::Root;

    fn bounds() -> Bounds {
        let mut bounds = Bounds::new(&Roots::new(vec![
            Root::new(RootKind::Workspace, "/home/u/ws", "/data/ws"),
            Root::new(RootKind::Target, "/home/u/ws/target/debug", "/data/ws/target/debug"),
            Root::new(RootKind::CargoHome, "/home/u/ws/home", "/home/u/ws/home"),
            Root::new(RootKind::Base(0), "/", "/"),
        ]));
        bounds.add("/home/u/beside/it");
        bounds.add("/");
        bounds
    }

    #[test]
    fn names_lie_in_the_builds_directories_or_in_the_systems() {
        for within in [
            "/home/u/ws/src/main.rs",
            "/home/u/ws/src/../README.md",
            "/data/ws/src/main.rs",
            "/home/u/ws/target/debug/build/a-1/out/x.rs",
            "/home/u/ws/home/registry/src/index/a-1.0.0/src/lib.rs",
            "/home/u/ws/home/git/checkouts/a/src/lib.rs",
            "/home/u/beside/it/src/lib.rs",
            "/usr/lib/x86_64-linux-gnu/libz.a",
            "/lib64/libc.so.6",
            "/nix/store/abc-z/lib/libz.a",
        ] {
            assert!(bounds().hold(within), "{within}");
        }
        for beyond in [
            "/home/u/secret",
            "/home/u/ws2/x",
            "/home/u/ws/../secret",
            "/home/u/ws/target/debug/../../../secret",
            "/home/u/ws/.env",
            "/home/u/ws/.git/config",
            "/home/u/ws/a/.ssh/id",
            "/home/u/ws/home/credentials.toml",
            "/home/u/ws/home",
            "/home/u/ws/home/registry/../config.toml",
            "/home/u/beside/x",
            "/etc/passwd",
            "/proc/self/pagemap",
            "/dev/zero",
            "/usr/../etc/passwd",
            "/liberty/x",
            "/",
            "/../x",
            "relative",
            "../x",
            "",
        ] {
            assert!(!bounds().hold(beyond), "{beyond}");
        }
    }

    fn set(files: &[&str], vars: &[&str]) -> InputSet {
        let var = |name: &&str| InputVar { name: (*name).to_owned(), keying: Keying::Literal };
        let files = files.iter().map(|file| PortablePath((*file).to_owned())).collect();
        InputSet { files, vars: vars.iter().map(var).collect(), ..InputSet::default() }
    }

    #[test]
    fn what_nobody_honest_names_is_refused_wherever_the_build_is() {
        assert_eq!(
            check(&set(&["/proc/self/cwd/src/lib.rs", "/@kache/cargo/registry/x", "/a/b"], &["OUT_DIR", "CARGO_BIN_EXE_a-b"])),
            Ok(())
        );
        for file in
            ["src/lib.rs", "../x", "/proc/self/pagemap", "/proc/self/cwd/../environ", "//proc/1/environ", "/dev/zero", "/x/\u{1b}[2J"]
        {
            assert_eq!(check(&set(&[file], &[])), Err(Beyond::File(file.to_owned())));
        }
        for var in ["", "A B", "A=B", "É", "A\u{1b}[2J", &"A".repeat(300)] {
            assert_eq!(check(&set(&[], &[var])), Err(Beyond::Variable(var.to_owned())));
        }
        assert_eq!(check(&set(&["/a"; MAX_NAMES + 1], &[])), Err(Beyond::TooMuch));
    }

    #[test]
    fn secrets_are_known_by_their_names_and_addresses_by_their_passwords() {
        for name in
            ["GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "API_KEY", "npm_config__auth", "DB_PASS", "CARGO_REGISTRY_TOKEN", "SSH_PRIVATE"]
        {
            assert!(looks_secret(name, None), "{name}");
        }
        for name in ["CARGO_PKG_AUTHORS", "CARGO_PKG_VERSION", "OUT_DIR", "TARGET", "KEYBOARD", "PWD", "PASSENGERS", "GIT_HASH"] {
            assert!(!looks_secret(name, Some("https://a.example/b@c")), "{name}");
        }
        assert!(looks_secret("DATABASE_URL", Some("postgres://u:p@h/db")) && !looks_secret("DATABASE_URL", Some("sqlite:x.db")));
    }
}
