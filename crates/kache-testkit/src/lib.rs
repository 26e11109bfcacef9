//! What the end-to-end tests are made of: a private [`Machine`] with its own `kached`, generated [`Project`]s, a
//! [`Cargo`] that runs with or without kache, and [`Stats`] that are read over the socket as any client would.
//!
//! It promises that nothing outlives a test (daemons and directories go with their values) and that nothing of the user's is
//! touched but Cargo's registry cache. It knows kache only from outside: names, environment, socket, stats. Panics instead of
//! errors: everything here runs inside tests.

mod binaries;
mod cargo;
mod certificate;
mod disguise;
mod fault;
mod http;
mod link;
mod loopback;
mod machine;
mod outputs;
mod project;
mod published;
mod s3;
mod stats;
mod wait;

pub mod samples;

pub use binaries::Binaries;
pub use cargo::{Built, Cargo, Json};
pub use disguise::disguised;
pub use fault::{Fault, FaultProxy, Fired, When};
pub use http::http_get;
pub use link::Link;
pub use machine::{Machine, Place};
pub use outputs::{Outputs, run};
pub use project::Project;
pub use published::published;
pub use s3::{S3Server, S3User};
pub use stats::{Outcomes, Placed, Quantiles, Stats, Store};
pub use wait::{finish_within, skipped, until};
