//! Which compiler this really is.
//!
//! Promise: two compilers that could produce different output have different identities. The identity covers the text of `-vV`, the bytes of
//! the compiler, of its driver library, LLVM, codegen backends and the bundled linker. (Installed targets are a matter of the unit that
//! uses one: [`Toolchains::target_libraries`].) Hashing some 300 MB takes a moment, so identities are kept, in the store too, for as long
//! as every stamp agrees.
//!
//! A rustup proxy stands for whichever toolchain it would pick, so it is asked, each time unless `RUSTUP_TOOLCHAIN` pins the choice.

use crate::files::{self, Files};
use crate::spawn;
use kache_model::{Digest, Encoder, FileStamp};
use kache_rustc::Env;
use kache_store::Store;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

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

/// The compiler couldn't be identified.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolchainError {
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{compiler} {question} failed: {answer}")]
    Probe { compiler: PathBuf, question: &'static str, answer: String },
}

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
    libraries: Mutex<HashMap<PathBuf, (FileStamp, Digest)>>,
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
        let question = question(&program, &own, env, real);
        let fresh = |known: &Toolchain| known.parts.iter().all(|(path, stamp)| files::stamp(path).is_ok_and(|now| now == *stamp));
        if let Some(known) = self.lock().get(&question).cloned()
            && fresh(&known)
        {
            return Ok(known);
        }
        let pinned = real || env.get("RUSTUP_TOOLCHAIN").is_some();
        let memo = format!("toolchain-2/{question}");
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

    /// Names and sizes of the libraries that come with the toolchain for `target`: their names hold a hash of what they are.
    pub(crate) fn target_libraries(&self, toolchain: &Toolchain, target: Option<&str>) -> Digest {
        let dir = toolchain.sysroot.join("lib/rustlib").join(target.unwrap_or(&toolchain.host)).join("lib");
        let stamp = files::look(&dir).ok().flatten().and_then(files::Found::stamp);
        let mut known = self.libraries.lock().unwrap_or_else(PoisonError::into_inner);
        match (known.get(&dir), stamp) {
            (Some((seen, digest)), Some(stamp)) if *seen == stamp => *digest,
            (_, stamp) => {
                let digest = list_libraries(&dir);
                known.extend(stamp.map(|stamp| (dir, (stamp, digest))));
                digest
            }
        }
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
fn question(program: &Path, stamp: &FileStamp, env: &Env, real: bool) -> Digest {
    let mut encoder = Encoder::new("kache.toolchain.question.v1");
    encoder.field("program", program.as_os_str().as_encoded_bytes());
    encoder.field("stamp", format!("{stamp:?}").as_bytes());
    for name in ASKED_WITH.into_iter().filter(|name| !real || name.starts_with("RUSTC")) {
        encoder.optional(name, env.get(name).map(str::as_bytes));
    }
    encoder.finish()
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

fn list_libraries(dir: &Path) -> Digest {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |entry: &std::fs::DirEntry| entry.metadata().map_or(0, |metadata| metadata.len());
    let mut lines: Vec<String> = entries.map(|entry| format!("{} {}", entry.file_name().to_string_lossy(), size(&entry))).collect();
    lines.sort();
    let mut encoder = Encoder::new("kache.target-libraries.v1");
    encoder.list("libraries", lines);
    encoder.finish()
}
