//! `artifact.json`: its golden text, and what is refused in it.

use crate::support::*;
use kache_model::{Role, RootKind, RootKinds, Stays};
use kache_remote::{Descriptor, ErrorKind, Limits};

fn json() -> String {
    String::from_utf8(sample().write().unwrap()).unwrap()
}

fn read(json: &str) -> Result<Descriptor, kache_remote::RemoteError> {
    Descriptor::read(json.as_bytes(), &asked(), &Limits::default())
}

/// One change of the text, and how it is refused.
#[track_caller]
fn refused(from: &str, to: &str, kind: ErrorKind) {
    let changed = json().replacen(from, to, 1);
    assert_ne!(changed, json(), "{from} isn't there");
    match read(&changed) {
        Ok(_) => panic!("{to} was accepted"),
        Err(error) => assert_eq!(error.kind(), kind, "{to}: {error}"),
    }
}

#[test]
fn text_is_text_and_digests_are_hex() {
    let json = json();
    assert_eq!(read(&json).unwrap(), sample());
    let key = sample().key.to_string();
    for part in [
        r#"{"format":3,"key":""#,
        &key,
        r#""outputs":[{"role":"metadata","name":"libserde-1.rmeta","executable":false,"blob":"#,
        r#""stdout":"out","stderr":{"base64":""#,
        r#""dep_info":{"name":"serde.d","text":{"base64":""#,
        r#""mentions":["OUT_DIR"]"#,
        r#""linked":{"names":["z"],"by_macro":false}"#,
    ] {
        assert!(json.contains(part), "{part} in {json}");
    }
}

#[test]
fn formats_and_shapes() {
    refused("\"format\":3", "\"format\":2", ErrorKind::Corrupt);
    refused("\"format\":3,", "", ErrorKind::Corrupt);
    refused("{\"format\"", "[{\"format\"", ErrorKind::Corrupt);
    refused("\"stdout\":\"out\"", "\"stdout\":[1,2]", ErrorKind::Corrupt);
    refused("\"OUT_DIR\"", "\"NEW_DIR\"", ErrorKind::Corrupt);
    refused("\"status\":0", "\"status\":5000000000", ErrorKind::Corrupt);
    assert!(read(&json().replacen("\"status\"", "\"new\":{\"a\":[]},\"status\"", 1)).is_ok());
    let deep = json().replacen("\"status\"", &format!("\"new\":{},\"status\"", "[".repeat(100_000)), 1);
    assert_eq!(read(&deep).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn parts_that_do_not_belong_together() {
    let other = "00".repeat(32);
    refused(&sample().key.to_string(), &other, ErrorKind::WrongKey);
    refused(&sample().artifact.unit.to_string(), &other, ErrorKind::WrongKey);
    refused(&sample().artifact.content.to_string(), &other, ErrorKind::WrongKey);
    refused("\"package\":\"serde\"", "\"package\":\"other\"", ErrorKind::WrongKey);
    refused("\"crate_name\":\"serde\"", "\"crate_name\":\"other\"", ErrorKind::WrongKey);
    refused("\"test\":false", "\"test\":true", ErrorKind::WrongKey);
}

#[test]
fn results_that_must_not_travel() {
    let elsewhere = json().replace("\"bound\":[]", "\"bound\":[\"workspace\"]");
    assert_ne!(elsewhere, json());
    assert_eq!(read(&elsewhere).unwrap_err().kind(), ErrorKind::Corrupt);
    for (stays, name) in [(Stays::ContinuedSession, "continued_session"), (Stays::Foreign, "foreign")] {
        refused("\"stays\":\"no\"", &format!("\"stays\":\"{name}\""), ErrorKind::Corrupt);
        let mut here = sample();
        here.artifact.stays = stays;
        assert!(here.write().is_err(), "nor is it written");
    }
    for kind in [RootKind::Workspace, RootKind::Target] {
        assert!(bound_to(&[RootKind::CargoHome, kind]).write().is_err(), "nor is it written");
    }
}

#[test]
fn what_is_bound_to_roots_that_a_team_may_agree_about_travels() {
    let bound = bound_to(&[RootKind::CargoHome, RootKind::Base(1)]);
    let json = bound.write().unwrap();
    assert!(String::from_utf8_lossy(&json).contains(r#""bound":["cargo_home","base2"]"#));
    assert_eq!(read(std::str::from_utf8(&json).unwrap()).unwrap(), bound);
    let mut halves = bound;
    halves.set.bound = RootKinds::NONE;
    assert!(halves.write().is_err(), "set and artifact agree");
}

fn bound_to(kinds: &[RootKind]) -> Descriptor {
    let mut bound = sample();
    bound.artifact.bound = kinds.iter().copied().collect();
    bound.set.bound = bound.artifact.bound;
    bound
}

#[test]
fn names_that_are_not_file_names() {
    let long = "a".repeat(256);
    for name in ["", ".", "..", "/", "a/b", "../a", "/etc/passwd", "a\\\\b", "a\\u0000b", &long] {
        refused("\"libserde-1.rmeta\"", &format!("\"{name}\""), ErrorKind::Corrupt);
        refused("\"serde.d\"", &format!("\"{name}\""), ErrorKind::Corrupt);
    }
    refused("\"libserde-1.rmeta\"", "\"libserde-1.rlib\"", ErrorKind::Corrupt);
    refused("\"serde.d\"", "\"main\"", ErrorKind::Corrupt);
}

#[test]
fn sizes_beyond_the_limits() {
    let sized = descriptor(&[(Role::Rlib, "a", b"12345"), (Role::Rlib, "b", b"67890")]);
    let json = sized.write().unwrap();
    let with = |limits: Limits| Descriptor::read(&json, &asked(), &limits).map_err(|error| error.kind());
    let fits = Limits { unpacked_bytes: 10, descriptor_bytes: json.len() as u64, outputs: 2 };
    assert_eq!(with(fits).unwrap(), sized);
    for limits in [
        Limits { unpacked_bytes: 9, ..fits },
        Limits { outputs: 1, ..fits },
        Limits { descriptor_bytes: fits.descriptor_bytes - 1, ..fits },
    ] {
        assert_eq!(with(limits).unwrap_err(), ErrorKind::TooLarge);
    }
}
