//! Killed at any instruction, the store loses only the last moments. The order in `publish` and `evict` is what makes it so: break it, and these
//! tests find artifacts without their blobs.

use crate::support::*;
use kache_store::{GcLimit, Placement, Repair};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

#[test]
fn killed_process_leaves_no_artifact_without_its_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let store_dir = dir.path().join("s");
    for round in 0..12_u64 {
        let mut child = child("crash::publish_and_evict_for_ever", &store_dir).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // A line is a step; which instruction the signal meets is up to the scheduler.
        let steps =
            lines.map_while(Result::ok).filter(|line| line.ends_with("step")).take(5 + 13 * usize::try_from(round).unwrap()).count();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(steps > 0);
        let store = open(&store_dir);
        let report = store.verify(Repair::No, &mut |_| {}).unwrap();
        assert_eq!(report.findings, [], "round {round}");
        let keys: Vec<_> = store.artifacts().map(|summary| summary.key).collect();
        for key in keys {
            let held = store.find(&key).unwrap().unwrap();
            for index in 0..held.artifact().outputs.len() {
                store.place(&held, index, &dir.path().join("dest"), Placement::Own, 0o644).unwrap();
            }
            assert_ne!(store.input_sets(&held.artifact().unit).unwrap(), []);
        }
        let blobs = store.usage().blobs;
        drop(store);
        assert!(files(&store_dir.join("staging-v1")).is_empty());
        assert!(files(&store_dir.join("blobs-v1")).len() as u64 >= blobs);
    }
}

#[test]
fn what_was_flushed_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = child("crash::publish_flush_and_wait", dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.map_while(Result::ok).filter(|line| line.ends_with("step")).take(1).count(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    let store = open(dir.path());
    assert!(store.contains(&key("flushed")));
    assert_eq!(store.memo("m"), Some(vec![1]));
}

fn step() {
    let mut out = std::io::stdout();
    out.write_all(b"step\n").unwrap();
    out.flush().unwrap();
}

#[test]
#[ignore = "run by another test, which kills it"]
fn publish_and_evict_for_ever() {
    let store = open(&child_dir());
    for round in 0_u64.. {
        let name = format!("n{}", round % 37);
        publish(&store, &name, &[b"shared", name.as_bytes(), &round.to_le_bytes()]);
        match round % 11 {
            3 => store.flush().unwrap(),
            7 => assert!(store.evict(&key(&format!("n{}", round % 5))).is_ok()),
            9 => assert!(store.gc(GcLimit { max_bytes: 200_000, max_age: None }).is_ok()),
            _ => {}
        }
        step();
    }
}

#[test]
#[ignore = "run by another test, which kills it"]
fn publish_flush_and_wait() {
    let store = open(&child_dir());
    publish(&store, "flushed", &[b"bytes"]);
    store.set_memo("m", vec![1]);
    store.flush().unwrap();
    step();
    std::thread::park();
}
