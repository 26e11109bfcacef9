//! Buckets that are in another region than configured.

use crate::scripted::{Act, Scripted, ok, refusal};
use crate::support::{artifact, bytes, check_error, get, options, remote};
use kache_remote::{ErrorKind, PutWhen, Remote, S3Options, S3Remote};

const HEADER: &str = "x-amz-bucket-region: eu-west-1\r\n";

/// Refuses what isn't signed for eu-west-1.
async fn elsewhere(status: &'static str, headers: &'static str, code: &'static str) -> Scripted {
    Scripted::start(move |_, seen| {
        let right = seen.header("authorization").unwrap().contains("/eu-west-1/s3/aws4_request");
        if right { ok("found") } else { Act::Answer(refusal(status, headers, code)) }
    })
    .await
}

#[tokio::test]
async fn the_right_region_is_followed_and_remembered() {
    for (status, code) in [("301 Moved", "PermanentRedirect"), ("400 Bad", "AuthorizationHeaderMalformed"), ("307 Moved", "")] {
        let server = elsewhere(status, HEADER, code).await;
        let remote = remote(&server.endpoint);
        assert_eq!(get(&remote, &artifact("serde", "a")).await.unwrap().unwrap(), "found", "{status}");
        assert_eq!(remote.region(), "eu-west-1");
        remote.put(&artifact("serde", "a"), bytes("x"), PutWhen::Always).await.unwrap();
        assert_eq!(server.seen().len(), 3, "{status}");
        let seen = remote.snapshot();
        assert_eq!((seen.errors["wrong_region"], seen.retries, seen.gets), (1, 1, 2));
    }
}

#[tokio::test]
async fn an_upload_is_sent_again_in_full() {
    let server = elsewhere("301 Moved", HEADER, "PermanentRedirect").await;
    remote(&server.endpoint).put(&artifact("serde", "a"), bytes("all of it"), PutWhen::Always).await.unwrap();
    let bodies: Vec<Vec<u8>> = server.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, [b"all of it", b"all of it"]);
}

#[tokio::test]
async fn a_server_that_sends_us_in_circles_is_not_followed_for_ever() {
    let server = Scripted::list(vec![Act::Answer(refusal("301 Moved", HEADER, "PermanentRedirect"))]).await;
    let remote = remote(&server.endpoint);
    let error = get(&remote, &artifact("serde", "a")).await.unwrap_err();
    check_error(&error, ErrorKind::WrongRegion, &["eu-west-1", "region = "]);
    assert_eq!(server.seen().len(), 2);
    assert!(get(&remote, &artifact("serde", "a")).await.is_err());
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_redirect_without_a_region_is_said() {
    let server = Scripted::list(vec![Act::Answer(refusal("301 Moved", "Location: http://evil.example/\r\n", ""))]).await;
    let error = get(&remote(&server.endpoint), &artifact("serde", "a")).await.unwrap_err();
    check_error(&error, ErrorKind::WrongRegion, &["another region"]);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn an_endpoint_may_have_a_path() {
    let server = Scripted::list(vec![ok("found")]).await;
    let endpoint = format!("{}/gateway/s3/", server.endpoint);
    let remote = S3Remote::new(S3Options { prefix: "a/b".to_owned(), ..options(&endpoint) }).unwrap();
    get(&remote, &artifact("Ünï", "a")).await.unwrap();
    let line = server.seen()[0].line().to_owned();
    assert!(line.starts_with("GET /gateway/s3/team/a/b/%C3%9Cn%C3%AF/"), "{line}");
}
