//! By which way a file would get from one directory into another: tried out with two small files that are gone afterwards.

use crate::copy::Reflinks;
use crate::place::PlacedHow;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Tries to share a file of `from` (the cache directory) with `to` (a target directory, or what it will stand in).
///
/// # Errors
/// One of the directories can't be written to.
pub fn probe_link(from: &Path, to: &Path) -> io::Result<PlacedHow> {
    let name = format!(".kache-probe-{}", std::process::id());
    let (source, target) = (Gone(from.join(&name)), Gone(to.join(&name)));
    let mut file = File::create_new(&source.0)?;
    file.write_all(b"probe")?;
    if Reflinks::default().new_clone(&file, &target.0, 0).is_ok_and(|clone| clone.is_some()) {
        return Ok(PlacedHow::Reflink);
    }
    if fs::hard_link(&source.0, &target.0).is_ok() {
        return Ok(PlacedHow::Hardlink);
    }
    fs::copy(&source.0, &target.0)?;
    Ok(PlacedHow::Copy)
}

/// Removes a file at its end.
struct Gone(PathBuf);

impl Drop for Gone {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}
