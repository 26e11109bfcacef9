//! An empty machine and a bucket: what a build takes that finds everything there, over a line of a given length and width.
//!
//! Beside it in the same rounds: one tarball of the same target directory, fetched over the same line by a plain client into `tar --zstd -x`, and
//! a no-op build; the local warm build; plain cargo. The server and the line are this process, on the same cores. Validity: ours compiles nothing.
//! A new target directory and a new store per run, the same path for every tarball (older ones are moved aside), nothing deleted before the end.

use crate::builds::{cargo, copy_tree, introduce, outcome, through, write_default};
use crate::daemon::{Daemon, cpu_of};
use crate::sample::Samples;
use anyhow::{Context as _, bail, ensure};
use kache_testkit::{FaultProxy, Link, S3Server};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A directory with a package or workspace and its Cargo.lock; by default a program with 160 dependencies.
    #[arg(long)]
    project: Option<PathBuf>,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Rounds that include cold builds, with uploads and without a bucket.
    #[arg(long, default_value_t = 5)]
    cold_runs: usize,
    /// Lines: round trip in milliseconds, and megabytes per second.
    #[arg(long, default_values = ["30:50", "1:500"])]
    lines: Vec<String>,
}

const PREFIX: &str = "artifacts";
const TARBALL: &str = "public/target.tar.zst";

struct Line {
    name: String,
    bytes_per_second: f64,
    proxy: FaultProxy,
}

struct Bench<'a> {
    bin_dir: &'a Path,
    scratch: &'a Path,
    project: PathBuf,
    server: S3Server,
    lines: Vec<Line>,
    made: u32,
    samples: BTreeMap<String, Samples>,
}

pub(crate) fn run(args: &Args, bin_dir: &Path, scratch: &Path) -> anyhow::Result<()> {
    let project = scratch.join("checkout/project");
    match &args.project {
        Some(given) => copy_tree(given, &project)?,
        None => write_default(&project)?,
    }
    let fetched = Command::new("cargo").args(["fetch", "--locked"]).current_dir(&project).stderr(Stdio::null()).status()?;
    ensure!(fetched.success(), "cargo fetch --locked in {}", project.display());
    let server = S3Server::start();
    let lines = args.lines.iter().map(|text| line(text, &server)).collect::<anyhow::Result<_>>()?;
    let mut bench = Bench { bin_dir, scratch, project, server, lines, made: 0, samples: BTreeMap::new() };
    let warm = bench.fill()?;
    for round in 0..args.runs {
        println!("round {}", round + 1);
        bench.local(&warm)?;
        for line in 0..bench.lines.len() {
            // Whoever goes second meets a warmer machine, so they take turns.
            if round % 2 == 0 {
                bench.ours(line)?;
                bench.tarball(line)?;
            } else {
                bench.tarball(line)?;
                bench.ours(line)?;
            }
        }
        if round < args.cold_runs {
            bench.plain()?;
            for uploads in [round % 2 == 0, round % 2 == 1] {
                bench.cold(uploads)?;
            }
        }
    }
    bench.report();
    Ok(())
}

fn line(text: &str, server: &S3Server) -> anyhow::Result<Line> {
    let (trip, width) = text.split_once(':').context("a line is MILLISECONDS:MEGABYTES")?;
    let bytes_per_second = width.parse::<u64>()? * 1_000_000;
    let link = Link { round_trip: Duration::from_millis(trip.parse()?), bytes_per_second: Some(bytes_per_second) };
    let proxy = FaultProxy::over(server.address(), link);
    Ok(Line { name: format!("{trip} ms, {width} MB/s"), bytes_per_second: bytes_per_second as f64, proxy })
}

impl Bench<'_> {
    /// Fills the bucket and the store of a machine that will be warm, and stores the tarball of what plain cargo makes.
    fn fill(&mut self) -> anyhow::Result<Daemon> {
        println!("filling the bucket");
        let home = self.new_dir("warm");
        let first = Daemon::start_with(self.bin_dir, &home, &bucket(&self.server.endpoint(), PREFIX))?;
        let target = self.new_dir("target");
        cargo(&self.project, &target, &through(self.bin_dir, &first))?;
        let flushed =
            Command::new(self.bin_dir.join("kache")).arg("flush").env("KACHE_SOCKET", first.socket()).stdout(Stdio::null()).status()?;
        ensure!(flushed.success(), "kache flush: {}", first.stats()?["remote"]);
        let sent = first.stats()?["remote"]["put_bytes"].as_f64().unwrap_or(0.0);
        drop(first);
        let target = self.unpacked();
        cargo(&self.project, &target, &[])?;
        let tarball = self.server.object(TARBALL);
        std::fs::create_dir_all(tarball.parent().context("a folder")?)?;
        let packed = Command::new("tar").args(["--zstd", "-cf"]).arg(&tarball).arg("-C").arg(&target).arg(".").status()?;
        ensure!(packed.success(), "tar --zstd");
        println!("in the bucket {:.1} MB, tarball {:.1} MB", sent / 1e6, std::fs::metadata(&tarball)?.len() as f64 / 1e6);
        // Without a bucket from now on.
        let warm = Daemon::start(self.bin_dir, &home)?;
        introduce(self.bin_dir, self.scratch, &warm)?;
        Ok(warm)
    }

    fn ours(&mut self, line: usize) -> anyhow::Result<()> {
        let name = format!("ours, {}", self.lines[line].name);
        let home = self.new_dir("empty");
        let daemon = Daemon::start_with(self.bin_dir, &home, &bucket(&self.lines[line].proxy.endpoint(), PREFIX))?;
        introduce(self.bin_dir, self.scratch, &daemon)?;
        let target = self.new_dir("target");
        let (_, served) = self.time(&name, |bench| cargo(&bench.project, &target, &through(bench.bin_dir, &daemon)).map(|run| run.wall))?;
        let (missed, fetched) = (outcome(&daemon, "miss")? + outcome(&daemon, "bypass")?, outcome(&daemon, "remote_hit")?);
        ensure!(missed == 0.0 && fetched > 0.0, "not everything came from the bucket: {}", daemon.stats()?);
        let remote = daemon.stats()?["remote"].clone();
        ensure!(remote["errors"] == serde_json::json!({}), "errors: {remote}");
        let bytes = remote["get_bytes"].as_f64().context("get_bytes")?;
        self.note(&format!("bytes, {}", self.lines[line].name), bytes);
        self.note("memory, empty machine, MiB", daemon.peak_mib()?);
        println!(
            "    {:.1} MB in {} GETs for {fetched} units, {} of {} fetched ahead, {} connections; CPU: daemon {:.2} s, server and line {served:.2} s",
            bytes / 1e6,
            remote["gets"],
            remote["prefetch_used"],
            remote["prefetched"],
            remote["connections_opened"],
            daemon.cpu_secs()?
        );
        Ok(())
    }

    fn tarball(&mut self, line: usize) -> anyhow::Result<()> {
        let name = format!("tarball, {}", self.lines[line].name);
        let target = self.unpacked();
        std::fs::create_dir_all(&target)?;
        let address = self.lines[line].proxy.address();
        let (_, served) = self.time(&name, |bench| {
            let start = Instant::now();
            let mut tar = Command::new("tar").args(["--zstd", "-xf", "-", "-C"]).arg(&target).stdin(Stdio::piped()).spawn()?;
            let mut body = get(address, &format!("/{}/{TARBALL}", S3Server::BUCKET))?;
            std::io::copy(&mut body, tar.stdin.as_mut().context("a pipe")?)?;
            ensure!(tar.wait()?.success(), "tar --zstd -x");
            let unpacked = start.elapsed().as_secs_f64();
            let run = cargo(&bench.project, &target, &[])?;
            ensure!(run.cpu < 2.0, "a build after the tarball compiled something");
            Ok(unpacked + run.wall)
        })?;
        println!("    CPU of server and line {served:.2} s");
        Ok(())
    }

    fn local(&mut self, warm: &Daemon) -> anyhow::Result<()> {
        warm.zero()?;
        let target = self.new_dir("target");
        self.time("local warm", |bench| cargo(&bench.project, &target, &through(bench.bin_dir, warm)).map(|run| run.wall))?;
        ensure!(outcome(warm, "miss")? == 0.0 && outcome(warm, "local_hit")? > 0.0, "not warm: {}", warm.stats()?);
        Ok(())
    }

    fn plain(&mut self) -> anyhow::Result<()> {
        let target = self.new_dir("target");
        self.time("plain cold", |bench| cargo(&bench.project, &target, &[]).map(|run| run.wall)).map(drop)
    }

    /// An empty store and an empty bucket, over the first line, or no bucket at all.
    fn cold(&mut self, uploads: bool) -> anyhow::Result<()> {
        let home = self.new_dir("cold");
        let variables = if uploads { bucket(&self.lines[0].proxy.endpoint(), &format!("cold-{}", self.made)) } else { Vec::new() };
        let daemon = Daemon::start_with(self.bin_dir, &home, &variables)?;
        introduce(self.bin_dir, self.scratch, &daemon)?;
        let target = self.new_dir("target");
        let name = if uploads { "cold with uploads" } else { "cold without a bucket" };
        let (_, served) = self.time(name, |bench| cargo(&bench.project, &target, &through(bench.bin_dir, &daemon)).map(|run| run.wall))?;
        ensure!(outcome(&daemon, "local_hit")? + outcome(&daemon, "remote_hit")? == 0.0, "a cold build had hits");
        if uploads {
            let remote = daemon.stats()?["remote"].clone();
            self.note("memory, uploading, MiB", daemon.peak_mib()?);
            println!(
                "    {} PUTs, {} queued at the end, {} not found; CPU: daemon {:.2} s, server and line {served:.2} s",
                remote["puts"],
                remote["queued_uploads"],
                remote["not_found"],
                daemon.cpu_secs()?
            );
        }
        Ok(())
    }

    /// Does `work`, which tells its own seconds; with it the CPU seconds of this process.
    fn time(&mut self, name: &str, work: impl FnOnce(&Self) -> anyhow::Result<f64>) -> anyhow::Result<(f64, f64)> {
        rustix::fs::sync();
        let before = cpu_of(std::process::id(), false)?;
        let seconds = work(self)?;
        let served = cpu_of(std::process::id(), false)? - before;
        println!("  {name:28} {seconds:7.3} s");
        self.note(name, seconds);
        Ok((seconds, served))
    }

    fn note(&mut self, name: &str, value: f64) {
        self.samples.entry(name.to_owned()).or_default().push(value);
    }

    fn new_dir(&mut self, kind: &str) -> PathBuf {
        self.made += 1;
        self.scratch.join(format!("{kind}-{}", self.made))
    }

    /// Where tarballs are unpacked; what was there is moved aside.
    fn unpacked(&mut self) -> PathBuf {
        let (place, aside) = (self.scratch.join("unpacked"), self.new_dir("aside"));
        // Nothing is there the first time.
        let _moved = std::fs::rename(&place, aside);
        place
    }

    fn median(&self, name: &str) -> f64 {
        self.samples.get(name).map_or(f64::NAN, Samples::median)
    }

    fn report(&self) {
        println!("\n{:28} {:>4}  median (range)", "", "runs");
        for (name, samples) in &self.samples {
            println!("{name:28} {:>4} {}", samples.len(), samples.show());
        }
        println!("\nratios of medians");
        for Line { name, bytes_per_second, .. } in &self.lines {
            let ours = self.median(&format!("ours, {name}"));
            let ideal = self.median(&format!("bytes, {name}")) / bytes_per_second + self.median("local warm");
            println!("ours ÷ (its bytes at line speed + local warm), {name}: {:.3}   ({ideal:.3} s)", ours / ideal);
            println!("ours ÷ tarball, {name}: {:.3}", ours / self.median(&format!("tarball, {name}")));
            println!("ours ÷ plain cold, {name}: {:.3}", ours / self.median("plain cold"));
        }
        println!("cold with uploads ÷ without a bucket: {:.3}", self.median("cold with uploads") / self.median("cold without a bucket"));
    }
}

/// The variables of a daemon that uses a bucket.
fn bucket(endpoint: &str, prefix: &str) -> Vec<(&'static str, String)> {
    let values = [
        ("KACHE_S3_BUCKET", S3Server::BUCKET),
        ("KACHE_S3_ENDPOINT", endpoint),
        ("KACHE_S3_PREFIX", prefix),
        ("KACHE_S3_ACCESS_KEY", S3Server::OWNER.access_key),
        ("KACHE_S3_SECRET_KEY", S3Server::OWNER.secret_key),
    ];
    values.map(|(name, value)| (name, value.to_owned())).into()
}

/// The body of a plain GET.
fn get(address: std::net::SocketAddr, target: &str) -> anyhow::Result<impl Read + use<>> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut reader = BufReader::with_capacity(256 << 10, stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 200 ") {
        bail!("GET {target}: {line}");
    }
    let mut length = None;
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = Some(value.trim().parse()?);
        }
    }
    Ok(reader.take(length.context("an answer without a length")?))
}
