//! Who compiles what: one at a time per lease key, the others wait for the result.
//!
//! Promise: a lease ends when its guard is dropped, however that happens (published, failed, the shim's connection gone), and then
//! every waiter is woken and asks again; the first of them finds the result or becomes the next leader. No lock is held across a wait.
//!
//! Waiting is bounded: for a leader that has been stopped (Ctrl-Z) or takes very long nobody waits on. The first who gives it up takes its lease
//! over, those who come later wait for the new one, and the old leader's result is stored like any other when it comes after all.

use crate::process;
use kache_model::Digest;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How often a waiter looks whether the leader's process is stopped.
const LOOK: Duration = Duration::from_millis(500);
/// The longest wait. A compile that takes longer is done twice, which costs time and nothing else.
const PATIENCE: Duration = Duration::from_secs(300);

/// The leases that are out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases(Arc<Mutex<HashMap<Digest, Out>>>);

/// A lease that is out, as others see it.
#[derive(Clone, Debug)]
struct Out {
    number: u64,
    /// The shim that leads, where the system tells.
    leader: Option<u32>,
    ended: watch::Receiver<()>,
}

/// The right, and the duty, to compile. Dropping it wakes the waiters.
#[derive(Debug)]
pub(crate) struct Lease {
    key: Digest,
    number: u64,
    leases: Leases,
    // Dropped last by declaration order: receivers wake when the sender goes, and must then find the key gone.
    _sender: watch::Sender<()>,
}

/// Waits for somebody else's lease to end.
#[derive(Debug)]
pub(crate) struct Waiter(Out);

/// Whether a question has waited for somebody else's compile before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    No,
    /// Until that lease ended.
    ToItsEnd,
    /// For the lease with this number, which has not ended.
    InVain(u64),
}

impl Leases {
    /// Takes the lease for the shim `leader`, or a place in the queue. A lease that was waited for in vain is taken over.
    pub(crate) fn take(&self, key: Digest, leader: Option<u32>, waited: Waited) -> Result<Lease, Waiter> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(out) = map.get(&key).filter(|out| waited != Waited::InVain(out.number)) {
            return Err(Waiter(out.clone()));
        }
        let (sender, ended) = watch::channel(());
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        map.insert(key, Out { number, leader, ended });
        Ok(Lease { key, number, leases: self.clone(), _sender: sender })
    }

    /// How many are out.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut map = self.leases.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Unless it was taken over.
        if map.get(&self.key).is_some_and(|out| out.number == self.number) {
            map.remove(&self.key);
        }
    }
}

impl Waiter {
    /// Returns when the lease has ended or is given up.
    pub(crate) async fn ended(mut self) -> Waited {
        let end = Instant::now() + PATIENCE;
        loop {
            // Nothing is ever sent: `changed` returns, with an error, once the sender is dropped.
            if tokio::time::timeout(LOOK, self.0.ended.changed()).await.is_ok() {
                return Waited::ToItsEnd;
            }
            if Instant::now() >= end || self.0.leader.is_some_and(process::is_stopped) {
                return Waited::InVain(self.0.number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dropped_leader_wakes_every_waiter_and_one_becomes_the_next() {
        let leases = Leases::default();
        let key = Digest::of(b"k");
        let take = |key| leases.take(key, None, Waited::No);
        let leader = take(key).unwrap();
        let waiters: Vec<_> = (0..8).map(|_| take(key).unwrap_err()).collect();
        drop(leader);
        for waiter in waiters {
            assert_eq!(waiter.ended().await, Waited::ToItsEnd);
        }
        let next = take(key).unwrap();
        assert!(take(key).is_err());
        assert!(take(Digest::of(b"other")).is_ok());
        drop(next);
        assert_eq!(leases.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_takes_too_long_is_taken_over_once_and_ends_without_harm() {
        let leases = Leases::default();
        let key = Digest::of(b"k");
        let slow = leases.take(key, None, Waited::No).unwrap();
        let [first, second] = [(); 2].map(|()| leases.take(key, None, Waited::No).unwrap_err());
        let (first, second) = tokio::join!(first.ended(), second.ended());
        assert!(matches!(first, Waited::InVain(_)) && first == second);
        let over = leases.take(key, None, first).unwrap();
        let waiter = leases.take(key, None, second).unwrap_err();
        drop(slow);
        assert!(leases.take(key, None, Waited::ToItsEnd).is_err(), "the old leader's end is not the new one's");
        drop(over);
        assert_eq!(waiter.ended().await, Waited::ToItsEnd);
        assert_eq!(leases.len(), 0);
    }
}
