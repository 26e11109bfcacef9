//! Linker scripts that stand in the place of a library: `libc.so` and its like, a few lines of text that name the real ones.
//!
//! Only what installed libraries need is read. Anything else (`INCLUDE`, `SEARCH_DIR`, section commands) is `None`, and callers refuse then.

/// Something that a script names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// A file: an absolute path, or a name to be searched for.
    File(String),
    /// `-lNAME`.
    Library(String),
}

/// What a script names, in order; `None` if it says more than that.
pub fn named_in_script(text: &[u8]) -> Option<Vec<Named>> {
    let text = without_comments(std::str::from_utf8(text).ok()?)?;
    let spaced = text.replace('(', " ( ").replace(')', " ) ").replace([',', ';'], " ");
    let mut words = spaced.split_whitespace();
    let mut named = Vec::new();
    while let Some(command) = words.next() {
        if words.next() != Some("(") {
            return None;
        }
        match command {
            "OUTPUT_FORMAT" | "OUTPUT_ARCH" => words.by_ref().find(|word| *word == ")").map(drop)?,
            "INPUT" | "GROUP" => named.extend(list(&mut words)?),
            _ => return None,
        }
    }
    Some(named)
}

/// The list behind `INPUT (`, up to and with its `)`.
fn list<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Vec<Named>> {
    let (mut named, mut depth) = (Vec::new(), 1);
    while depth > 0 {
        match words.next()? {
            ")" => depth -= 1,
            "AS_NEEDED" => depth += i32::from(words.next()? == "("),
            word => named.push(name(word)?),
        }
    }
    Some(named)
}

/// A name without quotes and patterns.
fn name(word: &str) -> Option<Named> {
    let (library, name) = word.strip_prefix("-l").map_or((false, word), |name| (true, name));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+');
    let named = if library { Named::Library } else { Named::File };
    (!name.starts_with('-') && !name.is_empty() && name.chars().all(plain)).then(|| named(name.to_owned()))
}

fn without_comments(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, comment)) = rest.split_once("/*") {
        out.push_str(before);
        out.push(' ');
        rest = comment.split_once("*/")?.1;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_of_installed_libraries_are_read() {
        let file = |name: &str| Named::File(name.into());
        let library = |name: &str| Named::Library(name.into());
        let libc = "/* GNU ld script\n   Use the shared library. */\nOUTPUT_FORMAT(elf64-x86-64)\n\
            GROUP ( /lib/libc.so.6 /usr/lib/libc_nonshared.a  AS_NEEDED ( /lib64/ld-linux-x86-64.so.2 ) )\n";
        for (text, named) in [
            (libc, vec![file("/lib/libc.so.6"), file("/usr/lib/libc_nonshared.a"), file("/lib64/ld-linux-x86-64.so.2")]),
            ("INPUT(libncurses.so.6 -ltinfo)", vec![file("libncurses.so.6"), library("tinfo")]),
            ("GROUP ( libgcc_s.so.1, -lgcc );", vec![file("libgcc_s.so.1"), library("gcc")]),
            ("INPUT(a.a) INPUT(AS_NEEDED(-lb) c.a)", vec![file("a.a"), library("b"), file("c.a")]),
            ("", vec![]),
        ] {
            assert_eq!(named_in_script(text.as_bytes()), Some(named), "{text}");
        }
    }

    #[test]
    fn what_says_more_is_refused() {
        for text in [
            "INCLUDE other.ld",
            "SEARCH_DIR(/x) INPUT(a.a)",
            "SECTIONS { .text : { *(.text) } }",
            "INPUT(\"a b.a\")",
            "INPUT(=/a.a)",
            "INPUT($SYSROOT/a.a)",
            "INPUT(-La)",
            "INPUT(-l)",
            "INPUT(a.a",
            "INPUT a.a",
            "VERSION { V1 { *; }; }",
            "/* INPUT(a.a)",
            "a = 1;",
        ] {
            assert_eq!(named_in_script(text.as_bytes()), None, "{text}");
        }
        assert_eq!(named_in_script(b"\x7fELF\xff"), None);
    }
}
