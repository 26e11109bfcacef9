//! Machine-local roots and their placeholders: how one artifact serves every checkout path.
//!
//! rustc is told to write the placeholder instead of the root (`--remap-path-prefix`), keys and stored text hold the
//! placeholder, and whatever goes back to Cargo or to a person has the root spelled again.
//!
//! The workspace's placeholder is `/proc/self/cwd` because it resolves: debuggers and backtraces started in the workspace root find
//! the sources, and it has the normal path component without which rustc doesn't undo a mapping to show a dependency's source in
//! a diagnostic (`reverse_map_prefix_heuristically` in rustc_span).

use crate::inputs::PortablePath;
use crate::root_kinds::RootKinds;
use memchr::memmem;
use serde::{Deserialize, Serialize};

/// What a root is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootKind {
    /// The toolchain's sysroot.
    Toolchain,
    /// `CARGO_HOME`.
    CargoHome,
    /// The workspace of a member: rustc's working directory.
    Workspace,
    /// The directory below which Cargo puts `deps`, `build` and `examples`, for instance `target/debug`.
    Target,
    /// A directory that the configuration declares, by its place in that list, from 0 and below [`MAX_BASES`].
    Base(u8),
}

/// Directories that a configuration may declare, at most.
pub const MAX_BASES: usize = BASES.len();

const BASES: [&str; 8] = [
    "/@kache/base1",
    "/@kache/base2",
    "/@kache/base3",
    "/@kache/base4",
    "/@kache/base5",
    "/@kache/base6",
    "/@kache/base7",
    "/@kache/base8",
];

impl RootKind {
    /// The portable spelling. None is a prefix of another.
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::Toolchain => "/@kache/toolchain",
            Self::CargoHome => "/@kache/cargo",
            Self::Workspace => "/proc/self/cwd",
            Self::Target => "/@kache/target",
            Self::Base(place) => BASES[usize::from(place) % MAX_BASES],
        }
    }

    /// What it is called in JSON.
    pub fn name(self) -> &'static str {
        const BASE_NAMES: [&str; MAX_BASES] = ["base1", "base2", "base3", "base4", "base5", "base6", "base7", "base8"];
        match self {
            Self::Toolchain => "toolchain",
            Self::CargoHome => "cargo_home",
            Self::Workspace => "workspace",
            Self::Target => "target",
            Self::Base(place) => BASE_NAMES[usize::from(place) % MAX_BASES],
        }
    }

    /// Every kind that there can be.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let bases = (0..BASES.len()).filter_map(|place| u8::try_from(place).ok()).map(Self::Base);
        [Self::Toolchain, Self::CargoHome, Self::Workspace, Self::Target].into_iter().chain(bases)
    }
}

/// One root: absolute, without a trailing slash, UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Root {
    /// What it is.
    pub kind: RootKind,
    /// As Cargo spells it.
    pub raw: String,
    /// With symlinks resolved; often the same.
    pub canonical: String,
}

impl Root {
    /// A root by its two spellings; trailing slashes are dropped.
    pub fn new(kind: RootKind, raw: impl Into<String>, canonical: impl Into<String>) -> Self {
        let trim = |mut path: String| {
            while path.len() > 1 && path.ends_with('/') {
                path.pop();
            }
            path
        };
        Self { kind, raw: trim(raw.into()), canonical: trim(canonical.into()) }
    }

    /// Both spellings, without a repeat.
    pub fn spellings(&self) -> impl Iterator<Item = &str> {
        [self.raw.as_str(), self.canonical.as_str()].into_iter().take(if self.raw == self.canonical { 1 } else { 2 })
    }
}

/// How text spells a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// As it is.
    Plain,
    /// Inside a JSON string.
    Json,
    /// In a dep-info file: spaces escaped.
    DepInfo,
}

impl Spelling {
    /// `path` as such text spells it.
    pub fn of(self, path: &str) -> String {
        match self {
            Self::Plain => path.to_owned(),
            Self::DepInfo => path.replace(' ', "\\ "),
            Self::Json => path.chars().fold(String::new(), |mut out, c| {
                match c {
                    '"' | '\\' => out.extend(['\\', c]),
                    '\u{0}'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
                    _ => out.push(c),
                }
                out
            }),
        }
    }
}

/// The roots of one invocation, longest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Roots(Vec<Root>);

impl Roots {
    /// Sorts them longest first, so that a root inside another wins. A root `/` is dropped: everything is below it.
    pub fn new(mut roots: Vec<Root>) -> Self {
        roots.retain(|root| root.raw.len() > 1 && root.canonical.len() > 1);
        roots.sort_by(|a, b| b.raw.len().cmp(&a.raw.len()).then(a.kind.cmp(&b.kind)));
        Self(roots)
    }

    /// The roots, longest first.
    pub fn iter(&self) -> impl Iterator<Item = &Root> {
        self.0.iter()
    }

    /// The kinds of root that there are.
    pub fn kinds(&self) -> RootKinds {
        self.0.iter().map(|root| root.kind).collect()
    }

    /// The kinds of those roots that `path` is or lies below, by either spelling.
    pub fn around(&self, path: &str) -> RootKinds {
        let is_around = |root: &&Root| root.spellings().any(|spelling| strip_root(path, spelling).is_some());
        self.0.iter().filter(is_around).map(|root| root.kind).collect()
    }

    /// The root of that kind.
    pub fn get(&self, kind: RootKind) -> Option<&Root> {
        self.0.iter().find(|root| root.kind == kind)
    }

    /// `kind=path` of each root in both spellings, sorted. The toolchain is left out, its identity is keyed.
    pub fn literal(&self) -> Vec<String> {
        self.literal_of(self.kinds())
    }

    /// The same of those kinds only: what the key of an artifact holds that spells them.
    pub fn literal_of(&self, kinds: RootKinds) -> Vec<String> {
        let mut list: Vec<String> = self
            .0
            .iter()
            .filter(|root| kinds.contains(root.kind))
            .flat_map(|root| root.spellings().map(|path| format!("{}={path}", root.kind.placeholder())))
            .collect();
        list.sort();
        list
    }

    /// `--remap-path-prefix` values, shortest root first: rustc takes the last match.
    pub fn remaps(&self) -> Vec<String> {
        let keep = |root: &&Root| root.kind != RootKind::Toolchain;
        self.0
            .iter()
            .rev()
            .filter(keep)
            .flat_map(|root| root.spellings().map(|from| format!("{from}={}", root.kind.placeholder())).collect::<Vec<_>>())
            .collect()
    }

    /// An absolute path with its root replaced, component-wise (`/work` is no prefix of `/workspace`); any other text as it is.
    pub fn to_portable(&self, path: &str) -> PortablePath {
        for root in &self.0 {
            for spelling in root.spellings() {
                if let Some(rest) = strip_root(path, spelling) {
                    return PortablePath(format!("{}{rest}", root.kind.placeholder()));
                }
            }
        }
        PortablePath(path.to_owned())
    }

    /// The reverse of [`Roots::to_portable`]. `None` if the placeholder stands for a root that this invocation doesn't have.
    pub fn to_local(&self, path: &PortablePath) -> Option<String> {
        for kind in RootKind::all() {
            if let Some(rest) = strip_root(&path.0, kind.placeholder()) {
                return self.get(kind).map(|root| format!("{}{rest}", root.raw));
            }
        }
        Some(path.0.clone())
    }

    /// Whether a value spells one of the roots anywhere.
    pub fn named_in(&self, value: &str) -> bool {
        self.0.iter().any(|root| root.spellings().any(|spelling| value.contains(spelling)))
    }

    /// Text with roots replaced by placeholders, wherever they stand as whole path components.
    pub fn hide(&self, text: &[u8], spelling: Spelling) -> Vec<u8> {
        let pairs = self.0.iter().flat_map(|root| root.spellings().map(|from| (from, root.kind.placeholder())));
        replace_paths(text, pairs.map(|(from, to)| (spelling.of(from), to.to_owned())))
    }

    /// What [`Roots::show`] replaces, in the order in which it does.
    pub fn shown(&self, spelling: Spelling) -> Vec<(String, String)> {
        self.0.iter().map(|root| (root.kind.placeholder().to_owned(), spelling.of(&root.raw))).collect()
    }

    /// Text with placeholders replaced by this invocation's roots.
    pub fn show(&self, text: &[u8], spelling: Spelling) -> Vec<u8> {
        replace_paths(text, self.shown(spelling))
    }
}

/// Whether a text spells a placeholder, whoever put it there.
pub fn spells_placeholder(text: &[u8]) -> bool {
    // What the others begin with.
    ["/proc/self/cwd", "/@kache/"].iter().any(|needle| memmem::find(text, needle.as_bytes()).is_some())
}

/// The rest of `path` below `root`, with its leading slash, or empty.
fn strip_root<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    path.strip_prefix(root).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Replaces each `from` by its `to` where it stands as a path of its own or as the front of one.
pub fn replace_paths(text: &[u8], pairs: impl IntoIterator<Item = (String, String)>) -> Vec<u8> {
    let mut current = text.to_vec();
    for (from, to) in pairs {
        let finder = memmem::Finder::new(from.as_bytes());
        if finder.find(&current).is_none() {
            continue;
        }
        let mut out = Vec::with_capacity(current.len());
        let mut done = 0;
        for at in finder.find_iter(&current) {
            let end = at + from.len();
            let whole = begins_path(&current[..at]) && !current.get(end).is_some_and(|byte| is_name_byte(*byte));
            if whole {
                out.extend_from_slice(&current[done..at]);
                out.extend_from_slice(to.as_bytes());
                done = end;
            }
        }
        out.extend_from_slice(&current[done..]);
        current = out;
    }
    current
}

/// Whether a path may begin after `before`: not within a longer one. The `m` that ends a colour sequence is no part of a name.
fn begins_path(before: &[u8]) -> bool {
    let Some((last, rest)) = before.split_last() else { return true };
    if *last == b'm' {
        let parameters = rest.iter().rev().take_while(|byte| byte.is_ascii_digit() || **byte == b';').count();
        if rest[..rest.len() - parameters].ends_with(b"[") {
            return true;
        }
    }
    !is_name_byte(*last) && *last != b'/'
}

/// A byte that can belong to the name of a path component in ordinary text.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+' | b'@') || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots() -> Roots {
        Roots::new(vec![
            Root::new(RootKind::Workspace, "/work/app", "/real/app/"),
            Root::new(RootKind::Target, "/work/app/target/debug", "/real/app/target/debug"),
            Root::new(RootKind::CargoHome, "/home/u/.cargo", "/home/u/.cargo"),
            Root::new(RootKind::Base(0), "/home/u", "/home/u"),
            Root::new(RootKind::Base(1), "/work/app", "/work/app"),
        ])
    }

    #[test]
    fn a_bound_result_knows_where_a_link_to_its_root_led() {
        let at = |canonical: &str| Roots::new(vec![Root::new(RootKind::Workspace, "/work", canonical)]).literal();
        assert_eq!(at("/work"), ["/proc/self/cwd=/work"]);
        assert_eq!(at("/v1"), ["/proc/self/cwd=/v1", "/proc/self/cwd=/work"]);
    }

    #[test]
    fn a_path_lies_in_all_the_roots_above_it() {
        let kinds = |path: &str| roots().around(path).kinds().collect::<Vec<_>>();
        let [workspace, target, home] = [RootKind::Workspace, RootKind::Target, RootKind::CargoHome];
        assert_eq!(kinds("/work/app/target/debug/x"), [workspace, target, RootKind::Base(1)]);
        assert_eq!(kinds("/work/app"), [workspace, RootKind::Base(1)], "equal paths are all meant");
        assert_eq!(kinds("/real/app/target"), [workspace]);
        assert_eq!(kinds("/home/u/.cargo"), [home, RootKind::Base(0)]);
        assert_eq!(kinds("/home/us"), []);
    }

    #[test]
    fn paths_are_replaced_by_component_and_the_longest_root_wins() {
        let check = |path: &str, portable: &str| assert_eq!(roots().to_portable(path).0, portable);
        check("/work/app/src/main.rs", "/proc/self/cwd/src/main.rs");
        check("/real/app/src/main.rs", "/proc/self/cwd/src/main.rs");
        check("/work/app", "/proc/self/cwd");
        check("/work/apple/x", "/work/apple/x");
        check("/work/app/target/debug/build/x/out/g.rs", "/@kache/target/build/x/out/g.rs");
        check("/work/app/target/release/x", "/proc/self/cwd/target/release/x");
        check("src/main.rs", "src/main.rs");
        check("/home/u/.cargo/x", "/@kache/cargo/x");
        check("/home/u/data/x", "/@kache/base1/data/x");
    }

    #[test]
    fn portable_paths_come_back_as_this_checkout_spells_them() {
        for path in ["/work/app/src/a.rs", "/home/u/.cargo/registry/src/x/a.rs", "/home/u/data/x", "/usr/include/x.h"] {
            assert_eq!(roots().to_local(&roots().to_portable(path)).as_deref(), Some(path));
        }
        assert_eq!(Roots::default().to_local(&PortablePath("/@kache/target/x".into())), None);
    }

    #[test]
    fn text_round_trips_with_each_spelling() {
        let spaced = Roots::new(vec![Root::new(RootKind::Workspace, "/w a/\"q", "/w a/\"q")]);
        for (spelling, text) in [
            (Spelling::Plain, r#"--> /w a/"q/src/x.rs:1:2"#),
            (Spelling::Json, r#"{"file":"/w a/\"q/src/x.rs"}"#),
            (Spelling::DepInfo, r#"x.d: /w\ a/"q/src/x.rs"#),
        ] {
            let hidden = spaced.hide(text.as_bytes(), spelling);
            assert!(String::from_utf8_lossy(&hidden).contains("/proc/self/cwd/src/x.rs"), "{spelling:?}");
            assert_eq!(spaced.show(&hidden, spelling), text.as_bytes(), "{spelling:?}");
        }
    }

    #[test]
    fn only_whole_components_are_replaced_in_text() {
        let hidden = roots().hide(b"/work/app2 x/work/app /work/app/y", Spelling::Plain);
        assert_eq!(String::from_utf8(hidden).unwrap(), "/work/app2 x/work/app /proc/self/cwd/y");
    }

    #[test]
    fn a_colour_sequence_in_front_is_no_part_of_the_path() {
        for text in ["\u{1b}[0m/work/app/y", r"\u001b[38;5;12m/work/app/y", "\u{1b}[m/work/app/y"] {
            let hidden = roots().hide(text.as_bytes(), Spelling::Plain);
            assert!(hidden.ends_with(b"m/proc/self/cwd/y"), "{text}");
            assert_eq!(roots().show(&hidden, Spelling::Plain), text.as_bytes());
        }
        assert_eq!(roots().hide(b"rim/work/app", Spelling::Plain), b"rim/work/app");
    }

    #[test]
    fn every_placeholder_is_recognised() {
        for kind in RootKind::all() {
            assert!(spells_placeholder(format!("at {}/x", kind.placeholder()).as_bytes()), "{kind:?}");
        }
        assert!(!spells_placeholder(b"/proc/self/environ /@kach"));
    }

    #[test]
    fn remaps_go_from_short_to_long() {
        assert_eq!(
            roots().remaps(),
            [
                "/home/u=/@kache/base1",
                "/work/app=/@kache/base2",
                "/work/app=/proc/self/cwd",
                "/real/app=/proc/self/cwd",
                "/home/u/.cargo=/@kache/cargo",
                "/work/app/target/debug=/@kache/target",
                "/real/app/target/debug=/@kache/target"
            ]
        );
    }
}
