//! The members of an `ar` archive (an `.rlib`): their names, read from its headers alone, or with their contents' digests.
//!
//! Format: the System V variant that GNU and LLVM write: `!<arch>\n`, then 60-byte headers (name 16 bytes, size as decimal text at 48..58)
//! each followed by its data, padded to an even offset. Names longer than 15 bytes stand in the member `//` and are given as `/OFFSET`;
//! BSD's `#1/LENGTH` puts the name in front of the data.

use kache_model::Digest;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Longest table of long names that is read; rustc's are a few kilobytes.
const MAX_NAMES: u64 = 16 << 20;

/// Names of all members, symbol tables apart.
pub(crate) fn members(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    walk(path, &mut |name, _| {
        names.push(name);
        Ok(())
    })?;
    Ok(names)
}

/// Names of all members, symbol tables apart, and digests of their bytes.
pub(crate) fn digests(path: &Path) -> io::Result<Vec<(String, Digest)>> {
    let mut members = Vec::new();
    walk(path, &mut |name, bytes| {
        let mut content = Vec::new();
        bytes.read_to_end(&mut content)?;
        members.push((name, Digest::of(&content)));
        Ok(())
    })?;
    Ok(members)
}

/// Calls `visit` with each member's name and bytes; what it leaves unread is skipped.
fn walk(path: &Path, visit: &mut dyn FnMut(String, &mut dyn Read) -> io::Result<()>) -> io::Result<()> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("not an archive: {what}"));
    let mut file = BufReader::with_capacity(4096, File::open(path)?);
    let mut magic = [0; 8];
    file.read_exact(&mut magic)?;
    if &magic != b"!<arch>\n" {
        return Err(bad("magic"));
    }
    let mut long_names = Vec::new();
    loop {
        let mut header = [0; 60];
        match file.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        let size: u64 = std::str::from_utf8(&header[48..58]).ok().and_then(|text| text.trim().parse().ok()).ok_or_else(|| bad("size"))?;
        let name = String::from_utf8_lossy(&header[..16]).trim_end().to_owned();
        let mut left = size + size % 2;
        match name.as_str() {
            "/" | "/SYM64/" | "__.SYMDEF" => {}
            "//" => {
                let mut table = Vec::new();
                left -= file.by_ref().take(size.min(MAX_NAMES)).read_to_end(&mut table)? as u64;
                long_names = table;
            }
            _ => {
                let long = name.strip_prefix('/').and_then(|offset| offset.parse::<usize>().ok());
                let bsd = name.strip_prefix("#1/").and_then(|length| length.parse::<u64>().ok());
                let name = if let Some(offset) = long {
                    let rest = long_names.get(offset..).ok_or_else(|| bad("name offset"))?;
                    String::from_utf8_lossy(rest.split(|byte| matches!(byte, b'\n' | 0)).next().unwrap_or(rest))
                        .trim_end_matches('/')
                        .to_owned()
                } else if let Some(length) = bsd {
                    let mut own = Vec::new();
                    left -= file.by_ref().take(length.min(size)).read_to_end(&mut own)? as u64;
                    String::from_utf8_lossy(&own).trim_end_matches('\0').to_owned()
                } else {
                    name.trim_end_matches('/').to_owned()
                };
                let (padding, bytes) = (size % 2, left - size % 2);
                let mut member = file.by_ref().take(bytes);
                visit(name, &mut member)?;
                left = member.limit() + padding;
            }
        }
        file.seek(SeekFrom::Current(i64::try_from(left).map_err(|_| bad("size"))?))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn short_and_long_names_are_read_from_an_archive_that_rustc_wrote() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.rs"), "pub fn f() {}").unwrap();
        let made = Command::new("rustc").args(["--crate-type=rlib", "--crate-name=a", "a.rs"]).current_dir(dir.path()).status().unwrap();
        assert!(made.success());
        let names = members(&dir.path().join("liba.rlib")).unwrap();
        assert!(names.contains(&"lib.rmeta".to_owned()), "{names:?}");
        assert!(names.iter().any(|name| name.starts_with("a.") && name.ends_with(".rcgu.o")), "{names:?}");
        std::fs::write(dir.path().join("b"), "no archive").unwrap();
        assert!(members(&dir.path().join("b")).is_err());
    }
}
