//! The index: one redb file, and the only place that knows its tables.
//!
//! Promises:
//! - A damaged file is set aside and an empty index begun: the cache gets colder, no build fails.
//! - After an I/O error (disk full) the database is opened again from its last durable state, so that reading goes on.
//! - Rows that decide what a build gets carry a checksum over key and value; a damaged row is reported, never decoded into something else.
//!
//! Doesn't know what rows mean: that is `publish`, `evict` and `memo`.

use crate::error::{FileError, OpenError, StoreError};
use crate::private;
use kache_model::Digest;
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// Raised when tables or rows change meaning without the file's name changing.
pub(crate) const FORMAT: u32 = 1;
/// Pages that redb keeps in memory. Lookups of a warm build touch a few MiB.
const CACHE_BYTES: usize = 24 << 20;
/// Bytes of checksum in front of a row.
const CHECKSUM: usize = 8;

pub(crate) type Key = &'static [u8; 32];
pub(crate) type Bytes = &'static [u8];

/// Artifact key → checked ([`kache_model::Artifact`], id of its input set, [`kache_model::Linked`]).
pub(crate) const ARTIFACTS: TableDefinition<'_, Key, Bytes> = TableDefinition::new("artifacts");
/// Artifact key → (last use in milliseconds since the epoch, bytes of its row).
pub(crate) const USES: TableDefinition<'_, Key, (u64, u32)> = TableDefinition::new("uses");
/// Blob → (length, mtime in nanoseconds, generation, artifacts that refer to it).
pub(crate) const BLOBS: TableDefinition<'_, Key, (u64, i64, u32, u32)> = TableDefinition::new("blobs");
/// Blob → (ctime in nanoseconds, inode); a blob without is hashed before its next use.
pub(crate) const LOOKS: TableDefinition<'_, Key, (i64, u64)> = TableDefinition::new("looks");
/// Unit key → number of its artifacts.
pub(crate) const UNITS: TableDefinition<'_, Key, u32> = TableDefinition::new("units");
/// Unit key → checked list of [`kache_model::InputSet`], newest first.
pub(crate) const SETS: TableDefinition<'_, Key, Bytes> = TableDefinition::new("input_sets");
/// Unit key → checked [`kache_model::UnitOutline`].
pub(crate) const OUTLINES: TableDefinition<'_, Key, Bytes> = TableDefinition::new("outlines");
/// What earlier versions kept in its place; it held values of variables.
const UNIT_INPUTS: TableDefinition<'_, Key, Bytes> = TableDefinition::new("unit_inputs");
/// Artifact that waits for its upload → a byte of the caller's.
pub(crate) const PENDING: TableDefinition<'_, Key, u8> = TableDefinition::new("uploads");
/// Path → (age, bytes of the caller's).
pub(crate) const OUTPUTS: TableDefinition<'_, &str, (u64, Bytes)> = TableDefinition::new("outputs");
/// Age → path, to find the oldest.
pub(crate) const OUTPUT_AGES: TableDefinition<'_, u64, &str> = TableDefinition::new("output_ages");
/// Name → bytes of the caller's.
pub(crate) const MEMOS: TableDefinition<'_, &str, Bytes> = TableDefinition::new("memos");
/// `format`, `generation`, `clean`, `suspects`.
pub(crate) const META: TableDefinition<'_, &str, Bytes> = TableDefinition::new("meta");

/// Why a transaction failed, before it is known which file that was.
#[derive(Debug)]
pub(crate) enum Fault {
    Redb(Box<redb::Error>),
    Row { table: &'static str, key: String },
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Redb(Box::new(error.into()))
    }
}

/// The open database.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    /// `None` only when it could not be opened again after a failure.
    db: RwLock<Option<Database>>,
}

impl Index {
    /// Opens or creates the file; a damaged one is set aside.
    pub(crate) fn open(path: PathBuf) -> Result<Self, OpenError> {
        let db = open_or_set_aside(&path)?;
        Ok(Self { path, db: RwLock::new(Some(db)) })
    }

    /// Runs `ask` on the current state.
    pub(crate) fn read<T>(&self, ask: impl FnOnce(&ReadTransaction) -> Result<T, Fault>) -> Result<T, StoreError> {
        self.with(|db| ask(&db.begin_read()?))
    }

    /// Runs `change` and commits it: visible at once, on the disk with the next [`Index::make_durable`].
    pub(crate) fn write<T>(&self, change: impl FnOnce(&WriteTransaction) -> Result<T, Fault>) -> Result<T, StoreError> {
        self.commit(Durability::None, change)
    }

    /// Like [`Index::write`], and returns when the disk has this change and all earlier ones. Takes an fsync or two.
    pub(crate) fn write_durably<T>(&self, change: impl FnOnce(&WriteTransaction) -> Result<T, Fault>) -> Result<T, StoreError> {
        self.commit(Durability::Immediate, change)
    }

    fn commit<T>(&self, durability: Durability, change: impl FnOnce(&WriteTransaction) -> Result<T, Fault>) -> Result<T, StoreError> {
        self.with(|db| {
            let mut transaction = db.begin_write()?;
            transaction.set_durability(durability)?;
            // Without it, opening after a kill walks the whole file.
            transaction.set_quick_repair(matches!(durability, Durability::Immediate));
            let value = change(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })
    }

    fn with<T>(&self, run: impl FnOnce(&Database) -> Result<T, Fault>) -> Result<T, StoreError> {
        let guard = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let Some(db) = guard.as_ref() else {
            return Err(self.error(redb::Error::DatabaseClosed));
        };
        guarded(|| run(db)).map_err(|fault| match fault {
            Fault::Redb(source) => StoreError::Index { path: self.path.clone(), source },
            Fault::Row { table, key } => StoreError::Row { table, key },
        })
    }

    fn error(&self, source: redb::Error) -> StoreError {
        StoreError::Index { path: self.path.clone(), source: Box::new(source) }
    }

    /// Opens the file again after `error`, if that can help. True if so: what isn't durable is lost, so memory must be filled anew.
    pub(crate) fn recover(&self, error: &StoreError) -> bool {
        let StoreError::Index { source, .. } = error else { return false };
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        drop(catch_unwind(AssertUnwindSafe(|| drop(db.take()))));
        if matches!(**source, redb::Error::Corrupted(_)) {
            drop(set_aside(&self.path));
        }
        *db = open_or_set_aside(&self.path).ok();
        db.is_some()
    }

    /// Whether nothing more can be asked before [`Index::recover`].
    pub(crate) fn is_broken_by(error: &StoreError) -> bool {
        matches!(error, StoreError::Index { .. })
    }

    /// Sets the file aside because of `error`, if that is damage, and begins an empty one.
    pub(crate) fn start_anew(&self, error: StoreError) -> Result<(), OpenError> {
        let StoreError::Index { source, .. } = &error else { return Ok(()) };
        if !shows_damage(source) {
            return Err(FileError::new("read", &self.path, std::io::Error::other(error)).into());
        }
        self.close();
        set_aside(&self.path)?;
        *self.db.write().unwrap_or_else(PoisonError::into_inner) = Some(open_or_set_aside(&self.path)?);
        Ok(())
    }

    /// Closes the file.
    pub(crate) fn close(&self) {
        drop(self.db.write().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// A damaged file can make the database panic; that is one more way of being told.
fn guarded<T>(run: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err(redb::Error::Corrupted("the database gave up on a damaged file".to_owned()).into()))
}

fn open_or_set_aside(path: &Path) -> Result<Database, OpenError> {
    let newer = |found| OpenError::Newer { path: path.to_owned(), found, known: FORMAT };
    match guarded(|| open_checked(path)) {
        Ok((db, FORMAT)) => return Ok(db),
        Ok((_, found)) => return Err(newer(found)),
        Err(Fault::Redb(source)) => match *source {
            redb::Error::Io(source) if !is_damage(&source) => return Err(FileError::new("open", path, source).into()),
            redb::Error::UpgradeRequired(found) => return Err(newer(u32::from(found))),
            other if !shows_damage(&other) => return Err(FileError::new("open", path, std::io::Error::other(other)).into()),
            _ => {}
        },
        Err(Fault::Row { .. }) => {}
    }
    set_aside(path)?;
    match guarded(|| open_checked(path)) {
        Ok((db, _)) => Ok(db),
        Err(Fault::Redb(source)) => Err(OpenError::Corrupt { path: path.to_owned(), source }),
        Err(Fault::Row { table, .. }) => {
            Err(OpenError::Corrupt { path: path.to_owned(), source: Box::new(redb::Error::Corrupted(table.to_owned())) })
        }
    }
}

/// Whether the file is to blame: it holds what was never written there. Everything else (no space, another program that has it open) passes.
fn shows_damage(error: &redb::Error) -> bool {
    use redb::Error;
    match error {
        Error::Io(source) => is_damage(source),
        Error::Corrupted(_) | Error::TableTypeMismatch { .. } | Error::TypeDefinitionChanged { .. } => true,
        Error::TableIsMultimap(_) | Error::TableIsNotMultimap(_) => true,
        _ => false,
    }
}

/// A file that ends too early, or isn't one of redb's.
fn is_damage(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData)
}

/// Opens the database with all its tables and returns its format.
fn open_checked(path: &Path) -> Result<(Database, u32), Fault> {
    // The database would make it as the umask has it.
    drop(private::open_file(path).map_err(redb::Error::Io)?);
    let db = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
    let transaction = db.begin_write()?;
    let format = {
        let mut meta = transaction.open_table(META)?;
        let found = meta.get("format")?.map(|row| <[u8; 4]>::try_from(row.value()).map_or(0, u32::from_le_bytes));
        match found {
            Some(0) => return Err(Fault::Row { table: "meta", key: "format".to_owned() }),
            Some(found) => found,
            None => {
                meta.insert("format", FORMAT.to_le_bytes().as_slice())?;
                FORMAT
            }
        }
    };
    if format == FORMAT {
        // Reading a table that was never opened for writing is an error; after this, none is missing.
        if transaction.delete_table(UNIT_INPUTS)? {
            // Artifacts of that time hold values in their dep-info, and have keys that nobody asks for any more.
            transaction.delete_table(PENDING)?;
        }
        for table in [ARTIFACTS, SETS, OUTLINES] {
            transaction.open_table(table)?;
        }
        transaction.open_table(USES)?;
        transaction.open_table(BLOBS)?;
        transaction.open_table(LOOKS)?;
        transaction.open_table(UNITS)?;
        transaction.open_table(PENDING)?;
        transaction.open_table(OUTPUTS)?;
        transaction.open_table(OUTPUT_AGES)?;
        transaction.open_table(MEMOS)?;
        transaction.commit()?;
    }
    Ok((db, format))
}

/// Renames a damaged index away; only the latest such file is kept.
fn set_aside(path: &Path) -> Result<(), FileError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("index-v1.corrupt-") {
            drop(fs::remove_file(entry.path()));
        }
    }
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    fs::rename(path, dir.join(format!("index-v1.corrupt-{seconds}"))).map_err(|source| FileError::new("set aside", path, source))
}

/// Spells a row: checksum, then postcard.
pub(crate) fn encode(key: &Digest, value: &impl Serialize) -> Result<Vec<u8>, Fault> {
    let mut row = vec![0; CHECKSUM];
    row = postcard::to_extend(value, row).map_err(|_| redb::Error::ValueTooLarge(0))?;
    let checksum = checksum(key, &row[CHECKSUM..]);
    row[..CHECKSUM].copy_from_slice(&checksum);
    Ok(row)
}

/// Reads a row back.
pub(crate) fn decode<T: DeserializeOwned>(table: &'static str, key: &Digest, row: &[u8]) -> Result<T, Fault> {
    let damaged = || Fault::Row { table, key: key.to_hex() };
    let (found, body) = row.split_at_checked(CHECKSUM).ok_or_else(damaged)?;
    if found != checksum(key, body) {
        return Err(damaged());
    }
    postcard::from_bytes(body).map_err(|_| damaged())
}

fn checksum(key: &Digest, body: &[u8]) -> [u8; CHECKSUM] {
    use sha2::Digest as _;
    let digest = sha2::Sha256::new().chain_update(key.as_bytes()).chain_update(body).finalize();
    let mut short = [0; CHECKSUM];
    short.copy_from_slice(&digest[..CHECKSUM]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_with_values_of_an_earlier_version_go_and_so_do_its_uploads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index-v1.redb");
        let index = Index::open(path.clone()).unwrap();
        let key = [7; 32];
        let pending = |index: &Index| index.read(|transaction| Ok(transaction.open_table(PENDING)?.get(&key)?.is_some())).unwrap();
        let mark = |transaction: &WriteTransaction| -> Result<(), Fault> {
            transaction.open_table(PENDING)?.insert(&key, 3)?;
            Ok(())
        };
        index.write_durably(mark).unwrap();
        drop(index);
        let index = Index::open(path.clone()).unwrap();
        assert!(pending(&index));
        let earlier = |transaction: &WriteTransaction| {
            transaction.open_table(UNIT_INPUTS)?.insert(&key, b"values".as_slice())?;
            Ok(())
        };
        index.write_durably(earlier).unwrap();
        drop(index);
        let index = Index::open(path).unwrap();
        assert!(!pending(&index));
        let there = index.read(|transaction| Ok(transaction.list_tables()?.any(|table| redb::TableHandle::name(&table) == "unit_inputs")));
        assert!(!there.unwrap());
    }
}
