//! What shim and daemon say to each other, and everything that the shim's side does with it.
//!
//! - [`wire`], [`frame`], [`decode`]: the format, its frames as types, and a codec that does no I/O, for either side's event loop.
//! - [`client`]: the blocking side of a connection; [`socket`]: where the daemon listens.
//! - [`tool`]: programs that a wrapper gets to see and that aren't rustc.
//! - [`wrapper`]: a compiler wrapper, complete: ask, obey, never stand in the way of a build.
//!
//! Promises: whatever bytes arrive, nothing panics and nothing allocates much more than was received; unequal versions never guess.
//! The format in prose: `PROTOCOL.md` beside this crate.

pub mod client;
pub mod decode;
pub mod frame;
pub mod socket;
pub mod tool;
pub mod wire;
pub mod wrapper;

pub use decode::{Decoder, ProtocolError};
pub use frame::{Message, Parent, Plan, Reply, Report, Request, Status, Stdin};
pub use socket::{SocketPathError, socket_path};
