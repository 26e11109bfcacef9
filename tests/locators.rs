//! `env!("CARGO_MANIFEST_DIR")` as a value: hashed, measured, compared, asserted, built into text, read by macros. Every checkout
//! must get its own answer, with roots of different lengths, with and without optimisation.

use kache_testkit::{Machine, Place, Project, run, samples};
use std::path::Path;

/// A crate that answers with one thing about its manifest directory.
const KINDS: [(&str, &str); 6] = [
    ("length", "pub fn value() -> String { env!(\"CARGO_MANIFEST_DIR\").len().to_string() }\n"),
    (
        "hashed",
        "const fn fnv(text: &[u8]) -> u64 { let mut hash = 0xcbf29ce484222325u64; let mut at = 0; while at < text.len() { hash = (hash ^ text[at] as u64).wrapping_mul(0x100000001b3); at += 1; } hash }
const HASH: u64 = fnv(env!(\"CARGO_MANIFEST_DIR\").as_bytes());
pub fn value() -> String { HASH.to_string() }\n",
    ),
    ("compared", "pub fn value() -> String { (env!(\"CARGO_MANIFEST_DIR\") == \"@FIRST@\").to_string() }\n"),
    ("joined", "pub fn value() -> String { concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/data\").to_string() }\n"),
    ("optional", "pub fn value() -> String { option_env!(\"CARGO_MANIFEST_DIR\").unwrap().bytes().map(u64::from).sum::<u64>().to_string() }\n"),
    ("manifest", "pub fn value() -> String { env!(\"CARGO_MANIFEST_PATH\").len().to_string() }\n"),
];

fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What the crate of `kind` in `root` has to answer.
fn expected(kind: &str, root: &Path, first: &Path, in_program: bool) -> String {
    let directory = if in_program { root.to_owned() } else { root.join(kind) };
    let text = directory.to_str().unwrap();
    let first = if in_program { first.to_owned() } else { first.join(kind) };
    match kind {
        "length" => text.len().to_string(),
        "hashed" => fnv(text).to_string(),
        "compared" => (directory == first).to_string(),
        "joined" => format!("{text}/data"),
        "optional" => text.bytes().map(u64::from).sum::<u64>().to_string(),
        _ => (text.len() + "/Cargo.toml".len()).to_string(),
    }
}

fn source(kind: &str, text: &str, first: &Path, in_program: bool) -> String {
    let first = if in_program { first.to_owned() } else { first.join(kind) };
    text.replace("@FIRST@", first.to_str().unwrap())
}

/// The same program at `root`: every kind as a library and as a module of the program itself.
fn project(root: &Path, first: &Path) -> Project {
    let dependencies: String = KINDS.iter().map(|(kind, _)| format!("{kind} = {{ path = \"{kind}\" }}\n")).collect();
    let project = Project::at(root);
    project.write("Cargo.toml", samples::package("prog", &format!("[dependencies]\n{dependencies}[workspace]\n")) + samples::QUICK);
    let mut main = String::from("fn main() {\n");
    for (kind, text) in KINDS {
        project.write(&format!("{kind}/Cargo.toml"), samples::package(kind, ""));
        project.write(&format!("{kind}/src/lib.rs"), source(kind, text, first, false));
        project.write(&format!("src/own_{kind}.rs"), source(kind, text, first, true));
        main += &format!("println!(\"lib {kind} {{}}\", {kind}::value());\nprintln!(\"bin {kind} {{}}\", own_{kind}::value());\n");
    }
    main += "}\n";
    let modules: String = KINDS.iter().map(|(kind, _)| format!("mod own_{kind};\n")).collect();
    project.write("src/main.rs", modules + &main);
    project
}

fn check(profile: &str, args: &[&str]) {
    let machine = Machine::new();
    let places = [Place::of_length(20), Place::of_length(60), Place::of_length(8)];
    let first = places[0].path();
    for place in &places {
        let root = place.path();
        let project = project(root, first);
        machine.build(&project, args);
        let printed = run(project.file("target").join(profile).join("prog"));
        for (kind, _) in KINDS {
            for (side, in_program) in [("lib", false), ("bin", true)] {
                let line = format!("{side} {kind} {}", expected(kind, root, first, in_program));
                assert!(printed.lines().any(|printed| printed == line), "at {}: not {line:?} in\n{printed}", root.display());
            }
        }
        project.remove("target");
        machine.restores(&project, args);
    }
}

#[test]
fn values_made_from_the_manifest_directory_are_this_checkouts_without_optimisation() {
    check("debug", &["build"]);
}

#[test]
fn values_made_from_the_manifest_directory_are_this_checkouts_with_optimisation() {
    check("release", &["build", "--release"]);
}

#[test]
fn a_constant_assertion_on_the_manifest_directory_is_judged_in_every_checkout() {
    let machine = Machine::new();
    let (first, second) = (Place::of_length(20), Place::of_length(24));
    let text =
        format!("const _: () = assert!(env!(\"CARGO_MANIFEST_DIR\").len() == {});\nfn main() {{}}\n", first.path().to_str().unwrap().len());
    machine.build(&samples::program(first.path(), &text), &["build"]);
    let built = machine.cargo(&samples::program(second.path(), &text)).args(["build"]).fails();
    assert!(built.stderr.contains("E0080"), "{}", built.stderr);
}

#[test]
fn a_library_that_only_includes_by_manifest_directory_is_shared() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    project
        .write("below/src/lib.rs", "pub fn value() -> &'static str { include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/text\")) }\n");
    project.write("below/text", "one");
    machine.build(&project, &["build"]);
    let other = project.copy_to(machine.path("somewhere/else"));
    machine.restores(&other, &["build"]);
    other.write("below/text", "two");
    machine.build(&other, &["build"]);
    assert_eq!(run(other.file("target/debug/prog")), "two\n");
}

#[test]
fn a_macro_of_another_crate_that_names_the_manifest_directory_counts_where_it_is_expanded() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("origin"));
    project.write("below/src/lib.rs", "#[macro_export]\nmacro_rules! here { () => { env!(\"CARGO_MANIFEST_DIR\").len() } }\n");
    project.edit("src/main.rs", "below::value()", "below::here!()");
    for at in ["a", "longer", "a-good-deal-longer"] {
        let project = project.copy_to(machine.path(at).join("x"));
        machine.build(&project, &["build"]);
        assert_eq!(run(project.file("target/debug/prog")), format!("{}\n", project.path().to_str().unwrap().len()));
    }
}

#[test]
fn a_proc_macro_that_reads_the_manifest_directory_untracked_counts_where_it_is_expanded() {
    let machine = Machine::new();
    let project = samples::reexported_macro(machine.path("origin"));
    project.write(
        "mac/src/number.rs",
        "pub fn text() -> String { std::env::var(\"CARGO_MANIFEST_DIR\").unwrap().bytes().fold(7u64, |h, b| h.wrapping_mul(31) ^ u64::from(b)).to_string() }\n",
    );
    project.edit("src/main.rs", "mid::number!()", "mid::number!() as u64");
    for at in ["a", "b", "longer"] {
        let project = project.copy_to(machine.path(at).join("x"));
        machine.build(&project, &["build"]);
        let hash = project.path().to_str().unwrap().bytes().fold(7u64, |h, b| h.wrapping_mul(31) ^ u64::from(b));
        assert_eq!(run(project.file("target/debug/prog")), format!("{hash}\n"));
    }
}

#[test]
fn out_dir_as_a_value_is_this_checkouts() {
    let machine = Machine::new();
    for at in ["a", "somewhat/longer"] {
        let project = samples::pair(machine.path(at));
        project.write("below/build.rs", "fn main() {}\n");
        project.write("below/src/lib.rs", "pub fn value() -> &'static str { env!(\"OUT_DIR\") }\n");
        machine.build(&project, &["build"]);
        let printed = run(project.file("target/debug/prog"));
        assert!(printed.starts_with(project.path().to_str().unwrap()), "{printed}");
    }
}

#[test]
fn data_below_a_declared_directory_may_lie_elsewhere() {
    let machine = Machine::idle();
    let project = Project::with(
        machine.path("a"),
        &[
            ("Cargo.toml", &(samples::package("prog", "[workspace]\n") + samples::QUICK)),
            ("src/main.rs", "fn main() { print!(\"{}\", include_str!(concat!(env!(\"DATA\"), \"/text\"))); }\n"),
        ],
    );
    let settle_in = |place: &str, text: &str| {
        let data = machine.path(place).join("data");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("text"), text).unwrap();
        data
    };
    let compiled = |place: &str, text: &str, base: Option<&str>| {
        let data = settle_in(place, text);
        let config = base.map_or(String::new(), |base| format!("[cache]\nbase_dirs = [{:?}]\n", machine.path(base)));
        std::fs::write(machine.config(), config).unwrap();
        machine.start();
        project.remove("target");
        let (_, seen) = machine.watch(|| machine.cargo(&project).args(["build"]).env("DATA", data).ok());
        assert_eq!(run(project.file("target/debug/prog")), text);
        machine.stop();
        seen.compiled()
    };
    assert_eq!(compiled("here", "one", Some("here")), 1);
    assert_eq!(compiled("elsewhere", "one", Some("elsewhere")), 0);
    assert_eq!(compiled("elsewhere", "two", Some("elsewhere")), 1);
    assert_eq!(compiled("here", "one", Some("elsewhere")), 1, "not below what is declared");
}

#[test]
fn a_directory_in_a_configuration_flag_counts_as_it_is() {
    let machine = Machine::new();
    let first = machine.path("a");
    let project = samples::program(&first, &format!("fn main() {{ println!(\"{{}}\", cfg!(dir = {:?})); }}\n", first.display()));
    project.write(
        "build.rs",
        "fn main() { println!(\"cargo::rerun-if-changed=build.rs\\ncargo::rustc-cfg=dir={:?}\", std::env::var(\"CARGO_MANIFEST_DIR\").unwrap()); }\n",
    );
    machine.build(&project, &["build"]);
    assert_eq!(run(project.file("target/debug/prog")), "true\n");
    let other = project.copy_to(machine.path("b"));
    other.remove("target");
    machine.build(&other, &["build"]);
    assert_eq!(run(other.file("target/debug/prog")), "false\n");
    project.remove("target");
    machine.restores(&project, &["build"]);
    assert_eq!(run(project.file("target/debug/prog")), "true\n");
}
