//! Processes as the kernel tells of them: whether one still lives, who its parent is, what it was called with, where it works, and which files
//! it sees.
//!
//! Linux only; elsewhere a process lives as long as it can be signalled, has neither parent nor words nor directory, and sees what all see.

use kache_proto::{Parent, wire};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Whether the process is still there, and not another one with its number.
pub(crate) fn lives(process: Parent) -> bool {
    if process.start > 0 {
        return stat(process.pid).is_some_and(|stat| wire::start_time(&stat) == Some(process.start) && !is_over(&stat));
    }
    let pid = i32::try_from(process.pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

/// Whether it has been stopped (by Ctrl-Z, or by a debugger), so that it won't go on by itself.
pub(crate) fn is_stopped(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| matches!(state(&stat), Some(b'T' | b't')))
}

/// Whoever started it.
pub(crate) fn parent(process: Parent) -> Option<Parent> {
    let stat = stat(process.pid)?;
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 2;
    let text = std::str::from_utf8(&stat[after_name..]).ok()?;
    let pid = text.split(' ').nth(1)?.parse().ok().filter(|pid| *pid > 1)?;
    Some(Parent { pid, start: wire::start_time(&self::stat(pid)?)? })
}

/// Its working directory.
pub(crate) fn directory(process: Parent) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{}/cwd", process.pid)).ok().filter(|directory| directory.is_absolute())
}

/// Its command line.
pub(crate) fn words(process: Parent) -> Vec<String> {
    let line = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
    let words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let mut words: Vec<String> = words.collect();
    words.pop();
    words
}

/// Whether a command line is that of Cargo, or of a tool that goes by such a name (`cargo-miri`).
pub(crate) fn is_cargo(words: &[String]) -> bool {
    let name = words.first().map(|program| program.rsplit('/').next().unwrap_or(program));
    name.is_some_and(|name| name == "cargo" || name.starts_with("cargo-"))
}

/// Whether it sees the files that this process sees: in the same mount namespace, below the same root directory. The same directory may well be in
/// both of two worlds (a container with the sources mounted into it), with another compiler under the same path. Not to be found out, as
/// for a process that is gone, is no. Where this process can't tell its own world (no `/proc`), there is nothing to compare with.
pub(crate) fn shares_our_files(pid: u32) -> bool {
    static OURS: OnceLock<Option<World>> = OnceLock::new();
    let ours = OURS.get_or_init(|| world("self"));
    ours.is_none() || world(&pid.to_string()) == *ours
}

/// The name of a process's mount namespace, and device and inode of its root directory.
type World = (PathBuf, u64, u64);

/// Some 6 µs. (A `stat` of the namespace instead of its link takes several times that.)
fn world(process: &str) -> Option<World> {
    let namespace = std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok()?;
    let root = std::fs::metadata(format!("/proc/{process}/root")).ok()?;
    Some((namespace, root.dev(), root.ino()))
}

/// Ended, but nobody has asked how.
fn is_over(stat: &[u8]) -> bool {
    matches!(state(stat), Some(b'Z' | b'X'))
}

/// The letter that follows the name.
fn state(stat: &[u8]) -> Option<u8> {
    stat.iter().rposition(|byte| *byte == b')').and_then(|at| stat.get(at + 2)).copied()
}

fn stat(pid: u32) -> Option<Vec<u8>> {
    std::fs::read(format!("/proc/{pid}/stat")).ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn cargo_goes_by_its_name() {
        for (line, is) in [
            ("cargo build", true),
            ("/x/bin/cargo b", true),
            ("/x/cargo-miri run", true),
            ("cargoes", false),
            ("/cargo/make", false),
            ("", false),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(is_cargo(&words), is, "{line}");
        }
    }

    #[test]
    fn a_child_has_us_for_a_parent_and_lives_until_it_ends() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let start = wire::start_time(&stat(child.id()).unwrap()).unwrap();
        let process = Parent { pid: child.id(), start };
        assert!(lives(process) && !lives(Parent { start: start + 1, ..process }));
        assert_eq!(parent(process).unwrap().pid, std::process::id());
        assert_eq!(directory(process), std::env::current_dir().ok());
        child.kill().unwrap();
        while lives(process) {
            std::thread::yield_now();
        }
        assert!(stat(process.pid).is_some(), "a process that nobody has waited for is over all the same");
        child.wait().unwrap();
        assert!(!lives(process));
        assert_eq!(parent(process), None);
    }
}
