//! Passes rustc's output on as it comes, with paths spelled back, and keeps a raw copy.
//!
//! Promise: every complete line goes out as soon as it is there (Cargo starts dependents on one of them), each byte once. A line
//! is held back until it is complete only if something in it may have to be replaced.

use crate::wire;
use kache_model::roots::replace_paths;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long after rustc's end its pipes may stay open before the copy counts as incomplete. Only a process that rustc left behind
/// keeps one open, or a caller that doesn't read.
const GRACE: Duration = Duration::from_secs(5);
/// Longest line that is held back to be looked at, bytes.
const MAX_LINE: usize = 32 << 20;

/// One of rustc's pipes on its way to the caller.
#[derive(Debug)]
pub(super) struct Pump {
    kept: Arc<Mutex<Kept>>,
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

/// The raw copy.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// What rustc wrote.
    pub(super) bytes: Vec<u8>,
    /// It wrote more than that.
    pub(super) truncated: bool,
}

impl Pump {
    /// Starts pumping from a pipe to a descriptor.
    pub(super) fn start(from: impl Read + Send + 'static, to: BorrowedFd<'static>, show: Vec<(String, String)>, capture: bool) -> Self {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let (end, ended) = channel();
        let for_thread = Arc::clone(&kept);
        let thread = thread::spawn(move || {
            pump(from, to, &show, capture.then_some(&*for_thread));
            let _ = end.send(());
        });
        Self { kept, ended, thread: Some(thread) }
    }

    /// The copy, once rustc has ended.
    pub(super) fn kept(&self) -> Kept {
        let complete = self.ended.recv_timeout(GRACE).is_ok();
        let mut kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        kept.truncated |= !complete;
        kept
    }
}

impl Drop for Pump {
    /// Waits for the pipe's end: what a process that rustc left behind writes still arrives, as it would without us. (Cargo
    /// waits for that end, too.)
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn pump(mut from: impl Read, to: BorrowedFd<'_>, show: &[(String, String)], keep: Option<&Mutex<Kept>>) {
    let mut buffer = vec![0; 64 << 10];
    let mut line = Vec::new();
    loop {
        let len = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let bytes = &buffer[..len];
        keep_copy(keep, bytes);
        // A caller that has gone away: return, which closes the pipe, and rustc learns of it as it would without us.
        if pass_on(to, &mut line, bytes, show).is_err() {
            truncate(keep);
            return;
        }
    }
    let _ = write_all(to, &shown(&line, show));
}

/// Writes what is complete, keeps the rest in `line`.
fn pass_on(to: BorrowedFd<'_>, line: &mut Vec<u8>, bytes: &[u8], show: &[(String, String)]) -> Result<(), Errno> {
    if show.is_empty() {
        return write_all(to, bytes);
    }
    let complete = match bytes.iter().rposition(|byte| *byte == b'\n') {
        Some(newline) => newline + 1,
        None if line.len() + bytes.len() > MAX_LINE => bytes.len(),
        None => 0,
    };
    let (now, later) = bytes.split_at(complete);
    if !now.is_empty() {
        line.extend_from_slice(now);
        write_all(to, &shown(line, show))?;
        line.clear();
    }
    line.extend_from_slice(later);
    Ok(())
}

/// Lines with their paths spelled back. Several at once give the same as one at a time: no path goes past a line's end.
fn shown(lines: &[u8], show: &[(String, String)]) -> Vec<u8> {
    replace_paths(lines, show.iter().cloned())
}

fn keep_copy(keep: Option<&Mutex<Kept>>, bytes: &[u8]) {
    let Some(keep) = keep else { return };
    let mut kept = keep.lock().unwrap_or_else(PoisonError::into_inner);
    let room = wire::MAX_CAPTURE - kept.bytes.len();
    kept.truncated |= bytes.len() > room;
    kept.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

fn truncate(keep: Option<&Mutex<Kept>>) {
    if let Some(keep) = keep {
        keep.lock().unwrap_or_else(PoisonError::into_inner).truncated = true;
    }
}

/// Writes everything, to a descriptor that may be in non-blocking mode: the caller's choice, which isn't ours to change.
pub(super) fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
