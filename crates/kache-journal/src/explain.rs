//! Why an invocation ended as it did, in sentences.

use crate::build::Build;
use crate::cause::{self, Root};
use crate::change::Change;
use crate::difference;
use crate::history::{History, Nearest};
use crate::record::{Kept, Record, Removal, Seen};
use kache_model::{Bypass, BypassReason, Outcome};
use serde::{Deserialize, Serialize};

/// Lines of one explanation, at most.
const MAX_LINES: usize = 12;

/// What it comes down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was restored.
    Hit,
    /// Something is other than in all that is known.
    Changed,
    /// Nothing like it is known.
    NeverSeen,
    /// It was known, and the store had lost it.
    Gone,
    /// It was compiled before, and the result couldn't be stored.
    NotStored,
    /// It was declined.
    Bypassed,
    /// rustc failed.
    Failed,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// What it comes down to.
    pub verdict: Verdict,
    /// Why, the most telling first; a sentence each, without a full stop.
    pub lines: Vec<String>,
    /// What a person can do about it.
    pub advice: Option<String>,
    /// When the build began that it was compared with, milliseconds since the epoch.
    pub compared_with_millis: Option<u64>,
}

/// What the store's artifacts of a crate [tell](Seen::told) of their units: asked for only if it is needed.
pub type Stored<'a> = &'a dyn Fn() -> Vec<Seen>;

/// Explains `record` of `build`. `stored` is what the store's artifacts of the same crate tell, for when no record is known.
pub fn explain(history: &History<'_>, build: &Build, record: &Record, stored: Stored<'_>) -> Explanation {
    match record.outcome {
        Outcome::Bypass => bypassed(record),
        Outcome::Failed => plain(Verdict::Failed, "rustc failed, so there is nothing to keep"),
        Outcome::LocalHit => plain(Verdict::Hit, "restored from the local store"),
        Outcome::RemoteHit => plain(Verdict::Hit, "restored from the team's bucket"),
        Outcome::Joined => plain(Verdict::Hit, "restored from a compile that was running already"),
        Outcome::Miss => missed(history, build, record, stored),
    }
}

fn plain(verdict: Verdict, line: impl Into<String>) -> Explanation {
    Explanation { verdict, lines: vec![line.into()], advice: None, compared_with_millis: None }
}

fn missed(history: &History<'_>, build: &Build, record: &Record, stored: Stored<'_>) -> Explanation {
    let nearest = history.nearest(build, record);
    match nearest {
        None => from_the_store(record, &stored()),
        Some(Nearest { build: other, record: nearest, changes }) => {
            let mut explanation = match changes.is_empty() {
                true => same(record, nearest),
                false => Explanation {
                    verdict: Verdict::Changed,
                    lines: lines(history, build, &changes),
                    advice: None,
                    compared_with_millis: None,
                },
            };
            explanation.compared_with_millis = Some(other.began_millis);
            explanation.advice = explanation.advice.or_else(|| advice(&changes));
            explanation
        }
    }
}

/// Everything is as it was, and yet nothing was found.
fn same(record: &Record, nearest: &Record) -> Explanation {
    match (&nearest.kept, record.removal) {
        (Kept::Refused(why), None) => {
            let advice = nearest.not_stored.map(|reason| reason.advice().to_owned());
            Explanation { advice, ..plain(Verdict::NotStored, format!("the last compile of it couldn't be stored: {why}")) }
        }
        _ if !record.seen.as_ref().is_some_and(|seen| seen.has_contents()) => plain(Verdict::Changed, UNKNOWN_CHANGE),
        (_, Some(Removal::Damaged)) => {
            gone("evicted: the artifact was known, and was removed because its files were damaged", "`kache verify` looks at the rest.")
        }
        (_, Some(Removal::Purged)) => gone("purged: the artifact was known, and somebody removed it", ""),
        (_, Some(Removal::Evicted)) => {
            gone("evicted: the artifact was known, and was removed when the store was full or it was too long unused", MORE_ROOM)
        }
        (_, None) => gone("evicted: the artifact was known, and isn't in the store any more", MORE_ROOM),
    }
}

const MORE_ROOM: &str = "Give the store more room: `max_size` in [cache], see `kache config show`.";

fn gone(line: &str, advice: &str) -> Explanation {
    let advice = (!advice.is_empty()).then(|| advice.to_owned());
    Explanation { verdict: Verdict::Gone, lines: vec![line.to_owned()], advice, compared_with_millis: None }
}

/// No record is known: the artifacts in the store tell at least of flags and dependencies.
fn from_the_store(record: &Record, stored: &[Seen]) -> Explanation {
    let Some(seen) = &record.seen else { return plain(Verdict::NeverSeen, NEVER_SEEN) };
    let own = seen.as_told();
    let weigh = |other: &Seen| {
        let mut changes = difference::units(other, &own);
        if changes.is_empty() {
            changes.push(Change::Untold { variables: own.environment.keys().cloned().collect() });
        }
        (changes.iter().map(Change::weight).sum::<u32>(), changes)
    };
    match stored.iter().filter(|other| other.unit != seen.unit).map(weigh).min_by_key(|(weight, _)| *weight) {
        None => plain(Verdict::NeverSeen, NEVER_SEEN),
        Some((_, changes)) => {
            let lines = changes.iter().take(MAX_LINES).map(ToString::to_string).collect();
            Explanation { verdict: Verdict::Changed, lines, advice: advice(&changes), compared_with_millis: None }
        }
    }
}

const UNKNOWN_CHANGE: &str = "a source or a variable changed; which one isn't known, because the result couldn't be stored";
const NEVER_SEEN: &str = "never seen before";

/// Changes as sentences, dependencies by their roots.
fn lines(history: &History<'_>, build: &Build, changes: &[Change]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut by_roots: Vec<(Vec<Root>, Vec<String>)> = Vec::new();
    for change in changes {
        match change {
            Change::DependencyChanged { name, from, to } => {
                let roots = cause::roots(history, build, *from, *to);
                match by_roots.iter_mut().find(|(known, _)| *known == roots && !roots.is_empty()) {
                    Some((_, names)) => names.push(name.clone()),
                    None => by_roots.push((roots, vec![name.clone()])),
                }
            }
            other => lines.push(other.to_string()),
        }
    }
    lines.extend(by_roots.into_iter().map(|(roots, names)| dependency(&roots, &names)));
    let more = lines.len().saturating_sub(MAX_LINES);
    if more > 1 {
        lines.truncate(MAX_LINES);
        lines.push(format!("and {more} more changes"));
    }
    lines
}

fn dependency(roots: &[Root], names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let what =
        if names.len() == 1 { format!("dependency {} changed", names[0]) } else { format!("dependencies {} changed", names.join(", ")) };
    let texts: Vec<&str> = roots.iter().map(|root| root.text.as_str()).collect();
    match texts.as_slice() {
        [] => what,
        [one] => format!("{what}, because {one}"),
        [first, second] => format!("{what}, because {first}, and {second}"),
        [first, rest @ ..] => format!("{what}, because {first}, and for {} more reasons", rest.len()),
    }
}

fn advice(changes: &[Change]) -> Option<String> {
    let text = changes.iter().find_map(|change| match change {
        Change::Bound { .. } => Some("See \"Paths in what you build\" in kache's README."),
        Change::DependencyDiffers { .. } => {
            Some("A macro or build script that isn't deterministic does this; KACHE_VERIFY=always finds it.")
        }
        Change::Incremental { .. } => Some("Builds with and without incremental compilation have artifacts of their own."),
        Change::Variable { name, .. } if name == "CARGO_MANIFEST_DIR" || name == "OUT_DIR" => {
            Some("A path that is compiled in as a value makes the artifact good for that path only.")
        }
        _ => None,
    })?;
    Some(text.to_owned())
}

fn bypassed(record: &Record) -> Explanation {
    let Some(bypass) = &record.bypass else { return plain(Verdict::Bypassed, "declined") };
    let Bypass { reason, detail } = bypass;
    let lines = vec![sentence(*reason, detail)];
    Explanation { verdict: Verdict::Bypassed, lines, advice: Some(reason.advice().to_owned()), compared_with_millis: None }
}

/// A reason with its cause, as a line.
pub fn sentence(reason: BypassReason, detail: &str) -> String {
    let meaning = reason.meaning().trim_end_matches('.');
    if detail.is_empty() { format!("{meaning} ({})", reason.name()) } else { format!("{meaning}: {detail} ({})", reason.name()) }
}
