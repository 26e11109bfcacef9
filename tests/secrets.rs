//! Secret keys and session tokens are never written down: not in the log at its most talkative, not in statistics, messages, or any file.

use crate::bad_days::{configure, until_well};
use crate::team::{build, flush, program_of_credentials, remote};
use kache_testkit::{Fault, FaultProxy, Machine, S3Server, When, http_get, samples, until};
use std::fs;
use std::path::Path;
use std::time::Duration;

const TOKEN: &str = "session+token/with=signs-0123456789";

/// The ways in which a secret may be spelled.
fn spellings(secret: &str) -> Vec<Vec<u8>> {
    let percent = |text: &str| text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let escaped = format!("{secret:?}").trim_matches('"').to_owned();
    let mut list = vec![secret.to_owned(), percent(secret), percent(secret).to_lowercase(), escaped, secret.replace('+', " ")];
    // A dump of bytes.
    list.push(secret.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", "));
    list.push(secret.bytes().map(|byte| format!("{byte:02x}")).collect());
    list.into_iter().map(String::into_bytes).collect()
}

struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    #[track_caller]
    fn not_in(&self, place: &str, bytes: &[u8]) {
        for secret in &self.0 {
            let found = bytes.windows(secret.len()).position(|window| window == secret);
            let near = found.map(|at| String::from_utf8_lossy(&bytes[at.saturating_sub(300)..at]).into_owned());
            assert_eq!(near, None, "a secret in {place}, behind this");
        }
    }

    fn not_below(&self, directory: &Path) -> usize {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let looked = entries.map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                return self.not_below(&path);
            }
            if !path.is_file() {
                return 0;
            }
            let bytes = fs::read(&path).unwrap_or_default();
            self.not_in(&path.display().to_string(), &bytes);
            if path.extension().is_some_and(|end| end == "zst") {
                self.not_in(&path.display().to_string(), &zstd::decode_all(&bytes[..]).unwrap());
            }
            1
        });
        looked.sum()
    }
}

fn check(settings: &[(&str, &str)], secrets: &[&str], faults: Vec<(When, Fault)>) {
    check_with(settings, secrets, faults, |_| {});
}

/// `prepare` may put files into the machine's home.
fn check_with(settings: &[(&str, &str)], secrets: &[&str], faults: Vec<(When, Fault)>, prepare: impl FnOnce(&Machine)) {
    let kinds = faults.len();
    let secrets = Secrets(secrets.iter().flat_map(|secret| spellings(secret)).collect());
    let server = S3Server::start();
    let proxy = FaultProxy::to(server.address());
    let mut settings = settings.to_vec();
    settings.extend([("KACHE_LOG", "trace"), ("RUST_LOG", "trace"), ("RUST_BACKTRACE", "1")]);
    let machine = Machine::idle_with(&settings);
    configure(&machine, &proxy.endpoint(), "wait_ms = 1000");
    prepare(&machine);
    machine.start();
    let project = samples::pair(machine.path("a"));
    let mut logs = Vec::new();
    let mut look = |machine: &Machine| {
        logs.push(machine.log());
        for target in ["/v1/stats", "/v1/status", "/metrics", "/v1/report", "/v1/why?crate=below"] {
            let (_, body) = http_get(&machine.socket(), target).unwrap();
            secrets.not_in(target, &body);
        }
        for args in [
            &["status"][..],
            &["stats"],
            &["stats", "--json"],
            &["flush", "--timeout", "1"],
            &["verify"],
            &["why"],
            &["why", "below"],
            &["report"],
            &["doctor"],
            &["doctor", "--json"],
            &["config", "show"],
            &["list", "--json"],
            &["sync", "--dry-run"],
        ] {
            let said = machine.kache_in(project.path()).args(args.iter().copied()).run();
            secrets.not_in(&format!("the output of {args:?}"), format!("{}{}", said.stdout, said.stderr).as_bytes());
        }
    };

    build(&machine, &project, &["build"]);
    flush(&machine);
    assert!(server.keys().len() >= 4, "{:?}", server.keys());
    look(&machine);
    // What goes wrong says more than what doesn't.
    for (value, (when, fault)) in faults.into_iter().enumerate() {
        let fired = proxy.inject(when, fault);
        project.write("below/src/lib.rs", format!("pub fn value() -> u32 {{ {value} + 100 }}\n"));
        assert_eq!(build(&machine, &project, &["build"]).failed, 0);
        until("a request that fails", Duration::from_secs(60), || (fired.times() > 0).then_some(()));
        proxy.clear();
        until_well(&machine);
        look(&machine);
    }
    assert!(remote(&machine)["errors"].as_object().unwrap().len() >= kinds, "{}", remote(&machine));
    machine.stop();
    assert!(machine.log().contains(&format!("/{}/artifacts/", S3Server::BUCKET)), "errors name objects");
    logs.push(machine.log());
    for log in &logs {
        assert!(log.contains("TRACE hyper_util") && log.contains("TRACE kached"), "the log says too little:\n{log}");
        secrets.not_in("the log", log.as_bytes());
    }
    assert!(secrets.not_below(&machine.cache_dir()) > 4);
    assert!(secrets.not_below(&machine.home()) < 100_000);
    assert!(secrets.not_below(project.path()) > 10);
    for key in server.keys() {
        let object = fs::read(server.object(&key)).unwrap();
        secrets.not_in(&key, &object);
        if key.ends_with(".zst") {
            secrets.not_in(&key, &zstd::decode_all(&object[..]).unwrap());
        }
    }
}

#[test]
fn a_pair_of_keys_is_never_written_down() {
    let pair = [("KACHE_S3_ACCESS_KEY", S3Server::OWNER.access_key), ("KACHE_S3_SECRET_KEY", S3Server::OWNER.secret_key)];
    let faults = vec![(When::any(), Fault::internal_error()), (When::kind("GET"), Fault::access_denied())];
    check(&pair, &[S3Server::OWNER.secret_key], faults);
}

#[test]
fn a_session_token_is_never_written_down() {
    let session = [
        ("AWS_ACCESS_KEY_ID", S3Server::OWNER.access_key),
        ("AWS_SECRET_ACCESS_KEY", S3Server::OWNER.secret_key),
        ("AWS_SESSION_TOKEN", TOKEN),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    // The servers that quote what they were sent are the worst.
    let quoting = format!("<Error><Code>SignatureDoesNotMatch</Code><Message>{TOKEN} {}</Message></Error>", S3Server::OWNER.secret_key);
    let faults = vec![
        (When::kind("GET"), Fault::ResetAfter(0)),
        (When::any(), Fault::Replace(quoting.into_bytes())),
        (When::any(), Fault::expired_token()),
    ];
    check(&session, &[S3Server::OWNER.secret_key, TOKEN], faults);
}

#[test]
fn what_a_program_prints_as_credentials_is_never_written_down() {
    let settings = [("KACHE_S3_PROFILE", "team")];
    let faults = vec![(When::kind("GET"), Fault::expired_token()), (When::any(), Fault::internal_error())];
    check_with(&settings, &[S3Server::OWNER.secret_key, TOKEN], faults, |machine| drop(program_of_credentials(machine, TOKEN)));
}
