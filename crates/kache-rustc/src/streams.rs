//! Looks at what rustc printed: which lines are notices for Cargo, and whether anything is left for a person.

/// An artifact that rustc said it had written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Its path as rustc spelled it.
    pub path: String,
    /// Its `--emit` kind.
    pub emit: String,
}

/// How an artifact notice begins.
const NOTICE: &[u8] = br#"{"$message_type":"artifact","#;

/// Whether standard error holds anything but artifact notices, so that options which shape diagnostics have shaped it.
pub fn has_diagnostics(stderr: &[u8]) -> bool {
    lines(stderr).any(|line| announced(line).is_none())
}

/// Whether a compile that failed did so for what its source says: each of its errors points into a source, and none is about a file that can't be
/// read. All others (a full disk, a linker, a module that isn't there: no list of inputs holds it) may be gone the next time.
pub fn fails_by_source(stderr: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stderr);
    if text.contains("(os error ") || text.contains(NO_SUCH_MODULE) {
        return false;
    }
    let (mut errors, mut pointed) = (0, 0);
    let mut open = false;
    for line in text.lines() {
        if line.starts_with('{') {
            let is_error = line.contains(r#""level":"error""#) && !line.contains(r#""message":"aborting due to "#);
            errors += u32::from(is_error);
            pointed += u32::from(is_error && line.contains(r#""level":"error","spans":[{"#));
            continue;
        }
        let line = uncoloured(line);
        if line.starts_with("error: aborting due to ") {
            open = false;
        } else if line.starts_with("error:") || line.starts_with("error[") {
            (errors, open) = (errors + 1, true);
        } else if open && line.trim_start().starts_with("--> ") {
            (pointed, open) = (pointed + 1, false);
        }
    }
    errors > 0 && errors == pointed
}

/// The code of the error about a module without a file. rustc writes dep-info nevertheless, without the file's name.
const NO_SUCH_MODULE: &str = "E0583";

/// Whether standard error names a file that rustc left beside its outputs: the full text of a type that was too long to show.
pub fn names_file(stderr: &[u8]) -> bool {
    memchr::memmem::find(stderr, b".long-type-").is_some()
}

/// A line without its colour sequences.
fn uncoloured(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, part| out + part.split_once('m').map_or("", |(_, text)| text))
}

/// The artifacts that standard error announces, in order.
pub fn announcements(stderr: &[u8]) -> impl Iterator<Item = Announced> {
    lines(stderr).filter_map(announced)
}

/// Reads a line (without its newline) as an artifact notice.
pub fn announced(line: &[u8]) -> Option<Announced> {
    if !line.starts_with(NOTICE) {
        return None;
    }
    let text = std::str::from_utf8(line).ok()?.strip_suffix('}')?;
    let (mut path, mut emit) = (None, None);
    let mut rest = text.strip_prefix('{')?;
    loop {
        let (name, after) = json_string(rest)?;
        let (value, after) = json_string(after.strip_prefix(':')?)?;
        match name.as_str() {
            "$message_type" => {}
            "artifact" => path = Some(value),
            "emit" => emit = Some(value),
            _ => return None,
        }
        if after.is_empty() {
            return Some(Announced { path: path?, emit: emit? });
        }
        rest = after.strip_prefix(',')?;
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).filter(|line| !line.is_empty())
}

/// A JSON string at the front of `text`, and what follows it.
fn json_string(text: &str) -> Option<(String, &str)> {
    let mut chars = text.strip_prefix('"')?.char_indices();
    let mut out = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &text[at + 2..])),
            '\\' => out.push(match chars.next()?.1 {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'u' => {
                    let digits: String = (0..4).filter_map(|_| chars.next()).map(|(_, digit)| digit).collect();
                    char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?
                }
                other => other,
            }),
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const METADATA: &str = r#"{"$message_type":"artifact","artifact":"/t/a \"b\"/libx.rmeta","emit":"metadata"}"#;

    #[test]
    fn only_artifact_notices_are_no_diagnostics() {
        let link = METADATA.replace("metadata", "link");
        let check = |stderr: &str, yes: bool| assert_eq!(has_diagnostics(stderr.as_bytes()), yes, "{stderr}");
        check("", false);
        check(&format!("{METADATA}\n{link}\n"), false);
        check(&format!("{METADATA}\n{{\"$message_type\":\"diagnostic\"}}\n"), true);
        check("warning: x\n", true);
        check(r#"{"$message_type":"artifact","more":"x","artifact":"a","emit":"b"}"#, true);
        check(r#"{"$message_type":"artifact","artifact":"a"#, true);
    }

    #[test]
    fn a_failure_is_the_sources_if_every_error_points_into_it() {
        let check = |stderr: &str, yes: bool| assert_eq!(fails_by_source(stderr.as_bytes()), yes, "{stderr}");
        let mismatch = "error[E0308]: mismatched types\n --> a.rs:1:31\n  |\n1 | x\n";
        let end = "error: aborting due to 1 previous error\n\nFor more information about this error, try `rustc --explain E0308`.\n";
        check(&format!("{mismatch}\n{end}"), true);
        check(&format!("warning: unused\n --> a.rs:1:1\n\n{mismatch}{mismatch}{end}"), true);
        check("\u{1b}[1m\u{1b}[91merror\u{1b}[0m\u{1b}[1m: oh\u{1b}[0m\n  \u{1b}[1m\u{1b}[94m--> \u{1b}[0ma.rs:1:1\n", true);
        let json = |level: &str, spans: &str, message: &str| {
            format!(
                "{{\"$message_type\":\"diagnostic\",\"message\":\"{message}\",\"code\":null,\"level\":\"{level}\",\"spans\":[{spans}]}}\n"
            )
        };
        let (pointing, last) = (json("error", "{\"file_name\":\"a.rs\"}", "oh"), json("error", "", "aborting due to 1 previous error"));
        check(&format!("{pointing}{last}"), true);

        for other in [
            "",
            "error: linking with `cc` failed: exit status: 1\n",
            "error: error writing dependencies to `out/n.d`: No space left on device (os error 28)\n",
            "error: unknown codegen option: `x`\n",
            "error: internal compiler error: no hint of a place\n",
            "warning: unused\n --> a.rs:1:1\n",
        ] {
            check(other, false);
            check(&format!("warning: unused\n --> a.rs:1:1\n\n{other}\n{end}"), false);
        }
        check(&format!("error: linking with `cc` failed\n\n{mismatch}{end}"), false);
        check("error: couldn't read `x`: No such file or directory (os error 2)\n --> a.rs:1:1\n", false);
        check("error[E0583]: file not found for module `x`\n --> a.rs:1:1\n", false);
        check(&format!("{pointing}{}{last}", json("error", "", "linking failed")), false);
        check(&json("warning", "{\"file_name\":\"a.rs\"}", "oh"), false);
    }

    #[test]
    fn a_file_with_the_whole_of_a_type_is_noticed() {
        assert!(names_file(b"  = note: the full name for the type has been written to '/t/x.long-type-12.txt'\n"));
        assert!(!names_file(b"error[E0308]: mismatched types\n"));
    }

    #[test]
    fn announced_paths_are_unescaped() {
        let found: Vec<Announced> = announcements(format!("x\n{METADATA}\n").as_bytes()).collect();
        assert_eq!(found, [Announced { path: "/t/a \"b\"/libx.rmeta".into(), emit: "metadata".into() }]);
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_not(tail in "[a-z\"\\\\:,{}u0-9é]{0,40}") {
            announced(format!("{}{tail}", String::from_utf8_lossy(NOTICE)).as_bytes());
        }
    }
}
