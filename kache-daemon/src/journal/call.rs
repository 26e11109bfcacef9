//! One invocation, from its question to its end.
//!
//! Promises: it ends once, whatever becomes of it: one that is dropped without an end while rustc ran is told as lost. Leaving a note costs a
//! push; the build that it belongs to is looked up when it first matters, while whoever asked still waits.

use super::Journal;
use super::note::{Note, Place};
use super::open::Open;
use crate::asker::Asker;
use crate::capture::Captured;
use crate::question::Question;
use crate::sources::{NotStored, Read};
use kache_journal::{Kept, Moved};
use kache_model::{ArtifactKey, Bypass, NotStoredReason, Outcome};
use kache_proto::Request;
use kache_store::Held;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug)]
pub(crate) struct Call {
    /// What the shim asked.
    pub(crate) request: Request,
    /// The shim's process, where the system tells.
    pub(crate) peer: Option<u32>,
    /// Whether anybody still waits for the answer.
    pub(crate) asker: Asker,
    journal: Arc<Journal>,
    came: Instant,
    place: OnceLock<(Arc<Open>, u64)>,
    compiling: AtomicBool,
}

/// How an invocation ended that was understood.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(super) outcome: Outcome,
    /// What rustc took, or had taken.
    pub(super) rustc: Duration,
    pub(super) restored: Moved,
    /// What its key was made from.
    pub(super) read: Option<Read>,
    /// The artifact that was found.
    pub(super) key: Option<ArtifactKey>,
    /// What became of the result, as far as it is known.
    pub(super) kept: Kept,
    /// Why it can't be stored.
    pub(super) not_stored: Option<NotStoredReason>,
}

impl Ended {
    /// A hit: what the artifact saved, what was moved.
    pub(crate) fn hit(outcome: Outcome, held: &Held, restored: Moved, read: Read) -> Self {
        let rustc = Duration::from_millis(held.artifact().compile_millis);
        Self { outcome, rustc, restored, read: Some(read), key: Some(*held.key()), kept: Kept::No, not_stored: None }
    }

    /// A compile that succeeded, whether or not its result can be kept.
    pub(crate) fn miss(rustc: Duration, captured: Result<&Captured, &NotStored>) -> Self {
        let (read, kept) = match captured {
            Ok(captured) => (Some(captured.read()), Kept::No),
            Err(reason) => (None, Kept::Refused(reason.to_string())),
        };
        let not_stored = captured.err().map(NotStored::reason);
        Self { outcome: Outcome::Miss, rustc, restored: Moved::default(), read, key: None, kept, not_stored }
    }

    /// What its key was made from, if it is known.
    pub(super) fn read(&self) -> Option<&Read> {
        self.read.as_ref()
    }

    /// A compile that failed.
    pub(crate) fn failed(rustc: Duration) -> Self {
        Self { outcome: Outcome::Failed, rustc, restored: Moved::default(), read: None, key: None, kept: Kept::No, not_stored: None }
    }
}

impl Call {
    pub(super) fn new(journal: Arc<Journal>, request: Request, peer: Option<u32>, asker: Asker) -> Self {
        Self { request, peer, asker, journal, came: Instant::now(), place: OnceLock::new(), compiling: AtomicBool::new(false) }
    }

    /// rustc begins to run.
    pub(crate) fn compiles(&self, question: &Arc<Question>) {
        self.compiling.store(true, Ordering::Relaxed);
        self.journal.note(Note::Begun { place: self.place(), question: Arc::clone(question) });
    }

    /// It was declined.
    pub(crate) fn bypassed(self: &Arc<Self>, bypass: Bypass) {
        self.journal.note(Note::Bypassed { place: self.place(), call: Arc::clone(self), bypass, ended: Instant::now() });
    }

    /// It ended.
    pub(crate) fn ended(&self, question: &Arc<Question>, end: Ended) {
        self.compiling.store(false, Ordering::Relaxed);
        self.journal.note(Note::Ended { place: self.place(), question: Arc::clone(question), end: Box::new(end), ended: Instant::now() });
    }

    /// The result is stored.
    pub(crate) fn stored(&self, key: ArtifactKey, kept: Kept) {
        self.journal.note(Note::Kept { place: self.place(), key: Some(key), kept, not_stored: None });
    }

    /// The result can't be stored.
    pub(crate) fn not_stored(&self, reason: &NotStored) {
        let kept = Kept::Refused(reason.to_string());
        self.journal.note(Note::Kept { place: self.place(), key: None, kept, not_stored: Some(reason.reason()) });
    }

    fn place(&self) -> Place {
        let make = || {
            let cargo = self.request.parent;
            let (open, _) = self.journal.cargos.of(cargo, |words| Open::new(cargo, words, self.came));
            let number = open.number();
            (open, number)
        };
        let (open, number) = self.place.get_or_init(make);
        Place { open: Arc::clone(open), number: *number, came: self.came }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.compiling.load(Ordering::Relaxed) {
            self.journal.note(Note::Lost { place: self.place() });
        }
    }
}
