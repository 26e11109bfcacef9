//! What must not go unnoticed, because a cache that does nothing looks like one that works: results of a kind that are never stored, and builds that
//! are mostly bypassed.
//!
//! The thresholds stand here, with their reasons. Who counts: the daemon since its start, and `kache exec` over the build that it ran.

use crate::build::BuildHead;
use crate::record::Kind;
use kache_model::{BypassReason, NotStoredReason};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Libraries of one toolchain that weren't stored, while none was: fewer may be chance (a file that was saved meanwhile).
const LIBRARIES: u64 = 3;

/// Results of one class that weren't stored, one after the other. What happens now and then, an input that changes while rustc runs, doesn't
/// happen so often in a row.
const IN_A_ROW: u64 = 10;

/// Advice of a reason that is as it should be.
const NOTHING: &str = "Nothing to do.";

/// What kind of result, of which toolchain: a new Rust may make one kind other than it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class {
    /// What it is.
    pub kind: Kind,
    /// The compiler as it calls itself.
    pub toolchain: String,
}

/// What became of the results of each class.
#[derive(Clone, Debug, Default)]
pub struct Tallies(BTreeMap<Class, Tally>);

#[derive(Clone, Debug, Default)]
struct Tally {
    stored: u64,
    /// Not stored since one was.
    in_a_row: u64,
    /// The last of them: why, and in words.
    last: Option<(NotStoredReason, String)>,
}

/// Something that a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What is wrong, as half a sentence.
    pub text: String,
    /// The reason by name: one of [`NotStoredReason`] or [`BypassReason`].
    pub reason: String,
    /// How often.
    pub count: u64,
    /// What to do about it.
    pub advice: String,
}

impl Tallies {
    /// A result is in the store.
    pub fn stored(&mut self, class: Class) {
        let tally = self.0.entry(class).or_default();
        tally.stored += 1;
        (tally.in_a_row, tally.last) = (0, None);
    }

    /// A result can't be stored. A probe that failed by what it met is none.
    pub fn not_stored(&mut self, class: Class, reason: NotStoredReason, words: String) {
        if reason != NotStoredReason::FailedOtherwise {
            let tally = self.0.entry(class).or_default();
            tally.in_a_row += 1;
            tally.last = Some((reason, words));
        }
    }

    /// Classes of which nothing is stored any more.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.0.iter().filter_map(|(class, tally)| of_class(class, tally)).collect()
    }
}

fn of_class(Class { kind, toolchain }: &Class, tally: &Tally) -> Option<Trouble> {
    let Tally { stored, in_a_row, last } = tally;
    let (reason, words) = last.as_ref()?;
    let many = many(*kind);
    let what = match (stored, in_a_row) {
        (0, 0..LIBRARIES) => return None,
        (0, _) if *kind == Kind::Lib => format!("not one of the {in_a_row} {many} that {toolchain} made could be stored"),
        (_, IN_A_ROW..) => format!("the last {in_a_row} {many} that {toolchain} made could not be stored"),
        _ => return None,
    };
    Some(Trouble {
        text: format!("{what}: {} ({words})", reason.name()),
        reason: reason.name().to_owned(),
        count: *in_a_row,
        advice: reason.advice().to_owned(),
    })
}

fn many(kind: Kind) -> &'static str {
    match kind {
        Kind::Lib => "libraries",
        Kind::Bin => "programs",
        Kind::Example => "examples",
        Kind::Test => "tests",
        Kind::BuildScript => "build scripts",
        Kind::ProcMacro => "proc macros",
        Kind::Probe => "probes",
        Kind::Other => "crates",
    }
}

/// The reasons why most of `units` were bypassed, the most frequent first; none if most weren't. A reason that is as it should be is no trouble.
pub fn mostly_bypassed(units: u64, reasons: &BTreeMap<String, u64>, details: &BTreeMap<String, String>) -> Vec<Trouble> {
    if reasons.values().sum::<u64>() * 2 <= units {
        return Vec::new();
    }
    let mut counts: Vec<(&String, u64)> = reasons.iter().map(|(name, count)| (name, *count)).filter(|(_, count)| *count > 0).collect();
    counts.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    let trouble = |(name, count): (&String, u64)| {
        // A newer daemon may know reasons that this program doesn't.
        let known = BypassReason::ALL.iter().find(|reason| reason.name() == name);
        let advice = known.map_or("Look at `kache why`.", |reason| reason.advice());
        let bypasses = if count == 1 { "bypass" } else { "bypasses" };
        let detail = details.get(name).filter(|detail| !detail.is_empty()).map(|detail| format!(" ({detail})")).unwrap_or_default();
        let text = format!("{count} {bypasses}: {name}{detail}");
        (advice != NOTHING).then(|| Trouble { text, reason: name.clone(), count, advice: advice.to_owned() })
    };
    counts.into_iter().filter_map(trouble).collect()
}

/// What there is to say of a build.
pub fn of_build(build: &BuildHead) -> Vec<Trouble> {
    let mut troubles = mostly_bypassed(build.totals.units(), &build.totals.bypass_reasons, &build.totals.bypass_details);
    let what = if build.command.is_empty() { "the last build".to_owned() } else { format!("the last build, `{}`", build.command) };
    troubles.iter_mut().for_each(|trouble| trouble.text = format!("{what}: {}", trouble.text));
    troubles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(kind: Kind, toolchain: &str) -> Class {
        Class { kind, toolchain: toolchain.to_owned() }
    }

    fn tally(what: &Class, results: &[Result<u64, (u64, NotStoredReason)>]) -> Vec<String> {
        let mut tallies = Tallies::default();
        for result in results {
            match *result {
                Ok(times) => (0..times).for_each(|_| tallies.stored(what.clone())),
                Err((times, reason)) => (0..times).for_each(|time| tallies.not_stored(what.clone(), reason, format!("words {time}"))),
            }
        }
        tallies.troubles().into_iter().map(|trouble| trouble.text).collect()
    }

    #[test]
    fn a_toolchain_of_which_no_library_is_stored_is_trouble_soon() {
        let (libraries, member) = (class(Kind::Lib, "rustc 2"), NotStoredReason::UnexplainedMember);
        assert_eq!(tally(&libraries, &[Err((2, member))]), [""; 0]);
        let text = "not one of the 3 libraries that rustc 2 made could be stored: unexplained_member (words 2)";
        assert_eq!(tally(&libraries, &[Err((3, member))]), [text]);
        assert_eq!(tally(&libraries, &[Ok(1), Err((9, member))]), [""; 0]);
        assert_eq!(tally(&libraries, &[Err((9, member)), Ok(1)]), [""; 0]);
        assert_eq!(tally(&class(Kind::Bin, "rustc 2"), &[Err((9, member))]), [""; 0]);
    }

    #[test]
    fn ten_in_a_row_of_any_kind_are_trouble() {
        let (programs, moved) = (class(Kind::Bin, "rustc 1"), NotStoredReason::Moved);
        let text = "the last 10 programs that rustc 1 made could not be stored: moved (words 4)";
        assert_eq!(tally(&programs, &[Ok(5), Err((5, NotStoredReason::Truncated)), Err((5, moved))]), [text]);
        assert_eq!(tally(&programs, &[Err((9, moved)), Ok(1), Err((9, moved))]), [""; 0]);
        assert_eq!(tally(&class(Kind::Probe, "rustc 1"), &[Err((50, NotStoredReason::FailedOtherwise))]), [""; 0]);
    }

    #[test]
    fn classes_are_counted_apart() {
        let mut tallies = Tallies::default();
        for time in 0..4 {
            tallies.not_stored(class(Kind::Lib, "rustc 2"), NotStoredReason::Truncated, String::new());
            tallies.stored(class(if time % 2 == 0 { Kind::Bin } else { Kind::Lib }, if time % 2 == 0 { "rustc 2" } else { "rustc 1" }));
        }
        assert_eq!(tallies.troubles().len(), 1);
    }

    #[test]
    fn a_build_that_is_mostly_bypassed_says_why_and_what_to_do() {
        let reasons = |list: &[(&str, u64)]| list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let details = BTreeMap::from([("unknown_extern".to_owned(), "below: /t/libbelow.rlib".to_owned())]);
        let texts = |units, list: &[(&str, u64)]| -> Vec<String> {
            mostly_bypassed(units, &reasons(list), &details).into_iter().map(|trouble| trouble.text).collect()
        };
        assert_eq!(texts(2, &[("unknown_extern", 2)]), ["2 bypasses: unknown_extern (below: /t/libbelow.rlib)"]);
        assert_eq!(texts(4, &[("unknown_extern", 2)]), [""; 0]);
        assert_eq!(texts(3, &[("link_arg", 1), ("unknown_extern", 2)])[1], "1 bypass: link_arg");
        assert_eq!(texts(3, &[("open_probe", 3)]), [""; 0], "as it should be");
        assert_eq!(texts(1, &[("of_tomorrow", 1)]), ["1 bypass: of_tomorrow"]);
        assert_eq!(texts(0, &[]), [""; 0]);
    }
}
