//! SHA-256 digests, one type per kind of thing they name, and the encoding that is hashed.
//!
//! The encoding is *specified*, not derived: every field goes in as `tag, length, bytes` (lengths as 8 bytes
//! little-endian), so two different structs can't spell the same byte string. Keys never travel between
//! versions that disagree about it: each key's domain string ends in a version number.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// 32 bytes of SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// A text that should have been 64 lowercase hex digits.
#[derive(Debug, thiserror::Error)]
#[error("not a digest (64 lowercase hex digits): {0:?}")]
pub struct ParseDigestError(String);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Takes 32 bytes that are a digest already (from an index row, a hasher).
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lowercase hex digits.
    pub fn to_hex(&self) -> String {
        let mut out = String::with_capacity(64);
        for byte in self.0 {
            for nibble in [byte >> 4, byte & 15] {
                out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        out
    }
}

impl std::str::FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let refuse = || ParseDigestError(text.chars().take(80).collect());
        let hex = text.as_bytes();
        if hex.len() != 64 {
            return Err(refuse());
        }
        let nibble = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        for (slot, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            let (Some(high), Some(low)) = (nibble(pair[0]), nibble(pair[1])) else {
                return Err(refuse());
            };
            *slot = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex()[..16])
    }
}

/// Hex where people read (JSON), 32 plain bytes where they don't (index rows).
impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.serialize_str(&self.to_hex()) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self)
        }
    }
}

macro_rules! named_digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Digest);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<Self, ParseDigestError> {
                text.parse().map(Self)
            }
        }
    };
}

named_digest! {
    /// Names everything about an invocation that is known before any source file is read.
    UnitKey
}
named_digest! {
    /// Names a unit together with the contents of one input set: what went *in*. Dependents are keyed by it, because it
    /// is known as soon as rustc has written its dep-info, long before the outputs are complete.
    ContentKey
}
named_digest! {
    /// Names one result (`cache_key`): the content key, plus the literal roots when the result is bound to them and the
    /// diagnostic options when it holds diagnostics.
    ArtifactKey
}
named_digest! {
    /// Names the bytes of one output file.
    BlobId
}

/// Feeds tagged, length-prefixed fields to SHA-256.
#[derive(Debug)]
pub struct Encoder(Sha256);

impl Encoder {
    /// Starts a digest in a domain of its own, for instance `kache.unit.v2`.
    pub fn new(domain: &str) -> Self {
        let mut encoder = Self(Sha256::new());
        encoder.field("domain", domain.as_bytes());
        encoder
    }

    /// One field: tag and value, each with its length in front.
    pub fn field(&mut self, tag: &str, value: &[u8]) -> &mut Self {
        for part in [tag.as_bytes(), value] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// A field that may be missing; missing and empty differ.
    pub fn optional(&mut self, tag: &str, value: Option<&[u8]>) -> &mut Self {
        match value {
            Some(value) => self.field(tag, &[b"+", value].concat()),
            None => self.field(tag, b"-"),
        }
    }

    /// A list whose order counts: its length, then each item.
    pub fn list<T: AsRef<[u8]>>(&mut self, tag: &str, items: impl IntoIterator<Item = T>) -> &mut Self {
        let items: Vec<T> = items.into_iter().collect();
        self.field(tag, &(items.len() as u64).to_le_bytes());
        for item in &items {
            self.field("", item.as_ref());
        }
        self
    }

    /// The digest of all fields so far.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_refuses_anything_else() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest.to_hex().parse::<Digest>().unwrap(), digest);
        for bad in ["", "ab", &digest.to_hex().to_uppercase(), &"g".repeat(64)] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn moving_a_byte_between_fields_or_items_changes_the_digest() {
        let two = |a: &str, b: &str| {
            let mut encoder = Encoder::new("test");
            encoder.field("a", a.as_bytes()).field("b", b.as_bytes());
            encoder.finish()
        };
        assert_ne!(two("xy", "z"), two("x", "yz"));
        let list = |items: &[&str]| {
            let mut encoder = Encoder::new("test");
            encoder.list("l", items);
            encoder.finish()
        };
        assert_ne!(list(&["a,b"]), list(&["a", "b"]));
        assert_ne!(list(&[]), list(&[""]));
        let optional = |value: Option<&[u8]>| {
            let mut encoder = Encoder::new("test");
            encoder.optional("o", value);
            encoder.finish()
        };
        assert_ne!(optional(None), optional(Some(b"")));
    }

    #[test]
    fn json_is_hex_and_rows_are_bytes() {
        let id = BlobId(Digest::of(b"abc"));
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
        assert_eq!(postcard::to_stdvec(&id).unwrap(), id.0.as_bytes());
    }
}
