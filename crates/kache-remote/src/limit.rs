//! How many requests run at once, and who goes first when not all can.
//!
//! One number of slots for everything. A server that asks to slow down halves it, success lets it grow back one by one. Slots that
//! become free go to the most urgent of those that wait. A [`Permit`] is held until the last byte has arrived.
//!
//! Promise: background requests leave an eighth of the slots free and uploads take at most half, so a build that waits finds a slot
//! at once in all but the narrowest cases. A permit that is dropped while it waits or while it is being handed over isn't lost.

use crate::Priority;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Many requests are refused in one go; they count as one sign.
const ONE_SIGN: Duration = Duration::from_secs(1);

/// The slots.
#[derive(Clone, Debug)]
pub struct Limit(Arc<Mutex<Slots>>);

#[derive(Debug)]
struct Slots {
    max: usize,
    limit: usize,
    busy: usize,
    uploads: usize,
    successes: usize,
    halved: Option<Instant>,
    waiting: [VecDeque<oneshot::Sender<()>>; 3],
}

/// One slot, given back when dropped.
#[derive(Debug)]
pub struct Permit {
    limit: Limit,
    priority: Priority,
    waiting: Option<oneshot::Receiver<()>>,
}

impl Limit {
    /// `max` slots, at least one.
    pub fn new(max: usize) -> Self {
        let max = max.max(1);
        let slots = Slots { max, limit: max, busy: 0, uploads: 0, successes: 0, halved: None, waiting: Default::default() };
        Self(Arc::new(Mutex::new(slots)))
    }

    /// Waits for a slot.
    pub async fn acquire(&self, priority: Priority) -> Permit {
        let (sender, receiver) = oneshot::channel();
        let mut permit = Permit { limit: self.clone(), priority, waiting: Some(receiver) };
        {
            let mut slots = self.lock();
            slots.waiting[priority as usize].push_back(sender);
            slots.hand_out();
        }
        if let Some(receiver) = &mut permit.waiting {
            // The sender stays in the queue until it is used, and the queue lives as long as this permit.
            let _ = receiver.await;
        }
        permit.waiting = None;
        permit
    }

    /// A request succeeded.
    pub fn succeeded(&self) {
        let mut slots = self.lock();
        slots.successes += 1;
        if slots.successes >= slots.limit {
            slots.successes = 0;
            slots.limit = (slots.limit + 1).min(slots.max);
            slots.hand_out();
        }
    }

    /// The server asked to slow down.
    pub fn throttled(&self, now: Instant) {
        let mut slots = self.lock();
        if slots.halved.is_none_or(|before| now.saturating_duration_since(before) >= ONE_SIGN) {
            slots.halved = Some(now);
            slots.successes = 0;
            slots.limit = (slots.limit / 2).max(1);
        }
    }

    /// Slots taken.
    pub fn busy(&self) -> usize {
        self.lock().busy
    }

    /// Slots there are now.
    pub fn current(&self) -> usize {
        self.lock().limit
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    fn has_room(&self, priority: Priority) -> bool {
        let background = self.busy < self.limit - self.limit / 8;
        match priority {
            Priority::Demand => self.busy < self.limit,
            Priority::Ahead => background,
            Priority::Upload => background && self.uploads < (self.limit / 2).max(1),
        }
    }

    /// Gives free slots to those that wait, the most urgent first. Where a more urgent one finds no room, a less urgent one finds none either.
    fn hand_out(&mut self) {
        for priority in [Priority::Demand, Priority::Ahead, Priority::Upload] {
            while self.has_room(priority) {
                let Some(next) = self.waiting[priority as usize].pop_front() else { break };
                if next.send(()).is_ok() {
                    self.busy += 1;
                    self.uploads += usize::from(priority == Priority::Upload);
                }
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut slots = self.limit.lock();
        if let Some(mut receiver) = self.waiting.take() {
            receiver.close();
            if receiver.try_recv().is_err() {
                return;
            }
        }
        slots.busy -= 1;
        slots.uploads -= usize::from(self.priority == Priority::Upload);
        slots.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn try_acquire(limit: &Limit, priority: Priority) -> Option<Permit> {
        limit.acquire(priority).now_or_never()
    }

    #[test]
    fn slots_that_become_free_go_to_the_most_urgent() {
        let limit = Limit::new(1);
        let held = try_acquire(&limit, Priority::Ahead).unwrap();
        let mut upload = Box::pin(limit.acquire(Priority::Upload));
        let mut ahead = Box::pin(limit.acquire(Priority::Ahead));
        let mut demand = Box::pin(limit.acquire(Priority::Demand));
        for waiting in [&mut upload, &mut ahead, &mut demand] {
            assert!(waiting.now_or_never().is_none());
        }
        drop(held);
        assert!((&mut upload).now_or_never().is_none() && (&mut ahead).now_or_never().is_none());
        let held = (&mut demand).now_or_never().unwrap();
        drop(held);
        assert!((&mut upload).now_or_never().is_none());
        let held = (&mut ahead).now_or_never().unwrap();
        drop(held);
        assert!((&mut upload).now_or_never().is_some());
        assert_eq!(limit.busy(), 0);
    }

    #[test]
    fn background_leaves_room_for_builds() {
        let limit = Limit::new(16);
        let take = |priority| std::iter::from_fn(|| try_acquire(&limit, priority)).collect::<Vec<_>>();
        let uploads = take(Priority::Upload);
        assert_eq!(uploads.len(), 8);
        let ahead = take(Priority::Ahead);
        assert_eq!(ahead.len(), 6);
        assert_eq!(take(Priority::Demand).len(), 2);
        assert_eq!(limit.busy(), 14);
    }

    #[test]
    fn a_waiter_that_gives_up_takes_no_slot_with_it() {
        let limit = Limit::new(1);
        let held = try_acquire(&limit, Priority::Demand).unwrap();
        let mut before = Box::pin(limit.acquire(Priority::Demand));
        let mut granted = Box::pin(limit.acquire(Priority::Demand));
        assert!((&mut before).now_or_never().is_none() && (&mut granted).now_or_never().is_none());
        drop(before);
        drop(held);
        assert_eq!(limit.busy(), 1);
        drop(granted);
        assert_eq!(limit.busy(), 0);
        assert!(try_acquire(&limit, Priority::Upload).is_some());
    }

    #[test]
    fn throttling_halves_once_and_success_grows_back() {
        let limit = Limit::new(64);
        let now = Instant::now();
        limit.throttled(now);
        limit.throttled(now + Duration::from_millis(900));
        assert_eq!(limit.current(), 32);
        for seconds in 1..10 {
            limit.throttled(now + Duration::from_secs(seconds));
        }
        assert_eq!(limit.current(), 1);
        for expected in [2, 2, 3, 3, 3, 4] {
            limit.succeeded();
            assert_eq!(limit.current(), expected);
        }
        for _ in 0..10_000 {
            limit.succeeded();
        }
        assert_eq!(limit.current(), 64);
    }
}
