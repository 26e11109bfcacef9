//! Text that may be shown on a terminal, whoever wrote it.
//!
//! A terminal obeys what it is shown: sequences of control characters set titles, write to the clipboard, move the cursor, answer on the keyboard's
//! behalf. rustc colours its messages (`ESC [ … m`) and does nothing beyond that, unless `-Z terminal-urls` asks for links.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether `text` (what rustc wrote, Cargo's JSON lines among it) makes a terminal do nothing but show it, in colours. In lines of JSON the characters
/// count that their escapes stand for, for that is what Cargo prints.
pub fn is_harmless(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    text.lines().all(|line| {
        let json = line.trim_start().starts_with('{');
        shows_only(line.chars()) && (!json || shows_only(Unescaped(line)))
    })
}

/// `text` for a terminal: colours stay, other control characters than line ends and tabs are spelled as JSON spells them.
pub fn tame(text: &str) -> Cow<'_, str> {
    if !text.contains(|c: char| c.is_control() && c != '\n') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let len = if c == '\u{1b}' { colour(rest).unwrap_or(0) } else { 0 };
        if len > 0 {
            out.push_str(&rest[..len]);
        } else if c.is_control() && !matches!(c, '\n' | '\t') {
            let _infallible = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
        rest = &rest[len.max(c.len_utf8())..];
    }
    out.into()
}

/// How long the sequence at the beginning of `text` is, if it does nothing but set colours.
fn colour(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !is_parameter(c))?;
    parameters[end..].starts_with('m').then_some("\u{1b}[".len() + end + 1)
}

fn is_parameter(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, ';' | ':')
}

fn shows_only(text: impl Iterator<Item = char>) -> bool {
    let mut text = text.peekable();
    while let Some(c) = text.next() {
        match c {
            '\u{1b}' => {
                if text.next() != Some('[') {
                    return false;
                }
                while text.next_if(|c| is_parameter(*c)).is_some() {}
                if text.next() != Some('m') {
                    return false;
                }
            }
            // A form feed is a line end to a terminal; sources have it.
            '\n' | '\t' | '\u{c}' => {}
            '\r' if matches!(text.peek(), None | Some('\n')) => {}
            _ if c.is_control() => return false,
            _ => {}
        }
    }
    true
}

/// The characters of a line of JSON, those within its strings as they are meant.
struct Unescaped<'a>(&'a str);

impl Iterator for Unescaped<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let (c, len) = match self.0.as_bytes() {
            [b'\\', b'u', ..] => {
                let code = self.0.get(2..6).and_then(|digits| u32::from_str_radix(digits, 16).ok());
                // Halves of a pair stand for nothing that controls.
                (code.and_then(char::from_u32).unwrap_or('\u{fffd}'), if code.is_some() { 6 } else { 2 })
            }
            [b'\\', escaped, ..] if escaped.is_ascii() => {
                let c = match escaped {
                    b'n' => '\n',
                    b't' => '\t',
                    b'r' => '\r',
                    b'b' => '\u{8}',
                    b'f' => '\u{c}',
                    other => char::from(*other),
                };
                (c, 2)
            }
            _ => self.0.chars().next().map(|c| (c, c.len_utf8()))?,
        };
        self.0 = self.0.get(len..)?;
        Some(c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_text_are_harmless() {
        for text in [
            "",
            "warning: unused\n --> src/lib.rs\r\n",
            "\u{1b}[0m\u{1b}[1m\u{1b}[38;5;9merror\u{1b}[0m\u{1b}[m",
            "\u{1b}[38:2::1:2:3mx",
            "naïve — 日本\t\u{c}",
            r#"{"rendered":"\u001b[1m\u001b[33mwarning\u001b[0m: x\n\t\"\u00e9\ud83d\ude00\""}"#,
            // What a message shows of a source.
            r#"{"rendered":"let x = \"\\u001b]0;title\\u0007\";"}"#,
            r#"let x = "\u001b]0;title\u0007";"#,
        ] {
            assert!(is_harmless(text.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn everything_else_that_a_terminal_obeys_is_not() {
        let parts = [
            "\u{1b}]0;title\u{7}",
            "\u{1b}]8;;https://a.example\u{1b}\\x",
            "\u{1b}]52;c;aGk=\u{7}",
            "\u{1b}[2J",
            "\u{1b}[1;1H",
            "\u{1b}[?25l",
            "\u{1b}[6n",
            "\u{1b}[1\u{1b}[m",
            "\u{1b}P+q\u{1b}\\",
            "\u{1b}c",
            "\u{1b}",
            "\u{1b}[",
            "\u{7}",
            "a\u{8}b",
            "ok\rnot",
            "\u{9b}2J",
            "\u{90}",
            "\u{7f}",
            "\u{0}",
            "\u{b}",
        ];
        for part in parts {
            let text = format!("warning: {part} x\n");
            assert!(!is_harmless(text.as_bytes()), "{text:?}");
            let escaped: String = part.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            for line in [format!("{{\"rendered\":\"{escaped}\"}}\n"), format!("ok\n  {{\"rendered\":\"\\\\{escaped} x\"}}")] {
                assert!(!is_harmless(line.as_bytes()), "{line:?}");
            }
        }
        assert!(!is_harmless(br#"{"rendered":"a\b"}"#) && !is_harmless(b"\xff") && !is_harmless(b"\x9b2J"));
    }

    #[test]
    fn what_is_tamed_keeps_its_letters() {
        assert_eq!(tame("serde é\n\t"), "serde é\n\t");
        assert_eq!(
            tame("\u{1b}[1ma\u{1b}]0;x\u{7}\u{9b}é\u{1b}[2J\u{1b}[m\r\u{1b}["),
            "\u{1b}[1ma\\u001b]0;x\\u0007\\u009bé\\u001b[2J\u{1b}[m\\u000d\\u001b["
        );
        assert!(matches!(tame("serde"), Cow::Borrowed(_)));
    }
}
