//! What the store let go lately, and why: so that a miss can be explained.
//!
//! In memory and bounded; after a start it is empty.

use kache_model::ArtifactKey;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Artifacts remembered, at most: some 2 MB.
const MAX: usize = 20_000;

/// Why an artifact went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovedFor {
    /// The store was full, or the artifact too long unused.
    Room,
    /// Somebody said so.
    Request,
    /// It was damaged.
    Damage,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Removals(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    order: VecDeque<ArtifactKey>,
    why: HashMap<ArtifactKey, RemovedFor>,
}

impl Removals {
    pub(crate) fn note(&self, keys: &[ArtifactKey], why: RemovedFor) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            if log.why.insert(*key, why).is_none() {
                log.order.push_back(*key);
            }
        }
        while log.order.len() > MAX {
            if let Some(oldest) = log.order.pop_front() {
                log.why.remove(&oldest);
            }
        }
    }

    pub(crate) fn of(&self, key: &ArtifactKey) -> Option<RemovedFor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).why.get(key).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kache_model::Digest;

    #[test]
    fn the_latest_removals_are_remembered_and_no_more() {
        let removals = Removals::default();
        let key = |n: usize| ArtifactKey(Digest::of(n.to_string().as_bytes()));
        let all: Vec<_> = (0..MAX + 1).map(key).collect();
        removals.note(&all, RemovedFor::Room);
        removals.note(&[key(5)], RemovedFor::Request);
        assert_eq!(
            (removals.of(&key(0)), removals.of(&key(5)), removals.of(&key(MAX))),
            (None, Some(RemovedFor::Request), Some(RemovedFor::Room))
        );
    }
}
