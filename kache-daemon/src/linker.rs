//! What a link consists of beside the objects: the linker driver, the linker behind it, start-up objects, libc and friends.
//!
//! Promise: two machines whose links could differ have different identities, and a linker that can't be asked has none: the unit is then
//! bypassed, so two machines that both fail to ask never agree by accident.
//!
//! Asking is done as with gcc and clang (`-print-file-name`, `-print-prog-name`), once per driver and search path, and remembered
//! for as long as every file found keeps its stamp.

use crate::files::{self, Files};
use crate::spawn;
use crate::toolchain::resolve;
use kache_model::{Digest, Encoder, FileStamp};
use kache_rustc::Env;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// What a C-like driver adds to a link by itself, on GNU and musl systems. Those that a system lacks are left out.
const PARTS: [&str; 22] = [
    "crt1.o",
    "Scrt1.o",
    "rcrt1.o",
    "crti.o",
    "crtn.o",
    "crtbegin.o",
    "crtbeginS.o",
    "crtbeginT.o",
    "crtend.o",
    "crtendS.o",
    "libc.so",
    "libc.so.6",
    "libc.a",
    "libc_nonshared.a",
    "libm.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libutil.so.1",
    "libgcc.a",
    "libgcc_eh.a",
    "libgcc_s.so.1",
];

/// Variables that change where a driver looks.
const ASKED_WITH: [&str; 6] = ["PATH", "LIBRARY_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX", "SDKROOT", "HOME"];

#[derive(Clone, Debug)]
struct Known {
    identity: Digest,
    parts: Vec<(PathBuf, FileStamp)>,
}

/// The linkers that are known.
#[derive(Debug, Default)]
pub(crate) struct Linkers(Mutex<HashMap<Digest, Known>>);

impl Linkers {
    /// The identity of the link that `program` (or `cc`) would do. `None` if it can't be asked.
    pub(crate) fn identify(&self, program: Option<&Path>, fuse_ld: Option<&str>, env: &Env, cwd: &Path, files: &Files) -> Option<Digest> {
        let driver = resolve(program.unwrap_or(Path::new("cc")), env, cwd);
        let mut encoder = Encoder::new("kache.linker.question.v1");
        encoder.field("driver", driver.as_os_str().as_encoded_bytes()).optional("fuse", fuse_ld.map(str::as_bytes));
        for name in ASKED_WITH {
            encoder.optional(name, env.get(name).map(str::as_bytes));
        }
        let question = encoder.finish();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&question)
            && known.parts.iter().all(|(path, stamp)| files::stamp(path).is_ok_and(|now| now == *stamp))
        {
            return Some(known.identity);
        }
        // The lock is held while asking: the first hundred units of a build ask at once, and one answer serves all.
        let found = probe(&driver, fuse_ld, env, cwd, files)?;
        known.insert(question, found.clone());
        Some(found.identity)
    }

    /// Where the driver finds a library of the system, for `-l NAME`.
    pub(crate) fn find_library(program: Option<&Path>, file_name: &str, env: &Env, cwd: &Path) -> Option<PathBuf> {
        let driver = resolve(program.unwrap_or(Path::new("cc")), env, cwd);
        ask(&driver, &format!("-print-file-name={file_name}"), env, cwd).map(PathBuf::from).filter(|path| path.is_absolute())
    }
}

fn probe(driver: &Path, fuse_ld: Option<&str>, env: &Env, cwd: &Path, files: &Files) -> Option<Known> {
    let mut parts = Vec::new();
    let mut encoder = Encoder::new("kache.linker.v1");
    let mut add = |name: &str, path: &Path| -> Option<()> {
        let (stamp, digest) = files.digest(path).ok()??;
        encoder.field("part", name.as_bytes()).field("bytes", digest.as_bytes());
        parts.push((path.to_owned(), stamp));
        Some(())
    };
    add("driver", driver)?;
    // A driver that doesn't know the question is a linker itself (ld, rust-lld): its own bytes are its identity.
    if ask(driver, "-print-prog-name=ld", env, cwd).is_some() {
        let chosen = fuse_ld.map(|name| format!("-print-prog-name=ld.{name}"));
        for question in ["-print-prog-name=ld", "-print-prog-name=collect2"].into_iter().chain(chosen.as_deref()) {
            if let Some(answer) = ask(driver, question, env, cwd) {
                add(question, &resolve(Path::new(&answer), env, cwd));
            }
        }
        for name in PARTS {
            if let Some(answer) = ask(driver, &format!("-print-file-name={name}"), env, cwd)
                && Path::new(&answer).is_absolute()
            {
                add(name, Path::new(&answer));
            }
        }
    }
    Some(Known { identity: encoder.finish(), parts })
}

/// One line of answer; `None` if the driver fails or says nothing.
fn ask(driver: &Path, question: &str, env: &Env, cwd: &Path) -> Option<String> {
    let mut command = Command::new(driver);
    command.arg(question).env_clear().env("LC_ALL", "C").current_dir(cwd);
    for name in ASKED_WITH {
        if let Some(value) = env.get(name) {
            command.env(name, value);
        }
    }
    let output = spawn::output(&mut command).ok()?;
    let answer = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !answer.is_empty()).then_some(answer)
}
