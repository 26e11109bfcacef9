//! The codec under property tests: what is written is read back, however the stream is cut, and no bytes make it panic.

use kache_proto::wire::{self, kind};
use kache_proto::{Decoder, Message, Parent, Plan, ProtocolError, Reply, Report, Request, Status, Stdin};
use proptest::collection::vec;
use proptest::prelude::*;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn os() -> impl Strategy<Value = OsString> {
    bytes().prop_map(OsString::from_vec)
}

fn name() -> impl Strategy<Value = OsString> {
    (any::<u8>(), vec(any::<u8>().prop_filter("names hold no separator", |byte| *byte != b'='), 0..12))
        .prop_map(|(first, rest)| OsString::from_vec([vec![first], rest].concat()))
}

fn request() -> impl Strategy<Value = Request> {
    let stdin = prop_oneof![Just(Stdin::NotRead), Just(Stdin::TooLarge), bytes().prop_map(Stdin::Bytes)];
    let parent = any::<(u32, u64)>().prop_map(|(pid, start)| Parent { pid, start });
    (vec(os(), 0..6), os(), any::<(u64, u64)>(), vec((name(), os()), 0..6), parent, any::<u32>(), stdin)
        .prop_map(|(argv, cwd, cwd_id, env, parent, umask, stdin)| Request { argv, cwd: cwd.into(), cwd_id, env, parent, umask, stdin })
}

fn reply() -> impl Strategy<Value = Reply> {
    let plan = (os(), any::<u32>(), vec(os(), 0..4), vec((any::<u32>(), bytes()), 0..3), vec((".*", ".*"), 0..3), any::<bool>()).prop_map(
        |(runner, insert_at, extra_args, argfiles, show, capture)| Plan {
            runner: runner.into(),
            insert_at,
            extra_args,
            argfiles,
            show,
            capture,
        },
    );
    prop_oneof![
        ".*".prop_map(|reason| Reply::Exec { reason }),
        (any::<i32>(), bytes(), bytes()).prop_map(|(status, stdout, stderr)| Reply::Replay { status, stdout, stderr }),
        plan.prop_map(Reply::Compile),
        Just(Reply::Working),
        Just(Reply::Done),
    ]
}

fn report() -> impl Strategy<Value = Report> {
    let status = prop_oneof![any::<i32>().prop_map(Status::Code), any::<i32>().prop_map(Status::Signal)];
    (status, bytes(), bytes(), any::<bool>(), any::<u64>()).prop_map(|(status, stdout, stderr, truncated, wall_millis)| Report {
        status,
        stdout,
        stderr,
        truncated,
        wall_millis,
    })
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![request().prop_map(Message::Request), report().prop_map(Message::Report), reply().prop_map(Message::Reply)]
}

fn stream(messages: &[Message]) -> Vec<u8> {
    let frames = messages.iter().flat_map(|message| message.encode().unwrap());
    wire::preamble().into_iter().chain(frames).collect()
}

/// Everything that comes out of a stream that is pushed in pieces of these lengths, over and over.
fn read(stream: &[u8], pieces: &[usize]) -> (Vec<Message>, Result<(), ProtocolError>, bool) {
    let mut decoder = Decoder::new();
    let mut messages = Vec::new();
    let (mut rest, mut piece) = (stream, 0);
    loop {
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Err(error), decoder.is_mid_frame()),
            }
        }
        if rest.is_empty() {
            return (messages, Ok(()), decoder.is_mid_frame());
        }
        let (now, later) = rest.split_at(pieces[piece % pieces.len()].clamp(1, rest.len()));
        decoder.push(now);
        (rest, piece) = (later, piece + 1);
    }
}

proptest! {
    #[test]
    fn any_split_of_the_stream_gives_back_what_was_written(messages in vec(message(), 0..4), pieces in vec(1..60_usize, 1..6)) {
        prop_assert_eq!(read(&stream(&messages), &pieces), (messages, Ok(()), false));
    }

    #[test]
    fn a_truncated_stream_waits_for_the_rest(message in message(), cut in any::<prop::sample::Index>()) {
        let stream = stream(std::slice::from_ref(&message));
        let cut = wire::PREAMBLE_LEN + cut.index(stream.len() - wire::PREAMBLE_LEN);
        let (messages, end, mid_frame) = read(&stream[..cut], &[7]);
        prop_assert_eq!((messages, end, mid_frame), (vec![], Ok(()), cut > wire::PREAMBLE_LEN));
    }

    #[test]
    fn arbitrary_bodies_are_refused_or_read_but_never_panic(kind in any::<u8>(), body in vec(any::<u8>(), 0..200)) {
        if let Ok(message) = Message::decode(kind, &body) {
            // What was accepted has one spelling only.
            prop_assert_eq!(&message.encode().unwrap()[wire::HEADER_LEN..], &body[..]);
        }
    }

    #[test]
    fn damaged_frames_never_panic(message in message(), at in any::<prop::sample::Index>(), flip in 1..=255_u8, pieces in vec(1..60_usize, 1..4)) {
        let mut stream = stream(&[message]);
        let at = at.index(stream.len());
        stream[at] ^= flip;
        let _ = read(&stream, &pieces);
    }

    #[test]
    fn arbitrary_streams_never_panic(bytes in vec(any::<u8>(), 0..300), pieces in vec(1..60_usize, 1..4)) {
        let _ = read(&bytes, &pieces);
        let _ = read(&[wire::preamble().as_slice(), &bytes].concat(), &pieces);
    }
}

#[test]
fn http_is_told_apart_by_the_first_byte() {
    for method in ["GET / HTTP/1.1", "POST", "PRI * HTTP/2.0"] {
        assert!(!kache_proto::decode::speaks_frames(method.as_bytes()[0]));
        assert_eq!(read(method.as_bytes(), &[1]).1, Err(ProtocolError::NotKache));
    }
    assert!(kache_proto::decode::speaks_frames(wire::preamble()[0]));
}

#[test]
fn another_version_is_named() {
    let mut stream = wire::preamble();
    stream[4] = 99;
    assert_eq!(read(&stream, &[3]).1, Err(ProtocolError::OtherVersion(99)));
}

#[test]
fn a_frame_that_claims_too_much_is_refused_at_its_header() {
    let stream = [wire::preamble().as_slice(), &[kind::REPLAY, 1, 0, 0, 4]].concat();
    assert_eq!(read(&stream, &[100]).1, Err(ProtocolError::TooLarge));
}

#[test]
fn a_list_that_claims_more_than_there_is_is_refused() {
    let mut body = vec![0; 8 + 8 + 4 + 8 + 4 + 1 + 4 + 4];
    body.extend(u32::MAX.to_le_bytes());
    body.extend([0; 64]);
    assert_eq!(Message::decode(kind::REQUEST, &body), Err(ProtocolError::Malformed(kind::REQUEST)));
}

#[test]
fn too_much_output_is_an_error_to_encode() {
    let half = vec![0; wire::MAX_BODY / 2];
    let reply = Reply::Replay { status: 0, stdout: half.clone(), stderr: half };
    assert_eq!(reply.encode(), Err(ProtocolError::TooLarge));
}

#[test]
fn a_full_capture_fits_a_report() {
    let full = vec![b'x'; wire::MAX_CAPTURE];
    let report = Report { status: Status::Code(0), stdout: full.clone(), stderr: full, truncated: true, wall_millis: 1 };
    let frame = report.encode().unwrap();
    assert_eq!(Message::decode(frame[0], &frame[wire::HEADER_LEN..]), Ok(Message::Report(report)));
}
