//! Answers of the compiler about itself (`-vV`, `--print …`), kept in memory.

use kache_model::Digest;
use kache_proto::Reply;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Above this many answers the memory starts afresh; an answer is a few kilobytes.
const MAX_ANSWERS: usize = 4096;

/// What was answered before.
#[derive(Debug, Default)]
pub(crate) struct Queries(Mutex<HashMap<Digest, Answer>>);

#[derive(Clone, Debug)]
struct Answer {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Queries {
    /// The answer, if it is known.
    pub(crate) fn get(&self, key: &Digest) -> Option<Reply> {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Answer { stdout, stderr } = map.get(key)?.clone();
        Some(Reply::Replay { status: 0, stdout, stderr })
    }

    /// Keeps a successful answer.
    pub(crate) fn insert(&self, key: Digest, stdout: Vec<u8>, stderr: Vec<u8>) {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= MAX_ANSWERS {
            map.clear();
        }
        map.insert(key, Answer { stdout, stderr });
    }
}
