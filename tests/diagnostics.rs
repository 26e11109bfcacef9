//! Warnings and errors look the same with and without kache, on a miss and on a hit, byte for byte.

use kache_testkit::{Cargo, Machine, Project, run, samples};

const FORMS: [&[&str]; 4] =
    [&[], &["--color", "always"], &["--message-format=json"], &["--message-format=json-diagnostic-rendered-ansi,json-diagnostic-short"]];

/// Builds `project` by plain cargo, through kache with an unknown result, and again; all three must look alike, and so must
/// the build after each.
fn check(project: impl Fn(&Machine) -> Project, prepare: impl Fn(Cargo) -> Cargo, succeeds: bool) {
    for form in FORMS {
        let machine = Machine::new();
        let project = project(&machine);
        let twice = |cargo: Cargo| {
            project.remove("target");
            let cargo = prepare(cargo.args(["build", "-j1"]).args(form.iter().copied()));
            let first = cargo.run();
            assert_eq!(first.status.success(), succeeds, "{}\n{}", first.stdout, first.stderr);
            (first.seen(), cargo.run().seen())
        };
        let plain = twice(machine.plain(project.path()));
        assert!(format!("{plain:?}").contains("src/"), "the sample says something: {plain:?}");
        let cold = twice(machine.cargo(&project));
        assert_eq!(cold, plain, "a miss, {form:?}");
        let (warm, seen) = machine.watch(|| twice(machine.cargo(&project)));
        assert_eq!(warm, plain, "a hit, {form:?}");
        assert_eq!(seen.miss, 0);
    }
}

fn warned(machine: &Machine) -> Project {
    let project = samples::pair(machine.path("a"));
    project.append(
        "below/src/lib.rs",
        "fn unused_below() { let x = 1; }\n#[macro_export]\nmacro_rules! careless { () => { let unused_in_macro = 1; } }\n",
    );
    project.append("src/main.rs", "#[deprecated]\nfn old() {}\n#[test]\nfn t() {}\nfn caller() { old(); below::careless!(); }\n");
    project
}

#[test]
fn warnings_of_members_and_of_their_macros_look_the_same() {
    check(warned, |cargo| cargo, true);
}

#[test]
fn errors_in_a_member_look_the_same() {
    let broken = |machine: &Machine| {
        let project = warned(machine);
        project.append("src/main.rs", "fn broken() -> u32 { \"text\" }\n");
        project
    };
    check(broken, |cargo| cargo, false);
}

#[test]
fn errors_inside_a_members_macro_show_its_source() {
    let broken = |machine: &Machine| {
        let project = samples::pair(machine.path("a"));
        project.append("below/src/lib.rs", "#[macro_export]\nmacro_rules! wrong { ($x:expr) => {{ let y: u32 = $x; y.nothing() }} }\n");
        project.append("src/main.rs", "fn broken() { below::wrong!(\"text\"); }\n");
        project
    };
    check(broken, |cargo| cargo, false);
}

#[test]
fn errors_inside_a_registry_crates_macro_show_its_source() {
    let broken = |machine: &Machine| {
        let project = samples::pair(machine.path("a"));
        project
            .edit("Cargo.toml", "[dependencies]", "[dependencies]\ncfg-if = \"1\"")
            .append("below/Cargo.toml", "[dependencies]\ncfg-if = \"1\"\n");
        project.append(
            "src/main.rs",
            "cfg_if::cfg_if! { if #[cfg(unix)] { fn a() -> u32 { \"\" } } else { } }\ncfg_if::cfg_if! { nonsense }\n",
        );
        project
    };
    check(broken, |cargo| cargo, false);
}

#[test]
fn denied_warnings_fail_the_same_way_after_they_passed() {
    let machine = Machine::new();
    let project = warned(&machine);
    machine.build(&project, &["build"]);
    check(warned, |cargo| cargo.env("RUSTFLAGS", "-D warnings"), false);
    project.remove("target");
    let (built, _) = machine.watch(|| machine.cargo(&project).args(["build"]).env("RUSTFLAGS", "-D warnings").fails());
    assert!(built.stderr.contains("unused_below"));
}

#[test]
fn clippys_lints_look_the_same() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    project.append("below/src/lib.rs", "pub fn verbose(x: bool) -> bool { if x == true { return true; } else { return false; } }\n");
    let seen = |cargo: Cargo| {
        project.remove("target");
        cargo.args(["clippy", "-j1"]).ok().seen()
    };
    let plain = seen(machine.plain(project.path()));
    assert!(plain.1.contains("clippy::"));
    assert_eq!(seen(machine.cargo(&project)), plain);
    let (warm, counts) = machine.watch(|| seen(machine.cargo(&project)));
    assert_eq!((warm, counts.compiled()), (plain, 0));
}

#[test]
fn places_that_members_print_are_spelled_as_without_kache() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    project.append(
        "below/src/lib.rs",
        "#[track_caller]\npub fn place() -> String { format!(\"{} {}\", file!(), std::panic::Location::caller()) }\n",
    );
    project.edit("src/main.rs", "below::value()", "below::place()");
    machine.plain(project.path()).args(["build"]).ok();
    let plain = run(project.file("target/debug/prog"));
    project.remove("target");
    machine.build(&project, &["build"]);
    assert_eq!(run(project.file("target/debug/prog")), plain);
    let other = project.copy_to(machine.path("b"));
    machine.restores(&other, &["build"]);
    assert_eq!(run(other.file("target/debug/prog")), plain);
}

#[test]
fn warnings_restored_elsewhere_name_files_of_that_checkout() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    project.edit("kernel/build.rs", "/// Generated.", "fn unused_and_generated() {{}}\\n/// Generated.");
    machine.build(&project, &["build", "-p", "kernel"]);
    let other = project.copy_to(machine.path("b"));
    let built = machine.cargo(&other).args(["build", "-p", "kernel"]).ok();
    assert!(built.stderr.contains("unused_and_generated"), "{}", built.stderr);
    assert!(built.stderr.contains(other.file("target/debug/build").to_str().unwrap()), "{}", built.stderr);
    assert!(!built.stderr.contains("@kache") && !built.stderr.contains(project.path().to_str().unwrap()), "{}", built.stderr);
}

/// Members that speak of paths as kache spells them, in the root module and in another.
fn speaking_of_placeholders(machine: &Machine) -> Project {
    let project = samples::pair(machine.path("a"));
    let note = "#[deprecated(note = \"read /proc/self/cwd/src/lib.rs or /@kache/target/x instead\")]\npub fn old() {}\npub fn caller() { old() }\n";
    project.append("below/src/lib.rs", note);
    project.append("src/main.rs", "mod notes;\n").write("src/notes.rs", note);
    project
}

#[test]
fn what_a_source_says_of_a_placeholder_stays_as_it_is() {
    check(speaking_of_placeholders, |cargo| cargo, true);
    check(speaking_of_placeholders, |cargo| cargo.env("KACHE_NO_REMAP", "1"), true);
}

#[test]
fn what_an_included_file_says_of_a_placeholder_is_never_stored_as_a_path() {
    let machine = Machine::new();
    let project = samples::program(machine.path("a"), "include!(\"../notes.txt\");\nfn unused_here() {}\nfn main() { old() }\n");
    project.write("notes.txt", "#[deprecated(note = \"read /proc/self/cwd/x instead\")]\nfn old() {}\n");
    let said = |cargo: Cargo| {
        project.remove("target");
        let said = cargo.args(["build"]).ok().seen();
        machine.settle();
        said
    };
    let plain = said(machine.plain(project.path()));
    // Who speaks can't be known before the first compile.
    said(machine.cargo(&project));
    assert_eq!(said(machine.cargo(&project)), plain, "a miss");
    let (restored, seen) = machine.watch(|| said(machine.cargo(&project)));
    assert_eq!((restored, seen.hits()), (plain, 1), "a hit");
}
