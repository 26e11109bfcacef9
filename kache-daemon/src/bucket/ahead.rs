//! Ahead of Cargo: what a finished session used is stored as a build index, and fetched by the next machine before Cargo asks.
//!
//! A session's first invocation is usually Cargo's `-vV`, sent before it has planned anything. The daemon then looks for `Cargo.lock`, asks the
//! bucket for the index of this very build (same lockfile, toolchain, host and command) and fetches what is missing, in the order in which it was
//! asked for last time. Where there is none, the latest index of the same workspace still knows what is unchanged.
//!
//! An index is a hint: what it leads to is checked by its key, and what is wrong in it costs a fetch that nobody wanted.

use super::fetches::Purpose;
use super::indexes::Unwritten;
use super::lockfile::Lockfile;
use super::session::{Hints, Scene, Session};
use super::{Bucket, command};
use crate::process;
use crate::toolchain::Toolchain;
use futures_util::StreamExt as _;
use kache_model::{Digest, Encoder};
use kache_proto::Parent;
use kache_remote::{
    Asked, BuildIndex, IndexEntry, ObjectName, Priority, PutOutcome, PutWhen, RemoteError, fetch_build_index, put_build_index,
};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Artifacts fetched ahead for one session, at most.
const MAX_AHEAD: usize = 10_000;

/// Of the store's size limit, what one session may fetch ahead: an index must not push everything else out.
const MAX_SHARE: u64 = 2;

/// Compressed bytes under way at one time. Artifacts share the line, so the more there are the later comes the first one, which Cargo waits for;
/// this is what a line of 500 MB/s holds in 30 ms. Measured with ripgrep's 57 MB at 30 ms and 50 MB/s, 45 artifacts at once and with this window:
/// see `kache-bench remote`.
const WINDOW: u64 = 16 << 20;

/// Artifacts under way at one time, whatever their size; small ones may be as many as the settings say.
const AT_LEAST: u64 = 8;

/// What an artifact of unknown size is taken for: about the average.
const UNKNOWN_BYTES: u64 = 1 << 20;

/// Pause before an index is tried again that couldn't be stored.
const AGAIN: Duration = Duration::from_secs(10);

/// For the bucket's first answers about a build that has ended.
const LATE_HINTS: Duration = Duration::from_secs(60);

/// What the window is counted in.
const KIB: u64 = 1 << 10;

/// Under which names a build's index lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// Of this very build.
    own: ObjectName,
    /// Of the latest build of this workspace with the same command.
    same_command: ObjectName,
    /// Of the latest build of this workspace.
    any_command: ObjectName,
    toolchain: String,
    host: String,
}

impl Names {
    /// For a build of what `lockfile` describes. `essence`: see [`command::essence`].
    ///
    /// The versions go up with that of the unit keys: an index of another one leads to artifacts that nobody asks for.
    pub(crate) fn new(lockfile: &Lockfile, toolchain: &Toolchain, essence: &[String]) -> Self {
        let workspace = || {
            let mut encoder = Encoder::new("kache.workspace.v2");
            encoder.list("members", &lockfile.members).field("host", toolchain.host.as_bytes());
            encoder
        };
        let mut own = Encoder::new("kache.build.v2");
        own.field("lockfile", Digest::of(lockfile.text.as_bytes()).as_bytes());
        own.field("toolchain", toolchain.identity.as_bytes()).field("host", toolchain.host.as_bytes()).list("command", essence);
        let mut same_command = workspace();
        same_command.list("command", essence);
        Self {
            own: ObjectName::Build(own.finish()),
            same_command: ObjectName::Nearest(same_command.finish()),
            any_command: ObjectName::Nearest(workspace().finish()),
            toolchain: toolchain.identity.to_hex(),
            host: toolchain.host.clone(),
        }
    }

    /// Of the build that `session` does, by its `Cargo.lock` as it is now.
    pub(super) fn of(session: &Session) -> Option<Self> {
        let Scene { dir, toolchain } = session.scene.get()?.as_ref()?;
        match Lockfile::above(dir) {
            Ok(lockfile) => Some(Self::new(&lockfile, toolchain, &session.command)),
            Err(error) => {
                tracing::debug!(%error, "no build index");
                None
            }
        }
    }
}

impl Scene {
    /// Of a build whose `cargo` asks from `cwd`. Where Cargo itself works counts: it starts rustc for a dependency in the dependency's directory, which
    /// may have a `Cargo.lock` of its own.
    pub(super) fn new(cargo: Parent, cwd: &Path, toolchain: Arc<Toolchain>) -> Self {
        let words = process::words(cargo);
        let here = if process::is_cargo(&words) { process::directory(cargo) } else { None };
        let here = here.unwrap_or_else(|| cwd.to_owned());
        let manifest = command::manifest_path(&words).and_then(|path| here.join(path).parent().map(Path::to_owned));
        Self { dir: manifest.unwrap_or(here), toolchain }
    }
}

impl Bucket {
    /// Asks for the indexes of a session's build, tells the session, and fetches what they name.
    pub(super) async fn look_ahead(self: Arc<Self>, session: Arc<Session>, names: Names) {
        let get = async |name| self.index(name).await;
        let (own, same_command, any_command) = futures_util::join!(get(&names.own), get(&names.same_command), get(&names.any_command));
        let entries = |index: &Option<BuildIndex>| index.as_ref().map_or(0, |index| index.entries.len());
        let (of_build, of_command, of_workspace) = (entries(&own), entries(&same_command), entries(&any_command));
        tracing::debug!(command = ?session.command, of_build, of_command, of_workspace, "entries in build indexes");
        // Another command's units are known when they are asked for, but not fetched unasked.
        let ahead = own.clone().or_else(|| same_command.clone()).unwrap_or_default();
        let nearest: Vec<BuildIndex> = same_command.into_iter().chain(any_command).collect();
        session.tell(Hints::new(own.map(|own| (names, own)), &nearest));
        self.fetch_ahead(&session, ahead).await;
    }

    async fn index(&self, name: &ObjectName) -> Option<BuildIndex> {
        fetch_build_index(&*self.remote, name, Priority::Demand).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "build index");
            None
        })
    }

    /// Fetches what the store hasn't got, in the order of the index, until the session ends.
    async fn fetch_ahead(self: &Arc<Self>, session: &Session, index: BuildIndex) {
        let mut budget = self.store.usage().max_bytes / MAX_SHARE;
        let cost = |entry: &IndexEntry| if entry.bytes == 0 { UNKNOWN_BYTES } else { entry.bytes };
        let affordable = |entry: &IndexEntry| match budget.checked_sub(cost(entry)) {
            Some(left) => {
                budget = left;
                true
            }
            None => false,
        };
        let missing = index.entries.into_iter().filter(|entry| !self.store.contains(&entry.artifact)).take(MAX_AHEAD);
        let missing: Vec<IndexEntry> = missing.take_while(affordable).collect();
        let window = Semaphore::new((WINDOW / KIB) as usize);
        let all = futures_util::stream::iter(missing).for_each_concurrent(self.concurrency, async |entry| {
            // The semaphore is fair: whoever comes first in the index goes first. It is never closed.
            let share = (cost(&entry) / KIB).clamp(1, WINDOW / AT_LEAST / KIB);
            let _share = window.acquire_many(share as u32).await;
            let asked = Asked { package: entry.package, key: entry.artifact };
            if !self.store.contains(&asked.key) && !self.fetches.is_running(&asked.key) {
                self.fetch(asked, Purpose::Ahead).ended().await;
            }
        });
        tokio::select! {
            () = all => {}
            () = session.ended.cancelled() => {}
        }
    }

    /// Stores what a session used, for the next machine. A bucket in trouble is tried again and again.
    pub(super) async fn write_index(&self, session: &Session, unwritten: &Unwritten) {
        let used = session.all_used().await;
        if used.is_empty() || !session.looks_ahead() {
            return;
        }
        let hints = timeout(LATE_HINTS, session.hints()).await.unwrap_or_default();
        // By now Cargo has written its lockfile, if it had none.
        let Some(names) = Names::of(session) else { return };
        let keys: HashSet<_> = used.iter().map(|entry| entry.artifact).collect();
        self.uploads.settled(&keys).await;
        let own = hints.own.as_ref().filter(|(of, _)| *of == names).map(|(_, own)| own);
        let known: HashMap<_, _> = own.into_iter().flat_map(|own| &own.entries).map(|entry| (entry.artifact, entry.bytes)).collect();
        if own.is_some() && keys.iter().all(|key| known.contains_key(key)) {
            return;
        }
        let size = |entry: &IndexEntry| self.sizes.get(&entry.artifact).or_else(|| known.get(&entry.artifact).copied()).unwrap_or(0);
        let entries = used.into_iter().map(|entry| IndexEntry { bytes: size(&entry), ..entry }).collect();
        let mut index = BuildIndex { toolchain: names.toolchain.clone(), host: names.host.clone(), entries };
        if let Some(own) = own {
            index = index.merge(own.clone());
        }
        tracing::debug!(command = ?session.command, entries = index.entries.len(), "storing the build index");
        while let Err(error) = self.store_index(&names, &index, own.is_none()).await {
            tracing::warn!(%error, "build index");
            if !unwritten.failed(error.cause()) || !self.takes_uploads() {
                return;
            }
            self.uploads.pause(AGAIN).await;
        }
    }

    /// Under all its names. `first`: the bucket was seen to have none of this very build; if another machine was faster, both indexes are right.
    async fn store_index(&self, names: &Names, index: &BuildIndex, first: bool) -> Result<(), RemoteError> {
        let when = if first { PutWhen::Absent } else { PutWhen::Always };
        if put_build_index(&*self.remote, &names.own, index, when).await? == PutOutcome::AlreadyThere {
            let theirs = self.index(&names.own).await.unwrap_or_default();
            put_build_index(&*self.remote, &names.own, &index.clone().merge(theirs), PutWhen::Always).await?;
        }
        for name in [&names.same_command, &names.any_command] {
            put_build_index(&*self.remote, name, index, PutWhen::Always).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_change_with_what_they_are_made_from() {
        let lockfile = |text: &str| Lockfile { text: text.to_owned(), packages: BTreeSet::new(), members: ["a".to_owned()].into() };
        let toolchain = |text: &str| Toolchain::for_tests(Digest::of(text.as_bytes()), "host");
        let names = |lock: &str, tool: &str, word: &str| Names::new(&lockfile(lock), &toolchain(tool), &[word.to_owned()]);
        let first = names("1", "1", "build");
        assert_eq!(names("1", "1", "build"), first);
        let other_lock = names("2", "1", "build");
        assert!(other_lock.own != first.own && other_lock.same_command == first.same_command);
        assert!(names("1", "2", "build").own != first.own);
        let other_command = names("1", "1", "test");
        assert!(other_command.own != first.own && other_command.same_command != first.same_command);
        assert_eq!(other_command.any_command, first.any_command);
    }
}
