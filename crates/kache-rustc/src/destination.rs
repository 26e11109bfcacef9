//! Where an invocation's outputs go, read from its words alone: also of an invocation that nobody understands.
//!
//! Two invocations with one destination write over each other. One destination too many costs a short wait, so nothing is judged in here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What the names of the outputs begin with, directory and all; `None` where the words don't say. `read` reads `@file`s.
pub fn destination(argv: &[OsString], cwd: &Path, read: &mut dyn FnMut(&Path) -> Option<Vec<u8>>) -> Option<PathBuf> {
    let mut words = Vec::with_capacity(argv.len());
    for word in argv.iter().skip(1).map(|word| word.to_string_lossy()) {
        match word.strip_prefix('@') {
            Some(name) => {
                let text = read(&cwd.join(name)).unwrap_or_default();
                words.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned));
            }
            None => words.push(word.into_owned()),
        }
    }
    let (mut dir, mut name, mut ending, mut file) = (None, None, String::new(), None);
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let mut value = |long: &str, short: &str| {
            if word == long || (!short.is_empty() && word == short) {
                return rest.next().cloned();
            }
            let attached = word.strip_prefix(long).and_then(|value| value.strip_prefix('='));
            attached.or_else(|| word.strip_prefix(short).filter(|_| !short.is_empty())).map(str::to_owned)
        };
        if let Some(value) = value("--out-dir", "") {
            dir = Some(value);
        } else if let Some(value) = value("--crate-name", "") {
            name = Some(value);
        } else if let Some(value) = value("--codegen", "-C") {
            if let Some(value) = value.strip_prefix("extra-filename=") {
                value.clone_into(&mut ending);
            }
        } else if let Some(value) = value("-o", "-o") {
            file = Some(value);
        }
    }
    match (file, name) {
        (Some(file), _) => Some(cwd.join(file)),
        (None, Some(name)) => Some(cwd.join(dir.unwrap_or_default()).join(name + &ending)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<&str>) {
        let argv: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let mut read = |path: &Path| (path == Path::new("/w/args")).then(|| b"--crate-name\na\n--out-dir=/o\n".to_vec());
        assert_eq!(destination(&argv, Path::new("/w"), &mut read).as_deref(), expected.map(Path::new), "{line}");
    }

    #[test]
    fn every_spelling_leads_to_the_same_place() {
        for line in [
            "rustc --crate-name a src/lib.rs -C extra-filename=-1 --out-dir /t/deps",
            "rustc --crate-name=a --out-dir=/t/deps --codegen extra-filename=-1 -Copt-level=3 x.rs",
            "rustc --crate-name a -Cextra-filename=-1 --frobnicate --out-dir /t/deps",
            "rustc --crate-name a --codegen=extra-filename=-1 -C debuginfo=2 --out-dir /t/deps",
        ] {
            check(line, Some("/t/deps/a-1"));
        }
        check("rustc --crate-name a src/main.rs", Some("/w/a"));
        check("rustc --crate-name a src/main.rs -o out/prog", Some("/w/out/prog"));
        check("rustc --crate-name a src/main.rs -o/x", Some("/x"));
        check("rustc @args -g x.rs", Some("/o/a"));
        for line in ["rustc -vV", "rustc x.rs", "rustc @none", "--crate-name a"] {
            check(line, None);
        }
    }
}
