//! The invocations of one Cargo process.

use crate::record::{Moved, Record};
use kache_model::{Bypass, Outcome};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One Cargo at work, or done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// Names it: higher for a later one.
    pub id: u64,
    /// The workspace, as far as it is known; else where Cargo was started.
    pub dir: String,
    /// What Cargo was asked to do, as far as it may be shown.
    pub command: String,
    /// First question, milliseconds since the epoch.
    pub began_millis: u64,
    /// From the first question to the last answer, microseconds.
    pub wall_micros: u64,
    /// Whether Cargo is still there.
    pub running: bool,
    /// What ended, in the order of the ends.
    pub records: Vec<Record>,
    /// Records that there was no room for.
    pub left_out: u64,
}

/// A build without its records.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BuildHead {
    /// As [`Build::id`].
    pub id: u64,
    /// As [`Build::dir`].
    pub dir: String,
    /// As [`Build::command`].
    pub command: String,
    /// As [`Build::began_millis`].
    pub began_millis: u64,
    /// As [`Build::wall_micros`].
    pub wall_micros: u64,
    /// As [`Build::running`].
    pub running: bool,
    /// Its sums.
    pub totals: Totals,
}

/// Sums over records.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// How often each outcome, by name.
    pub outcomes: BTreeMap<String, u64>,
    /// What rustc had taken for what was restored, seconds.
    pub saved_secs: f64,
    /// What rustc took for what was compiled, seconds; bypasses, whose end nobody hears of, left out.
    pub compiled_secs: f64,
    /// What was put into place.
    pub restored_bytes: Moved,
    /// How often something was declined, by reason.
    #[serde(default)]
    pub bypass_reasons: BTreeMap<String, u64>,
    /// What the last one of each reason was about.
    #[serde(default)]
    pub bypass_details: BTreeMap<String, String>,
    /// Results that weren't stored, by reason.
    #[serde(default)]
    pub not_stored: BTreeMap<String, u64>,
}

impl Build {
    /// The build without its records.
    pub fn head(&self) -> BuildHead {
        let Self { id, dir, command, began_millis, wall_micros, running, records, left_out: _ } = self;
        BuildHead {
            id: *id,
            dir: dir.clone(),
            command: command.clone(),
            began_millis: *began_millis,
            wall_micros: *wall_micros,
            running: *running,
            totals: Totals::of(records),
        }
    }
}

impl Totals {
    /// Of these records.
    pub fn of(records: &[Record]) -> Self {
        let mut totals = Self::default();
        records.iter().for_each(|record| totals.add(record));
        totals
    }

    /// Counts one more.
    pub fn add(&mut self, record: &Record) {
        *self.outcomes.entry(record.outcome.name().to_owned()).or_default() += 1;
        let secs = record.rustc_millis as f64 / 1e3;
        if record.is_hit() {
            self.saved_secs += secs;
        } else {
            self.compiled_secs += secs;
        }
        self.restored_bytes.add(&record.restored);
        if let Some(Bypass { reason, detail }) = &record.bypass {
            *self.bypass_reasons.entry(reason.name().to_owned()).or_default() += 1;
            self.bypass_details.insert(reason.name().to_owned(), detail.clone());
        }
        if let Some(reason) = record.not_stored {
            *self.not_stored.entry(reason.name().to_owned()).or_default() += 1;
        }
    }

    /// How often an outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome.name()).copied().unwrap_or(0)
    }

    /// Compiles and probes.
    pub fn units(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Those that were restored.
    pub fn hits(&self) -> u64 {
        [Outcome::LocalHit, Outcome::RemoteHit, Outcome::Joined].into_iter().map(|outcome| self.count(outcome)).sum()
    }

    /// Restored among all, 0 to 1, by number; `None` of none.
    pub fn share(&self) -> Option<f64> {
        let units = self.units();
        (units > 0).then(|| self.hits() as f64 / units as f64)
    }

    /// Saved among saved and spent, 0 to 1, by rustc's time; `None` of none.
    pub fn share_of_time(&self) -> Option<f64> {
        let all = self.saved_secs + self.compiled_secs;
        (all > 0.0).then(|| self.saved_secs / all)
    }
}
