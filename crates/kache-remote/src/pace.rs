//! How many bytes uploads may send per second, all of them together.
//!
//! Promise: over any stretch of time no more than the rate allows plus one piece per upload; nothing is saved up while nothing is sent. Whoever asks first
//! goes first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The rate, and when the next byte may go.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Bytes per second; 0: as many as the line takes.
    rate: AtomicU64,
    free: Mutex<Instant>,
}

impl Pace {
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Self { rate: AtomicU64::new(rate.unwrap_or(0)), free: Mutex::new(Instant::now()) }
    }

    /// Counts for every piece that is asked for from now on.
    pub(crate) fn set(&self, rate: Option<u64>) {
        self.rate.store(rate.unwrap_or(0), Ordering::Relaxed);
    }

    /// Returns when so many more bytes may be sent.
    pub(crate) async fn wait_for(&self, bytes: usize) {
        let rate = self.rate.load(Ordering::Relaxed);
        if rate == 0 {
            return;
        }
        let start = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let start = (*free).max(Instant::now());
            *free = start + Duration::from_secs_f64(bytes as f64 / rate as f64);
            start
        };
        sleep_until(start).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pieces_of_all_uploads_keep_the_rate_and_none_is_saved_up() {
        let pace = Pace::new(Some(1000));
        tokio::time::advance(Duration::from_secs(60)).await;
        let start = Instant::now();
        let upload = async || {
            for _ in 0..5 {
                pace.wait_for(100).await;
            }
        };
        futures_util::join!(upload(), upload());
        assert_eq!(start.elapsed().as_millis(), 900);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nobody_waits() {
        let pace = Pace::new(Some(1));
        pace.wait_for(1).await;
        pace.set(None);
        let start = Instant::now();
        pace.wait_for(usize::MAX).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
