//! End-to-end tests of kache: one file per behaviour, real cargo, real rustc, real sockets.
//!
//! The tests are modules of `main.rs`; this library is empty. See `README.md` for the table of contents.
