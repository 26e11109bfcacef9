//! Whoever waits for an answer: the shim at the other end of a connection, and the Cargo that started it.
//!
//! Promise: a write into a target directory belongs to an asker who is there. After Ctrl-C the same directory may be another build's by the time
//! that the daemon gets to it, and what is renamed over that build's outputs then looks fresh to Cargo.
//!
//! Looked at by system call, not by what the async side has noticed so far: between the look and the first rename there is nothing to wait for.

use kache_proto::Parent;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

/// What a conversation holds on to. With it, its asker goes.
#[derive(Debug)]
pub(crate) struct Presence {
    socket: OwnedFd,
    /// The Cargo, where the system can tell of its end.
    parent: Option<OwnedFd>,
}

/// The asker of one question, as the engine knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asker(Weak<Presence>);

impl Presence {
    /// Of the shim behind `socket`.
    pub(crate) fn new(socket: OwnedFd, parent: Parent) -> Arc<Self> {
        Arc::new(Self { socket, parent: watch(parent) })
    }

    /// The asker, for the engine.
    pub(crate) fn asker(self: &Arc<Self>) -> Asker {
        Asker(Arc::downgrade(self))
    }
}

impl Asker {
    /// Whether anybody still waits. A look that fails counts as yes: an answer that nobody hears does no harm by itself.
    pub(crate) fn is_there(&self) -> bool {
        let Some(presence) = self.0.upgrade() else { return false };
        // A socket tells of its peer's end unasked.
        let mut looks = vec![PollFd::from_borrowed_fd(presence.socket.as_fd(), PollFlags::empty())];
        looks.extend(presence.parent.as_ref().map(|parent| PollFd::from_borrowed_fd(parent.as_fd(), PollFlags::IN)));
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut looks, Some(&now)).is_err() || !looks.iter().any(|look| look.revents().intersects(PollFlags::HUP | PollFlags::IN))
    }
}

/// A descriptor that tells when the process has ended.
#[cfg(target_os = "linux")]
fn watch(parent: Parent) -> Option<OwnedFd> {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    // 1 is nobody's Cargo, but whoever adopts what was left behind.
    let pid = i32::try_from(parent.pid).ok().filter(|pid| *pid > 1).and_then(Pid::from_raw)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn watch(_parent: Parent) -> Option<OwnedFd> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn an_asker_is_there_until_its_end_of_the_socket_is_closed_or_its_cargo_ends_or_the_conversation() {
        let me = Parent { pid: std::process::id(), start: 0 };
        let (shim, ours) = UnixStream::pair().unwrap();
        let presence = Presence::new(ours.into(), me);
        let asker = presence.asker();
        assert!(asker.is_there());
        std::io::Write::write_all(&mut &shim, b"a report, say").unwrap();
        assert!(asker.is_there(), "bytes that wait to be read are no end");
        drop(shim);
        assert!(!asker.is_there());

        let (_shim, ours) = UnixStream::pair().unwrap();
        let mut cargo = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let presence = Presence::new(ours.into(), Parent { pid: cargo.id(), start: 0 });
        let asker = presence.asker();
        assert!(asker.is_there());
        cargo.kill().unwrap();
        // Not waited for: it is over all the same.
        while asker.is_there() {
            std::thread::yield_now();
        }
        cargo.wait().unwrap();

        let (_shim, ours) = UnixStream::pair().unwrap();
        let presence = Presence::new(ours.into(), me);
        let asker = presence.asker();
        assert!(asker.is_there());
        drop(presence);
        assert!(!asker.is_there());
    }
}
