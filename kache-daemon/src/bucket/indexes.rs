//! Build indexes of ended sessions that aren't in the bucket yet: how many, and why.

use super::queue::Left;
use kache_remote::ErrorKind;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Indexes that wait for a bucket in trouble, at most; the oldest are given up.
const MAX_FAILING: usize = 32;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Indexes(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    begun: u64,
    waiting: BTreeMap<u64, Option<ErrorKind>>,
}

/// One of them, until it is stored or given up.
#[derive(Debug)]
pub(crate) struct Unwritten {
    indexes: Arc<Indexes>,
    number: u64,
}

impl Indexes {
    /// One more.
    pub(crate) fn begin(self: &Arc<Self>) -> Unwritten {
        let mut open = self.open();
        open.begun += 1;
        let number = open.begun;
        open.waiting.insert(number, None);
        Unwritten { indexes: Arc::clone(self), number }
    }

    /// What they failed for counts no more: all are tried again.
    pub(crate) fn hurry(&self) {
        self.open().waiting.values_mut().for_each(|failed| *failed = None);
    }

    /// How many there are.
    pub(crate) fn left(&self) -> Left {
        Left::of(self.open().waiting.values().copied())
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unwritten {
    /// It couldn't be stored. False: there are too many of them, and this one is to be given up.
    pub(crate) fn failed(&self, kind: ErrorKind) -> bool {
        let mut open = self.indexes.open();
        open.waiting.insert(self.number, Some(kind));
        open.waiting.keys().rev().take(MAX_FAILING).any(|number| *number == self.number)
    }
}

impl Drop for Unwritten {
    fn drop(&mut self) {
        self.indexes.open().waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_fail_are_counted_by_why_and_the_oldest_of_too_many_goes() {
        let indexes = Arc::new(Indexes::default());
        let (first, second) = (indexes.begin(), indexes.begin());
        assert!(first.failed(ErrorKind::Server) && second.failed(ErrorKind::Forbidden));
        assert_eq!(indexes.left(), Left { queued: 2, failed: 2, refused: 1, untried: 0 });
        assert!(second.failed(ErrorKind::BreakerOpen));
        assert_eq!(indexes.left(), Left { queued: 2, failed: 2, refused: 0, untried: 1 });
        indexes.hurry();
        assert_eq!(indexes.left(), Left { queued: 2, ..Left::default() });
        let more: Vec<_> = (1..MAX_FAILING).map(|_| indexes.begin()).collect();
        assert!(!first.failed(ErrorKind::Server) && second.failed(ErrorKind::Forbidden));
        drop((first, second, more));
        assert_eq!(indexes.left(), Left::default());
    }
}
