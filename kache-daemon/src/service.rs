//! What a service manager hands over, and what it is told: the listening socket, readiness, a line of status, that the daemon is alive, that it ends.
//!
//! systemd says it by variables (`LISTEN_FDS` with `LISTEN_PID`, `NOTIFY_SOCKET`, `WATCHDOG_USEC`), launchd by a call. Without either, [`socket`] is
//! `None` and everything else does nothing. `systemd/` and `launchd/` hold the unit files.
//!
//! Promise: a ping comes only after a blocking thread has looked into the store, so a daemon that is stuck is found out.

use crate::engine::Engine;
use kache_config::ByteSize;
use sd_notify::NotifyState;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often the line of status is renewed, at least.
const STATUS_EVERY: Duration = Duration::from_secs(30);

/// A listening socket that somebody else has bound. Its file isn't ours to remove.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) descriptor: OwnedFd,
    pub(crate) path: PathBuf,
}

/// The service manager's socket is none that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandoverError {
    #[error("the service manager handed over {0} sockets, expected one")]
    Count(usize),
    #[error("the service manager handed over something that isn't a listening Unix socket")]
    NotListening,
    #[error("the service manager's socket: {0}")]
    Io(#[from] io::Error),
}

/// The socket that a service manager listens on for this process, if there is one. To be called once, before other descriptors are opened.
pub(crate) fn socket() -> Result<Option<Socket>, HandoverError> {
    let mut descriptors = manager::descriptors()?;
    let descriptor = match (descriptors.pop(), descriptors.len()) {
        (None, _) => return Ok(None),
        (Some(descriptor), 0) => descriptor,
        (Some(_), more) => return Err(HandoverError::Count(more + 1)),
    };
    if !manager::listens(&descriptor) {
        return Err(HandoverError::NotListening);
    }
    let listener = std::os::unix::net::UnixListener::from(descriptor);
    let address = listener.local_addr()?;
    let path = address.as_pathname().ok_or(HandoverError::NotListening)?.to_owned();
    Ok(Some(Socket { descriptor: listener.into(), path }))
}

/// Tells that the daemon answers, and from now on that it still does.
pub(crate) fn ready(engine: &Arc<Engine>) {
    tell(&[NotifyState::Ready, NotifyState::Status(&status(engine))]);
    // A third, so that one that comes late is no reason to be killed.
    let every = sd_notify::watchdog_enabled().map_or(STATUS_EVERY, |limit| (limit / 3).min(STATUS_EVERY));
    let engine = Arc::clone(engine);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(every).await;
            let engine = Arc::clone(&engine);
            let looked = tokio::task::spawn_blocking(move || status(&engine)).await;
            if let Ok(status) = looked {
                tell(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
            }
        }
    });
}

/// Tells that the daemon ends.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing what is being published")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "service manager");
    }
}

fn status(engine: &Engine) -> String {
    let usage = engine.store.usage();
    format!("{} artifacts, {} of {}", usage.artifacts, ByteSize(usage.bytes), ByteSize(usage.max_bytes))
}

#[cfg(not(target_os = "macos"))]
mod manager {
    use std::io;
    use std::os::fd::{FromRawFd as _, OwnedFd};

    /// Whether somebody may connect to it.
    pub(super) fn listens(descriptor: &OwnedFd) -> bool {
        rustix::net::sockopt::socket_acceptconn(descriptor).unwrap_or(false)
    }

    /// Descriptors from 3 on, if `LISTEN_PID` says that they are for this process.
    pub(super) fn descriptors() -> io::Result<Vec<OwnedFd>> {
        let numbers = sd_notify::listen_fds()?;
        #[expect(unsafe_code, reason = "descriptors that were inherited have no owner")]
        // SAFETY: whoever set LISTEN_PID to this process has passed these descriptors, open, for it to own; nothing else here knows their
        // numbers, and `socket` is called once.
        Ok(numbers.map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect())
    }
}

#[cfg(target_os = "macos")]
mod manager {
    use std::ffi::{CStr, c_char, c_int, c_void};
    use std::io;
    use std::os::fd::{FromRawFd as _, OwnedFd};

    /// macOS doesn't tell. launchd hands over none that doesn't.
    pub(super) fn listens(_descriptor: &OwnedFd) -> bool {
        true
    }

    /// The key below `Sockets` in the property list.
    const NAME: &CStr = c"Listener";
    /// Not started by launchd, or without that socket.
    const NONE: [i32; 2] = [rustix::io::Errno::SRCH.raw_os_error(), rustix::io::Errno::NOENT.raw_os_error()];

    #[expect(unsafe_code, reason = "launchd hands sockets over by this call alone")]
    unsafe extern "C" {
        fn launch_activate_socket(name: *const c_char, descriptors: *mut *mut c_int, count: *mut usize) -> c_int;
        fn free(memory: *mut c_void);
    }

    /// What launchd listens on for this process.
    pub(super) fn descriptors() -> io::Result<Vec<OwnedFd>> {
        let (mut list, mut count) = (std::ptr::null_mut(), 0);
        #[expect(unsafe_code, reason = "see above")]
        // SAFETY: the name ends with a zero, both places are valid for the call.
        let error = unsafe { launch_activate_socket(NAME.as_ptr(), &raw mut list, &raw mut count) };
        match error {
            0 if list.is_null() => Ok(Vec::new()),
            0 => {
                #[expect(unsafe_code, reason = "see above")]
                // SAFETY: after success `list` holds `count` open descriptors that are ours from now on, in memory that the caller frees.
                unsafe {
                    let descriptors = (0..count).map(|index| OwnedFd::from_raw_fd(*list.add(index))).collect();
                    free(list.cast());
                    Ok(descriptors)
                }
            }
            error if NONE.contains(&error) => Ok(Vec::new()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}
