//! What it costs to start a wrapper: the shim beside an empty static Rust program, in turn, so that the machine's moods hit all alike.
//!
//! "Without argument" is the start alone; "a whole hit" is a question to a daemon that answers from memory (`-vV`), printed.

use crate::daemon::Daemon;
use crate::sample::Samples;
use anyhow::ensure;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Starts of each program.
    #[arg(long, default_value_t = 1000)]
    starts: usize,
}

/// A name, and how to start it.
type Program<'a> = (&'static str, Box<dyn Fn() -> Command + 'a>);

pub(crate) fn run(args: &Args, bin_dir: &Path, scratch: &Path) -> anyhow::Result<()> {
    let daemon = Daemon::start(bin_dir, &scratch.join("shim"))?;
    let shim = bin_dir.join("kache-shim");
    println!("kache-shim is {} KiB", std::fs::metadata(&shim)?.len() / 1024);
    let rustc = String::from_utf8(Command::new("rustc").arg("--print=sysroot").output()?.stdout)?;
    let rustc = PathBuf::from(rustc.trim()).join("bin/rustc");
    let static_flags = ["-Ctarget-feature=+crt-static", "-Crelocation-model=static", "-Cpanic=abort", "-Copt-level=3", "-Cstrip=symbols"];
    let empty_static = compile(scratch, "empty_static", &static_flags)?;
    let empty_dynamic = compile(scratch, "empty_dynamic", &["-Copt-level=3", "-Cstrip=symbols"])?;
    let socket = daemon.socket().as_os_str();
    let programs: Vec<Program<'_>> = vec![
        ("empty static std program", Box::new(|| Command::new(&empty_static))),
        ("empty dynamic std program", Box::new(|| Command::new(&empty_dynamic))),
        ("shim without argument", Box::new(|| Command::new(&shim))),
        (
            "shim, a whole hit (-vV)",
            Box::new(|| {
                let mut command = Command::new(&shim);
                command.arg(&rustc).arg("-vV").env("KACHE_SOCKET", socket);
                command
            }),
        ),
    ];
    let mut samples = vec![Samples::default(); programs.len()];
    for round in 0..args.starts + 20 {
        for ((_, program), samples) in programs.iter().zip(&mut samples) {
            let mut command = program();
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let start = Instant::now();
            let mut child = command.spawn()?;
            child.wait()?;
            if round >= 20 {
                samples.push(start.elapsed().as_secs_f64() * 1e6);
            }
        }
    }
    let base = samples[0].median();
    for ((name, _), samples) in programs.iter().zip(&samples) {
        let (min, median) = (samples.quantile(0.0), samples.median());
        println!("{name:28} min {min:6.0}  median {median:6.0} µs  ÷ empty static {:.2}", median / base);
    }
    Ok(())
}

fn compile(scratch: &Path, name: &str, flags: &[&str]) -> anyhow::Result<PathBuf> {
    let (source, program) = (scratch.join(format!("{name}.rs")), scratch.join(name));
    std::fs::write(&source, "fn main() {}\n")?;
    let made = Command::new("rustc").args(flags).arg(&source).arg("-o").arg(&program).status()?;
    ensure!(made.success(), "rustc {name}");
    Ok(program)
}
