//! The story of two machines and one bucket on real S3 servers, with ripgrep. `tests/servers/run NAME` starts a server and runs this.

use crate::team::{build, flush, number, remote};
use kache_testkit::{Machine, Outputs, Project, published};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

const BUILDS: [(&[&str], &str); 2] = [(&["build", "--locked"], "debug"), (&["build", "--locked", "--release"], "release")];

/// A machine that uses the server that the environment names, in a prefix of this test's own.
fn member(prefix: &str, more: &[(&str, &str)]) -> Option<Machine> {
    let given = |name: &str| std::env::var(format!("KACHE_TEST_S3_{name}")).ok().filter(|value| !value.is_empty());
    let mut settings =
        vec![("KACHE_S3_PREFIX", prefix.to_owned()), ("KACHE_S3_BUCKET", given("BUCKET").unwrap_or_else(|| "kache-test".into()))];
    settings.push(("KACHE_S3_ENDPOINT", given("ENDPOINT")?));
    for (ours, theirs) in [
        ("KACHE_S3_ACCESS_KEY", "ACCESS_KEY"),
        ("KACHE_S3_SECRET_KEY", "SECRET_KEY"),
        ("KACHE_S3_REGION", "REGION"),
        ("SSL_CERT_FILE", "CA"),
    ] {
        settings.extend(given(theirs).map(|value| (ours, value)));
    }
    settings.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Some(Machine::idle_with(&settings))
}

fn ripgrep(machine: &Machine, directory: &str) -> Project {
    published("ripgrep", "15.2.0", &machine.path(directory), &machine.home())
}

#[expect(clippy::print_stderr, reason = "figures for people")]
fn tell(what: &str, since: Instant, numbers: &Value) {
    let names =
        ["gets", "get_bytes", "not_found", "puts", "put_bytes", "errors", "retries", "connections_opened", "prefetched", "prefetch_used"];
    let told: Vec<_> = names.iter().map(|name| format!("{name} {}", numbers[*name])).collect();
    eprintln!("{what}: {:.1} s; {}", since.elapsed().as_secs_f64(), told.join(", "));
}

#[test]
#[ignore = "needs a server: tests/servers/run"]
fn two_machines_share_ripgrep_over_a_real_server() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let prefix = format!("run-{}", now.as_nanos());
    let Some(first) = member(&prefix, &[]) else { return };
    first.start();
    let project = ripgrep(&first, "one/checkout");
    let start = Instant::now();
    let built: u64 = BUILDS.iter().map(|(args, _)| build(&first, &project, args).miss).sum();
    flush(&first);
    tell("machine 1 built and flushed", start, &remote(&first));
    assert_eq!(remote(&first)["errors"], json!({}));
    assert!(built > 60 && number(&remote(&first), "puts") >= 2 * built, "{built} {}", remote(&first));

    let second = member(&prefix, &[("KACHE_LOG", "kached=debug,kache_remote=debug")]).unwrap();
    second.start();
    let copy = ripgrep(&second, "elsewhere/deeper/two");
    let start = Instant::now();
    for (args, profile) in BUILDS {
        let seen = build(&second, &copy, args);
        assert_eq!((seen.miss, seen.bypass, seen.failed), (0, 0, 0), "{seen:?}\n{}", second.log());
        let outputs = |project: &Project| Outputs::of(&project.file("target").join(profile));
        assert_eq!(outputs(&copy).linked().difference(&outputs(&project).linked()), Vec::<PathBuf>::new());
        assert!(same(&copy.file("target").join(profile).join("rg"), &project.file("target").join(profile).join("rg")));
    }
    let numbers = remote(&second);
    tell("machine 2 restored", start, &numbers);
    // One GET for each unit, and three for the indexes of each build.
    assert_eq!(number(&numbers, "gets"), built + 6, "{numbers}\n{}", second.log());
    // Whoever waits already when the index comes fetches for itself: a compile for each processor, in each build.
    let waiting = BUILDS.len() as u64 * std::thread::available_parallelism().unwrap().get() as u64;
    assert!(number(&numbers, "prefetched") + waiting >= built, "{numbers}\n{}", second.log());
    assert_eq!((&numbers["errors"], number(&numbers, "lists"), number(&numbers, "credential_loads")), (&json!({}), 0, 1), "{numbers}");

    // What is there already: told by the condition of the PUT, or overwritten with the same.
    let third = member(&prefix, &[("KACHE_S3_ENDPOINT", "http://127.0.0.1:9")]).unwrap();
    third.start();
    let again = ripgrep(&third, "three");
    assert!(build(&third, &again, BUILDS[0].0).miss > 30);
    third.stop();
    let online = member(&prefix, &[]).unwrap();
    std::fs::rename(third.cache_dir(), online.cache_dir()).unwrap();
    online.start();
    let start = Instant::now();
    flush(&online);
    tell("machine 3 uploaded what is there", start, &remote(&online));
    assert_eq!(remote(&online)["errors"], json!({}), "{}", online.log());
    let pulled = online.kache_in(again.path()).args(["sync"]).run();
    assert!(pulled.status.success(), "{}{}", pulled.stdout, pulled.stderr);
}

fn same(one: &Path, other: &Path) -> bool {
    std::fs::read(one).unwrap() == std::fs::read(other).unwrap()
}
