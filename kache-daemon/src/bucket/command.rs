//! What a Cargo was asked to do, as far as it decides which units it needs.

/// Options without influence on which units are built, with the number of words that follow them.
const IDLE: [(&str, usize); 20] = [
    ("-v", 0),
    ("-vv", 0),
    ("--verbose", 0),
    ("-q", 0),
    ("--quiet", 0),
    ("--locked", 0),
    ("--offline", 0),
    ("--frozen", 0),
    ("--keep-going", 0),
    ("--no-fail-fast", 0),
    ("--timings", 0),
    ("--ignore-rust-version", 0),
    ("--future-incompat-report", 0),
    ("--color", 1),
    ("--message-format", 1),
    ("-j", 1),
    ("--jobs", 1),
    ("--target-dir", 1),
    ("--manifest-path", 1),
    ("-C", 1),
];

const SHORT: [(&str, &str); 5] = [("b", "build"), ("c", "check"), ("t", "test"), ("r", "run"), ("d", "doc")];

/// The words of a command line (with the program's name) that count, in an order of their own.
pub(crate) fn essence(words: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = words.iter().skip(1).take_while(|word| *word != "--").map(String::as_str);
    while let Some(word) = words.next() {
        let name = word.split_once('=').map_or(word, |(name, _)| name);
        let has_value = name != word || word.starts_with("-j");
        match IDLE.iter().find(|(option, _)| *option == name || (*option == "-j" && word.starts_with("-j"))) {
            Some((option, values)) if !has_value || option == &word => words.by_ref().take(*values).for_each(drop),
            Some(_) => {}
            None if word.starts_with('+') => {}
            None => kept.push(long(word).to_owned()),
        }
    }
    kept.sort();
    kept
}

/// The value of `--manifest-path`.
pub(crate) fn manifest_path(words: &[String]) -> Option<&str> {
    let at = words.iter().position(|word| word.starts_with("--manifest-path"))?;
    words[at].split_once('=').map(|(_, value)| value).or_else(|| words.get(at + 1).map(String::as_str))
}

fn long(word: &str) -> &str {
    SHORT.iter().find(|(short, _)| *short == word).map_or(word, |(_, long)| long)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn what_decides_the_units_is_kept() {
        for (line, kept) in [
            ("cargo build", "build"),
            ("/x/cargo b -v --locked", "build"),
            ("cargo +nightly build --release -j 4", "--release build"),
            ("cargo build -j4 --color always -q", "build"),
            ("cargo build --color=always --message-format json", "build"),
            ("cargo test -p a --features x,y", "--features -p a test x,y"),
            ("cargo run -- --password secret", "run"),
            ("cargo build -v -p a", "-p a build"),
            ("cargo", ""),
        ] {
            assert_eq!(essence(&words(line)).join(" "), kept, "{line}");
        }
    }

    #[test]
    fn a_manifest_elsewhere_is_found() {
        assert_eq!(manifest_path(&words("cargo build --manifest-path a/Cargo.toml")), Some("a/Cargo.toml"));
        assert_eq!(manifest_path(&words("cargo build --manifest-path=b/Cargo.toml -v")), Some("b/Cargo.toml"));
        assert_eq!(manifest_path(&words("cargo build")), None);
    }
}
