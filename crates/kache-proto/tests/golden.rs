//! One frame of each kind, byte for byte: a change here is a new protocol version.

use kache_proto::{Message, Parent, Plan, Reply, Report, Request, Status, Stdin, wire};

fn check(message: &Message, golden: &str) {
    let bytes = message.encode().unwrap();
    assert_eq!(bytes.escape_ascii().to_string(), golden, "if this is meant, raise wire::VERSION");
    assert_eq!(&Message::decode(bytes[0], &bytes[wire::HEADER_LEN..]).unwrap(), message);
}

#[test]
fn preamble() {
    assert_eq!(wire::preamble().escape_ascii().to_string(), r"\x00KCH\x01\x00\x00\x00");
}

#[test]
fn request() {
    check(
        &Message::Request(Request {
            argv: vec!["rustc".into(), "-".into()],
            cwd: "/w".into(),
            cwd_id: (1, 2),
            env: vec![("A".into(), "b=c".into()), ("E".into(), "".into())],
            parent: Parent { pid: 3, start: 4 },
            umask: 0o22,
            stdin: Stdin::Bytes(b"fn".to_vec()),
        }),
        concat!(
            r"\x01R\x00\x00\x00",
            r"\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00",
            r"\x03\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x12\x00\x00\x00",
            r"\x01\x02\x00\x00\x00fn\x02\x00\x00\x00/w",
            r"\x02\x00\x00\x00\x05\x00\x00\x00rustc\x01\x00\x00\x00-",
            r"\x02\x00\x00\x00\x05\x00\x00\x00A=b=c\x02\x00\x00\x00E="
        ),
    );
}

#[test]
fn report() {
    let report = Report { status: Status::Signal(9), stdout: b"o".to_vec(), stderr: b"e\n".to_vec(), truncated: true, wall_millis: 258 };
    check(
        &Message::Report(report),
        concat!(r"\x02\x19\x00\x00\x00", r"\x01\t\x00\x00\x00\x01\x02\x01\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00o\x02\x00\x00\x00e\n"),
    );
}

#[test]
fn exec() {
    check(&Message::Reply(Reply::Exec { reason: "no".into() }), r"\x10\x06\x00\x00\x00\x02\x00\x00\x00no");
}

#[test]
fn replay() {
    check(
        &Message::Reply(Reply::Replay { status: -1, stdout: b"o".to_vec(), stderr: vec![] }),
        r"\x11\r\x00\x00\x00\xff\xff\xff\xff\x01\x00\x00\x00o\x00\x00\x00\x00",
    );
}

#[test]
fn compile() {
    check(
        &Message::Reply(Reply::Compile(Plan {
            runner: "/k".into(),
            insert_at: 1,
            extra_args: vec!["-C".into()],
            argfiles: vec![(2, b"x".to_vec())],
            show: vec![("/p".into(), "/q".into())],
            capture: true,
        })),
        concat!(
            r"\x122\x00\x00\x00",
            r"\x02\x00\x00\x00/k\x01\x00\x00\x00\x01",
            r"\x01\x00\x00\x00\x02\x00\x00\x00-C",
            r"\x01\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00x",
            r"\x01\x00\x00\x00\x02\x00\x00\x00/p\x02\x00\x00\x00/q"
        ),
    );
}

#[test]
fn working_and_done() {
    check(&Message::Reply(Reply::Working), r"\x13\x00\x00\x00\x00");
    check(&Message::Reply(Reply::Done), r"\x14\x00\x00\x00\x00");
}
