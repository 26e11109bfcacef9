//! `kache-shim`: what Cargo starts instead of rustc.
//!
//! Two programs in one file's clothes. As a rule this is the std wrapper of `kache-proto`. Where `build.rs` could build and try
//! the front without libc (`front/`, Linux), that object brings its own entry point, and this file contributes nothing.

#![cfg_attr(kache_front, no_main)]

#[cfg(not(kache_front))]
fn main() -> std::process::ExitCode {
    kache_proto::wrapper::run(std::env::args_os().skip(1))
}
