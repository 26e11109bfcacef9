//! What a remote has done so far, counted while it happens, and the names under which people see it.

use crate::error::{ErrorKind, RemoteError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Counts of one remote. Everything only grows.
#[derive(Debug, Default)]
pub struct Counters {
    /// GET requests sent, whatever came of them.
    pub gets: Count,
    /// Bytes of object bodies that arrived.
    pub get_bytes: Count,
    /// GETs whose object wasn't there.
    pub not_found: Count,
    /// PUT requests that stored an object or found it there.
    pub puts: Count,
    /// Bytes of objects that were stored.
    pub put_bytes: Count,
    /// LIST requests sent.
    pub lists: Count,
    /// Requests sent again.
    pub retries: Count,
    /// TCP connections opened.
    pub connections_opened: Count,
    errors: [Count; ErrorKind::ALL.len()],
    last_error: Mutex<Option<(SystemTime, String)>>,
}

/// One number that grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// Counts an error under its kind, once however often it is handed in.
    pub fn note(&self, error: &mut RemoteError) {
        if error.count_once() {
            self.errors[error.kind() as usize].one();
            // What wasn't tried says only what an earlier one said.
            if error.kind() != ErrorKind::BreakerOpen {
                let last = (SystemTime::now(), error.detail().to_owned());
                *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
            }
        }
    }

    /// When something last went wrong, and what.
    pub fn last_error(&self) -> Option<(SystemTime, String)> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many errors of one kind.
    pub fn errors(&self, kind: ErrorKind) -> u64 {
        self.errors[kind as usize].get()
    }

    /// The numbers as they are. What isn't counted here (breakers, credentials, requests under way) is left at rest.
    pub fn snapshot(&self) -> Snapshot {
        let Self { gets, get_bytes, not_found, puts, put_bytes, lists, retries, connections_opened, errors, last_error: _ } = self;
        let named = ErrorKind::ALL.iter().zip(errors).filter(|(_, count)| count.get() > 0);
        Snapshot {
            gets: gets.get(),
            get_bytes: get_bytes.get(),
            not_found: not_found.get(),
            puts: puts.get(),
            put_bytes: put_bytes.get(),
            lists: lists.get(),
            errors: named.map(|(kind, count)| (kind.name().to_owned(), count.get())).collect(),
            retries: retries.get(),
            connections_opened: connections_opened.get(),
            credential_loads: 0,
            breaker: BreakerStates { read: "closed".to_owned(), write: "closed".to_owned() },
            credential_source: String::new(),
            in_flight: 0,
        }
    }
}

/// What people see, under these names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// GET requests sent, whatever came of them.
    pub gets: u64,
    /// Bytes of object bodies that arrived.
    pub get_bytes: u64,
    /// GETs whose object wasn't there.
    pub not_found: u64,
    /// PUT requests that stored an object or found it there.
    pub puts: u64,
    /// Bytes of objects that were stored.
    pub put_bytes: u64,
    /// LIST requests sent.
    pub lists: u64,
    /// Errors by the name of their kind, those that were overcome by a retry among them.
    pub errors: BTreeMap<String, u64>,
    /// Requests sent again.
    pub retries: u64,
    /// TCP connections opened.
    pub connections_opened: u64,
    /// How often the source of the credentials was asked.
    pub credential_loads: u64,
    /// The breakers' states: `closed`, `open`, `half_open`.
    pub breaker: BreakerStates,
    /// Which source of credentials won.
    pub credential_source: String,
    /// Requests under way.
    pub in_flight: u64,
}

/// The states of both breakers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerStates {
    /// For GET and LIST.
    pub read: String,
    /// For PUT.
    pub write: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_counts_once_under_its_own_name() {
        let counters = Counters::default();
        let mut error = RemoteError::new(ErrorKind::Stalled, "…");
        counters.note(&mut error);
        counters.note(&mut error);
        assert_eq!(counters.snapshot().errors, BTreeMap::from([("stalled".to_owned(), 1)]));
        for (index, kind) in ErrorKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, index);
        }
    }

    #[test]
    fn names_are_those_that_dashboards_know() {
        let json = serde_json::to_value(Counters::default().snapshot()).unwrap();
        let names: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = [
            "gets",
            "get_bytes",
            "not_found",
            "puts",
            "put_bytes",
            "lists",
            "errors",
            "retries",
            "connections_opened",
            "credential_loads",
            "breaker",
            "credential_source",
            "in_flight",
        ];
        expected.sort_unstable();
        let mut sorted = names;
        sorted.sort_unstable();
        assert_eq!(sorted, expected);
        assert_eq!(json["breaker"], serde_json::json!({"read": "closed", "write": "closed"}));
    }
}
