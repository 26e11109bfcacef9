//! No space: errors that name a path, nothing half, and reading goes on. A limit on file sizes stands in for the full disk.

use crate::support::*;
use kache_store::{Placement, Repair, StoreError};
use std::fs;
use std::process::Command;

#[test]
fn full_disk_is_an_error_with_a_path_and_reading_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut inner = child("full_disk::publish_until_it_fails", dir.path());
    let mut shell = Command::new("sh");
    // In blocks of 512 or 1024 bytes, as the shell likes; the signal that comes with the limit is ignored.
    shell.args(["-c", "trap '' XFSZ; ulimit -f 6000; exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
    shell.env("STORE_TEST_DIR", dir.path());
    inner.env_clear();
    assert!(shell.status().unwrap().success());
    let store = open(&dir.path().join("s"));
    assert!(store.contains(&key("first")));
    assert_eq!(store.verify(Repair::No, &mut |_| {}).unwrap().findings, []);
}

#[test]
#[ignore = "run by another test, under a limit"]
fn publish_until_it_fails() {
    let dir = child_dir();
    let store = open(&dir.join("s"));
    publish(&store, "first", &[b"bytes"]);
    store.flush().unwrap();
    let large = dir.join("large");
    for _ in 0..20 {
        // Parts that each fit, a whole that doesn't.
        let mut bytes = fs::read(&large).unwrap_or_default();
        bytes.extend_from_slice(&[1; 500_000]);
        drop(fs::write(&large, bytes));
    }
    let error = store.stage_bytes(&vec![1; 10_000_000], false).unwrap_err();
    assert!(matches!(&error, StoreError::Io(error) if error.path.starts_with(dir.join("s"))), "{error:?}");
    assert!(files(&dir.join("s/staging-v1")).is_empty());

    let failed = (0..200).find_map(|index| {
        let name = format!("n{index}");
        let mut new = publication(&name, vec![store.stage_bytes(name.as_bytes(), false).unwrap()]);
        new.artifact.stderr = vec![7; 200_000];
        store.publish(new).and_then(|()| store.flush()).err()
    });
    assert!(matches!(failed, Some(StoreError::Index { .. })), "the limit was not felt: {failed:?}");
    for _ in 0..3 {
        let held = store.find(&key("first")).unwrap().unwrap();
        store.place(&held, 0, &dir.join("dest"), Placement::Own, 0o644).unwrap();
        assert_eq!(fs::read(dir.join("dest")).unwrap(), b"bytes");
    }
    // What goes makes room again.
    for index in 0..200 {
        store.evict(&key(&format!("n{index}"))).unwrap();
    }
    store.flush().unwrap();
    publish(&store, "last", &[b"last"]);
    store.flush().unwrap();
    assert!(store.find(&key("last")).unwrap().is_some());
}
