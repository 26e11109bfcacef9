//! A daemon that holds nothing of the build that happened to start it: a session of its own, `/` as working directory, no
//! descriptor but the three standard ones, no variable of Cargo's.
//!
//! In two steps: [`spawn`] starts this program again, and that one ([`become_daemon`]) leaves the terminal's session and becomes
//! kached by exec. So nothing has to run between fork and exec.

use crate::error::Error;
use crate::place;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Starts `program` as a daemon that writes to `log`, or to nowhere.
pub(crate) fn spawn(program: &Path, log: Option<File>) -> Result<Child, Error> {
    let mut command = Command::new(place::kache()?);
    command.arg("__become").arg(program).stdin(Stdio::null());
    match log.and_then(|log| log.try_clone().ok().map(|twin| (log, twin))) {
        Some((log, twin)) => command.stdout(log).stderr(twin),
        None => command.stdout(Stdio::null()).stderr(Stdio::null()),
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| belongs_to_a_build(name)) {
        command.env_remove(name);
    }
    // A relative path means something else in `/`.
    if let Some(config) = std::env::var_os("KACHE_CONFIG").filter(|config| !config.is_empty()) {
        command.env("KACHE_CONFIG", std::path::absolute(&config).unwrap_or_else(|_| config.into()));
    }
    command.spawn().map_err(|source| Error::io(format!("starting {}", program.display()), source))
}

/// Variables that speak of one build. The daemon outlives it and serves others.
fn belongs_to_a_build(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let build_only = [
        "KACHE_DISABLED",
        "KACHE_VERIFY",
        "KACHE_COMPRESSION_LEVEL",
        "KACHE_NO_REMAP",
        "RUSTUP_TOOLCHAIN",
        "MAKEFLAGS",
        "MFLAGS",
        "MAKELEVEL",
    ];
    let cargo = name.starts_with("CARGO") && name != "CARGO_HOME";
    cargo || build_only.contains(&&*name) || name.starts_with("RUSTC") || name.starts_with("RUSTFLAGS") || name.starts_with("RUSTDOC")
}

/// Turns this process into `program`; returns only if that fails.
pub(crate) fn become_daemon(program: &OsStr) -> Error {
    let prepare = || {
        rustix::process::setsid()?;
        std::env::set_current_dir("/")?;
        close_inherited()
    };
    let source = match prepare() {
        Ok(()) => Command::new(program).exec(),
        Err(error) => error,
    };
    Error::io(format!("becoming {}", Path::new(program).display()), source)
}

/// Marks every descriptor above stderr close-on-exec: a CI job waits for the end of a pipe that a daemon holds.
fn close_inherited() -> std::io::Result<()> {
    let numbers = std::fs::read_dir("/dev/fd")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok());
    for number in numbers.filter(|number| *number > 2) {
        #[expect(unsafe_code, reason = "a descriptor that was inherited has no owner to borrow it from")]
        // SAFETY: this single-threaded process lists its own open descriptors and closes none meanwhile.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_one_build_stay_behind() {
        for name in
            ["CARGO", "CARGO_MAKEFLAGS", "CARGO_TARGET_DIR", "RUSTC_WRAPPER", "RUSTFLAGS", "MAKEFLAGS", "KACHE_VERIFY", "RUSTUP_TOOLCHAIN"]
        {
            assert!(belongs_to_a_build(OsStr::new(name)), "{name}");
        }
        for name in ["HOME", "PATH", "CARGO_HOME", "RUSTUP_HOME", "KACHE_CACHE_DIR", "KACHE_MAX_SIZE", "AWS_PROFILE", "XDG_RUNTIME_DIR"] {
            assert!(!belongs_to_a_build(OsStr::new(name)), "{name}");
        }
    }
}
