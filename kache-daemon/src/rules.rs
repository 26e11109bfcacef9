//! What the configuration declares of a crate, as inputs of its units: variables that nobody sees rustc read, files that macros read in silence, and a
//! salt of its own.
//!
//! Promises: what is declared counts by name and by content, a file that isn't there among them; a pattern counts by itself, too, so that
//! declaring it is a change. What was digested is looked at again after the compile.

use crate::files::{self, Files};
use kache_config::{Rule, salted};
use kache_model::{Bypass, BypassReason, Digest, FileStamp, Roots, UnitInputs};
use kache_rustc::Env;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// More files than this behind one pattern are a slip.
const MAX_FILES: usize = 10_000;

/// The declared files of one unit, by portable path.
type Found = BTreeMap<String, Option<(FileStamp, Digest)>>;

/// Where a rule's names lead to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) files: &'a Files,
    pub(crate) roots: &'a Roots,
    /// The package's directory.
    pub(crate) package_dir: &'a Path,
}

/// Puts what `rule` declares into the unit's inputs.
pub(crate) fn fold(rule: &Rule, scene: Scene<'_>, env: &Env, inputs: &mut UnitInputs) -> Result<(), Bypass> {
    inputs.salt = salted(&inputs.salt, &rule.salt);
    for name in &rule.env {
        inputs.declared.insert(format!("variable {name}"), None);
        let Some(value) = env.get_os(name) else { continue };
        let value = value.to_str().ok_or_else(|| Bypass::new(BypassReason::NonUtf8, name.as_str()))?;
        inputs.environment.insert(name.clone(), value.to_owned());
    }
    for pattern in &rule.files {
        inputs.declared.insert(format!("pattern {pattern}"), None);
    }
    let found = look(rule, scene)?;
    inputs.declared.extend(found.into_iter().map(|(name, file)| (name, file.map(|(_, digest)| digest))));
    Ok(())
}

/// A declared file that isn't what it was when the question came, at `began`.
pub(crate) fn moved(rule: &Rule, scene: Scene<'_>, inputs: &UnitInputs, began: i128) -> Option<PathBuf> {
    let found = look(rule, scene).unwrap_or_default();
    let differs = |name: &str, file: &Option<(FileStamp, Digest)>| {
        let touched = file.is_some_and(|(stamp, _)| files::changed_since(stamp.ctime, began));
        touched || inputs.declared.get(name) != Some(&file.map(|(_, digest)| digest))
    };
    if let Some((name, _)) = found.iter().find(|(name, file)| differs(name, file)) {
        return Some(PathBuf::from(name));
    }
    // One that has gone is in no pattern any more.
    let files = inputs.declared.iter().filter(|(name, digest)| digest.is_some() && is_behind(rule, scene, name));
    files.map(|(name, _)| name).find(|name| !found.contains_key(*name)).map(PathBuf::from)
}

/// Whether a declared name may come from one of the rule's patterns, and not from a build script's.
fn is_behind(rule: &Rule, scene: Scene<'_>, name: &str) -> bool {
    let matches = |pattern: &String| {
        let full = portable(scene, &scene.package_dir.join(pattern));
        glob::Pattern::new(&full).is_ok_and(|pattern| pattern.matches(name))
    };
    rule.files.iter().any(matches)
}

fn look(rule: &Rule, scene: Scene<'_>) -> Result<Found, Bypass> {
    let mut found = Found::new();
    for pattern in &rule.files {
        if !pattern.contains(['*', '?', '[']) {
            // A directory counts with everything below it.
            add(&scene.package_dir.join(pattern), scene, pattern, &mut found)?;
            continue;
        }
        for path in matching(pattern, scene.package_dir)? {
            if path.is_file() {
                add(&path, scene, pattern, &mut found)?;
            }
        }
    }
    Ok(found)
}

fn matching(pattern: &str, dir: &Path) -> Result<Vec<PathBuf>, Bypass> {
    let refuse = |why: String| Bypass::new(BypassReason::Rule, format!("{pattern}: {why}"));
    let dir = dir.to_str().ok_or_else(|| refuse("the package's path isn't UTF-8".to_owned()))?;
    let full = if Path::new(pattern).is_absolute() { pattern.to_owned() } else { format!("{}/{pattern}", glob::Pattern::escape(dir)) };
    let paths = glob::glob(&full).map_err(|error| refuse(error.to_string()))?.take(MAX_FILES + 1);
    let paths: Vec<PathBuf> = paths.collect::<Result<_, _>>().map_err(|error| refuse(error.to_string()))?;
    if paths.len() > MAX_FILES {
        return Err(refuse(format!("more than {MAX_FILES} files")));
    }
    Ok(paths)
}

fn add(path: &Path, scene: Scene<'_>, pattern: &str, found: &mut Found) -> Result<(), Bypass> {
    let file =
        scene.files.digest(path).map_err(|error| Bypass::new(BypassReason::Rule, format!("{pattern}: {}: {error}", path.display())))?;
    found.insert(portable(scene, path), file);
    Ok(())
}

fn portable(scene: Scene<'_>, path: &Path) -> String {
    scene.roots.to_portable(&path.to_string_lossy()).0
}
