//! Native libraries that nothing on a program's own command line names, files that stand for other files, and the programs behind a
//! link. None of these is watched by Cargo: what is linked has to be what lies there now.

use crate::odd_invocations::{archive, with_archive};
use kache_testkit::{Machine, Project, run, samples};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const EXTERN: &str = "unsafe extern \"C\" { fn number() -> i32; }\n";

/// A program `prog` over `mid` over `below`, which calls a C function; `link` is how `below`'s build script names its library,
/// `attribute` how its source does.
fn inherited(machine: &Machine, link: &str, attribute: &str) -> Project {
    let root = samples::package("prog", "[dependencies]\nmid = { path = \"mid\" }\n[workspace]\nmembers = [\"mid\", \"below\"]\n");
    let search = machine.path("libraries");
    let build = format!(
        "fn main() {{\n    println!(\"cargo::rerun-if-changed=build.rs\");\n    println!(\"cargo::rustc-link-search=native={}\");\n    println!(\"{link}\");\n}}\n",
        search.display()
    );
    Project::with(
        machine.path("a"),
        &[
            ("Cargo.toml", &(root + samples::QUICK)),
            ("src/main.rs", "fn main() { println!(\"one {}\", mid::value()); }\n"),
            ("mid/Cargo.toml", &samples::package("mid", "[dependencies]\nbelow = { path = \"../below\" }\n")),
            ("mid/src/lib.rs", "pub use below::value;\n"),
            ("below/Cargo.toml", &samples::package("below", "")),
            ("below/build.rs", &build),
            ("below/src/lib.rs", &format!("{attribute}\n{EXTERN}pub fn value() -> i32 {{ unsafe {{ number() }} }}\n")),
        ],
    )
}

#[test]
fn a_dependencys_native_library_counts_when_a_program_links() {
    let ways = [
        ("cargo::rustc-link-lib=static:-bundle=number", ""),
        ("cargo::rustc-link-lib=number", ""),
        ("", "#[link(name = \"number\")]"),
        ("", "#[link(name = \"number\", kind = \"static\", modifiers = \"-bundle\")]"),
    ];
    for (link, attribute) in ways {
        let machine = Machine::new();
        let project = inherited(&machine, link, attribute);
        let build = |number, from, to| {
            archive(&machine, &machine.path("libraries"), number);
            if from != to {
                project.edit("src/main.rs", from, to);
            }
            machine.build(&project, &["build"]);
            run(project.file("target/debug/prog"))
        };
        assert_eq!(build(1, "", ""), "one 1\n", "{link}{attribute}");
        assert_eq!(build(2, "one", "two"), "two 2\n", "{link}{attribute}");
        assert_eq!(build(2, "two", "one"), "one 2\n", "{link}{attribute}: the library is another than in the first build");
        project.remove("target");
        assert_eq!(build(1, "one", "two"), "two 1\n", "{link}{attribute}: the library is another than in the second build");
        project.remove("target");
        machine.restores(&project, &["build"]);
        assert_eq!(run(project.file("target/debug/prog")), "two 1\n", "{link}{attribute}");
    }
}

/// A project of one program that is built from scratch with these flags; tells what it prints.
fn built(machine: &Machine, project: &Project, flags: &str) -> String {
    project.remove("target");
    machine.cargo(project).args(["build"]).env("RUSTFLAGS", flags).ok();
    machine.settle();
    run(project.file("target/debug/prog"))
}

/// Like [`archive`], but thin: it only names its member, which lies beside it.
fn thin_archive(machine: &Machine, directory: &Path, number: u32) {
    fs::create_dir_all(directory).unwrap();
    let script =
        format!("echo 'int number(void) {{ return {number}; }}' | cc -x c -c -o n.o - && rm -f libnumber.a && ar crsDT libnumber.a n.o");
    machine.plain(directory).program("sh").args(["-c", &script]).ok();
}

#[test]
fn what_a_linker_script_in_a_librarys_place_names_counts() {
    let machine = Machine::new();
    let project = with_archive(&machine);
    fs::create_dir_all(project.file("lib")).unwrap();
    let flags = format!("-L native={} -l number", project.file("lib").display());
    for text in ["INPUT(REAL)", "/* GNU ld script */\nOUTPUT_FORMAT(elf64-x86-64)\nGROUP ( AS_NEEDED ( REAL ) )"] {
        project.write("lib/libnumber.so", text.replace("REAL", project.file("real/libnumber.a").to_str().unwrap()));
        for number in [1, 2, 1] {
            archive(&machine, &project.file("real"), number);
            assert_eq!(built(&machine, &project, &flags), format!("{number}\n"), "{text}");
        }
        project.remove("target");
        let (_, seen) = machine.watch(|| machine.cargo(&project).args(["build"]).env("RUSTFLAGS", &flags).ok());
        assert_eq!((seen.hits(), seen.compiled()), (1, 0), "a script that can be read is no obstacle");
    }
}

#[test]
fn members_of_a_thin_archive_count() {
    let machine = Machine::new();
    let project = with_archive(&machine);
    let lib = project.file("lib");
    let ways = [
        (format!("-C link-arg={}", lib.join("libnumber.a").display()), ""),
        (format!("-L native={}", lib.display()), "#[link(name = \"number\", kind = \"static\")]\n"),
        (format!("-L native={} -l static=number", lib.display()), ""),
    ];
    let main = project.read("src/main.rs");
    for (flags, attribute) in ways {
        project.write("src/main.rs", format!("{attribute}{main}"));
        for number in [1, 2, 1] {
            thin_archive(&machine, &lib, number);
            assert_eq!(built(&machine, &project, &flags), format!("{number}\n"), "{flags} {attribute}");
        }
    }
}

/// A shared object that nobody calls, with the name of the archive beside it.
fn decoy(machine: &Machine, directory: &Path) {
    let script = "echo 'int number(void) { return 0; }' | cc -x c -shared -fPIC -o libnumber.so -";
    machine.plain(directory).program("sh").args(["-c", script]).ok();
}

#[test]
fn a_statically_linked_program_counts_the_archive_beside_the_shared_object() {
    let machine = Machine::new();
    let project = with_archive(&machine);
    archive(&machine, &project.file("lib"), 1);
    decoy(&machine, &project.file("lib"));
    let flags = format!("-C target-feature=+crt-static -L native={} -l number", project.file("lib").display());
    for number in [1, 2, 1] {
        archive(&machine, &project.file("lib"), number);
        assert_eq!(built(&machine, &project, &flags), format!("{number}\n"));
    }
}

const MACRO: &str =
    "#[macro_export]\nmacro_rules! from { ($name:literal) => { #[link(name = $name)] unsafe extern \"C\" { fn number() -> i32; } } }\n";

#[test]
fn a_library_whose_name_a_macro_fills_in_counts() {
    let machine = Machine::new();
    let own = samples::program(
        machine.path("own"),
        &format!("{MACRO}from!(\"number\");\nfn main() {{ println!(\"{{}}\", unsafe {{ number() }}); }}\n"),
    );
    let other = samples::pair(machine.path("other"));
    other.append("below/src/lib.rs", MACRO);
    other.write("src/main.rs", "below::from!(\"number\");\nfn main() { println!(\"{}\", unsafe { number() }); }\n");
    for project in [own, other] {
        let flags = format!("-L native={}", project.file("lib").display());
        for number in [1, 2, 1] {
            archive(&machine, &project.file("lib"), number);
            assert_eq!(built(&machine, &project, &flags), format!("{number}\n"), "{}", project.path().display());
        }
    }
}

#[test]
fn a_second_archive_that_a_macro_brings_into_a_library_counts() {
    let machine = Machine::new();
    let project = inherited(&machine, "cargo::rustc-link-lib=static=other", "");
    let library = MACRO.replace("name = $name", "name = $name, kind = \"static\"");
    project.write("below/src/lib.rs", format!("{library}from!(\"number\");\npub fn value() -> i32 {{ unsafe {{ number() }} }}\n"));
    for (member, ours) in [("other.o", 1), ("other.o", 2), ("n.o", 1), ("n.o", 2)] {
        let script =
            format!("echo 'int other(void) {{ return 0; }}' | cc -x c -c -o {member} - && rm -f libother.a && ar crsD libother.a {member}");
        archive(&machine, &machine.path("libraries"), ours);
        machine.plain(&machine.path("libraries")).program("sh").args(["-c", &script]).ok();
        assert_eq!(built(&machine, &project, ""), format!("one {ours}\n"), "beside {member}");
    }
}

fn script(project: &Project, name: &str, text: &str) {
    project.write(name, format!("#!/bin/sh\n{text}\n"));
    fs::set_permissions(project.file(name), PermissionsExt::from_mode(0o755)).unwrap();
}

fn symbols(machine: &Machine, project: &Project) -> String {
    machine.plain(project.path()).program("nm").args(["target/debug/prog"]).ok().stdout
}

fn greeting(machine: &Machine) -> Project {
    samples::program(machine.path("a"), "fn main() { println!(\"linked\"); }\n")
}

#[test]
fn a_linker_that_is_chosen_by_its_path_counts_by_content() {
    // A driver that hands the choice on as a symbol: gcc knows names only.
    let driver = r#"for arg; do
    shift
    case "$arg" in
        --ld-path=* | -fuse-ld=/*) set -- "$@" "-Wl,--defsym=$("${arg#*=}")=1" ;;
        *) set -- "$@" "$arg" ;;
    esac
done
exec cc "$@""#;
    let machine = Machine::new();
    let project = greeting(&machine);
    script(&project, "driver.sh", driver);
    for option in ["--ld-path", "-fuse-ld"] {
        let chosen = project.file("chosen.sh");
        let flags = format!("-C linker={} -C link-arg={option}={}", project.file("driver.sh").display(), chosen.display());
        for note in ["one", "two", "one"] {
            script(&project, "chosen.sh", &format!("echo kt_{note}"));
            built(&machine, &project, &flags);
            assert!(symbols(&machine, &project).contains(&format!("kt_{note}")), "{option}: linked by {note}");
        }
    }
}

#[test]
fn a_script_that_does_not_say_which_linker_it_starts_is_a_named_bypass() {
    let machine = Machine::new();
    let project = greeting(&machine);
    script(&project, "driver.sh", "case \"$1\" in -print-*) exit 1 ;; esac\nexec \"${0%/*}/behind.sh\" \"$@\"");
    for note in ["one", "two"] {
        script(&project, "behind.sh", &format!("exec cc \"$@\" -Wl,--defsym=kt_{note}=1"));
        built(&machine, &project, &format!("-C linker={}", project.file("driver.sh").display()));
        assert!(symbols(&machine, &project).contains(&format!("kt_{note}")), "linked by {note}");
    }
    assert_eq!(machine.stats().bypass_reasons.get("linker_unknown"), Some(&2));
}

#[test]
fn a_linker_that_appears_earlier_on_the_path_counts() {
    let machine = Machine::new();
    let project = greeting(&machine);
    fs::create_dir_all(project.file("early")).unwrap();
    let cargo = machine.cargo(&project).args(["build"]).env("RUSTFLAGS", "-C linker-features=-lld");
    let path = cargo.variable("PATH").unwrap().to_str().unwrap().to_owned();
    let cargo = cargo.env("PATH", format!("{}:{path}", project.file("early").display()));
    let linked_early = || {
        project.remove("target");
        cargo.ok();
        machine.settle();
        symbols(&machine, &project).contains("kt_early")
    };
    assert!(!linked_early());
    let ld = machine.plain(project.path()).program("sh").args(["-c", "command -v ld"]).ok().stdout;
    script(&project, "early/ld", &format!("exec {} \"$@\" --defsym=kt_early=1", ld.trim()));
    assert!(linked_early(), "the new one");
    project.remove("early/ld");
    assert!(!linked_early(), "the old one again");
}

/// Which symbol a build got from its linker, and whether it was compiled for it.
fn linked_with(machine: &Machine, project: &Project, variables: &[(&str, &str)]) -> (String, u64) {
    project.remove("target");
    let cargo = machine.cargo(project).args(["build"]).env("RUSTFLAGS", format!("-C linker={}", project.file("driver.sh").display()));
    let cargo = cargo.env("CARGO_INCREMENTAL", "0");
    let cargo = variables.iter().fold(cargo, |cargo, (name, value)| cargo.env(*name, *value));
    let (_, seen) = machine.watch(|| cargo.ok());
    machine.settle();
    let symbols = symbols(machine, project);
    let symbol = symbols.lines().find_map(|line| Some(line.split_once(" kt_")?.1.to_owned()));
    (symbol.unwrap_or_default(), seen.miss)
}

#[test]
fn variables_that_a_linker_script_can_spell_count_and_its_results_stay_here() {
    let server = kache_testkit::S3Server::start();
    let machine = crate::team::member(&server, kache_testkit::S3Server::OWNER, &[]);
    machine.start();
    let project = greeting(&machine);
    let words = [
        ("$KT_NAME", "exec cc \"$@\" ${KT_NAME:+-Wl,--defsym=kt_$KT_NAME=1}"),
        ("a word", "name=$(printenv KT_NAME)\nexec cc \"$@\" ${name:+-Wl,--defsym=kt_$name=1}"),
    ];
    for (how, text) in words {
        script(&project, "driver.sh", text);
        let link = |variables: &[(&str, &str)]| linked_with(&machine, &project, variables);
        assert_eq!(link(&[]), (String::new(), 1), "{how}");
        assert_eq!(link(&[("KT_NAME", "one")]), ("one".to_owned(), 1), "{how}");
        assert_eq!(link(&[("KT_NAME", "two")]), ("two".to_owned(), 1), "{how}");
        assert_eq!(link(&[("KT_NAME", "one"), ("KT_OTHER", "x"), ("LANG", "C")]), ("one".to_owned(), 0), "{how}: a hit, here");
    }
    crate::team::flush(&machine);
    assert_eq!(server.keys().iter().filter(|key| key.ends_with(".tar.zst")).count(), 0, "{:?}", server.keys());
    script(&project, "driver.sh", "exec cc \"$@\"");
    // What no script links is the team's.
    project.remove("target");
    crate::team::build(&machine, &project, &["build"]);
    crate::team::flush(&machine);
    assert_eq!(server.keys().iter().filter(|key| key.ends_with(".tar.zst")).count(), 1, "{:?}", server.keys());
}
