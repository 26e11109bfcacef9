//! What the monitor knows: events folded into the current build, what runs, what ended, how fast bytes move. Pure; moments are told.

use kache_journal::{BuildHead, Event, Gauges, Totals, Unit};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Units that ended and are still listed.
const ENDED: usize = 200;

/// Dearest misses that are listed.
const DEAREST: usize = 50;

/// Builds that are told apart.
const BUILDS: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Builds, the latest last.
    builds: VecDeque<Shown>,
    /// By build and number.
    running: BTreeMap<(u64, u64), Running>,
    /// The latest first.
    pub(super) ended: VecDeque<Ended>,
    /// Misses of the current build, dearest first.
    pub(super) dearest: Vec<Ended>,
    pub(super) gauges: Gauges,
    pub(super) rates: Rates,
    measured: Option<Instant>,
    pub(super) missed: u64,
    /// Why nothing is heard.
    pub(super) gone: Option<String>,
}

/// A build.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) head: BuildHead,
    began: Instant,
    took: Option<Duration>,
}

/// A unit for which rustc runs.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) title: String,
    since: Instant,
}

/// A unit that ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) unit: Unit,
    /// Why it was compiled; empty if it wasn't.
    pub(super) why: String,
}

/// Bytes per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) fetched: f64,
    pub(super) stored: f64,
}

impl Shown {
    /// How long it has taken.
    pub(super) fn took(&self, now: Instant) -> Duration {
        self.took.unwrap_or_else(|| now.saturating_duration_since(self.began))
    }
}

impl Running {
    /// How long it has been running.
    pub(super) fn took(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

impl State {
    /// Takes an event in.
    pub(super) fn apply(&mut self, event: Event, now: Instant) {
        self.gone = None;
        match event {
            Event::BuildBegun(head) => self.begin(head, now),
            Event::BuildEnded(head) => {
                let took = Duration::from_micros(head.wall_micros);
                self.running.retain(|(build, _), _| *build != head.id);
                if let Some(shown) = self.builds.iter_mut().find(|shown| shown.head.id == head.id) {
                    (shown.head, shown.took) = (head, Some(took));
                }
            }
            Event::UnitBegun { build, number, package, crate_name, kind, began_micros: _ } => {
                let title = kache_journal::answer::title(&package, &crate_name, kind, false);
                self.running.insert((build, number), Running { title, since: now });
            }
            Event::UnitEnded { build, unit, why } => self.end(build, unit, why),
            Event::UnitLost { build, number } => drop(self.running.remove(&(build, number))),
            Event::Gauges(gauges) => self.measure(gauges, now),
            Event::Missed { events } => self.missed += events,
        }
    }

    /// Nothing is heard any more.
    pub(super) fn lose(&mut self, why: String) {
        self.running.clear();
        self.measured = None;
        self.gone = Some(why);
    }

    /// The build that began last.
    pub(super) fn current(&self) -> Option<&Shown> {
        self.builds.back()
    }

    /// What runs, longest first.
    pub(super) fn running(&self) -> Vec<&Running> {
        let mut running: Vec<&Running> = self.running.values().collect();
        running.sort_by_key(|unit| unit.since);
        running
    }

    fn begin(&mut self, head: BuildHead, now: Instant) {
        self.builds.retain(|shown| shown.head.id != head.id);
        let began = now.checked_sub(Duration::from_micros(head.wall_micros)).unwrap_or(now);
        self.builds.push_back(Shown { head, began, took: None });
        self.builds.make_contiguous().sort_by_key(|shown| shown.head.id);
        self.dearest.clear();
        if self.builds.len() > BUILDS {
            self.builds.pop_front();
        }
    }

    fn end(&mut self, build: u64, unit: Unit, why: Vec<String>) {
        self.running.remove(&(build, unit.number));
        if let Some(shown) = self.builds.iter_mut().find(|shown| shown.head.id == build) {
            add(&mut shown.head.totals, &unit);
        }
        let ended = Ended { unit, why: why.join("; ") };
        if !ended.unit.is_hit() && self.current().is_some_and(|current| current.head.id == build) {
            let cost = |ended: &Ended| std::cmp::Reverse(ended.unit.cost_micros());
            let at = self.dearest.partition_point(|other| cost(other) <= cost(&ended));
            self.dearest.insert(at, ended.clone());
            self.dearest.truncate(DEAREST);
        }
        self.ended.push_front(ended);
        self.ended.truncate(ENDED);
    }

    fn measure(&mut self, gauges: Gauges, now: Instant) {
        if let Some(before) = self.measured {
            let secs = now.saturating_duration_since(before).as_secs_f64().max(0.1);
            let rate = |is: u64, was: u64| is.saturating_sub(was) as f64 / secs;
            self.rates = Rates {
                fetched: rate(gauges.fetched_bytes, self.gauges.fetched_bytes),
                stored: rate(gauges.stored_bytes, self.gauges.stored_bytes),
            };
        }
        (self.gauges, self.measured) = (gauges, Some(now));
    }
}

fn add(totals: &mut Totals, unit: &Unit) {
    *totals.outcomes.entry(unit.outcome.name().to_owned()).or_default() += 1;
    let secs = unit.rustc_millis as f64 / 1e3;
    if unit.is_hit() {
        totals.saved_secs += secs;
    } else {
        totals.compiled_secs += secs;
    }
    totals.restored_bytes.add(&unit.restored_bytes);
}
