//! Help, and what the first argument makes of `kache`.

use crate::{Place, check};
use std::os::unix::process::ExitStatusExt as _;

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

#[test]
fn a_c_compiler_as_first_argument_is_run_as_if_it_had_been_called_itself() {
    let place = Place::new();
    for name in ["cc", "x86_64-linux-gnu-gcc-12", "clang++-17", "ar"] {
        place.script(name, "echo \"$0 $# $1 $KEPT\"; echo err >&2; exit 5");
        for program in [name.to_owned(), place.path(name).to_str().unwrap().to_owned()] {
            let mut command = place.kache(&[&program, "-c x.c"]);
            let path = format!("{}:/usr/bin:/bin", place.path("kache").parent().unwrap().display());
            let said = place.said(command.env("PATH", path).env("KEPT", "kept").output().unwrap());
            check(&said, 5, &format!("DIR/{name} 1 -c x.c kept"), "err");
        }
    }
    place.script("gcc", "kill -TERM $$");
    let output = place.kache(&[place.path("gcc").to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.signal(), Some(15));
    let missing = "kache: error: DIR/no/cc can't be started: No such file or directory (os error 2)";
    check(&place.run(&[place.path("no/cc").to_str().unwrap()]), 127, "", missing);
    check(&place.run(&["no-such-target-cc"]), 127, "", &missing.replace("DIR/no/cc", "no-such-target-cc"));
}
