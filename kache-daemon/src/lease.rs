//! Who compiles what: one at a time per lease key, the others wait for the result.
//!
//! Promise: a lease ends when its guard is dropped, however that happens (published, failed, the shim's connection gone), and then
//! every waiter is woken and asks again; the first of them finds the result or becomes the next leader. No lock is held across a wait.

use kache_model::Digest;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The leases that are out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases(Arc<Mutex<HashMap<Digest, watch::Receiver<()>>>>);

/// The right, and the duty, to compile. Dropping it wakes the waiters.
#[derive(Debug)]
pub(crate) struct Lease {
    key: Digest,
    leases: Leases,
    // Dropped last by declaration order: receivers wake when the sender goes, and must then find the key gone.
    _sender: watch::Sender<()>,
}

/// Waits for somebody else's lease to end.
#[derive(Debug)]
pub(crate) struct Waiter(watch::Receiver<()>);

impl Leases {
    /// Takes the lease, or a place in the queue.
    pub(crate) fn take(&self, key: Digest) -> Result<Lease, Waiter> {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(receiver) = map.get(&key) {
            return Err(Waiter(receiver.clone()));
        }
        let (sender, receiver) = watch::channel(());
        map.insert(key, receiver);
        Ok(Lease { key, leases: self.clone(), _sender: sender })
    }

    /// How many are out.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl Waiter {
    /// Returns when the lease has ended.
    pub(crate) async fn ended(mut self) {
        // Nothing is ever sent: `changed` returns an error once the sender is dropped.
        while self.0.changed().await.is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dropped_leader_wakes_every_waiter_and_one_becomes_the_next() {
        let leases = Leases::default();
        let key = Digest::of(b"k");
        let leader = leases.take(key).unwrap();
        let waiters: Vec<_> = (0..8).map(|_| leases.take(key).unwrap_err()).collect();
        drop(leader);
        for waiter in waiters {
            waiter.ended().await;
        }
        let next = leases.take(key).unwrap();
        assert!(leases.take(key).is_err());
        assert!(leases.take(Digest::of(b"other")).is_ok());
        drop(next);
        assert_eq!(leases.len(), 0);
    }
}
