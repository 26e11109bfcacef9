//! Whoever follows what happens.
//!
//! Promises: a listener that is slow loses events and is told how many; nobody ever waits for one. Nothing is made while nobody listens.

use hyper::body::Bytes;
use kache_journal::Event;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// Events that wait for one listener.
const MAX_WAITING: usize = 4096;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    list: Mutex<Vec<Line>>,
    number: AtomicUsize,
}

/// The receiving end: events as server-sent ones.
#[derive(Debug)]
pub(crate) struct Listener(mpsc::Receiver<Bytes>);

#[derive(Debug)]
struct Line {
    sender: mpsc::Sender<Bytes>,
    missed: u64,
}

impl Listener {
    /// The next event; `None` when there are no more.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        self.0.recv().await
    }
}

impl Listeners {
    /// One more, which hears `first` first.
    pub(super) fn add(&self, first: Vec<Event>) -> Listener {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        let mut line = Line { sender, missed: 0 };
        for event in &first {
            let _there = line.tell(&spell(event));
        }
        let mut list = self.list();
        list.push(line);
        self.number.store(list.len(), Ordering::Relaxed);
        Listener(receiver)
    }

    /// Whether anybody listens.
    pub(super) fn any(&self) -> bool {
        self.number.load(Ordering::Relaxed) > 0
    }

    /// Tells everybody what `make` makes.
    pub(super) fn tell(&self, make: impl FnOnce() -> Event) {
        if !self.any() {
            return;
        }
        let event = spell(&make());
        let mut list = self.list();
        list.retain_mut(|line| line.tell(&event));
        self.number.store(list.len(), Ordering::Relaxed);
    }

    fn list(&self) -> MutexGuard<'_, Vec<Line>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// False when the listener is gone.
    fn tell(&mut self, event: &Bytes) -> bool {
        if self.missed > 0 && self.sender.try_send(spell(&Event::Missed { events: self.missed })).is_ok() {
            self.missed = 0;
        }
        match self.sender.try_send(event.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.missed += 1;
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

/// One event as the standard for server-sent events has it.
fn spell(event: &Event) -> Bytes {
    let json = serde_json::to_string(event).unwrap_or_default();
    Bytes::from(format!("data: {json}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(number: u64) -> Event {
        Event::UnitLost { build: 1, number }
    }

    #[tokio::test]
    async fn a_slow_listener_is_told_how_much_it_missed() {
        let listeners = Listeners::default();
        listeners.tell(|| unreachable!("nobody listens"));
        let mut listener = listeners.add(vec![]);
        for number in 0..MAX_WAITING as u64 + 10 {
            listeners.tell(|| lost(number));
        }
        for number in 0..MAX_WAITING as u64 {
            assert_eq!(listener.next().await, Some(spell(&lost(number))));
        }
        listeners.tell(|| lost(7));
        assert_eq!(listener.next().await, Some(spell(&Event::Missed { events: 10 })));
        assert_eq!(listener.next().await, Some(spell(&lost(7))));
        drop(listener);
        listeners.tell(|| lost(8));
        assert!(!listeners.any());
    }
}
