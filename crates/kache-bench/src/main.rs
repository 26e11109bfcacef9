//! Benchmarks of kache, not tests: every figure is a ratio against something measured in the same run, alternating.
//!
//! `builds` compares whole builds (plain cargo, kache cold, warm, other checkout, no-op, first edit) with each other and with the replay
//! floor, the cheapest wrapper that could exist. `hits` asks one daemon for hits that move no bytes, from 1 and from 64 clients. `shim`
//! starts the shim, an empty static program and others in turn. `memory` fills a store with many artifacts and looks at the daemon.
//! `remote` builds on an empty machine out of a bucket over slow lines, beside the tarball of a target directory over the same lines.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

mod builds;
mod daemon;
mod hits;
mod memory;
mod remote;
mod sample;
mod shim;

use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Benchmarks of kache. Build everything in release mode first: `cargo build --release --workspace --bins`.
#[derive(Debug, Parser)]
struct Args {
    /// Where kache, kached and kache-shim are.
    #[arg(long, default_value = "target/release", global = true)]
    bin_dir: PathBuf,
    /// Where scratch directories go: about 1 GB a run. Should be the disk that you build on.
    #[arg(long, global = true)]
    scratch: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Whole builds.
    Builds(builds::Args),
    /// The daemon's answer to hits that move no bytes.
    Hits(hits::Args),
    /// Process starts.
    Shim(shim::Args),
    /// A daemon with many artifacts.
    Memory(memory::Args),
    /// Whole builds out of a bucket, over a slow line.
    Remote(remote::Args),
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let bin_dir = std::path::absolute(&args.bin_dir)?;
    let scratch = match &args.scratch {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    match args.what {
        What::Builds(args) => builds::run(&args, &bin_dir, scratch.path()),
        What::Hits(args) => hits::run(&args, &bin_dir, scratch.path()),
        What::Shim(args) => shim::run(&args, &bin_dir, scratch.path()),
        What::Memory(args) => memory::run(&args, &bin_dir, scratch.path()),
        What::Remote(args) => remote::run(&args, &bin_dir, scratch.path()),
    }
}
