//! Trying again: how often, after which pause, and for how long.
//!
//! Retries stand at the level of whole operations. A [`Body`] that breaks in the middle is worth nothing, so whoever consumes one does it
//! inside [`fetch`], which asks for the object anew.

use crate::body::Body;
use crate::counters::Counters;
use crate::error::RemoteError;
use crate::name::ObjectName;
use crate::{Priority, Remote};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first one included.
    pub attempts: u32,
    /// The longest possible pause before the second attempt; doubles with each one.
    pub base: Duration,
    /// The longest pause of all.
    pub cap: Duration,
    /// Once this long has passed since the first attempt failed, there is no further one.
    pub patience: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 4, base: Duration::from_millis(100), cap: Duration::from_secs(5), patience: Duration::from_secs(120) }
    }
}

impl RetryPolicy {
    /// The pause after `failed` attempts: somewhere between nothing and a limit that doubles, so that many clients that failed together
    /// don't come back together. `random` is in `0.0..1.0`.
    pub fn pause(&self, failed: u32, random: f64) -> Duration {
        let doubled = self.base.saturating_mul(1 << failed.saturating_sub(1).min(16));
        doubled.min(self.cap).mul_f64(random)
    }
}

/// Runs `attempt` until it succeeds, fails for good, or the policy says that it is enough. Counts what failed and what was tried again.
pub async fn retry<T, F, A>(policy: &RetryPolicy, counters: &Counters, mut attempt: F) -> Result<T, RemoteError>
where
    F: FnMut() -> A,
    A: Future<Output = Result<T, RemoteError>>,
{
    let mut failed = 0;
    let mut give_up = None;
    loop {
        let mut error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        counters.note(&mut error);
        failed += 1;
        let pause = policy.pause(failed, fastrand::f64());
        let give_up = *give_up.get_or_insert_with(|| Instant::now() + policy.patience);
        if !error.retryable() || failed >= policy.attempts || Instant::now() + pause > give_up {
            return Err(error);
        }
        tracing::debug!(%error, failed, pause_millis = pause.as_millis(), "trying again");
        counters.retries.one();
        sleep(pause).await;
    }
}

/// Gets an object and consumes it, from the beginning again when either fails in a way that may pass. `None` when it isn't there.
pub async fn fetch<T, F, A>(remote: &dyn Remote, name: &ObjectName, priority: Priority, consume: F) -> Result<Option<T>, RemoteError>
where
    F: Fn(Body) -> A,
    A: Future<Output = Result<T, RemoteError>>,
{
    let consume = &consume;
    let attempt = || async move {
        match remote.get(name, priority).await? {
            Some(body) => consume(body).await.map(Some),
            None => Ok(None),
        }
    };
    let fetched = retry(&remote.retry_policy(), remote.counters(), attempt).await;
    fetched.map_err(|error| error.at(format_args!("fetching {name}")))
}

/// Gets an object of at most `max` bytes into memory.
pub async fn fetch_bytes(remote: &dyn Remote, name: &ObjectName, priority: Priority, max: u64) -> Result<Option<Bytes>, RemoteError> {
    fetch(remote, name, priority, |body| body.collect(max)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use std::cell::RefCell;

    const POLICY: RetryPolicy =
        RetryPolicy { attempts: 4, base: Duration::from_millis(1), cap: Duration::from_millis(4), patience: Duration::from_secs(60) };

    /// Runs attempts that end as `results` says; how often it tried and what came out.
    async fn check(policy: RetryPolicy, results: &[Result<(), ErrorKind>], tries: usize, expected: Result<(), ErrorKind>) {
        let counters = Counters::default();
        let left = RefCell::new(results.iter());
        let outcome = retry(&policy, &counters, || {
            let next = *left.borrow_mut().next().unwrap();
            async move { next.map_err(|kind| RemoteError::new(kind, "…")) }
        });
        assert_eq!(outcome.await.map_err(|error| error.kind()), expected, "{results:?}");
        assert_eq!(results.len() - left.borrow().len(), tries, "{results:?}");
        assert_eq!(counters.retries.get(), tries as u64 - 1, "{results:?}");
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again_and_nothing_else() {
        use ErrorKind::{Forbidden, Reset, Throttled, Timeout};
        check(POLICY, &[Ok(())], 1, Ok(())).await;
        check(POLICY, &[Err(Reset), Err(Throttled), Ok(())], 3, Ok(())).await;
        check(POLICY, &[Err(Reset), Err(Reset), Err(Reset), Err(Timeout), Ok(())], 4, Err(Timeout)).await;
        check(POLICY, &[Err(Forbidden), Ok(())], 1, Err(Forbidden)).await;
        check(POLICY, &[Err(Reset), Err(Forbidden), Ok(())], 2, Err(Forbidden)).await;
        let impatient = RetryPolicy { patience: Duration::ZERO, base: Duration::from_secs(9), cap: Duration::from_secs(9), ..POLICY };
        check(impatient, &[Err(Reset), Ok(())], 1, Err(Reset)).await;
    }

    #[test]
    fn pauses_double_up_to_a_cap_and_are_spread_over_all_of_it() {
        let policy = RetryPolicy::default();
        for (failed, limit) in [(1, 100), (2, 200), (3, 400), (6, 3200), (7, 5000), (40, 5000), (u32::MAX, 5000)] {
            assert_eq!(policy.pause(failed, 1.0), Duration::from_millis(limit), "{failed}");
            assert_eq!(policy.pause(failed, 0.0), Duration::ZERO, "{failed}");
        }
        assert_eq!(policy.pause(2, 0.25), Duration::from_millis(50));
    }
}
