//! Where a build's time went: sums over units.

use kache_journal::{Kind, Report};
use kache_model::Outcome;

/// What one sort of units took together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spent {
    /// What they are, as people call it.
    pub(super) name: String,
    /// The class of their colour.
    pub(super) class: &'static str,
    /// How many.
    pub(super) number: u64,
    /// From question to answer, together.
    pub(super) micros: u64,
}

/// How a unit ended, in a word.
pub(super) fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::LocalHit => "restored",
        Outcome::RemoteHit => "fetched",
        Outcome::Joined => "shared",
        Outcome::Miss => "compiled",
        Outcome::Bypass => "bypassed",
        Outcome::Failed => "failed",
    }
}

/// The class of an outcome's colour.
pub(super) fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::LocalHit | Outcome::Joined => "hit",
        Outcome::RemoteHit => "fetched",
        Outcome::Miss => "compiled",
        Outcome::Bypass => "bypassed",
        Outcome::Failed => "failed",
    }
}

/// By how they ended, and the compiled ones by what they are; dearest first.
pub(super) fn by_kind(report: &Report) -> Vec<Spent> {
    let mut sums: Vec<Spent> = Vec::new();
    for unit in report.units.iter().map(|explained| &explained.unit) {
        let name = match (unit.outcome, unit.kind) {
            (Outcome::Miss, Kind::Other) => "compiled: others".to_owned(),
            (Outcome::Miss, kind) => format!("compiled: {}s", kind.name()),
            (outcome, _) => word(outcome).to_owned(),
        };
        let micros = unit.cost_micros();
        match sums.iter_mut().find(|sum| sum.name == name) {
            Some(sum) => (sum.number, sum.micros) = (sum.number + 1, sum.micros + micros),
            None => sums.push(Spent { name, class: class(unit.outcome), number: 1, micros }),
        }
    }
    sums.sort_by_key(|sum| std::cmp::Reverse(sum.micros));
    sums
}
