//! Credentials that are looked up when they are needed, once for everybody, and looked up again before they end.
//!
//! Promises:
//! - many callers at once cause one lookup; a caller that goes away doesn't end it;
//! - while credentials are good nobody waits: a lookup ahead of their end runs beside the requests, and when it fails the old ones serve on;
//! - a failed lookup is repeated, after pauses that double up to [`LONGEST_PAUSE`]; no error stays for ever;
//! - what the source reads (files) is looked at again at most once per [`LOOK_EVERY`], and a change causes a lookup at once.

use crate::credential::{Credentials, ProvideCredentials};
use crate::error::{ErrorKind, RemoteError};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How long before their end credentials are looked up again, if they last that long.
const AHEAD: Duration = Duration::from_secs(5 * 60);

/// Shorter-lived ones are looked up again when this part of their time is left.
const AHEAD_OF_SHORT: u32 = 5;

/// Between two lookups, however short the credentials' life.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Between two looks at what the source reads.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// For one lookup: programs may ask people, roles may be assumed through roles.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that refuses what was looked up so recently would refuse the next lookup's as well.
const RENEWED_RECENTLY: Duration = Duration::from_secs(10);

/// Where credentials are looked up.
pub(crate) trait Source: Send + Sync + fmt::Debug + 'static {
    /// Looks them up anew.
    fn load(&self) -> BoxFuture<'_, Result<Loaded, RemoteError>>;

    /// Changes when [`Source::load`] may give something else. Cheap.
    fn stamp(&self) -> Stamp;

    /// What it is, for people, before anything was looked up.
    fn name(&self) -> String;
}

/// For each file that a source reads: modification time (ns), size and inode; `None` when it isn't there.
pub(crate) type Stamp = Vec<Option<(i128, u64, u64)>>;

/// What a lookup gave.
pub(crate) struct Loaded {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) session_token: Option<String>,
    pub(crate) expires: Option<SystemTime>,
    /// Where exactly it came from, for people.
    pub(crate) source: String,
}

/// Both clocks at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    pub(crate) wall: SystemTime,
    pub(crate) steady: Instant,
}

type Clock = Box<dyn Fn() -> Now + Send + Sync>;
type Answer = Result<Arc<Credentials>, RemoteError>;
type Flight = Shared<BoxFuture<'static, Answer>>;

/// See the module.
pub(crate) struct Renewing<S>(Arc<Inner<S>>);

struct Inner<S> {
    source: S,
    clock: Clock,
    loads: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    failure: Option<Failure>,
    flight: Option<Flight>,
    stamp: Stamp,
    looked: Option<Instant>,
    /// Generation that a server refused, and when it was looked up again for that.
    renewed: Option<(u64, Instant)>,
}

struct Held {
    credentials: Arc<Credentials>,
    again: Option<SystemTime>,
    source: String,
}

struct Failure {
    error: RemoteError,
    again: Instant,
    pause: Duration,
}

impl<S: Source> Renewing<S> {
    pub(crate) fn new(source: S) -> Self {
        Self::with_clock(source, Box::new(|| Now { wall: SystemTime::now(), steady: Instant::now() }))
    }

    fn with_clock(source: S, clock: Clock) -> Self {
        Self(Arc::new(Inner { source, clock, loads: AtomicU64::new(0), state: Mutex::default() }))
    }

    /// Credentials that are good, an error that is fresh, or the lookup to wait for.
    fn look(&self) -> Result<Answer, Flight> {
        let now = (self.0.clock)();
        let mut state = self.0.state();
        let changed = self.0.changed(&mut state, now);
        let may_try = state.failure.as_ref().is_none_or(|failure| now.steady >= failure.again);
        match state.good(now) {
            Some(held) if !changed => {
                let credentials = Arc::clone(&held.credentials);
                if may_try && held.again.is_some_and(|again| now.wall >= again) {
                    drop(self.0.fly(&mut state));
                }
                Ok(Ok(credentials))
            }
            None if !changed && !may_try && state.flight.is_none() => {
                Ok(Err(state.failure.as_ref().map_or_else(given_up, |failure| failure.error.clone())))
            }
            _ => Err(self.0.fly(&mut state)),
        }
    }

    fn look_for_newer(&self, stale: u64) -> Result<Answer, Flight> {
        let now = (self.0.clock)();
        let mut state = self.0.state();
        if let Some(held) = state.held.as_ref() {
            let recently = |at: Instant| now.steady.saturating_duration_since(at) < RENEWED_RECENTLY;
            let in_vain = state.renewed.is_some_and(|(generation, at)| generation == stale && recently(at));
            if held.credentials.generation > stale || (in_vain && state.flight.is_none()) {
                return Ok(Ok(Arc::clone(&held.credentials)));
            }
        }
        state.renewed = Some((stale, now.steady));
        Err(self.0.fly(&mut state))
    }
}

impl<S: Source> Inner<S> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, state: &mut State, now: Now) -> bool {
        let recently = state.looked.is_some_and(|looked| now.steady.saturating_duration_since(looked) < LOOK_EVERY);
        // A lookup that is running may have read what was there before the change: the change is for the one after it.
        if recently || state.flight.is_some() {
            return false;
        }
        state.looked = Some(now.steady);
        let stamp = self.source.stamp();
        stamp != std::mem::replace(&mut state.stamp, stamp.clone())
    }

    /// The lookup that is running, or a new one.
    fn fly(self: &Arc<Self>, state: &mut State) -> Flight {
        if let Some(flight) = &state.flight {
            return flight.clone();
        }
        self.loads.fetch_add(1, Ordering::Relaxed);
        let inner = Arc::clone(self);
        let task = tokio::spawn(async move {
            let loaded = tokio::time::timeout(PATIENCE, inner.source.load()).await;
            let late = || RemoteError::new(ErrorKind::NoCredentials, format!("{} gave none within {PATIENCE:?}", inner.source.name()));
            inner.land(loaded.unwrap_or_else(|_| Err(late())))
        });
        let lookup = Arc::clone(self);
        let flight = async move {
            match task.await {
                Ok(answer) => answer,
                Err(_) => lookup.land(Err(RemoteError::new(ErrorKind::NoCredentials, "the lookup of credentials was broken off"))),
            }
        };
        let flight = flight.boxed().shared();
        state.flight = Some(flight.clone());
        flight
    }

    fn land(&self, loaded: Result<Loaded, RemoteError>) -> Answer {
        let now = (self.clock)();
        let mut state = self.state();
        state.flight = None;
        match loaded {
            Ok(loaded) => Ok(state.hold(loaded, now)),
            Err(error) => state.fail(error, now),
        }
    }
}

impl State {
    fn good(&self, now: Now) -> Option<&Held> {
        self.held.as_ref().filter(|held| held.credentials.expires.is_none_or(|expires| now.wall < expires))
    }

    fn hold(&mut self, loaded: Loaded, now: Now) -> Arc<Credentials> {
        let Loaded { access_key, secret_key, session_token, expires, source } = loaded;
        let generation = self.held.as_ref().map_or(0, |held| held.credentials.generation);
        let mut credentials = Credentials { access_key, secret_key, session_token, expires, generation };
        if self.held.as_ref().is_none_or(|held| *held.credentials != credentials) {
            credentials.generation += 1;
        }
        let again = expires.map(|expires| {
            let left = expires.duration_since(now.wall).unwrap_or_default();
            now.wall + (left - AHEAD.min(left / AHEAD_OF_SHORT)).max(SHORTEST_PAUSE)
        });
        let credentials = Arc::new(credentials);
        self.held = Some(Held { credentials: Arc::clone(&credentials), again, source });
        self.failure = None;
        credentials
    }

    fn fail(&mut self, error: RemoteError, now: Now) -> Answer {
        let pause = self.failure.as_ref().map_or(SHORTEST_PAUSE, |failure| (failure.pause * 2).min(LONGEST_PAUSE));
        tracing::warn!(%error, pause_secs = pause.as_secs(), still_good = self.good(now).is_some(), "no new credentials");
        self.failure = Some(Failure { error: error.clone(), again: now.steady + pause, pause });
        self.good(now).map(|held| Arc::clone(&held.credentials)).ok_or(error)
    }
}

fn given_up() -> RemoteError {
    RemoteError::new(ErrorKind::NoCredentials, "no credentials")
}

impl<S: Source> ProvideCredentials for Renewing<S> {
    fn current(&self) -> BoxFuture<'_, Answer> {
        Box::pin(async {
            match self.look() {
                Ok(answer) => answer,
                Err(flight) => flight.await,
            }
        })
    }

    fn renew(&self, stale: u64) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            match self.look_for_newer(stale) {
                Ok(answer) => answer,
                Err(flight) => flight.await,
            }
        })
    }

    fn source(&self) -> String {
        self.0.state().held.as_ref().map_or_else(|| self.0.source.name(), |held| held.source.clone())
    }

    fn loads(&self) -> u64 {
        self.0.loads.load(Ordering::Relaxed)
    }
}

impl<S: Source> fmt::Debug for Renewing<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewing").field("source", &self.0.source).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
