//! Fills a store with many artifacts and prints what opening, looking up, publishing and restoring cost, and how much memory stays.
//!
//! `cargo run --release -p kache-store --example many -- [artifacts] [directory]`; by default 100,000 in a temporary directory.

use kache_model::artifact::DepInfoText;
use kache_model::{
    Artifact, ArtifactKey, ContentKey, Digest, InputSet, Mentions, Output, PortablePath, Role, UnitKey, UnitOutline, Witness,
};
use kache_store::{Options, Placement, Publication, Store};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["fill", dir, count, end] => fill(Path::new(dir), count.parse()?, end),
        ["ask", dir, count] => ask(Path::new(dir), count.parse()?),
        [] => all(100_000, None),
        [count] => all(count.parse()?, None),
        [count, dir] => all(count.parse()?, Some(dir.into())),
        _ => Err("usage: many [artifacts] [directory]".into()),
    }
}

/// Each step in a process of its own, so that memory is that step's.
fn all(count: usize, dir: Option<PathBuf>) -> Result<(), Failure> {
    let temporary = tempfile::tempdir()?;
    let dir = dir.unwrap_or_else(|| temporary.path().to_owned()).join("store");
    let run = |arguments: &[&str]| -> Result<(), Failure> {
        Command::new(std::env::current_exe()?).arg(arguments[0]).arg(&dir).args(&arguments[1..]).status()?;
        Ok(())
    };
    let count = count.to_string();
    run(&["fill", &count, "close"])?;
    say("-- opened after a clean stop")?;
    run(&["ask", &count])?;
    run(&["fill", "10", "abort"])?;
    say("-- opened after a kill")?;
    run(&["ask", &count])
}

fn fill(dir: &Path, count: usize, end: &str) -> Result<(), Failure> {
    let store = open(dir)?;
    let mut micros = Vec::with_capacity(count);
    let begun = Instant::now();
    for index in 0..count {
        let new = publication(&store, index)?;
        let start = Instant::now();
        store.publish(new)?;
        micros.push(start.elapsed().as_nanos() as u64 / 100);
    }
    if end == "abort" {
        std::process::abort();
    }
    say(&format!("published {count} artifacts of 2 blobs in {:.1} s; publish {}", begun.elapsed().as_secs_f64(), spread(micros)))?;
    say(&format!("memory after publishing: {}", memory()))?;
    let start = Instant::now();
    drop(store);
    let index = std::fs::metadata(dir.join("index-v1.redb"))?.len() >> 20;
    say(&format!("closed in {:.0} ms, index {index} MiB", start.elapsed().as_secs_f64() * 1e3))
}

fn ask(dir: &Path, count: usize) -> Result<(), Failure> {
    let start = Instant::now();
    let store = open(dir)?;
    say(&format!("ready in {:.0} ms, {:?}", start.elapsed().as_secs_f64() * 1e3, store.usage()))?;
    say(&format!("memory when ready: {}", memory()))?;
    let mut micros = Vec::new();
    // A build asks for some hundred units; the first round finds nothing in memory.
    let asked: Vec<usize> = (0..1000).map(|index| index * 7919 % count).collect();
    for round in ["first", "second"] {
        for index in &asked {
            let start = Instant::now();
            let sets = store.input_sets(&unit(*index))?;
            let held = store.find(&key(*index))?;
            micros.push(start.elapsed().as_nanos() as u64 / 100);
            assert!(sets.len() == 1 && held.is_some());
        }
        say(&format!("look up (input_sets + find), {round} round: {}", spread(std::mem::take(&mut micros))))?;
    }
    let target = tempfile::tempdir_in(dir)?;
    for placement in [Placement::Share, Placement::Own] {
        for round in ["first", "second"] {
            for index in &asked {
                let held = store.find(&key(*index))?.ok_or("lost")?;
                let start = Instant::now();
                store.place(&held, 0, &target.path().join(index.to_string()), placement, 0o644)?;
                micros.push(start.elapsed().as_nanos() as u64 / 100);
            }
            say(&format!("place a 1 KiB blob, {placement:?}, {round} round: {}", spread(std::mem::take(&mut micros))))?;
        }
    }
    for index in 0..count {
        store.find(&key(index))?;
    }
    say(&format!("memory after every artifact was read: {}", memory()))
}

fn open(dir: &Path) -> Result<Store, Failure> {
    Ok(Store::open(dir, Options { max_bytes: 1 << 40 })?)
}

fn unit(index: usize) -> UnitKey {
    UnitKey(Digest::of(&index.to_le_bytes()))
}

fn key(index: usize) -> ArtifactKey {
    ArtifactKey(Digest::of(format!("artifact {index}").as_bytes()))
}

/// As large as those of an ordinary crate: 20 sources, 2 KiB of dep-info.
fn publication(store: &Store, index: usize) -> Result<Publication, Failure> {
    let name = format!("crate{index}");
    let blobs = vec![store.stage_bytes(name.repeat(100).as_bytes(), false)?, store.stage_bytes(name.repeat(20).as_bytes(), false)?];
    let output = |(blob, role): (&kache_store::StagedBlob, Role)| Output {
        role,
        name: format!("lib{name}-0123456789abcdef"),
        executable: false,
        blob: blob.id(),
        len: blob.len(),
    };
    let outputs = blobs.iter().zip([Role::Rlib, Role::Metadata]).map(output).collect();
    let files: Vec<_> =
        (0..20).map(|file| PortablePath(format!("/@kache/cargo/registry/src/index/{name}-1.0.0/src/module{file}.rs"))).collect();
    let text = files.iter().flat_map(|file| file.0.bytes().chain(*b": \n")).collect();
    Ok(Publication {
        key: key(index),
        unit: unit(index),
        outline: UnitOutline {
            package: name.clone(),
            crate_name: name.clone(),
            lints: vec!["--cap-lints=allow".into()],
            ..UnitOutline::default()
        },
        set: InputSet { files, ..InputSet::default() },
        witness: Witness::Own,
        artifact: Artifact {
            package: name.clone(),
            crate_name: name.clone(),
            unit: unit(index),
            content: ContentKey(Digest::of(name.as_bytes())),
            outputs,
            dep_info: Some(DepInfoText { name: format!("{name}.d"), text }),
            stdout: Vec::new(),
            stderr: vec![b'x'; 300],
            status: 0,
            compile_millis: 100,
            stays: kache_model::Stays::No,
            bound: kache_model::RootKinds::NONE,
            mentions: Mentions::NONE,
            runs_macros: false,
            linked: Default::default(),
        },
        blobs,
        pending_upload: None,
    })
}

/// Percentiles of tenths of microseconds.
fn spread(mut tenths: Vec<u64>) -> String {
    tenths.sort_unstable();
    let at = |percent: usize| tenths[(tenths.len() - 1) * percent / 100] as f64 / 10.0;
    format!("p50 {} µs, p90 {} µs, p99 {} µs, max {} µs", at(50), at(90), at(99), at(100))
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"))
        .map(|line| line.replace('\t', " "))
        .collect::<Vec<_>>()
        .join(", ")
}

fn say(line: &str) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
