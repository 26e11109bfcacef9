//! The store's tests, by topic. All on real directories.

mod publish;
mod support;
