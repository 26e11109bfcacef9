//! What waits for its upload, and when each is tried. Pure: time and chance are handed in.
//!
//! Promises: first come, first served, for a crate's dependents come after it; what fails is tried again, later and later, until it is done or given up;
//! what wasn't tried because the bucket refuses everything loses nothing by that.

use kache_config::CompressionLevel;
use kache_model::ArtifactKey;
use kache_remote::ErrorKind;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;

/// Pause after an artifact's first failure; doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(300);
/// Longest pause while somebody waits.
const IMPATIENT_PAUSE: Duration = Duration::from_secs(10);

/// The artifacts that wait.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: HashMap<ArtifactKey, Waiting>,
    /// Those of them that aren't under way.
    due: BTreeSet<(Instant, u64, ArtifactKey)>,
    /// Numbers what comes.
    came: u64,
    /// Some wait only because the bucket refused everything.
    put_off: bool,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    came: u64,
    /// zstd level that its build asked for.
    level: Option<CompressionLevel>,
    /// When it is to be tried; `None` while it is.
    due: Option<Instant>,
    /// Why it is still here.
    failed: Option<ErrorKind>,
    tries: u32,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// To upload this.
    Upload(ArtifactKey),
    /// Nothing, until then; without an end if there is nothing.
    Wait(Option<Instant>),
}

/// What is left in the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Artifacts that wait.
    pub(crate) queued: usize,
    /// Those of them that have failed since somebody was impatient.
    pub(crate) failed: usize,
    /// Those of them that failed for a reason that won't pass by itself.
    pub(crate) refused: usize,
    /// Those of them that weren't tried because of what others met.
    pub(crate) untried: usize,
}

impl Left {
    /// Counts how each of those that wait has failed, if it has.
    pub(crate) fn of(waiting: impl Iterator<Item = Option<ErrorKind>>) -> Self {
        let mut left = Self::default();
        for failed in waiting {
            left.queued += 1;
            let Some(kind) = failed else { continue };
            left.failed += 1;
            match kind {
                ErrorKind::BreakerOpen => left.untried += 1,
                kind if !kind.retryable() => left.refused += 1,
                _ => {}
            }
        }
        left
    }

    /// What trying again won't help. Once the server has refused `any`, those that weren't tried because of that count as refused, too.
    pub(crate) fn hopeless(&self, any: bool) -> usize {
        self.refused + if any { self.untried } else { 0 }
    }
}

impl Queue {
    /// Puts one at the end. One that waits already stays where it is.
    pub(crate) fn add(&mut self, key: ArtifactKey, level: Option<CompressionLevel>, now: Instant) {
        let (due, came) = (Some(now), self.came + 1);
        if self.waiting.contains_key(&key) {
            return;
        }
        self.came = came;
        self.waiting.insert(key, Waiting { came, level, due, failed: None, tries: 0 });
        self.due.insert((now, came, key));
    }

    /// Takes out what is to be tried now; it waits on until [`Queue::done`].
    pub(crate) fn next(&mut self, now: Instant) -> Next {
        match self.due.first() {
            Some((due, _, key)) if *due <= now => {
                let key = *key;
                self.due.pop_first();
                if let Some(waiting) = self.waiting.get_mut(&key) {
                    waiting.due = None;
                }
                Next::Upload(key)
            }
            later => Next::Wait(later.map(|(due, _, _)| *due)),
        }
    }

    /// It is in the bucket, or needn't be. Where one goes others may.
    pub(crate) fn done(&mut self, key: &ArtifactKey, now: Instant) {
        if std::mem::take(&mut self.put_off) {
            self.hurry(now);
        }
        if let Some(Waiting { came, due: Some(due), .. }) = self.waiting.remove(key) {
            self.due.remove(&(due, came, *key));
        }
    }

    /// It failed, and is tried again after a pause. `chance` is in `0.0..1.0`: what failed together doesn't come back together.
    pub(crate) fn failed(&mut self, key: &ArtifactKey, kind: ErrorKind, impatient: bool, chance: f64, now: Instant) {
        let Some(waiting) = self.waiting.get_mut(key) else { return };
        let longest = if impatient { IMPATIENT_PAUSE } else { LAST_PAUSE };
        let pause = FIRST_PAUSE.saturating_mul(1 << waiting.tries.min(16)).min(longest).mul_f64(0.5 + chance / 2.0);
        waiting.tries += 1;
        waiting.failed = Some(kind);
        self.put_off |= kind == ErrorKind::BreakerOpen;
        waiting.due = Some(now + pause);
        self.due.insert((now + pause, waiting.came, *key));
    }

    /// Nothing that is due can be had now, for a reason that isn't its own.
    pub(crate) fn put_off(&mut self, kind: ErrorKind, until: Instant, now: Instant) {
        self.put_off = true;
        while let Next::Upload(key) = self.next(now) {
            let Some(waiting) = self.waiting.get_mut(&key) else { continue };
            waiting.failed = Some(kind);
            waiting.due = Some(until);
            self.due.insert((until, waiting.came, key));
        }
    }

    /// Has everything tried again now.
    pub(crate) fn hurry(&mut self, now: Instant) {
        for (due, came, key) in std::mem::take(&mut self.due) {
            if let Some(waiting) = self.waiting.get_mut(&key) {
                waiting.failed = None;
                waiting.due = Some(due.min(now));
                self.due.insert((due.min(now), came, key));
            }
        }
    }

    /// The level that an artifact's build asked for.
    pub(crate) fn level(&self, key: &ArtifactKey) -> Option<CompressionLevel> {
        self.waiting.get(key).and_then(|waiting| waiting.level)
    }

    /// What is left.
    pub(crate) fn left(&self) -> Left {
        Left::of(self.waiting.values().map(|waiting| waiting.failed))
    }

    /// Whether one of `keys` waits that hasn't failed.
    pub(crate) fn expects_any(&self, keys: &HashSet<ArtifactKey>) -> bool {
        self.waiting.iter().any(|(key, waiting)| keys.contains(key) && waiting.failed.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kache_model::Digest;

    fn key(number: u8) -> ArtifactKey {
        ArtifactKey(Digest::of(&[number]))
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// A queue of so many, and when they came.
    fn queue(of: u8) -> (Queue, Instant) {
        let (mut queue, now) = (Queue::default(), Instant::now());
        (0..of).for_each(|number| queue.add(key(number), None, now));
        (queue, now)
    }

    #[test]
    fn who_comes_first_goes_first_and_only_once() {
        let (mut queue, now) = queue(2);
        queue.add(key(0), None, now);
        assert_eq!([queue.next(now), queue.next(now), queue.next(now)], [Next::Upload(key(0)), Next::Upload(key(1)), Next::Wait(None)]);
        assert_eq!(queue.left().queued, 2);
        queue.done(&key(0), now);
        queue.done(&key(1), now);
        assert_eq!(queue.left(), Left::default());
    }

    #[test]
    fn a_single_failure_is_tried_again_later_and_later() {
        let (mut queue, mut now) = queue(1);
        for pause in [2.0, 4.0, 8.0] {
            assert_eq!(queue.next(now), Next::Upload(key(0)));
            queue.failed(&key(0), ErrorKind::Server, false, 1.0, now);
            assert_eq!(queue.left(), Left { queued: 1, failed: 1, ..Left::default() });
            assert_eq!(queue.next(now), Next::Wait(Some(now + seconds(pause))));
            now += seconds(pause);
        }
        for (impatient, longest) in [(true, 10.0), (false, 32.0)] {
            queue.hurry(now);
            assert_eq!(queue.next(now), Next::Upload(key(0)));
            queue.failed(&key(0), ErrorKind::Server, impatient, 0.0, now);
            assert_eq!(queue.next(now), Next::Wait(Some(now + seconds(longest / 2.0))));
        }
    }

    #[test]
    fn what_is_put_off_is_refused_only_where_that_is_the_reason() {
        for (kind, refused, untried) in [(ErrorKind::BreakerOpen, 0, 2), (ErrorKind::Forbidden, 2, 0)] {
            let (mut queue, now) = queue(2);
            let until = now + seconds(300.0);
            queue.put_off(kind, until, now);
            assert_eq!(queue.next(now), Next::Wait(Some(until)));
            assert_eq!(queue.left(), Left { queued: 2, failed: 2, refused, untried });
            assert_eq!([false, true].map(|any| queue.left().hopeless(any)), [refused, 2]);
            queue.hurry(now);
            assert_eq!(queue.left(), Left { queued: 2, ..Left::default() });
            assert_eq!(queue.next(now), Next::Upload(key(0)));
            queue.put_off(kind, until, now);
            queue.done(&key(0), now);
            assert_eq!(queue.next(now), Next::Upload(key(1)), "where one went others may");
        }
    }
}
