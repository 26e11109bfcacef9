//! The words of kache as types.
//!
//! Pure: nothing in here opens a file, reads the environment or looks at a clock. Every other crate
//! speaks in these types, so what a key *is* stands in one place ([`UnitInputs`], [`InputSet`]) and what
//! a call can end as stands in one table ([`outcome`]).

pub mod artifact;
pub mod bounds;
pub mod digest;
pub mod inputs;
pub mod outcome;
pub mod outline;
pub mod root_kinds;
pub mod roots;
pub mod stat;
pub mod terminal;
pub mod unit;

pub use artifact::{Artifact, Linked, Mentions, Output, Role, Stays};
pub use digest::{ArtifactKey, BlobId, ContentKey, Digest, Encoder, ParseDigestError, UnitKey};
pub use inputs::{InputSet, InputVar, Keying, PortablePath, Rooted, Witness};
pub use outcome::{Bypass, BypassReason, NotStoredReason, Outcome};
pub use outline::UnitOutline;
pub use root_kinds::RootKinds;
pub use roots::{MAX_BASES, Root, RootKind, Roots, Spelling};
pub use stat::FileStamp;
pub use unit::{ExternInput, UnitInputs};
