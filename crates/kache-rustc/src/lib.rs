//! Reads what rustc is told and what it says it read. Pure: bytes in, plans out; no I/O, no environment, no clock.
//!
//! - [`judge()`] takes an invocation as Cargo (or a build script) made it and gives a [`Verdict`]: a bypass with its reason, a
//!   query that can be answered from memory, or a [`Compile`] that says what is in its key, what has to be looked up for it,
//!   how rustc is to remap paths and which files it will leave.
//! - [`dep_info`] reads the `.d` file: the true input set.
//! - [`licence`] decides whether the sources use a path variable as a mere locator of includes.
//! - [`scan`] finds machine-local roots in outputs; [`streams`] looks at what rustc printed.
//!
//! An option that isn't in the tables of [`mod@flags`] is never ignored.

mod argv;
mod closed;
mod codegen;
mod compile;
pub mod dep_info;
mod destination;
mod env;
mod flags;
mod inputs;
mod judge;
mod lexer;
pub mod licence;
mod link;
mod linked;
mod linker_script;
mod outputs;
mod probe_name;
mod query;
pub mod scan;
pub mod streams;
mod target;
mod wants;

pub use argv::Argfile;
pub use closed::closed_source;
pub use compile::{Compile, CrateType, Driver, Extern, Origin, Shape, Source};
pub use destination::destination;
pub use env::Env;
pub use judge::{Invocation, Verdict, judge};
pub use linked::linked;
pub use linker_script::{Named, named_in_script};
pub use outputs::Expected;
pub use query::Query;
pub use wants::{LinkerWant, NamedFile, NativeKind, NativeLibrary, Wants, clippy_configs};
