//! Where the daemon listens: found from the environment alone, the same way by shim, daemon and command line.

use crate::wire;
use interprocess::local_socket::PeerCreds;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Why there is no path for the socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketPathError {
    /// No variable says where.
    #[error("no place for the socket: set KACHE_SOCKET, XDG_RUNTIME_DIR or HOME to an absolute path")]
    Nowhere,
    /// `KACHE_SOCKET` isn't absolute, and every invocation has a working directory of its own.
    #[error("KACHE_SOCKET must be an absolute path, not {0}")]
    Relative(PathBuf),
    /// Longer than a socket's address can be.
    #[error(
        "the socket's path is {} bytes long, at most {max} are possible: {path}; set KACHE_SOCKET to a shorter one, in a directory that is yours alone",
        path.as_os_str().len(),
        max = wire::MAX_SOCKET_PATH,
        path = path.display()
    )]
    TooLong {
        /// The path.
        path: PathBuf,
    },
}

/// The socket's path: `KACHE_SOCKET`, else `$XDG_RUNTIME_DIR/kache/kached.sock`, else `kached.sock` in the user's kache cache
/// directory (`$XDG_CACHE_HOME/kache`, `~/.cache/kache`; on macOS `~/Library/Caches/kache`). Empty values are ignored, and so are
/// relative directories. `variable` looks a name up, for instance `|name| std::env::var_os(name)`.
pub fn socket_path(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, SocketPathError> {
    let names = ["KACHE_SOCKET", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "HOME"];
    let values = names.map(|name| variable(name).map(OsString::into_vec));
    let lookup = |name: &str| names.iter().position(|known| *known == name).and_then(|index| values[index].as_deref());
    let (front, rest) = wire::socket_place(lookup).ok_or(SocketPathError::Nowhere)?;
    let path = PathBuf::from(OsStr::from_bytes(&[front, rest.as_bytes()].concat()));
    if path.is_relative() {
        return Err(SocketPathError::Relative(path));
    }
    if path.as_os_str().len() > wire::MAX_SOCKET_PATH {
        return Err(SocketPathError::TooLong { path });
    }
    Ok(path)
}

/// Whether whoever listens may be asked, see [`wire::trusts`]. One who can't be told isn't.
pub fn is_trusted(listener: &PeerCreds) -> bool {
    listener.euid().is_some_and(|user| wire::trusts(user, rustix::process::geteuid().as_raw()))
}

/// The file beside the socket whose modification time says when a client last found the daemon hung. A daemon that starts should
/// remove it.
pub fn hung_marker(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".hung");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], expected: &str) {
        let found = socket_path(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()));
        assert_eq!(found.unwrap(), Path::new(expected), "{variables:?}");
    }

    #[test]
    #[cfg(not(target_os = "macos"))]
    fn the_first_usable_variable_decides() {
        let all = [("KACHE_SOCKET", "/s"), ("XDG_RUNTIME_DIR", "/run/u"), ("XDG_CACHE_HOME", "/c"), ("HOME", "/h")];
        check(&all, "/s");
        check(&all[1..], "/run/u/kache/kached.sock");
        check(&all[2..], "/c/kache/kached.sock");
        check(&all[3..], "/h/.cache/kache/kached.sock");
    }

    #[test]
    #[cfg(not(target_os = "macos"))]
    fn empty_and_relative_values_are_ignored() {
        check(&[("KACHE_SOCKET", ""), ("XDG_RUNTIME_DIR", "run"), ("XDG_CACHE_HOME", ""), ("HOME", "/h")], "/h/.cache/kache/kached.sock");
    }

    #[test]
    fn errors_name_the_way_out() {
        let error = |variables: &[(&str, &str)]| {
            socket_path(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())).unwrap_err().to_string()
        };
        assert!(error(&[]).contains("set KACHE_SOCKET"));
        assert!(error(&[("KACHE_SOCKET", "s")]).contains("absolute"));
        assert!(error(&[("KACHE_SOCKET", &format!("/{}", "x".repeat(120)))]).contains("121 bytes"));
    }
}
