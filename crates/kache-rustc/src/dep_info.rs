//! Reads rustc's dep-info file (`.d`): the files and variables that a compile really read.
//!
//! Promises: what rustc writes for ordinary file names is read back exactly; text that can't be what rustc wrote is an error, never a
//! guess, and never a panic. rustc escapes spaces in names and nothing else: a name with a newline breaks the format, and is an error here
//! wherever it can be noticed. Names stay as rustc saw them; [`DepInfo::input_names`] makes them names of an input set.

use crate::env::Env;
use kache_model::{PortablePath, RootKind, Roots, Spelling};
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// A dep-info file, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DepInfo {
    /// Source files in the order in which they are listed, each once.
    pub files: Vec<String>,
    /// Variables: their value, `None` if unset. Sorted by name as rustc writes them.
    pub env: Vec<(String, Option<String>)>,
}

/// The names that an input set holds of a compile; sorted, without repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputNames {
    /// Files.
    pub files: Vec<PortablePath>,
    /// Names that must not exist, because rustc would have complained (`x/mod.rs` beside `x.rs`) or looked elsewhere.
    pub absent: Vec<PortablePath>,
}

/// A text that rustc didn't write.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DepInfoError {
    /// Not UTF-8.
    #[error("dep-info isn't UTF-8")]
    NotUtf8,
    /// A line that is no rule, no comment and not empty.
    #[error("dep-info line {0} is no rule: {1:?}")]
    NoRule(usize, String),
    /// A line says something about the file format that this reader doesn't know.
    #[error("dep-info line {0} has an unknown form: {1:?}")]
    Unknown(usize, String),
    /// An output is made from a file that has no rule of its own: the list is broken.
    #[error("dep-info lists {0:?} without a rule for it")]
    Unlisted(String),
}

impl DepInfo {
    /// Reads a dep-info file.
    pub fn parse(bytes: &[u8]) -> Result<Self, DepInfoError> {
        let text = std::str::from_utf8(bytes).map_err(|_| DepInfoError::NotUtf8)?;
        let mut rules = Rules::default();
        for (index, line) in text.split('\n').enumerate() {
            rules.take(index + 1, line)?;
        }
        rules.finish()
    }

    /// The file names, joined to `cwd`, made portable; and the names that must be absent.
    ///
    /// Only `.` is dropped lexically. `x/src/../README.md` stays as it is: if `src` is a symlink, it isn't `x/README.md`, and the same name
    /// in another checkout is looked at in the same way. The cost is that two spellings of one file are two names: more work, never a wrong hit.
    ///
    /// `from_file`: the crate's root is a file, and so the first of the list. It isn't a module: `tests/it.rs` may well stand beside
    /// `tests/it/mod.rs`.
    pub fn input_names(&self, cwd: &Path, roots: &Roots, from_file: bool) -> InputNames {
        let mut files = BTreeSet::new();
        let mut absent = BTreeSet::new();
        for (index, file) in self.files.iter().enumerate() {
            let path = joined(cwd, file);
            let portable = roots.to_portable(&path.to_string_lossy());
            let is_root = from_file && index == 0;
            if !is_root && !fetched(&portable) {
                absent.extend(alternative(&path).map(|path| roots.to_portable(&path.to_string_lossy())));
            }
            files.insert(portable);
        }
        // A name that was read can't have to be absent: `#[path]` may name both.
        let absent = absent.into_iter().filter(|name| !files.contains(name)).collect();
        InputNames { files: files.into_iter().collect(), absent }
    }
}

/// A dep-info file's text as it is kept: roots replaced by placeholders, variables without their values, which may be secrets.
pub fn hide(text: &[u8], roots: &Roots) -> Vec<u8> {
    by_line(text, |line| roots.hide(line, Spelling::DepInfo), |name| [ENV_DEP, name].concat())
}

/// The reverse of [`hide`]: the text as rustc would have written it here, each variable with the value that it has in `env`.
pub fn show(text: &[u8], roots: &Roots, env: &Env) -> Vec<u8> {
    let variable = |name: &[u8]| {
        let known = std::str::from_utf8(name).ok().and_then(unescape_env);
        let value = known.and_then(|name| env.get(&name).map(|value| format!("={}", escape_env(value))));
        [ENV_DEP, name, value.unwrap_or_default().as_bytes()].concat()
    };
    by_line(text, |line| roots.show(line, Spelling::DepInfo), variable)
}

/// How a line on a variable begins.
const ENV_DEP: &[u8] = b"# env-dep:";

/// Makes each line anew: those on variables from the variable's name as it is written, others from themselves.
fn by_line(text: &[u8], rule: impl Fn(&[u8]) -> Vec<u8>, variable: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let anew = |line: &[u8]| {
        let (line, end) = line.strip_suffix(b"\n").map_or((line, &b""[..]), |line| (line, b"\n"));
        let made = match line.strip_prefix(ENV_DEP) {
            Some(var) => variable(var.split(|byte| *byte == b'=').next().unwrap_or(var)),
            None => rule(line),
        };
        [made.as_slice(), end].concat()
    };
    text.split_inclusive(|byte| *byte == b'\n').flat_map(anew).collect()
}

/// `name` below `cwd` (or absolute), without `.` components.
fn joined(cwd: &Path, name: &str) -> PathBuf {
    cwd.join(name).components().filter(|part| *part != Component::CurDir).collect()
}

/// Whether the file was unpacked by Cargo, which doesn't change such trees: nothing appears in them later.
fn fetched(path: &PortablePath) -> bool {
    let home = RootKind::CargoHome.placeholder();
    path.0.strip_prefix(home).is_some_and(|rest| rest.starts_with("/registry/") || rest.starts_with("/git/"))
}

/// Where else rustc would have found the module: both files together are an error (E0761) that no digest shows.
fn alternative(path: &Path) -> Option<PathBuf> {
    if path.extension()? != "rs" {
        return None;
    }
    if path.file_name()? == "mod.rs" {
        // `x/mod.rs` → `x.rs`
        let dir = path.parent()?;
        let name = dir.file_name()?.to_str()?;
        return Some(dir.with_file_name(format!("{name}.rs")));
    }
    Some(path.with_extension("").join("mod.rs"))
}

#[derive(Default)]
struct Rules {
    prerequisites: BTreeSet<String>,
    sources: BTreeSet<String>,
    checksummed: BTreeSet<String>,
    files: Vec<String>,
    env: Vec<(String, Option<String>)>,
    ended: bool,
}

impl Rules {
    fn take(&mut self, number: usize, line: &str) -> Result<(), DepInfoError> {
        let short = || line.chars().take(200).collect::<String>();
        if line.is_empty() {
            return Ok(());
        }
        if let Some(var) = line.strip_prefix("# env-dep:") {
            let (name, value) = match var.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (var, None),
            };
            let unescaped = |text: &str| unescape_env(text).ok_or_else(|| DepInfoError::Unknown(number, short()));
            self.env.push((unescaped(name)?, value.map(unescaped).transpose()?));
            return Ok(());
        }
        if let Some(checksum) = line.strip_prefix("# checksum:") {
            let name = checksummed(checksum).ok_or_else(|| DepInfoError::Unknown(number, short()))?;
            self.checksummed.insert(name);
            return Ok(());
        }
        // A source whose name begins with `#` can't be told from a comment.
        if line.starts_with('#') {
            return Err(DepInfoError::Unknown(number, short()));
        }
        if let Some(source) = line.strip_suffix(':') {
            let names = split_names(source);
            let [name] = names.as_slice() else { return Err(DepInfoError::NoRule(number, short())) };
            if self.sources.insert(name.clone()) {
                self.files.push(name.clone());
            }
            return Ok(());
        }
        let (_, files) = rule(line).ok_or_else(|| DepInfoError::NoRule(number, short()))?;
        self.ended |= !self.files.is_empty();
        if self.ended {
            return Err(DepInfoError::Unknown(number, short()));
        }
        self.prerequisites.extend(split_names(files));
        Ok(())
    }

    /// Every file is listed twice: behind its output and as a rule of its own. What has a checksum is a source.
    fn finish(self) -> Result<DepInfo, DepInfoError> {
        let mut odd = self.prerequisites.symmetric_difference(&self.sources).chain(self.checksummed.difference(&self.sources));
        match odd.next() {
            Some(name) => Err(DepInfoError::Unlisted(name.clone())),
            None => Ok(DepInfo { files: self.files, env: self.env }),
        }
    }
}

/// The name in `blake3=… file_len:92 src/lib.rs`. What comes before it is a function of the file's contents.
fn checksummed(text: &str) -> Option<String> {
    let (digest, rest) = text.split_once(' ')?;
    let (algorithm, hex) = digest.split_once('=')?;
    let (len, name) = rest.strip_prefix("file_len:")?.split_once(' ')?;
    let well_formed =
        !algorithm.is_empty() && !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) && len.parse::<u64>().is_ok();
    let mut names = split_names(name).into_iter();
    names.next().filter(|_| well_formed && names.next().is_none())
}

/// `out: a b c`. An output's name may hold `: `, a source's too; rustc's own outputs don't, and what follows is checked against the
/// rules of the sources.
fn rule(line: &str) -> Option<(&str, &str)> {
    line.split_once(": ").filter(|(out, _)| !out.is_empty())
}

/// Names separated by spaces that aren't escaped.
fn split_names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut current = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&' ') => {
                chars.next();
                current.push(' ');
            }
            ' ' if current.is_empty() => {}
            ' ' => names.push(std::mem::take(&mut current)),
            _ => current.push(c),
        }
    }
    if !current.is_empty() {
        names.push(current);
    }
    names
}

/// A variable's name or value as rustc writes it.
fn escape_env(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

/// Undoes `\\`, `\n`, `\r`; any other escape isn't rustc's.
fn unescape_env(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next()? {
            '\\' => '\\',
            'n' => '\n',
            'r' => '\r',
            _ => return None,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_no_values_and_is_shown_with_those_of_whoever_asks() {
        let roots = Roots::new(vec![kache_model::Root::new(RootKind::Target, "/a b/t", "/a b/t")]);
        let text =
            b"/a\\ b/t/x.d: /a\\ b/t/g.rs\n\n# env-dep:EMPTY=\n# env-dep:ODD=x=\\\\y\\nz\n# env-dep:OUT_DIR=/a b/t/out\n# env-dep:UNSET\n";
        let hidden = hide(text, &roots);
        let kept = "/@kache/target/x.d: /@kache/target/g.rs\n\n# env-dep:EMPTY\n# env-dep:ODD\n# env-dep:OUT_DIR\n# env-dep:UNSET\n";
        assert_eq!(String::from_utf8(hidden.clone()).unwrap(), kept);
        assert_eq!(hide(&hidden, &roots), hidden);
        let env: Env = [("EMPTY", ""), ("ODD", "x=\\y\nz"), ("OUT_DIR", "/a b/t/out"), ("OTHER", "1")].into_iter().collect();
        assert_eq!(show(&hidden, &roots, &env), text);
        let all_unset = show(&hidden, &roots, &Env::default());
        assert_eq!(all_unset, [b"/a\\ b/t/x.d: /a\\ b/t/g.rs".as_slice(), &kept.as_bytes()[kept.find("\n").unwrap()..]].concat());
    }

    use kache_model::Root;
    use proptest::prelude::*;

    const SAMPLE: &str = "/t/libx.d: src/lib.rs src/a\\ b.rs /t/out/g.rs\n\n/t/libx.rmeta: src/lib.rs src/a\\ b.rs /t/out/g.rs\n\n\
        src/lib.rs:\nsrc/a\\ b.rs:\n/t/out/g.rs:\n\n# env-dep:A=x\\ny\\\\z\n# env-dep:B\n# env-dep:C=\n";

    #[test]
    fn reads_files_and_the_three_values_of_a_variable() {
        let info = DepInfo::parse(SAMPLE.as_bytes()).unwrap();
        assert_eq!(info.files, ["src/lib.rs", "src/a b.rs", "/t/out/g.rs"]);
        let var = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        assert_eq!(info.env, [var("A", Some("x\ny\\z")), var("B", None), var("C", Some(""))]);
    }

    #[test]
    fn checksums_are_of_sources_and_portable() {
        let roots = Roots::new(vec![kache_model::Root::new(RootKind::Target, "/a b/t", "/a b/t")]);
        let rules = "x.d: /a\\ b/t/g.rs lib.rs\n\n/a\\ b/t/g.rs:\nlib.rs:\n";
        let text =
            format!("{rules}# checksum:blake3=0af1 file_len:92 /a\\ b/t/g.rs\n# checksum:sha256=00 file_len:0 lib.rs\n# env-dep:A\n");
        assert_eq!(DepInfo::parse(text.as_bytes()).unwrap().files, ["/a b/t/g.rs", "lib.rs"]);
        let hidden = hide(text.as_bytes(), &roots);
        assert_eq!(hidden, text.replace("/a\\ b/t", "/@kache/target").as_bytes());
        assert_eq!(show(&hidden, &roots, &Env::default()), text.as_bytes());
        for odd in
            ["md5", "blake3=xyz file_len:1 lib.rs", "blake3=00 lib.rs", "blake3=00 file_len:x lib.rs", "blake3=00 file_len:1 lib.rs b.rs"]
        {
            let read = DepInfo::parse(format!("{rules}# checksum:{odd}\n").as_bytes());
            assert!(matches!(read, Err(DepInfoError::Unknown(5, _))), "{odd}: {read:?}");
        }
        let other = DepInfo::parse(format!("{rules}# checksum:blake3=00 file_len:1 other.rs\n").as_bytes());
        assert_eq!(other, Err(DepInfoError::Unlisted("other.rs".into())));
    }

    #[test]
    fn what_rustc_did_not_write_is_an_error() {
        let check = |text: &str, error: DepInfoError| assert_eq!(DepInfo::parse(text.as_bytes()).unwrap_err(), error, "{text:?}");
        check("x.d: a.rs\n", DepInfoError::Unlisted("a.rs".into()));
        check("x.d: a.rs\na.rs:\nb.rs:\n", DepInfoError::Unlisted("b.rs".into()));
        check("nonsense", DepInfoError::NoRule(1, "nonsense".into()));
        check("# what\n", DepInfoError::Unknown(1, "# what".into()));
        check("# env-dep:A=\\q\n", DepInfoError::Unknown(1, "# env-dep:A=\\q".into()));
        check("x.d: a.rs\na.rs:\ny.d: a.rs\n", DepInfoError::Unknown(3, "y.d: a.rs".into()));
        // A newline in a name.
        check("x.d: a\nb.rs\na\nb.rs:\n", DepInfoError::NoRule(2, "b.rs".into()));
        assert_eq!(DepInfo::parse(b"\xff"), Err(DepInfoError::NotUtf8));
    }

    #[test]
    fn names_are_portable_sorted_and_know_what_must_be_absent() {
        let roots = Roots::new(vec![
            Root::new(RootKind::Workspace, "/w", "/w"),
            Root::new(RootKind::CargoHome, "/c", "/c"),
            Root::new(RootKind::Target, "/w/target/debug", "/w/target/debug"),
        ]);
        let files =
            ["src/lib.rs", "./src/a.rs", "src/b/mod.rs", "src/../README.md", "/w/target/debug/g.rs", "/c/registry/x/lib.rs", "src/a.rs"];
        let info = DepInfo { files: files.map(str::to_owned).to_vec(), env: Vec::new() };
        let names = info.input_names(Path::new("/w"), &roots, true);
        let list = |names: &[PortablePath]| names.iter().map(|name| name.0.clone()).collect::<Vec<_>>();
        assert_eq!(
            list(&names.files),
            [
                "/@kache/cargo/registry/x/lib.rs",
                "/@kache/target/g.rs",
                "/proc/self/cwd/src/../README.md",
                "/proc/self/cwd/src/a.rs",
                "/proc/self/cwd/src/b/mod.rs",
                "/proc/self/cwd/src/lib.rs"
            ]
        );
        assert_eq!(list(&names.absent), ["/@kache/target/g/mod.rs", "/proc/self/cwd/src/a/mod.rs", "/proc/self/cwd/src/b.rs"]);
    }

    #[test]
    fn a_name_that_was_read_need_not_be_absent() {
        let info = DepInfo { files: vec!["lib.rs".into(), "a.rs".into(), "a/mod.rs".into()], env: Vec::new() };
        assert_eq!(info.input_names(Path::new("/w"), &Roots::default(), true).absent, []);
    }

    #[test]
    fn only_a_root_that_is_a_file_has_no_twin() {
        let info = DepInfo { files: vec!["a.rs".into()], env: Vec::new() };
        let absent = |from_file| info.input_names(Path::new("/w"), &Roots::default(), from_file).absent;
        assert_eq!((absent(true), absent(false)), (vec![], vec![PortablePath("/w/a/mod.rs".into())]));
    }

    /// As rustc writes it.
    fn write(info: &DepInfo, outputs: &[&str]) -> String {
        let names: Vec<String> = info.files.iter().map(|name| name.replace(' ', "\\ ")).collect();
        let mut out = String::new();
        for output in outputs {
            out += &format!("{output}: {}\n\n", names.join(" "));
        }
        for name in &names {
            out += &format!("{name}:\n");
        }
        for (name, value) in &info.env {
            out += &match value {
                Some(value) => format!("# env-dep:{}={}\n", escape_env(name), escape_env(value)),
                None => format!("# env-dep:{}\n", escape_env(name)),
            };
        }
        out
    }

    proptest! {
        #[test]
        fn what_rustc_writes_is_read_back(
            files in proptest::collection::btree_set("[a-zA-Z0-9_./$%é:-]([a-zA-Z0-9_./ #$%é-]{0,12}[a-z])?", 1..6),
            env in proptest::collection::btree_map("[A-Z_]{1,8}", proptest::option::of("[ -~\\n\\r\\\\é]{0,12}"), 0..4),
        ) {
            // A source that ends in a colon or holds `: ` can't be told from a rule.
            let files: Vec<String> = files.into_iter().filter(|name| !name.ends_with(':')).collect();
            let info = DepInfo { files, env: env.into_iter().collect() };
            let text = write(&info, &["/t/x.d", "/t/libx.rmeta"]);
            let env: Env = info.env.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).collect();
            let kept = hide(text.as_bytes(), &Roots::default());
            prop_assert_eq!(String::from_utf8(show(&kept, &Roots::default(), &env)), Ok(text.clone()));
            prop_assert_eq!(DepInfo::parse(text.as_bytes()), Ok(info));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[a: \\\\\\n#.]{0,60}") {
            let _ = DepInfo::parse(&bytes);
            let _ = DepInfo::parse(text.as_bytes());
            let _ = DepInfo::parse(format!("# env-dep:{text}").as_bytes());
        }
    }
}
