//! A remote that lives in memory, for tests of whatever stands on top of one.
//!
//! It behaves like a healthy bucket: conditional PUTs, listings in pages in the order of keys, counters. Nothing ever fails; what fails
//! is the business of a wrapper.

use crate::body::{Body, Content};
use crate::counters::{Counters, Snapshot};
use crate::error::{ErrorKind, RemoteError};
use crate::name::{ObjectName, Scope};
use crate::retry::RetryPolicy;
use crate::{Page, Priority, PutOutcome, PutWhen, Remote};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const CHUNK_BYTES: usize = 64 << 10;

/// Objects in memory, by their key below an empty prefix.
#[derive(Debug)]
pub struct MemoryRemote {
    objects: Mutex<BTreeMap<String, Bytes>>,
    counters: Arc<Counters>,
    page_len: usize,
}

impl MemoryRemote {
    /// An empty one that lists `page_len` objects at a time.
    pub fn new(page_len: usize) -> Self {
        Self { objects: Mutex::default(), counters: Arc::default(), page_len: page_len.max(1) }
    }

    /// The bytes behind a name.
    pub fn peek(&self, name: &ObjectName) -> Option<Bytes> {
        self.lock().get(&name.path("")).cloned()
    }

    /// Puts bytes behind a name, uncounted.
    pub fn plant(&self, name: &ObjectName, bytes: impl Into<Bytes>) {
        self.lock().insert(name.path(""), bytes.into());
    }

    /// Removes what is behind a name.
    pub fn remove(&self, name: &ObjectName) -> Option<Bytes> {
        self.lock().remove(&name.path(""))
    }

    /// The names of all objects, in the order of their keys.
    pub fn names(&self) -> Vec<ObjectName> {
        self.lock().keys().filter_map(|key| ObjectName::parse("", key)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, name: &ObjectName, bytes: Bytes, when: PutWhen) -> PutOutcome {
        let mut objects = self.lock();
        self.counters.puts.one();
        if when == PutWhen::Absent && objects.contains_key(&name.path("")) {
            return PutOutcome::AlreadyThere;
        }
        self.counters.put_bytes.add(bytes.len() as u64);
        objects.insert(name.path(""), bytes);
        PutOutcome::Stored
    }

    fn page(&self, scope: &Scope, after: Option<String>) -> Page {
        self.counters.lists.one();
        let prefix = scope.path("");
        let begin = after.map_or(Bound::Included(prefix.clone()), Bound::Excluded);
        let objects = self.lock();
        let mut rows = objects.range((begin, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(&prefix)).peekable();
        let mut page = Page::default();
        for (key, bytes) in rows.by_ref().take(self.page_len) {
            page.objects.extend(ObjectName::parse("", key).map(|name| (name, bytes.len() as u64)));
            page.next = Some(key.clone());
        }
        if rows.peek().is_none() {
            page.next = None;
        }
        page
    }
}

impl Default for MemoryRemote {
    fn default() -> Self {
        Self::new(1000)
    }
}

impl Remote for MemoryRemote {
    fn get(&self, name: &ObjectName, _priority: Priority) -> BoxFuture<'_, Result<Option<Body>, RemoteError>> {
        let found = self.peek(name);
        Box::pin(async move {
            self.counters.gets.one();
            if found.is_none() {
                self.counters.not_found.one();
            }
            Ok(found.map(|bytes| in_chunks(bytes, Arc::clone(&self.counters))))
        })
    }

    fn put(&self, name: &ObjectName, content: Content, when: PutWhen) -> BoxFuture<'_, Result<PutOutcome, RemoteError>> {
        let name = name.clone();
        Box::pin(async move {
            let bytes = match content {
                Content::Bytes(bytes) => bytes,
                Content::File { path, .. } => tokio::fs::read(&path)
                    .await
                    .map_err(|error| RemoteError::new(ErrorKind::Disk, format!("can't read {}: {error}", path.display())))?
                    .into(),
            };
            Ok(self.store(&name, bytes, when))
        })
    }

    fn list(&self, scope: &Scope, after: Option<String>) -> BoxFuture<'_, Result<Page, RemoteError>> {
        let page = self.page(scope, after);
        Box::pin(async move { Ok(page) })
    }

    fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy::default()
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot { credential_source: "memory".to_owned(), ..self.counters.snapshot() }
    }
}

fn in_chunks(bytes: Bytes, counters: Arc<Counters>) -> Body {
    let len = bytes.len();
    let chunks = (0..len).step_by(CHUNK_BYTES).map(move |start| {
        let chunk = bytes.slice(start..len.min(start + CHUNK_BYTES));
        counters.get_bytes.add(chunk.len() as u64);
        Ok(chunk)
    });
    Body::new(Some(len as u64), stream::iter(chunks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::PackageName;
    use crate::retry::fetch_bytes;
    use kache_model::{ArtifactKey, Digest};

    fn artifact(package: &str, seed: &str) -> ObjectName {
        ObjectName::Artifact { package: PackageName::new(package).unwrap(), key: ArtifactKey(Digest::of(seed.as_bytes())) }
    }

    #[tokio::test]
    async fn it_keeps_what_it_is_given() {
        let remote = MemoryRemote::default();
        let (name, other) = (artifact("serde", "a"), artifact("serde", "b"));
        let bytes = Bytes::from(vec![7; 3 * CHUNK_BYTES + 1]);
        assert_eq!(remote.put(&name, Content::Bytes(bytes.clone()), PutWhen::Absent).await.unwrap(), PutOutcome::Stored);
        let again = Content::Bytes(Bytes::from_static(b"other"));
        assert_eq!(remote.put(&name, again, PutWhen::Absent).await.unwrap(), PutOutcome::AlreadyThere);
        assert_eq!(fetch_bytes(&remote, &name, Priority::Demand, 1 << 20).await.unwrap(), Some(bytes.clone()));
        assert_eq!(fetch_bytes(&remote, &other, Priority::Demand, 1 << 20).await.unwrap(), None);
        let seen = remote.snapshot();
        assert_eq!((seen.gets, seen.not_found, seen.puts), (2, 1, 2));
        assert_eq!((seen.get_bytes, seen.put_bytes), (bytes.len() as u64, bytes.len() as u64));
        let error = fetch_bytes(&remote, &name, Priority::Demand, 100).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }

    #[tokio::test]
    async fn listings_come_in_pages_and_stay_in_their_scope() {
        let remote = MemoryRemote::new(2);
        for seed in ["a", "b", "c", "d"] {
            remote.plant(&artifact("serde", seed), seed);
            remote.plant(&artifact("serde-json", seed), seed);
        }
        let scope = Scope::Package(PackageName::new("serde").unwrap());
        let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = remote.list(&scope, after).await.unwrap();
            seen.extend(page.objects.into_iter().map(|(name, _)| name));
            pages += 1;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let mut expected: Vec<ObjectName> = ["a", "b", "c", "d"].iter().map(|seed| artifact("serde", seed)).collect();
        expected.sort();
        assert_eq!((seen, pages), (expected, 2));
        assert_eq!(remote.names().len(), 8);
    }
}
