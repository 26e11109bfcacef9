//! Whether a file is a program that the system starts itself, or a text that another program reads: a script.
//!
//! A program is what its bytes say, and those are digested. A script may read any file and any variable, and its bytes tell little of that.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// First bytes of programs: ELF, Mach-O in both orders and both widths, of several machines, and PE.
const BEGINNINGS: [&[u8]; 7] =
    [b"\x7fELF", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"MZ"];

/// Whether the file at `path` is a script, that is no program.
pub(crate) fn is_script(path: &Path) -> io::Result<bool> {
    let mut begin = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut begin)?;
    Ok(!BEGINNINGS.iter().any(|magic| begin.starts_with(magic)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_told_from_programs() {
        let dir = tempfile::tempdir().unwrap();
        let is = |bytes: &[u8]| {
            let path = dir.path().join("x");
            std::fs::write(&path, bytes).unwrap();
            is_script(&path).unwrap()
        };
        assert!(!is_script(&std::env::current_exe().unwrap()).unwrap());
        for text in [&b"#!/bin/sh\n"[..], b"exec rustc", b"", b"\x7fEL"] {
            assert!(is(text), "{text:?}");
        }
        assert!(!is(b"\xcf\xfa\xed\xfe\x07"));
        assert!(is_script(&dir.path().join("none")).is_err());
    }
}
