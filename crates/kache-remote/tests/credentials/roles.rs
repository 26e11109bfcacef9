//! Temporary keys: roles, single sign-on, web identity, containers, EC2.

use crate::machine::Machine;
use crate::mock::{Mock, Seen};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const TOKEN: &str = "FwoGZXIvYXdzE==";
const FAR: &str = "2099-01-01T00:00:00Z";

/// An answer of STS.
fn sts(action: &str, key: &str) -> String {
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials><AccessKeyId>{key}</AccessKeyId>\
         <SecretAccessKey>sts=</SecretAccessKey><SessionToken>{TOKEN}</SessionToken><Expiration>{FAR}</Expiration></Credentials>\
         </{action}Result></{action}Response>"
    )
}

/// What containers and EC2 are answered.
pub(crate) fn document(key: &str, expires: &str) -> String {
    format!(
        r#"{{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"{key}","SecretAccessKey":"doc=","Token":"{TOKEN}","Expiration":"{expires}","LastUpdated":"2020-01-01T00:00:00Z"}}"#
    )
}

fn refused() -> (u16, String) {
    (403, "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not as agreed</Message></Error></ErrorResponse>".to_owned())
}

/// An STS that lets `base` assume a role.
fn role_sts() -> Mock {
    Mock::start(|seen| {
        let signed = seen.header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=AKIDBASE/")
            && seen.header("authorization").contains("/eu-west-3/sts/aws4_request")
            && seen.header("authorization").contains("Signature=");
        let asked = seen.body.contains("Action=AssumeRole&") && seen.body.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fci");
        if seen.method == "POST" && signed && asked { (200, sts("AssumeRole", "AKIDROLE")) } else { refused() }
    })
}

/// A web-identity STS that wants this token.
pub(crate) fn web_sts() -> Mock {
    Mock::start(|seen| {
        let asked = seen.body.contains("Action=AssumeRoleWithWebIdentity&") && seen.body.contains("WebIdentityToken=header.jwt.sig");
        if asked && seen.header("authorization").is_empty() { (200, sts("AssumeRoleWithWebIdentity", "AKIDWEB")) } else { refused() }
    })
}

/// A container endpoint that wants this authorization.
pub(crate) fn container(authorization: &'static str, expires: &'static str) -> Mock {
    Mock::start(move |seen| {
        let asked = seen.method == "GET" && seen.target == "/v2/credentials/uuid" && seen.header("authorization") == authorization;
        if asked { (200, document("AKIDTASK", expires)) } else { (401, "{}".to_owned()) }
    })
}

/// An EC2 metadata service; without tokens it is of the first version.
pub(crate) fn metadata(tokens: bool) -> Mock {
    Mock::start(move |seen| match (seen.method.as_str(), seen.target.as_str()) {
        ("PUT", "/latest/api/token") if !tokens => (404, String::new()),
        ("PUT", "/latest/api/token") if seen.header("x-aws-ec2-metadata-token-ttl-seconds").parse::<u32>().is_ok() => {
            (200, "imds-token".into())
        }
        ("GET", _) if tokens && seen.header("x-aws-ec2-metadata-token") != "imds-token" => (401, String::new()),
        ("GET", "/latest/meta-data/iam/security-credentials/") => (200, "builder".into()),
        ("GET", "/latest/meta-data/iam/security-credentials/builder") => (200, document("AKIDEC2", FAR)),
        _ => (400, String::new()),
    })
}

#[test]
fn a_role_that_a_profile_may_assume() {
    let sts = role_sts();
    let config = "[profile ci]\nrole_arn = arn:aws:iam::1:role/ci\nsource_profile = base\nregion = eu-west-3\n";
    let machine = Machine::new().file(".aws/config", config).profile(Some("ci")).env("AWS_ENDPOINT_URL_STS", sts.url());
    machine.write(".aws/credentials", "[base]\naws_access_key_id = AKIDBASE\naws_secret_access_key = base\n");
    machine.gives("AKIDROLE", "sts=", Some(TOKEN), "profile ci");
    assert_eq!(sts.seen().len(), 1);
    machine.write(".aws/credentials", "[base]\naws_access_key_id = AKIDOTHER\naws_secret_access_key = hunter2\n");
    let text = machine.refuses("no_credentials", &["profile ci", "not as agreed"]);
    assert!(!text.contains("hunter2"));
}

/// The file in which `aws sso login` leaves its token is named by the SHA-1 of the session's name or of the start URL.
fn single_sign_on(config: &str, cache: &str, late: &str) {
    let portal = Mock::start(|seen: &Seen| {
        let asked = seen.target.starts_with("/federation/credentials?")
            && seen.target.contains("role_name=Build")
            && seen.target.contains("account_id=123456789011")
            && seen.header("x-amz-sso_bearer_token") == "sso-access";
        let answer = format!(
            r#"{{"roleCredentials":{{"accessKeyId":"AKIDSSO","secretAccessKey":"sso=","sessionToken":"{TOKEN}","expiration":4070908800000}}}}"#
        );
        if asked { (200, answer) } else { (401, r#"{"message":"not as agreed"}"#.to_owned()) }
    });
    let token = |access: &str, expires: &str| {
        format!(r#"{{"accessToken":"{access}","expiresAt":"{expires}","region":"eu-west-1","startUrl":"https://corp.example/start"}}"#)
    };
    let machine = Machine::new().file(".aws/config", config).profile(Some("ci")).env("AWS_ENDPOINT_URL_SSO", portal.url());
    machine.write(&format!(".aws/sso/cache/{cache}.json"), &token("sso-access", FAR));
    machine.gives("AKIDSSO", "sso=", Some(TOKEN), "profile ci");
    machine.write(&format!(".aws/sso/cache/{cache}.json"), &token("hunter2", "2020-01-01T00:00:00Z"));
    let text = machine.refuses("no_credentials", &["profile ci", late]);
    assert!(!text.contains("hunter2"));
}

#[test]
fn single_sign_on_by_session_and_as_it_was_before() {
    let common = "sso_account_id = 123456789011\nsso_role_name = Build\n";
    let session = "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
    single_sign_on(&format!("[profile ci]\nsso_session = corp\n{common}{session}"), "ee0bfd2552fbd840c02cc48b6e823320543c450f", "expired");
    let legacy = "[profile ci]\nsso_region = eu-west-1\nsso_start_url = https://corp.example/start\n";
    single_sign_on(&format!("{legacy}{common}"), "f7c9b39d0b4c7a7d82c79307585f77e1c5e74378", "not as agreed");
}

#[test]
fn web_identity_by_environment_and_by_profile() {
    let sts = web_sts();
    let machine = Machine::new().file("token", "header.jwt.sig").env("AWS_ENDPOINT_URL_STS", sts.url());
    let token = machine.path("token").display().to_string();
    let profile = format!("[profile ci]\nrole_arn = arn:aws:iam::1:role/web\nweb_identity_token_file = {token}\n");
    let machine = machine.file(".aws/config", &profile).profile(Some("ci"));
    machine.gives("AKIDWEB", "sts=", Some(TOKEN), "profile ci");
    let machine = machine.profile(None).env("AWS_WEB_IDENTITY_TOKEN_FILE", token).env("AWS_ROLE_ARN", "arn:aws:iam::1:role/web");
    machine.gives("AKIDWEB", "sts=", Some(TOKEN), "web identity");
    machine.write("token", "another.jwt");
    machine.refuses("no_credentials", &["web identity", "not as agreed"]);
}

#[test]
fn a_container_endpoint_with_a_token_or_a_file_of_it() {
    let endpoint = container("Bearer let=me/in", FAR);
    let machine = Machine::new().env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/v2/credentials/uuid", endpoint.url()));
    let machine = machine.env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer let=me/in");
    machine.gives("AKIDTASK", "doc=", Some(TOKEN), "container endpoint");
    let machine = machine.file("token", "Bearer let=me/in").without("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    let token = machine.path("token").display().to_string();
    let machine = machine.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token);
    machine.gives("AKIDTASK", "doc=", Some(TOKEN), "container endpoint");
    machine.write("token", "Bearer hunter2");
    let text = machine.refuses("no_credentials", &["container endpoint"]);
    assert!(!text.contains("hunter2"));
    let machine = machine.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.invalid/x");
    machine.refuses("configuration", &["container endpoint", "example.invalid"]);
}

#[test]
fn ec2_gives_a_token_first() {
    let imds = metadata(true);
    Machine::new().env("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.url()).gives("AKIDEC2", "doc=", Some(TOKEN), "EC2");
    let seen: Vec<String> = imds.seen().into_iter().map(|seen| format!("{} {}", seen.method, seen.target)).collect();
    let role = "GET /latest/meta-data/iam/security-credentials/";
    assert_eq!(seen, ["PUT /latest/api/token".to_owned(), role.to_owned(), format!("{role}builder")]);
}

#[test]
fn ec2_without_tokens_is_not_asked_further() {
    let imds = metadata(false);
    Machine::new().env("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.url()).refuses("no_credentials", &["EC2"]);
    assert!(imds.seen().iter().all(|seen| seen.method == "PUT"));
}

fn in_seconds(seconds: u32) -> String {
    let output = Command::new("date").args(["-u", "-d", &format!("+{seconds} seconds"), "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn short_lived_keys_are_replaced_before_they_end_and_serve_on_while_none_come() {
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    let endpoint = Mock::start(move |_| match counted.fetch_add(1, Ordering::Relaxed) {
        0 => (200, document("FIRST", &in_seconds(8))),
        1 | 2 => (500, "{}".to_owned()),
        _ => (200, document("LATER", FAR)),
    });
    let machine = Machine::new().env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/v2/credentials/uuid", endpoint.url()));
    let mut process = machine.start();
    let mut keys = Vec::new();
    kache_testkit::until("later keys", Duration::from_secs(30), || {
        let answer = process.current();
        keys.push(answer.text("key").to_owned());
        (answer.text("key") == "LATER").then_some(())
    });
    keys.dedup();
    assert_eq!(keys, ["FIRST", "LATER"], "never without keys");
}
