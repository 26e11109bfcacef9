//! `_builds/{index_key}.json.zst`: what a finished session used, in the order in which it asked, so that the next machine can fetch ahead.
//!
//! A hint, like every index: an entry that is wrong costs a fetch that nobody wanted. Bounded when read ([`MAX_INDEX_BYTES`], [`MAX_ENTRIES`]).

use crate::descriptor::{check_format, corrupt, too_large};
use crate::error::RemoteError;
use crate::name::PackageName;
use kache_model::{ArtifactKey, UnitKey};
use serde::{Deserialize, Serialize};
use std::io::Read;

/// Largest index that is read, bytes of JSON.
pub const MAX_INDEX_BYTES: u64 = 16 << 20;

/// Most entries that are written or read.
pub const MAX_ENTRIES: usize = 20_000;

/// zstd level: an index is small and written once per session.
const LEVEL: i32 = 9;

/// zstd window, log2 of bytes: as much as an index may hold.
const WINDOW_LOG: u32 = 24;

const FORMAT: u32 = 1;

/// What one session used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildIndex {
    /// The toolchain, for people.
    pub toolchain: String,
    /// The host triple, for people.
    pub host: String,
    /// In the order of demand.
    pub entries: Vec<IndexEntry>,
}

/// One artifact that a session used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEntry {
    /// Package name as in `Cargo.lock`.
    #[serde(with = "package")]
    pub package: PackageName,
    /// The artifact.
    pub artifact: ArtifactKey,
    /// Its unit.
    pub unit: UnitKey,
    /// Size of the packed object, bytes; 0 if nobody knew.
    pub bytes: u64,
    /// What the compile took, milliseconds of wall time.
    pub compile_millis: u64,
}

#[derive(Serialize, Deserialize)]
struct BuildIndexJson {
    format: u32,
    #[serde(flatten)]
    index: BuildIndex,
}

impl BuildIndex {
    /// The object's bytes. Entries beyond [`MAX_ENTRIES`] are left out.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if it can't be encoded.
    pub fn write(&self) -> Result<Vec<u8>, RemoteError> {
        let mut index = self.clone();
        index.entries.truncate(MAX_ENTRIES);
        let json = serde_json::to_vec(&BuildIndexJson { format: FORMAT, index });
        let json = json.map_err(|error| corrupt(format!("the build index can't be written: {error}")))?;
        zstd::bulk::compress(&json, LEVEL).map_err(|error| corrupt(format!("the build index can't be compressed: {error}")))
    }

    /// Reads the object.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) or [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt).
    pub fn read(object: &[u8]) -> Result<Self, RemoteError> {
        let json = decompress(object)?;
        check_format("the build index", &json, FORMAT)?;
        let parsed: BuildIndexJson = serde_json::from_slice(&json).map_err(|error| corrupt(format!("the build index: {error}")))?;
        if parsed.index.entries.len() > MAX_ENTRIES {
            return Err(too_large("the entries of the build index", MAX_ENTRIES as u64));
        }
        Ok(parsed.index)
    }
}

mod package {
    use crate::name::PackageName;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(name: &PackageName, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(name.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PackageName, D::Error> {
        let text = String::deserialize(deserializer)?;
        PackageName::new(&text).ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &"a package's name"))
    }
}

fn decompress(object: &[u8]) -> Result<Vec<u8>, RemoteError> {
    let fail = |error: std::io::Error| corrupt(format!("the build index: {error}"));
    let mut decoder = zstd::stream::read::Decoder::with_buffer(object).map_err(fail)?;
    decoder.window_log_max(WINDOW_LOG).map_err(fail)?;
    let mut json = Vec::new();
    decoder.take(MAX_INDEX_BYTES + 1).read_to_end(&mut json).map_err(fail)?;
    if json.len() as u64 > MAX_INDEX_BYTES {
        return Err(too_large("the build index", MAX_INDEX_BYTES));
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use kache_model::Digest;

    fn index(entries: usize) -> BuildIndex {
        let entry = |number: usize| IndexEntry {
            package: PackageName::new(&format!("p{number}")).unwrap(),
            artifact: ArtifactKey(Digest::of(&number.to_le_bytes())),
            unit: UnitKey(Digest::of(b"unit")),
            bytes: 7,
            compile_millis: 5,
        };
        BuildIndex { toolchain: "rustc 1.95.0".into(), host: "x86_64-unknown-linux-gnu".into(), entries: (0..entries).map(entry).collect() }
    }

    #[test]
    fn keeps_the_order_of_demand() {
        let written = index(100).write().unwrap();
        assert_eq!(BuildIndex::read(&written).unwrap(), index(100));
        assert!(written.len() < 100 * 64, "{}", written.len());
    }

    #[test]
    fn refuses_bombs_other_formats_and_damage() {
        let kind = |object: &[u8]| BuildIndex::read(object).unwrap_err().kind();
        let packed = |json: &[u8]| zstd::bulk::compress(json, 1).unwrap();
        assert_eq!(kind(&packed(&vec![b' '; 40 << 20])), ErrorKind::TooLarge);
        assert_eq!(kind(&packed(br#"{"format":2}"#)), ErrorKind::Corrupt);
        let json = serde_json::to_string(&BuildIndexJson { format: FORMAT, index: index(1) }).unwrap();
        assert_eq!(kind(&packed(json.replace("p0", "../p0").as_bytes())), ErrorKind::Corrupt);
        assert_eq!(kind(b"plain"), ErrorKind::Corrupt);
        assert_eq!(kind(b""), ErrorKind::Corrupt);
        let whole = index(3).write().unwrap();
        assert_eq!(kind(&whole[..whole.len() - 5]), ErrorKind::Corrupt);
    }

    #[test]
    fn too_many_entries_are_neither_written_nor_read() {
        let written = index(MAX_ENTRIES + 1).write().unwrap();
        assert_eq!(BuildIndex::read(&written).unwrap().entries.len(), MAX_ENTRIES);
        let json = serde_json::to_vec(&BuildIndexJson { format: FORMAT, index: index(MAX_ENTRIES + 1) }).unwrap();
        assert_eq!(BuildIndex::read(&zstd::bulk::compress(&json, 1).unwrap()).unwrap_err().kind(), ErrorKind::TooLarge);
    }
}
