//! Sessions: the invocations of one Cargo process, from the first that asks to the end of that process.
//!
//! Promise: a session notes what was used in the order in which it was asked for, and knows when asking the bucket has become pointless.

use super::ahead::Names;
use super::command;
use crate::cargos::Cargos;
use crate::toolchain::Toolchain;
use kache_model::{ArtifactKey, UnitKey};
use kache_proto::Parent;
use kache_remote::{BuildIndex, IndexEntry, PackageName};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// After so many units in a row of which the bucket knows nothing, builds don't wait for its answers any more.
const UNKNOWN_IN_A_ROW: u32 = 4;

/// The sessions that are open.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Cargos<Session>);

/// One Cargo at work.
#[derive(Debug)]
pub(crate) struct Session {
    /// The Cargo.
    pub(crate) cargo: Parent,
    /// What it was asked to do.
    pub(crate) command: Vec<String>,
    /// Where, and with what, as its first invocation tells; `None` inside where the compiler can't be identified.
    pub(crate) scene: OnceLock<Option<Scene>>,
    /// Cancelled when it is gone.
    pub(crate) ended: CancellationToken,
    /// What the bucket told about such builds; `None` until it has answered.
    hints: watch::Sender<Option<Arc<Hints>>>,
    looks_ahead: AtomicBool,
    turns: AtomicU64,
    /// Questions that aren't over: what they lead to may still be on its way into the store when the Cargo is gone.
    open: TaskTracker,
    state: Mutex<State>,
}

/// A question's place in its session.
#[derive(Debug)]
pub(crate) struct Turn {
    number: u64,
    _open: TaskTrackerToken,
}

/// Where a build is done, and with what.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// At or below the directory of its `Cargo.lock`.
    pub(crate) dir: PathBuf,
    /// The compiler.
    pub(crate) toolchain: Arc<Toolchain>,
}

#[derive(Debug, Default)]
struct State {
    /// By turn.
    used: BTreeMap<u64, IndexEntry>,
    unknown_in_a_row: u32,
}

/// What build indexes say.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    /// The last index of this very build, and under which names it lies.
    pub(crate) own: Option<(Names, BuildIndex)>,
    /// What was made of each unit.
    pub(crate) expected: HashMap<UnitKey, Vec<(PackageName, ArtifactKey)>>,
}

impl Sessions {
    /// The session that `parent` belongs to, and whether it has just begun.
    pub(crate) fn of(&self, parent: Parent) -> (Arc<Session>, bool) {
        self.0.of(parent, |words| Session::new(parent, words))
    }

    /// Takes out those whose Cargo is gone.
    pub(crate) fn take_ended(&self) -> Vec<Arc<Session>> {
        let ended = self.0.take_ended();
        ended.iter().for_each(|session| session.ended.cancel());
        ended
    }

    /// Takes out all of them, whether their Cargo has ended or not.
    pub(crate) fn take_all(&self) -> Vec<Arc<Session>> {
        let all = self.0.take_all();
        all.iter().for_each(|session| session.ended.cancel());
        all
    }
}

impl Session {
    fn new(cargo: Parent, words: &[String]) -> Self {
        Self {
            cargo,
            command: command::essence(words),
            scene: OnceLock::new(),
            ended: CancellationToken::new(),
            hints: watch::Sender::new(None),
            looks_ahead: AtomicBool::new(false),
            turns: AtomicU64::new(0),
            open: TaskTracker::new(),
            state: Mutex::default(),
        }
    }

    /// Begins a question, which lasts as long as what is returned.
    pub(crate) fn turn(&self) -> Turn {
        Turn { number: self.turns.fetch_add(1, Ordering::Relaxed), _open: self.open.token() }
    }

    /// Notes an artifact that the question with this turn led to.
    pub(crate) fn used(&self, turn: &Turn, entry: IndexEntry) {
        self.state().used.insert(turn.number, entry);
    }

    /// What was used, in the order of the questions, once all of them are over.
    pub(crate) async fn all_used(&self) -> Vec<IndexEntry> {
        self.open.close();
        self.open.wait().await;
        self.state().used.values().cloned().collect()
    }

    /// The bucket knew something of a unit, or nothing.
    pub(crate) fn heard(&self, known: bool) {
        let mut state = self.state();
        state.unknown_in_a_row = if known { 0 } else { state.unknown_in_a_row.saturating_add(1) };
    }

    /// Whether the bucket has had nothing to say for a while.
    pub(crate) fn is_alone(&self) -> bool {
        self.state().unknown_in_a_row >= UNKNOWN_IN_A_ROW
    }

    /// Whether somebody has begun to ask the bucket about such builds.
    pub(crate) fn looks_ahead(&self) -> bool {
        self.looks_ahead.load(Ordering::Relaxed)
    }

    /// True for the one who is to begin.
    pub(crate) fn begin_to_look(&self) -> bool {
        !self.looks_ahead.swap(true, Ordering::Relaxed)
    }

    /// The bucket has answered what it knows about such builds.
    pub(crate) fn tell(&self, hints: Hints) {
        self.hints.send_replace(Some(Arc::new(hints)));
    }

    /// The hints, once they are there.
    pub(crate) async fn hints(&self) -> Arc<Hints> {
        let mut hints = self.hints.subscribe();
        let told = hints.wait_for(Option::is_some).await;
        told.ok().and_then(|told| told.clone()).unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hints {
    /// From the indexes that were found: of this very build, and of the nearest ones.
    pub(crate) fn new(own: Option<(Names, BuildIndex)>, nearest: &[BuildIndex]) -> Self {
        let mut expected: HashMap<UnitKey, Vec<(PackageName, ArtifactKey)>> = HashMap::new();
        for entry in own.iter().map(|(_, index)| index).chain(nearest).flat_map(|index| &index.entries) {
            let known = expected.entry(entry.unit).or_default();
            let new = (entry.package.clone(), entry.artifact);
            if !known.contains(&new) {
                known.push(new);
            }
        }
        Self { own, expected }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    fn me() -> Parent {
        process::parent(Parent { pid: std::process::id(), start: 0 }).unwrap()
    }

    #[test]
    fn a_cargo_that_is_gone_ends_its_session() {
        let sessions = Sessions::default();
        let (session, _) = sessions.of(Parent { pid: std::process::id(), start: 1 });
        assert_eq!(sessions.take_ended().len(), 1);
        assert!(session.ended.is_cancelled());
    }

    #[test]
    fn four_unknown_units_in_a_row_are_enough() {
        let session = Session::new(me(), &[]);
        for known in [false, false, false, true, false, false, false] {
            session.heard(known);
        }
        assert!(!session.is_alone());
        session.heard(false);
        assert!(session.is_alone());
        session.heard(true);
        assert!(!session.is_alone());
    }
}
