//! `list`, `gc`, `purge`, `verify --repair`, `config`, `completions`, `man`: with a daemon that only looks like one, and on a store of one's own.

use crate::fake::Fake;
use crate::{Place, check};
use kache_model::{Artifact, ArtifactKey, ContentKey, Digest, InputSet, Mentions, Output, Role, UnitKey, UnitOutline, Witness};
use kache_store::{Options, Publication, Store};

const NOBODY: &str = "kache: error: nobody can be asked here: pass --yes to remove artifacts, or --dry-run to see what would be done";

/// A store in the place's cache directory that holds one artifact of each of these packages, 64 KiB each.
fn fill(place: &Place, packages: &[&str]) {
    let store = Store::open(&place.path("cache"), Options { max_bytes: 1 << 30 }).unwrap();
    for name in packages {
        let id = Digest::of(name.as_bytes());
        let bytes: Vec<u8> = name.bytes().cycle().take(64 << 10).collect();
        let blob = store.stage_bytes(&bytes, false).unwrap();
        let output = Output { role: Role::Rlib, name: format!("lib{name}.rlib"), executable: false, blob: blob.id(), len: blob.len() };
        let artifact = Artifact {
            package: (*name).to_owned(),
            crate_name: name.replace('-', "_"),
            unit: UnitKey(id),
            content: ContentKey(id),
            outputs: vec![output],
            dep_info: None,
            stdout: Vec::new(),
            stderr: Vec::new(),
            status: 0,
            compile_millis: 1,
            stays: kache_model::Stays::No,
            bound: kache_model::RootKinds::NONE,
            mentions: Mentions::NONE,
            runs_macros: false,
            linked: Default::default(),
        };
        let publication = Publication {
            key: ArtifactKey(id),
            unit: UnitKey(id),
            outline: UnitOutline::default(),
            set: InputSet::default(),
            witness: Witness::Own,
            artifact,
            blobs: vec![blob],
            pending_upload: None,
        };
        store.publish(publication).unwrap();
        // Uses are ordered by the millisecond.
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[test]
fn a_list_is_a_table_or_json() {
    let place = Place::new();
    check(&place.run(&["list"]), 0, "0 artifacts, 0 B", "");
    assert!(!place.path("cache").exists(), "looking makes no store");
    fill(&place, &["serde-json", "a"]);
    let table = "\
Package     Crate             Size       Used
a           a               64 KiB        0 s
serde-json  serde_json      64 KiB        0 s
2 artifacts, 128 KiB";
    check(&place.run(&["list"]), 0, table, "");
    let one = "Package     Crate             Size       Used\nserde-json  serde_json      64 KiB        0 s\n1 artifact, 64 KiB";
    check(&place.run(&["list", "--crate", "serde_json"]), 0, one, "");
    let json: serde_json::Value = serde_json::from_str(&place.run(&["list", "--json"]).stdout).unwrap();
    assert_eq!(json.as_array().map(Vec::len), Some(2));
    assert_eq!((&json[0]["package"], &json[0]["output_bytes"]), (&"a".into(), &65536.into()));
}

#[test]
fn a_daemon_is_asked_for_the_list() {
    let place = Place::new();
    let item = r#"[{"key":"ab","package":"p","crate":"c","output_bytes":2048,"used_millis":0,"pending_upload":false,"shareable":true}]"#;
    let fake = Fake::serve(
        &place.path("s"),
        vec![("GET /v1/artifacts", vec![(200, item.into())]), ("GET /v1/artifacts?crate=p", vec![(200, item.into())])],
    );
    check(&place.run(&["list", "--json"]), 0, item, "");
    check(&place.run(&["list", "--crate", "p", "--json"]), 0, item, "");
    assert_eq!(fake.asked(), ["GET /healthz", "GET /v1/artifacts", "GET /healthz", "GET /v1/artifacts?crate=p"]);
}

#[test]
fn nothing_is_removed_without_a_yes() {
    let place = Place::new();
    fill(&place, &["a", "b", "c"]);
    check(&place.run(&["purge"]), 2, "", NOBODY);
    check(&place.run(&["gc", "--max-age", "0s"]), 2, "", NOBODY);
    let dry = place.run(&["purge", "--dry-run"]);
    assert!(dry.code == Some(0) && dry.stdout.starts_with("would remove 3 artifacts, 19"), "{dry:?}");
    assert!(place.run(&["list"]).stdout.ends_with("3 artifacts, 192 KiB\n"));
    let one = place.run(&["purge", "--crate", "b", "--yes"]);
    assert!(one.code == Some(0) && one.stdout.starts_with("removed 1 artifact, 64"), "{one:?}");
    let oldest = place.run(&["gc", "--max-size", "100KiB", "--yes"]);
    assert!(oldest.code == Some(0) && oldest.stdout.starts_with("removed 1 artifact, 64"), "{oldest:?}");
    assert!(place.run(&["list"]).stdout.contains("\nc        c"), "the one used last stays");
    check(&place.run(&["gc"]), 0, "nothing to remove", "");
    check(&place.run(&["purge", "--crate", "b"]), 0, "nothing of a crate b is stored", "");
    check(&place.run(&["list", "--crate", "b"]), 0, "nothing of a crate b is stored", "");
    check(&place.run(&["list", "--crate", "b", "--json"]), 0, "[]", "");
    let aged = place.run(&["gc", "--max-age", "0s", "-y"]);
    assert!(aged.stdout.starts_with("removed 1 artifact"), "{aged:?}");
    check(&place.run(&["purge"]), 0, "nothing to remove", "");
}

#[test]
fn on_a_terminal_the_question_is_answered_there() {
    for (answer, left) in [("y", "0 artifacts"), ("n", "1 artifact,"), ("", "1 artifact,")] {
        let place = Place::new();
        fill(&place, &["a"]);
        // `script` gives its command a terminal; where it isn't installed, this is left out.
        let mut script = std::process::Command::new("sh");
        script.arg("-c").arg("echo \"$1\" | script -qec \"$0 purge\" /dev/null").arg(place.path("kache")).arg(answer).env_clear();
        script.envs(place.kache(&[]).get_envs().filter_map(|(name, value)| Some((name, value?))));
        let said = place.said(script.output().unwrap());
        if said.stderr.contains("not found") {
            return;
        }
        assert!(said.stdout.contains("Remove 1 artifact, 64"), "{said:?}");
        assert!(said.stdout.contains("[y/N]"), "{said:?}");
        assert!(place.run(&["list"]).stdout.contains(left), "{answer:?}");
    }
}

#[test]
fn a_daemon_is_asked_before_and_after_the_yes() {
    let place = Place::new();
    let gone = r#"{"artifacts":2,"removed_bytes":4096,"freed_bytes":1024}"#;
    let fake = Fake::serve(
        &place.path("s"),
        vec![
            ("POST /v1/gc?max_bytes=1024&max_age_secs=86400&dry_run=1", vec![(200, gone.into())]),
            ("POST /v1/gc?max_bytes=1024&max_age_secs=86400", vec![(200, gone.into())]),
            ("POST /v1/purge?crate=a&dry_run=1", vec![(200, gone.into())]),
        ],
    );
    let removed = "removed 2 artifacts, 4 KiB (3 KiB of it stay on the disk: target directories link them)";
    check(&place.run(&["gc", "--max-age", "1d", "--max-size", "1K", "--yes"]), 0, removed, "");
    check(&place.run(&["purge", "--crate", "a"]), 2, "", NOBODY);
    let asked: Vec<String> = fake.asked().into_iter().filter(|question| question != "GET /healthz").collect();
    assert_eq!(
        asked,
        [
            "POST /v1/gc?max_bytes=1024&max_age_secs=86400&dry_run=1",
            "POST /v1/gc?max_bytes=1024&max_age_secs=86400",
            "POST /v1/purge?crate=a&dry_run=1"
        ]
    );
}

#[test]
fn a_repair_removes_what_is_damaged() {
    let place = Place::new();
    fill(&place, &["a", "b"]);
    let blob = Digest::of(&b"a".repeat(64 << 10)).to_hex();
    std::fs::write(place.path("cache/blobs-v1").join(&blob[..2]).join(&blob), "rotten").unwrap();
    let artifact = Digest::of(b"a");
    let found = format!("blob {blob}: wrong length\nartifact {artifact}: no good blob {blob}\n2 blobs checked, 64 KiB: 2 findings");
    let said = place.run(&["verify"]);
    check(&said, 1, &found, "");
    check(&place.run(&["verify", "--repair"]), 0, &format!("{found}, 1 artifact removed"), "");
    check(&place.run(&["verify"]), 0, "1 blob checked, 64 KiB: nothing found", "");
}

#[test]
fn words_that_are_no_ages_sizes_and_names_are_told_what_was_expected() {
    let place = Place::new();
    for (arguments, expected) in [
        (&["gc", "--max-age", "30"][..], "'30' for '--max-age <AGE>': expected an age such as 30d, 12h or 90m, found \"30\""),
        (
            &["gc", "--max-size", "lots"],
            "'lots' for '--max-size <SIZE>': expected a size such as 10GiB, 500MB or a number of bytes, found \"lots\"",
        ),
        (&["purge", "--crate", "a b"], "'a b' for '--crate <NAME>': expected a crate's name, found \"a b\""),
        (&["list", "--crate", ""], "'' for '--crate <NAME>': expected a crate's name, found \"\""),
    ] {
        let said = place.run(arguments);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""));
        let first = said.stderr.lines().next().unwrap();
        // clap names an empty value differently.
        assert!(
            first == format!("error: invalid value {expected}") || first.contains("a value is required for '--crate <NAME>'"),
            "{first}"
        );
    }
}

#[test]
fn the_configuration_is_shown_with_origins() {
    let place = Place::new();
    std::fs::write(place.path("k.toml"), "[cache]\nmax_size = '1GiB'\nsalt = 'x'").unwrap();
    let run = |arguments: &[&str]| place.said(place.kache(arguments).env("KACHE_CONFIG", place.path("k.toml")).output().unwrap());
    let shown = "\
log             \"info\"  default
cache.dir       \"CACHE\"  KACHE_CACHE_DIR
cache.max_size  \"1 GiB\"  DIR/k.toml
cache.salt      (set)  DIR/k.toml
cache.remap     true  default
cache.links     \"auto\"  default
cache.base_dirs  []  default";
    let said = run(&["config", "show"]);
    let squeezed: Vec<String> = said
        .stdout
        .lines()
        .map(|line| {
            let mut columns = line.split("  ").map(str::trim).filter(|column| !column.is_empty());
            let (name, value, origin) = (columns.next().unwrap(), columns.next().unwrap(), columns.next().unwrap());
            format!("{name:<14}  {value}  {origin}").replace("DIR/cache\"", "CACHE\"")
        })
        .collect();
    assert_eq!((said.code, squeezed.join("\n").as_str()), (Some(0), shown));
    check(&run(&["config", "path"]), 0, "DIR/k.toml", "");
    check(&run(&["config", "check"]), 0, "the configuration is good (1 file read)", "");
    let user = "/etc/kache/config.toml  (absent)\nDIR/.config/kache/config.toml  (absent)";
    check(&place.run(&["config", "path"]), 0, user, "");
}

#[test]
fn a_wrong_configuration_ends_a_check_with_two() {
    let place = Place::new();
    std::fs::write(place.path("k.toml"), "[cache]\nmax_sise = 1").unwrap();
    let run = |arguments: &[&str]| place.said(place.kache(arguments).env("KACHE_CONFIG", place.path("k.toml")).output().unwrap());
    let error = "kache: error: DIR/k.toml: unknown key `cache.max_sise`; did you mean `cache.max_size`?";
    check(&run(&["config", "check"]), 2, "", error);
    check(&run(&["config", "show"]), 2, "", error);
    check(&run(&["config", "path"]), 0, "DIR/k.toml", "");
    let odd = place.said(place.kache(&["config", "check"]).env("KACHE_MAXSIZE", "1").output().unwrap());
    let warning = "kache: warning: unknown variable KACHE_MAXSIZE (did you mean KACHE_MAX_SIZE?)";
    check(&odd, 0, "the configuration is good (0 files read)", warning);
}

#[test]
fn completions_and_man_pages_know_the_commands() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = place.run(&["completions", shell]);
        assert!(said.code == Some(0) && said.stdout.contains("purge") && said.stdout.contains("max-age"), "{shell}");
    }
    let bash = place.run(&["completions", "bash"]).stdout;
    let mut syntax = std::process::Command::new("bash").args(["-n", "-c", &bash]).spawn().unwrap();
    assert!(syntax.wait().unwrap().success());
    let wrong = place.run(&["completions", "bahs"]);
    assert!(
        wrong.stderr.starts_with("error: invalid value 'bahs' for '<SHELL>'\n  [possible values: bash, elvish, fish, powershell, zsh]\n")
    );
    assert!(wrong.stderr.contains("tip: a similar value exists: 'bash'"), "{}", wrong.stderr);
    check(&place.run(&["man", place.path("man").to_str().unwrap()]), 0, "", "");
    let page = |name: &str| std::fs::read_to_string(place.path("man").join(name)).unwrap();
    assert!(page("kache.1").contains("kache\\-gc(1)") && page("kache-gc.1").contains("max\\-age"));
    assert!(!place.path("man/kache-__become.1").exists());
    let printed = place.run(&["man"]);
    assert!(printed.code == Some(0) && printed.stdout.contains(".TH kache 1") && printed.stdout.contains("kache\\-gc(1)"), "{printed:?}");
}

#[test]
fn the_configuration_is_json_for_scripts() {
    let place = Place::new();
    std::fs::write(place.path("k.toml"), "[cache]\nsalt = 'x'").unwrap();
    let output = place.kache(&["config", "show", "--json"]).env("KACHE_CONFIG", place.path("k.toml")).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let salt = json.as_array().unwrap().iter().find(|setting| setting["name"] == "cache.salt").unwrap();
    let file = place.path("k.toml").display().to_string();
    assert_eq!(salt, &serde_json::json!({"name": "cache.salt", "value": "(set)", "origin": file}));
}
