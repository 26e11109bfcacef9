//! Whatever else a bucket may hold under an artifact's name is refused, by kind, and leaves nothing behind.

use crate::support::*;
use kache_model::{ArtifactKey, ContentKey, Digest, Role, Roots};
use kache_remote::{ErrorKind, Limits, unpack};
use proptest::prelude::*;

const BLOCK: usize = 512;

/// A tar of regular files as `tar` writes them.
fn tar_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// The sample's tar, of which the `at`-th header was changed and its sum made right again.
fn with_header(at: usize, change: impl Fn(&mut tar::Header)) -> Vec<u8> {
    let mut tar = decompressed(&sample_object());
    let start = headers(&tar)[at];
    let mut header = tar::Header::from_byte_slice(&tar[start..start + BLOCK]).clone();
    change(&mut header);
    header.set_cksum();
    tar[start..start + BLOCK].copy_from_slice(header.as_bytes());
    compressed(&tar)
}

/// Where the headers stand.
fn headers(tar: &[u8]) -> Vec<usize> {
    let archive = &mut tar::Archive::new(tar);
    archive.entries().unwrap().map(|entry| entry.unwrap().raw_header_position() as usize).collect()
}

/// A sound header of an `artifact.json` of `len` bytes.
fn json_header(len: usize) -> [u8; BLOCK] {
    let tar = decompressed(&sample_object());
    let mut header = tar::Header::from_byte_slice(&tar[..BLOCK]).clone();
    let bytes = header.as_mut_bytes();
    bytes[124..135].copy_from_slice(format!("{len:011o}").as_bytes());
    let sum: u32 = bytes.iter().enumerate().map(|(at, byte)| u32::from(if (148..156).contains(&at) { b' ' } else { *byte })).sum();
    bytes[148..155].copy_from_slice(format!("{sum:07o}").as_bytes());
    *bytes
}

/// An object whose `artifact.json` went through `change`.
fn with_json(change: impl Fn(&str) -> String) -> Vec<u8> {
    let tar = decompressed(&sample_object());
    let second = headers(&tar)[1];
    let mut archive = tar::Archive::new(&tar[..]);
    let json = std::io::read_to_string(archive.entries().unwrap().next().unwrap().unwrap()).unwrap();
    let changed = change(&json);
    assert_ne!(changed, json, "the change changed nothing");
    let mut header = tar::Header::from_byte_slice(&tar[..BLOCK]).clone();
    // As the writer spells it: eleven digits and a zero byte.
    header.as_mut_bytes()[124..135].copy_from_slice(format!("{:011o}", changed.len()).as_bytes());
    let sum: u32 =
        header.as_bytes().iter().enumerate().map(|(at, byte)| u32::from(if (148..156).contains(&at) { b' ' } else { *byte })).sum();
    header.as_mut_bytes()[148..155].copy_from_slice(format!("{sum:07o}").as_bytes());
    let mut out = header.as_bytes().to_vec();
    out.extend_from_slice(changed.as_bytes());
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    out.extend_from_slice(&tar[second..]);
    compressed(&out)
}

#[test]
fn a_harmless_change_of_the_json_is_accepted() {
    assert!(unpacked(&with_json(|json| json.replacen('{', r#"{"new":[1],"#, 1))).is_ok());
}

#[test]
fn empty_cut_and_foreign_bytes() {
    refused(b"", ErrorKind::Truncated);
    refused(b"<Error><Code>NoSuchKey</Code></Error>", ErrorKind::Corrupt);
    refused(&decompressed(&sample_object()), ErrorKind::Corrupt);
    refused(&compressed(b""), ErrorKind::Corrupt);
    // A frame that decoders skip.
    refused(b"\x50\x2a\x4d\x18\x01\0\0\0x", ErrorKind::Corrupt);
    refused(&compressed(b"short"), ErrorKind::Corrupt);
    refused(&compressed(&[0; 4096]), ErrorKind::Corrupt);
}

#[test]
fn every_cut_is_noticed() {
    let object = sample_object();
    for len in 0..object.len() {
        refused(&object[..len], ErrorKind::Truncated);
    }
}

#[test]
fn bytes_behind_the_end() {
    let object = sample_object();
    for tail in [&b"x"[..], &object, &compressed(b""), b"\x50\x2a\x4d\x18\x01\0\0\0x"] {
        refused(&[&object[..], tail].concat(), ErrorKind::Corrupt);
    }
    let tar = decompressed(&object);
    refused(&compressed(&[&tar[..], b"x"].concat()), ErrorKind::Corrupt);
    refused(&compressed(&[&tar[..], &[0; BLOCK]].concat()), ErrorKind::Corrupt);
    let another = tar_of(&[("more", b"x")]);
    refused(&compressed(&[&tar[..tar.len() - 2 * BLOCK], &another].concat()), ErrorKind::Corrupt);
}

#[test]
fn two_frames_are_not_one_object() {
    let tar = decompressed(&sample_object());
    let (head, tail) = tar.split_at(BLOCK);
    refused(&[compressed(head), compressed(tail)].concat(), ErrorKind::Corrupt);
}

#[test]
fn members_that_are_not_plain_files() {
    for kind in b"1234567gxXLKSVDMNA\0" {
        for at in [0, 1, 2] {
            refused(&with_header(at, |header| header.as_mut_bytes()[156] = *kind), ErrorKind::Corrupt);
        }
    }
}

#[test]
fn members_with_other_names_modes_or_lengths() {
    for name in ["../../../etc/passwd", "/etc/passwd", "libserde-1.rmetb", ""] {
        refused(
            &with_header(1, |header| {
                header.as_mut_bytes()[..100].fill(0);
                header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            }),
            ErrorKind::Corrupt,
        );
    }
    refused(&with_header(1, |header| header.as_mut_bytes()[345..349].copy_from_slice(b"/../")), ErrorKind::Corrupt);
    refused(&with_header(1, |header| header.set_mode(0o4755)), ErrorKind::Corrupt);
    refused(&with_header(2, |header| header.set_size(2999)), ErrorKind::Corrupt);
    refused(&with_header(2, |header| header.set_size(1 << 40)), ErrorKind::Corrupt);
    refused(&with_header(1, |header| header.set_link_name_literal("/etc/passwd").unwrap()), ErrorKind::Corrupt);
}

#[test]
fn members_in_another_order_or_missing() {
    let tar = decompressed(&sample_object());
    let at = headers(&tar);
    let end = tar.len() - 2 * BLOCK;
    let part = |from: usize, to: usize| tar[from..to].to_vec();
    let (json, first, second, third, zeros) =
        (part(0, at[1]), part(at[1], at[2]), part(at[2], at[3]), part(at[3], end), part(end, tar.len()));
    for members in [
        vec![&json, &second, &first, &third, &zeros],
        vec![&json, &first, &third, &zeros],
        vec![&json, &first, &second, &zeros],
        vec![&json, &first, &first, &second, &third, &zeros],
        vec![&first, &json, &second, &third, &zeros],
        vec![&json, &json, &first, &second, &third, &zeros],
        vec![&json, &first, &second, &third],
    ] {
        refused(&compressed(&members.into_iter().flatten().copied().collect::<Vec<u8>>()), ErrorKind::Corrupt);
    }
}

#[test]
fn sound_members_with_other_bytes() {
    let mut tar = decompressed(&sample_object());
    let at = headers(&tar)[2] + BLOCK;
    tar[at] ^= 1;
    refused(&compressed(&tar), ErrorKind::DigestMismatch);
}

#[test]
fn bombs() {
    let mut huge = json_header(1 << 30).to_vec();
    huge.resize(64 << 20, b' ');
    refused(&compressed(&huge), ErrorKind::TooLarge);
    refused(&with_json(|json| json.replace("\"len\":3000", "\"len\":9000000000")), ErrorKind::TooLarge);
    refused(&with_json(|json| json.replace("\"len\":3000", &format!("\"len\":{}", u64::MAX))), ErrorKind::TooLarge);
    let small = Limits { unpacked_bytes: 3007, ..Limits::default() };
    let error = unpack(&sample_object()[..], &asked(), &small, &Memory::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let fits = Limits { unpacked_bytes: 3008, ..Limits::default() };
    assert!(unpack(&sample_object()[..], &asked(), &fits, &Memory::default()).is_ok());
    let two = Limits { outputs: 2, ..Limits::default() };
    assert_eq!(unpack(&sample_object()[..], &asked(), &two, &Memory::default()).unwrap_err().kind(), ErrorKind::TooLarge);
    let short = Limits { descriptor_bytes: 100, ..Limits::default() };
    assert_eq!(unpack(&sample_object()[..], &asked(), &short, &Memory::default()).unwrap_err().kind(), ErrorKind::TooLarge);
}

/// A frame that wants a window of 2 GiB is refused before it is given any.
#[test]
fn a_window_that_is_too_large() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(30).unwrap();
    encoder.long_distance_matching(true).unwrap();
    std::io::Write::write_all(&mut encoder, &decompressed(&sample_object())).unwrap();
    refused(&encoder.finish().unwrap(), ErrorKind::TooLarge);
}

#[test]
fn the_right_object_under_anothers_name() {
    let mut other = descriptor(&[(Role::Rlib, "x", b"x")]);
    other.artifact.package = "other".into();
    other.outline.package = "other".into();
    refused(&packed(&other, &[b"x"]).unwrap().0, ErrorKind::WrongKey);
    let mut other = sample();
    other.artifact.content = ContentKey(Digest::of(b"other"));
    other.key = ArtifactKey::derive(&other.artifact.content, &other.set, &Roots::default(), &[]);
    refused(&packed(&other, &OUTPUTS.map(|(_, _, bytes)| bytes)).unwrap().0, ErrorKind::WrongKey);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// zstd can say one thing in several ways; a flipped bit is noticed, or changes nothing.
    #[test]
    fn no_flipped_bit_changes_an_artifact(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut object = sample_object();
        let at = at.index(object.len());
        object[at] ^= 1 << bit;
        if let Ok(unpacked) = unpacked(&object) {
            prop_assert_eq!(unpacked.descriptor, sample());
            prop_assert!(unpacked.staged.iter().map(|taken| &taken.bytes[..]).eq(OUTPUTS.map(|(_, _, bytes)| bytes)));
        }
    }

    /// Inside the tar, every bit that isn't the descriptor's own text is one way only.
    #[test]
    fn no_other_tar_is_accepted(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut tar = decompressed(&sample_object());
        let second = headers(&tar)[1];
        let at = second + at.index(tar.len() - second);
        tar[at] ^= 1 << bit;
        prop_assert!(unpacked(&compressed(&tar)).is_err());
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(unpacked(&bytes).is_err());
        prop_assert!(unpacked(&compressed(&bytes)).is_err());
    }

    /// Changes inside `artifact.json` may be accepted (a letter of stderr), but never another name, length or digest of what is placed.
    #[test]
    fn no_changed_descriptor_changes_the_outputs(at in 512..1000_usize, byte in any::<u8>()) {
        let mut tar = decompressed(&sample_object());
        tar[at] = byte;
        if let Ok(unpacked) = unpacked(&compressed(&tar)) {
            prop_assert_eq!(unpacked.descriptor.key, sample().key);
            prop_assert_eq!(unpacked.descriptor.artifact.outputs, sample().artifact.outputs);
        }
    }
}
