//! End-to-end tests of kache: one file per behaviour, real cargo, real rustc, real sockets.
