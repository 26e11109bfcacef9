//! Who wins, and what happens where nobody is.

use crate::machine::Machine;
use crate::roles::{container, metadata, web_sts};
use std::time::{Duration, Instant};

/// All sources at once; one after the other is taken away.
#[test]
fn sources_win_in_the_promised_order() {
    let (sts, endpoint, imds) = (web_sts(), container("", "2099-01-01T00:00:00Z"), metadata(true));
    let keys = |section: &str, key: &str| format!("[{section}]\naws_access_key_id={key}\naws_secret_access_key=x\n");
    let machine = Machine::new()
        .pair("AKIDPAIR", "x")
        .profile(Some("ci"))
        .env("AWS_ACCESS_KEY_ID", "AKIDENV")
        .env("AWS_SECRET_ACCESS_KEY", "x")
        .file("token", "header.jwt.sig")
        .file(".aws/credentials", &(keys("default", "AKIDDEFAULT") + &keys("ci", "AKIDCI")))
        .file(".aws/config", &keys("default", "AKIDCONFIG"))
        .env("AWS_ENDPOINT_URL_STS", sts.url())
        .env("AWS_ROLE_ARN", "arn:aws:iam::1:role/web")
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/v2/credentials/uuid", endpoint.url()))
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.url());
    let token = machine.path("token").display().to_string();
    let machine = machine.env("AWS_WEB_IDENTITY_TOKEN_FILE", token);
    let key = |machine: &Machine| machine.current().text("key").to_owned();
    assert_eq!(key(&machine), "AKIDPAIR");
    let machine = machine.without_pair();
    assert_eq!(key(&machine), "AKIDCI");
    let machine = machine.profile(None);
    assert_eq!(key(&machine), "AKIDENV");
    let machine = machine.without("AWS_ACCESS_KEY_ID").without("AWS_SECRET_ACCESS_KEY");
    assert_eq!(key(&machine), "AKIDDEFAULT");
    std::fs::remove_file(machine.path(".aws/credentials")).unwrap();
    assert_eq!(key(&machine), "AKIDCONFIG");
    std::fs::remove_file(machine.path(".aws/config")).unwrap();
    assert_eq!((sts.seen().len(), endpoint.seen().len(), imds.seen().len()), (0, 0, 0), "nobody further down was asked");
    assert_eq!(key(&machine), "AKIDWEB");
    let machine = machine.without("AWS_WEB_IDENTITY_TOKEN_FILE").without("AWS_ROLE_ARN");
    assert_eq!(key(&machine), "AKIDTASK");
    let machine = machine.without("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    assert_eq!(key(&machine), "AKIDEC2");
    assert_eq!(machine.env("AWS_EC2_METADATA_DISABLED", "true").current().text("kind"), "no_credentials");
}

#[test]
fn a_named_profile_never_falls_back_to_anything_else() {
    let machine = Machine::new().profile(Some("ci")).env("AWS_ACCESS_KEY_ID", "AKIDENV").env("AWS_SECRET_ACCESS_KEY", "x");
    machine.refuses("configuration", &["there is no AWS profile \"ci\""]);
}

#[test]
fn where_there_is_nothing_every_source_says_so_soon() {
    let begin = Instant::now();
    let parts = ["no AWS credentials", "AWS_ACCESS_KEY_ID", "profile default", "web identity", "container endpoint", "EC2"];
    Machine::new().refuses("no_credentials", &parts);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[test]
fn a_source_that_is_broken_is_not_passed_over() {
    let imds = metadata(true);
    let machine = Machine::new().env("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.url());
    machine.write(".aws/config", "[default]\ncredential_process = echo out of order >&2; exit 1\n");
    machine.refuses("no_credentials", &["profile default", "out of order"]);
    assert_eq!(imds.seen().len(), 0);
}
