//! Who may write which outputs: one at a time per destination (see [`kache_rustc::destination`]), in the order in which they came.
//!
//! Promise: whoever is next with the same destination (a hit, a compile, an invocation that is declined) is answered when what the daemon
//! does for the one before has landed or is given up. So a restore for a build that was killed can't come in behind the next build's back.
//! While rustc runs nobody waits: what a killed build's rustc still writes is between Cargo and rustc.
//!
//! Waiting is bounded, ends with its conversation, and holds no turn.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

/// The longest wait. Whatever hangs for so long (a disk that is gone) isn't mended by waiting.
const PATIENCE: Duration = Duration::from_secs(300);

type Turn = Arc<tokio::sync::Mutex<()>>;
type Map = Arc<Mutex<HashMap<PathBuf, Turn>>>;

/// The destinations in use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Landings(Map);

/// The right to write to a destination. Dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Landing {
    // Dropped in this order: the place is forgotten only if nobody else holds or wants the turn.
    _turn: Option<OwnedMutexGuard<()>>,
    _place: Option<Place>,
}

/// Forgets the destination behind its last user.
#[derive(Debug)]
struct Place {
    map: Map,
    destination: PathBuf,
    turn: Option<Turn>,
}

impl Landings {
    /// Waits for its turn. Where the destination isn't known there is nothing to wait for.
    pub(crate) async fn enter(&self, destination: Option<&Path>) -> Landing {
        let Some(destination) = destination else { return Landing { _turn: None, _place: None } };
        let turn = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(destination.to_owned()).or_default());
        let place = Place { map: Arc::clone(&self.0), destination: destination.to_owned(), turn: Some(Arc::clone(&turn)) };
        if let Ok(turn) = Arc::clone(&turn).try_lock_owned() {
            return Landing { _turn: Some(turn), _place: Some(place) };
        }
        tracing::debug!(destination = %destination.display(), "waits for what is written there");
        let entered = tokio::time::timeout(PATIENCE, turn.lock_owned()).await;
        if entered.is_err() {
            tracing::warn!(destination = %destination.display(), "something that writes there doesn't end");
        }
        Landing { _turn: entered.ok(), _place: Some(place) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        self.turn = None;
        if map.get(&self.destination).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            map.remove(&self.destination);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_in_order_and_nothing_is_left() {
        let landings = Landings::default();
        let (here, there) = (Some(Path::new("/t/deps/a-1")), Some(Path::new("/t/deps/b-1")));
        let first = landings.enter(here).await;
        let (mut second, mut third) = (Box::pin(landings.enter(here)), Box::pin(landings.enter(here)));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        assert!(landings.enter(there).now_or_never().is_some() && landings.enter(None).now_or_never().is_some());
        drop(first);
        assert!((&mut third).now_or_never().is_none(), "in order");
        // One who has gone is in nobody's way.
        drop(second);
        drop(third.now_or_never().expect("its turn"));
        assert!(landings.0.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let landings = Landings::default();
        let here = Some(Path::new("/t/deps/a-1"));
        let hangs = landings.enter(here).await;
        drop(landings.enter(here).await);
        drop(hangs);
        assert!(landings.0.lock().unwrap().is_empty());
    }
}
