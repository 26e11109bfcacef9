//! Builds as people and programs follow them: events, the last build in the statistics, the report.

use kache_testkit::{Cargo, Machine, disguised, finish_within, http_get, samples, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody who listens to `GET /v1/events`.
struct Listener(Arc<Mutex<Vec<u8>>>);

impl Listener {
    fn of(machine: &Machine) -> Self {
        let mut stream = UnixStream::connect(machine.socket()).unwrap();
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: kache\r\n\r\n").unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                into.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        let listener = Self(heard);
        until("the first event", PATIENCE, || (!listener.events().is_empty()).then_some(()));
        listener
    }

    fn events(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
    }

    /// The events until so many builds have ended, by name; gauges left out.
    fn until_ended(&self, builds: usize) -> Vec<(String, Value)> {
        until("the builds' ends", PATIENCE, || {
            let events = self.events();
            (events.iter().filter(|event| event["event"] == "build_ended").count() == builds).then_some(())
        });
        let named = |event: Value| (event["event"].as_str().unwrap().to_owned(), event);
        self.events().into_iter().map(named).filter(|(name, _)| name != "gauges").collect()
    }
}

#[test]
fn whoever_listens_hears_of_every_unit() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    let listener = Listener::of(&machine);
    assert_eq!(listener.events()[0]["event"], "gauges", "what is known comes first");
    machine.build(&project, &["build"]);
    let names = |events: &[(String, Value)]| events.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let first = listener.until_ended(1);
    let both = ["unit_begun", "unit_ended"];
    assert_eq!(names(&first), [&["build_begun"], &both[..], &both[..], &["build_ended"]].concat());
    assert_eq!((&first[2].1["unit"]["crate"], &first[2].1["unit"]["outcome"]), (&"below".into(), &"miss".into()));
    assert!(first[2].1["why"][0].as_str().unwrap() == "never seen before");
    assert_eq!(first[5].1["totals"]["outcomes"]["miss"], 2);
    project.remove("target");
    machine.restores(&project, &["build"]);
    let second = listener.until_ended(2);
    assert_eq!(names(&second[6..]), ["build_begun", "unit_ended", "unit_ended", "build_ended"], "nothing is compiled");
}

#[test]
fn a_compile_that_is_killed_is_told_as_lost() {
    let machine = Machine::new();
    let project = samples::program(machine.path("a"), "fn main() {}\n");
    project.write("build.rs", "fn main() {}\n");
    let rustc = machine.plain(Path::new("/")).program("sh").args(["-c", "command -v rustc"]).ok().stdout;
    // The last unit never ends by itself.
    let script = format!("#!/bin/sh\ncase \"$*\" in *--crate-name\\ prog*) exec sleep 600;; *) exec {} \"$@\";; esac\n", rustc.trim());
    disguised(&project.file("rustc"), &script);
    let listener = Listener::of(&machine);
    let cargo = machine.cargo(&project).args(["build"]).env("RUSTC", project.file("rustc"));
    let mut child = cargo.spawn();
    let is = |event: &Value, name: &str, number: &Value| event["event"] == name && event["number"] == *number;
    let number = until("the unit that hangs", PATIENCE, || {
        listener
            .events()
            .into_iter()
            .find(|event| event["event"] == "unit_begun" && event["crate"] == "prog")
            .map(|event| event["number"].clone())
    });
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process_group(group, Signal::KILL).unwrap();
    until("its loss", PATIENCE, || listener.events().iter().any(|event| is(event, "unit_lost", &number)).then_some(()));
    finish_within(&mut child, PATIENCE).unwrap();
    listener.until_ended(1);
}

#[test]
fn the_statistics_show_the_last_build_and_go_on_when_watched() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    let json = || -> Value { serde_json::from_str(&machine.kache(&["stats", "--json"]).stdout).unwrap() };
    assert_eq!(json().get("last_build"), None);
    machine.build(&project, &["build"]);
    project.remove("target");
    machine.restores(&project, &["build"]);
    let stats = json();
    assert_eq!(stats["last_build"]["totals"]["outcomes"]["local_hit"], 2);
    assert_eq!(stats["last_build"]["dir"], project.path().to_str().unwrap());
    assert!(stats["compiled_secs"].as_f64().unwrap() > 0.0);
    let text = machine.kache(&["stats"]).stdout;
    assert!(text.contains("Last build\n  `cargo build` in ") && text.contains("100 % of units, 100 % of the time"), "{text}");

    let said = machine.path("said");
    let mut command = machine.kache_in(Path::new("/")).args(["stats", "--watch"]).command();
    let mut child = command.stdout(File::create(&said).unwrap()).spawn().unwrap();
    until("two looks", PATIENCE, || (fs::read_to_string(&said).unwrap().matches("Last build").count() >= 2).then_some(()));
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    assert!(finish_within(&mut child, PATIENCE).unwrap().success());
    assert!(!fs::read_to_string(&said).unwrap().contains('\x1b'), "no escapes where no terminal is");
}

#[test]
fn a_build_is_over_as_soon_as_its_cargo_is() {
    let machine = Machine::new();
    let project = samples::pair(machine.path("a"));
    for arguments in [&["stats"][..], &["why"], &["report"]] {
        project.remove("target");
        machine.cargo(&project).args(["build"]).ok();
        let said = machine.kache_in(project.path()).args(arguments.iter().copied()).run().stdout;
        assert!(said.contains("`cargo build` in ") && said.contains(" ago") && !said.contains("running\n"), "{arguments:?}: {said}");
    }
}

#[test]
fn watching_ends_when_nobody_reads_any_more() {
    let machine = Machine::new();
    let watch = machine.kache_in(Path::new("/")).args(["stats", "--watch"]);
    let mut child = watch.command().stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("kached "), "{line}");
    assert!(finish_within(&mut child, PATIENCE).expect("an end").success());
}

#[test]
fn the_monitor_wants_a_terminal() {
    let said = Machine::idle().kache(&["monitor"]);
    let text = "kache: error: kache monitor draws on a terminal, and this is none; `kache stats --watch` prints, and GET /v1/events tells programs";
    assert_eq!((said.status.code(), said.stderr.trim()), (Some(1), text));
}

#[test]
fn requests_that_make_no_sense_are_told_so() {
    let machine = Machine::new();
    for (target, status, text) in [
        ("/v1/why", 400, "expected crate=NAME\n"),
        ("/v1/why?name=a", 400, "expected crate=…, found \"name=a\"\n"),
        ("/v1/why?crate=a", 404, "no build that is remembered has asked for a crate a\n"),
        ("/v1/report", 404, "no build is remembered\n"),
        ("/v1/report?dir=%ff", 400, "dir: not UTF-8\n"),
    ] {
        let (found, body) = http_get(&machine.socket(), target).unwrap();
        assert_eq!((found, String::from_utf8(body).unwrap().as_str()), (status, text), "{target}");
    }
}

/// A build with hits, misses, a bypass and a failure, as a page.
fn page(machine: &Machine) -> PathBuf {
    let project = samples::full(machine.path("a"));
    let build = ["build", "--workspace", "--all-targets"];
    machine.build(&project, &build);
    project.remove("target");
    project.edit("kernel/src/inner.rs", "module_path!()", "\"<b>edited</b>\"");
    let failing = machine.cargo(&project).args(build).args(["--features", "kernel/loud", "--keep-going"]);
    project.append("archive/src/lib.rs", "fn {");
    failing.fails();
    machine.settle();
    let file = machine.path("build.html");
    let said = machine.kache_in(project.path()).args(["report", "--html", file.to_str().unwrap()]).run();
    assert!(said.status.success(), "{}", said.stderr);
    file
}

#[test]
fn a_report_names_the_units_and_why_they_were_compiled() {
    let machine = Machine::new();
    let html = fs::read_to_string(page(&machine)).unwrap();
    for part in
        ["feature `loud` added", "kernel", "app (bin)", "macros (proc macro)", "kernel (build script)", "class=\"failed", "class=\"hit"]
    {
        assert!(html.contains(part), "{part}");
    }
    let text = machine.kache(&["report"]).stdout;
    for part in ["Where the time went", "Critical path", "Not restored", "feature `loud` added"] {
        assert!(text.contains(part), "{part:?} isn't in\n{text}");
    }
}

/// The page in a real browser, into `KACHE_SCREENSHOT` if that names a file. To be looked at.
#[test]
#[ignore = "needs chromium"]
fn a_report_is_drawn_by_a_browser() {
    let machine = Machine::new();
    let page = page(&machine);
    let shot = std::env::var_os("KACHE_SCREENSHOT").map_or_else(|| machine.path("report.png"), PathBuf::from);
    let flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--window-size=1280,1800",
    ];
    let chromium = Cargo::plain(machine.path("."), &machine.home()).program("chromium").args(flags);
    let data = format!("--user-data-dir={}", machine.path("chromium").display());
    let picture = format!("--screenshot={}", shot.display());
    chromium.args([data, picture, format!("file://{}", page.display())]).ok();
    let png = fs::read(&shot).unwrap();
    assert!(png.starts_with(b"\x89PNG") && png.len() > 40_000, "{} bytes", png.len());
}
