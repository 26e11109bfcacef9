//! The builds that are known, and where things are in them.

use crate::build::Build;
use crate::change::Change;
use crate::difference;
use crate::record::{Kept, Record};
use kache_model::ContentKey;
use std::collections::HashMap;

/// Builds, oldest first, with an index over their records.
#[derive(Debug)]
pub struct History<'a> {
    builds: Vec<&'a Build>,
    by_crate: HashMap<(&'a str, &'a str), Vec<Place>>,
    by_content: HashMap<ContentKey, Vec<Place>>,
}

/// A record: which build, which record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    build: usize,
    record: usize,
}

/// The record that another one is compared with.
#[derive(Clone, Debug)]
pub struct Nearest<'a> {
    /// Whose it is.
    pub build: &'a Build,
    /// The record.
    pub record: &'a Record,
    /// What the other one has other than it.
    pub changes: Vec<Change>,
}

impl<'a> History<'a> {
    /// Over these builds.
    pub fn new(builds: impl IntoIterator<Item = &'a Build>) -> Self {
        let mut builds: Vec<&Build> = builds.into_iter().collect();
        builds.sort_by_key(|build| build.id);
        let mut history = Self { builds, by_crate: HashMap::new(), by_content: HashMap::new() };
        for (at, build) in history.builds.iter().enumerate() {
            for (index, record) in build.records.iter().enumerate() {
                let place = Place { build: at, record: index };
                history.by_crate.entry((&record.package, &record.crate_name)).or_default().push(place);
                let seen = record.seen.as_ref();
                let keys = [seen.and_then(|seen| seen.content), seen.and_then(|seen| seen.portable)];
                for (index, key) in keys.iter().enumerate() {
                    if let Some(key) = key.filter(|_| index == 0 || keys[0] != keys[1]) {
                        history.by_content.entry(key).or_default().push(place);
                    }
                }
            }
        }
        history
    }

    /// The builds, oldest first.
    pub fn builds(&self) -> &[&'a Build] {
        &self.builds
    }

    /// The last build at or above `dir`, else the last one of all.
    pub fn last(&self, dir: Option<&str>) -> Option<&'a Build> {
        let own = |build: &&&Build| dir.is_some_and(|dir| is_below(dir, &build.dir));
        self.builds.iter().rev().find(own).or_else(|| self.builds.last()).copied()
    }

    /// What ended of a package or crate, latest first.
    pub fn of_crate(&self, name: &str) -> Vec<(&'a Build, &'a Record)> {
        let mut places: Vec<Place> = self.by_crate.values().flatten().copied().filter(|place| self.record(*place).is_of(name)).collect();
        places.sort_by_key(|place| (place.build, self.record(*place).began_micros));
        places.into_iter().rev().map(|place| (self.builds[place.build], self.record(place))).collect()
    }

    /// The record most like `record` of those that were known when its question came.
    pub fn nearest(&self, build: &Build, record: &Record) -> Option<Nearest<'a>> {
        let places = self.by_crate.get(&(record.package.as_str(), record.crate_name.as_str()))?;
        let candidates = places.iter().rev().filter(|place| self.precedes(**place, build, record));
        let mut best: Option<(u32, Nearest<'a>)> = None;
        for place in candidates {
            let other = self.record(*place);
            let known = other.seen.as_ref().is_some_and(|seen| seen.has_contents());
            if !known && !matches!(other.kept, Kept::Refused(_)) {
                continue;
            }
            let changes = difference::between(other, record);
            let weight = changes.iter().map(Change::weight).sum::<u32>() + u32::from(!known);
            if best.as_ref().is_none_or(|(least, _)| weight < *least) {
                best = Some((weight, Nearest { build: self.builds[place.build], record: other, changes }));
            }
            if weight == 0 {
                break;
            }
        }
        best.map(|(_, nearest)| nearest)
    }

    /// A record made from `content`: of `build` if it has one, else the latest.
    pub(crate) fn made_from(&self, content: &ContentKey, build: &Build) -> Option<&'a Record> {
        let places = self.by_content.get(content)?;
        let own = places.iter().rev().find(|place| self.builds[place.build].id == build.id);
        own.or_else(|| places.last()).map(|place| self.record(*place))
    }

    fn record(&self, place: Place) -> &'a Record {
        &self.builds[place.build].records[place.record]
    }

    fn precedes(&self, place: Place, build: &Build, record: &Record) -> bool {
        let (other_build, other) = (self.builds[place.build], self.record(place));
        match other_build.id.cmp(&build.id) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => other.number != record.number && other.ended_micros <= record.began_micros,
            std::cmp::Ordering::Greater => false,
        }
    }
}

/// Whether `dir` is `above` or lies in it.
fn is_below(dir: &str, above: &str) -> bool {
    dir.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || above.ends_with('/'))
}
