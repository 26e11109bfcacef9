//! What was packed comes out, and what comes out was packed.

use crate::support::*;
use kache_model::Role;
use kache_remote::{ErrorKind, Limits, pack, unpack};
use md5::{Digest as _, Md5};
use proptest::prelude::*;
use std::io::Read;

#[test]
fn an_artifact_comes_back_as_it_was() {
    let (object, measured) = packed(&sample(), &OUTPUTS.map(|(_, _, bytes)| bytes)).unwrap();
    assert_eq!(measured.len, object.len() as u64);
    assert_eq!(measured.md5, <[u8; 16]>::from(Md5::digest(&object)));
    let unpacked = unpacked(&object).unwrap();
    assert_eq!(unpacked.descriptor, sample());
    let bytes: Vec<&[u8]> = unpacked.staged.iter().map(|taken| &taken.bytes[..]).collect();
    assert_eq!(bytes, OUTPUTS.map(|(_, _, bytes)| bytes));
}

#[test]
fn equal_artifacts_give_equal_objects_with_a_checksum() {
    assert_eq!(sample_object(), sample_object());
    // Frame header descriptor, bit 2: content checksum.
    assert_eq!(sample_object()[4] & 4, 4);
}

#[test]
fn any_tar_reads_it() {
    let tar = decompressed(&sample_object());
    let mut archive = tar::Archive::new(&tar[..]);
    let mut seen = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let header = entry.header();
        assert!(header.entry_type().is_file() && header.mtime().unwrap() > 0 && header.uid().unwrap() == 0);
        seen.push((entry.path().unwrap().display().to_string(), header.mode().unwrap(), bytes.len()));
    }
    let names: Vec<_> = seen.iter().map(|(name, mode, _)| (name.as_str(), *mode)).collect();
    let expected =
        [("artifact.json", 0o644), ("metadata/libserde-1.rmeta", 0o644), ("rlib/libserde-1.rlib", 0o644), ("executable/main", 0o755)];
    assert_eq!(names, expected);
    assert_eq!(seen.iter().map(|(_, _, len)| len).skip(1).collect::<Vec<_>>(), [&8, &3000, &0]);
}

#[test]
fn long_names_survive() {
    let name = "é".repeat(127);
    let descriptor = descriptor(&[(Role::Rlib, &name, b"x")]);
    let (object, _) = packed(&descriptor, &[b"x"]).unwrap();
    assert_eq!(unpacked(&object).unwrap().descriptor.artifact.outputs[0].name, name);
}

#[test]
fn bytes_that_are_not_the_blob_are_not_packed() {
    let kind = |bytes: &[&[u8]]| packed(&sample(), bytes).unwrap_err().kind();
    let [a, b, c] = OUTPUTS.map(|(_, _, bytes)| bytes);
    assert_eq!(kind(&[b"metadatA", b, c]), ErrorKind::DigestMismatch);
    assert_eq!(kind(&[b"metadata2", b, c]), ErrorKind::DigestMismatch);
    assert_eq!(kind(&[b"meta", b, c]), ErrorKind::DigestMismatch);
    assert_eq!(kind(&[a, b]), ErrorKind::DigestMismatch);
}

#[test]
fn a_full_disk_is_the_disks_fault() {
    let intake = Memory { disk_is_full: true, ..Memory::default() };
    let error = unpack(&sample_object()[..], &asked(), &Limits::default(), &intake).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disk);
}

/// Takes `len` bytes that can't be compressed away and gives them back without ever holding them.
#[test]
fn outputs_stream_through() {
    struct Counting;
    impl kache_remote::Intake for Counting {
        type Staged = kache_model::BlobId;
        fn stage(&self, output: &kache_model::Output, bytes: &mut dyn Read) -> std::io::Result<Self::Staged> {
            assert_eq!(std::io::copy(bytes, &mut std::io::sink())?, output.len);
            Ok(output.blob)
        }
        fn id(staged: &Self::Staged) -> kache_model::BlobId {
            *staged
        }
    }
    let big = vec![1; 20 << 20];
    let descriptor = descriptor(&[(Role::Rlib, "big", &big)]);
    let mut object = Vec::new();
    pack(&descriptor, [(descriptor.artifact.outputs[0].clone(), &big[..])], 1, &mut object).unwrap();
    unpack(&object[..], &asked(), &Limits::default(), &Counting).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_outputs_come_back(contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 0..6), level in 1..6) {
        let names: Vec<String> = (0..contents.len()).map(|index| format!("lib{index}.rlib")).collect();
        let outputs: Vec<(Role, &str, &[u8])> = names.iter().zip(&contents).map(|(name, bytes)| (Role::Rlib, name.as_str(), &bytes[..])).collect();
        let descriptor = descriptor(&outputs);
        let handed = descriptor.artifact.outputs.iter().cloned().zip(contents.iter().map(|bytes| &bytes[..]));
        let mut object = Vec::new();
        pack(&descriptor, handed, level, &mut object).unwrap();
        let unpacked = unpacked(&object).unwrap();
        prop_assert_eq!(unpacked.descriptor, descriptor);
        prop_assert!(unpacked.staged.iter().map(|taken| &taken.bytes).eq(&contents));
    }
}
