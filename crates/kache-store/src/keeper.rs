//! The store's own thread, and the lives of a store between opening and closing.
//!
//! The thread makes changes durable soon after they were made, writes what was only remembered, removes files that nothing refers to, and
//! collects garbage. It sleeps when there is nothing to do.
//!
//! **Lives.** Each opening begins a generation. Closing leaves a clean mark. After a stop without one, blobs of the generation that ended, and after a
//! restart of the machine those of every generation since the restart before, aren't believed until they have been hashed again: nothing
//! here waits for a blob to reach the disk.

use crate::Inner;
use crate::error::StoreError;
use crate::evict::GcLimit;
use crate::index::{BLOBS, Index, LOOKS, META, USES};
use crate::memo::{Queue, write_queue};
use crate::shelf::suspects;
use kache_model::{BlobId, Digest};
use redb::ReadableTable;
use std::fs;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a change may wait for company before it is made durable.
const COMMIT_DELAY: Duration = Duration::from_millis(200);
/// How long nothing is tried after a failure: each takes opening the index again with it.
const REST: Duration = Duration::from_secs(10);
/// How long "used now" may wait.
const USES_DELAY: Duration = Duration::from_secs(30);

/// What the thread is told, and the locks by which it takes turns with callers.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    desk: Mutex<Desk>,
    bell: Condvar,
    settling: Mutex<()>,
    collecting: Mutex<()>,
}

#[derive(Debug, Default)]
struct Desk {
    changed: bool,
    uses: bool,
    gc: bool,
    sweep: bool,
    stop: bool,
    doomed: Vec<BlobId>,
    queue: Queue,
}

impl Keeper {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, note: impl FnOnce(&mut Desk)) {
        note(&mut self.desk());
        self.bell.notify_one();
    }

    pub(crate) fn note_change(&self) {
        self.tell(|desk| desk.changed = true);
    }

    pub(crate) fn note_uses(&self) {
        self.tell(|desk| desk.uses = true);
    }

    pub(crate) fn want_gc(&self) {
        self.tell(|desk| (desk.gc, desk.changed) = (true, true));
    }

    /// Blobs may have lost the rows that name them.
    pub(crate) fn want_sweep(&self) {
        self.tell(|desk| (desk.sweep, desk.changed) = (true, true));
    }

    pub(crate) fn stop(&self) {
        self.tell(|desk| desk.stop = true);
    }

    /// Blobs whose files can go once the change that freed them is durable.
    pub(crate) fn doom(&self, ids: impl IntoIterator<Item = BlobId>) {
        self.desk().doomed.extend(ids);
    }

    pub(crate) fn enqueue(&self, add: impl FnOnce(&mut Queue)) {
        self.tell(|desk| {
            add(&mut desk.queue);
            desk.changed = true;
        });
    }

    pub(crate) fn queued<T>(&self, look: impl FnOnce(&Queue) -> T) -> T {
        look(&self.desk().queue)
    }

    pub(crate) fn collecting(&self) -> MutexGuard<'_, ()> {
        self.collecting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets some time pass, unless the store closes.
    fn rest(&self) {
        drop(self.bell.wait_timeout_while(self.desk(), REST, |desk| !desk.stop));
    }

    /// Sleeps until there is something to do and it has had time to gather. False when the store closes.
    fn wait(&self) -> bool {
        let mut desk = self.desk();
        while !desk.changed && !desk.stop {
            if desk.uses {
                let (again, timeout) = self.bell.wait_timeout(desk, USES_DELAY).unwrap_or_else(PoisonError::into_inner);
                desk = again;
                if timeout.timed_out() {
                    break;
                }
            } else {
                desk = self.bell.wait(desk).unwrap_or_else(PoisonError::into_inner);
            }
        }
        let (desk, _) = self.bell.wait_timeout_while(desk, COMMIT_DELAY, |desk| !desk.stop).unwrap_or_else(PoisonError::into_inner);
        !desk.stop
    }
}

/// Starts the thread.
pub(crate) fn start(inner: &Arc<Inner>) -> io::Result<JoinHandle<()>> {
    let inner = Arc::clone(inner);
    std::thread::Builder::new().name("kache-store".to_owned()).spawn(move || {
        if !inner.life.after_clean_stop {
            inner.sweep_orphans();
        }
        while inner.keeper.wait() {
            if std::mem::take(&mut inner.keeper.desk().sweep) {
                inner.sweep_orphans();
            }
            // What fails here (a full disk) stays visible in memory and is tried again with the next change, after a while.
            let mut settled = inner.settle();
            if std::mem::take(&mut inner.keeper.desk().gc) && inner.gc(GcLimit { max_bytes: inner.max_bytes(), max_age: None }).is_ok() {
                settled = inner.settle();
            }
            if settled.is_err() {
                inner.keeper.rest();
            }
        }
    })
}

impl Inner {
    /// The limit as it is now.
    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_bytes.load(Ordering::Relaxed)
    }

    /// Makes everything so far durable, and then removes the files that this set free.
    pub(crate) fn settle(&self) -> Result<(), StoreError> {
        let _turn = self.keeper.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let (doomed, queue) = {
            let mut desk = self.keeper.desk();
            desk.changed = false;
            desk.uses = false;
            (std::mem::take(&mut desk.doomed), desk.queue.begin_writing())
        };
        let result = {
            let _writer = self.writer();
            let unwritten = self.shelf().take_dirty();
            let written = self.index.write_durably(|transaction| {
                let mut table = transaction.open_table(USES)?;
                for (key, entry) in &unwritten.uses {
                    table.insert(key.0.as_bytes(), (entry.used, entry.row_bytes))?;
                }
                let (mut blobs, mut looks) = (transaction.open_table(BLOBS)?, transaction.open_table(LOOKS)?);
                for (id, entry) in &unwritten.blobs {
                    let (row, look) = entry.rows();
                    blobs.insert(id.0.as_bytes(), row)?;
                    looks.insert(id.0.as_bytes(), look)?;
                }
                write_queue(transaction, &queue)
            });
            written.inspect_err(|error| {
                self.recover(error);
                self.shelf().still_dirty(&unwritten);
            })
        };
        self.keeper.desk().queue.end_writing();
        match result {
            Ok(()) => self.remove_files(&doomed),
            Err(_) => self.keeper.doom(doomed),
        }
        result
    }

    /// Removes the files of blobs that are in no index.
    fn remove_files(&self, ids: &[BlobId]) {
        for id in ids {
            let _writer = self.writer();
            if self.shelf().blob(id).is_none() {
                drop(fs::remove_file(self.layout.blob(id)));
            }
        }
    }

    /// Looks for files that a killed process left between rename and commit.
    fn sweep_orphans(&self) {
        for dir in fs::read_dir(self.layout.blobs()).into_iter().flatten().flatten() {
            let names = fs::read_dir(dir.path()).into_iter().flatten().flatten();
            let ids: Vec<BlobId> = names
                .filter_map(|entry| entry.file_name().to_str()?.parse::<Digest>().ok())
                .map(BlobId)
                .filter(|id| self.shelf().blob(id).is_none())
                .collect();
            self.remove_files(&ids);
            if self.keeper.desk().stop {
                return;
            }
        }
    }
}

/// One opening of the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    /// Counts openings, from 1.
    pub(crate) generation: u32,
    /// The first opening since the machine was started.
    boot_generation: u32,
    after_clean_stop: bool,
}

impl Life {
    /// Takes the clean mark away and counts up.
    pub(crate) fn begin(index: &Index) -> Result<Self, StoreError> {
        let boot = boot_id();
        index.write_durably(|transaction| {
            let mut meta = transaction.open_table(META)?;
            let number = |row: Option<redb::AccessGuard<'_, &[u8]>>| {
                row.and_then(|row| Some(u32::from_le_bytes(row.value().try_into().ok()?))).unwrap_or(0)
            };
            let last = number(meta.get("generation")?);
            let last_boot_generation = number(meta.get("boot_generation")?);
            let same_boot = meta.get("boot")?.is_some_and(|row| row.value() == boot.as_bytes());
            let clean = meta.remove("clean")?.is_some();
            let mut suspects = suspects(meta.get("suspects")?.map(|row| row.value().to_vec()));
            if !same_boot {
                suspects.extend(last_boot_generation..=last);
            } else if !clean {
                suspects.insert(last);
            }
            suspects.remove(&0);
            let generation = last + 1;
            let boot_generation = if same_boot { last_boot_generation } else { generation };
            meta.insert("generation", generation.to_le_bytes().as_slice())?;
            meta.insert("boot_generation", boot_generation.to_le_bytes().as_slice())?;
            meta.insert("boot", boot.as_bytes())?;
            let suspects: Vec<u8> = suspects.into_iter().flat_map(u32::to_le_bytes).collect();
            meta.insert("suspects", suspects.as_slice())?;
            Ok(Self { generation, boot_generation, after_clean_stop: clean })
        })
    }

    /// Leaves the clean mark.
    pub(crate) fn end(self, index: &Index) -> Result<(), StoreError> {
        index.write_durably(|transaction| {
            transaction.open_table(META)?.insert("clean", [1].as_slice())?;
            Ok(())
        })
    }

    /// What a blob that was just hashed belongs to: bytes from before the machine's start were read from the disk, so they are there to stay.
    pub(crate) fn of_rechecked(self, generation: u32) -> u32 {
        if generation < self.boot_generation { 0 } else { self.generation }
    }
}

/// Tells one start of the machine from the next; empty where there is no such thing.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}
