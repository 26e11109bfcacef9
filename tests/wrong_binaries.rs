//! Experiments that gave wrong binaries to a naive cache. Each one must give what plain cargo gives.

use kache_testkit::{Machine, Outputs, Project, run, samples};
use std::path::PathBuf;
use std::process::Command;

fn printed(project: &Project) -> String {
    run(project.file("target/debug/prog"))
}

#[test]
fn a_macro_reexported_through_an_unchanged_library_counts() {
    let machine = Machine::new();
    let project = samples::reexported_macro(machine.path("a"));
    machine.build(&project, &["build"]);
    assert_eq!(printed(&project), "1\n");
    project.edit("mac/src/number.rs", "1.to_string", "2.to_string");
    machine.build(&project, &["build"]);
    assert_eq!(printed(&project), "2\n");
    project.remove("target");
    machine.restores(&project, &["build"]);
    assert_eq!(printed(&project), "2\n");
    project.edit("mac/src/number.rs", "2.to_string", "1.to_string");
    machine.restores(&project, &["build"]);
    assert_eq!(printed(&project), "1\n");
}

#[test]
fn a_library_below_a_macros_library_counts() {
    let machine = Machine::new();
    let project = samples::reexported_macro(machine.path("a"));
    project.write("deep/Cargo.toml", samples::package("deep", "")).write("deep/src/lib.rs", "pub fn text() -> String { 1.to_string() }\n");
    project.edit("Cargo.toml", "\"mac\"]", "\"mac\", \"deep\"]");
    project.append("mac/Cargo.toml", "[dependencies]\ndeep = { path = \"../deep\" }\n");
    project.edit("mac/src/lib.rs", "number::text()", "deep::text()").edit("mac/src/lib.rs", "mod number;\n", "");
    machine.build(&project, &["build"]);
    project.edit("deep/src/lib.rs", "1.to", "5.to");
    project.remove("target");
    machine.build(&project, &["build"]);
    assert_eq!(printed(&project), "5\n");
}

#[test]
fn a_static_library_beside_its_dependents_is_never_older_than_they_think() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    project.append("below/Cargo.toml", "[lib]\ncrate-type = [\"staticlib\", \"rlib\"]\n");
    machine.build(&project, &["build"]);
    project.edit("below/src/lib.rs", "{ 1 }", "{ 2 }");
    machine.build(&project, &["build"]);
    assert_eq!(printed(&project), "2\n");
    project.edit("below/src/lib.rs", "{ 2 }", "{ 1 }");
    machine.restores(&project, &["build", "-p", "below"]);
    machine.restores(&project, &["build"]);
    assert_eq!(printed(&project), "1\n");
    machine.is_fresh(&project, &["build"]);
}

#[test]
fn a_library_restored_alone_reaches_its_dependents() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    project.edit("below/src/lib.rs", "{ 1 }", "{ 2 }");
    machine.build(&project, &["build"]);
    project.edit("below/src/lib.rs", "{ 2 }", "{ 1 }");
    machine.restores(&project, &["build", "-p", "below"]);
    machine.restores(&project, &["build"]);
    assert_eq!(printed(&project), "1\n");
}

#[test]
fn stripping_built_files_in_place_does_not_reach_the_store() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    let args = ["build", "--workspace"];
    machine.build(&project, &args);
    let first = Outputs::of(&project.file("target/debug"));
    project.remove("target");
    machine.restores(&project, &args);
    for name in ["app", "libplugin.so", "libarchive.a", "libkernel.rlib"] {
        let stripped = Command::new("strip").arg("--strip-debug").arg(project.file("target/debug").join(name)).status().unwrap();
        assert!(stripped.success(), "strip {name}");
    }
    assert_ne!(Outputs::of(&project.file("target/debug")), first, "strip did something");
    let other = project.copy_to(machine.path("b"));
    machine.restores(&other, &args);
    assert_eq!(Outputs::of(&other.file("target/debug")).difference(&first), Vec::<PathBuf>::new());
    assert_eq!(run(other.file("target/debug/app")), samples::FULL_REPORT);
    assert!(machine.kache(&["verify"]).status.success());
}

#[test]
fn writing_into_a_restored_file_does_not_reach_the_store() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    let args = ["build", "-p", "app"];
    machine.build(&project, &args);
    let first = Outputs::of(&project.file("target/debug"));
    for entry in std::fs::read_dir(project.file("target/debug/deps")).unwrap() {
        let file = entry.unwrap().path();
        let mut bytes = std::fs::read(&file).unwrap();
        bytes.extend_from_slice(b"scribble");
        std::fs::write(&file, bytes).unwrap();
    }
    let other = project.copy_to(machine.path("b"));
    let seen = machine.build(&other, &args);
    assert_eq!((seen.bypass, seen.failed), (0, 0));
    assert_eq!(Outputs::of(&other.file("target/debug")).linked().difference(&first.linked()), Vec::<PathBuf>::new());
    assert_eq!(run(other.file("target/debug/app")), samples::FULL_REPORT);
    other.remove("target");
    machine.restores(&other, &args);
}

#[test]
fn two_modules_that_swap_their_contents_are_another_crate() {
    let machine = Machine::new();
    let project = samples::program(machine.path("a"), "mod a; mod b;\nfn main() { println!(\"{} {}\", a::NAME, b::NAME); }\n");
    let (one, two) = ("pub const NAME: &str = \"one\";\n", "pub const NAME: &str = \"two\";\n");
    project.write("src/a.rs", one).write("src/b.rs", two);
    machine.build(&project, &["build"]);
    assert_eq!(printed(&project), "one two\n");
    project.write("src/a.rs", two).write("src/b.rs", one);
    machine.build(&project, &["build"]);
    assert_eq!(printed(&project), "two one\n");
    project.remove("target");
    machine.restores(&project, &["build"]);
    assert_eq!(printed(&project), "two one\n");
}

#[test]
fn a_module_file_that_appears_beside_its_twin_is_the_error_that_it_is() {
    for (name, twin) in [("src/foo.rs", "src/foo/mod.rs"), ("src/foo/mod.rs", "src/foo.rs")] {
        let machine = Machine::new();
        let project = samples::program(machine.path("a"), "mod foo;\nfn main() { println!(\"{}\", foo::N); }\n");
        project.write(name, "pub const N: u8 = 1;\n");
        machine.build(&project, &["build"]);
        project.write(twin, "pub const N: u8 = 2;\n").touch("src/main.rs");
        let built = machine.cargo(&project).args(["build"]).fails();
        assert!(built.stderr.contains("E0761"), "{}", built.stderr);
        project.remove("target");
        assert!(machine.cargo(&project).args(["build"]).fails().stderr.contains("E0761"));
        project.remove(twin);
        machine.restores(&project, &["build"]);
        project.remove(name).write(twin, "pub const N: u8 = 2;\n");
        machine.build(&project, &["build"]);
        assert_eq!(printed(&project), "2\n");
    }
}

#[test]
fn a_twin_of_a_nested_module_is_seen_too() {
    let machine = Machine::new();
    let project =
        samples::program(machine.path("a"), "mod outer { pub mod inner; }\nfn main() { println!(\"{}\", outer::inner::deep::N); }\n");
    project.write("src/outer/inner.rs", "pub mod deep;\n").write("src/outer/inner/deep.rs", "pub const N: u8 = 1;\n");
    machine.build(&project, &["build"]);
    project.write("src/outer/inner/deep/mod.rs", "pub const N: u8 = 2;\n").touch("src/main.rs");
    assert!(machine.cargo(&project).args(["build"]).fails().stderr.contains("E0761"));
}

#[test]
fn a_module_moved_into_a_directory_keeps_working() {
    let machine = Machine::new();
    let project = samples::program(machine.path("a"), "mod a;\nfn main() { println!(\"{}\", a::place()); }\n");
    project.write("src/a.rs", "pub fn place() -> &'static str { file!() }\n");
    machine.build(&project, &["build"]);
    assert_eq!(printed(&project), "src/a.rs\n");
    project.rename("src/a.rs", "src/a/mod.rs");
    machine.build(&project, &["build"]);
    assert_eq!(printed(&project), "src/a/mod.rs\n");
}

#[test]
fn an_interface_that_changed_beside_a_restored_dependent_never_mixes() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    project.write("below/src/lib.rs", "#[inline]\npub fn value() -> u32 { 1 }\n");
    machine.build(&project, &["build", "--release"]);
    project.write("below/src/lib.rs", "#[inline]\npub fn value() -> u32 { 2 }\n");
    machine.build(&project, &["build", "--release"]);
    assert_eq!(run(project.file("target/release/prog")), "2\n");
    project.write("below/src/lib.rs", "#[inline]\npub fn value() -> u32 { 1 }\n");
    project.append("src/main.rs", "// touched\n");
    machine.build(&project, &["build", "--release"]);
    assert_eq!(run(project.file("target/release/prog")), "1\n");
}
