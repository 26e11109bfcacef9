//! Builds on disk: `builds-v1/<id>.json.zst` below the cache directory, one file each.
//!
//! Promises: a file appears whole or not at all (temporary name, then a rename); one that can't be read is left out with a warning, and its place
//! is taken by later ones; all together take no more than [`MAX_BYTES`].

use kache_journal::Build;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Raised when fields change meaning; files of other versions are left out.
const VERSION: u32 = 2;

/// zstd level: written once per build, on a thread that nobody waits for.
const LEVEL: i32 = 3;

/// All files together; beyond that, the oldest go.
const MAX_BYTES: u64 = 64 << 20;

/// One build, unpacked: a file that says it holds more is damaged.
const MAX_UNPACKED: u64 = 256 << 20;

/// The directory.
#[derive(Debug)]
pub(super) struct Shelf {
    dir: PathBuf,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    build: &'a Build,
}

#[derive(Deserialize)]
struct Found {
    version: u32,
    build: Build,
}

impl Shelf {
    pub(super) fn below(cache_dir: &Path) -> Self {
        Self { dir: cache_dir.join("builds-v1") }
    }

    /// All builds that can be read, in no order. Called at the start, before anything is written: what a killed daemon was writing goes.
    pub(super) fn read(&self) -> Vec<Build> {
        self.remove_leftovers();
        self.files()
            .into_iter()
            .filter_map(|(_, path, _)| {
                read(&path)
                    .inspect_err(|error| {
                        tracing::warn!(path = %path.display(), %error, "a build of the journal can't be read; it is left out");
                    })
                    .ok()
            })
            .collect()
    }

    /// Writes or replaces a build's file. Failing is a line in the log.
    pub(super) fn write(&self, build: &Build) {
        let written = pack(build).and_then(|bytes| {
            fs::create_dir_all(&self.dir)?;
            let temporary = self.dir.join(format!(".{}.tmp", build.id));
            fs::write(&temporary, bytes)?;
            fs::rename(&temporary, self.path(build.id))
        });
        if let Err(error) = written {
            tracing::warn!(dir = %self.dir.display(), %error, "a build can't be written into the journal");
        }
        self.make_room();
    }

    fn remove_leftovers(&self) {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let leftover =
            |entry: &fs::DirEntry| entry.file_name().to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(".tmp"));
        entries.filter(leftover).for_each(|entry| drop(fs::remove_file(entry.path())));
    }

    pub(super) fn remove(&self, id: u64) {
        let _gone = fs::remove_file(self.path(id));
    }

    fn make_room(&self) {
        let mut files = self.files();
        files.sort();
        let mut bytes: u64 = files.iter().map(|(_, _, len)| len).sum();
        for (_, path, len) in files {
            if bytes <= MAX_BYTES {
                break;
            }
            let _gone = fs::remove_file(path);
            bytes -= len;
        }
    }

    /// Files of builds: number, path, length.
    fn files(&self) -> Vec<(u64, PathBuf, u64)> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let file = |entry: fs::DirEntry| {
            let id = entry.file_name().to_str()?.strip_suffix(".json.zst")?.parse().ok()?;
            Some((id, entry.path(), entry.metadata().ok()?.len()))
        };
        entries.filter_map(file).collect()
    }

    fn path(&self, id: u64) -> PathBuf {
        self.dir.join(format!("{id}.json.zst"))
    }
}

fn pack(build: &Build) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(&Written { version: VERSION, build })?;
    zstd::bulk::compress(&json, LEVEL)
}

fn read(path: &Path) -> io::Result<Build> {
    let decoder = zstd::stream::read::Decoder::new(fs::File::open(path)?)?;
    let mut json = Vec::new();
    decoder.take(MAX_UNPACKED).read_to_end(&mut json)?;
    let Found { version, build } = serde_json::from_slice(&json)?;
    if version != VERSION {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("version {version}, not {VERSION}")));
    }
    Ok(build)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(id: u64) -> Build {
        Build {
            id,
            dir: "/w".into(),
            command: "cargo build".into(),
            began_millis: 1,
            wall_micros: 2,
            running: false,
            records: Vec::new(),
            left_out: 0,
        }
    }

    #[test]
    fn what_is_written_is_read_and_what_is_damaged_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::below(dir.path());
        assert!(shelf.read().is_empty());
        for id in [1, 2, 3] {
            shelf.write(&build(id));
        }
        let good = fs::read(shelf.path(2)).unwrap();
        for damage in
            [Vec::new(), b"no zstd".to_vec(), good[..good.len() / 2].to_vec(), zstd::bulk::compress(b"{\"version\":9}", 1).unwrap()]
        {
            fs::write(shelf.path(2), damage).unwrap();
            let mut ids: Vec<u64> = shelf.read().iter().map(|build| build.id).collect();
            ids.sort_unstable();
            assert_eq!(ids, [1, 3]);
        }
        fs::write(dir.path().join("builds-v1/.7.tmp"), "half a build").unwrap();
        shelf.write(&build(2));
        assert!(shelf.read().contains(&build(2)));
        shelf.remove(2);
        assert_eq!(shelf.read().len(), 2);
        assert_eq!(fs::read_dir(dir.path().join("builds-v1")).unwrap().count(), 2, "no leftovers");
    }
}
