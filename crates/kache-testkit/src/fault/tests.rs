//! The proxy, seen by a client that is nothing but a socket.

use super::*;
use hyper::body::Body as _;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

const TEXT: &[u8] = b"0123456789";

/// A server that answers `len` bytes and says in a header which host it was asked for.
fn server(len: usize) -> Loopback {
    let handler: Handler = Arc::new(move |request, _| -> Answer {
        Box::pin(async move {
            let host = request.headers()["host"].clone();
            let taken = request.into_body().collect().await.unwrap().to_bytes();
            let answer = Response::builder().header("x-host", host).header("x-taken", taken.len());
            Ok(answer.body(whole(Bytes::from_iter(TEXT.iter().copied().cycle().take(len)))).unwrap())
        })
    });
    Loopback::start(None, Duration::ZERO, handler)
}

fn proxied() -> (Loopback, FaultProxy) {
    let upstream = server(10);
    let proxy = FaultProxy::to(upstream.address());
    (upstream, proxy)
}

/// What comes back for one request, until the connection ends in whatever way.
fn send(address: SocketAddr, request: &str) -> (String, Option<ErrorKind>) {
    let mut stream = match TcpStream::connect(address) {
        Ok(stream) => stream,
        Err(error) => return (String::new(), Some(error.kind())),
    };
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    let end = loop {
        match stream.read(&mut chunk) {
            Ok(0) => break None,
            Ok(got) => answer.extend_from_slice(&chunk[..got]),
            Err(error) => break Some(error.kind()),
        }
    };
    (String::from_utf8_lossy(&answer).into_owned(), end)
}

fn get(proxy: &FaultProxy, path: &str) -> (String, Option<ErrorKind>) {
    send(proxy.address(), &format!("GET {path} HTTP/1.1\r\nHost: signed.example\r\nConnection: close\r\n\r\n"))
}

/// One fault: how the answer ends, and how the connection.
#[track_caller]
fn check(fault: Fault, tail: &str, end: Option<ErrorKind>) {
    let (_upstream, proxy) = proxied();
    let fired = proxy.inject(When::any(), fault.clone());
    let (answer, ended) = get(&proxy, "/b/k");
    assert!(answer.ends_with(tail), "{fault:?}: {answer:?}");
    assert_eq!((ended, fired.times()), (end, 1), "{fault:?}: {answer:?}");
}

#[test]
fn requests_pass_as_they_are() {
    let (_upstream, proxy) = proxied();
    let request = "PUT /b/k HTTP/1.1\r\nHost: signed.example\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
    let (answer, end) = send(proxy.address(), request);
    assert!(answer.contains("x-host: signed.example\r\n") && answer.contains("x-taken: 3\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n0123456789") && end.is_none());
    assert_eq!(proxy.requests(), 1);
}

#[test]
fn each_fault_is_what_it_says() {
    use ErrorKind::{ConnectionReset, WouldBlock};
    check(Fault::slow_down(), "<Error><Code>SlowDown</Code><Message>On demand.</Message></Error>", None);
    check(Fault::DropRequest, "", Some(ConnectionReset));
    check(Fault::DropAnswer, "", Some(ConnectionReset));
    check(Fault::NoAnswer, "", Some(WouldBlock));
    check(Fault::ResetAfter(4), "\r\n\r\n0123", Some(ConnectionReset));
    check(Fault::StallAfter(4), "\r\n\r\n0123", Some(WouldBlock));
    check(Fault::CutAfter(4), "\r\n\r\n0123", None);
    check(Fault::ClaimLength(4), "\r\n\r\n0123", None);
    check(Fault::ClaimLength(20), "\r\n\r\n0123456789", None);
    check(Fault::FlipBit(1, 0), "\r\n\r\n0023456789", None);
    check(Fault::FlipBit(-1, 0), "\r\n\r\n0123456788", None);
    check(Fault::Replace(b"other".to_vec()), "\r\n\r\nother", None);
    check(Fault::Delay(Duration::from_millis(1)), "\r\n\r\n0123456789", None);
}

#[test]
fn headers_announce_what_the_fault_says() {
    let (_upstream, proxy) = proxied();
    for (fault, announced) in [(Fault::CutAfter(4), 10), (Fault::ClaimLength(20), 20), (Fault::Replace(b"other".to_vec()), 5)] {
        proxy.clear();
        proxy.inject(When::any(), fault.clone());
        let (answer, _) = get(&proxy, "/b/k");
        assert!(answer.contains(&format!("content-length: {announced}\r\n")), "{fault:?}: {answer}");
    }
    proxy.clear();
    proxy.inject(When::any(), Fault::wrong_region("eu-west-1"));
    let (answer, _) = get(&proxy, "/b/k");
    assert!(answer.starts_with("HTTP/1.1 301") && answer.contains("x-amz-bucket-region: eu-west-1\r\n"), "{answer}");
}

#[test]
fn faults_fire_for_whom_they_are_meant() {
    let (_upstream, proxy) = proxied();
    let second = proxy.inject(When::kind("GET").of("serde").after(1).times(2), Fault::slow_down());
    let list = proxy.inject(When::kind("LIST"), Fault::access_denied());
    let status = |path: &str| get(&proxy, path).0[9..12].to_owned();
    assert_eq!(["/b/serde", "/b/serde", "/b/other", "/b/serde", "/b/serde"].map(status), ["200", "503", "200", "503", "200"]);
    assert_eq!(["/b?list-type=2", "/b/?list-type=2"].map(status), ["403", "403"]);
    assert_eq!((second.times(), list.times()), (2, 2));
    proxy.clear();
    assert_eq!(status("/b?list-type=2"), "200");
}

#[test]
fn a_server_that_is_gone_refuses_and_comes_back() {
    let (_upstream, proxy) = proxied();
    proxy.set_there(false);
    crate::until("refusal", Duration::from_secs(10), || (get(&proxy, "/b/k").1 == Some(ErrorKind::ConnectionRefused)).then_some(()));
    proxy.set_there(true);
    crate::until("an answer", Duration::from_secs(10), || get(&proxy, "/b/k").0.ends_with("0123456789").then_some(()));
}

#[test]
fn a_line_takes_its_time_for_all_connections_together() {
    let upstream = server(100_000);
    let link = Link { round_trip: Duration::from_millis(30), bytes_per_second: Some(1_000_000) };
    let proxy = FaultProxy::over(upstream.address(), link);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(get(&proxy, "/b/k").0.split("\r\n\r\n").nth(1).map(str::len), Some(100_000)));
        }
    });
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(60 + 300 - 20), "{took:?}");
}

#[test]
fn a_body_that_passes_knows_its_length() {
    assert_eq!(whole(Bytes::from_static(TEXT)).size_hint().exact(), Some(10));
    assert_eq!(streamed(stream::empty()).size_hint().exact(), None);
}
