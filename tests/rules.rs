//! `[rules]`: what people declare of their crates.

use kache_testkit::{Machine, Outcomes, Project, run, samples};
use std::fs;
use std::path::PathBuf;

/// A program whose text comes from a macro, which reads a variable and files and tells nobody.
fn silent(directory: PathBuf) -> Project {
    let root = samples::package("prog", "[dependencies]\nmac = { path = \"mac\" }\n[workspace]\nmembers = [\"mac\"]\n");
    Project::with(
        directory,
        &[
            ("Cargo.toml", &(root + samples::QUICK)),
            ("src/main.rs", "fn main() { println!(\"{}\", mac::seen!()); }\n"),
            ("data/a.txt", "1"),
            ("mac/Cargo.toml", &samples::package("mac", "[lib]\nproc-macro = true\n")),
            ("mac/src/lib.rs", MACRO),
        ],
    )
}

/// It puts the names of variables together, so that nothing but a rule makes them count.
const MACRO: &str = r#"
use proc_macro::TokenStream;

#[proc_macro]
pub fn seen(_: TokenStream) -> TokenStream {
    let mut text = std::env::var("W.RD".replace('.', "O")).unwrap_or_default();
    let mut files: Vec<_> = std::fs::read_dir("data").unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "txt")) {
        let own = std::fs::read_to_string(file).unwrap();
        if std::env::var_os("REWR.TE".replace('.', "I")).is_some() {
            std::fs::write(file, &own).unwrap();
        }
        text += &own;
    }
    format!("{text:?}").parse().unwrap()
}
"#;

fn machine(config: &str) -> Machine {
    let machine = Machine::idle();
    fs::write(machine.config(), config).unwrap();
    machine.start();
    machine
}

/// Builds into an empty target directory; what came of it, and what the program says.
fn anew(machine: &Machine, project: &Project, variables: &[(&str, &str)]) -> (Outcomes, String) {
    project.remove("target");
    let cargo = variables.iter().fold(machine.cargo(project).args(["build"]), |cargo, (name, value)| cargo.env(*name, *value));
    let (_, seen) = machine.watch(|| cargo.ok());
    machine.settle();
    (seen, run(project.file("target/debug/prog")).trim_end().to_owned())
}

fn compiled(outcome: &(Outcomes, String)) -> (u64, &str) {
    (outcome.0.compiled(), outcome.1.as_str())
}

#[test]
fn a_declared_variable_counts_for_its_crate() {
    let machine = machine("[rules.prog]\nenv = [\"WORD\"]\n");
    let project = silent(machine.path("a"));
    assert_eq!(compiled(&anew(&machine, &project, &[])), (2, "1"));
    assert_eq!(compiled(&anew(&machine, &project, &[("WORD", "x")])), (1, "x1"), "the macro itself isn't compiled again");
    assert_eq!(compiled(&anew(&machine, &project, &[("WORD", "y")])), (1, "y1"));
    assert_eq!(compiled(&anew(&machine, &project, &[("WORD", "x"), ("OTHER", "z")])), (0, "x1"));
    assert_eq!(compiled(&anew(&machine, &project, &[])), (0, "1"));
}

#[test]
fn declared_files_count_by_name_and_by_content() {
    let machine = machine("[rules.prog]\nfiles = [\"data/*.txt\", \"extra\"]\n");
    let project = silent(machine.path("a"));
    assert_eq!(compiled(&anew(&machine, &project, &[])), (2, "1"));
    project.write("data/a.txt", "2");
    assert_eq!(compiled(&anew(&machine, &project, &[])), (1, "2"));
    project.write("data/b.txt", "3");
    assert_eq!(compiled(&anew(&machine, &project, &[])), (1, "23"));
    project.write("data/c.md", "not declared");
    assert_eq!(compiled(&anew(&machine, &project, &[])), (0, "23"));
    project.write("extra/deep/file", "");
    assert_eq!(compiled(&anew(&machine, &project, &[])), (1, "23"));
    project.remove("data/b.txt").remove("extra").write("data/a.txt", "1");
    assert_eq!(compiled(&anew(&machine, &project, &[])), (0, "1"));
}

#[test]
fn a_declaration_is_a_change_by_itself() {
    let machine = machine("");
    let project = silent(machine.path("a"));
    assert_eq!(compiled(&anew(&machine, &project, &[("WORD", "x")])), (2, "x1"));
    assert_eq!(compiled(&anew(&machine, &project, &[("WORD", "y")])), (0, "x1"), "what nobody declared isn't seen");
    for config in ["[rules.prog]\nenv = [\"WORD\"]\n", "[rules.prog]\nfiles = [\"data/*.txt\"]\n", "[rules.'*']\nfiles = [\"none/*\"]\n"] {
        fs::write(machine.config(), config).unwrap();
        machine.restart();
        let first = anew(&machine, &project, &[("WORD", "y")]);
        assert!(first.0.compiled() > 0 && first.1 == "y1", "{config}: {first:?}");
        assert_eq!(compiled(&anew(&machine, &project, &[("WORD", "y")])), (0, "y1"), "{config}");
    }
}

#[test]
fn a_salt_of_one_crate_separates_it_and_what_depends_on_it() {
    let machine = machine("");
    let project = samples::pair(machine.path("a"));
    let anew = |config: &str| {
        fs::write(machine.config(), config).unwrap();
        project.remove("target");
        machine.build(&project, &["build"]).compiled()
    };
    assert_eq!(anew(""), 2);
    assert_eq!(anew("[rules.prog]\nsalt = 'a'\n"), 1);
    assert_eq!(machine.kache(&["why", "prog"]).stdout.lines().nth(1), Some("  the configured salt changed"));
    assert_eq!(anew("[rules.below]\nsalt = 'a'\n"), 2);
    assert_eq!(anew("[rules.below]\nsalt = 'b'\n"), 2);
    for known in ["", "[rules.prog]\nsalt = 'a'\n", "[rules.below]\nsalt = 'a'\n"] {
        assert_eq!(anew(known), 0, "{known}");
    }
}

#[test]
fn declared_files_are_known_by_their_place_in_the_package() {
    let machine = machine("[rules.below]\nfiles = [\"notes/**/*.md\", \"../shared\"]\n");
    for (name, expected) in [("one/checkout", 2), ("two", 0)] {
        let project = samples::pair(machine.path(name));
        project.write("below/notes/deep/a.md", "text").write("shared", "text");
        assert_eq!(machine.build(&project, &["build"]).compiled(), expected, "{name}");
    }
}

#[test]
fn a_declared_file_that_changes_under_the_compile_stores_nothing() {
    let machine = machine("[rules.prog]\nfiles = [\"data/*.txt\"]\nenv = [\"REWRITE\"]\n");
    let project = silent(machine.path("a"));
    assert_eq!(compiled(&anew(&machine, &project, &[("REWRITE", "1")])), (2, "1"));
    assert_eq!(machine.stats().store.artifacts, 1, "the macro alone\n{}", machine.log());
    assert_eq!(compiled(&anew(&machine, &project, &[("REWRITE", "1")])), (1, "1"));
    assert_eq!(compiled(&anew(&machine, &project, &[])), (1, "1"));
    assert_eq!(machine.stats().store.artifacts, 2);
}

#[test]
fn a_crate_can_be_left_to_rustc() {
    let machine = machine("[rules.prog]\nbypass = true\n");
    let project = samples::pair(machine.path("a"));
    for expected in [(1, 0), (0, 1)] {
        project.remove("target");
        let seen = machine.build(&project, &["build"]);
        assert_eq!((seen.miss, seen.hits(), seen.bypass), (expected.0, expected.1, 1), "{seen:?}");
        assert_eq!(run(project.file("target/debug/prog")), "1\n");
    }
    assert_eq!(machine.stats().bypass_reasons.get("rule"), Some(&2));
}

#[test]
fn patterns_that_cannot_be_looked_through_are_a_bypass() {
    let machine = machine("log = \"debug\"\n[rules.prog]\nfiles = [\"data/*.txt\"]\n");
    let project = silent(machine.path("a"));
    for number in 0..=10_000 {
        fs::write(project.file("data").join(format!("{number}.txt")), "").unwrap();
    }
    let seen = anew(&machine, &project, &[]);
    assert_eq!((seen.0.bypass, seen.1.as_str()), (1, "1"));
    assert!(machine.log().contains("rule (data/*.txt: more than 10000 files)"), "{}", machine.log());
}
