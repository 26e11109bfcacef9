//! What the daemon answers about builds, as JSON. Names are a contract.

use crate::build::{Build, BuildHead};
use crate::explain::{Explanation, Stored, explain};
use crate::graph;
use crate::history::History;
use crate::record::{Kept, Kind, Moved, Record, Seen};
use kache_model::{Bypass, NotStoredReason, Outcome};
use serde::{Deserialize, Serialize};

/// A record without what it was keyed by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// As [`Record::number`].
    pub number: u64,
    /// Package.
    pub package: String,
    /// Crate.
    #[serde(rename = "crate")]
    pub crate_name: String,
    /// What it makes.
    pub kind: Kind,
    /// Whether only metadata is made.
    pub check: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was declined.
    pub bypass: Option<Bypass>,
    /// As [`Record::began_micros`].
    pub began_micros: u64,
    /// As [`Record::ended_micros`].
    pub ended_micros: u64,
    /// As [`Record::rustc_millis`].
    pub rustc_millis: u64,
    /// As [`Record::restored`].
    pub restored_bytes: Moved,
    /// As [`Record::kept`].
    pub kept: Kept,
    /// As [`Record::not_stored`].
    #[serde(default)]
    pub not_stored: Option<NotStoredReason>,
}

/// A unit with why it ended as it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// The unit.
    pub unit: Unit,
    /// Why.
    pub why: Explanation,
}

/// The answer to `GET /v1/why?crate=NAME`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhyCrate {
    /// The last invocations, latest first.
    pub invocations: Vec<InBuild>,
}

/// One of them, and the build that it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InBuild {
    /// The build.
    pub build: BuildHead,
    /// What happened in it.
    #[serde(flatten)]
    pub explained: Explained,
}

/// The answer to `GET /v1/report`: one build in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The build.
    pub build: BuildHead,
    /// Its units, in the order of their ends.
    pub units: Vec<Explained>,
    /// For each unit, the indexes of those that it needed.
    pub needs: Vec<Vec<usize>>,
    /// Indexes of the units that decided how long it took, first to last.
    pub critical_path: Vec<usize>,
    /// Units that there was no room for.
    pub left_out: u64,
}

/// One event of `GET /v1/events`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A Cargo has begun to ask.
    BuildBegun(BuildHead),
    /// It is gone.
    BuildEnded(BuildHead),
    /// rustc runs for a unit.
    UnitBegun {
        /// As [`BuildHead::id`].
        build: u64,
        /// As [`Unit::number`].
        number: u64,
        /// Package.
        package: String,
        /// Crate.
        #[serde(rename = "crate")]
        crate_name: String,
        /// What it makes.
        kind: Kind,
        /// As [`Unit::began_micros`].
        began_micros: u64,
    },
    /// A unit has ended; `why` is empty for hits.
    UnitEnded {
        /// As [`BuildHead::id`].
        build: u64,
        /// The unit.
        unit: Unit,
        /// As [`Explanation::lines`].
        why: Vec<String>,
    },
    /// A unit's shim or rustc is gone without a word.
    UnitLost {
        /// As [`BuildHead::id`].
        build: u64,
        /// As [`Unit::number`].
        number: u64,
    },
    /// Store and bucket, at most once a second.
    Gauges(Gauges),
    /// The listener was too slow, and so many events are missing here.
    Missed {
        /// How many.
        events: u64,
    },
}

/// How full, how fast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gauges {
    /// Bytes in the store.
    pub store_bytes: u64,
    /// Its limit.
    pub store_max_bytes: u64,
    /// Artifacts in it.
    pub artifacts: u64,
    /// Evicted since kached started.
    pub evicted_artifacts: u64,
    /// Whether there is a bucket.
    pub bucket: bool,
    /// Bytes fetched since kached started.
    pub fetched_bytes: u64,
    /// Bytes stored in the bucket since then.
    pub stored_bytes: u64,
    /// Artifacts that wait for their upload.
    pub queued_uploads: u64,
}

impl Unit {
    /// Of a record.
    pub fn of(record: &Record) -> Self {
        let Record {
            number,
            package,
            crate_name,
            kind,
            check,
            outcome,
            bypass,
            began_micros,
            ended_micros,
            rustc_millis,
            restored,
            seen: _,
            key: _,
            kept,
            not_stored,
            removal: _,
        } = record;
        Self {
            number: *number,
            package: package.clone(),
            crate_name: crate_name.clone(),
            kind: *kind,
            check: *check,
            outcome: *outcome,
            bypass: bypass.clone(),
            began_micros: *began_micros,
            ended_micros: *ended_micros,
            rustc_millis: *rustc_millis,
            restored_bytes: *restored,
            kept: kept.clone(),
            not_stored: *not_stored,
        }
    }

    /// `serde (build script)`, `app (bin)`, `itoa`.
    pub fn title(&self) -> String {
        title(&self.package, &self.crate_name, self.kind, self.check)
    }

    /// Whether it was restored.
    pub fn is_hit(&self) -> bool {
        matches!(self.outcome, Outcome::LocalHit | Outcome::RemoteHit | Outcome::Joined)
    }

    /// What it cost the build, microseconds: rustc's time, for a hit the daemon's.
    pub fn cost_micros(&self) -> u64 {
        self.ended_micros.saturating_sub(self.began_micros)
    }
}

/// What people call a unit: the crate, and what it is unless that is an ordinary library.
pub fn title(package: &str, crate_name: &str, kind: Kind, check: bool) -> String {
    let name = if kind == Kind::BuildScript { package } else { crate_name };
    match (kind, check) {
        (Kind::Lib, false) => name.to_owned(),
        (kind, false) => format!("{name} ({})", kind.name()),
        (kind, true) => format!("{name} ({}, check)", kind.name()),
    }
}

impl WhyCrate {
    /// The last `limit` invocations of a crate. `stored` as in [`explain`].
    pub fn of(history: &History<'_>, name: &str, limit: usize, stored: Stored<'_>) -> Self {
        let found = history.of_crate(name).into_iter().take(limit);
        let explained = |(build, record): (&Build, &Record)| {
            let of_the_same = || stored().into_iter().filter(|seen| same_unit(seen, record)).collect();
            InBuild {
                build: build.head(),
                explained: Explained { unit: Unit::of(record), why: explain(history, build, record, &of_the_same) },
            }
        };
        Self { invocations: found.map(explained).collect() }
    }
}

fn same_unit(seen: &Seen, record: &Record) -> bool {
    seen.inputs.package == record.package && seen.inputs.crate_name == record.crate_name
}

impl Report {
    /// Of one build.
    pub fn of(history: &History<'_>, build: &Build) -> Self {
        let needs = graph::needs(build);
        let critical_path = graph::critical_path(build, &needs);
        let explained = |record: &Record| Explained { unit: Unit::of(record), why: explain(history, build, record, &Vec::new) };
        Self { build: build.head(), units: build.records.iter().map(explained).collect(), needs, critical_path, left_out: build.left_out }
    }

    /// Those for which rustc ran, dearest first.
    pub fn misses(&self) -> Vec<&Explained> {
        let mut misses: Vec<&Explained> = self.units.iter().filter(|explained| !explained.unit.is_hit()).collect();
        misses.sort_by_key(|explained| std::cmp::Reverse(explained.unit.cost_micros()));
        misses
    }
}
