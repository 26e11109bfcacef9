//! What people are told where the bucket isn't used, or not as they think: `flush`, `sync`, `status`, `doctor` and `exec`.

use crate::team::{build, member};
use kache_testkit::{Built, Machine, S3Server, samples};
use std::path::Path;

const ADVICE: &str = "put it into config.toml, or the variables into ~/.config/kache/environment if kached is a service; else restart kached from here: `kache stop`, then `kache start`";

/// A bucket that the shell names.
const EXPORTED: [(&str, &str); 2] = [("KACHE_S3_BUCKET", "ours"), ("KACHE_S3_ENDPOINT", "http://localhost:1")];

/// `kache ARGS…` from a shell that has the machine's variables and these.
fn kache(machine: &Machine, directory: &Path, args: &[&str], exported: &[(&str, &str)]) -> Built {
    let kache = machine.kache_in(directory).args(args.iter().copied());
    exported.iter().fold(kache, |kache, (name, value)| kache.env(*name, *value)).run()
}

#[track_caller]
fn check(said: &Built, code: i32, stdout: &str, stderr: &str) {
    assert_eq!((said.status.code(), said.stdout.trim_end(), said.stderr.trim_end()), (Some(code), stdout, stderr));
}

#[test]
fn a_flush_without_a_bucket_says_so_and_fails_only_where_one_is_wanted() {
    let server = S3Server::start();
    let without = Machine::new();
    let flush = |machine: &Machine, exported: &[(&str, &str)]| kache(machine, "/".as_ref(), &["flush"], exported);
    check(&flush(&without, &[]), 0, "no bucket is in use: nothing to upload", "");
    let gap = format!("kache: warning: kached was started without the bucket that is configured here: ours (KACHE_S3_BUCKET); {ADVICE}");
    check(&flush(&without, &EXPORTED), 1, "no bucket is in use: nothing to upload", &gap);
    for (mode, text) in [
        ("off", "the bucket is switched off (mode = \"off\"): nothing to upload"),
        ("read-only", "the bucket is only read (mode = \"read-only\"): nothing to upload"),
    ] {
        let machine = member(&server, S3Server::OWNER, &[("KACHE_REMOTE_MODE", mode)]);
        machine.start();
        check(&flush(&machine, &[]), 0, text, "");
    }
}

#[test]
fn a_bucket_of_the_shell_that_kached_lacks_is_told_by_doctor_and_exec() {
    let server = S3Server::start();
    for (machine, gap) in [
        (Machine::new(), "kached was started without the bucket that is configured here: ours (KACHE_S3_BUCKET)".to_owned()),
        (
            member(&server, S3Server::OWNER, &[]),
            format!("kached uses the bucket {}, the configuration here names ours (KACHE_S3_BUCKET)", S3Server::BUCKET),
        ),
    ] {
        if machine.log().is_empty() {
            machine.start();
        }
        let doctor = kache(&machine, &machine.home(), &["doctor"], &EXPORTED);
        assert!(doctor.stdout.contains(&format!("warning  bucket    {gap}\n{:19}→ {ADVICE}\n", "")), "{}", doctor.stdout);
        let built = kache(&machine, &machine.home(), &["exec", "--", "true"], &EXPORTED);
        assert!(built.stderr.starts_with(&format!("kache: warning: {gap}; {ADVICE}\nkache: 0 units")), "{}", built.stderr);
        let own = kache(&machine, &machine.home(), &["exec", "--", "true"], &[]);
        assert!(own.stderr.starts_with("kache: 0 units"), "{}", own.stderr);
    }
}

#[test]
fn a_sync_without_a_bucket_says_whether_it_is_switched_off() {
    let server = S3Server::start();
    let off = member(&server, S3Server::OWNER, &[("KACHE_REMOTE_MODE", "off")]);
    let none = "kache: error: no bucket is configured: set KACHE_S3_BUCKET or [cache.remote]";
    let switched_off =
        "kache: error: the bucket is switched off: set `mode` in [cache.remote], or KACHE_REMOTE_MODE, to read-write or read-only";
    for (machine, text) in [(Machine::idle(), none), (off, switched_off)] {
        let project = samples::pair(machine.path("a"));
        check(&kache(&machine, project.path(), &["sync"], &[]), 1, "", text);
        machine.start();
        check(&kache(&machine, project.path(), &["sync"], &[]), 1, "", text);
    }
}

#[test]
fn what_a_sync_can_not_do_is_said_word_for_word() {
    let server = S3Server::start();
    let machine = member(&server, S3Server::OWNER, &[("KACHE_REMOTE_MODE", "read-only")]);
    let project = samples::pair(machine.path("a"));
    let read_only =
        "kache: error: the bucket is only for reading here ([cache.remote] mode or KACHE_REMOTE_MODE), so nothing can be pushed";
    check(&kache(&machine, project.path(), &["sync", "--push"], &[]), 1, "", read_only);
    let dir = project.path().display();
    let no_lockfile = format!("kache: error: there is no Cargo.lock in {dir} or above it; run `cargo generate-lockfile`");
    check(&kache(&machine, project.path(), &["sync", "--pull"], &[]), 1, "", &no_lockfile);
}

#[test]
fn a_profile_that_is_missing_is_named_with_what_to_do() {
    let server = S3Server::start();
    let endpoint = server.endpoint();
    let settings = [("KACHE_S3_BUCKET", S3Server::BUCKET), ("KACHE_S3_ENDPOINT", endpoint.as_str()), ("KACHE_S3_PROFILE", "cii")];
    let machine = Machine::with(&settings);
    let doctor = machine.kache(&["doctor"]).stdout;
    let home = machine.home().display().to_string();
    let problem = format!(
        "problem  bucket    {} at {endpoint}: there is no AWS profile \"cii\"; there are none in {home}/.aws/credentials and {home}/.aws/config\n{:19}→ \
         set `profile` in [cache.remote] (or KACHE_S3_PROFILE) to one that is there, or make that profile\n",
        S3Server::BUCKET,
        ""
    );
    assert!(doctor.contains(&problem), "{doctor}\n{problem}");
}

#[test]
fn the_status_names_the_bucket_and_what_went_wrong_with_it_last() {
    let line = |machine: &Machine| {
        let status = machine.kache(&["status"]).stdout;
        status.lines().filter(|line| line.starts_with("  bucket ")).map(|line| line[13..].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(line(&Machine::new()), ["none"]);
    let server = S3Server::start();
    let off = member(&server, S3Server::OWNER, &[("KACHE_REMOTE_MODE", "off")]);
    off.start();
    assert_eq!(line(&off), ["off"]);

    // Somebody who may read and wants to write.
    let machine = member(&server, S3Server::READER, &[]);
    machine.start();
    let keys = "KACHE_S3_ACCESS_KEY and KACHE_S3_SECRET_KEY";
    let well = format!("{} at {}, read-write, credentials: {keys}", S3Server::BUCKET, server.endpoint());
    assert_eq!(line(&machine), [well.as_str()]);
    build(&machine, &samples::pair(machine.path("a")), &["build"]);
    let flushed = machine.kache(&["flush"]);
    let refusal = format!("access denied (credentials: {keys}); needs s3:PutObject");
    assert_eq!(flushed.status.code(), Some(1));
    assert!(
        flushed.stdout.starts_with("left: 2 uploads (2 refused), 1 build index\n  ") && flushed.stdout.contains(&refusal),
        "{}",
        flushed.stdout
    );
    let said = line(&machine);
    assert!(said[0].starts_with(&format!("{well}; 2 uploads waiting (2 refused); writes paused (")), "{said:?}");
    assert!(said[1].starts_with("last error ") && said[1].contains(&refusal), "{said:?}");
    let stats = machine.kache(&["stats"]).stdout;
    assert!(stats.contains("\n  miss, on top  ") && !stats.contains("breaker_open"), "{stats}");
}
