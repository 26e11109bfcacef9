//! A set of root kinds: those whose spelling a result holds, so that it is good only where they are the same.

use crate::roots::RootKind;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// Names where people read (JSON), bits where they don't (index rows).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RootKinds(u16);

/// Bits that mean something. The lowest doesn't: a row of a version that knew only "bound" and "not bound" reads as it, and fits nobody.
const KNOWN: u16 = (1 << (4 + crate::roots::MAX_BASES)) - 2;

impl RootKinds {
    /// None.
    pub const NONE: Self = Self(0);

    /// Adds one. The toolchain is in no set: its identity is keyed.
    pub fn insert(&mut self, kind: RootKind) {
        if kind != RootKind::Toolchain {
            self.0 |= bit(kind);
        }
    }

    /// Both sets together.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `kind` is in it.
    pub fn contains(self, kind: RootKind) -> bool {
        self.0 & bit(kind) & KNOWN != 0
    }

    /// Whether all of `other` are in it.
    pub fn holds(self, other: Self) -> bool {
        self.union(other) == self
    }

    /// The kinds in it.
    pub fn kinds(self) -> impl Iterator<Item = RootKind> {
        RootKind::all().filter(move |kind| self.contains(*kind))
    }

    /// Whether a result that holds these spellings is worth sharing: machines of a team often agree about `CARGO_HOME` and about declared
    /// directories. Workspace and target directory are a checkout's own: an object for each would never be asked for again.
    pub fn travel(self) -> bool {
        let shared = |kind| matches!(kind, RootKind::CargoHome | RootKind::Base(_));
        self.0 & !KNOWN == 0 && self.kinds().all(shared)
    }
}

fn bit(kind: RootKind) -> u16 {
    let place = match kind {
        RootKind::Toolchain => 0,
        RootKind::CargoHome => 1,
        RootKind::Workspace => 2,
        RootKind::Target => 3,
        RootKind::Base(place) => 4 + u16::from(place) % (crate::roots::MAX_BASES as u16),
    };
    1 << place
}

impl FromIterator<RootKind> for RootKinds {
    fn from_iter<T: IntoIterator<Item = RootKind>>(kinds: T) -> Self {
        kinds.into_iter().fold(Self::NONE, |mut set, kind| {
            set.insert(kind);
            set
        })
    }
}

impl fmt::Debug for RootKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kinds().map(RootKind::name)).finish()
    }
}

impl Serialize for RootKinds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_seq(self.kinds().map(RootKind::name)) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for RootKinds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return u16::deserialize(deserializer).map(Self);
        }
        let names = Vec::<String>::deserialize(deserializer)?;
        let kind = |name: &String| {
            let known = RootKind::all().filter(|kind| *kind != RootKind::Toolchain).find(|kind| kind.name() == name);
            known.ok_or_else(|| de::Error::custom(format!("no kind of root is called {name:?}")))
        };
        names.iter().map(kind).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart_in_every_encoding() {
        let all: RootKinds = RootKind::all().collect();
        assert_eq!(all.kinds().count(), RootKind::all().count() - 1, "all but the toolchain");
        for kind in all.kinds() {
            let one: RootKinds = [kind].into_iter().collect();
            assert_eq!(one.kinds().collect::<Vec<_>>(), [kind]);
            assert!(all.holds(one) && !one.holds(all));
            assert_eq!(serde_json::from_str::<RootKinds>(&serde_json::to_string(&one).unwrap()).unwrap(), one);
        }
        let some: RootKinds = [RootKind::Base(1), RootKind::CargoHome].into_iter().collect();
        assert_eq!(serde_json::to_string(&some).unwrap(), r#"["cargo_home","base2"]"#);
        for bad in [r#"["toolchain"]"#, r#"["elsewhere"]"#, "true"] {
            assert!(serde_json::from_str::<RootKinds>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_team_may_agree_about_travels() {
        let travels = |kinds: &[RootKind]| kinds.iter().copied().collect::<RootKinds>().travel();
        assert!(travels(&[]) && travels(&[RootKind::CargoHome, RootKind::Base(7)]));
        assert!(!travels(&[RootKind::CargoHome, RootKind::Workspace]) && !travels(&[RootKind::Target]));
        assert!(!RootKinds(1).travel() && !RootKinds(1).is_empty() && RootKinds(1).kinds().next().is_none(), "of an older row");
    }
}
