//! What is answered as JSON has the fields that `crates/kache-cli/JSON.md` names, and no others.

use crate::team::{build, member};
use kache_testkit::{Machine, S3Server, http_get, samples};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Objects whose keys are names of things, not of fields.
const MAPS: [&str; 6] = ["outcomes", "bypass_reasons", "bypass_details", "not_stored", "errors", "environment"];

/// Objects that stand in many places and are told once: a field that none else has, and their heading.
const PARTS: [(&str, &str); 6] = [
    ("hardlink", "Placed bytes"),
    ("totals", "A build"),
    ("rustc_millis", "A unit"),
    ("verdict", "An explanation"),
    ("count", "A trouble"),
    ("reason", "A bypass"),
];

/// The paths of all values: `store.bytes`, `lines[].text`, `errors.*`. Those of a part stand below its heading.
fn paths(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) if !at.is_empty() && PARTS.iter().any(|(name, _)| fields.contains_key(*name)) => {
            found.insert(at.to_owned());
            let (_, heading) = PARTS.iter().find(|(name, _)| fields.contains_key(*name)).unwrap();
            let mut of_part = BTreeSet::new();
            paths(value, "", &mut of_part);
            check(heading, &of_part);
        }
        Value::Object(fields) => {
            let is_map = MAPS.iter().any(|map| at == *map || at.ends_with(&format!(".{map}")));
            for (name, value) in fields {
                let name = if is_map { "*" } else { name };
                paths(value, if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }.as_str(), found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| paths(item, &format!("{at}[]"), found)),
        _ => {
            found.insert(at.to_owned());
        }
    }
}

/// The first column of the table below this heading, and of these the names that may be missing.
fn documented(heading: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/kache-cli/JSON.md");
    let text = std::fs::read_to_string(file).unwrap();
    let section = text.split(&format!("## {heading}\n")).nth(1).unwrap_or_else(|| panic!("no section {heading}"));
    let rows = section.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with("| `"));
    let (mut all, mut optional) = (BTreeSet::new(), BTreeSet::new());
    for row in rows {
        let (name, meaning) = row.trim_start_matches("| `").split_once("` | ").unwrap_or_else(|| panic!("{row}"));
        all.insert(name.to_owned());
        if meaning.starts_with("Perhaps") {
            optional.insert(name.to_owned());
        }
    }
    (all, optional)
}

#[track_caller]
fn check(heading: &str, found: &BTreeSet<String>) {
    let (documented, optional) = documented(heading);
    let unknown: Vec<_> = found.difference(&documented).collect();
    let missing: Vec<_> = documented.difference(found).filter(|name| !optional.contains(*name)).collect();
    assert!(unknown.is_empty() && missing.is_empty(), "{heading}: not in JSON.md: {unknown:#?}\nonly in JSON.md: {missing:#?}");
}

#[track_caller]
fn check_json(heading: &str, text: &str) {
    let mut found = BTreeSet::new();
    let value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{heading}: {error}: {text}"));
    paths(&value, "", &mut found);
    check(heading, &found);
}

/// A machine that has restored, compiled, bypassed and failed, with a bucket that refused something; and what a listener heard of it.
fn busy(server: &S3Server) -> (Machine, String) {
    let machine = member(server, S3Server::READER, &[]);
    std::fs::write(machine.config(), "[rules.bypassed]\nbypass = true\n").unwrap();
    machine.start();
    let mut stream = UnixStream::connect(machine.socket()).unwrap();
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: kache\r\n\r\n").unwrap();
    let project = samples::pair(machine.path("a"));
    build(&machine, &project, &["build"]);
    project.remove("target").edit("src/main.rs", "println", "eprintln");
    build(&machine, &project, &["build"]);
    let bypassed = samples::program(machine.path("b"), "fn main() {}\n");
    bypassed.edit("Cargo.toml", "name = \"prog\"", "name = \"bypassed\"");
    build(&machine, &bypassed, &["build"]);
    machine.kache(&["flush"]);
    let events = BufReader::new(stream).lines().map_while(Result::ok);
    let mut heard = String::new();
    for line in events.filter_map(|line| line.strip_prefix("data: ").map(str::to_owned)) {
        heard += &(line + "\n");
        if heard.matches("\"build_ended\"").count() >= 3 && heard.matches("\"gauges\"").count() >= 2 {
            break;
        }
    }
    (machine, heard)
}

#[test]
fn answers_have_the_fields_that_are_documented() {
    let server = S3Server::start();
    let (machine, events) = busy(&server);
    let project = machine.path("a");
    let kache = |args: &[&str]| machine.kache_in(&project).args(args.iter().copied()).run().stdout;
    check_json("`kache stats --json`", &kache(&["stats", "--json"]));
    check_json("`kache status --json`", &kache(&["status", "--json"]));
    check_json("`kache list --json`", &kache(&["list", "--json"]));
    check_json("`kache doctor --json`", &kache(&["doctor", "--json"]));
    check_json("`kache config show --json`", &kache(&["config", "show", "--json"]));
    check_json("`kache why CRATE --json`", &kache(&["why", "prog", "--json"]));
    check_json("`kache why --json`", &kache(&["why", "--json"]));
    let mut found = BTreeSet::new();
    events.lines().for_each(|line| paths(&serde_json::from_str(line).unwrap(), "", &mut found));
    check("`GET /v1/events`", &found);
    let (_, metrics) = http_get(&machine.socket(), "/metrics").unwrap();
    let names = String::from_utf8(metrics).unwrap();
    let names = names.lines().filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned())).collect();
    check("`GET /metrics`", &names);
}
