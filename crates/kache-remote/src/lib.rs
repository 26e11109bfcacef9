//! The S3 side: objects in a bucket that a team shares.
//!
//! Promises: a miss is `Ok(None)`; everything else that doesn't work is a [`RemoteError`] of a named kind, within a deadline, counted;
//! a body that ends without an error is complete; no secret reaches a message or a `Debug`. `LAYOUT.md` says what lies in the bucket.
//!
//! Deliberately absent: the local store, rustc, configuration, the environment. This crate is told where the bucket is and who signs;
//! whether bytes are what they should be is decided where they are unpacked, never by where they came from.

mod answer;
mod aws;
mod background;
mod body;
mod breaker;
mod build_index;
mod connector;
mod counters;
mod credential;
mod descriptor;
mod dispatch;
mod error;
mod fetch;
mod hints;
mod known_inputs;
mod limit;
mod memory;
mod name;
mod pace;
mod pack;
mod place;
mod pool;
mod renewing;
mod retry;
mod s3;
mod tar;
mod text;
mod transport;
mod unpack;
mod upload;

pub use aws::{AwsOptions, aws_credentials};
pub use background::set_packers;
pub use body::{Body, Content};
pub use breaker::{Admission, Breaker, BreakerPolicy, Verdict};
pub use build_index::{BuildIndex, IndexEntry, MAX_ENTRIES, MAX_INDEX_BYTES};
pub use counters::{BreakerStates, Count, Counters, Snapshot};
pub use credential::{Credentials, ProvideCredentials, StaticCredentials};
pub use descriptor::{Asked, Descriptor, Limits};
pub use error::{ErrorKind, RemoteError};
pub use fetch::{fetch_artifact, upload_artifact};
pub use hints::{add_known_inputs, fetch_build_index, fetch_known_inputs, put_build_index};
pub use known_inputs::{KnownInputs, MAX_KNOWN_INPUTS_BYTES, MAX_SETS};
pub use limit::{Limit, Permit};
pub use memory::MemoryRemote;
pub use name::{ObjectName, PackageName, Scope};
pub use pack::{Packed, pack};
pub use retry::{RetryPolicy, fetch, fetch_bytes, retry};
pub use s3::{S3Options, S3Remote};
pub use transport::Deadlines;
pub use unpack::{Intake, Unpacked, unpack};

use futures_util::future::BoxFuture;
use std::time::Duration;

/// A place that keeps objects by name.
pub trait Remote: Send + Sync + std::fmt::Debug {
    /// Asks once for an object; `None` when it isn't there. [`fetch`] asks again when the answer or the body fails, so use that.
    fn get(&self, name: &ObjectName, priority: Priority) -> BoxFuture<'_, Result<Option<Body>, RemoteError>>;

    /// Stores an object, with retries.
    fn put(&self, name: &ObjectName, content: Content, when: PutWhen) -> BoxFuture<'_, Result<PutOutcome, RemoteError>>;

    /// One page of what is there, with retries. `after` is [`Page::next`] of the page before.
    fn list(&self, scope: &Scope, after: Option<String>) -> BoxFuture<'_, Result<Page, RemoteError>>;

    /// Why a PUT would be refused before it is sent, and for how long; `None` if it would be sent.
    fn refuses_puts(&self) -> Option<(RemoteError, Duration)> {
        None
    }

    /// Somebody believes that a PUT that was refused for a while is worth a try now.
    fn try_puts_again(&self) {}

    /// How [`fetch`] tries again.
    fn retry_policy(&self) -> RetryPolicy;

    /// What it has done so far.
    fn counters(&self) -> &Counters;

    /// All numbers and states as they are now.
    fn snapshot(&self) -> Snapshot;
}

/// Who waits for a request. When there is no room for all, the more urgent go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A build waits.
    Demand,
    /// A build will probably ask.
    Ahead,
    /// Nobody waits.
    Upload,
}

/// When to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutWhen {
    /// In any case; replaces what is there.
    Always,
    /// Only if nothing is there. A server that doesn't know this replaces, so never rely on it.
    Absent,
}

/// What became of a PUT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is stored.
    Stored,
    /// Something was there, and still is.
    AlreadyThere,
}

/// A part of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Objects of ours with their size in bytes. What isn't ours is left out.
    pub objects: Vec<(ObjectName, u64)>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<String>,
}
