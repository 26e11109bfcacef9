//! What a build script told Cargo, and variables that macros can spell: whatever makes Cargo compile a unit anew is no old result's business.

use kache_testkit::{Machine, Outcomes, Project, run, samples};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

/// A macro library that reads what its argument says: `read!("variable NAME")`, `read!("directory NAME")`, `read!("file VARIABLE NAME")`.
const MACRO: &str = r#"
use proc_macro::TokenStream;
use std::{env, fs};

#[proc_macro]
pub fn read(input: TokenStream) -> TokenStream {
    let input = input.to_string();
    let words: Vec<&str> = input.trim_matches('"').split(' ').collect();
    let text = match words[..] {
        ["variable", name] => env::var(name).unwrap_or_else(|_| "unset".into()),
        ["directory", name] => {
            let mut files: Vec<_> = fs::read_dir(name).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            files.iter().map(|file| format!("{} {};", file.display(), fs::read_to_string(file).unwrap())).collect()
        }
        ["file", variable, name] => fs::read_to_string(format!("{}/{name}", env::var(variable).unwrap())).unwrap(),
        _ => panic!("{input}"),
    };
    format!("{text:?}").parse().unwrap()
}
"#;

/// A program that prints what the macro makes of `argument`, with that build script.
fn reader(directory: PathBuf, script: &str, argument: &str) -> Project {
    let root = samples::package("prog", "[dependencies]\nmac = { path = \"mac\" }\n[workspace]\nmembers = [\"mac\"]\n");
    let project = Project::with(
        directory,
        &[
            ("Cargo.toml", &(root + samples::QUICK)),
            ("src/main.rs", &format!("fn main() {{ println!(\"{{}}\", mac::read!({argument:?})); }}\n")),
            ("data/a", "1"),
            ("mac/Cargo.toml", &samples::package("mac", "[lib]\nproc-macro = true\n")),
            ("mac/src/lib.rs", MACRO),
        ],
    );
    if !script.is_empty() {
        project.write("build.rs", format!("fn main() {{ {script} }}\n"));
    }
    project
}

/// Builds where it stands; what came of it, and what the program says.
fn build(machine: &Machine, project: &Project, variables: &[(&str, &str)], options: &[&str]) -> (Outcomes, String) {
    let cargo = machine.cargo(project).args(["build"]).args(options.iter().copied());
    let cargo = variables.iter().fold(cargo, |cargo, (name, value)| cargo.env(*name, *value));
    let (_, seen) = machine.watch(|| cargo.ok());
    machine.settle();
    (seen, run(project.file("target/debug/prog")).trim_end().to_owned())
}

fn says(machine: &Machine, project: &Project, variables: &[(&str, &str)]) -> String {
    build(machine, project, variables, &[]).1
}

#[test]
fn variables_that_a_build_script_reads_or_sets_count_for_its_packages_macros() {
    let machine = Machine::new();
    for (number, (script, argument)) in [
        (r#"println!("cargo:rerun-if-env-changed=WORD");"#, "variable WORD"),
        (r#"println!("  cargo::rerun-if-env-changed=WORD\r");"#, "variable WORD"),
        (
            r#"println!("cargo:rerun-if-env-changed=WORD\ncargo:rustc-env=OTHER={}", std::env::var("WORD").unwrap_or_default());"#,
            "variable OTHER",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let project = reader(machine.path(&format!("p{number}")), script, argument);
        // Not by mention: the macro is told the name in two pieces.
        project.edit("mac/src/lib.rs", "env::var(name)", "env::var(name.replace('.', \"\"))");
        let (front, back) = argument.split_at(argument.len() - 2);
        project.edit("src/main.rs", argument, &format!("{front}.{back}"));
        for value in ["one", "two", "one"] {
            assert_eq!(says(&machine, &project, &[("WORD", value)]), value, "{script}");
        }
        project.remove("target");
        let (seen, text) = build(&machine, &project, &[("WORD", "two")], &[]);
        assert_eq!((seen.compiled(), text.as_str()), (0, "two"), "{script}");
    }
}

#[test]
fn files_that_a_build_script_declares_count_in_both_layouts() {
    let machine = Machine::new();
    let script = r#"use std::io::Write; std::io::stdout().write_all(b"\xff\n \tcargo:rerun-if-changed=data \r\n").unwrap();"#;
    for options in [&[][..], &["-Zbuild-dir-new-layout"]] {
        let project = reader(machine.path(&format!("p{}", options.len())), script, "directory data");
        let says = || {
            let cargo = machine.cargo(&project).args(["build"]).args(options.iter().copied()).env("RUSTC_BOOTSTRAP", "1");
            cargo.ok();
            run(project.file("target/debug/prog")).trim_end().to_owned()
        };
        assert_eq!(says(), "data/a 1;");
        project.write("data/b", "2");
        assert_eq!(says(), "data/a 1;data/b 2;", "{options:?}");
        project.write("data/a", "3");
        assert_eq!(says(), "data/a 3;data/b 2;", "{options:?}");
    }
}

#[test]
fn without_a_word_of_its_build_script_every_file_of_the_package_counts() {
    let machine = Machine::new();
    let project = reader(machine.path("p"), "", "directory data");
    project.write("build.rs", "fn main() { println!(\"cargo::rustc-cfg=x\"); }\n");
    assert_eq!(says(&machine, &project, &[]), "data/a 1;");
    project.write("data/b", "2");
    assert_eq!(says(&machine, &project, &[]), "data/a 1;data/b 2;");
    // What belongs to others doesn't: git's own, a nested package, what tools made.
    for name in [".git/HEAD", "mac/notes", "made/CACHEDIR.TAG", "made/x"] {
        project.write(name, "x");
    }
    project.remove("target");
    let (seen, text) = build(&machine, &project, &[], &[]);
    assert_eq!((seen.compiled(), text.as_str()), (0, "data/a 1;data/b 2;"));
}

#[test]
fn what_cant_be_read_of_a_build_script_is_a_bypass_and_not_nothing() {
    let machine = Machine::new();
    let project = reader(machine.path("p"), r#"println!("cargo:rerun-if-changed=data");"#, "directory data");
    let cargo = machine.cargo(&project).args(["build"]);
    let shim = cargo.variable("RUSTC_WRAPPER").unwrap().to_str().unwrap().to_owned();
    project.write("forgetful", format!("#!/bin/sh\n[ -z \"$OUT_DIR\" ] || rm -f \"$OUT_DIR/../output\"\nexec {shim} \"$@\"\n"));
    fs::set_permissions(project.file("forgetful"), fs::Permissions::from_mode(0o755)).unwrap();
    cargo.env("RUSTC_WRAPPER", project.file("forgetful")).ok();
    assert_eq!(machine.stats().bypass_reasons.get("build_script"), Some(&1));
}

#[test]
fn more_files_than_a_build_script_can_mean_are_a_bypass() {
    let machine = Machine::new();
    let project = reader(machine.path("p"), r#"println!("cargo:rerun-if-changed=data");"#, "variable HOME");
    for name in 0..=10_000 {
        project.write(&format!("data/{name}"), "");
    }
    says(&machine, &project, &[]);
    assert_eq!(machine.stats().bypass_reasons.get("build_script"), Some(&1));
}

#[test]
fn files_in_out_dir_count_where_a_macro_is_pointed_at_them() {
    let machine = Machine::new();
    let script = r#"
        println!("cargo:rerun-if-changed=build.rs");
        std::fs::write(format!("{}/word", std::env::var("OUT_DIR").unwrap()), "one").unwrap();
    "#;
    // By the sources, and by the macro itself.
    for (number, argument) in ["file OUT_DIR word", "file OUT.DIR word"].into_iter().enumerate() {
        let project = reader(machine.path(&format!("p{number}")), script, argument);
        if number == 1 {
            project.edit("mac/src/lib.rs", "env::var(variable)", "env::var(if variable == \"OUT.DIR\" { \"OUT_DIR\" } else { variable })");
        }
        assert_eq!(says(&machine, &project, &[]), "one");
        project.edit("build.rs", "\"one\"", "\"two\"");
        assert_eq!(says(&machine, &project, &[]), "two", "{argument}");
        let elsewhere = project.copy_to(machine.path(&format!("elsewhere{number}")));
        elsewhere.remove("target");
        assert_eq!(says(&machine, &elsewhere, &[]), "two", "{argument}");
    }
}

#[test]
fn variables_count_that_a_macro_or_the_sources_spell() {
    let machine = Machine::new();
    let by_source = reader(machine.path("source"), "", "variable WORD_OF_MINE");
    let by_macro = reader(machine.path("macro"), "", "variable X");
    by_macro.edit("mac/src/lib.rs", "env::var(name)", "env::var(\"WORD_OF_MINE\")");
    for project in [&by_source, &by_macro] {
        for value in ["one", "two", "one"] {
            project.remove("target");
            assert_eq!(says(&machine, project, &[("WORD_OF_MINE", value), ("UNHEARD_OF", value)]), value);
        }
        project.remove("target");
        assert_eq!(says(&machine, project, &[]), "unset");
        project.remove("target");
        let (seen, _) = build(&machine, project, &[("WORD_OF_MINE", "two"), ("UNHEARD_OF", "three")], &[]);
        assert_eq!(seen.compiled(), 0);
    }
    // Another daemon, another directory.
    let elsewhere = by_macro.copy_to(machine.path("elsewhere"));
    elsewhere.remove("target");
    machine.restart();
    let (seen, text) = build(&machine, &elsewhere, &[("WORD_OF_MINE", "two")], &[]);
    assert_eq!((seen.compiled(), text.as_str()), (0, "two"));
}

#[test]
fn a_path_in_a_variable_of_a_build_script_is_no_locator_where_a_dependencys_macro_can_use_it() {
    let machine = Machine::new();
    let root = samples::package("prog", "[dependencies]\ndep = { path = \"dep\" }\n[workspace]\nmembers = [\"dep\"]\n");
    let files = [
        ("Cargo.toml", root + samples::QUICK),
        ("build.rs", SCRIPT.to_owned()),
        (
            "src/main.rs",
            "include!(concat!(env!(\"GEN_DIR\"), \"/g.rs\"));\nconst LEN: usize = dep::len!();\nfn main() { println!(\"{} {}\", G, LEN); }\n".to_owned(),
        ),
        ("dep/Cargo.toml", samples::package("dep", "")),
        ("dep/src/lib.rs", "#[macro_export]\nmacro_rules! len { () => { env!(\"GEN_DIR\").len() } }\n".to_owned()),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    for name in ["short", "a-longer-name"] {
        let project = Project::with(machine.path(name), &files);
        let said = says(&machine, &project, &[]);
        let out_dir = fs::read_dir(project.file("target/debug/build")).unwrap().map(|entry| entry.unwrap().path().join("out"));
        let out_dir = out_dir.into_iter().find(|path| path.exists()).unwrap();
        assert_eq!(said, format!("1 {}", out_dir.as_os_str().len()));
    }
}

const SCRIPT: &str = r#"
fn main() {
    let out_dir = std::env::var("OUT_DIR").unwrap();
    println!("cargo:rerun-if-changed=build.rs\ncargo:rustc-env=GEN_DIR={out_dir}");
    std::fs::write(format!("{out_dir}/g.rs"), "const G: u8 = 1;").unwrap();
}
"#;

#[test]
fn assembly_that_includes_a_declared_file_is_compiled_anew_with_it() {
    let machine = Machine::new();
    let project = Project::with(
        machine.path("p"),
        &[
            ("Cargo.toml", &(samples::package("prog", "") + samples::QUICK)),
            ("build.rs", "fn main() { println!(\"cargo:rerun-if-changed=word.bin\"); }\n"),
            ("word.bin", "one"),
            (
                "src/main.rs",
                "use std::arch::global_asm;\nglobal_asm!(\".globl WORD\", \"WORD: .incbin \\\"word.bin\\\"\");\nunsafe extern \"C\" { static WORD: [u8; 3]; }\n\
                 fn main() { println!(\"{}\", std::str::from_utf8(unsafe { &*&raw const WORD }).unwrap()); }\n",
            ),
        ],
    );
    for word in ["one", "two", "one"] {
        project.write("word.bin", word);
        assert_eq!(says(&machine, &project, &[]), word);
    }
    project.remove("target");
    assert_eq!(build(&machine, &project, &[], &[]).0.compiled(), 0);
}
