//! Which wrapper Cargo would use, and where that is said: its variables, then the configuration files from a directory upwards, then the one in
//! `CARGO_HOME`.
//!
//! Promise: reads as Cargo does, `config` before `config.toml`, the nearest file first. Files that Cargo itself would refuse are an error.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use toml_edit::DocumentMut;

/// A wrapper, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrapper {
    /// As it is spelled there. Empty: no wrapper, whatever weightless sources say.
    pub(crate) value: String,
    /// A variable's name or a file.
    pub(crate) source: String,
    /// What a relative path is relative to.
    base: PathBuf,
}

/// A file of Cargo's that can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CargoConfigError {
    #[error("{}: {source}", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {message}", .path.display())]
    Syntax { path: PathBuf, message: String },
}

impl Wrapper {
    /// The program that Cargo would start: a path, or what is found in `PATH`.
    pub(crate) fn program(&self, path: Option<OsString>) -> Option<PathBuf> {
        if self.value.contains('/') {
            return Some(self.base.join(&self.value)).filter(|program| program.is_file());
        }
        let dirs = path.iter().flat_map(std::env::split_paths).collect::<Vec<_>>();
        dirs.into_iter().map(|dir| dir.join(&self.value)).find(|program| program.is_file())
    }

    /// Whether it is one of kache's programs, by its name.
    pub(crate) fn is_ours(&self) -> bool {
        is_ours(&self.value)
    }
}

/// Whether a wrapper of that name is one of kache's programs.
pub(crate) fn is_ours(value: &str) -> bool {
    Path::new(value).file_name().is_some_and(|name| name == "kache-shim" || name == "kache")
}

/// `CARGO_HOME`, by variable or by default.
pub(crate) fn cargo_home(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("CARGO_HOME").or_else(|| set("HOME").map(|home| home.join(".cargo")))
}

/// The configuration file in `dir` (a `.cargo`, or `CARGO_HOME`) that Cargo reads; if there is none, the one it would.
pub(crate) fn file_in(dir: &Path) -> PathBuf {
    let old = dir.join("config");
    if old.is_file() { old } else { dir.join("config.toml") }
}

/// What a variable says; it weighs more than any file. An empty one means: no wrapper.
pub(crate) fn by_variable(dir: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Option<Wrapper> {
    ["RUSTC_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"].into_iter().find_map(|name| {
        let value = variable(name)?.to_string_lossy().into_owned();
        Some(Wrapper { value, source: name.to_owned(), base: dir.to_owned() })
    })
}

/// The wrapper that a build in `dir` would have.
pub(crate) fn effective(dir: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<Wrapper>, CargoConfigError> {
    if let Some(wrapper) = by_variable(dir, &variable) {
        return Ok(Some(wrapper).filter(|wrapper| !wrapper.value.is_empty()));
    }
    for place in places(dir, &variable) {
        let path = file_in(&place);
        let Some(text) = read(&path)? else { continue };
        if let Some(value) = wrapper_of(&parse(&path, &text)?).map(str::to_owned) {
            let base = place.parent().unwrap_or(&place).to_owned();
            return Ok(Some(Wrapper { value, source: path.display().to_string(), base }));
        }
    }
    Ok(None)
}

/// `build.target-dir` as the files say it for a build in `dir`; files that can't be read count as silent.
pub(crate) fn target_dir(dir: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    places(dir, variable).into_iter().find_map(|place| {
        let path = file_in(&place);
        let document = parse(&path, &read(&path).ok()??).ok()?;
        let value = document.get("build")?.get("target-dir")?.as_str()?;
        Some(place.parent()?.join(value))
    })
}

/// A variable that a file sets for everything that Cargo starts, the compiler's wrapper among it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) value: String,
    /// Counts even where the variable is set already.
    pub(crate) force: bool,
    pub(crate) file: PathBuf,
}

/// What the files' `[env]` says for a build in `dir`, each variable once, as the weightiest file has it; files that can't be read count as silent.
pub(crate) fn declared(dir: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Vec<Declared> {
    let mut all: Vec<Declared> = Vec::new();
    for place in places(dir, variable) {
        let file = file_in(&place);
        let Some(document) = read(&file).ok().flatten().and_then(|text| parse(&file, &text).ok()) else { continue };
        let Some(table) = document.get("env").and_then(|env| env.as_table_like()) else { continue };
        for (name, item) in table.iter() {
            let of = |key: &str| item.as_table_like().and_then(|table| table.get(key));
            let value = item.as_str().or_else(|| of("value")?.as_str()).unwrap_or_default().to_owned();
            let force = of("force").and_then(|force| force.as_bool()).unwrap_or(false);
            if !all.iter().any(|known| known.name == name) {
                all.push(Declared { name: name.to_owned(), value, force, file: file.clone() });
            }
        }
    }
    all
}

/// Where Cargo looks for its files, the weightiest first.
fn places(dir: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = dir.ancestors().map(|dir| dir.join(".cargo")).collect();
    places.extend(cargo_home(variable));
    places
}

/// A file's text; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<String>, CargoConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if [std::io::ErrorKind::NotFound, std::io::ErrorKind::NotADirectory].contains(&error.kind()) => Ok(None),
        Err(source) => Err(CargoConfigError::Read { path: path.to_owned(), source }),
    }
}

/// The file as a document that keeps what it isn't asked to change.
pub(crate) fn parse(path: &Path, text: &str) -> Result<DocumentMut, CargoConfigError> {
    text.parse().map_err(|error: toml_edit::TomlError| CargoConfigError::Syntax {
        path: path.to_owned(),
        message: error.to_string().trim_end().to_owned(),
    })
}

/// `build.rustc-wrapper`.
pub(crate) fn wrapper_of(document: &DocumentMut) -> Option<&str> {
    document.get("build")?.get("rustc-wrapper")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn place(files: &[(&str, &str)]) -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = place.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        place
    }

    fn found(place: &tempfile::TempDir, variables: &[(&str, &str)]) -> Option<(String, String)> {
        let home = place.path().join("home");
        let variable = |name: &str| match name {
            "CARGO_HOME" => Some(home.clone().into_os_string()),
            _ => variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()),
        };
        let wrapper = effective(&place.path().join("ws/member"), variable).unwrap()?;
        Some((wrapper.value, wrapper.source.replace(place.path().to_str().unwrap(), "DIR")))
    }

    fn pair(value: &str, source: &str) -> Option<(String, String)> {
        Some((value.to_owned(), source.to_owned()))
    }

    #[test]
    fn the_weightiest_source_decides() {
        let text = |value: &str| format!("[build]\nrustc-wrapper = \"{value}\"\n");
        let (home, outer, inner, old) = (text("home"), text("outer"), text("inner"), text("old"));
        let both = [("ws/.cargo/config.toml", outer.as_str()), ("home/config.toml", home.as_str())];
        assert_eq!(found(&place(&[]), &[]), None);
        assert_eq!(found(&place(&both[1..]), &[]), pair("home", "DIR/home/config.toml"));
        let place_of_both = place(&both);
        assert_eq!(found(&place_of_both, &[]), pair("outer", "DIR/ws/.cargo/config.toml"));
        assert_eq!(found(&place_of_both, &[("CARGO_BUILD_RUSTC_WRAPPER", "v")]), pair("v", "CARGO_BUILD_RUSTC_WRAPPER"));
        assert_eq!(found(&place_of_both, &[("CARGO_BUILD_RUSTC_WRAPPER", "v"), ("RUSTC_WRAPPER", "w")]), pair("w", "RUSTC_WRAPPER"));
        assert_eq!(found(&place_of_both, &[("RUSTC_WRAPPER", "")]), None, "an empty one switches wrappers off");
        let nearest = place(&[both[0], ("ws/member/.cargo/config.toml", inner.as_str())]);
        assert_eq!(found(&nearest, &[]), pair("inner", "DIR/ws/member/.cargo/config.toml"));
        let old = place(&[both[0], ("ws/.cargo/config", old.as_str())]);
        assert_eq!(found(&old, &[]), pair("old", "DIR/ws/.cargo/config"), "as Cargo does");
    }

    #[test]
    fn variables_are_found_in_all_files_as_the_nearest_has_them() {
        let place = place(&[
            ("ws/.cargo/config.toml", "[env]\nA = \"near\"\nB = { value = \"b\", force = true, relative = true }\n"),
            ("home/config.toml", "[env]\nA = \"far\"\n[env.C]\nvalue = \"c\"\n"),
            (".cargo/config.toml", "[env"),
        ]);
        let home = place.path().join("home");
        let found = declared(&place.path().join("ws/member"), |name| (name == "CARGO_HOME").then(|| home.clone().into()));
        let found: Vec<_> = found.iter().map(|found| (&*found.name, &*found.value, found.force, found.file.starts_with(&home))).collect();
        assert_eq!(found, [("A", "near", false, false), ("B", "b", true, false), ("C", "c", false, true)]);
    }

    #[test]
    fn programs_are_looked_for_as_cargo_does() {
        let place = place(&[("bin/tool", ""), ("ws/tools/own", "")]);
        let of = |value: &str| Wrapper { value: value.to_owned(), source: String::new(), base: place.path().join("ws") };
        let path = || Some(place.path().join("bin").into_os_string());
        assert_eq!(of("tool").program(path()), Some(place.path().join("bin/tool")));
        assert_eq!(of("tools/own").program(path()), Some(place.path().join("ws/tools/own")));
        assert_eq!(of("own").program(path()), None);
        assert!(of("/x/kache-shim").is_ours() && of("kache").is_ours() && !of("sccache").is_ours());
    }

    #[test]
    fn a_file_that_is_no_toml_is_named() {
        let place = place(&[("ws/.cargo/config.toml", "[build")]);
        let error = effective(&place.path().join("ws"), |_| None).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{}: TOML parse error at line 1", place.path().join("ws/.cargo/config.toml").display())),
            "{error}"
        );
    }
}
