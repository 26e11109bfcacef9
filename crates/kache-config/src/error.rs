//! What can be wrong with a configuration, as an operator reads it: where, which key, what was expected.

use crate::layers::Origin;
use figment::error::{Actual, Kind};
use std::path::PathBuf;

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file is missing or unreadable.
    #[error("{}{path} can't be read: {cause}", if *.named { "KACHE_CONFIG: " } else { "" }, path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Whether `KACHE_CONFIG` names it.
        named: bool,
        /// Why.
        cause: std::io::Error,
    },
    /// A file isn't TOML.
    #[error("{path}: {message}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and cause.
        message: String,
    },
    /// A file holds a key that doesn't exist.
    #[error("{origin}: unknown key `{key}`{}", hint(.nearest.as_deref()))]
    UnknownKey {
        /// Where.
        origin: Origin,
        /// The key with the tables above it.
        key: String,
        /// A key that exists and differs by a few letters.
        nearest: Option<String>,
    },
    /// A value is of the wrong kind or out of bounds.
    #[error("{}: {message}", place(.origin, .key))]
    Value {
        /// Where.
        origin: Origin,
        /// The key with the tables above it.
        key: String,
        /// What was expected and what was found.
        message: String,
    },
    /// A key that has no default is missing.
    #[error("{origin}: `{key}` is missing: expected {expected}")]
    Missing {
        /// The file or variable that makes it necessary.
        origin: Origin,
        /// The key with the tables above it.
        key: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
    /// One half of a pair of variables is set.
    #[error("{set} is set, but {missing} isn't: set both, or neither")]
    HalfPair {
        /// The one that is there.
        set: &'static str,
        /// The one that isn't.
        missing: &'static str,
    },
    /// A variable's value isn't UTF-8.
    #[error("{variable}: the value isn't UTF-8")]
    NonUtf8 {
        /// Its name.
        variable: &'static str,
    },
    /// Nothing says where the cache may live.
    #[error("no place for the cache: set KACHE_CACHE_DIR, or HOME")]
    NoCacheDir,
    /// `~` without a home.
    #[error("{origin}: `~` needs HOME to be an absolute path")]
    NoHome {
        /// Where the `~` stands.
        origin: Origin,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default()
}

/// A variable is a key by itself; in a file the key has to be named.
fn place(origin: &Origin, key: &str) -> String {
    match origin {
        Origin::Variable(name) => name.clone(),
        _ => format!("{origin}: `{key}`"),
    }
}

impl ConfigError {
    /// What figment found wrong with the layer that came from `origin`.
    pub(crate) fn from_figment(origin: Origin, error: figment::Error) -> Self {
        // Which of a list's items it is can be seen from the item.
        let key = error.path.iter().filter(|part| part.parse::<usize>().is_err()).cloned().collect::<Vec<_>>().join(".");
        let beside = |name: &str| key.rsplit_once('.').map_or(name.to_owned(), |(table, _)| format!("{table}.{name}"));
        match error.kind {
            Kind::UnknownField(field, known) => {
                let nearest = nearest(&field, known.iter().copied()).map(beside);
                Self::UnknownKey { origin, key, nearest }
            }
            Kind::UnknownVariant(found, known) => {
                let known: Vec<String> = known.iter().map(|known| format!("{known:?}")).collect();
                Self::Value { origin, key, message: format!("expected {}, found {found:?}", known.join(" or ")) }
            }
            Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
                let expected = in_words(&expected);
                Self::Value { origin, key, message: format!("expected {expected}, found {}", actual(&found)) }
            }
            other => Self::Value { origin, key, message: other.to_string() },
        }
    }
}

/// What a deserialiser expects, in TOML's words.
fn in_words(expected: &str) -> &str {
    match expected {
        "a map" => "a table",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        other if other.starts_with("struct ") => "a table",
        other => other,
    }
}

fn actual(found: &Actual) -> String {
    match found {
        Actual::Str(text) => format!("{text:?}"),
        Actual::Unsigned(number) => number.to_string(),
        Actual::Signed(number) => number.to_string(),
        Actual::Bool(value) => value.to_string(),
        Actual::Float(number) => number.to_string(),
        Actual::Map => "a table".to_owned(),
        Actual::Seq => "a list".to_owned(),
        other => other.to_string(),
    }
}

/// The known name that is a slip of the fingers away from `name`.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |known: &&str| strsim::damerau_levenshtein(name, known);
    known.into_iter().min_by_key(near).filter(|known| near(known) <= 2.max(name.len() / 4))
}
