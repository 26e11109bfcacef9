//! The builds that are remembered.
//!
//! Bounded in builds and in records; what two records were keyed by is held once if it is the same.

use super::files::Shelf;
use super::note::{self, Note};
use crate::question::Question;
use crate::sources::Read;
use kache_journal::explain::explain;
use kache_journal::{Build, BuildHead, Event, HidingKey, History, Record, Removal, Seen, answer};
use kache_model::{ArtifactKey, ContentKey, RootKind, UnitKey};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

/// Builds that are remembered: of one directory, and in all.
const OF_ONE: usize = 8;
const IN_ALL: usize = 32;

/// Records that are remembered: of one build, and in all. One takes up to 8 KB, most of which equal builds share.
const RECORDS_OF_ONE: usize = 5_000;
const RECORDS: usize = 8_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Books {
    builds: Vec<Build>,
    shelf: Shelf,
    /// What values that aren't shown are digested with.
    hiding: HidingKey,
    loaded: bool,
    /// Builds that aren't on disk as they are.
    unwritten: HashSet<u64>,
    seen: HashMap<SeenKey, Weak<Seen>>,
}

/// Unit, contents as it and as dependents know them, roots, diagnostics: all that a [`Seen`] holds.
type SeenKey = (UnitKey, Option<(ContentKey, ContentKey)>, Vec<String>, Vec<String>);

/// Something that listeners may want to hear of.
#[derive(Debug)]
pub(super) enum Happened {
    /// The build is new.
    Begun,
    /// rustc runs; the event is ready.
    Compiles(Box<Event>),
    /// The record with this number has been added.
    Ended(u64),
    /// The invocation with this number is gone.
    Lost(u64),
}

impl Books {
    /// Empty until [`Books::load`].
    pub(super) fn new(shelf: Shelf, hiding: HidingKey) -> Self {
        Self { builds: Vec::new(), shelf, hiding, loaded: false, unwritten: HashSet::new(), seen: HashMap::new() }
    }

    /// Reads what is on disk, the first time.
    pub(super) fn load(&mut self) {
        if std::mem::replace(&mut self.loaded, true) {
            return;
        }
        for mut build in self.shelf.read() {
            // Its Cargo may live on, but not with the daemon that knew it.
            build.running = false;
            for record in &mut build.records {
                if let Some(seen) = record.seen.take() {
                    record.seen = Some(self.shared(seen));
                }
            }
            self.builds.push(build);
        }
        self.builds.sort_by_key(|build| build.id);
        self.forget_what_is_too_much(None);
    }

    /// The builds, oldest first.
    pub(super) fn builds(&self) -> &[Build] {
        &self.builds
    }

    /// The last build.
    pub(super) fn last(&self) -> Option<BuildHead> {
        self.builds.last().map(Build::head)
    }

    /// Those whose Cargo is at work.
    pub(super) fn running(&self) -> Vec<BuildHead> {
        self.builds.iter().filter(|build| build.running).map(Build::head).collect()
    }

    /// Takes in a note; tells whose build it was and what happened. `removal`: how the store lost an artifact before.
    pub(super) fn take(&mut self, note: Note, removal: impl Fn(&ArtifactKey) -> Option<Removal>) -> Vec<(u64, Happened)> {
        let mut happened = Vec::new();
        let place = note.place().clone();
        let id = place.open.id;
        let at = match self.builds.iter().position(|build| build.id == id) {
            Some(at) => at,
            // The end of something that is forgotten already.
            None if matches!(note, Note::Kept { .. } | Note::Lost { .. }) => return happened,
            None => {
                happened.push((id, Happened::Begun));
                self.begin(place.open.build())
            }
        };
        match note {
            Note::Begun { question, .. } => {
                let event = Event::UnitBegun {
                    build: id,
                    number: place.number,
                    package: question.compile.package.clone(),
                    crate_name: question.compile.keyed_name().to_owned(),
                    kind: note::kind(&question.compile),
                    began_micros: place.open.micros(place.came),
                };
                happened.push((id, Happened::Compiles(Box::new(event))));
            }
            Note::Ended { question, end, ended, .. } => {
                if let Some(root) =
                    question.roots.get(RootKind::Workspace).filter(|_| question.compile.origin == kache_rustc::Origin::Workspace)
                {
                    self.builds[at].dir.clone_from(&root.raw);
                }
                if self.has_room(at) {
                    let seen = self.seen(&question, end.read());
                    self.add(at, note::ended(&place, &question, seen, *end, ended));
                    happened.push((id, Happened::Ended(place.number)));
                }
            }
            Note::Bypassed { call, bypass, ended, .. } => {
                if self.has_room(at) {
                    self.add(at, note::bypassed(&place, &call, bypass, ended));
                    happened.push((id, Happened::Ended(place.number)));
                }
            }
            Note::Kept { key, kept, not_stored, .. } => {
                if let Some(record) = self.builds[at].records.iter_mut().rev().find(|record| record.number == place.number) {
                    record.removal = key.as_ref().and_then(removal);
                    (record.key, record.kept, record.not_stored) = (key, kept, not_stored);
                }
            }
            Note::Lost { .. } => happened.push((id, Happened::Lost(place.number))),
        }
        self.unwritten.insert(id);
        happened
    }

    /// The Cargo of a build is gone.
    pub(super) fn end(&mut self, id: u64) -> Option<BuildHead> {
        let build = self.builds.iter_mut().find(|build| build.id == id)?;
        build.running = false;
        self.unwritten.insert(id);
        Some(build.head())
    }

    /// Writes what ended and isn't on disk as it is; with `all`, what runs too.
    pub(super) fn write(&mut self, all: bool) {
        let due = |build: &&Build| self.unwritten.contains(&build.id) && (all || !build.running);
        let written: Vec<&Build> = self.builds.iter().filter(due).collect();
        written.iter().for_each(|build| self.shelf.write(build));
        let written: HashSet<u64> = written.iter().map(|build| build.id).collect();
        self.unwritten.retain(|id| !written.contains(id));
    }

    /// What happened, as listeners read it.
    pub(super) fn event<'a>(&self, history: &impl Fn() -> &'a History<'a>, id: u64, what: Happened) -> Option<Event> {
        let build = self.builds.iter().find(|build| build.id == id)?;
        Some(match what {
            Happened::Begun => Event::BuildBegun(build.head()),
            Happened::Compiles(event) => *event,
            Happened::Lost(number) => Event::UnitLost { build: id, number },
            Happened::Ended(number) => {
                let record = build.records.iter().rev().find(|record| record.number == number)?;
                let why = if record.is_hit() { Vec::new() } else { explain(history(), build, record, &Vec::new).lines };
                Event::UnitEnded { build: id, unit: answer::Unit::of(record), why }
            }
        })
    }

    fn begin(&mut self, build: Build) -> usize {
        let (id, dir) = (build.id, build.dir.clone());
        self.builds.push(build);
        self.builds.sort_by_key(|build| build.id);
        let too_many_of_one = self.builds.iter().filter(|build| build.dir == dir).map(|build| build.id).rev().nth(OF_ONE);
        if let Some(gone) = too_many_of_one.filter(|gone| *gone != id) {
            self.forget(gone);
        }
        self.forget_what_is_too_much(Some(id));
        // A clock that was set back may have put it elsewhere than last.
        self.builds.iter().position(|build| build.id == id).unwrap_or(0)
    }

    /// Lets the oldest builds go until the bounds hold. `but`: a build that stays.
    fn forget_what_is_too_much(&mut self, but: Option<u64>) {
        let too_much = |builds: &[Build]| builds.len() > IN_ALL || builds.iter().map(|build| build.records.len()).sum::<usize>() > RECORDS;
        while too_much(&self.builds) {
            let Some(gone) = self.builds.iter().map(|build| build.id).find(|id| Some(*id) != but) else { return };
            self.forget(gone);
        }
    }

    fn forget(&mut self, gone: u64) {
        self.builds.retain(|build| build.id != gone);
        self.unwritten.remove(&gone);
        self.shelf.remove(gone);
        self.seen.retain(|_, seen| seen.strong_count() > 0);
    }

    fn has_room(&mut self, at: usize) -> bool {
        let build = &mut self.builds[at];
        let room = build.records.len() < RECORDS_OF_ONE;
        build.left_out += u64::from(!room);
        room
    }

    fn add(&mut self, at: usize, record: Record) {
        let build = &mut self.builds[at];
        build.wall_micros = build.wall_micros.max(record.ended_micros);
        build.records.push(record);
    }

    /// What an invocation was keyed by, held once for all that are equal.
    fn seen(&mut self, question: &Question, read: Option<&Read>) -> Arc<Seen> {
        let contents = read.map(|read| (read.contents.content, read.contents.portable));
        let key = (question.unit, contents, question.roots.literal(), question.compile.diagnostics());
        if let Some(known) = self.seen.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let seen = Arc::new(note::seen(question, read, &key.2, &key.3, &self.hiding));
        self.seen.insert(key, Arc::downgrade(&seen));
        seen
    }

    /// The same for one that was read from disk.
    fn shared(&mut self, seen: Arc<Seen>) -> Arc<Seen> {
        let contents = seen.content.zip(seen.portable);
        let key = (seen.unit, contents, seen.roots.clone(), seen.diagnostics.clone());
        if let Some(known) = self.seen.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        self.seen.insert(key, Arc::downgrade(&seen));
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kache_journal::{Kept, Kind, Moved};
    use kache_model::Outcome;

    fn build(id: u64, records: usize) -> Build {
        let record = Record {
            number: 0,
            package: "p".into(),
            crate_name: "p".into(),
            kind: Kind::Lib,
            check: false,
            outcome: Outcome::Miss,
            bypass: None,
            began_micros: 0,
            ended_micros: 0,
            rustc_millis: 0,
            restored: Moved::default(),
            seen: None,
            key: None,
            kept: Kept::No,
            not_stored: None,
            removal: None,
        };
        Build {
            id,
            dir: id.to_string(),
            command: String::new(),
            began_millis: 0,
            wall_micros: 0,
            running: false,
            records: vec![record; records],
            left_out: 0,
        }
    }

    fn records(books: &Books) -> usize {
        books.builds().iter().map(|build| build.records.len()).sum()
    }

    #[test]
    fn bounds_hold_after_loading_and_after_a_large_build_and_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = || Shelf::below(dir.path());
        (1..=40).for_each(|id| shelf().write(&build(id, 1_000)));
        let mut books = Books::new(shelf(), HidingKey::default());
        books.load();
        assert_eq!((books.builds().len(), records(&books)), (RECORDS / 1_000, RECORDS));
        assert_eq!(shelf().read().len(), books.builds().len());
        books.begin(build(50, RECORDS_OF_ONE));
        books.begin(build(51, 0));
        assert!(records(&books) <= RECORDS && books.builds().len() <= IN_ALL);
        assert_eq!(books.last().map(|build| build.id), Some(51));
        // By a clock that was set back.
        let at = books.begin(build(3, RECORDS_OF_ONE));
        assert_eq!((books.builds()[at].id, records(&books)), (3, RECORDS_OF_ONE));
    }
}
