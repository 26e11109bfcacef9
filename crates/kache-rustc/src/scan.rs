//! Finds machine-local roots and names of path variables in output files.
//!
//! The second net behind the licence: rustc was told to write placeholders, so an output that still spells a root got it in a way that
//! nobody foresaw, and the artifact is bound to that root: good only where it is the same.
//!
//! - All roots that are spelled are told, not just the first. A path spells every root that it is or lies below, one for each kind where
//!   several have one path: which of them it was made from isn't known.
//! - A root of two or more components counts wherever its bytes stand. No boundary is asked for: string constants lie side by side in a
//!   binary, so `/work/app` may be followed or preceded by the letters of another constant.
//! - A root of one component (`/src`) is too short for that and counts only where it stands like a path: no name byte in front, a `/` or
//!   no name byte behind.
//! - The toolchain isn't searched for. Its identity is keyed, it isn't remapped, and rustc writes std's own sources as `/rustc/<hash>`.
//!
//! LLVM bitcode (in libraries of an LTO build) holds strings as bit streams that begin at any bit, so behind a bitcode header roots are
//! looked for at every offset, by the bytes that they fill completely. Names of variables are not: a macro's are in the metadata.
//!
//! Fed in chunks of any size; what lies across a border is found.

use kache_model::{Mentions, RootKind, RootKinds, Roots};
use memchr::memmem::Finder;
use std::collections::BTreeSet;

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The roots that were spelled.
    pub roots: RootKinds,
    /// The longest of them as it was spelled, for people.
    pub spelled: Option<String>,
    /// Variables that were named.
    pub mentions: Mentions,
}

/// A running scan over one file.
#[derive(Debug)]
pub struct Scanner {
    needles: Vec<Needle>,
    seen: Seen,
    /// The last bytes before the current chunk: one more than the longest needle.
    tail: Vec<u8>,
    keep: usize,
    /// Whether `tail` begins where the file does.
    from_start: bool,
    /// What to look for once a bitcode header has been seen.
    shifted: Vec<Needle>,
}

/// The header of LLVM bitcode.
const BITCODE: &[u8] = b"BC\xc0\xde";

#[derive(Debug)]
struct Needle {
    finder: Finder<'static>,
    kind: Kind,
    /// What it stands for.
    text: String,
    /// The roots that are bound if it is found.
    roots: RootKinds,
    found: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Root,
    ShortRoot,
    Name(usize),
    Bitcode,
}

impl Kind {
    fn is_root(self) -> bool {
        matches!(self, Self::Root | Self::ShortRoot)
    }
}

impl Scanner {
    /// A scan for `roots` and for [`Mentions::NAMES`].
    pub fn new(roots: &Roots) -> Self {
        let spellings: BTreeSet<&str> =
            roots.iter().filter(|root| root.kind != RootKind::Toolchain).flat_map(|root| root.spellings()).collect();
        let mut needles = Vec::new();
        let mut shifted = Vec::new();
        for root in spellings {
            let short = root.split('/').filter(|part| !part.is_empty()).count() < 2;
            let kinds = roots.around(root);
            let needle = |bytes: &[u8], kind| Needle { roots: kinds, ..Needle::new(bytes, kind, root) };
            needles.push(needle(root.as_bytes(), if short { Kind::ShortRoot } else { Kind::Root }));
            shifted.extend(bit_streams(root.as_bytes()).map(|stream| needle(&stream, Kind::Root)));
        }
        let names = Mentions::NAMES.into_iter().enumerate();
        needles.extend(names.map(|(index, name)| Needle::new(name.as_bytes(), Kind::Name(index), name)));
        needles.push(Needle::new(BITCODE, Kind::Bitcode, ""));
        let keep = needles.iter().map(|needle| needle.finder.needle().len() + 1).max().unwrap_or(0);
        Self { needles, seen: Seen::default(), tail: Vec::new(), keep, from_start: true, shifted }
    }

    /// The next bytes.
    pub fn push(&mut self, chunk: &[u8]) {
        let head = &chunk[..chunk.len().min(self.keep)];
        let border = [self.tail.as_slice(), head].concat();
        self.search(&border, self.from_start, false);
        if chunk.len() > head.len() {
            // What begins before the chunk has been seen at the border.
            self.search(chunk, false, false);
            self.tail.clear();
            self.tail.extend_from_slice(&chunk[chunk.len() - self.keep..]);
            self.from_start = false;
        } else {
            self.from_start &= border.len() <= self.keep;
            self.tail = border[border.len().saturating_sub(self.keep)..].to_vec();
        }
    }

    /// What was found in all.
    pub fn finish(mut self) -> Seen {
        let tail = std::mem::take(&mut self.tail);
        self.search(&tail, self.from_start, true);
        self.seen
    }

    /// Searches `window`; `first` and `last` say whether the file begins and ends with it.
    fn search(&mut self, window: &[u8], first: bool, last: bool) {
        let mut bitcode = false;
        for needle in &mut self.needles {
            // Nothing more to learn from it, or from another spelling of what was found.
            if needle.found || (needle.kind.is_root() && self.seen.roots.holds(needle.roots)) {
                continue;
            }
            let len = needle.finder.needle().len();
            let stands_alone = |at: usize| {
                let before = match at.checked_sub(1) {
                    Some(at) => !is_name(window[at]) && window[at] != b'/',
                    None => first,
                };
                let after = window.get(at + len).map_or(last, |byte| !is_name(*byte));
                before && after
            };
            needle.found = match needle.kind {
                Kind::Root | Kind::Name(_) | Kind::Bitcode => needle.finder.find(window).is_some(),
                Kind::ShortRoot => needle.finder.find_iter(window).any(stands_alone),
            };
            match needle.kind {
                _ if !needle.found => {}
                Kind::Name(index) => self.seen.mentions.insert(index),
                Kind::Bitcode => bitcode = true,
                Kind::Root | Kind::ShortRoot => {
                    self.seen.roots = self.seen.roots.union(needle.roots);
                    if self.seen.spelled.as_ref().is_none_or(|shorter| shorter.len() < needle.text.len()) {
                        self.seen.spelled = Some(needle.text.clone());
                    }
                }
            }
        }
        if bitcode {
            self.needles.append(&mut self.shifted);
            self.search(window, first, last);
        }
    }
}

impl Needle {
    fn new(bytes: &[u8], kind: Kind, text: &str) -> Self {
        Self { finder: Finder::new(bytes).into_owned(), kind, text: text.to_owned(), roots: RootKinds::NONE, found: false }
    }
}

/// How bitcode spells a string: elements of 8 bits, or of 7 in plain ASCII that ends in a zero, from any bit on. Only the bytes that the
/// string fills, if they are enough to mean something.
fn bit_streams(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let spelled = move |(width, offset): (usize, usize)| {
        let mut bytes = vec![0u8; (offset + text.len() * width).div_ceil(8)];
        for (index, byte) in text.iter().enumerate() {
            for bit in (0..width).filter(|bit| byte >> bit & 1 == 1) {
                let at = offset + index * width + bit;
                bytes[at / 8] |= 1 << (at % 8);
            }
        }
        let full = usize::from(offset > 0)..(offset + text.len() * width) / 8;
        bytes.get(full).map(<[u8]>::to_vec).unwrap_or_default()
    };
    let widths = [7, 8].into_iter().filter(move |width| *width == 8 || text.is_ascii());
    let places = widths.flat_map(|width| (0..8).map(move |offset| (width, offset))).filter(|place| *place != (8, 0));
    places.map(spelled).filter(|stream| stream.len() >= 5)
}

/// A byte that can belong to the name of a path component.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+' | b'@') || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;
    use kache_model::Root;
    use proptest::prelude::*;

    fn scan(roots: &[&str], chunks: &[&[u8]]) -> Seen {
        let roots = roots.iter().map(|path| Root::new(RootKind::Workspace, *path, format!("/real{path}"))).collect();
        let mut scanner = Scanner::new(&Roots::new(roots));
        for chunk in chunks {
            scanner.push(chunk);
        }
        scanner.finish()
    }

    #[test]
    fn long_roots_count_wherever_they_stand() {
        let check = |bytes: &str, root: Option<&str>| {
            assert_eq!(scan(&["/w/app"], &[bytes.as_bytes()]).spelled.as_deref(), root, "{bytes}");
        };
        check("xyz/w/app\0", Some("/w/app"));
        check("messageabc/w/appanother", Some("/w/app"));
        check("/real/w/app", Some("/real/w/app"));
        check("/w/ap", None);
        check("", None);
    }

    #[test]
    fn short_roots_count_where_they_stand_like_a_path() {
        let check = |bytes: &str, found: bool| {
            assert_eq!(scan(&["/src"], &[bytes.as_bytes()]).spelled.is_some(), found, "{bytes:?}");
            for at in 0..bytes.len() {
                let (left, right) = bytes.as_bytes().split_at(at);
                assert_eq!(scan(&["/src"], &[left, right]).spelled.is_some(), found, "{bytes:?} at {at}");
            }
        };
        check("/src", true);
        check("\0/src\0", true);
        check("\"/src/lib.rs", true);
        check("crate/src/lib.rs", false);
        check("/src2", false);
        check("x/srcs /srcs /src-a //src", false);
        check("/srcs and then /src", true);
    }

    #[test]
    fn the_toolchain_is_not_searched_for() {
        let roots = Roots::new(vec![Root::new(RootKind::Toolchain, "/opt/rust", "/opt/rust")]);
        let mut scanner = Scanner::new(&roots);
        scanner.push(b"/opt/rust/lib");
        assert_eq!(scanner.finish(), Seen::default());
    }

    #[test]
    fn roots_in_bitcode_are_found_at_any_bit() {
        let root = b"/w/some/app";
        for (width, offset) in [7, 8].into_iter().flat_map(|width| (0..8).map(move |offset| (width, offset))) {
            // Bits of ones around the string, so that only its own bytes can match.
            let mut bits = vec![true; 32 + offset];
            bits.extend(root.iter().flat_map(|byte| (0..width).map(move |bit| byte >> bit & 1 == 1)));
            bits.extend([true; 32]);
            let bytes: Vec<u8> = bits.chunks(8).map(|bits| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect();
            let file = [&b"object"[..], BITCODE, &bytes, b"tail"].concat();
            for cut in 0..file.len() {
                let seen = scan(&["/w/some/app"], &[&file[..cut], &file[cut..]]);
                assert_eq!(seen.spelled.as_deref(), Some("/w/some/app"), "{width} bits from {offset}, cut at {cut}");
            }
            let plain = scan(&["/w/some/app"], &[&bytes]);
            assert_eq!(plain.spelled.is_some(), (width, offset) == (8, 0), "{width} bits from {offset}");
        }
    }

    fn nested() -> Roots {
        let root = |kind, path: &str| Root::new(kind, path, path);
        Roots::new(vec![
            root(RootKind::CargoHome, "/home/u/.cargo"),
            root(RootKind::Workspace, "/home/u/app"),
            root(RootKind::Target, "/home/u/app/target/debug"),
            root(RootKind::Base(0), "/home"),
            root(RootKind::Base(1), "/home/u/app"),
            Root::new(RootKind::Base(2), "/data/link", "/data/real"),
            root(RootKind::Base(3), "/src"),
        ])
    }

    fn kinds(chunks: &[&[u8]]) -> Vec<RootKind> {
        let mut scanner = Scanner::new(&nested());
        chunks.iter().for_each(|chunk| scanner.push(chunk));
        scanner.finish().roots.kinds().collect()
    }

    #[test]
    fn all_roots_that_are_spelled_are_told_and_no_others() {
        use RootKind::{Base, CargoHome, Target, Workspace};
        let check = |text: &str, expected: &[RootKind]| {
            assert_eq!(kinds(&[text.as_bytes()]), expected, "{text:?}");
            let file = [&b"x"[..], BITCODE, text.as_bytes(), b"tail"].concat();
            assert_eq!(kinds(&[&file]), expected, "{text:?} in bitcode");
        };
        check("x/home/u/.cargo/registry/src/f.c", &[CargoHome, Base(0)]);
        check("/home/u/app/target/debug/build/x", &[Workspace, Target, Base(0), Base(1)]);
        check("/home/u/app/target/release", &[Workspace, Base(0), Base(1)]);
        check("\0/home/v", &[Base(0)]);
        check("crate/home/v", &[]);
        check("abc/data/real/x", &[Base(2)]);
        check("/home/u/.cargo\0/src/x /data/link", &[CargoHome, Base(0), Base(2), Base(3)]);
        check("nothing", &[]);
    }

    #[test]
    fn names_of_path_variables_are_found() {
        let seen = scan(&[], &[b"..CARGO_MANI", b"FEST_DIROUT_DI", b"R"]);
        assert_eq!(seen.mentions.names().collect::<Vec<_>>(), ["CARGO_MANIFEST_DIR", "OUT_DIR"]);
    }

    proptest! {
        #[test]
        fn chunk_borders_change_nothing(
            parts in proptest::collection::vec("/w/app|/src|OUT_DIR|/w|[a-z/ ]{0,9}", 0..12),
            cuts in proptest::collection::vec(1..20usize, 0..20),
        ) {
            let text = parts.concat();
            let whole = scan(&["/w/app", "/src"], &[text.as_bytes()]);
            let mut rest = text.as_bytes();
            let mut chunks = Vec::new();
            for cut in cuts {
                let (chunk, after) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            chunks.push(rest);
            let pieces = scan(&["/w/app", "/src"], &chunks);
            prop_assert_eq!(whole.spelled.is_some(), pieces.spelled.is_some());
            prop_assert_eq!(whole.mentions, pieces.mentions);
            prop_assert_eq!(whole.spelled.is_some(), text.contains("/w/app") || short(&text));
        }
    }

    proptest! {
        #[test]
        fn what_is_told_is_what_a_search_for_each_root_finds(
            parts in proptest::collection::vec(
                "/home|/home/u|/[.]cargo|/app|/target/debug|/home/u/app/target/debug|/data/|link|real|/src|[a-z/ ]{0,5}", 0..14,
            ),
            cuts in proptest::collection::vec(1..30usize, 0..12),
        ) {
            let text = parts.concat();
            let mut expected = RootKinds::NONE;
            for spelling in nested().iter().flat_map(Root::spellings) {
                let spelled = match spelling {
                    "/src" | "/home" => stands_alone(&text, spelling),
                    _ => text.contains(spelling),
                };
                if spelled {
                    expected = expected.union(nested().around(spelling));
                }
            }
            let mut rest = text.as_bytes();
            let mut chunks = Vec::new();
            for cut in cuts {
                let (chunk, after) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = after;
            }
            chunks.push(rest);
            prop_assert_eq!(kinds(&chunks), expected.kinds().collect::<Vec<_>>());
        }
    }

    /// The rule for `/src` and `/real/src`, said another way.
    fn short(text: &str) -> bool {
        stands_alone(text, "/src")
    }

    fn stands_alone(text: &str, root: &str) -> bool {
        text.match_indices(root).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + root.len()..].chars().next();
            !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '/' || c == '_')
                && !after.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    }
}
