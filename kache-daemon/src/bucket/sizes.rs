//! How large artifacts are in the bucket, as far as this daemon has moved them: build indexes tell it to the next machine.

use super::remember;
use kache_model::ArtifactKey;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Bytes of packed objects.
#[derive(Debug, Default)]
pub(crate) struct Sizes(Mutex<HashMap<ArtifactKey, u64>>);

impl Sizes {
    /// Notes one.
    pub(crate) fn note(&self, key: ArtifactKey, bytes: u64) {
        remember(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), key, bytes);
    }

    /// What is known of one.
    pub(crate) fn get(&self, key: &ArtifactKey) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }
}
