//! Sources that spell a placeholder themselves.
//!
//! rustc's words about a unit whose paths are remapped hold placeholders, which are spelled back as roots; a source that speaks of `/proc/self/cwd` would
//! have its own words changed. Nobody can tell the two apart afterwards, so such a unit is compiled without remapping: its words go out as they are, and its
//! result is good at these paths only.
//!
//! Found before the first compile, in the sources that a known input set names, or where none is known in those around the root module. What is found only
//! in what a compile turns out to have read isn't stored, and is remembered. A registry's or git's sources say nothing (lints are capped). What a dependency
//! or a macro makes rustc say isn't looked at.

use crate::engine::Engine;
use crate::question::Question;
use kache_model::roots::spells_placeholder;
use kache_model::{Digest, UnitKey};
use kache_proto::{Report, Stdin};
use kache_rustc::{Origin, Source};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Files and directories around a root module that are looked at.
const AROUND: usize = 2_000;
/// Contents that are remembered as free of placeholders, 32 bytes each.
const REMEMBERED: usize = 100_000;

/// What is known of that.
#[derive(Debug, Default)]
pub(crate) struct Placeholders {
    units: Mutex<HashSet<UnitKey>>,
    /// Contents that spell none.
    clean: Mutex<HashSet<Digest>>,
}

impl Placeholders {
    /// Whether it is known of the unit.
    pub(crate) fn is_known(&self, unit: &UnitKey) -> bool {
        lock(&self.units).contains(unit)
    }

    /// Whether the sources of `question` spell one, as far as they can be found before rustc has said what it read.
    pub(crate) fn before(&self, engine: &Engine, question: &Question) -> bool {
        if !question.compile.remapped || matches!(question.compile.origin, Origin::Registry | Origin::Git) {
            return false;
        }
        let Source::Path(root) = &question.compile.source else {
            return matches!(&question.call.request.stdin, Stdin::Bytes(text) if spells_placeholder(text));
        };
        let root = question.absolute(root);
        let sets = engine.store.input_sets(&question.unit).unwrap_or_default();
        let named = sets.iter().flat_map(|set| &set.files).filter_map(|file| question.roots.to_local(file));
        let mut paths: Vec<PathBuf> = named.map(|path| question.absolute(path.as_ref())).collect();
        if paths.is_empty() {
            paths = around(&root);
        }
        self.found(engine, question, &paths)
    }

    /// Whether rustc's words hold a placeholder that may be the source's own.
    pub(crate) fn after(&self, engine: &Engine, question: &Question, report: &Report, read: &[PathBuf]) -> bool {
        let said = question.compile.remapped && (spells_placeholder(&report.stderr) || spells_placeholder(&report.stdout));
        said && self.found(engine, question, read)
    }

    fn found(&self, engine: &Engine, question: &Question, paths: &[PathBuf]) -> bool {
        let found = paths.iter().any(|path| self.spells(engine, path));
        if found {
            lock(&self.units).insert(question.unit);
        }
        found
    }

    fn spells(&self, engine: &Engine, path: &Path) -> bool {
        let digest = engine.files.digest(path).ok().flatten().map(|(_, digest)| digest);
        if digest.is_none_or(|digest| lock(&self.clean).contains(&digest)) {
            return false;
        }
        let Ok(text) = std::fs::read(path) else { return false };
        let spells = spells_placeholder(&text);
        if let (false, Some(digest)) = (spells, digest) {
            let mut clean = lock(&self.clean);
            if clean.len() >= REMEMBERED {
                clean.clear();
            }
            clean.insert(digest);
        }
        spells
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The root module and the sources in its directory and below. Of one that stands in its package's own directory (`build.rs`) it alone: its neighbours are
/// other units.
fn around(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    let Some(dir) = root.parent().filter(|dir| !dir.join("Cargo.toml").exists()) else { return found };
    let (mut waiting, mut seen) = (vec![dir.to_owned()], 0);
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            seen += 1;
            let (path, kind) = (entry.path(), entry.file_type());
            if seen > AROUND {
                return found;
            } else if kind.is_ok_and(|kind| kind.is_dir()) {
                waiting.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && path != *root {
                found.push(path);
            }
        }
    }
    found
}
