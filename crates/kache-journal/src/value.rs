//! What is kept of a variable's value.
//!
//! Promise: a value is kept as text only if the variable's name is in [`HARMLESS`], a short table of what Cargo and rustc are told by everybody's
//! builds, and the text isn't an address with a password. Of every other there is a digest under a random key of this machine: whether it changed
//! can be told, what it was can't be guessed without the key.

use kache_model::{Digest, Encoder};
use serde::{Deserialize, Serialize};

/// Variables whose values people may read: by exact name, by beginning (`NAME*`) or by ending (`*NAME`).
const HARMLESS: [&str; 23] = [
    "CARGO_BIN_EXE_*",
    "CARGO_BIN_NAME",
    "CARGO_CRATE_NAME",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_LINKS",
    "CARGO_MANIFEST_PATH",
    "CARGO_PKG_*",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_TMPDIR",
    "CLIPPY_CONF_DIR",
    "DEVELOPER_DIR",
    "HOST",
    "LIBRARY_PATH",
    "OPT_LEVEL",
    "OUT_DIR",
    "PROFILE",
    "RUSTC_BOOTSTRAP",
    "RUST_TARGET_PATH",
    "SDKROOT",
    "SOURCE_DATE_EPOCH",
    "SYSROOT",
    "TARGET",
    "*_DEPLOYMENT_TARGET",
];

/// A variable's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// There was none.
    Unset,
    /// The value.
    Text(String),
    /// One that isn't shown: its digest under the machine's key.
    Hidden(Digest),
    /// There was one, and nothing else is known of it: what an artifact in the store or the bucket tells.
    Untold,
}

/// Random bytes that only this machine has; without any, no two values can be told apart.
#[derive(Clone, Default)]
pub struct HidingKey(Option<[u8; 32]>);

impl HidingKey {
    /// With these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Some(bytes))
    }

    /// What is kept of a text that isn't shown.
    pub fn digest(&self, name: &str, text: &str) -> Digest {
        let Some(key) = &self.0 else { return Digest::of(b"") };
        let mut encoder = Encoder::new("kache.hidden.v1");
        encoder.field("key", key).field("name", name.as_bytes()).field("text", text.as_bytes());
        encoder.finish()
    }
}

impl std::fmt::Debug for HidingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HidingKey")
    }
}

impl Value {
    /// What is kept of the value of `name`.
    pub fn of(name: &str, value: Option<&str>, key: &HidingKey) -> Self {
        match value {
            None => Self::Unset,
            Some(text) if is_harmless(name) && !has_password(text) => Self::Text(text.to_owned()),
            Some(text) => Self::Hidden(key.digest(name, text)),
        }
    }
}

fn is_harmless(name: &str) -> bool {
    HARMLESS.iter().any(|pattern| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(ending), _) => name.ends_with(ending),
        (_, Some(beginning)) => name.starts_with(beginning),
        _ => name == *pattern,
    })
}

/// `https://user:password@host/path`.
fn has_password(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| rest.split('/').next().is_some_and(|host| host.contains('@')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_values_are_kept_and_a_change_of_the_others_shows() {
        let (key, other) = (HidingKey::new([1; 32]), HidingKey::new([2; 32]));
        for (name, value) in [
            ("FOO", "abc"),
            ("DATABASE_URL", "postgres://db/prod"),
            ("CARGO_REGISTRY_TOKEN", "abc"),
            ("CARGO_PKG_REPOSITORY", "https://me:secret@host/r"),
            ("EMPTY", ""),
        ] {
            let Value::Hidden(digest) = Value::of(name, Some(value), &key) else { panic!("{name}") };
            assert_eq!(Value::of(name, Some(value), &key), Value::Hidden(digest));
            assert_ne!(Value::of(name, Some("another"), &key), Value::Hidden(digest));
            assert_ne!(Value::of("OTHER", Some(value), &key), Value::Hidden(digest));
            assert_ne!(Value::of(name, Some(value), &other), Value::Hidden(digest));
            assert_ne!(digest, Digest::of(value.as_bytes()));
        }
        for (name, value) in [("CARGO_PKG_HOMEPAGE", "https://example.com/@me"), ("OUT_DIR", "/t/out"), ("MACOSX_DEPLOYMENT_TARGET", "")] {
            assert_eq!(Value::of(name, Some(value), &key), Value::Text(value.to_owned()), "{name}");
        }
        assert_eq!(Value::of("FOO", None, &key), Value::Unset);
        let none = HidingKey::default();
        assert_eq!(Value::of("FOO", Some("1"), &none), Value::of("FOO", Some("2"), &none));
        assert!(!format!("{key:?}").contains('1'));
    }
}
