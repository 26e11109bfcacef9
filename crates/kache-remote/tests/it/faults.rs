//! GETs and LISTs on bad days: each trouble has its kind, within a deadline, and is overcome when it passes.

use crate::scripted::{Act, Scripted, answer, ok, refusal};
use crate::support::{artifact, check_error, get, hasty, options, remote};
use futures_util::future::join_all;
use kache_remote::{BreakerPolicy, ErrorKind, Priority, Remote, RetryPolicy, S3Options, S3Remote, Scope};
use std::time::{Duration, Instant};

const HALF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf";

/// What goes wrong, and what it is called.
fn troubles() -> Vec<(Act, ErrorKind)> {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n".to_vec();
    vec![
        (Act::Answer(refusal("503 Slow Down", "", "SlowDown")), ErrorKind::Throttled),
        (Act::Answer(answer("429 Too Many", "", "")), ErrorKind::Throttled),
        (Act::Answer(refusal("500 Oops", "", "InternalError")), ErrorKind::Server),
        (Act::Close(answer("502 Bad Gateway", "", "<html>")), ErrorKind::Server),
        (Act::Answer(answer("504 Timeout", "", "")), ErrorKind::Server),
        (Act::Close(Vec::new()), ErrorKind::Reset),
        (Act::Close(b"HTTP/1.1 200 OK\r\nConte".to_vec()), ErrorKind::Reset),
        (Act::Close(HALF.to_vec()), ErrorKind::Truncated),
        (Act::Close(chunked), ErrorKind::Truncated),
        (Act::Stall(HALF.to_vec()), ErrorKind::Stalled),
        (Act::Stall(Vec::new()), ErrorKind::Timeout),
    ]
}

#[tokio::test]
async fn trouble_that_passes_is_overcome_and_counted_by_its_kind() {
    for (trouble, kind) in troubles() {
        let shown = format!("{trouble:?}");
        let server = Scripted::list(vec![trouble, ok("complete")]).await;
        let remote = S3Remote::new(hasty(&server.endpoint)).unwrap();
        assert_eq!(get(&remote, &artifact("serde", "a")).await.unwrap().unwrap(), "complete", "{shown}");
        let seen = remote.snapshot();
        assert_eq!(seen.errors, [(kind.name().to_owned(), 1)].into(), "{shown}");
        assert_eq!((seen.gets, seen.retries, seen.in_flight), (2, 1, 0), "{shown}");
    }
}

#[tokio::test]
async fn trouble_that_stays_is_an_error_of_its_kind() {
    for (trouble, kind) in troubles() {
        let server = Scripted::list(vec![trouble]).await;
        let mut options = hasty(&server.endpoint);
        options.retries.attempts = 2;
        let remote = S3Remote::new(options).unwrap();
        let began = Instant::now();
        check_error(&get(&remote, &artifact("serde", "a")).await.unwrap_err(), kind, &["GET http://127.0.0.1:"]);
        assert!(began.elapsed() < Duration::from_secs(5), "{kind:?}");
        assert_eq!((server.seen().len(), remote.snapshot().in_flight), (2, 0), "{kind:?}");
    }
}

#[tokio::test]
async fn listings_meet_the_same_troubles() {
    let listing = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
    for (trouble, kind) in troubles() {
        let server = Scripted::list(vec![trouble, ok(listing)]).await;
        let remote = S3Remote::new(hasty(&server.endpoint)).unwrap();
        remote.list(&Scope::All, None).await.unwrap();
        assert_eq!(remote.snapshot().errors, [(kind.name().to_owned(), 1)].into());
    }
}

#[tokio::test]
async fn a_listing_that_makes_no_sense_is_corrupt_and_harms_nobody() {
    let object = |size: &str| format!("<ListBucketResult><Contents><Key>k</Key><Size>{size}</Size></Contents></ListBucketResult>");
    for garbage in [
        "not xml",
        "<ListBucketResult><Contents>",
        &object("many"),
        "<ListBucketResult><IsTruncated>perhaps</IsTruncated></ListBucketResult>",
        "<a>&b;</a>",
        "<a/>x",
    ] {
        let server = Scripted::list(vec![ok(garbage)]).await;
        let remote = remote(&server.endpoint);
        let error = remote.list(&Scope::All, None).await.unwrap_err();
        check_error(&error, ErrorKind::Corrupt, &["LIST http"]);
        assert_eq!(remote.snapshot().in_flight, 0);
    }
    let server = Scripted::list(vec![ok(&object("-3"))]).await;
    assert_eq!(remote(&server.endpoint).list(&Scope::All, None).await.unwrap().objects, []);
}

#[tokio::test]
async fn a_listing_without_end_is_cut_off() {
    let server = Scripted::list(vec![ok(&"x".repeat(17 << 20))]).await;
    let error = remote(&server.endpoint).list(&Scope::All, None).await.unwrap_err();
    check_error(&error, ErrorKind::TooLarge, &["LIST http"]);
}

#[tokio::test]
async fn headers_that_make_no_sense_harm_nobody() {
    let odd = "x-amz-missing-meta: many\r\nx-amz-server-side-encryption-bucket-key-enabled: maybe\r\nx-odd: \u{fc}\r\n";
    let server = Scripted::list(vec![Act::Answer(answer("200 OK", odd, "found"))]).await;
    assert_eq!(get(&remote(&server.endpoint), &artifact("serde", "a")).await.unwrap().unwrap(), "found");
    let server = Scripted::list(vec![Act::Close(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec())]).await;
    let error = get(&remote(&server.endpoint), &artifact("serde", "a")).await.unwrap_err();
    check_error(&error, ErrorKind::Other, &["isn't HTTP"]);
}

#[tokio::test]
async fn a_body_that_trickles_ends_with_its_attempt() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n".to_vec();
    let server = Scripted::list(vec![Act::Trickle(head, Duration::from_millis(20))]).await;
    let mut options = hasty(&server.endpoint);
    options.retries.attempts = 1;
    options.deadlines.attempt = Duration::from_millis(500);
    let began = Instant::now();
    let error = get(&S3Remote::new(options).unwrap(), &artifact("serde", "a")).await.unwrap_err();
    check_error(&error, ErrorKind::Timeout, &["too long to arrive"]);
    assert!(began.elapsed() < Duration::from_millis(2500));
}

#[tokio::test]
async fn a_clock_that_is_off_is_said() {
    let ahead = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(7260));
    let skewed = refusal("403 Forbidden", &format!("Date: {ahead}\r\n"), "RequestTimeTooSkewed");
    let server = Scripted::list(vec![Act::Answer(skewed)]).await;
    let error = get(&remote(&server.endpoint), &artifact("serde", "a")).await.unwrap_err();
    check_error(&error, ErrorKind::ClockSkew, &["2 h ", "behind"]);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_remote_that_is_gone_costs_little_after_a_while_and_is_found_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let breaker = BreakerPolicy { failures: 5, pause: Duration::from_millis(200), ..BreakerPolicy::default() };
    let remote = S3Remote::new(S3Options { breaker, ..options(&format!("http://{address}")) }).unwrap();
    let name = artifact("serde", "a");
    check_error(&get(&remote, &name).await.unwrap_err(), ErrorKind::Connect, &["can't connect to 127.0.0.1:", "refused"]);
    check_error(&get(&remote, &name).await.unwrap_err(), ErrorKind::BreakerOpen, &["can't connect", "not tried for another"]);
    assert_eq!((remote.snapshot().breaker.read.as_str(), remote.snapshot().gets), ("open", 5));
    let again = std::net::TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        let (mut socket, _) = again.accept().unwrap();
        let _ = std::io::Read::read(&mut socket, &mut [0; 4096]);
        std::io::Write::write_all(&mut socket, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    tokio::time::sleep(Duration::from_millis(210)).await;
    assert_eq!(remote.snapshot().breaker.read, "half_open");
    assert_eq!(get(&remote, &name).await.unwrap(), None);
    assert_eq!(remote.snapshot().breaker.read, "closed");
}

#[tokio::test]
async fn an_address_that_swallows_everything_is_given_up_in_time() {
    // A listener whose queue is full answers no further connection.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    while let Ok(Ok(filler)) = tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address)).await {
        fillers.push(filler);
    }
    let mut options = options(&format!("http://{address}"));
    options.retries.attempts = 1;
    options.deadlines.connect = Duration::from_millis(200);
    let began = Instant::now();
    let error = get(&S3Remote::new(options).unwrap(), &artifact("serde", "a")).await.unwrap_err();
    check_error(&error, ErrorKind::Connect, &["no connection to 127.0.0.1:", "within 0.2 s"]);
    assert!(began.elapsed() < Duration::from_millis(2500));
}

#[tokio::test]
async fn connections_are_kept_and_those_that_the_server_closed_are_not_used() {
    let server = Scripted::start(|n, _| if n % 2 == 0 { ok("found") } else { Act::Close(answer("200 OK", "", "found")) }).await;
    let remote = remote(&server.endpoint);
    for n in 0..20 {
        assert_eq!(get(&remote, &artifact("serde", "a")).await.unwrap().unwrap(), "found");
        if n % 2 == 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(remote.snapshot().connections_opened, 10);
}

#[tokio::test]
async fn no_more_run_at_once_than_allowed_and_fewer_when_throttled() {
    let slow = Scripted::start(|_, _| Act::After(Duration::from_millis(20), answer("200 OK", "", "found"))).await;
    let remote = S3Remote::new(S3Options { concurrency: 8, ..options(&slow.endpoint) }).unwrap();
    let name = artifact("serde", "a");
    join_all((0..40).map(|_| get(&remote, &name))).await.into_iter().for_each(|found| assert!(found.is_ok()));
    assert_eq!((slow.busiest(), remote.snapshot().connections_opened), (8, 8));
    let throttling = Scripted::start(|n, _| {
        let bytes = if n == 0 { refusal("503 Slow", "", "SlowDown") } else { answer("200 OK", "", "found") };
        Act::After(Duration::from_millis(if n == 0 { 0 } else { 20 }), bytes)
    })
    .await;
    let remote = S3Remote::new(S3Options { concurrency: 8, ..options(&throttling.endpoint) }).unwrap();
    get(&remote, &name).await.unwrap();
    join_all((0..12).map(|_| get(&remote, &name))).await.into_iter().for_each(|found| assert!(found.is_ok()));
    assert!((4..8).contains(&throttling.busiest()), "{}", throttling.busiest());
}

#[tokio::test]
async fn a_body_keeps_its_slot_and_gives_it_back_when_dropped() {
    let server = Scripted::list(vec![Act::Stall(HALF.to_vec())]).await;
    let remote =
        S3Remote::new(S3Options { retries: RetryPolicy { attempts: 1, ..RetryPolicy::default() }, ..options(&server.endpoint) }).unwrap();
    let body = remote.get(&artifact("serde", "a"), Priority::Ahead).await.unwrap().unwrap();
    assert_eq!((body.announced_len(), remote.snapshot().in_flight), (Some(8), 1));
    drop(body);
    assert_eq!(remote.snapshot().in_flight, 0);
    assert_eq!(remote.snapshot().breaker.read, "closed");
}
