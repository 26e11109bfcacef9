//! What builds did, and why something was compiled again.
//!
//! A [`Record`] is one compile or probe as it ended; a [`Build`] holds those of one Cargo process. [`difference`] compares two records field by
//! field, [`cause`] walks from a changed dependency to what really changed, [`explain`](explain::explain) puts both into sentences, [`graph`] finds
//! the critical path, [`trouble`] what must not go unnoticed. [`answer`] is what the daemon tells about all that over its socket, and `kache` reads.
//!
//! Pure: nothing in here opens a file, reads the environment or looks at a clock.

pub mod answer;
pub mod build;
pub mod cause;
pub mod change;
pub mod difference;
pub mod explain;
pub mod graph;
pub mod history;
pub mod record;
pub mod trouble;
pub mod value;

pub use answer::{Event, Gauges, Report, Unit, WhyCrate};
pub use build::{Build, BuildHead, Totals};
pub use change::{Change, FileChange};
pub use explain::{Explanation, Verdict};
pub use history::History;
pub use record::{Kept, Kind, Moved, Record, Removal, Seen, Variable};
pub use trouble::{Class, Tallies, Trouble};
pub use value::{HidingKey, Value};
