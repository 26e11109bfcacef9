//! Whole builds, in rounds: each round runs every mode once, so that the machine's moods hit all of them alike.
//!
//! Hygiene: a new target directory per run and nothing deleted before the end (on ext4 without a journal, creating files soon after an
//! `rm -rf` costs seconds of kernel time); `CARGO_INCREMENTAL=0` for all, as in CI, except for the first edit. Validity: a warm run
//! must show only hits, a no-op no compile at all, or the benchmark fails.

use crate::daemon::{Daemon, cpu_of};
use crate::sample::Samples;
use anyhow::{Context as _, bail, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A directory with a package or workspace and its Cargo.lock; by default a program with 160 dependencies.
    #[arg(long)]
    project: Option<PathBuf>,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Rounds that include the cold builds.
    #[arg(long, default_value_t = 5)]
    cold_runs: usize,
}

const MODES: [&str; 9] = [
    "plain cold",
    "kache cold",
    "kache warm",
    "kache no-op",
    "kache other checkout",
    "floor (split)",
    "plain no-op",
    "plain first edit",
    "kache first edit",
];

/// One timed cargo.
pub(crate) struct Run {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
}

struct Bench {
    bin_dir: PathBuf,
    scratch: PathBuf,
    project: PathBuf,
    other: PathBuf,
    floor: PathBuf,
    targets: u32,
    wall: BTreeMap<&'static str, Samples>,
    cpu: BTreeMap<&'static str, Samples>,
}

pub(crate) fn run(args: &Args, bin_dir: &Path, scratch: &Path) -> anyhow::Result<()> {
    let mut bench = Bench::prepare(args.project.as_deref(), bin_dir, scratch)?;
    let warm = Daemon::start(bin_dir, &scratch.join("warm"))?;
    println!("recording: kache and floor");
    bench.record(&warm)?;
    for round in 0..args.runs {
        println!("round {}", round + 1);
        bench.round(&warm, round, round < args.cold_runs)?;
    }
    println!("hit latency, daemon side: {}", warm.stats()?["latency_us"]["hit"]);
    bench.report();
    Ok(())
}

impl Bench {
    fn prepare(project: Option<&Path>, bin_dir: &Path, scratch: &Path) -> anyhow::Result<Self> {
        let (first, other) = (scratch.join("checkout-one/project"), scratch.join("another/place/checkout"));
        for dir in [&first, &other] {
            match project {
                Some(project) => copy_tree(project, dir)?,
                None => write_default(dir)?,
            }
            let fetched = Command::new("cargo").arg("fetch").arg("--locked").current_dir(dir).stderr(Stdio::null()).status()?;
            ensure!(fetched.success(), "cargo fetch --locked in {}", dir.display());
        }
        let floor = scratch.join("floor");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("floor/floor.rs");
        let flags = "--edition 2021 -C opt-level=3 -C panic=abort -C lto=fat -C codegen-units=1 -C strip=symbols -C target-feature=+crt-static -C relocation-model=static -A warnings";
        let built = Command::new("rustc").args(flags.split(' ')).arg(source).arg("-o").arg(&floor).status()?;
        ensure!(built.success(), "building the floor");
        Ok(Self {
            bin_dir: bin_dir.to_owned(),
            scratch: scratch.to_owned(),
            project: first,
            other,
            floor,
            targets: 0,
            wall: BTreeMap::new(),
            cpu: BTreeMap::new(),
        })
    }

    fn new_target(&mut self) -> PathBuf {
        self.targets += 1;
        self.scratch.join(format!("target-{}", self.targets))
    }

    fn record(&mut self, warm: &Daemon) -> anyhow::Result<()> {
        let target = self.new_target();
        cargo(&self.project, &target, &self.kache(warm))?;
        let target = self.new_target();
        cargo(&self.project, &target, &self.floor_env("record"))?;
        Ok(())
    }

    fn round(&mut self, warm: &Daemon, round: usize, cold: bool) -> anyhow::Result<()> {
        let mut plain_target = None;
        if cold {
            // Whoever goes second meets a warmer machine, so they take turns.
            let kache_first = round % 2 == 1;
            if kache_first {
                self.kache_cold()?;
            }
            let target = self.new_target();
            self.time("plain cold", &self.project.clone(), &target, &[], None)?;
            plain_target = Some(target);
            if !kache_first {
                self.kache_cold()?;
            }
        }
        let target = self.new_target();
        self.warm("kache warm", &self.project.clone(), &target, warm)?;
        warm.zero()?;
        self.time("kache no-op", &self.project.clone(), &target, &self.kache(warm), Some(warm))?;
        ensure!(warm.stats()?["requests"].as_u64() == Some(0), "a no-op build asked the daemon: {}", warm.stats()?);
        let elsewhere = self.new_target();
        self.warm("kache other checkout", &self.other.clone(), &elsewhere, warm)?;
        let replayed = self.new_target();
        self.time("floor (split)", &self.project.clone(), &replayed, &self.floor_env("replay"), None)?;
        if let Some(plain) = plain_target {
            self.time("plain no-op", &self.project.clone(), &plain, &[], None)?;
            self.edits(&plain, &target, warm)?;
        }
        Ok(())
    }

    fn kache_cold(&mut self) -> anyhow::Result<()> {
        let target = self.new_target();
        let daemon = Daemon::start(&self.bin_dir, &self.scratch.join(format!("cold-{}", self.targets)))?;
        introduce(&self.bin_dir, &self.scratch, &daemon)?;
        self.time("kache cold", &self.project.clone(), &target, &self.kache(&daemon), Some(&daemon))?;
        ensure!(outcome(&daemon, "local_hit")? == 0.0, "a cold build had hits");
        Ok(())
    }

    /// A warm build, and the proof that it was one.
    fn warm(&mut self, mode: &'static str, project: &Path, target: &Path, daemon: &Daemon) -> anyhow::Result<()> {
        daemon.zero()?;
        let env = self.kache(daemon);
        self.time(mode, project, target, &env, Some(daemon))?;
        let (hits, misses, bypasses) = (outcome(daemon, "local_hit")?, outcome(daemon, "miss")?, outcome(daemon, "bypass")?);
        ensure!(hits > 0.0 && misses == 0.0 && bypasses == 0.0, "{mode} wasn't warm: {}", daemon.stats()?);
        Ok(())
    }

    /// The first edit after a build: a new comment at the end of the root module.
    fn edits(&mut self, plain: &Path, restored: &Path, warm: &Daemon) -> anyhow::Result<()> {
        let main = ["src/main.rs", "src/lib.rs", "crates/core/main.rs"].map(|path| self.project.join(path));
        let Some(main) = main.into_iter().find(|path| path.exists()) else { return Ok(()) };
        let before = std::fs::read(&main)?;
        // Both have built this project once; the edit is new to both.
        std::fs::write(&main, [&before, format!("\n// edit {}\n", self.targets).as_bytes()].concat())?;
        let project = self.project.clone();
        self.time("plain first edit", &project, plain, &[], None)?;
        let env = self.kache(warm);
        self.time("kache first edit", &project, restored, &env, Some(warm))?;
        std::fs::write(&main, before)?;
        Ok(())
    }

    fn time(
        &mut self,
        mode: &'static str,
        project: &Path,
        target: &Path,
        env: &[(&str, String)],
        daemon: Option<&Daemon>,
    ) -> anyhow::Result<()> {
        rustix::fs::sync();
        let before = daemon.map(Daemon::cpu_secs).transpose()?.unwrap_or(0.0);
        let run = cargo(project, target, env)?;
        let daemon_cpu = daemon.map(Daemon::cpu_secs).transpose()?.unwrap_or(0.0) - before;
        println!("  {mode:22} wall {:7.3} s   cpu {:7.2} s   of it daemon {daemon_cpu:5.2} s", run.wall, run.cpu + daemon_cpu);
        self.wall.entry(mode).or_default().push(run.wall);
        self.cpu.entry(mode).or_default().push(run.cpu + daemon_cpu);
        Ok(())
    }

    fn kache(&self, daemon: &Daemon) -> Vec<(&'static str, String)> {
        through(&self.bin_dir, daemon)
    }

    fn floor_env(&self, mode: &str) -> Vec<(&'static str, String)> {
        let save = self.scratch.join("floor-save").display().to_string();
        let mut env = vec![("RUSTC_WRAPPER", self.floor.display().to_string()), ("FLOOR_SAVE", save), ("FLOOR_PROBES", "1".into())];
        env.extend([("FLOOR_MODE", mode.to_owned()), ("FLOOR_LINK", "split".into()), ("FLOOR_MTIME", "now".into())]);
        env
    }

    fn report(&self) {
        println!("\n{:22} {:>4} {:>28} {:>28}", "", "runs", "wall s, median (range)", "cpu s, median (range)");
        for mode in MODES {
            let (Some(wall), Some(cpu)) = (self.wall.get(mode), self.cpu.get(mode)) else { continue };
            println!("{mode:22} {:>4} {:>28} {:>28}", wall.len(), wall.show(), cpu.show());
        }
        println!("\nratios of medians, wall (cpu)");
        for (above, below) in [
            ("kache cold", "plain cold"),
            ("kache warm", "floor (split)"),
            ("kache other checkout", "floor (split)"),
            ("kache warm", "plain cold"),
            ("kache no-op", "plain no-op"),
            ("kache first edit", "plain first edit"),
        ] {
            if let (Some(a), Some(b)) = (self.wall.get(above), self.wall.get(below)) {
                let cpu = self.cpu[above].median() / self.cpu[below].median();
                println!("{:45} {:6.3}  ({cpu:.3})", format!("{above} ÷ {below}"), a.median() / b.median());
            }
        }
    }
}

/// The variables of a build through kache.
pub(crate) fn through(bin_dir: &Path, daemon: &Daemon) -> Vec<(&'static str, String)> {
    let shim = bin_dir.join("kache-shim").display().to_string();
    vec![("RUSTC_WRAPPER", shim), ("KACHE_SOCKET", daemon.socket().display().to_string())]
}

/// Lets a new daemon meet the toolchain, as it does once after an update: it hashes some 300 MB and remembers them.
pub(crate) fn introduce(bin_dir: &Path, scratch: &Path, daemon: &Daemon) -> anyhow::Result<()> {
    let rustc = String::from_utf8(Command::new("rustc").arg("--print=sysroot").output()?.stdout)?;
    let mut query = Command::new(bin_dir.join("kache-shim"));
    query.arg(Path::new(rustc.trim()).join("bin/rustc")).arg("-vV").envs(through(bin_dir, daemon));
    // Where there is no Cargo.lock that a daemon with a bucket would look ahead for.
    ensure!(query.current_dir(scratch).stdout(Stdio::null()).status()?.success(), "asking for the compiler's version");
    Ok(())
}

/// One `cargo build` without the network, timed.
pub(crate) fn cargo(project: &Path, target: &Path, env: &[(&str, String)]) -> anyhow::Result<Run> {
    let start = Instant::now();
    let mut child = Command::new("cargo")
        .args(["build", "--offline", "--locked"])
        .current_dir(project)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_TERM_COLOR", "never")
        .env_remove("RUSTC_WRAPPER")
        .envs(env.iter().map(|(name, value)| (*name, value)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    std::io::Read::read_to_string(child.stderr.as_mut().context("no stderr")?, &mut said)?;
    // Look at the CPU times before the process is reaped.
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).context("pid")?;
    let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
    rustix::process::waitid(rustix::process::WaitId::Pid(pid), options)?;
    let wall = start.elapsed().as_secs_f64();
    let cpu = cpu_of(child.id(), true)?;
    if !child.wait()?.success() {
        bail!("cargo build failed in {}:\n{said}", project.display());
    }
    Ok(Run { wall, cpu })
}

pub(crate) fn outcome(daemon: &Daemon, name: &str) -> anyhow::Result<f64> {
    daemon.stats()?["outcomes"][name].as_f64().context("no such outcome")
}

/// The default project. Its manifest is kept under another name so that this workspace's cargo doesn't take it for a member.
pub(crate) fn write_default(dir: &Path) -> anyhow::Result<()> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("projects/big");
    std::fs::create_dir_all(dir.join("src"))?;
    for (source, name) in [("Cargo.toml.txt", "Cargo.toml"), ("Cargo.lock.txt", "Cargo.lock"), ("main.rs.txt", "src/main.rs")] {
        std::fs::write(dir.join(name), std::fs::read(from.join(source))?)?;
    }
    Ok(())
}

pub(crate) fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let (source, dest) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            if entry.file_name() != "target" && entry.file_name() != ".git" {
                copy_tree(&source, &dest)?;
            }
        } else {
            std::fs::write(dest, std::fs::read(source)?)?;
        }
    }
    Ok(())
}
