//! The team's bucket, as the daemon sees it: it tries, this says what that means.

use super::Line;
use crate::bucket;
use crate::client::Client;
use crate::command::Status;
use crate::show;
use kache_config::Config;
use serde::Deserialize;
use std::time::Duration;

/// The daemon bounds each of its three requests by 20 s.
const BOUND: Duration = Duration::from_secs(70);

/// `/v1/remote/check`.
#[derive(Debug, Deserialize)]
struct Checkup {
    bucket: String,
    endpoint: String,
    region: String,
    configured_region: Option<String>,
    credentials: String,
    writes: bool,
    read: Trial,
    list: Trial,
    write: Option<Trial>,
    puts: u64,
    refused_uploads: u64,
}

#[derive(Debug, Deserialize)]
struct Trial {
    ok: bool,
    millis: u64,
    kind: Option<String>,
    detail: Option<String>,
}

impl Trial {
    fn is(&self, kind: &str) -> bool {
        self.kind.as_deref() == Some(kind)
    }

    fn detail(&self) -> &str {
        self.detail.as_deref().unwrap_or("it failed")
    }
}

pub(super) fn look(client: &Client, config: Option<&Config>, status: &Status, write: bool) -> Vec<Line> {
    let gap = config.and_then(|config| bucket::gap(config, status)).map(|gap| Line::warning("bucket", gap, bucket::ADVICE));
    let warnings = status.bucket.as_ref().map(warnings).unwrap_or_default();
    let unused = match status.bucket.as_ref().map(|bucket| bucket.mode.as_str()) {
        Some("off") => "switched off (mode = \"off\"): what is built stays on this machine",
        _ => "none: what is built stays on this machine",
    };
    let target = if write { "/v1/remote/check?write=1" } else { "/v1/remote/check" };
    match client.post_json::<Option<Checkup>>(target, String::new(), Some(BOUND)) {
        Ok(Some(checkup)) => gap.into_iter().chain(judge(&checkup)).chain(warnings).collect(),
        Ok(None) => vec![gap.unwrap_or_else(|| Line::ok("bucket", unused))],
        Err(error) => vec![Line::warning("bucket", format!("not looked at: {error}"), "`kache stop`, then `kache start`")],
    }
}

/// What a bucket that works should be looked at for.
fn warnings(bucket: &bucket::Bucket) -> Vec<Line> {
    let clear = bucket::in_the_clear(&bucket.endpoint).map(|text| Line::warning("bucket", text, bucket::ENCRYPT));
    let odd = bucket::oddity(bucket).map(|text| {
        let advice = "see who may write into the bucket; kached's log names the units, and whoever compiles them replaces what is stored";
        Line::warning("bucket", format!("it holds what no kache stores: {text}"), advice)
    });
    clear.into_iter().chain(odd).collect()
}

fn judge(checkup: &Checkup) -> Vec<Line> {
    let Checkup { bucket, endpoint, credentials, read, list, .. } = checkup;
    let place = format!("{bucket} at {endpoint}");
    let worst = if read.ok { list } else { read };
    let everything = [
        "connect",
        "tls",
        "timeout",
        "no_such_bucket",
        "no_credentials",
        "expired_credentials",
        "clock_skew",
        "wrong_region",
        "breaker_open",
    ];
    if everything.iter().any(|kind| worst.is(kind)) || (!read.ok && !worst.is("forbidden")) {
        return vec![Line::problem("bucket", format!("{place}: {}", worst.detail()), advice(worst, credentials))];
    }
    let mut lines = vec![Line::ok("bucket", format!("{place} answers in {} ms, credentials: {credentials}", read.millis.min(list.millis)))];
    lines.push(Line::ok("clock", "the server accepts this machine's time"));
    lines.push(region(checkup));
    lines.push(match (read.ok, list.ok) {
        (true, true) => Line::ok("read", "permitted, listing too"),
        (true, false) => Line::warning(
            "read",
            format!("permitted, but not listing: {}", list.detail()),
            "grant s3:ListBucket; `kache sync --pull` needs it",
        ),
        (false, _) => Line::problem("read", read.detail(), "grant s3:GetObject and s3:ListBucket to these credentials"),
    });
    lines.push(writing(checkup));
    lines
}

fn advice(trial: &Trial, credentials: &str) -> String {
    match trial.kind.as_deref().unwrap_or_default() {
        "connect" | "timeout" => "check `endpoint` and the network; builds run without the bucket meanwhile".to_owned(),
        "tls" => "check `endpoint`; a private certificate authority goes into SSL_CERT_FILE".to_owned(),
        "no_such_bucket" => "check `bucket` and `endpoint`".to_owned(),
        "no_credentials" => "set KACHE_S3_ACCESS_KEY and KACHE_S3_SECRET_KEY for kached, or `profile`".to_owned(),
        "expired_credentials" => format!("sign in again; credentials: {credentials}"),
        "clock_skew" => "set this machine's clock right".to_owned(),
        "wrong_region" => "set `region` to the bucket's".to_owned(),
        "configuration" => "set `profile` in [cache.remote] (or KACHE_S3_PROFILE) to one that is there, or make that profile".to_owned(),
        "breaker_open" => "too much has failed lately; ask again in half a minute".to_owned(),
        _ => "kached's log says more".to_owned(),
    }
}

fn region(checkup: &Checkup) -> Line {
    match &checkup.configured_region {
        Some(configured) if *configured != checkup.region => Line::warning(
            "region",
            format!("the bucket is in {}, the configuration says {configured}", checkup.region),
            format!("set region = {:?}: it spares a redirect at each start", checkup.region),
        ),
        _ => Line::ok("region", checkup.region.clone()),
    }
}

fn writing(checkup: &Checkup) -> Line {
    let Checkup { writes, write, puts, refused_uploads, .. } = checkup;
    let grant = "grant s3:PutObject, or set mode = \"read-only\"";
    match write {
        _ if !writes => Line::ok("write", "not used: mode = \"read-only\""),
        Some(trial) if trial.ok => Line::ok("write", "permitted"),
        Some(trial) => Line::problem(
            "write",
            trial.detail(),
            if trial.is("forbidden") { grant.to_owned() } else { advice(trial, &checkup.credentials) },
        ),
        None if *refused_uploads > 0 => {
            Line::problem("write", format!("the server has refused {}", show::count(*refused_uploads, "upload", "uploads")), grant)
        }
        None if *puts > 0 => Line::ok("write", format!("permitted: {} since kached started", show::count(*puts, "upload", "uploads"))),
        None => Line::ok("write", "not tried (`kache doctor --write` does)"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn good() -> Trial {
        Trial { ok: true, millis: 12, kind: None, detail: None }
    }

    fn bad(kind: &str) -> Trial {
        Trial { ok: false, millis: 3, kind: Some(kind.to_owned()), detail: Some(format!("it was {kind}")) }
    }

    fn checkup() -> Checkup {
        Checkup {
            bucket: "b".into(),
            endpoint: "https://h".into(),
            region: "eu-west-1".into(),
            configured_region: None,
            credentials: "profile ci".into(),
            writes: true,
            read: good(),
            list: good(),
            write: None,
            puts: 0,
            refused_uploads: 0,
        }
    }

    #[track_caller]
    fn check(checkup: &Checkup, expected: &[(&str, Level, &str)]) {
        let lines = judge(checkup);
        let found: Vec<_> = lines.iter().map(|line| (line.topic, line.level, line.text.as_str())).collect();
        assert_eq!(found, expected);
        assert!(lines.iter().all(|line| (line.level == Level::Ok) == line.advice.is_none()));
    }

    #[test]
    fn a_bucket_that_works_is_all_ok() {
        let all = [
            ("bucket", Level::Ok, "b at https://h answers in 12 ms, credentials: profile ci"),
            ("clock", Level::Ok, "the server accepts this machine's time"),
            ("region", Level::Ok, "eu-west-1"),
            ("read", Level::Ok, "permitted, listing too"),
            ("write", Level::Ok, "not tried (`kache doctor --write` does)"),
        ];
        check(&checkup(), &all);
        let with = |write: Checkup, text: &'static str| check(&write, &[&all[..4], &[("write", Level::Ok, text)]].concat());
        with(Checkup { write: Some(good()), ..checkup() }, "permitted");
        with(Checkup { puts: 3, ..checkup() }, "permitted: 3 uploads since kached started");
        with(Checkup { writes: false, ..checkup() }, "not used: mode = \"read-only\"");
    }

    #[test]
    fn what_nothing_works_without_is_told_alone() {
        for kind in
            ["connect", "tls", "timeout", "no_such_bucket", "no_credentials", "expired_credentials", "clock_skew", "breaker_open", "other"]
        {
            let text = format!("b at https://h: it was {kind}");
            check(&Checkup { read: bad(kind), list: bad(kind), ..checkup() }, &[("bucket", Level::Problem, &text)]);
        }
    }

    #[test]
    fn a_profile_that_is_missing_is_to_be_named_or_made() {
        let lines = judge(&Checkup { read: bad("configuration"), list: bad("configuration"), ..checkup() });
        let advice = "set `profile` in [cache.remote] (or KACHE_S3_PROFILE) to one that is there, or make that profile";
        assert_eq!(lines[0].advice.as_deref(), Some(advice));
    }

    #[test]
    fn permissions_and_region_are_told_apart() {
        let find = |checkup: &Checkup, topic: &str| judge(checkup).into_iter().find(|line| line.topic == topic).unwrap();
        let line = find(&Checkup { list: bad("forbidden"), ..checkup() }, "read");
        assert_eq!((line.level, line.text.as_str()), (Level::Warning, "permitted, but not listing: it was forbidden"));
        let line = find(&Checkup { read: bad("forbidden"), list: bad("forbidden"), ..checkup() }, "read");
        assert_eq!((line.level, line.text.as_str()), (Level::Problem, "it was forbidden"));
        let line = find(&Checkup { write: Some(bad("forbidden")), ..checkup() }, "write");
        assert_eq!(line.advice.as_deref(), Some("grant s3:PutObject, or set mode = \"read-only\""));
        let line = find(&Checkup { refused_uploads: 1, ..checkup() }, "write");
        assert_eq!((line.level, line.text.as_str()), (Level::Problem, "the server has refused 1 upload"));
        let line = find(&Checkup { configured_region: Some("us-east-1".into()), ..checkup() }, "region");
        assert_eq!((line.level, line.text.as_str()), (Level::Warning, "the bucket is in eu-west-1, the configuration says us-east-1"));
    }
}
