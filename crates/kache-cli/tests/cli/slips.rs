//! What a slip of the fingers is told, word for word: on the command line and in the environment. Slips in files are kache-config's.

use crate::{Place, check};

/// What clap puts below an error.
const MORE: &str = "\n\nFor more information, try '--help'.";

#[test]
fn a_slip_on_the_command_line_is_told_what_was_meant() {
    let place = Place::new();
    for (line, text) in [
        ("verfy", "unrecognized subcommand 'verfy'\n\n  tip: a similar subcommand exists: 'verify'\n\nUsage: kache <COMMAND>"),
        ("config shwo", "unrecognized subcommand 'shwo'\n\n  tip: a similar subcommand exists: 'show'\n\nUsage: kache config <COMMAND>"),
        (
            "--verion",
            "unexpected argument '--verion' found\n\n  tip: a similar argument exists: '--version'\n\nUsage: kache --version <COMMAND>",
        ),
        ("stats --jsno", "unexpected argument '--jsno' found\n\n  tip: a similar argument exists: '--json'\n\nUsage: kache stats --json"),
        ("start now", "unexpected argument 'now' found\n\nUsage: kache start"),
        ("purge --all", "unexpected argument '--all' found\n\nUsage: kache purge [OPTIONS]"),
        ("setup --yse", "unexpected argument '--yse' found\n\nUsage: kache setup [OPTIONS]"),
        (
            "doctor --wirte",
            "unexpected argument '--wirte' found\n\n  tip: a similar argument exists: '--write'\n\nUsage: kache doctor --write",
        ),
        (
            "verify --repiar",
            "unexpected argument '--repiar' found\n\n  tip: a similar argument exists: '--repair'\n\nUsage: kache verify --repair",
        ),
        ("sync --pul", "unexpected argument '--pul' found\n\n  tip: a similar argument exists: '--pull'\n\nUsage: kache sync --pull"),
        ("list --crate", "a value is required for '--crate <NAME>' but none was supplied"),
        ("list --crate a/b", "invalid value 'a/b' for '--crate <NAME>': expected a crate's name, found \"a/b\""),
        ("purge --crate ü", "invalid value 'ü' for '--crate <NAME>': expected a crate's name, found \"ü\""),
        ("gc --max-age 30", "invalid value '30' for '--max-age <AGE>': expected an age such as 30d, 12h or 90m, found \"30\""),
        ("gc --max-age -1d", "unexpected argument '-1' found\n\nUsage: kache gc [OPTIONS]"),
        (
            "gc --max-size 5elephants",
            "invalid value '5elephants' for '--max-size <SIZE>': expected a size such as 10GiB, 500MB or a number of bytes, found \"5elephants\"",
        ),
        (
            "gc --max-size -1",
            "invalid value '-1' for '--max-size <SIZE>': expected a size such as 10GiB, 500MB or a number of bytes, found \"-1\"",
        ),
        ("flush --timeout soon", "invalid value 'soon' for '--timeout <SECONDS>': expected a number of seconds such as 60, found \"soon\""),
        ("flush --timeout -1", "invalid value '-1' for '--timeout <SECONDS>': expected a number of seconds such as 60, found \"-1\""),
        (
            "completions basch",
            "invalid value 'basch' for '<SHELL>'\n  [possible values: bash, elvish, fish, powershell, zsh]\n\n  tip: a similar value exists: 'bash'",
        ),
        ("exec --", "the following required arguments were not provided:\n  <CMD>...\n\nUsage: kache exec <CMD>..."),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        check(&place.run(&words), 2, "", &format!("error: {text}{MORE}"));
    }
}

#[test]
fn a_slip_in_the_environment_names_the_variable() {
    let place = Place::new();
    let long = format!("/tmp/{}", "x".repeat(150));
    let too_long = format!(
        "the socket's path is 155 bytes long, at most 107 are possible: {long}; set KACHE_SOCKET to a shorter one, in a directory that is yours alone"
    );
    for (name, value, command, text) in [
        ("KACHE_SOCKET", "here", "stats", "KACHE_SOCKET must be an absolute path, not here"),
        ("KACHE_SOCKET", &long, "status", &too_long),
        ("KACHE_CONFIG", "/nowhere/k.toml", "start", "KACHE_CONFIG: /nowhere/k.toml can't be read: No such file or directory (os error 2)"),
        ("KACHE_CONFIG", "/", "start", "KACHE_CONFIG: / can't be read: Is a directory (os error 21)"),
        ("KACHE_CACHE_DIR", "cache", "start", "KACHE_CACHE_DIR: expected an absolute path, found \"cache\""),
        ("KACHE_MAX_SIZE", "lots", "gc", "KACHE_MAX_SIZE: expected a size such as 10GiB, 500MB or a number of bytes, found \"lots\""),
        (
            "KACHE_LOG",
            "inof",
            "start",
            "KACHE_LOG: expected a level (off, error, warn, info, debug, trace), or such as kached=debug,warn, found \"inof\"",
        ),
        ("KACHE_S3_BUCKET", "s3://team", "start", "KACHE_S3_BUCKET: expected a bucket's name, without slashes, found \"s3://team\""),
    ] {
        let output = place.kache(&[command]).env(name, value).output().unwrap();
        check(&place.said(output), 2, "", &format!("kache: error: {text}"));
    }
    let warned = |name: &str, value: &str| {
        let said = place.said(place.kache(&["config", "check"]).env(name, value).output().unwrap());
        assert_eq!((said.code, said.stdout.as_str()), (Some(0), "the configuration is good (0 files read)\n"));
        said.stderr
    };
    assert_eq!(warned("KACHE_MAXSIZE", "1"), "kache: warning: unknown variable KACHE_MAXSIZE (did you mean KACHE_MAX_SIZE?)\n");
    assert_eq!(
        warned("KACHE_VERIFY", "alway"),
        "kache: warning: KACHE_VERIFY: expected always or sampled, found \"alway\"; nothing is verified\n"
    );
    let no_bucket = "kache: warning: KACHE_S3_REGION is set, but there is no bucket: set KACHE_S3_BUCKET or [cache.remote]\n";
    assert_eq!(warned("KACHE_S3_REGION", "auto"), no_bucket);
}

#[test]
fn words_of_sccache_do_what_they_did_there() {
    let place = Place::new();
    let not_running = "kache: error: kached isn't running (no answer at DIR/s); start it by `kache start`";
    for word in ["--show-stats", "-s"] {
        check(&place.run(&[word]), 3, "", &format!("kache: {word} is `kache stats` here\n{not_running}"));
    }
    check(&place.run(&["--zero-stats"]), 3, "", &format!("kache: --zero-stats is `kache stats --zero` here\n{not_running}"));
    check(&place.run(&["--stop-server"]), 0, "kached isn't running", "kache: --stop-server is `kache stop` here");
    let missing = "kache: error: kached isn't beside DIR/kache: install the three programs into one directory";
    check(&place.run(&["--start-server"]), 1, "", &format!("kache: --start-server is `kache start` here\n{missing}"));
}
