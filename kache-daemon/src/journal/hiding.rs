//! The machine's key for values that aren't shown: 32 random bytes in `hiding-key` below the cache directory, readable by the user alone.

use kache_journal::HidingKey;
use kache_store::private;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

/// The key of this cache directory, made when there is none. Where it can't be kept, values of before a restart look changed.
pub(super) fn key(cache_dir: &Path) -> HidingKey {
    let kept = kept(&cache_dir.join("hiding-key")).inspect_err(|error| tracing::warn!(%error, "hiding-key"));
    kept.or_else(|_| random()).map_or_else(|_| HidingKey::default(), HidingKey::new)
}

fn kept(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = private::open_file(path)?;
    let mut key = [0; 32];
    if file.metadata()?.len() == key.len() as u64 {
        file.read_exact(&mut key)?;
        return Ok(key);
    }
    file.set_len(0)?;
    key = random()?;
    file.write_all(&key)?;
    Ok(key)
}

fn random() -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_key_stays_and_one_that_is_broken_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let digest = || key(dir.path()).digest("FOO", "1");
        let first = digest();
        assert_eq!(digest(), first);
        fs::write(dir.path().join("hiding-key"), "half").unwrap();
        let second = digest();
        assert_ne!(second, first);
        assert_eq!(digest(), second);
        assert_ne!(key(&dir.path().join("missing")).digest("FOO", "1"), HidingKey::default().digest("FOO", "1"));
    }
}
