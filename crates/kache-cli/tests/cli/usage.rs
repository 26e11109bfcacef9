//! Help, and what a slip of the fingers is told.

use crate::{Place, check};

#[test]
fn every_help_exits_with_zero_and_shows_an_example() {
    let place = Place::new();
    for command in [
        "exec",
        "start",
        "stop",
        "status",
        "stats",
        "verify",
        "list",
        "gc",
        "purge",
        "config",
        "completions",
        "setup",
        "doctor",
        "sync",
        "flush",
    ] {
        let said = place.run(&[command, "--help"]);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{command}");
        assert!(
            said.stdout.contains(&format!("  kache {command}")) || said.stdout.contains(&format!("Example: kache {command}")),
            "{command}"
        );
    }
    check(&place.run(&["--version"]), 0, concat!("kache ", env!("CARGO_PKG_VERSION")), "");
}

#[test]
fn a_mistyped_command_is_told_the_nearest() {
    let expected = "error: unrecognized subcommand 'verfy'\n\n  tip: a similar subcommand exists: 'verify'\n\n\
                    Usage: kache <COMMAND>\n\nFor more information, try '--help'.";
    let said = Place::new().run(&["verfy"]);
    assert_eq!((said.code, said.stderr.trim_end()), (Some(2), expected));
}

#[test]
fn a_mistyped_option_is_told_the_nearest() {
    let said = Place::new().run(&["stats", "--jsno"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.stderr.starts_with("error: unexpected argument '--jsno' found\n\n  tip: a similar argument exists: '--json'"),
        "{}",
        said.stderr
    );
}

#[test]
fn exec_without_a_command_is_refused() {
    let said = Place::new().run(&["exec", "--"]);
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("<CMD>..."), "{}", said.stderr);
}

#[test]
fn a_bad_configuration_is_named_and_ends_with_two() {
    let place = Place::new();
    std::fs::write(place.path("k.toml"), "[cache]\nmax_sise = 1").unwrap();
    let output = place.kache(&["start"]).env("KACHE_CONFIG", place.path("k.toml")).output().unwrap();
    check(&place.said(output), 2, "", "kache: error: DIR/k.toml: unknown key `cache.max_sise`; did you mean `cache.max_size`?");
}

#[test]
fn a_relative_socket_is_refused() {
    let place = Place::new();
    let output = place.kache(&["stats"]).env("KACHE_SOCKET", "here").output().unwrap();
    check(&place.said(output), 2, "", "kache: error: KACHE_SOCKET must be an absolute path, not here");
}

#[test]
fn a_compilers_path_as_first_argument_makes_it_a_wrapper() {
    check(&Place::new().run(&["/bin/sh", "-c", "echo compiled; exit 4"]), 4, "compiled", "");
}
