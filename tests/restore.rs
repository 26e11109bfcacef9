//! What was built once is restored: after `cargo clean`, into a new target directory, in another checkout, for every command.

use kache_testkit::{Machine, Outputs, run, samples};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const ALL: [&str; 2] = ["build", "--workspace"];

#[test]
fn after_clean_everything_is_restored_byte_for_byte_and_fresh() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    let everything = ["build", "--workspace", "--all-targets"];
    let cold = machine.build(&project, &everything);
    assert_eq!((cold.bypass, cold.failed, cold.hits()), (0, 0, 0), "{:?}", machine.stats().bypass_reasons);
    assert_eq!(run(project.file("target/debug/app")), samples::FULL_REPORT);
    machine.is_fresh(&project, &everything);
    let first = Outputs::of(&project.file("target/debug"));

    machine.cargo(&project).args(["clean"]).ok();
    assert_eq!(machine.restores(&project, &everything), cold.miss);
    assert_eq!(Outputs::of(&project.file("target/debug")).difference(&first), Vec::<PathBuf>::new());
    assert_eq!(run(project.file("target/debug/app")), samples::FULL_REPORT);
    assert_eq!(run(project.file("target/debug/examples/show")), format!("example {}", samples::FULL_REPORT));
    machine.is_fresh(&project, &everything);
}

#[test]
fn a_new_target_directory_is_filled_from_the_store() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    let cold = machine.build(&project, &ALL);
    let elsewhere = machine.path("targets/x");
    let args = [&ALL[..], &["--target-dir", elsewhere.to_str().unwrap()]].concat();
    assert_eq!(machine.restores(&project, &args), cold.miss);
    let (first, second) = (Outputs::of(&project.file("target/debug")), Outputs::of(&elsewhere.join("debug")));
    assert_eq!(second.difference(&first), Vec::<PathBuf>::new());
    machine.is_fresh(&project, &args);
    machine.is_fresh(&project, &ALL);
}

#[test]
fn another_checkout_is_filled_from_the_store_with_the_same_bytes() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    let cold = machine.build(&project, &ALL);
    let other = project.copy_to(machine.path("quite/another/place"));
    assert_eq!(machine.restores(&other, &ALL), cold.miss);
    let (first, second) = (Outputs::of(&project.file("target/debug")), Outputs::of(&other.file("target/debug")));
    assert_eq!(second.difference(&first), Vec::<PathBuf>::new());
    fs::remove_dir_all(project.path()).unwrap();
    assert_eq!(run(other.file("target/debug/app")), samples::FULL_REPORT);
    machine.is_fresh(&other, &ALL);
}

#[test]
fn in_another_checkout_only_units_that_read_an_absolute_path_are_compiled() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    let args = ["test", "--workspace", "--no-run"];
    let cold = machine.build(&project, &args);
    let other = project.copy_to(machine.path("elsewhere/b"));
    let warm = machine.build(&other, &args);
    assert_eq!((warm.miss, warm.bypass, warm.failed), (samples::FULL_BOUND_IN_TESTS, 0, 0));
    assert_eq!(warm.hits(), cold.miss - samples::FULL_BOUND_IN_TESTS);
    machine.cargo(&other).args(["test", "--workspace"]).ok();
    machine.is_fresh(&other, &args);
}

/// One cargo command: cold, then restored into an empty target directory, then fresh.
fn check(args: &[&str]) {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    let cold = machine.build(&project, args);
    assert_eq!((cold.bypass, cold.failed), (0, 0), "{args:?}: {:?}\n{}", machine.stats().bypass_reasons, machine.log());
    project.remove("target");
    assert_eq!(machine.restores(&project, args), cold.miss, "{args:?}");
    machine.is_fresh(&project, args);
    let other = project.copy_to(machine.path("elsewhere/b"));
    let warm = machine.build(&other, args);
    assert!(warm.miss <= samples::FULL_BOUND_IN_TESTS && warm.bypass == 0 && warm.failed == 0, "{args:?}: {warm:?}");
    machine.is_fresh(&other, args);
    machine.is_fresh(&project, args);
}

#[test]
fn check_is_restored() {
    check(&["check", "--workspace", "--all-targets"]);
}

#[test]
fn test_is_restored() {
    check(&["test", "--workspace"]);
}

#[test]
fn clippy_is_restored() {
    check(&["clippy", "--workspace", "--all-targets"]);
}

#[test]
fn release_is_restored() {
    check(&["build", "--workspace", "--release"]);
}

#[test]
fn a_build_for_a_named_target_is_restored() {
    let host = kache_testkit::Cargo::plain("/", Path::new("/")).program("rustc").args(["--print=host-tuple"]).ok().stdout;
    check(&["build", "--workspace", "--target", host.trim()]);
}

#[test]
fn features_and_link_time_optimisation_are_restored() {
    check(&["build", "-p", "app", "-p", "kernel", "--features", "kernel/loud", "--config", "profile.dev.lto=\"thin\""]);
}

#[test]
fn check_and_build_share_a_target_directory_without_disturbing_each_other() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    machine.build(&project, &ALL);
    machine.build(&project, &["check", "--workspace"]);
    project.remove("target");
    machine.restores(&project, &["check", "--workspace"]);
    machine.restores(&project, &ALL);
    machine.is_fresh(&project, &["check", "--workspace"]);
    machine.is_fresh(&project, &ALL);
}

#[test]
fn clean_crates_hit_whatever_the_colour_and_message_format() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    machine.build(&project, &ALL);
    for form in [&["--color", "always"][..], &["--message-format=json"], &["--message-format=short"]] {
        project.remove("target");
        machine.restores(&project, &[&ALL[..], form].concat());
    }
}

#[test]
fn restored_files_have_the_modes_that_rustc_gives_under_the_builds_umask() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    machine.build(&project, &ALL);
    let modes = |cargo: kache_testkit::Cargo| {
        project.remove("target");
        cargo.program("sh").args(["-c", "umask 027 && exec cargo build --workspace"]).ok();
        let mut list: Vec<(String, u32)> = fs::read_dir(project.file("target/debug/deps"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().permissions().mode()))
            .collect();
        list.sort();
        list
    };
    let plain = modes(machine.plain(project.path()));
    let (restored, seen) = machine.watch(|| modes(machine.cargo(&project)));
    assert_eq!(seen.compiled(), 0);
    // A hard link has one mode for all who share it, so for shared libraries only the owner's part is the build's.
    let owner = |list: Vec<(String, u32)>| -> Vec<(String, u32)> {
        list.into_iter().map(|(name, mode)| if name.ends_with(".rlib") { (name, mode & 0o700) } else { (name, mode) }).collect()
    };
    assert_eq!(owner(restored), owner(plain));
}

#[test]
fn a_read_only_leftover_is_replaced() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    for entry in fs::read_dir(project.file("target/debug/deps")).unwrap() {
        fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o444)).unwrap();
    }
    project.remove("target/debug/.fingerprint");
    machine.restores(&project, &["build"]);
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
}

#[test]
fn dep_info_and_artifact_notices_speak_of_this_checkout() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    machine.build(&project, &ALL);
    let other = project.copy_to(machine.path("b"));
    let json = machine.cargo(&other).args(ALL).json();
    assert!(json.files().iter().all(|file| file.starts_with(other.path()) && file.exists()));
    let stranger = project.path().to_str().unwrap().to_owned();
    for entry in fs::read_dir(other.file("target/debug/deps")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "d") {
            let text = fs::read_to_string(&file).unwrap();
            assert!(!text.contains(&format!("{stranger}/")) && !text.contains("@kache"), "{}:\n{text}", file.display());
        }
    }
}
