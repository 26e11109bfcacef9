//! A small lexer for Rust source: enough to tell code from strings and comments, and to match delimiters.
//!
//! Promises: ordinary comments vanish, doc comments and string literals become tokens of their own, every identifier that rustc would see
//! is a token (raw identifiers without their `r#`). What it can't read for certain is `None`, and callers refuse then.
//! Doesn't tell keywords from identifiers and doesn't join punctuation.

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// Identifier, keyword or number.
    Word(&'a str),
    /// A string literal without prefix: its value, and whether it was written without escapes.
    Str { value: String, plain: bool },
    /// Any other literal, a lifetime or a doc comment: its text.
    Text(&'a str),
    /// One of `( [ {`.
    Open(char),
    /// One of `) ] }`.
    Close(char),
    /// Any other character.
    Punct(char),
}

impl Token<'_> {
    /// Whether the token is that identifier.
    pub(crate) fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word(text) if *text == word)
    }
}

/// The tokens of a source file, or `None` if it can't be read for certain.
pub(crate) fn tokens(source: &[u8]) -> Option<Vec<Token<'_>>> {
    let text = std::str::from_utf8(source).ok()?;
    // White space to rustc, letters to a simple mind.
    if text.contains(['\u{85}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}']) {
        return None;
    }
    let mut lexer = Lexer { rest: text.strip_prefix('\u{feff}').unwrap_or(text), out: Vec::new() };
    lexer.skip_shebang();
    while !lexer.rest.is_empty() {
        lexer.step()?;
    }
    Some(lexer.out)
}

struct Lexer<'a> {
    rest: &'a str,
    out: Vec<Token<'a>>,
}

impl<'a> Lexer<'a> {
    /// `#!` begins a shebang unless an attribute follows.
    fn skip_shebang(&mut self) {
        if let Some(after) = self.rest.strip_prefix("#!")
            && !after.trim_start().starts_with('[')
        {
            self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
        }
    }

    fn take(&mut self, len: usize) -> &'a str {
        let (token, rest) = self.rest.split_at(len);
        self.rest = rest;
        token
    }

    fn step(&mut self) -> Option<()> {
        let mut chars = self.rest.chars();
        let first = chars.next()?;
        match first {
            _ if first.is_ascii_whitespace() || first == '\u{b}' => drop(self.take(1)),
            '/' if self.rest.starts_with("//") => self.line_comment(),
            '/' if self.rest.starts_with("/*") => self.block_comment()?,
            '"' => self.string()?,
            '\'' => self.quote()?,
            _ if is_word(first) => self.word()?,
            '(' | '[' | '{' => {
                self.take(1);
                self.out.push(Token::Open(first));
            }
            ')' | ']' | '}' => {
                self.take(1);
                self.out.push(Token::Close(first));
            }
            _ => {
                self.take(first.len_utf8());
                self.out.push(Token::Punct(first));
            }
        }
        Some(())
    }

    fn line_comment(&mut self) {
        let text = self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
        let doc = (text.starts_with("///") && !text.starts_with("////")) || text.starts_with("//!");
        if doc {
            self.out.push(Token::Text(text));
        }
    }

    fn block_comment(&mut self) -> Option<()> {
        let bytes = self.rest.as_bytes();
        let (mut at, mut depth) = (2, 1);
        while depth > 0 {
            match bytes.get(at..at + 2)? {
                b"/*" => {
                    depth += 1;
                    at += 2;
                }
                b"*/" => {
                    depth -= 1;
                    at += 2;
                }
                _ => at += 1,
            }
        }
        let text = self.take(at);
        let doc = (text.starts_with("/**") && !text.starts_with("/***") && text != "/**/") || text.starts_with("/*!");
        if doc {
            self.out.push(Token::Text(text));
        }
        Some(())
    }

    /// `"…"`, escapes undone.
    fn string(&mut self) -> Option<()> {
        let len = quoted_len(self.rest, '"')?;
        let body = &self.take(len)[1..len - 1];
        let plain = !body.contains('\\');
        let value = if plain { body.to_owned() } else { unescape(body)? };
        self.out.push(Token::Str { value, plain });
        Some(())
    }

    /// A character literal or a lifetime.
    fn quote(&mut self) -> Option<()> {
        let mut chars = self.rest.chars().skip(1);
        let (first, second) = (chars.next()?, chars.next());
        let len = if first == '\\' {
            quoted_len(self.rest, '\'')?
        } else if second == Some('\'') {
            2 + first.len_utf8()
        } else if is_word(first) {
            1 + self.rest[1..].find(|c| !is_word(c)).unwrap_or(self.rest.len() - 1)
        } else {
            return None;
        };
        let text = self.take(len);
        self.out.push(Token::Text(text));
        Some(())
    }

    /// An identifier or number; or the prefix of a literal.
    fn word(&mut self) -> Option<()> {
        let len = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let (word, after) = self.rest.split_at(len);
        match (word, after.chars().next()) {
            ("r" | "br" | "cr", Some('"' | '#')) => {
                let hashes = after.len() - after.trim_start_matches('#').len();
                if after[hashes..].starts_with('"') {
                    return self.raw_string(word, hashes);
                }
                // `r#name`
                if word == "r" && hashes == 1 && after[1..].starts_with(is_word) {
                    self.take(2);
                    return self.word();
                }
            }
            ("b" | "c", Some('"')) => return self.prefixed(len, '"'),
            ("b", Some('\'')) => return self.prefixed(len, '\''),
            _ => {}
        }
        let word = self.take(len);
        self.out.push(Token::Word(word));
        Some(())
    }

    fn prefixed(&mut self, prefix: usize, quote: char) -> Option<()> {
        let len = prefix + quoted_len(&self.rest[prefix..], quote)?;
        let text = self.take(len);
        self.out.push(Token::Text(text));
        Some(())
    }

    fn raw_string(&mut self, prefix: &str, hashes: usize) -> Option<()> {
        let start = prefix.len() + hashes + 1;
        let end = format!("\"{}", "#".repeat(hashes));
        let body_len = self.rest[start..].find(&end)?;
        let text = self.take(start + body_len + end.len());
        let body = &text[start..start + body_len];
        self.out.push(if prefix == "r" { Token::Str { value: body.to_owned(), plain: true } } else { Token::Text(text) });
        Some(())
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric() || !c.is_ascii()
}

/// The length of a literal that begins with `quote`, both quotes included.
fn quoted_len(text: &str, quote: char) -> Option<usize> {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next()?;
        } else if c == quote {
            return Some(at + 1);
        }
    }
    None
}

fn unescape(body: &str) -> Option<String> {
    let mut out = String::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let kind = rest[at + 1..].chars().next()?;
        rest = &rest[at + 1 + kind.len_utf8()..];
        match kind {
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            '0' => out.push('\0'),
            '\\' | '\'' | '"' => out.push(kind),
            '\n' => rest = rest.trim_start_matches([' ', '\t', '\n', '\r']),
            '\r' if rest.starts_with('\n') => rest = rest.trim_start_matches([' ', '\t', '\n', '\r']),
            'x' => {
                out.push(char::from(u8::from_str_radix(rest.get(..2)?, 16).ok()?));
                rest = &rest[2..];
            }
            'u' => {
                let (digits, after) = rest.strip_prefix('{')?.split_once('}')?;
                out.push(char::from_u32(u32::from_str_radix(&digits.replace('_', ""), 16).ok()?)?);
                rest = after;
            }
            _ => return None,
        }
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(source: &str, expected: &[Token<'_>]) {
        assert_eq!(tokens(source.as_bytes()).unwrap(), expected, "{source}");
    }

    fn plain(value: &str) -> Token<'static> {
        Token::Str { value: value.into(), plain: true }
    }

    #[test]
    fn strings_of_all_kinds() {
        check(r##"r#"a"b"# r"c" "d""##, &[plain("a\"b"), plain("c"), plain("d")]);
        check(r#"b"x" c"y" br"z" b'"' '"'"#, &["b\"x\"", "c\"y\"", "br\"z\"", "b'\"'", "'\"'"].map(Token::Text));
        check(r#""O\x55T\u{5f}D""#, &[Token::Str { value: "OUT_D".into(), plain: false }]);
        check("\"a\\\n   b\"", &[Token::Str { value: "ab".into(), plain: false }]);
        check("r#env", &[Token::Word("env")]);
        check("r", &[Token::Word("r")]);
    }

    #[test]
    fn quotes_are_lifetimes_or_characters() {
        check("<'a>", &[Token::Punct('<'), Token::Text("'a"), Token::Punct('>')]);
        check(r"'\'' 'é' '(' 'static", &[r"'\''", "'é'", "'('", "'static"].map(Token::Text));
    }

    #[test]
    fn comments_vanish_and_doc_comments_stay() {
        check("a // \"\n b /* /* ' */ \" */ c", &[Token::Word("a"), Token::Word("b"), Token::Word("c")]);
        check("//// no\n/**/ /*** no */", &[]);
        check("/// x\n//! y\n/** z *//*! w */", &["/// x", "//! y", "/** z */", "/*! w */"].map(Token::Text));
        check("#!/bin/sh \"\nx", &[Token::Word("x")]);
        check("#![x]", &[Token::Punct('#'), Token::Punct('!'), Token::Open('['), Token::Word("x"), Token::Close(']')]);
    }

    #[test]
    fn what_does_not_end_is_refused() {
        for bad in ["\"", "r#\"x\"", "/* /* */", "'", "b'", "\"\\q\"", "x\u{2028}y", "\"\\u{110000}\""] {
            assert_eq!(tokens(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(tokens(b"\xff"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>(), code in "[a-z!#r\"'\\\\(){}/* \\n]{0,40}") {
            tokens(text.as_bytes());
            tokens(code.as_bytes());
        }
    }
}
