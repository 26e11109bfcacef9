//! Private files for rustc to read: bytes without a name that anyone else could find, gone when the last holder is.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::AsRawFd;

/// A file that this process's children inherit, holding `bytes`, positioned at its beginning.
pub(super) fn inherited(bytes: &[u8]) -> io::Result<File> {
    let file = unnamed()?;
    fill(&file, bytes, io::empty())?;
    Ok(file)
}

/// Fills an empty file with `bytes` and then whatever `rest` has, and goes back to its beginning.
pub(super) fn fill(mut file: &File, bytes: &[u8], mut rest: impl io::Read) -> io::Result<()> {
    file.write_all(bytes)?;
    io::copy(&mut rest, &mut file)?;
    file.rewind()
}

/// The name under which a child can open an inherited file.
pub(super) fn inherited_name(file: &File) -> OsString {
    let directory = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    format!("{directory}/{}", file.as_raw_fd()).into()
}

/// An empty file that this process's children inherit.
#[cfg(target_os = "linux")]
pub(super) fn unnamed() -> io::Result<File> {
    Ok(rustix::fs::memfd_create("kache", rustix::fs::MemfdFlags::empty())?.into())
}

/// An empty file that this process's children inherit.
#[cfg(not(target_os = "linux"))]
pub(super) fn unnamed() -> io::Result<File> {
    use std::fs::{OpenOptions, remove_file};
    let name = format!("kache-{}-{:?}", std::process::id(), std::time::SystemTime::now());
    let path = std::env::temp_dir().join(name);
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    remove_file(&path)?;
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())?;
    Ok(file)
}
