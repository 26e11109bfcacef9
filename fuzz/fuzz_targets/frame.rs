//! The frame codec against arbitrary bytes: no panic, no disagreement about how the stream is cut, one spelling per message.
#![no_main]

use kache_proto::{Decoder, Message, ProtocolError, wire};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&piece, bytes)) = input.split_first() else { return };
    let stream = [wire::preamble().as_slice(), bytes].concat();
    let whole = read(&stream, stream.len());
    assert_eq!(read(&stream, usize::from(piece).max(1)), whole);
    // Whatever was accepted is spelled in one way only.
    let spelled: Vec<u8> = whole.0.iter().flat_map(|message| message.encode().expect("it was decoded")).collect();
    assert!(bytes.starts_with(&spelled));
    let _ = (read(bytes, bytes.len().max(1)), wire::start_time(bytes), wire::split_variable(bytes));
});

fn read(stream: &[u8], piece: usize) -> (Vec<Message>, Option<ProtocolError>) {
    let mut decoder = Decoder::new();
    let mut messages = Vec::new();
    for piece in stream.chunks(piece) {
        decoder.push(piece);
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}
