//! Build scripts at work. Nobody tells kached when one runs; it runs between its own compile and the first unit of its package that needs it, so
//! what is known is an upper bound.

use kache_journal::{Kind, Report};

/// Shorter ones aren't worth a look.
const SHORTEST_MICROS: u64 = 100_000;

/// A build script's run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Whose.
    pub(super) package: String,
    /// When its compile ended, microseconds since the build's begin.
    pub(super) began_micros: u64,
    /// When the first unit began that needs it.
    pub(super) ended_micros: u64,
}

/// All runs that took a while.
pub(super) fn runs(report: &Report) -> Vec<Run> {
    let script = |index: usize| {
        let unit = &report.units[index].unit;
        let needed_by = report.needs.iter().enumerate().filter(|(_, needs)| needs.contains(&index));
        let began = needed_by.map(|(other, _)| report.units[other].unit.began_micros).min()?;
        (unit.kind == Kind::BuildScript && began >= unit.ended_micros + SHORTEST_MICROS).then(|| Run {
            package: unit.package.clone(),
            began_micros: unit.ended_micros,
            ended_micros: began,
        })
    };
    (0..report.units.len()).filter_map(script).collect()
}
