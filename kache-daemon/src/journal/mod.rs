//! What builds did: `kache why`, `kache report`, `kache monitor` and the last build of `kache stats` are told from here.
//!
//! ```text
//! call       one invocation, from its question to its end: leaves a note ....... on the hit's path, a push under a lock
//! note       the thread behind makes a record of it ............................ names and digests of everything that was keyed
//! books      the builds that are remembered, bounded
//! files      each on disk when its Cargo is gone
//! listeners  whoever follows `GET /v1/events`
//! ```
//!
//! Promises: a hit pays for a push of what it has anyway; nothing is worded, serialised or written on its path. Who asks sees every note that was
//! left before. Losing the journal loses explanations and nothing else.

mod books;
mod call;
mod files;
mod hiding;
mod listeners;
mod note;
mod open;

pub(crate) use call::{Call, Ended};
pub(crate) use listeners::Listener;
pub(crate) use note::kind;

use crate::asker::Asker;
use crate::bucket::Bucket;
use crate::cargos::Cargos;
use books::Books;
use files::Shelf;
use kache_journal::{BuildHead, Event, Gauges, History, Removal, Report, Seen, WhyCrate};
use kache_model::{ArtifactKey, UnitKey};
use kache_proto::Request;
use kache_store::{RemovedFor, Store};
use listeners::Listeners;
use note::Note;
use open::Open;
use std::cell::OnceCell;
use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Notes are taken together: so long after the first.
const GATHER: Duration = Duration::from_millis(50);

/// How often it is looked whether a Cargo is gone, and how often gauges are told at most.
const LOOK: Duration = Duration::from_millis(500);
const GAUGES: Duration = Duration::from_secs(1);

/// Notes that may wait. The thread takes thousands in a moment; beyond that they are dropped and counted.
const MAX_WAITING: usize = 5_000;

/// Invocations of a crate that are told, latest first.
const INVOCATIONS: usize = 5;

/// See the module.
#[derive(Debug)]
pub(crate) struct Journal {
    cargos: Cargos<Open>,
    waiting: Mutex<Waiting>,
    came: Condvar,
    books: Mutex<Books>,
    listeners: Listeners,
    store: Arc<Store>,
    bucket: OnceLock<Arc<Bucket>>,
    stopped: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Waiting {
    notes: Vec<Note>,
    dropped: u64,
    /// Somebody who asked found that a build is over: it is to be written.
    ended: bool,
    /// The thread sleeps and wants to be woken.
    asleep: bool,
}

impl Journal {
    /// Over the builds that are remembered below the cache directory; begins to work.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(crate) fn open(dir: &Path, store: Arc<Store>) -> std::io::Result<Arc<Self>> {
        let journal = Arc::new(Self {
            cargos: Cargos::default(),
            waiting: Mutex::default(),
            came: Condvar::new(),
            books: Mutex::new(Books::new(Shelf::below(dir), hiding::key(dir))),
            listeners: Listeners::default(),
            store,
            bucket: OnceLock::new(),
            stopped: AtomicBool::new(false),
            thread: Mutex::default(),
        });
        let worker = Arc::clone(&journal);
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || worker.work())?;
        *journal.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(journal)
    }

    /// Whose transfers are told to listeners.
    pub(crate) fn use_bucket(&self, bucket: Arc<Bucket>) {
        let _first = self.bucket.set(bucket);
    }

    /// One invocation that begins, asked for by the process `peer`.
    pub(crate) fn call(self: &Arc<Self>, request: Request, peer: Option<u32>, asker: Asker) -> Arc<Call> {
        Arc::new(Call::new(Arc::clone(self), request, peer, asker))
    }

    /// The last invocations of a crate, explained; `None` if it is unknown.
    pub(crate) fn why(&self, name: &str) -> Option<WhyCrate> {
        // Before the books are taken: it reads every artifact, and notes would wait.
        let stored = self.stored(name);
        let books = self.up_to_date();
        let why = WhyCrate::of(&History::new(books.builds()), name, INVOCATIONS, &|| stored.clone());
        (!why.invocations.is_empty()).then_some(why)
    }

    /// The last build at or above `dir`, else the last of all, explained in full.
    pub(crate) fn report(&self, dir: Option<&str>) -> Option<Report> {
        let books = self.up_to_date();
        let history = History::new(books.builds());
        history.last(dir).map(|build| Report::of(&history, build))
    }

    /// The last build in numbers.
    pub(crate) fn last_build(&self) -> Option<BuildHead> {
        self.up_to_date().last()
    }

    /// Follows what happens from now on; first comes what is under way.
    pub(crate) fn listen(&self) -> Listener {
        let books = self.take_notes();
        let begun = books.running().into_iter().map(Event::BuildBegun);
        let first: Vec<Event> = begun.chain([Event::Gauges(self.gauges())]).collect();
        let listener = self.listeners.add(first);
        drop(books);
        self.wake();
        listener
    }

    /// Writes down what isn't yet, of running builds too, and ends the thread.
    pub(crate) fn close(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.wake();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ended = thread.join();
        }
        self.take_notes().write(true);
    }

    fn note(&self, note: Note) {
        let mut waiting = self.waiting();
        if waiting.notes.len() >= MAX_WAITING {
            waiting.dropped += 1;
            return;
        }
        waiting.notes.push(note);
        if std::mem::take(&mut waiting.asleep) {
            self.came.notify_one();
        }
    }

    fn work(self: Arc<Self>) {
        let mut told = Instant::now();
        while !self.stopped.load(Ordering::Relaxed) {
            self.sleep();
            // What comes in the next moment is taken with it.
            std::thread::sleep(GATHER);
            self.up_to_date().write(false);
            if self.listeners.any() && told.elapsed() >= GAUGES {
                told = Instant::now();
                let gauges = self.gauges();
                self.listeners.tell(|| Event::Gauges(gauges));
            }
        }
    }

    /// Until there is something to do: at once if there is, after a while if a Cargo is at work or somebody listens.
    fn sleep(&self) {
        let mut waiting = self.waiting();
        // Under the lock that `close` rings the bell with: either it is seen here, or the bell is heard.
        if std::mem::take(&mut waiting.ended) || !waiting.notes.is_empty() || self.stopped.load(Ordering::Relaxed) {
            return;
        }
        waiting.asleep = true;
        let idle = self.cargos.is_empty() && !self.listeners.any();
        waiting = match idle {
            true => self.came.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            false => self.came.wait_timeout(waiting, LOOK).unwrap_or_else(PoisonError::into_inner).0,
        };
        waiting.asleep = false;
    }

    fn wake(&self) {
        let _waiting = self.waiting();
        self.came.notify_one();
    }

    /// The books with all notes that were left, and without builds that only seem to run: their Cargo is looked for now.
    fn up_to_date(&self) -> MutexGuard<'_, Books> {
        // In this order: whatever a Cargo that is gone has asked, it left its notes before.
        let ended = self.cargos.take_ended();
        let mut books = self.take_notes();
        for head in ended.iter().filter_map(|open| books.end(open.id)) {
            self.listeners.tell(|| Event::BuildEnded(head));
        }
        if !ended.is_empty() {
            self.waiting().ended = true;
            self.wake();
        }
        books
    }

    /// Takes in all notes that were left, and gives the books.
    fn take_notes(&self) -> MutexGuard<'_, Books> {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.load();
        let (notes, dropped) = {
            let mut waiting = self.waiting();
            (std::mem::take(&mut waiting.notes), std::mem::take(&mut waiting.dropped))
        };
        if dropped > 0 {
            tracing::warn!(dropped, "the journal could not keep up; some invocations can't be explained");
        }
        let mut happened = Vec::new();
        for note in notes {
            happened.extend(books.take(note, |key| self.removal(key)));
        }
        self.tell(&books, happened);
        books
    }

    /// Has listeners told what happened; nothing is made if there are none.
    fn tell(&self, books: &Books, happened: Vec<(u64, books::Happened)>) {
        if !self.listeners.any() || happened.is_empty() {
            return;
        }
        let history = OnceCell::new();
        let history = || history.get_or_init(|| History::new(books.builds()));
        for (build, what) in happened {
            if let Some(event) = books.event(&history, build, what) {
                self.listeners.tell(|| event);
            }
        }
    }

    /// What the store's artifacts of a crate tell of their units.
    fn stored(&self, name: &str) -> Vec<Seen> {
        let of_crate = self.store.artifacts().filter(|summary| summary.is_of(name));
        let units: HashSet<UnitKey> = of_crate.map(|summary| summary.unit).collect();
        units.into_iter().filter_map(|unit| Some(Seen::told(unit, self.store.outline(&unit).ok()??))).collect()
    }

    fn removal(&self, key: &ArtifactKey) -> Option<Removal> {
        self.store.removed(key).map(|why| match why {
            RemovedFor::Room => Removal::Evicted,
            RemovedFor::Request => Removal::Purged,
            RemovedFor::Damage => Removal::Damaged,
        })
    }

    fn gauges(&self) -> Gauges {
        let usage = self.store.usage();
        let bucket = self.bucket.get().map(|bucket| bucket.snapshot().gauges());
        let (fetched_bytes, stored_bytes, queued_uploads) = bucket.unwrap_or_default();
        Gauges {
            store_bytes: usage.bytes,
            store_max_bytes: usage.max_bytes,
            artifacts: usage.artifacts,
            evicted_artifacts: usage.evicted_artifacts,
            bucket: bucket.is_some(),
            fetched_bytes,
            stored_bytes,
            queued_uploads,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
