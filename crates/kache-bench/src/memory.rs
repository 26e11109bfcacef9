//! A daemon with many artifacts: how much memory it takes and how soon it is ready.

use crate::daemon::Daemon;
use kache_model::artifact::DepInfoText;
use kache_model::{Artifact, ArtifactKey, BlobId, Digest, Mentions, Output, PortablePath, Role, UnitInputs, Witness};
use kache_store::{Options, Publication, Store};
use std::path::Path;
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Artifacts.
    #[arg(long, default_value_t = 100_000)]
    artifacts: u64,
}

pub(crate) fn run(args: &Args, bin_dir: &Path, scratch: &Path) -> anyhow::Result<()> {
    let home = scratch.join("memory");
    let cache = home.join("cache");
    std::fs::create_dir_all(&cache)?;
    let store = Store::open(&cache, Options { max_bytes: 50 << 30 })?;
    let start = Instant::now();
    for n in 0..args.artifacts {
        store.publish(publication(&store, n)?)?;
    }
    store.flush()?;
    drop(store);
    println!("{} artifacts stored in {:.1} s", args.artifacts, start.elapsed().as_secs_f64());
    for _ in 0..5 {
        let start = Instant::now();
        let daemon = Daemon::start(bin_dir, &home)?;
        let ready = start.elapsed().as_secs_f64();
        let stats = daemon.stats()?;
        println!("ready in {ready:.3} s, RSS {:.1} MiB, {} artifacts", daemon.rss_mib()?, stats["store"]["artifacts"]);
    }
    Ok(())
}

/// An artifact as large in the index as a real one: 14 sources, 3 outputs. Its blobs are small, the index doesn't care.
fn publication(store: &Store, n: u64) -> anyhow::Result<Publication> {
    let roles = [(Role::Metadata, "rmeta"), (Role::Rlib, "rlib")];
    let mut blobs = Vec::new();
    let mut outputs = Vec::new();
    for (role, end) in roles {
        let blob = store.stage_bytes(format!("{n} {end}").as_bytes(), false)?;
        outputs.push(Output {
            role,
            name: format!("libcrate_{n}-0123456789abcdef.{end}"),
            executable: false,
            blob: BlobId(blob.id().0),
            len: blob.len(),
        });
        blobs.push(blob);
    }
    let unit_inputs = UnitInputs {
        package: format!("crate-{}", n % 500),
        crate_name: format!("crate_{}", n % 500),
        salt: n.to_string(),
        cfgs: (0..10).map(|feature| format!("feature=\"feature-{feature}\"")).collect(),
        ..UnitInputs::default()
    };
    let unit = unit_inputs.key();
    let source = |file: u64| {
        PortablePath(format!("/@kache/cargo/registry/src/index.crates.io-1949cf8c6b5b557f/crate-{}-1.2.3/src/module_{file}.rs", n % 500))
    };
    let set = kache_model::InputSet { files: (10..24).map(source).collect(), ..kache_model::InputSet::default() };
    let content = kache_model::ContentKey(Digest::of(&n.to_le_bytes()));
    let text = set.files.iter().map(|file| format!("{}:\n", file.0)).collect::<String>();
    let artifact = Artifact {
        package: unit_inputs.package.clone(),
        crate_name: unit_inputs.crate_name.clone(),
        unit,
        content,
        outputs,
        dep_info: Some(DepInfoText { name: "crate.d".into(), text: text.into_bytes() }),
        stdout: Vec::new(),
        stderr: Vec::new(),
        status: 0,
        compile_millis: 1000,
        stays: kache_model::Stays::No,
        bound: kache_model::RootKinds::NONE,
        mentions: Mentions::NONE,
        runs_macros: false,
        linked: Default::default(),
    };
    let key = ArtifactKey(Digest::of(format!("key {n}").as_bytes()));
    Ok(Publication { key, unit, outline: unit_inputs.outline(), set, witness: Witness::Own, artifact, blobs, pending_upload: None })
}
