//! What a link consists of beside the objects: the linker driver, the linker behind it, start-up objects, libc and friends.
//!
//! Promise: two machines whose links could differ have different identities, and a linker that can't be asked has none: the unit is then
//! bypassed, so two machines that both fail to ask never agree by accident.
//!
//! Asking is done as with gcc and clang (`-print-file-name`, `-print-prog-name`, `-print-search-dirs`), once per driver and search path, and
//! remembered for as long as every file found and every directory searched keeps its stamp, and programs are found along `PATH` where they were.
//! The options that say where to look (`-BDIR`, `--sysroot=DIR`, `-m32`) go with each question.
//! A driver that is a script and can't be asked may start anything. One that can be asked may still read variables: those that its text spells
//! count, and what it links stays on this machine ([`ScriptWords`]).
//!
//! rustc brings a linker along, in a directory that it names to the driver with `-B` in front of the user's own arguments: by default for
//! some targets, by `-C link-self-contained=+linker` for others. Which it is depends on the version, so the programs found in there and
//! those found without it are both part of the identity; of a linker chosen by name (`-fuse-ld=lld`) one has to be there.

use crate::files::{self, Files, Found};
use crate::program::is_script;
use crate::spawn;
use crate::toolchain::resolve;
use kache_model::{Digest, Encoder, FileStamp};
use kache_rustc::{Env, ScriptWords};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

/// What a C-like driver adds to a link by itself, on GNU and musl systems. Those that a system lacks are left out.
const PARTS: [&str; 24] = [
    "crt1.o",
    "Scrt1.o",
    "rcrt1.o",
    "gcrt1.o",
    "grcrt1.o",
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

/// What a C++ driver adds.
const CXX_PARTS: [&str; 5] = ["libstdc++.so", "libstdc++.a", "libc++.so", "libc++.a", "libc++abi.a"];

/// lld as drivers call it.
const LLD: &str = "ld.lld";

/// Variables that change where a driver looks.
const ASKED_WITH: [&str; 6] = ["PATH", "LIBRARY_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX", "SDKROOT", "HOME"];

/// Longest script that is read, bytes.
const MAX_SCRIPT: u64 = 1 << 20;

/// A linker, identified.
#[derive(Debug)]
pub(crate) struct Linker {
    /// Digest of everything that makes it what it is.
    pub(crate) identity: Digest,
    /// Where it looks for libraries by itself, in order.
    pub(crate) library_dirs: Vec<PathBuf>,
    /// What the scripts among its programs say; `None` without one.
    pub(crate) script: Option<ScriptWords>,
    /// The files that the identity was made from, with their stamps.
    parts: Vec<(PathBuf, FileStamp)>,
    /// Programs that are found along `PATH`, and where.
    programs: Vec<(PathBuf, PathBuf)>,
    /// The directories that were searched: what appears in one may be found in another's place.
    searched: Vec<(PathBuf, Option<FileStamp>)>,
}

impl Linker {
    fn is_fresh(&self, env: &Env, cwd: &Path) -> bool {
        self.parts.iter().all(|(path, stamp)| files::stamp(path).is_ok_and(|now| now == *stamp))
            && self.programs.iter().all(|(name, found)| resolve(name, env, cwd) == *found)
            && self.searched.iter().all(|(path, stamp)| directory(path) == *stamp)
    }
}

/// What is known of a linker before anything is asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Choice<'a> {
    /// `-C linker=`; `cc` where there is none.
    pub(crate) program: Option<&'a Path>,
    /// `-fuse-ld=` or a path.
    pub(crate) chosen: Option<&'a str>,
    /// Options that tell the driver where to look.
    pub(crate) places: &'a [String],
    /// The directory of linkers that rustc may name to the driver, if there is one.
    pub(crate) bundled: Option<&'a Path>,
}

impl Choice<'_> {
    /// The program that is meant, if the toolchain has one of that name (`rust-lld`): rustc puts its own directory in front of `PATH`.
    fn brought_along(&self) -> Option<PathBuf> {
        let name = self.program.filter(|program| program.components().count() == 1)?;
        Some(self.bundled?.parent()?.join(name)).filter(|path| path.is_file())
    }
}

/// The linkers that are known.
#[derive(Debug, Default)]
pub(crate) struct Linkers(Mutex<HashMap<Digest, Arc<Linker>>>);

impl Linkers {
    /// What would be linked with. `None` if it can't be asked.
    pub(crate) fn identify(&self, choice: Choice<'_>, env: &Env, cwd: &Path, files: &Files) -> Option<Arc<Linker>> {
        let driver = choice.brought_along().unwrap_or_else(|| resolve(choice.program.unwrap_or(Path::new("cc")), env, cwd));
        let mut encoder = Encoder::new("kache.linker.question.v2");
        encoder
            .field("driver", driver.as_os_str().as_encoded_bytes())
            .optional("fuse", choice.chosen.map(str::as_bytes))
            .list("places", choice.places)
            .optional("bundled", choice.bundled.map(|dir| dir.as_os_str().as_encoded_bytes()));
        if !choice.places.is_empty() {
            // They may be relative.
            encoder.field("cwd", cwd.as_os_str().as_encoded_bytes());
        }
        for name in ASKED_WITH {
            encoder.optional(name, env.get(name).map(str::as_bytes));
        }
        let question = encoder.finish();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&question)
            && known.is_fresh(env, cwd)
        {
            return Some(Arc::clone(known));
        }
        // The lock is held while asking: the first hundred units of a build ask at once, and one answer serves all.
        let began = files::now();
        let found = Arc::new(Probe { driver: &driver, choice, env, cwd, files }.run()?);
        if found.searched.iter().all(|(_, stamp)| stamp.is_none_or(|stamp| files::settled(&stamp, began))) {
            known.insert(question, Arc::clone(&found));
        }
        Some(found)
    }
}

/// The stamp of a directory, if there is one.
fn directory(path: &Path) -> Option<FileStamp> {
    files::look(path).ok().flatten().and_then(Found::stamp)
}

struct Probe<'a> {
    driver: &'a Path,
    choice: Choice<'a>,
    env: &'a Env,
    cwd: &'a Path,
    files: &'a Files,
}

impl Probe<'_> {
    fn run(&self) -> Option<Linker> {
        let chosen = self.choice.chosen;
        let (mut parts, mut programs) = (Vec::new(), Vec::new());
        let mut script = None;
        let mut encoder = Encoder::new("kache.linker.v3");
        let mut add = |name: &str, path: &Path| -> Option<()> {
            let (stamp, digest) = self.files.digest(path).ok()??;
            encoder.field("part", name.as_bytes()).field("bytes", digest.as_bytes());
            parts.push((path.to_owned(), stamp));
            Some(())
        };
        add("driver", self.driver)?;
        read_script(self.driver, &mut script)?;
        let path = chosen.filter(|chosen| chosen.contains('/'));
        if let Some(path) = path {
            add("chosen", &self.cwd.join(path))?;
            read_script(&self.cwd.join(path), &mut script)?;
        }
        let answers = self.ask("-print-prog-name=ld").is_some();
        // A driver that doesn't know the question is a linker itself (ld, rust-lld): its own bytes are its identity. A script's aren't.
        if !answers {
            return (script.is_none() && self.choice.places.is_empty()).then(|| Linker {
                identity: encoder.finish(),
                library_dirs: Vec::new(),
                script,
                parts,
                programs,
                searched: Vec::new(),
            });
        }
        // Before the questions: what changes meanwhile is asked again.
        let library_dirs = self.search_dirs("libraries: =");
        let searched = self.searched(&library_dirs);
        let by_name = chosen.filter(|_| path.is_none()).map(|name| format!("ld.{name}"));
        let mut found_by_name = false;
        // lld is also what rustc asks for by itself.
        for name in ["ld", "collect2", LLD].into_iter().chain(by_name.as_deref().filter(|name| *name != LLD)) {
            let answer = self.ask(&format!("-print-prog-name={name}")).map(PathBuf::from);
            let found = answer.as_ref().map(|answer| resolve(answer, self.env, self.cwd));
            let added = found.as_ref().and_then(|found| add(name, found));
            found_by_name |= added.is_some() && by_name.as_deref() == Some(name);
            if let Some(found) = found.as_ref().filter(|_| added.is_some()) {
                read_script(found, &mut script)?;
            }
            programs.extend(answer.filter(|answer| answer.components().count() == 1).zip(found));
        }
        for (name, path) in self.bundled(by_name.as_deref()) {
            let added = add(&format!("bundled {name}"), &path);
            found_by_name |= added.is_some() && by_name.as_deref() == Some(name);
        }
        if by_name.is_some() && !found_by_name {
            return None;
        }
        let cxx = self.driver.file_name().is_some_and(|name| name.to_string_lossy().contains("++"));
        for name in PARTS.into_iter().chain(CXX_PARTS.into_iter().filter(|_| cxx)) {
            if let Some(answer) = self.ask(&format!("-print-file-name={name}"))
                && Path::new(&answer).is_absolute()
            {
                add(name, Path::new(&answer));
            }
        }
        Some(Linker { identity: encoder.finish(), library_dirs, script, parts, programs, searched })
    }

    /// The linkers that the driver finds in the directory that rustc names to it, and what they start. Without a choice rustc takes lld.
    fn bundled<'n>(&self, by_name: Option<&'n str>) -> Vec<(&'n str, PathBuf)> {
        let Some(dir) = self.choice.bundled else { return Vec::new() };
        let mut names = vec!["ld", LLD];
        names.extend(by_name.filter(|name| !names.contains(name)));
        let within = |name: &'n str| Some((name, dir.join(name))).filter(|(_, path)| path.is_file());
        let mut found: Vec<(&str, PathBuf)> = names.into_iter().filter_map(within).collect();
        // Those in there are small programs that start their neighbour.
        found.extend(dir.parent().map(|bin| ("rust-lld", bin.join("rust-lld"))).filter(|(_, path)| path.is_file()));
        found
    }

    /// The directories of one line of `-print-search-dirs`, each once.
    fn search_dirs(&self, line: &str) -> Vec<PathBuf> {
        let answer = self.ask("-print-search-dirs").unwrap_or_default();
        let dirs = answer.lines().find_map(|answer| answer.strip_prefix(line)).unwrap_or_default();
        let mut seen = HashSet::new();
        dirs.split(':').filter(|dir| !dir.is_empty() && seen.insert(*dir)).map(|dir| self.cwd.join(dir)).collect()
    }

    /// All that is searched, also what isn't there yet, with stamps.
    fn searched(&self, library_dirs: &[PathBuf]) -> Vec<(PathBuf, Option<FileStamp>)> {
        let named = ["LIBRARY_PATH", "COMPILER_PATH"].into_iter().filter_map(|name| self.env.get(name));
        let named = named.flat_map(|value| value.split(':')).filter(|dir| !dir.is_empty()).map(|dir| self.cwd.join(dir));
        let mut all: Vec<PathBuf> = named.chain(self.search_dirs("programs: =")).chain(library_dirs.iter().cloned()).collect();
        all.sort();
        all.dedup();
        all.into_iter().map(|path| (path.clone(), directory(&path))).collect()
    }

    fn ask(&self, question: &str) -> Option<String> {
        ask(self.driver, self.choice.places, question, self.env, self.cwd)
    }
}

/// Adds the words of the program at `path` if it is a script. `None`: it can't be read, or is longer than anybody writes.
fn read_script(path: &Path, script: &mut Option<ScriptWords>) -> Option<()> {
    if is_script(path).ok()? {
        let mut text = Vec::new();
        File::open(path).ok()?.take(MAX_SCRIPT + 1).read_to_end(&mut text).ok()?;
        (text.len() as u64 <= MAX_SCRIPT).then(|| script.get_or_insert_default().add(&text))?;
    }
    Some(())
}

/// The answer; `None` if the driver fails or says nothing.
fn ask(driver: &Path, places: &[String], question: &str, env: &Env, cwd: &Path) -> Option<String> {
    let mut command = Command::new(driver);
    command.args(places).arg(question).env_clear().env("LC_ALL", "C").current_dir(cwd);
    for name in ASKED_WITH {
        if let Some(value) = env.get(name) {
            command.env(name, value);
        }
    }
    let output = spawn::output(&mut command).ok()?;
    let answer = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !answer.is_empty()).then_some(answer)
}
