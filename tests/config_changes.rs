//! The configuration's file changes while `kached` runs.

use crate::team::{flush, number, remote};
use kache_testkit::{Machine, Project, S3Server, http_get, run, samples, until};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(30);

fn status(machine: &Machine) -> Value {
    serde_json::from_slice(&http_get(&machine.socket(), "/v1/status").unwrap().1).unwrap()
}

fn write(machine: &Machine, config: &str) {
    fs::write(machine.config(), config).unwrap();
}

/// Waits until the daemon's log holds `text`.
fn hears(machine: &Machine, text: &str) {
    until(text, BOUND, || machine.log().contains(text).then_some(()));
}

/// A program whose compile waits for the file `gate` to be there, and says before that it has come so far, by `gate.reached`.
fn gated(directory: PathBuf) -> Project {
    let root = samples::package("prog", "[dependencies]\nmac = { path = \"mac\" }\n[workspace]\nmembers = [\"mac\"]\n");
    let expand = r#"
#[proc_macro]
pub fn wait(_: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let gate = std::path::PathBuf::from(std::env::var_os("GATE").unwrap());
    std::fs::write(gate.with_extension("reached"), "").unwrap();
    while !gate.exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    "1".parse().unwrap()
}
"#;
    Project::with(
        directory,
        &[
            ("Cargo.toml", &(root + samples::QUICK)),
            ("src/main.rs", "fn main() { println!(\"{}\", mac::wait!()); }\n"),
            ("mac/Cargo.toml", &samples::package("mac", "[lib]\nproc-macro = true\n")),
            ("mac/src/lib.rs", expand),
        ],
    )
}

#[test]
fn a_rule_that_comes_while_a_crate_compiles_counts_from_the_next_question_on() {
    let machine = Machine::new();
    let project = gated(machine.path("a"));
    let gate = machine.path("gate");
    let cargo = machine.cargo(&project).args(["build"]).env("GATE", &gate);
    let build = cargo.spawn();
    until("rustc expands the macro", BOUND, || machine.path("gate.reached").exists().then_some(()));
    write(&machine, "[rules.prog]\nbypass = true\n");
    hears(&machine, "configuration: rules.prog changed");
    fs::write(&gate, "").unwrap();
    assert!(cargo.finish(build).status.success());
    machine.settle();
    let outcomes = machine.stats().outcomes;
    assert_eq!((outcomes.miss, outcomes.all()), (2, 2), "what was asked before ends as it began, and nothing is lost");
    until("both are stored", BOUND, || (machine.stats().store.artifacts == 2).then_some(()));

    project.remove("target");
    let (_, seen) = machine.watch(|| cargo.ok());
    assert_eq!((seen.local_hit, seen.bypass, seen.all()), (1, 1, 2));
    assert_eq!(machine.stats().bypass_reasons["rule"], 1);
    assert_eq!(run(project.file("target/debug/prog")), "1\n");
}

#[test]
fn a_build_that_begins_after_the_change_is_answered_by_it() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    machine.build(&project, &["build"]);
    for round in 0..4 {
        let bypassed = round % 2 == 0;
        write(&machine, if bypassed { "[rules.\"*\"]\nbypass = true\n" } else { "" });
        project.remove("target");
        let seen = machine.build(&project, &["build"]);
        assert_eq!((seen.bypass, seen.hits()), if bypassed { (2, 0) } else { (0, 2) }, "round {round}");
    }
}

#[test]
fn a_file_that_can_not_be_used_changes_nothing_and_is_named_until_it_is_mended() {
    let machine = Machine::idle();
    write(&machine, "[rules.prog]\nbypass = true\n");
    machine.start();
    let project = samples::pair(machine.path("a"));
    write(&machine, "[rules.prog]\nbypas = false\n");
    let seen = machine.build(&project, &["build"]);
    assert_eq!((seen.bypass, seen.miss), (1, 1));
    let config = machine.config().display().to_string();
    let why = format!("{config}: unknown key `rules.prog.bypas`; did you mean `rules.prog.bypass`?");
    let notice = format!("the configuration was changed and can't be used, so the one before still counts: {why}");
    assert_eq!(status(&machine)["notices"], serde_json::json!([notice]));
    assert!(machine.kache(&["status"]).stdout.contains(&format!("  notice     {notice}\n")), "{}", machine.kache(&["status"]).stdout);
    let doctor = machine.kache(&["doctor"]).stdout;
    assert!(
        doctor.contains("warning  kached    the configuration was changed and can't be used, so the one before still counts\n")
            && doctor.matches(&why).count() == 1
            && doctor.contains(&format!("problem  config    {why}\n")),
        "{doctor}"
    );
    assert!(machine.log().contains(&notice), "{}", machine.log());

    // It is gone: that isn't a configuration either, because KACHE_CONFIG names it.
    fs::remove_file(machine.config()).unwrap();
    let gone = format!("KACHE_CONFIG: {config} can't be read: No such file or directory (os error 2)");
    until("a missing file is named", BOUND, || status(&machine)["notices"][0].as_str().unwrap().ends_with(&gone).then_some(()));
    project.remove("target");
    assert_eq!(machine.build(&project, &["build"]).bypass, 1);

    write(&machine, "");
    project.remove("target");
    assert_eq!(machine.build(&project, &["build"]).bypass, 0);
    assert_eq!(status(&machine)["notices"], serde_json::json!([]));
}

#[test]
fn a_lower_limit_evicts_at_once_and_the_log_follows_its_filter() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    machine.build(&project, &["build", "--workspace"]);
    machine.settle();
    let before = machine.stats().store;
    let limit = before.bytes / 2;
    write(&machine, &format!("log = \"debug\"\n[cache]\nmax_size = {limit}\n"));
    let store = until("eviction", BOUND, || Some(machine.stats().store).filter(|store| store.bytes <= limit));
    assert!(store.max_bytes == limit && store.evicted_artifacts > 0, "{store:?}");
    project.write("kernel/number.txt", "7").remove("target");
    assert!(!machine.log().contains("DEBUG kached"), "{}", machine.log());
    machine.build(&project, &["build", "--workspace"]);
    assert!(machine.log().contains("DEBUG kached"));
    assert_eq!(run(project.file("target/debug/app")), samples::FULL_REPORT);
}

#[test]
fn a_bucket_comes_and_goes_and_changes_its_mode() {
    let server = S3Server::start();
    let owner = S3Server::OWNER;
    let keys = [("KACHE_S3_ACCESS_KEY", owner.access_key), ("KACHE_S3_SECRET_KEY", owner.secret_key)];
    let machine = Machine::with(&keys);
    let project = samples::pair(machine.path("a"));
    let table = |bucket: &str, mode: &str| {
        format!("[cache.remote]\ntype = \"s3\"\nbucket = \"{bucket}\"\nendpoint = \"{}\"\nmode = \"{mode}\"\n", server.endpoint())
    };
    let build = |number: u32| {
        project.write("below/src/lib.rs", format!("pub fn value() -> u32 {{ {number} }}\n")).remove("target");
        let cargo = machine.cargo(&project).args(["build"]).env("CARGO_INCREMENTAL", "0");
        cargo.ok();
        machine.settle();
        flush(&machine);
    };
    let uploads = || server.keys().iter().filter(|key| key.ends_with(".tar.zst")).count();
    build(1);
    assert!(remote(&machine).is_null(), "no bucket yet");

    write(&machine, &table(S3Server::BUCKET, "read-write"));
    build(2);
    assert_eq!((uploads(), number(&remote(&machine), "queued_uploads")), (2, 0));

    write(&machine, &table(S3Server::BUCKET, "read-only"));
    build(3);
    assert_eq!(uploads(), 2);

    write(&machine, &table(S3Server::BUCKET, "off"));
    build(4);
    assert!(remote(&machine).is_null());
    write(&machine, "");
    build(5);
    assert!(remote(&machine).is_null() && uploads() == 2);

    write(&machine, &table(S3Server::BUCKET, "read-write"));
    build(6);
    assert_eq!(uploads(), 4);

    // Another bucket can't be taken over, and what is meant for it isn't meant for the open one.
    write(&machine, &table("another", "off"));
    build(7);
    assert_eq!(uploads(), 6);
    assert_eq!(status(&machine)["restart_to_apply"], serde_json::json!(["cache.remote.bucket"]));
    let advice = "restart kached to apply: cache.remote.bucket";
    assert!(machine.kache(&["status"]).stdout.contains(&format!("  notice     {advice}\n")));
    assert_eq!(machine.kache(&["config", "show"]).stderr, format!("kache: {advice}\n"));
    assert!(machine.kache(&["doctor"]).stdout.contains(&format!("warning  kached    {advice}\n")));
}

#[test]
fn builds_go_on_while_the_file_is_written_all_the_time() {
    let machine = Machine::new();
    let project = samples::full(machine.path("a"));
    let (config, aside) = (machine.config(), machine.path("config.new"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let texts = ["[cache]\nsalt = \"a\"\n", "[cache]\nremap = false\n", "[rules.kernel]\nbypass = true\n", "nonsense"];
            for round in 0.. {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                fs::write(&aside, texts[round % texts.len()]).unwrap();
                fs::rename(&aside, &config).unwrap();
                std::thread::sleep(Duration::from_millis(30 * (round as u64 % 8)));
            }
        });
        for _ in 0..3 {
            project.remove("target");
            let built = machine.cargo(&project).args(["build", "--workspace"]).run();
            if !built.status.success() {
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
                panic!("{}\n{}", built.stderr, machine.log());
            }
            assert_eq!(run(project.file("target/debug/app")), samples::FULL_REPORT);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
