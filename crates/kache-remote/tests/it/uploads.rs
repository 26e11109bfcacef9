//! PUTs on bad days.

use crate::scripted::{Act, Scripted, ok, refusal};
use crate::support::{artifact, bytes, check_error, hasty, remote};
use bytes::Bytes;
use kache_remote::{Content, ErrorKind, PutOutcome, PutWhen, Remote, S3Remote};
use std::time::Duration;

#[tokio::test]
async fn a_file_is_sent_with_its_length_and_md5_and_again_from_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let content: Vec<u8> = (0..700_000_u32).map(|i| i as u8).collect();
    std::fs::write(&path, &content).unwrap();
    let server = Scripted::list(vec![Act::Answer(refusal("500 Oops", "", "InternalError")), Act::Close(Vec::new()), ok("")]).await;
    let remote = remote(&server.endpoint);
    let file = Content::File { path, len: content.len() as u64, md5: None };
    assert_eq!(remote.put(&artifact("serde", "a"), file, PutWhen::Absent).await.unwrap(), PutOutcome::Stored);
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    for request in &seen {
        assert_eq!(request.body, content);
        assert_eq!(request.header("content-length"), Some("700000"));
        assert_eq!(request.header("transfer-encoding"), None);
        assert_eq!(request.header("if-none-match"), Some("*"));
        assert!(request.header("content-md5").is_some());
        let signed = request.header("authorization").unwrap();
        assert!(signed.contains("content-md5;") && signed.contains("if-none-match;"), "{signed}");
    }
    let counted = remote.snapshot();
    assert_eq!((counted.retries, counted.puts, counted.put_bytes), (2, 1, 700_000));
    assert_eq!((counted.errors["server"], counted.errors["reset"]), (1, 1));
}

#[tokio::test]
async fn a_server_that_answers_before_it_has_read_all_is_heard() {
    let large = Content::Bytes(Bytes::from(vec![7; 64 << 20]));
    let server =
        Scripted::start(|n, _| if n == 0 { Act::Early(refusal("503 Slow", "Connection: close\r\n", "SlowDown")) } else { ok("") }).await;
    let remote = remote(&server.endpoint);
    remote.put(&artifact("serde", "a"), large, PutWhen::Always).await.unwrap();
    let errors = remote.snapshot().errors;
    assert_eq!(errors.values().sum::<u64>(), 1, "{errors:?}");
    assert!(errors.contains_key("throttled") || errors.contains_key("reset"), "{errors:?}");
}

#[tokio::test]
async fn a_server_that_takes_no_more_bytes_is_given_up() {
    let server = Scripted::list(vec![Act::Deaf]).await;
    let mut options = hasty(&server.endpoint);
    options.retries.attempts = 1;
    let remote = S3Remote::new(options).unwrap();
    let large = Content::Bytes(Bytes::from(vec![7; 64 << 20]));
    let error = remote.put(&artifact("serde", "a"), large, PutWhen::Always).await.unwrap_err();
    check_error(&error, ErrorKind::Stalled, &["took no more bytes for 1 s", "PUT http"]);
}

#[tokio::test]
async fn an_upload_that_moves_is_not_cut_off() {
    let done = crate::scripted::answer("200 OK", "", "");
    let server = Scripted::list(vec![Act::Sip(8 << 20, Duration::from_millis(300), done)]).await;
    let remote = S3Remote::new(hasty(&server.endpoint)).unwrap();
    let large = Content::Bytes(Bytes::from(vec![7; 64 << 20]));
    remote.put(&artifact("serde", "a"), large, PutWhen::Always).await.unwrap();
    assert_eq!((remote.snapshot().retries, server.seen()[0].body.len()), (0, 64 << 20));
}

#[tokio::test]
async fn an_answer_that_takes_its_time_is_waited_for() {
    let server = Scripted::list(vec![Act::After(Duration::from_millis(300), crate::scripted::answer("200 OK", "", ""))]).await;
    let remote = remote(&server.endpoint);
    remote.put(&artifact("serde", "a"), bytes("x"), PutWhen::Always).await.unwrap();
    assert_eq!(remote.snapshot().retries, 0);
}

#[tokio::test]
async fn a_server_that_knows_no_conditions_is_asked_without() {
    let server =
        Scripted::start(
            |_, seen| {
                if seen.header("if-none-match").is_some() { Act::Answer(refusal("501 No", "", "NotImplemented")) } else { ok("") }
            },
        )
        .await;
    let remote = remote(&server.endpoint);
    for _ in 0..2 {
        assert_eq!(remote.put(&artifact("serde", "a"), bytes("x"), PutWhen::Absent).await.unwrap(), PutOutcome::Stored);
    }
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_file_that_went_away_is_the_disks_fault_and_not_the_remotes() {
    let server = Scripted::list(vec![ok("")]).await;
    let remote = remote(&server.endpoint);
    let gone = Content::File { path: "/nonexistent/file".into(), len: 3, md5: None };
    let error = remote.put(&artifact("serde", "a"), gone, PutWhen::Always).await.unwrap_err();
    check_error(&error, ErrorKind::Disk, &["/nonexistent/file", "PUT http"]);
    assert_eq!(server.seen().len(), 0);
}
