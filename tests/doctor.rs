//! `kache doctor` with a real daemon and a real bucket.

use kache_testkit::{Machine, S3Server, S3User, samples};
use serde_json::Value;

/// Level and text of each line about `topic`, in a project of the machine's.
fn doctor(machine: &Machine, arguments: &[&str], topic: &str) -> Vec<(String, String)> {
    let project = samples::pair(machine.path("a"));
    let kache = machine.kache_in(project.path()).args(["doctor", "--json"]).args(arguments.iter().copied());
    let said = kache.run();
    let report: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", said.stdout, said.stderr));
    let secret = |user: S3User| said.stdout.contains(user.secret_key);
    assert!(!secret(S3Server::OWNER) && !secret(S3Server::READER), "{}", said.stdout);
    let lines = report["lines"].as_array().unwrap().iter().filter(|line| line["topic"] == topic);
    lines.map(|line| (line["level"].as_str().unwrap().to_owned(), line["text"].as_str().unwrap().to_owned())).collect()
}

fn with_bucket(endpoint: &str, user: S3User, bucket: &str, more: &[(&str, &str)]) -> Machine {
    let mut settings = vec![
        ("KACHE_S3_BUCKET", bucket),
        ("KACHE_S3_ENDPOINT", endpoint),
        ("KACHE_S3_ACCESS_KEY", user.access_key),
        ("KACHE_S3_SECRET_KEY", user.secret_key),
    ];
    settings.extend(more);
    Machine::with(&settings)
}

fn line(level: &str, text: &str) -> Vec<(String, String)> {
    vec![(level.to_owned(), text.to_owned())]
}

#[test]
fn the_daemon_is_there_and_sees_the_same_files() {
    let machine = Machine::new();
    let project = machine.path("a");
    assert_eq!(doctor(&machine, &[], "files"), line("ok", &format!("kached sees {} as it is seen here", project.display())));
    assert_eq!(doctor(&machine, &[], "kached")[0].0, "ok");
    assert_eq!(doctor(&machine, &[], "bucket"), line("ok", "none: what is built stays on this machine"));
    assert_eq!(doctor(&machine, &[], "links")[0].0, "ok");
}

#[test]
fn a_bucket_is_tried_and_written_to_only_if_asked() {
    let server = S3Server::start();
    let machine = with_bucket(&server.endpoint(), S3Server::OWNER, S3Server::BUCKET, &[]);
    assert_eq!(doctor(&machine, &[], "write"), line("ok", "not tried (`kache doctor --write` does)"));
    assert_eq!(doctor(&machine, &[], "read"), line("ok", "permitted, listing too"));
    assert_eq!((server.requests("PUT"), server.keys().len()), (0, 0));
    for _ in 0..2 {
        assert_eq!(doctor(&machine, &["--write"], "write"), line("ok", "permitted"));
        assert_eq!(server.keys(), [format!("artifacts/_builds/{}.json.zst", "0".repeat(64))]);
    }
    assert_eq!(doctor(&machine, &[], "read"), line("ok", "permitted, listing too"));
}

#[test]
fn permissions_that_are_missing_are_named() {
    let server = S3Server::start();
    let reader = with_bucket(&server.endpoint(), S3Server::READER, S3Server::BUCKET, &[]);
    let write = doctor(&reader, &["--write"], "write");
    assert!(write[0].0 == "problem" && write[0].1.contains("s3:PutObject"), "{write:?}");
    let modest = with_bucket(&server.endpoint(), S3Server::READER, S3Server::BUCKET, &[("KACHE_REMOTE_MODE", "read-only")]);
    assert_eq!(doctor(&modest, &["--write"], "write"), line("ok", "not used: mode = \"read-only\""));
    let stranger = S3User { access_key: "AKIANOBODY", secret_key: "nothing" };
    let stranger = with_bucket(&server.endpoint(), stranger, S3Server::BUCKET, &[]);
    let read = doctor(&stranger, &[], "read");
    assert!(read[0].0 == "problem" && read[0].1.contains("credentials: KACHE_S3_ACCESS_KEY"), "{read:?}");
}

#[test]
fn a_bucket_that_is_not_there_and_one_out_of_reach_are_problems() {
    let server = S3Server::start();
    let elsewhere = with_bucket(&server.endpoint(), S3Server::OWNER, "no-such-bucket", &[]);
    let bucket = doctor(&elsewhere, &[], "bucket");
    assert!(bucket[0].0 == "problem" && bucket[0].1.contains("no such bucket"), "{bucket:?}");
    server.set_there(false);
    let away = with_bucket(&server.endpoint(), S3Server::OWNER, S3Server::BUCKET, &[]);
    let bucket = doctor(&away, &[], "bucket");
    assert_eq!(bucket[0].0, "problem", "{bucket:?}");
}
