//! The second level of the key: which files and variables a compile of a unit was seen to read.
//!
//! A set holds *names only*; the contents are looked at when a question is asked. That is sound because an artifact is
//! stored only under a set that a real compile with exactly those contents was seen to read, and the same contents
//! lead a deterministic rustc to read the same files.

use crate::digest::{ArtifactKey, ContentKey, Digest, Encoder, UnitKey};
use crate::root_kinds::RootKinds;
use crate::roots::{RootKind, Roots};
use serde::{Deserialize, Serialize};

/// A path in which machine-local roots are spelled as placeholders.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PortablePath(pub String);

/// How a variable's value goes into the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keying {
    /// As it is.
    Literal,
    /// With placeholders: the sources use it only to locate files that they include, and those are in the set.
    Locator,
}

/// A variable that the compile read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InputVar {
    /// Its name.
    pub name: String,
    /// How its value counts.
    pub keying: Keying,
}

/// The names that a compile read. Lists are sorted and without repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InputSet {
    /// Files, and directories that a macro tracked.
    pub files: Vec<PortablePath>,
    /// Names that must not exist: `x/mod.rs` beside `x.rs`, and the reverse.
    pub absent: Vec<PortablePath>,
    /// Variables.
    pub vars: Vec<InputVar>,
    /// The roots that the result spelled: its key holds these literally.
    pub bound: RootKinds,
    /// The result held diagnostics, so its key holds the options that shape them.
    pub noisy: bool,
}

/// Who says that a compile reads these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Witness {
    /// A compile on this machine was seen to.
    Own,
    /// The bucket says so: whoever may write there may have it name anything. See [`crate::bounds`].
    Bucket,
}

impl InputSet {
    /// Names the set.
    pub fn id(&self) -> Digest {
        let Self { files, absent, vars, bound, noisy } = self;
        let mut encoder = Encoder::new("kache.input-set.v2");
        encoder.list("files", files.iter().map(|path| &path.0));
        encoder.list("absent", absent.iter().map(|path| &path.0));
        encoder.list("vars", vars.iter().map(|var| &var.name));
        encoder.list("locators", vars.iter().filter(|var| var.keying == Keying::Locator).map(|var| &var.name));
        encoder.list("bound", bound.kinds().map(RootKind::name));
        encoder.field("noisy", &[u8::from(*noisy)]);
        encoder.finish()
    }
}

/// How a literally keyed value that spells a root is derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rooted {
    /// As it is: names the unit's own artifacts.
    Literal,
    /// With placeholders: names the unit to its dependents, which read its bytes and not its path. Sound only beside a digest of the
    /// interface that they read: a library that really uses the path has another.
    Portable,
}

impl ContentKey {
    /// The key of `unit` with these contents. `digests` and `values` stand in the order of `set.files` and `set.vars`;
    /// values are the current ones, unset being `None`.
    ///
    /// # Panics
    /// If the lengths differ: that is a bug in the caller, and a key made from it would be wrong.
    pub fn derive(unit: &UnitKey, set: &InputSet, digests: &[Digest], values: &[Option<String>], roots: &Roots, rooted: Rooted) -> Self {
        // `bound` and `noisy` say how the *artifact* key goes on from here; see `ArtifactKey::derive`.
        let InputSet { files, absent, vars, bound: _, noisy: _ } = set;
        assert_eq!(files.len(), digests.len(), "one digest per file");
        assert_eq!(vars.len(), values.len(), "one value per variable");
        let mut encoder = Encoder::new("kache.content.v1");
        encoder.field("unit", unit.0.as_bytes());
        encoder.list("files", files.iter().map(|path| &path.0));
        encoder.list("digests", digests.iter().map(Digest::as_bytes));
        encoder.list("absent", absent.iter().map(|path| &path.0));
        encoder.list("vars", vars.iter().map(|var| &var.name));
        for (var, value) in vars.iter().zip(values) {
            let portable = value.as_deref().map(|value| roots.to_portable(value).0);
            let (tag, value) = match (var.keying, rooted) {
                (Keying::Locator, _) => ("locator", portable.as_deref()),
                (Keying::Literal, Rooted::Portable) => ("rooted", portable.as_deref()),
                (Keying::Literal, Rooted::Literal) => ("literal", value.as_deref()),
            };
            encoder.optional(tag, value.map(str::as_bytes));
        }
        Self(encoder.finish())
    }
}

impl ArtifactKey {
    /// The key of the result of `content`: with those roots as they are spelled that `set.bound` names, with the options that shape diagnostics
    /// if `set.noisy`.
    pub fn derive(content: &ContentKey, set: &InputSet, roots: &Roots, diagnostics: &[String]) -> Self {
        let mut encoder = Encoder::new("kache.artifact.v2");
        encoder.field("content", content.0.as_bytes());
        if !set.bound.is_empty() {
            encoder.list("roots", roots.literal_of(set.bound));
        }
        if set.noisy {
            encoder.list("diagnostics", diagnostics);
        }
        Self(encoder.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roots::Root;

    fn roots(home: &str, workspace: &str) -> Roots {
        Roots::new(vec![Root::new(RootKind::CargoHome, home, home), Root::new(RootKind::Workspace, workspace, workspace)])
    }

    fn key(bound: &[RootKind], roots: &Roots) -> ArtifactKey {
        let set = InputSet { bound: bound.iter().copied().collect(), ..InputSet::default() };
        ArtifactKey::derive(&ContentKey(Digest::of(b"x")), &set, roots, &[])
    }

    #[test]
    fn a_key_holds_the_roots_that_were_spelled_and_no_others() {
        let here = roots("/home", "/work/a");
        let (other_workspace, other_home) = (roots("/home", "/work/b"), roots("/elsewhere", "/work/a"));
        let same = |bound: &[RootKind], other: &Roots| key(bound, &here) == key(bound, other);
        assert!(same(&[], &other_workspace) && same(&[], &other_home));
        assert!(same(&[RootKind::CargoHome], &other_workspace) && !same(&[RootKind::CargoHome], &other_home));
        assert!(!same(&[RootKind::Workspace], &other_workspace) && same(&[RootKind::Workspace], &other_home));
        let both = [RootKind::CargoHome, RootKind::Workspace];
        assert!(!same(&both, &other_workspace) && !same(&both, &other_home));
        let by_kind = [&[][..], &both[..1], &both[1..], &both].map(|bound| key(bound, &here));
        assert_eq!(std::collections::BTreeSet::from(by_kind).len(), 4);
        let sets = [&[][..], &both[..1], &both[1..], &both];
        let ids = sets.map(|bound| InputSet { bound: bound.iter().copied().collect(), ..InputSet::default() }.id());
        assert_eq!(std::collections::BTreeSet::from(ids).len(), 4);
    }
}
