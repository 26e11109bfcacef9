//! What proc macros may read without a trace, as inputs of the units that they run on.
//!
//! - What the package's build script told Cargo ([`kache_rustc::build_script`]): the variables that it sets and reads, the files that make it run
//!   again; where it says nothing of the kind, all files of the package. That is what Cargo compiles a unit anew for, and a cache that knows less gives
//!   back what is out of date. Sources from a registry or from git never change, so of theirs only what lies elsewhere counts.
//! - Variables that a macro can spell ([`crate::spellings`]), by value.
//! - With `OUT_DIR` among these, the files in it; with the package's directory, its manifest.
//!
//! A value that names a root counts literally where a macro can spell the variable: it may hash the path. Else, and for where toolchain and Cargo
//! are installed, placeholders stand in it.

use crate::engine::Engine;
use crate::files::Tree;
use crate::looked::Looked;
use crate::question::Closure;
use kache_model::{Bypass, BypassReason, RootKind, Roots, Spelling, UnitInputs, UnitKey};
use kache_rustc::build_script::{Declared, outputs_beside};
use kache_rustc::{Compile, Env, Origin, Shape};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Variables that hold a path of the unit's own: literal wherever a macro can spell them.
const OWN_PATHS: [&str; 4] = ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "OUT_DIR", "CARGO_TARGET_TMPDIR"];

/// What a unit's build script has left.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) out_dir: PathBuf,
    declared: Declared,
    package: PathBuf,
    /// Whether the package's files can change.
    settled: bool,
}

impl Script {
    /// The build script of the unit's package, if it has one that ran.
    pub(crate) fn of(compile: &Compile, env: &Env, roots: &Roots) -> Result<Option<Self>, Bypass> {
        let (Some(out_dir), Some(package)) = (env.get("OUT_DIR"), env.get("CARGO_MANIFEST_DIR")) else { return Ok(None) };
        // A build script that runs Cargo, or rustc, hands its own OUT_DIR down; what it says of itself isn't written yet.
        let own = roots.get(RootKind::Target).is_some_and(|root| root.spellings().any(|target| Path::new(out_dir).starts_with(target)));
        if compile.shape != Shape::CargoUnit || !own || !Path::new(out_dir).exists() {
            return Ok(None);
        }
        let unreadable = |why: String| Bypass::new(BypassReason::BuildScript, format!("what it said: {out_dir}/..: {why}"));
        for path in outputs_beside(Path::new(out_dir)) {
            match std::fs::read(&path) {
                Ok(text) => {
                    let settled = matches!(compile.origin, Origin::Registry | Origin::Git);
                    let (out_dir, package) = (PathBuf::from(out_dir), PathBuf::from(package));
                    return Ok(Some(Self { out_dir, declared: Declared::parse(&text), package, settled }));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(unreadable(error.to_string())),
            }
        }
        Err(unreadable("neither `output` nor `run/stdout` is there".to_owned()))
    }

    /// The files and directories whose change makes it run again.
    pub(crate) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let paths = self.declared.paths.iter().map(|path| self.package.join(path));
        paths.filter(|path| !(self.settled && path.starts_with(&self.package)))
    }

    /// The variables that it sets or reads.
    fn variables(&self) -> impl Iterator<Item = &str> {
        self.declared.sets.iter().chain(&self.declared.variables).map(String::as_str)
    }

    /// The package, if any of its files makes it run again.
    fn watched_package(&self) -> Option<&Path> {
        (!self.declared.says_when() && !self.settled).then_some(&self.package)
    }
}

/// The names of variables that the macros in this closure can spell.
pub(crate) fn spelled(engine: &Engine, env: &Env, closure: &Closure) -> BTreeSet<String> {
    if closure.code.is_empty() {
        return BTreeSet::new();
    }
    let names = kache_rustc::candidates(env);
    closure.code.iter().flat_map(|code| Vec::from_iter(engine.spellings.among(&engine.store, *code, &names).iter().cloned())).collect()
}

/// What macros can read untracked, looked up.
#[derive(Debug)]
pub(crate) struct Untracked<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) compile: &'a Compile,
    pub(crate) env: &'a Env,
    pub(crate) roots: &'a Roots,
}

impl Untracked<'_> {
    /// Puts it into the unit's inputs, which are complete then. Returns their key, and the key without the literal paths, for dependents.
    pub(crate) fn fold(&self, closure: &Closure, looked: &mut Looked, inputs: &mut UnitInputs) -> Result<(UnitKey, UnitKey), Bypass> {
        if closure.code.is_empty() {
            let unit = inputs.key();
            return Ok((unit, unit));
        }
        let spelled = spelled(self.engine, self.env, closure);
        let script = Script::of(self.compile, self.env, self.roots)?;
        if let Some(script) = &script {
            for path in script.paths() {
                self.declare(&path, Tree::Declared, looked, inputs)?;
            }
            if let Some(package) = script.watched_package() {
                self.declare(package, Tree::Package, looked, inputs)?;
            }
            if spelled.contains("OUT_DIR") {
                self.declare(&script.out_dir, Tree::Whole, looked, inputs)?;
            }
        }
        let declared = script.iter().flat_map(Script::variables).filter(|name| !inputs.environment.contains_key(*name));
        let names: BTreeSet<&str> = declared.chain(spelled.iter().map(String::as_str)).collect();
        let mut portable = BTreeMap::new();
        for name in names {
            let Some(value) = self.env.get_os(name) else { continue };
            let value = value.to_str().ok_or_else(|| Bypass::new(BypassReason::NonUtf8, name))?;
            portable.insert(name.to_owned(), hide(self.roots, value));
            let literal = spelled.contains(name).then(|| literally(self.roots, name, value));
            inputs.environment.insert(name.to_owned(), literal.unwrap_or_else(|| hide(self.roots, value)));
        }
        let manifest = ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH"].iter().any(|name| spelled.contains(*name));
        if let (true, Some(dir)) = (manifest, self.env.get("CARGO_MANIFEST_DIR")) {
            self.declare(&Path::new(dir).join("Cargo.toml"), Tree::Whole, looked, inputs)?;
        }
        let unit = inputs.key();
        portable.retain(|name, value| inputs.environment.get(name) != Some(value));
        if portable.is_empty() {
            return Ok((unit, unit));
        }
        let mut everywhere = inputs.clone();
        everywhere.environment.extend(portable);
        Ok((unit, everywhere.key()))
    }

    fn declare(&self, path: &Path, tree: Tree, looked: &mut Looked, inputs: &mut UnitInputs) -> Result<(), Bypass> {
        let digest = looked.tree(&self.engine.files, path, tree);
        let digest = digest.map_err(|error| Bypass::new(BypassReason::BuildScript, format!("{}: {error}", path.display())))?;
        inputs.declared.insert(self.roots.to_portable(&path.to_string_lossy()).0, digest);
        Ok(())
    }
}

/// A value of a variable that a macro can spell, as it counts: where toolchain and Cargo are installed is hidden, unless it is the unit's own path.
pub(crate) fn literally(roots: &Roots, name: &str, value: &str) -> String {
    if OWN_PATHS.contains(&name) {
        return value.to_owned();
    }
    let installed = roots.iter().filter(|root| matches!(root.kind, RootKind::Toolchain | RootKind::CargoHome));
    hide(&Roots::new(installed.cloned().collect()), value)
}

fn hide(roots: &Roots, value: &str) -> String {
    String::from_utf8_lossy(&roots.hide(value.as_bytes(), Spelling::Plain)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kache_model::Root;

    #[test]
    fn a_path_that_a_macro_can_ask_for_is_literal_but_for_where_tools_are_installed() {
        let root = |kind, path: &str| Root::new(kind, path, path);
        let roots = Roots::new(vec![
            root(RootKind::Workspace, "/w"),
            root(RootKind::CargoHome, "/h/.cargo"),
            root(RootKind::Toolchain, "/h/.rustup/toolchains/x"),
        ]);
        for (name, value, counts) in [
            ("CARGO", "/h/.rustup/toolchains/x/bin/cargo", "/@kache/toolchain/bin/cargo"),
            ("CARGO_MANIFEST_DIR", "/h/.cargo/registry/src/a", "/h/.cargo/registry/src/a"),
            ("DATA", "/w/data", "/w/data"),
            ("DIRS", "/h/.cargo/bin:/w", "/@kache/cargo/bin:/w"),
        ] {
            assert_eq!(literally(&roots, name, value), counts);
        }
    }
}
