//! Which compiler this really is.
//!
//! Promise: two compilers that could produce different output have different identities. The identity covers the text of `-vV`, the bytes of
//! the compiler, of its driver library, LLVM, codegen backends and the bundled linker. (Installed targets are a matter of the unit that
//! uses one: [`Toolchains::target_libraries`].) Hashing some 300 MB takes a moment, so identities are kept, in the store too, for as long
//! as every stamp agrees.
//!
//! A rustup proxy stands for whichever toolchain it would pick, so it is asked, each time unless `RUSTUP_TOOLCHAIN` pins the choice. Where
//! that name leads is looked at each time.
//!
//! A script in the compiler's place has no identity, whether rustup picks it or Cargo names it: its bytes don't tell what it reads.

use crate::archive;
use crate::files::{self, Files, Found};
use crate::program::is_script;
use crate::spawn;
use kache_model::{Digest, Encoder, FileStamp};
use kache_rustc::Env;
use kache_store::Store;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A compiler, identified.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Toolchain {
    /// Digest of everything that makes it what it is.
    pub(crate) identity: Digest,
    /// Its sysroot, as the compiler itself names it.
    pub(crate) sysroot: PathBuf,
    /// The triple that it runs on.
    pub(crate) host: String,
    /// How it calls itself: `rustc 1.95.0 (59807616e 2026-04-14)`.
    pub(crate) version: String,
    /// The files that the identity was made from, with their stamps.
    parts: Vec<(PathBuf, FileStamp)>,
}

#[cfg(test)]
impl Toolchain {
    /// One that stands nowhere.
    pub(crate) fn for_tests(identity: Digest, host: &str) -> Self {
        Self { identity, sysroot: PathBuf::new(), host: host.to_owned(), version: String::new(), parts: Vec::new() }
    }
}

/// What comes with a toolchain for one target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Libraries {
    /// All of it, by content.
    pub(crate) digest: Digest,
    /// Members that rustc puts into every library beside its code: `lib.rmeta`, since 1.97 `lib.rmeta-link`, and whatever comes next.
    pub(crate) own_members: BTreeSet<String>,
    /// Directories and files with their stamps; what isn't there has none.
    parts: Vec<(PathBuf, Option<FileStamp>)>,
}

impl Libraries {
    fn is_fresh(&self) -> bool {
        self.parts.iter().all(|(path, stamp)| files::look(path).ok().flatten().and_then(Found::stamp) == *stamp)
    }
}

/// The compiler couldn't be identified.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolchainError {
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{0} is a script")]
    Script(PathBuf),
    #[error("{compiler} {question} failed: {answer}")]
    Probe { compiler: PathBuf, question: &'static str, answer: String },
}

/// How long the stamps of a target's libraries are believed: there are dozens, and a hit takes no longer than looking at them all.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Variables that change what a compiler answers about itself.
const ASKED_WITH: [&str; 9] = [
    "HOME",
    "LD_LIBRARY_PATH",
    "PATH",
    "RUSTC_BOOTSTRAP",
    "RUSTC_FORCE_RUSTC_VERSION",
    "RUSTC_OVERRIDE_VERSION_STRING",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "CARGO_HOME",
];

/// The identities that are known.
#[derive(Debug, Default)]
pub(crate) struct Toolchains {
    known: Mutex<HashMap<Digest, Arc<Toolchain>>>,
    /// By directory, with the time when their stamps were looked at.
    libraries: Mutex<HashMap<PathBuf, (Instant, Arc<Libraries>)>>,
}

impl Toolchains {
    /// Identifies `compiler` as the build would start it.
    pub(crate) fn identify(
        &self,
        compiler: &Path,
        env: &Env,
        cwd: &Path,
        files: &Files,
        store: &Store,
    ) -> Result<Arc<Toolchain>, ToolchainError> {
        let program = resolve(compiler, env, cwd);
        let stamp = |path: &Path| files::stamp(path).map_err(|source| ToolchainError::Read { path: path.to_owned(), source });
        let own = stamp(&program)?;
        let real = sysroot_of(&program).is_some();
        let question = question(&program, &own, env, cwd, real);
        let fresh = |known: &Toolchain| known.parts.iter().all(|(path, stamp)| files::stamp(path).is_ok_and(|now| now == *stamp));
        if let Some(known) = self.lock().get(&question).cloned()
            && fresh(&known)
        {
            return Ok(known);
        }
        refuse_script(&program)?;
        let pinned = real || env.get("RUSTUP_TOOLCHAIN").is_some();
        let memo = format!("toolchain-3/{question}");
        if pinned
            && let Some(known) = store.memo(&memo).and_then(|bytes| postcard::from_bytes::<Toolchain>(&bytes).ok())
            && fresh(&known)
        {
            let known = Arc::new(known);
            self.lock().insert(question, Arc::clone(&known));
            return Ok(known);
        }
        let found = Arc::new(probe(&program, env, cwd, files)?);
        if pinned {
            if let Ok(bytes) = postcard::to_stdvec(&*found) {
                store.set_memo(&memo, bytes);
            }
            self.lock().insert(question, Arc::clone(&found));
        }
        Ok(found)
    }

    /// The libraries that come with the toolchain for `target`, by content: their names hold a hash of what they are made from, and no more. With
    /// them the specification that rustc finds there for a target that it doesn't know.
    pub(crate) fn target_libraries(
        &self,
        toolchain: &Toolchain,
        target: Option<&str>,
        files: &Files,
        store: &Store,
    ) -> std::io::Result<Arc<Libraries>> {
        let target = target.unwrap_or(&toolchain.host);
        let name = if target.ends_with(".json") { Path::new(target).file_stem() } else { None }.unwrap_or(target.as_ref());
        let dir = toolchain.sysroot.join("lib/rustlib").join(name);
        // Held while hashing: the first hundred units of a build ask at once, and one look serves all.
        let mut libraries = self.libraries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((looked, known)) = libraries.get_mut(&dir) {
            if looked.elapsed() < LOOK_AGAIN {
                return Ok(Arc::clone(known));
            }
            if known.is_fresh() {
                *looked = Instant::now();
                return Ok(Arc::clone(known));
            }
        }
        let (found, settled) = Self::look_up_libraries(&dir, files, store)?;
        let found = Arc::new(found);
        if settled {
            libraries.insert(dir, (Instant::now(), Arc::clone(&found)));
        }
        Ok(found)
    }

    /// What the store remembers or a look shows, and whether it may be kept.
    fn look_up_libraries(dir: &Path, files: &Files, store: &Store) -> std::io::Result<(Libraries, bool)> {
        let memo = format!("target-libraries-2/{}", dir.display());
        let stored = store.memo(&memo).and_then(|bytes| postcard::from_bytes::<Libraries>(&bytes).ok());
        if let Some(known) = stored.filter(Libraries::is_fresh) {
            return Ok((known, true));
        }
        let began = files::now();
        let found = look_at_libraries(dir, files)?;
        let settled = found.parts.iter().all(|(_, stamp)| stamp.is_none_or(|stamp| files::settled(&stamp, began)));
        if let (true, Ok(bytes)) = (settled, postcard::to_stdvec(&found)) {
            store.set_memo(&memo, bytes);
        }
        Ok((found, settled))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Arc<Toolchain>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The program that `exec` would start.
pub(crate) fn resolve(program: &Path, env: &Env, cwd: &Path) -> PathBuf {
    if program.components().count() > 1 || program.is_absolute() {
        return cwd.join(program);
    }
    let search = env.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin");
    let candidates = search.split(':').map(|dir| cwd.join(dir).join(program));
    candidates.into_iter().find(|path| path.is_file()).unwrap_or_else(|| program.to_owned())
}

/// What the answer depends on; a compiler in a sysroot of its own doesn't care which toolchain is chosen.
fn question(program: &Path, stamp: &FileStamp, env: &Env, cwd: &Path, real: bool) -> Digest {
    let mut encoder = Encoder::new("kache.toolchain.question.v1");
    encoder.field("program", program.as_os_str().as_encoded_bytes());
    encoder.field("stamp", format!("{stamp:?}").as_bytes());
    for name in ASKED_WITH.into_iter().filter(|name| !real || name.starts_with("RUSTC")) {
        encoder.optional(name, env.get(name).map(str::as_bytes));
    }
    let chosen = if real { loaded_instead(program, env, cwd) } else { chosen_toolchain(env) };
    encoder.optional("chosen", chosen.as_ref().map(|path| path.as_os_str().as_encoded_bytes()));
    encoder.finish()
}

/// The directory behind the name in `RUSTUP_TOOLCHAIN`: `rustup toolchain link` gives an old name to another one.
fn chosen_toolchain(env: &Env) -> Option<PathBuf> {
    let home = match env.get("RUSTUP_HOME").filter(|home| !home.is_empty()) {
        Some(home) => PathBuf::from(home),
        None => Path::new(env.get("HOME")?).join(".rustup"),
    };
    std::fs::canonicalize(home.join("toolchains").join(env.get("RUSTUP_TOOLCHAIN")?)).ok()
}

/// The directory in `LD_LIBRARY_PATH` that has the compiler's driver library under its name, unless it is its own: that is the one that is loaded, and
/// by its place rustc finds its sysroot. (A rustup proxy in front of cargo sets the variable. The whole value won't do: Cargo makes another one
/// for each target directory.)
fn loaded_instead(program: &Path, env: &Env, cwd: &Path) -> Option<PathBuf> {
    let path = env.get("LD_LIBRARY_PATH")?;
    let own = sysroot_of(program)?.join("lib");
    let names = std::fs::read_dir(&own).ok()?.flatten().map(|entry| entry.file_name());
    let driver = names.into_iter().find(|name| name.to_string_lossy().starts_with("librustc_driver"))?;
    let dirs = path.split(':').filter(|dir| !dir.is_empty()).map(|dir| cwd.join(dir));
    let first = dirs.into_iter().find(|dir| dir.join(&driver).exists())?;
    std::fs::canonicalize(first).ok().filter(|first| *first != own)
}

/// The sysroot around a compiler that stands in one; a rustup proxy doesn't.
fn sysroot_of(program: &Path) -> Option<PathBuf> {
    let real = std::fs::canonicalize(program).ok()?;
    let sysroot = real.parent()?.parent()?;
    sysroot.join("lib/rustlib").is_dir().then(|| sysroot.to_owned())
}

fn probe(program: &Path, env: &Env, cwd: &Path, files: &Files) -> Result<Toolchain, ToolchainError> {
    let version = ask(program, "-vV", env, cwd)?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&ask(program, "--print=sysroot", env, cwd)?).trim_end());
    refuse_script(&sysroot.join("bin/rustc"))?;
    let text = String::from_utf8_lossy(&version);
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default().to_owned();
    let mut encoder = Encoder::new("kache.toolchain.v1");
    encoder.field("version", &version);
    let mut parts = Vec::new();
    for path in parts_of(&sysroot, &host, program) {
        let read = |source| ToolchainError::Read { path: path.clone(), source };
        if let Some((stamp, digest)) = files.digest(&path).map_err(read)? {
            // Where a toolchain is installed must not count: names below the sysroot only.
            let name = path.strip_prefix(&sysroot).unwrap_or_else(|_| path.file_name().map_or(Path::new(""), Path::new));
            encoder.field("part", name.as_os_str().as_encoded_bytes()).field("bytes", digest.as_bytes());
            parts.push((path, stamp));
        }
    }
    let version = text.lines().next().unwrap_or_default().to_owned();
    Ok(Toolchain { identity: encoder.finish(), sysroot, host, version, parts })
}

/// A script may read what nobody sees: flags from a file or a variable (nixpkgs' wrapper does). A compiler that isn't there isn't one.
fn refuse_script(program: &Path) -> Result<(), ToolchainError> {
    match is_script(program) {
        Ok(true) => Err(ToolchainError::Script(program.to_owned())),
        _ => Ok(()),
    }
}

fn ask(program: &Path, question: &'static str, env: &Env, cwd: &Path) -> Result<Vec<u8>, ToolchainError> {
    let mut command = Command::new(program);
    command.arg(question).env_clear().current_dir(cwd);
    for name in ASKED_WITH {
        if let Some(value) = env.get(name) {
            command.env(name, value);
        }
    }
    let answer = spawn::output(&mut command).map_err(|source| ToolchainError::Read { path: program.to_owned(), source })?;
    if answer.status.success() {
        return Ok(answer.stdout);
    }
    let answer = String::from_utf8_lossy(&answer.stderr).trim().to_owned();
    Err(ToolchainError::Probe { compiler: program.to_owned(), question, answer })
}

/// Compiler, driver library, LLVM, codegen backends and bundled linkers, in order.
fn parts_of(sysroot: &Path, host: &str, program: &Path) -> Vec<PathBuf> {
    let mut parts = vec![sysroot.join("bin/rustc")];
    if sysroot_of(program).is_none() || std::fs::canonicalize(program).ok() != std::fs::canonicalize(&parts[0]).ok() {
        // A wrapper in the compiler's place, or clippy-driver: its bytes count too. (A proxy's don't hurt.)
        parts.push(program.to_owned());
    }
    let list = |dir: PathBuf| -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
        entries.flatten().map(|entry| entry.path()).collect()
    };
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.contains("rustc_driver") || name.contains("LLVM")
    };
    let mut libraries: Vec<PathBuf> = list(sysroot.join("lib")).into_iter().filter(is_library).collect();
    let rustlib = sysroot.join("lib/rustlib").join(host);
    libraries.extend(list(rustlib.join("codegen-backends")));
    libraries.extend(list(rustlib.join("bin")).into_iter().filter(|path| path.is_file()));
    libraries.sort();
    parts.extend(libraries);
    parts
}

/// Everything in `lib` and `lib/self-contained`, and `target.json`, below `dir`.
fn look_at_libraries(dir: &Path, files: &Files) -> std::io::Result<Libraries> {
    let mut parts = Vec::new();
    let mut digests = BTreeMap::new();
    let mut rlibs = Vec::new();
    let mut names = vec!["target.json".to_owned()];
    for below in ["lib", "lib/self-contained"] {
        let path = dir.join(below);
        parts.push((path.clone(), files::look(&path)?.and_then(Found::stamp)));
        let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
        names.extend(entries.map(|entry| format!("{below}/{}", entry.file_name().to_string_lossy())));
    }
    for name in names {
        let path = dir.join(&name);
        match files::look(&path)? {
            Some(Found::File(_)) => {
                let found = files.digest(&path)?;
                if name.ends_with(".rlib") {
                    rlibs.push(path.clone());
                }
                parts.push((path, found.map(|(stamp, _)| stamp)));
                digests.insert(name, found.map(|(_, digest)| digest));
            }
            Some(_) => {}
            None => parts.push((path, None)),
        }
    }
    let mut encoder = Encoder::new("kache.target-libraries.v2");
    encoder.list("names", digests.keys());
    for digest in digests.values() {
        encoder.optional("bytes", digest.as_ref().map(|digest| digest.as_bytes().as_slice()));
    }
    Ok(Libraries { digest: encoder.finish(), own_members: common_members(&rlibs), parts })
}

/// The members that all of these libraries have, of at least two: their objects are named after each, and native code that one of them bundles is
/// in no other. Where there is nothing to learn from (a target that is built from source), what rustc has always written.
fn common_members(rlibs: &[PathBuf]) -> BTreeSet<String> {
    let members = rlibs.iter().filter_map(|path| archive::members(path).ok()).map(BTreeSet::from_iter);
    let common = members.reduce(|all: BTreeSet<String>, one| all.intersection(&one).cloned().collect());
    let always = BTreeSet::from(["lib.rmeta".to_owned()]);
    common.filter(|common| rlibs.len() > 1 && common.is_superset(&always)).unwrap_or(always)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_driver_library_that_is_loaded_by_name_counts_and_no_other_directory() {
        let dir = tempfile::tempdir().unwrap();
        for below in ["own/bin", "own/lib/rustlib", "other/lib", "empty"] {
            std::fs::create_dir_all(dir.path().join(below)).unwrap();
        }
        let program = dir.path().join("own/bin/rustc");
        for file in ["own/bin/rustc", "own/lib/librustc_driver-1.so", "other/lib/librustc_driver-1.so"] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        let stamp = files::stamp(&program).unwrap();
        let ask = |value: Option<&str>| {
            let env: Env = value.map(|value| ("LD_LIBRARY_PATH", value)).into_iter().collect();
            question(&program, &stamp, &env, dir.path(), true)
        };
        assert_eq!(ask(None), ask(Some("empty:own/lib:other/lib")));
        assert_ne!(ask(None), ask(Some("empty:other/lib:own/lib")));
    }

    #[test]
    fn everything_that_comes_with_a_target_counts() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::default();
        let mut seen = std::collections::HashSet::new();
        let mut changes = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
            let libraries = look_at_libraries(dir.path(), &files).unwrap();
            assert!(libraries.is_fresh() && seen.insert(libraries.digest), "{name}");
            libraries
        };
        changes("lib/libstd-1.rlib", "1");
        let before = changes("lib/libstd-1.rlib", "2");
        changes("lib/self-contained/crt1.o", "1");
        changes("lib/self-contained/crt1.o", "2");
        assert!(!before.is_fresh(), "what was missing is there");
        let before = changes("lib/libstd-1.rlib", "3");
        changes("target.json", "{}");
        assert!(!before.is_fresh());
        changes("target.json", "{ }");
    }

    /// An archive with these members, each of them empty.
    fn archive(path: &Path, members: &[&str]) -> PathBuf {
        let header = |name: &&str| format!("{:<48}{:<10}`\n", format!("{name}/"), 0);
        std::fs::write(path, format!("!<arch>\n{}", members.iter().map(header).collect::<String>())).unwrap();
        path.to_owned()
    }

    #[test]
    fn what_rustc_puts_into_every_library_is_learned_from_those_that_come_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, members: &[&str]| archive(&dir.path().join(name), members);
        let plain = make("libcore.rlib", &["lib.rmeta", "lib.next", "core.cgu.o"]);
        let native = make("libbuiltins.rlib", &["lib.rmeta", "lib.next", "builtins.o", "mul.o"]);
        let check = |rlibs: &[&PathBuf], expected: &[&str]| {
            let rlibs: Vec<PathBuf> = rlibs.iter().map(|path| (*path).clone()).collect();
            assert_eq!(Vec::from_iter(common_members(&rlibs)), expected, "{rlibs:?}");
        };
        check(&[&plain, &native], &["lib.next", "lib.rmeta"]);
        // Alone, a library doesn't say which members are rustc's; nor do those that have nothing in common.
        check(&[&native], &["lib.rmeta"]);
        check(&[&plain, &native, &make("libodd.rlib", &["odd.o"])], &["lib.rmeta"]);
        check(&[], &["lib.rmeta"]);
    }
}
