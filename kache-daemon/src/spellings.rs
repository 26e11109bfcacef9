//! Which variables the code of proc macros can spell: see [`kache_rustc::candidates`] for why that matters.
//!
//! A library is searched once for each name that a build's environment brings, and what was found is kept beside the store: names come back with
//! every build, so a hit reads no library. Promise: a library that can't be read any more spells everything.

use aho_corasick::AhoCorasick;
use kache_model::{BlobId, Digest};
use kache_store::Store;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Above this many the map in memory starts afresh; the store still knows them.
const MAX_LIBRARIES: usize = 20_000;

/// By library: each name that was searched for, and whether it is there.
#[derive(Debug, Default)]
pub(crate) struct Spellings(Mutex<HashMap<Digest, Library>>);

#[derive(Debug, Default)]
struct Library {
    searched: BTreeMap<String, bool>,
    /// Where the library was seen last.
    at: Option<PathBuf>,
    /// What the last question came to: builds ask the same again and again.
    last: Option<(Vec<String>, Arc<BTreeSet<String>>)>,
}

impl Spellings {
    /// Notes where a library lies that may be asked about.
    pub(crate) fn seen_at(&self, library: Digest, path: &Path) {
        self.with(library, |known| known.at = Some(path.to_owned()));
    }

    /// Those of `names` that the library spells.
    pub(crate) fn among(&self, store: &Store, library: Digest, names: &[&str]) -> Arc<BTreeSet<String>> {
        let (at, mut searched) = {
            let answer = self.with(library, |known| match &known.last {
                Some((asked, answer)) if asked == names => Ok(Arc::clone(answer)),
                _ => Err((known.at.clone(), known.searched.clone())),
            });
            match answer {
                Ok(answer) => return answer,
                Err(known) => known,
            }
        };
        let memo = format!("spells-1/{library}");
        if searched.is_empty() {
            searched = store.memo(&memo).and_then(|bytes| postcard::from_bytes(&bytes).ok()).unwrap_or_default();
        }
        let new: Vec<&str> = names.iter().copied().filter(|name| !searched.contains_key(*name)).collect();
        if !new.is_empty() {
            let Some(bytes) = read(store, library, at.as_deref()) else {
                return Arc::new(names.iter().map(|name| (*name).to_owned()).collect());
            };
            let found = search(&bytes, &new);
            searched.extend(new.iter().map(|name| ((*name).to_owned(), found.contains(name))));
            if let Ok(bytes) = postcard::to_stdvec(&searched) {
                store.set_memo(&memo, bytes);
            }
        }
        let spelled = names.iter().filter(|name| searched.get(**name) == Some(&true)).map(|name| (*name).to_owned()).collect();
        let answer = Arc::new(spelled);
        self.with(library, |known| {
            known.searched = searched;
            known.last = Some((names.iter().map(|name| (*name).to_owned()).collect(), Arc::clone(&answer)));
        });
        answer
    }

    fn with<T>(&self, library: Digest, act: impl FnOnce(&mut Library) -> T) -> T {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= MAX_LIBRARIES {
            map.clear();
        }
        act(map.entry(library).or_default())
    }
}

/// The library's bytes: from the store, else from where it was seen, if it is still the same.
fn read(store: &Store, library: Digest, at: Option<&Path>) -> Option<Vec<u8>> {
    let same = |bytes: &Vec<u8>| Digest::of(bytes) == library;
    let stored = std::fs::read(store.blob_path(&BlobId(library))).ok().filter(same);
    stored.or_else(|| at.and_then(|path| std::fs::read(path).ok()).filter(same))
}

/// The names that stand anywhere in these bytes.
fn search<'a>(bytes: &[u8], names: &[&'a str]) -> BTreeSet<&'a str> {
    match AhoCorasick::new(names) {
        Ok(finder) => finder.find_overlapping_iter(bytes).map(|found| names[found.pattern().as_usize()]).collect(),
        // More names than a machine can be made for: all are taken to be there.
        Err(_) => names.iter().copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kache_store::Options;

    #[test]
    fn a_library_is_read_once_for_each_name_and_one_that_is_gone_spells_everything() {
        let dir = tempfile::tempdir().unwrap();
        let (library, path) = (Digest::of(b"..FIRST_SECOND.."), dir.path().join("libmac.so"));
        let store = Store::open(&dir.path().join("store"), Options { max_bytes: u64::MAX }).unwrap();
        let spellings = Spellings::default();
        let among = |spellings: &Spellings, names: &[&str]| Vec::from_iter(spellings.among(&store, library, names).iter().cloned());
        std::fs::write(&path, b"..FIRST_SECOND..").unwrap();
        spellings.seen_at(library, &path);
        assert_eq!(among(&spellings, &["FIRST", "SECOND", "FIRST_SEC", "THIRD"]), ["FIRST", "FIRST_SEC", "SECOND"]);
        // Other bytes under its name aren't the library any more.
        std::fs::write(&path, b"nothing").unwrap();
        assert_eq!(among(&spellings, &["SECOND", "THIRD"]), ["SECOND"]);
        assert_eq!(among(&spellings, &["FOURTH", "THIRD"]), ["FOURTH", "THIRD"]);
        // Another daemon knows what was found.
        assert_eq!(among(&Spellings::default(), &["FIRST", "THIRD"]), ["FIRST"]);
        std::fs::write(&path, b"..FIRST_SECOND..").unwrap();
        assert_eq!(among(&spellings, &["FOURTH", "THIRD"]), Vec::<String>::new());
    }
}
