//! Whether assembly in the sources may include a file: the assembler reads it, and no dep-info tells.

use crate::lexer::{self, Token};

/// The macros that hand text to the assembler.
const MACROS: &[&str] = &["asm", "global_asm", "naked_asm"];

/// Whether an `asm!` or its kin in these sources holds `.incbin` or `.include`, or text that another macro makes. A source that can't be read for
/// certain may.
pub fn assembly_may_include(sources: &[&[u8]]) -> bool {
    let assembles = |source: &&&[u8]| memchr::memmem::find(source, b"asm").is_some();
    sources.iter().filter(assembles).any(|source| lexer::tokens(source).is_none_or(|tokens| includes(&tokens)))
}

fn includes(tokens: &[Token<'_>]) -> bool {
    tokens.windows(3).enumerate().any(|(at, window)| match window {
        [Token::Word(name), Token::Punct('!'), Token::Open(_)] if MACROS.contains(name) => {
            arguments(&tokens[at + 3..]).any(|token| match token {
                Token::Str { value, .. } => value.contains(".inc"),
                Token::Text(text) => text.contains(".inc"),
                // `concat!`, `include_str!`, `$text`
                Token::Punct(punct) => matches!(punct, '!' | '$'),
                _ => false,
            })
        }
        // `macro_rules! m { ($name:ident) => { $name!(…) } }`, `use core::arch::global_asm as x;`
        [Token::Word(name), next, _] => MACROS.contains(name) && next.is("as"),
        _ => false,
    })
}

/// The tokens up to the delimiter that closes the group.
fn arguments<'t, 'a>(tokens: &'t [Token<'a>]) -> impl Iterator<Item = &'t Token<'a>> {
    let mut depth = 1_usize;
    tokens.iter().take_while(move |token| {
        match token {
            Token::Open(_) => depth += 1,
            Token::Close(_) => depth -= 1,
            _ => {}
        }
        depth > 0
    })
}

#[cfg(test)]
mod tests {
    use super::assembly_may_include;

    #[test]
    fn only_assembly_that_names_a_file_or_may_do_so_includes_one() {
        for (source, expected) in [
            (r#"global_asm!(".incbin \"x\"");"#, true),
            (r##"core::arch::global_asm!(r#".include "x""#);"##, true),
            (r#"fn f() { unsafe { asm!("nop", concat!(".in", "cbin x")) } }"#, true),
            (r#"global_asm!(include_str!("x.s"));"#, true),
            ("macro_rules! m { ($x:expr) => { global_asm!($x); } }", true),
            ("use core::arch::global_asm as assemble;", true),
            (r#"global_asm!("unterminated);"#, true),
            (r#"fn f() { unsafe { asm!("mov {}, 1", out(reg) x, options(nomem)) } } const X: &str = ".incbin";"#, false),
            (r#"// global_asm!(".incbin")"#, false),
            ("fn main() {}", false),
        ] {
            assert_eq!(assembly_may_include(&[source.as_bytes()]), expected, "{source}");
        }
    }
}
