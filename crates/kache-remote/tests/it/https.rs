//! TLS: a private authority works when it is trusted, and its absence is said.

use crate::server::Server;
use crate::support::{artifact, bytes, check_error, get, options, remote};
use kache_remote::{ErrorKind, PutWhen, Remote, S3Options, S3Remote};
use std::process::Command;

#[tokio::test]
async fn an_authority_that_is_handed_in_is_trusted() {
    let server = Server::https().await;
    let authority = server.authority.as_ref().unwrap();
    let options = S3Options { extra_roots: vec![authority.der().to_vec()], ..options(&server.endpoint) };
    let remote = S3Remote::new(options).unwrap();
    remote.put(&artifact("serde", "a"), bytes("x"), PutWhen::Always).await.unwrap();
    assert_eq!(get(&remote, &artifact("serde", "a")).await.unwrap().unwrap(), "x");
    assert_eq!(remote.snapshot().connections_opened, 1);
}

#[tokio::test]
async fn an_unknown_authority_is_refused_and_the_remedy_named() {
    let server = Server::https().await;
    let error = get(&remote(&server.endpoint), &artifact("serde", "a")).await.unwrap_err();
    check_error(&error, ErrorKind::Tls, &["localhost", "UnknownIssuer", "SSL_CERT_FILE"]);
}

/// The other half of [`ssl_cert_file_is_respected`], in a process whose environment names the authority.
#[tokio::test]
#[ignore = "is run by ssl_cert_file_is_respected"]
async fn child_that_trusts_what_the_environment_says() {
    let Ok(endpoint) = std::env::var("TEST_ENDPOINT") else { return };
    assert_eq!(get(&remote(&endpoint), &artifact("serde", "a")).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn ssl_cert_file_is_respected() {
    let server = Server::https().await;
    let pem = server.path("authority.pem");
    std::fs::write(&pem, server.authority.as_ref().unwrap().pem()).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "https::child_that_trusts_what_the_environment_says", "--ignored"]);
    child.env("TEST_ENDPOINT", &server.endpoint).env("SSL_CERT_FILE", pem);
    let output = tokio::task::block_in_place(|| child.output()).unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && shown.contains("1 passed"), "{shown}");
}
