//! Values of variables stay on the machine: the bucket has their names, and a restored dep-info has the values of whoever restores it.

use crate::team::{flush, member};
use kache_testkit::{Cargo, Machine, Outcomes, Project, S3Server, samples};
use std::collections::BTreeMap;
use std::fs;

/// A word that is nowhere but in values.
const CANARY: &str = "c4n4ry";

/// Variables that count, each in its own way, with what they are set to.
fn variables() -> Vec<(&'static str, String)> {
    let by_the_rule = ("DATABASE_URL", format!("postgres://app:{CANARY}-rule@db/prod"));
    let by_env = ("BY_ENV", format!("{CANARY}-env = \\ \n\r x"));
    let by_option_env = ("BY_OPTION_ENV", format!("{CANARY}-option"));
    let by_rerun = ("BY_RERUN", format!("{CANARY}-rerun"));
    let by_the_linker = ("ZERO_AR_DATE", format!("{CANARY}-linker"));
    let by_macro = ("BY_MACRO", format!("{CANARY}-macro"));
    vec![by_the_rule, by_env, by_option_env, by_rerun, by_the_linker, by_macro]
}

/// A library whose sources read all of them, and leave nothing of them in what rustc makes.
fn project(directory: std::path::PathBuf) -> Project {
    let description = format!("description = \"{CANARY}-description\"\nauthors = [\"{CANARY}-author\"]\nbuild = \"build.rs\"\n");
    let dependencies = "[dependencies]\nmac = { path = \"mac\" }\n[workspace]\nmembers = [\"mac\"]\n";
    // What it says stands in a file, so that it isn't in the script's program.
    let said = format!(
        "cargo:rerun-if-env-changed=BY_RERUN\ncargo:rustc-env=BY_SCRIPT={CANARY}-script\ncargo:rustc-cfg=token=\"{CANARY}-cfg\"\n\
         cargo:rustc-check-cfg=cfg(token, values(\"{CANARY}-known\"))\n"
    );
    let script = "fn main() { print!(\"{}\", std::fs::read_to_string(\"said.txt\").unwrap()); }\n";
    let library = "#![allow(dead_code, unexpected_cfgs)]\n#[mac::look]\npub fn f() {}\n\
         fn dead() -> (&'static str, Option<&'static str>, &'static str, Option<&'static str>) {\n    \
         (env!(\"BY_ENV\"), option_env!(\"BY_OPTION_ENV\"), env!(\"BY_SCRIPT\"), option_env!(\"UNSET\"))\n}\n";
    let look = "#[proc_macro_attribute]\npub fn look(_: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {\n    \
         let _ = std::env::var(\"BY_MACRO\");\n    item\n}\n";
    Project::with(
        directory,
        &[
            ("Cargo.toml", &samples::package("reads", dependencies).replace("[package]\n", &format!("[package]\n{description}"))),
            ("build.rs", script),
            ("said.txt", &said),
            ("src/lib.rs", library),
            ("mac/Cargo.toml", &samples::package("mac", "[lib]\nproc-macro = true\n")),
            ("mac/src/lib.rs", look),
        ],
    )
}

fn machine(server: &S3Server) -> Machine {
    let machine = member(server, S3Server::OWNER, &[("KACHE_SALT", &format!("{CANARY}-salt")), ("KACHE_LOG", "trace")]);
    fs::write(machine.config(), "[rules.reads]\nenv = [\"DATABASE_URL\", \"BY_MACRO\"]\n").unwrap();
    machine.start();
    machine
}

fn with(cargo: Cargo) -> Cargo {
    variables().into_iter().fold(cargo.args(["build"]).env("CARGO_INCREMENTAL", "0"), |cargo, (name, value)| cargo.env(name, value))
}

fn run(machine: &Machine, cargo: &Cargo) -> Outcomes {
    let (_, seen) = machine.watch(|| cargo.ok());
    machine.settle();
    seen
}

/// Dep-info by file name.
fn dep_infos(project: &Project) -> BTreeMap<String, String> {
    let files = walk(&project.file("target/debug")).into_iter().filter(|path| path.extension().is_some_and(|end| end == "d"));
    files.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(path).unwrap())).collect()
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.flat_map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { vec![entry.path()] }).collect()
}

#[track_caller]
fn has_none(place: &str, bytes: &[u8]) {
    let found = bytes.windows(CANARY.len()).position(|window| window == CANARY.as_bytes());
    let near = found.map(|at| String::from_utf8_lossy(&bytes[at.saturating_sub(200)..(at + 30).min(bytes.len())]).into_owned());
    assert_eq!(near, None, "a value in {place}");
}

#[test]
fn no_value_of_a_variable_is_in_the_bucket_in_the_log_or_in_what_kache_says() {
    let server = S3Server::start();
    let first = machine(&server);
    let here = project(first.path("a"));
    let seen = run(&first, &with(first.cargo(&here)));
    assert_eq!((seen.bypass, seen.failed), (0, 0), "{seen:?}\n{}", first.log());
    // What the test rests on: the compiler itself put no value into what it made.
    for file in walk(&here.file("target/debug/deps")).iter().filter(|file| file.extension().is_none_or(|end| end != "d")) {
        has_none(&file.display().to_string(), &fs::read(file).unwrap());
    }
    let dep_infos_of_rustc = dep_infos(&here);
    let text = dep_infos_of_rustc.values().find(|text| text.contains("# env-dep:BY_ENV=")).unwrap();
    assert!(text.contains("# env-dep:BY_ENV=c4n4ry-env = \\\\ \\n\\r x\n") && text.contains("# env-dep:UNSET\n"), "{text}");

    flush(&first);
    let keys = server.keys();
    assert!(keys.iter().filter(|key| key.contains("/reads/")).count() >= 2 && keys.iter().any(|key| key.contains("/_builds/")), "{keys:?}");
    for key in &keys {
        let object = fs::read(server.object(key)).unwrap();
        let text = if key.ends_with(".zst") { zstd::decode_all(&object[..]).unwrap() } else { object };
        has_none(key, &text);
    }
    here.append("src/lib.rs", "// A remark.\n");
    let again = with(first.cargo(&here)).env("BY_ENV", format!("{CANARY}-other")).env("DATABASE_URL", format!("{CANARY}-moved"));
    assert!(run(&first, &again).miss > 0);
    let why = first.kache(&["why", "reads"]).stdout;
    assert!(why.contains("env BY_ENV changed (its values aren't shown)"), "{why}");
    assert!(why.contains("env DATABASE_URL changed (its values aren't shown)"), "{why}");
    for args in [&["why", "reads", "--json"][..], &["report"], &["report", "--html", "report.html"], &["list", "--json"]] {
        let said = first.kache_in(here.path()).args(args.iter().copied()).run();
        assert!(said.status.success(), "{args:?}: {}", said.stderr);
        let told = format!("{}{}", said.stdout, said.stderr).replace(&format!("{CANARY}-cfg"), "");
        has_none(&format!("the output of {args:?}"), told.as_bytes());
    }
    has_none("the report", &fs::read(here.file("report.html")).unwrap());
    first.stop();
    assert!(first.log().contains("TRACE kached"));
    has_none("the log", first.log().as_bytes());
    // Nor on the disk, what Cargo.toml and build scripts say apart.
    for file in walk(&first.cache_dir()) {
        let bytes = fs::read(&file).unwrap();
        let bytes = if file.extension().is_some_and(|end| end == "zst") { zstd::decode_all(&bytes[..]).unwrap() } else { bytes };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let public = ["description", "author", "cfg", "known"].map(|ending| format!("{CANARY}-{ending}"));
        has_none(&file.display().to_string(), public.iter().fold(text, |text, word| text.replace(word, "")).as_bytes());
    }

    let second = machine(&server);
    let there = project(second.path("elsewhere/b"));
    let seen = run(&second, &with(second.cargo(&there)));
    assert_eq!((seen.compiled(), seen.bypass), (0, 0), "{seen:?}\n{}", second.log());
    assert!(seen.remote_hit >= 3, "{seen:?}");
    assert_eq!(run(&second, &with(second.cargo(&there))), Outcomes::default(), "Cargo finds all fresh");
    let restored = dep_infos(&there);
    there.remove("target");
    with(second.plain(there.path())).ok();
    assert_eq!(restored, dep_infos(&there));
    for name in ["DATABASE_URL", "BY_ENV", "BY_OPTION_ENV", "BY_MACRO"] {
        there.remove("target");
        let seen = run(&second, &with(second.cargo(&there)).env(name, "other"));
        assert!(seen.compiled() >= 1, "{name}: {seen:?}");
    }
    there.remove("target");
    assert_eq!(run(&second, &with(second.cargo(&there))).compiled(), 0);
}

/// A macro that sets a variable before another reads it: what rustc saw is in no environment.
#[test]
fn a_compile_that_saw_another_value_than_the_build_has_is_not_stored() {
    let machine = Machine::new();
    let macro_text = "#[proc_macro]\npub fn set(_: proc_macro::TokenStream) -> proc_macro::TokenStream {\n    \
         unsafe { std::env::set_var(\"FOO\", \"of the macro\") };\n    \"option_env!(\\\"FOO\\\")\".parse().unwrap()\n}\n";
    let project = samples::program(machine.path("a"), "fn main() { println!(\"{:?}\", mac::set!()); }\n");
    project.edit("Cargo.toml", "[workspace]", "[dependencies]\nmac = { path = \"mac\" }\n[workspace]\nmembers = [\"mac\"]");
    project.write("mac/Cargo.toml", samples::package("mac", "[lib]\nproc-macro = true\n")).write("mac/src/lib.rs", macro_text);
    for misses in [2, 1] {
        project.remove("target");
        let seen = run(&machine, &machine.cargo(&project).args(["build"]).env("FOO", "of the build"));
        assert_eq!(seen.miss, misses, "{seen:?}");
        assert_eq!(kache_testkit::run(project.file("target/debug/prog")), "Some(\"of the macro\")\n");
    }
    assert!(machine.kache(&["why", "prog"]).stdout.contains("the variable FOO had another value for rustc than for the build"));
}
