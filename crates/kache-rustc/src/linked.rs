//! Native libraries that the *source* names, by `#[link(name = "…")]`: no argument tells of them, rustc looks them up all the same.

use crate::lexer::{self, Token};
use kache_model::Linked;

/// The names in `#[link(…)]` attributes of these sources, also behind `cfg_attr`, and whether a macro fills one in. A source that can't be
/// read for certain is taken word by word: whatever stands in quotes after `name =` counts.
pub fn linked(sources: &[&[u8]]) -> Linked {
    let mut linked = Linked::default();
    for source in sources.iter().filter(|source| memchr::memmem::find(source, b"link").is_some()) {
        match lexer::tokens(source) {
            Some(tokens) => add_attributes(&tokens, &mut linked),
            None => add_words(source, &mut linked),
        }
    }
    linked
}

fn add_attributes(tokens: &[Token<'_>], linked: &mut Linked) {
    for at in 0..tokens.len() {
        if !(tokens[at].is("link") && tokens.get(at + 1) == Some(&Token::Open('('))) {
            continue;
        }
        let inside = tokens[at + 2..].split(|token| *token == Token::Close(')')).next().unwrap_or_default();
        let is_attribute = at > 0 && matches!(tokens[at - 1], Token::Open('[') | Token::Punct(','));
        // `$name`, `$($arguments)*`
        linked.by_macro |= is_attribute && inside.contains(&Token::Punct('$'));
        for window in inside.windows(3) {
            match window {
                [name, Token::Punct('='), value] if name.is("name") => match value {
                    Token::Str { value, .. } => drop(linked.names.insert(value.clone())),
                    // `concat!(…)`
                    _ => linked.by_macro |= is_attribute,
                },
                _ => {}
            }
        }
    }
}

fn add_words(source: &[u8], linked: &mut Linked) {
    let text = String::from_utf8_lossy(source);
    for value in text.split("name").skip(1).filter_map(|part| part.trim_start().strip_prefix('=')) {
        match value.trim_start().strip_prefix('"') {
            Some(quoted) => linked.names.extend(quoted.split_once('"').map(|(name, _)| name.to_owned())),
            None => linked.by_macro |= value.trim_start().starts_with(['$', 'c']),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::linked;

    #[test]
    fn names_are_found_wherever_the_attribute_stands() {
        let found = |source: &str| linked(&[source.as_bytes()]).names.into_iter().collect::<Vec<_>>();
        assert_eq!(found("#[link(name = \"z\", kind = \"static\")] unsafe extern \"C\" {}"), ["z"]);
        assert_eq!(found("#[cfg_attr(unix, link(kind = \"static\", name = \"a\"))] #[link(name=\"b\")] extern {}"), ["a", "b"]);
        assert!(found("// #[link(name = \"z\")]\nfn link() {} struct A { name: u8 }").is_empty());
        assert_eq!(found("\u{2028} #[link(name = \"z\")] extern {}"), ["z"]);
    }

    #[test]
    fn names_that_a_macro_fills_in_are_noticed() {
        for (source, by_macro) in [
            ("macro_rules! m { ($n:literal) => { #[link(name = $n)] extern \"C\" {} } }", true),
            ("macro_rules! m { ($n:literal) => { #[cfg_attr(unix, link(kind = \"static\", name = $n))] extern \"C\" {} } }", true),
            ("macro_rules! m { ($($t:tt)*) => { #[link($($t)*)] extern \"C\" {} } }", true),
            ("#[link(name = concat!(\"a\", \"b\"))] extern {}", true),
            ("\u{2028} #[link(name = $n)] extern {}", true),
            ("#[link(name = \"z\", kind = \"static\")] extern {}", false),
            ("macro_rules! m { ($a:expr) => { std::fs::hard_link($a); $a.link($a) } }", false),
        ] {
            assert_eq!(linked(&[source.as_bytes()]).by_macro, by_macro, "{source}");
        }
    }
}
