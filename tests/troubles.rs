//! A cache that does nothing says so: results of a kind that are never stored, builds that are mostly bypassed.

use kache_testkit::{Machine, Project, samples};
use serde_json::Value;
use std::path::Path;

fn troubles(machine: &Machine) -> Vec<(String, u64)> {
    let stats: Value = serde_json::from_str(&machine.kache(&["stats", "--json"]).stdout).unwrap();
    let list = stats["troubles"].as_array().unwrap().iter();
    list.map(|trouble| (trouble["reason"].as_str().unwrap().to_owned(), trouble["count"].as_u64().unwrap())).collect()
}

/// What `kache doctor` says about results, with advice.
fn doctor(machine: &Machine, directory: &Path) -> Vec<String> {
    let said = machine.kache_in(directory).args(["doctor", "--json"]).run().stdout;
    let report: Value = serde_json::from_str(&said).unwrap();
    let lines = report["lines"].as_array().unwrap().iter().filter(|line| line["topic"] == "results");
    lines
        .map(|line| {
            format!("{}: {} → {}", line["level"].as_str().unwrap(), line["text"].as_str().unwrap(), line["advice"].as_str().unwrap())
        })
        .collect()
}

#[test]
fn a_build_that_is_mostly_bypassed_is_named_with_its_reason() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    let exec = |flags: &str| machine.kache_in(project.path()).args(["exec", "cargo", "build"]).env("RUSTFLAGS", flags).ok().stderr;
    let said = exec("-Csave-temps");
    let warning = "kache: warning: 2 bypasses: save_temps (";
    assert!(said.contains(warning) && said.contains(": Build without that flag"), "{said}");
    assert_eq!(troubles(&machine), [("save_temps".to_owned(), 2)]);
    let lines = doctor(&machine, project.path());
    assert!(lines[0].starts_with("warning: the last build, `cargo build`: 2 bypasses: save_temps ("), "{lines:?}");
    assert!(machine.kache(&["status"]).stdout.contains("\n  trouble    the last build, `cargo build`: 2 bypasses: save_temps"));

    assert!(!exec("").contains("warning"));
    assert_eq!((troubles(&machine), doctor(&machine, project.path())), (vec![], vec![]));
}

/// A program over so many libraries, none of which can be stored: the kernel's files are another's the next time.
fn unlasting(directory: std::path::PathBuf, libraries: usize) -> Project {
    let names: Vec<String> = (0..libraries).map(|number| format!("lib{number}")).collect();
    let needs: String = names.iter().map(|name| format!("{name} = {{ path = \"{name}\" }}\n")).collect();
    let root = samples::package("prog", &format!("[dependencies]\n{needs}[workspace]\n"));
    let project = Project::with(directory, &[("Cargo.toml", &root), ("src/main.rs", "fn main() {}\n")]);
    for name in names {
        project.write(&format!("{name}/Cargo.toml"), samples::package(&name, ""));
        project.write(&format!("{name}/src/lib.rs"), "pub const V: &str = include_str!(\"/proc/version\");\n");
    }
    project
}

#[test]
fn libraries_that_are_never_stored_are_named_with_their_reason() {
    let machine = Machine::new();
    let project = unlasting(machine.path("a"), 3);
    let said = machine.kache_in(project.path()).args(["exec", "cargo", "build"]).ok().stderr;
    machine.settle();
    assert_eq!(troubles(&machine), [("unlasting".to_owned(), 3)]);
    let text = "not one of the 3 libraries that rustc ";
    assert!(said.contains(&format!("kache: warning: {text}")), "{said}");
    assert!(doctor(&machine, project.path())[0].starts_with(&format!("warning: {text}")));
    let why = machine.kache_in(project.path()).args(["why", "lib0", "--json"]).ok().stdout;
    let why: Value = serde_json::from_str(&why).unwrap();
    assert_eq!(why["invocations"][0]["unit"]["not_stored"], "unlasting");
    assert_eq!(why["invocations"][0]["build"]["totals"]["not_stored"]["unlasting"], 3);
    // One that is stored shows that it isn't the toolchain.
    let other = samples::pair(machine.path("b"));
    machine.build(&other, &["build"]);
    assert_eq!(troubles(&machine), []);
}
