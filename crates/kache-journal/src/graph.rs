//! Who waited for whom in a build.

use crate::build::Build;
use crate::record::{Kind, Record};
use kache_model::ContentKey;
use std::collections::HashMap;

/// For each record of a build, the indexes of those that it needed. What was fresh, and so wasn't asked for, isn't there.
pub fn needs(build: &Build) -> Vec<Vec<usize>> {
    let mut made: HashMap<ContentKey, usize> = HashMap::new();
    let mut scripts: HashMap<&str, usize> = HashMap::new();
    for (index, record) in build.records.iter().enumerate() {
        let keys = record.seen.iter().flat_map(|seen| [seen.content, seen.portable]).flatten();
        made.extend(keys.map(|key| (key, index)));
        if record.kind == Kind::BuildScript {
            scripts.insert(&record.package, index);
        }
    }
    let of = |(index, record): (usize, &Record)| {
        let externs = record.seen.iter().flat_map(|seen| &seen.inputs.externs);
        let mut needed: Vec<usize> = externs.filter_map(|item| made.get(item.content.as_ref()?).copied()).collect();
        // A package waits until its build script has run.
        if !matches!(record.kind, Kind::BuildScript | Kind::Probe) {
            needed.extend(scripts.get(record.package.as_str()));
        }
        needed.sort_unstable();
        needed.dedup();
        needed.retain(|other| *other != index && build.records[*other].began_micros <= record.began_micros);
        needed
    };
    build.records.iter().enumerate().map(of).collect()
}

/// How long each record was at work after it was compiled, at most: a build script until the first unit that needed it began, everything else not at
/// all.
fn at_work(build: &Build, needs: &[Vec<usize>]) -> Vec<u64> {
    let mut work = vec![None; build.records.len()];
    for (unit, needed) in needs.iter().enumerate() {
        for need in needed.iter().copied().filter(|need| build.records[*need].kind == Kind::BuildScript) {
            let until = build.records[unit].began_micros.saturating_sub(build.records[need].ended_micros);
            work[need] = Some(work[need].map_or(until, |earlier: u64| earlier.min(until)));
        }
    }
    work.into_iter().map(Option::unwrap_or_default).collect()
}

/// The chain of needs that took longest, first link first: on a machine with any number of processors, the build couldn't have been quicker.
pub fn critical_path(build: &Build, needs: &[Vec<usize>]) -> Vec<usize> {
    let number = build.records.len();
    let mut order: Vec<usize> = (0..number).collect();
    order.sort_by_key(|index| build.records[*index].began_micros);
    // What the chain up to a record took, and its last link but one; a need that isn't reckoned yet began in the same microsecond.
    let mut chains: Vec<Option<(u64, Option<usize>)>> = vec![None; number];
    let at_work = at_work(build, needs);
    for index in order {
        let known = needs[index].iter().filter_map(|need| Some((chains[*need]?.0 + at_work[*need], *need)));
        let before = known.max_by_key(|(took, _)| *took);
        let took = build.records[index].took_micros() + before.map_or(0, |(took, _)| took);
        chains[index] = Some((took, before.map(|(_, need)| need)));
    }
    let last = (0..number).max_by_key(|index| chains[*index].map(|(took, _)| took));
    let mut path: Vec<usize> = std::iter::successors(last, |index| chains[*index]?.1).collect();
    path.reverse();
    path
}
