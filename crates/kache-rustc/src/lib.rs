//! Reads what rustc is told and what it says it read. Pure: bytes in, plans out; no I/O, no environment, no clock.
//!
//! - [`judge()`] takes an invocation as Cargo (or a build script) made it and gives a [`Verdict`]: a bypass with its reason, a
//!   query that can be answered from memory, or a [`Compile`] that says what is in its key, what has to be looked up for it,
//!   how rustc is to remap paths and which files it will leave.
//! - [`dep_info`] reads the `.d` file: the true input set.
//! - [`build_script`] reads what a build script told Cargo; [`spelled_in_sources`] says which variables macros can ask for.
//! - [`licence`] decides whether the sources use a path variable as a mere locator of includes.
//! - [`Compile::accepts`] tells a stored result that such a compile leaves from any other.
//! - [`scan`] finds machine-local roots in outputs; [`reach`] what a library says that it needs; [`streams`] looks at what rustc printed.
//!
//! An option that isn't in the tables of [`mod@flags`] is never ignored.

mod accept;
mod argv;
mod assembly;
pub mod build_script;
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
mod link_options;
mod linked;
mod linker_script;
mod outputs;
mod probe_name;
mod query;
pub mod reach;
mod rpath;
pub mod scan;
mod script;
mod spelled;
mod split;
pub mod streams;
mod target;
mod unstable;
mod wants;

pub use accept::{Unexpected, may_be_executable};
pub use argv::Argfile;
pub use assembly::assembly_may_include;
pub use closed::closed_source;
pub use compile::{Compile, CrateType, Driver, Extern, Origin, Shape, Source};
pub use destination::destination;
pub use env::Env;
pub use judge::{Invocation, Verdict, judge};
pub use linked::linked;
pub use linker_script::{Named, named_in_script};
pub use outputs::Expected;
pub use query::Query;
pub use rpath::way;
pub use script::ScriptWords;
pub use spelled::{candidates, spelled_in_sources};
pub use wants::{LinkerWant, NamedFile, NativeKind, NativeLibrary, Wants, clippy_configs};
