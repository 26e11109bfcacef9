//! From a changed dependency to what really changed: the root, not the last link.
//!
//! A dependency that changed was compiled from something else, and its own record says from what; if that is a dependency again, the walk goes
//! on. It ends at a file, a flag, a variable, or at a crate of which no record tells more.

use crate::build::Build;
use crate::change::Change;
use crate::difference;
use crate::history::History;
use kache_model::ContentKey;
use std::collections::BTreeSet;

/// Links that are followed, at most: the longest chains of real projects have some thirty.
const MAX_LINKS: usize = 100;

/// What is behind a changed dependency.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Root {
    /// What tells more comes first.
    rank: u8,
    /// The crate in which it changed.
    pub crate_name: String,
    /// How, as part of a sentence: "`src/lib.rs` of `a` changed".
    pub text: String,
}

/// The roots of a dependency that was made `from` and is made from `to`, as `build` had it. Empty if no record tells.
pub fn roots(history: &History<'_>, build: &Build, from: Option<ContentKey>, to: Option<ContentKey>) -> Vec<Root> {
    let mut walk = Walk { history, build, seen: BTreeSet::new(), roots: BTreeSet::new() };
    walk.follow(from, to);
    walk.roots.into_iter().collect()
}

/// A feature brings dependencies along, not the reverse.
fn rank(change: &Change) -> u8 {
    match change {
        Change::File { .. } => 0,
        Change::Feature { .. } => 1,
        Change::Dependency { .. } => 3,
        _ => 2,
    }
}

struct Walk<'a> {
    history: &'a History<'a>,
    build: &'a Build,
    seen: BTreeSet<(ContentKey, ContentKey)>,
    roots: BTreeSet<Root>,
}

impl Walk<'_> {
    fn follow(&mut self, from: Option<ContentKey>, to: Option<ContentKey>) {
        let (Some(from), Some(to)) = (from, to) else { return };
        if self.seen.len() > MAX_LINKS || !self.seen.insert((from, to)) {
            return;
        }
        let (Some(old), Some(new)) = (self.history.made_from(&from, self.build), self.history.made_from(&to, self.build)) else { return };
        for change in difference::between(old, new) {
            let before = self.roots.len();
            if let Change::DependencyChanged { from, to, .. } = &change {
                self.follow(*from, *to);
            }
            let deeper = self.roots.len() > before
                || matches!(&change, Change::DependencyChanged { from: Some(from), to: Some(to), .. } if self.known(from, to));
            if !deeper {
                let (rank, crate_name) = (rank(&change), new.crate_name.clone());
                self.roots.insert(Root { rank, text: change.of(&crate_name), crate_name });
            }
        }
    }

    /// Whether both ends have records, so that their roots are in the list already.
    fn known(&self, from: &ContentKey, to: &ContentKey) -> bool {
        self.history.made_from(from, self.build).is_some() && self.history.made_from(to, self.build).is_some()
    }
}
