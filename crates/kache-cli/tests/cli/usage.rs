//! Help, and what the first argument makes of `kache`.

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
        let (_, examples) = said.stdout.split_once("\nExamples:\n").unwrap_or_else(|| panic!("{command} has no examples"));
        assert!(examples.contains(&format!("kache {command}")), "{examples}");
    }
    for question in ["show", "path", "check"] {
        assert!(
            place.run(&["config", question, "--help"]).stdout.contains(&format!("\nExamples:\n  kache config {question}")),
            "{question}"
        );
    }
    assert_eq!(place.run(&["help", "stats"]).stdout, place.run(&["stats", "--help"]).stdout);
    check(&place.run(&["--version"]), 0, concat!("kache ", env!("CARGO_PKG_VERSION")), "");
}

#[test]
fn a_bad_configuration_is_named_and_ends_with_two() {
    let place = Place::new();
    std::fs::write(place.path("k.toml"), "[cache]\nmax_sise = 1").unwrap();
    let output = place.kache(&["start"]).env("KACHE_CONFIG", place.path("k.toml")).output().unwrap();
    check(&place.said(output), 2, "", "kache: error: DIR/k.toml: unknown key `cache.max_sise`; did you mean `cache.max_size`?");
}

#[test]
fn a_compilers_path_as_first_argument_makes_it_a_wrapper() {
    check(&Place::new().run(&["/bin/sh", "-c", "echo compiled; exit 4"]), 4, "compiled", "");
}
