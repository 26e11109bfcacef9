//! Artifacts, known inputs and build indexes over a remote, and remotes that misbehave.

use crate::support::*;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use kache_model::{Digest, InputSet, PortablePath, UnitKey};
use kache_remote::*;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A remote in memory whose next bodies come as told.
#[derive(Debug, Default)]
struct Moody {
    memory: MemoryRemote,
    moods: Mutex<VecDeque<Mood>>,
}

#[derive(Clone, Copy, Debug)]
enum Mood {
    /// Breaks off after some bytes.
    Resets(usize),
    /// In chunks of this many bytes, with empty ones between.
    Drips(usize),
    /// Stops for ever after some bytes.
    Hangs(usize),
}

impl Moody {
    fn with(moods: &[Mood]) -> Self {
        let moody = Self { moods: Mutex::new(moods.iter().copied().collect()), ..Self::default() };
        moody.memory.plant(&asked().object_name(), sample_object());
        moody
    }
}

fn body(bytes: &Bytes, mood: Mood) -> Body {
    let len = Some(bytes.len() as u64);
    match mood {
        Mood::Resets(at) => {
            let broken = Err(RemoteError::new(ErrorKind::Reset, "the connection broke"));
            Body::new(len, stream::iter([Ok(bytes.slice(..at)), broken]))
        }
        Mood::Drips(size) => {
            let chunks: Vec<_> = bytes.chunks(size).flat_map(|chunk| [Ok(Bytes::copy_from_slice(chunk)), Ok(Bytes::new())]).collect();
            Body::new(len, stream::iter(chunks))
        }
        Mood::Hangs(at) => Body::new(len, stream::iter([Ok(bytes.slice(..at))]).chain(stream::pending())),
    }
}

impl Remote for Moody {
    fn get(&self, name: &ObjectName, priority: Priority) -> BoxFuture<'_, Result<Option<Body>, RemoteError>> {
        let mood = self.moods.lock().unwrap().pop_front();
        match (mood, self.memory.peek(name)) {
            (Some(mood), Some(bytes)) => {
                self.counters().gets.one();
                Box::pin(async move { Ok(Some(body(&bytes, mood))) })
            }
            _ => self.memory.get(name, priority),
        }
    }

    fn put(&self, name: &ObjectName, content: Content, when: PutWhen) -> BoxFuture<'_, Result<PutOutcome, RemoteError>> {
        self.memory.put(name, content, when)
    }

    fn list(&self, scope: &Scope, after: Option<String>) -> BoxFuture<'_, Result<Page, RemoteError>> {
        self.memory.list(scope, after)
    }

    fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy { base: Duration::from_millis(1), ..RetryPolicy::default() }
    }

    fn counters(&self) -> &Counters {
        self.memory.counters()
    }

    fn snapshot(&self) -> Snapshot {
        self.memory.snapshot()
    }
}

/// Fetches the sample; how many bytes arrived, and the intake's count of what is alive.
async fn fetch(remote: &Moody) -> (Result<Option<Unpacked<Taken>>, RemoteError>, u64, Arc<AtomicUsize>) {
    let intake = Memory::default();
    let (alive, progress) = (Arc::clone(&intake.alive), AtomicU64::new(0));
    let fetched = fetch_artifact(remote, &asked(), Priority::Demand, Limits::default(), Arc::new(intake), &progress).await;
    (fetched, progress.into_inner(), alive)
}

fn good(fetched: Result<Option<Unpacked<Taken>>, RemoteError>) {
    let unpacked = fetched.unwrap().unwrap();
    assert_eq!(unpacked.descriptor, sample());
    assert!(unpacked.staged.iter().map(|taken| &taken.bytes[..]).eq(OUTPUTS.map(|(_, _, bytes)| bytes)));
}

#[tokio::test]
async fn an_artifact_is_stored_and_fetched() {
    let remote = Moody::default();
    let place = tempfile::tempdir().unwrap();
    let staging = place.path().join("up");
    let outputs = || sample().artifact.outputs.into_iter().zip(OUTPUTS.map(|(_, _, bytes)| bytes));
    assert!(fetch(&remote).await.0.unwrap().is_none());
    for expected in [PutOutcome::Stored, PutOutcome::AlreadyThere] {
        let (outcome, packed) = upload_artifact(&remote, sample(), outputs(), 3, &staging, PutWhen::Absent).await.unwrap();
        assert_eq!((outcome, packed.len), (expected, sample_object().len() as u64));
        assert!(!staging.exists());
    }
    let (fetched, progress, alive) = fetch(&remote).await;
    good(fetched);
    assert_eq!((progress, alive.load(Ordering::Relaxed)), (sample_object().len() as u64, 0));
}

#[tokio::test]
async fn a_blob_that_rotted_is_not_uploaded() {
    let remote = Moody::default();
    let place = tempfile::tempdir().unwrap();
    let outputs = sample().artifact.outputs.into_iter().map(|output| (output, &b"rotten"[..]));
    let result = upload_artifact(&remote, sample(), outputs, 3, &place.path().join("up"), PutWhen::Absent).await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::DigestMismatch);
    assert_eq!((remote.memory.names(), place.path().read_dir().unwrap().count()), (vec![], 0));
}

#[tokio::test]
async fn a_broken_connection_is_tried_again_from_the_start() {
    let remote = Moody::with(&[Mood::Resets(0), Mood::Resets(900), Mood::Drips(1)]);
    let (fetched, progress, _) = fetch(&remote).await;
    good(fetched);
    assert_eq!(progress, 900 + sample_object().len() as u64);
    assert_eq!((remote.counters().gets.get(), remote.counters().errors(ErrorKind::Reset)), (3, 2));
}

#[tokio::test]
async fn a_connection_that_always_breaks_leaves_nothing() {
    let remote = Moody::with(&[Mood::Resets(900); 9]);
    let (fetched, _, alive) = fetch(&remote).await;
    assert_eq!(fetched.unwrap_err().kind(), ErrorKind::Reset);
    assert_eq!((remote.counters().gets.get(), alive.load(Ordering::Relaxed)), (4, 0));
}

#[tokio::test]
async fn bad_bytes_are_asked_for_once() {
    let remote = Moody::with(&[]);
    let mut object = sample_object();
    *object.last_mut().unwrap() ^= 1;
    remote.memory.plant(&asked().object_name(), object);
    let (fetched, _, alive) = fetch(&remote).await;
    let error = fetched.unwrap_err();
    assert_eq!((error.kind(), remote.counters().gets.get()), (ErrorKind::Corrupt, 1));
    assert!(error.to_string().contains("serde/"), "{error}");
    assert_eq!((remote.counters().errors(ErrorKind::Corrupt), alive.load(Ordering::Relaxed)), (1, 0));
}

/// The verdict doesn't wait for the rest of a body that is refused already.
#[tokio::test]
async fn a_body_that_is_refused_is_not_waited_for() {
    let remote = Moody::with(&[Mood::Hangs(100)]);
    remote.memory.plant(&asked().object_name(), vec![b'x'; 5000]);
    let (fetched, progress, _) = tokio::time::timeout(Duration::from_secs(20), fetch(&remote)).await.unwrap();
    assert_eq!((fetched.unwrap_err().kind(), progress), (ErrorKind::Corrupt, 100));
}

#[tokio::test]
async fn a_fetch_that_is_dropped_leaves_nothing() {
    let len = sample_object().len();
    let remote = Moody::with(&[Mood::Hangs(len - 1)]);
    let intake = Arc::new(Memory::default());
    let (alive, progress) = (Arc::clone(&intake.alive), AtomicU64::new(0));
    let staged = async {
        while alive.load(Ordering::Relaxed) < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let asked = asked();
    tokio::select! {
        _ = fetch_artifact(&remote, &asked, Priority::Demand, Limits::default(), Arc::clone(&intake), &progress) => panic!("it hangs"),
        () = staged => {}
    }
    while alive.load(Ordering::Relaxed) > 0 || Arc::strong_count(&intake) > 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn known_inputs_grow_at_the_front_and_bad_ones_are_replaced() {
    let remote = Moody::default();
    let (package, unit) = (PackageName::new("serde").unwrap(), UnitKey(Digest::of(b"unit")));
    let set = |name: &str| InputSet { files: vec![PortablePath(name.into())], ..InputSet::default() };
    let known = |names: &[&str]| KnownInputs::new(unit, names.iter().map(|name| set(name)));
    assert_eq!(fetch_known_inputs(&remote, &package, &unit, Priority::Demand).await.unwrap(), None);
    add_known_inputs(&remote, &package, known(&["a"]), true).await.unwrap();
    assert_eq!(add_known_inputs(&remote, &package, known(&["b"]), true).await.unwrap(), known(&["b", "a"]));
    let puts = remote.counters().puts.get();
    add_known_inputs(&remote, &package, known(&["a"]), false).await.unwrap();
    add_known_inputs(&remote, &package, known(&[]), false).await.unwrap();
    assert_eq!(remote.counters().puts.get(), puts, "nothing new, nothing written");
    assert_eq!(fetch_known_inputs(&remote, &package, &unit, Priority::Demand).await.unwrap(), Some(known(&["b", "a"])));
    remote.memory.plant(&ObjectName::Inputs { package: package.clone(), unit }, "garbage");
    let error = fetch_known_inputs(&remote, &package, &unit, Priority::Demand).await.unwrap_err();
    assert_eq!((error.kind(), remote.counters().errors(ErrorKind::Corrupt)), (ErrorKind::Corrupt, 1));
    assert_eq!(add_known_inputs(&remote, &package, known(&["c"]), false).await.unwrap(), known(&["c"]));
}

#[tokio::test]
async fn a_build_index_is_stored_replaced_and_fetched() {
    let remote = Moody::default();
    let name = ObjectName::Build(Digest::of(b"build"));
    let index = |host: &str| BuildIndex { host: host.into(), ..BuildIndex::default() };
    assert_eq!(fetch_build_index(&remote, &name, Priority::Ahead).await.unwrap(), None);
    for host in ["a", "b"] {
        put_build_index(&remote, &name, &index(host), PutWhen::Always).await.unwrap();
        assert_eq!(fetch_build_index(&remote, &name, Priority::Ahead).await.unwrap(), Some(index(host)));
    }
}
