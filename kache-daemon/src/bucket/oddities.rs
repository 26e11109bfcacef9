//! What was found in the bucket that no kache would have put there, counted: somebody who looks should know.

use kache_model::bounds::Beyond;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Oddities {
    ignored_sets: AtomicU64,
    refused_artifacts: AtomicU64,
    last: Mutex<Option<String>>,
}

impl Oddities {
    /// A set was left alone for what it names.
    pub(crate) fn set_left_alone(&self, beyond: &Beyond) {
        self.ignored_sets.fetch_add(1, Ordering::Relaxed);
        self.tell(format!("an input set was left alone: {beyond}"));
    }

    /// An artifact was refused for what it holds.
    pub(crate) fn artifact_refused(&self, why: &str) {
        self.refused_artifacts.fetch_add(1, Ordering::Relaxed);
        self.tell(format!("an artifact was refused: {why}"));
    }

    /// Input sets that were left alone, each time they were met, and artifacts that were refused.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.ignored_sets.load(Ordering::Relaxed), self.refused_artifacts.load(Ordering::Relaxed))
    }

    /// The last of them in words.
    pub(crate) fn last(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell(&self, what: String) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }
}
