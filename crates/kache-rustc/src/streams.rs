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
