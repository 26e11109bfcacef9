//! Native libraries that the *source* names, by `#[link(name = "…")]`: no argument tells of them, rustc looks them up all the same.

use crate::lexer::{self, Token};
use std::collections::BTreeSet;

/// The names in `#[link(…)]` attributes of these sources, also behind `cfg_attr`. A source that can't be read for certain is taken word by
/// word: whatever stands in quotes after `name =` counts.
pub fn linked_names(sources: &[&[u8]]) -> BTreeSet<String> {
    sources.iter().filter(|source| memchr::memmem::find(source, b"link").is_some()).flat_map(|source| names_in(source)).collect()
}

fn names_in(source: &[u8]) -> Vec<String> {
    let Some(tokens) = lexer::tokens(source) else { return quoted_names(source) };
    let mut names = Vec::new();
    for at in 0..tokens.len() {
        if !(tokens[at].is("link") && tokens.get(at + 1) == Some(&Token::Open('('))) {
            continue;
        }
        let inside = tokens[at + 2..].split(|token| *token == Token::Close(')')).next().unwrap_or_default();
        for window in inside.windows(3) {
            if let [name, Token::Punct('='), Token::Str { value, .. }] = window
                && name.is("name")
            {
                names.push(value.clone());
            }
        }
    }
    names
}

fn quoted_names(source: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(source);
    let behind =
        |part: &str| part.trim_start().strip_prefix('=')?.trim_start().strip_prefix('"')?.split_once('"').map(|(name, _)| name.to_owned());
    text.split("name").skip(1).filter_map(behind).collect()
}

#[cfg(test)]
mod tests {
    use super::linked_names;

    #[test]
    fn names_are_found_wherever_the_attribute_stands() {
        let found = |source: &str| linked_names(&[source.as_bytes()]).into_iter().collect::<Vec<_>>();
        assert_eq!(found("#[link(name = \"z\", kind = \"static\")] unsafe extern \"C\" {}"), ["z"]);
        assert_eq!(found("#[cfg_attr(unix, link(kind = \"static\", name = \"a\"))] #[link(name=\"b\")] extern {}"), ["a", "b"]);
        assert!(found("// #[link(name = \"z\")]\nfn link() {} struct A { name: u8 }").is_empty());
        assert_eq!(found("\u{2028} #[link(name = \"z\")] extern {}"), ["z"]);
    }
}
