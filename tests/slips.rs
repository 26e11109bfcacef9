//! What `kached` says, word for word, when a file, a variable or its command line isn't as it should be; and that it doesn't try again.

use kache_testkit::{Binaries, Machine, finish_within};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

/// How `kached` ends that is started by `env VARIABLES kached WORDS`, and what it says; the machine's directory is spelled `DIR`.
fn kached(machine: &Machine, variables: &[&str], words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("env");
    command.args(variables).arg(Binaries::get().kached()).args(words);
    let mut child = machine.spawn(command);
    let status = finish_within(&mut child, Duration::from_secs(20)).unwrap_or_else(|| panic!("kached goes on:\n{}", machine.log()));
    let dir = machine.path("");
    (status.code(), machine.log().trim_end().replace(dir.to_str().unwrap().trim_end_matches('/'), "DIR"))
}

#[track_caller]
fn check(machine: &Machine, variables: &[&str], words: &[&str], code: i32, text: &str) {
    assert_eq!(kached(machine, variables, words), (Some(code), format!("kached: {text}")));
}

#[test]
fn a_slip_in_the_configuration_names_file_and_key() {
    let machine = Machine::idle();
    for (file, text) in [
        ("[cache]\nmax_sise = 1", "unknown key `cache.max_sise`; did you mean `cache.max_size`?"),
        ("[cache]\nremap = 1", "`cache.remap`: expected true or false, found 1"),
        ("[cache.remote]\ntype = 's3'", "`cache.remote.bucket` is missing: expected the bucket's name"),
        ("log = info", "TOML parse error at line 1, column 10\n  |\n1 | log = info\n  |          ^\nexpected newline, `#`"),
    ] {
        fs::write(machine.config(), file).unwrap();
        check(&machine, &[], &[], 2, &format!("DIR/config.toml: {text}"));
    }
    fs::remove_file(machine.config()).unwrap();
    check(&machine, &[], &[], 2, "KACHE_CONFIG: DIR/config.toml can't be read: No such file or directory (os error 2)");
}

#[test]
fn a_slip_in_a_variable_names_it() {
    let machine = Machine::idle();
    for (variables, text) in [
        (
            &["KACHE_MAX_SIZE=1 elephant"][..],
            "KACHE_MAX_SIZE: expected a size such as 10GiB, 500MB or a number of bytes, found \"1 elephant\"",
        ),
        (
            &["KACHE_REMOTE_MODE=ro", "KACHE_S3_BUCKET=b"],
            "KACHE_REMOTE_MODE: expected \"read-write\" or \"read-only\" or \"off\", found \"ro\"",
        ),
        (
            &["KACHE_S3_ACCESS_KEY=x", "KACHE_S3_BUCKET=b"],
            "KACHE_S3_ACCESS_KEY is set, but KACHE_S3_SECRET_KEY isn't: set both, or neither",
        ),
        (
            &["KACHE_S3_BUCKET=b", "KACHE_S3_ENDPOINT=https://u:hunter2@h"],
            "[cache.remote]: the endpoint holds a user name; credentials have variables and profiles of their own",
        ),
        (&["KACHE_S3_BUCKET=b", "KACHE_S3_ENDPOINT=https://h/?x=1"], "[cache.remote]: the endpoint holds a query"),
        (&["KACHE_SOCKET=here"], "KACHE_SOCKET must be an absolute path, not here"),
        (&["-u", "KACHE_CACHE_DIR", "-u", "HOME", "-u", "XDG_CACHE_HOME"], "no place for the cache: set KACHE_CACHE_DIR, or HOME"),
        (
            &["-u", "KACHE_SOCKET", "-u", "HOME", "-u", "XDG_CACHE_HOME", "-u", "XDG_RUNTIME_DIR"],
            "no place for the socket: set KACHE_SOCKET, XDG_RUNTIME_DIR or HOME to an absolute path",
        ),
    ] {
        check(&machine, variables, &[], 2, text);
    }
}

#[test]
fn a_slip_on_the_command_line_is_refused() {
    let machine = Machine::idle();
    check(&machine, &[], &["--verbose"], 2, "unexpected argument --verbose; see kached --help");
}

#[test]
fn a_place_that_can_not_be_used_is_named_with_its_cause_once() {
    let machine = Machine::idle();
    fs::write(machine.path("file"), "").unwrap();
    let cache = format!("KACHE_CACHE_DIR={}", machine.path("file/cache").display());
    check(&machine, &[&cache], &[], 1, "can't create DIR/file/cache: Not a directory (os error 20)");
    let socket = format!("KACHE_SOCKET={}", machine.path("file/s").display());
    check(&machine, &[&socket], &[], 1, "can't listen on DIR/file/s: File exists (os error 17)");
    let socket = format!("KACHE_SOCKET={}", machine.path("file").display());
    check(&machine, &[&socket], &[], 1, "can't listen on DIR/file: something that isn't a socket is in the way");
    assert_eq!(fs::metadata(machine.path("file")).unwrap().permissions().mode() & 0o400, 0o400);
}
