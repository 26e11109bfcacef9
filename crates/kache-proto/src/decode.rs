//! Bytes in, frames out, for a connection's one direction; no I/O.
//!
//! Promise: hostile bytes are an error, never a panic, and the buffer never holds more than what was pushed. After an error the
//! decoder repeats it: there is no way back into step.

use crate::frame::Message;
use crate::wire;

/// What can be wrong with the bytes of a connection. Every one of them means: close it; a client runs rustc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The connection doesn't begin with the magic.
    #[error("these bytes don't come from kache")]
    NotKache,
    /// The other side is of another version.
    #[error("the other side speaks protocol version {0}, this one {ours}; restart kached after an update", ours = wire::VERSION)]
    OtherVersion(u32),
    /// A frame is larger than the format allows, or would be.
    #[error("a frame of more than {} MiB, or a list of more than {} elements", wire::MAX_BODY >> 20, wire::MAX_LIST)]
    TooLarge,
    /// A frame of a kind that this version doesn't have.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// A frame whose body doesn't hold what its kind says.
    #[error("malformed frame of kind {0}")]
    Malformed(u8),
}

/// Whether a connection that begins with `first` speaks frames; otherwise it is HTTP or noise.
pub fn speaks_frames(first: u8) -> bool {
    first == wire::MAGIC[0]
}

/// Collects one direction's bytes and cuts them into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    done: usize,
    greeted: bool,
    failed: Option<ProtocolError>,
}

impl Decoder {
    /// At the very beginning of a connection: the preamble comes first.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes as they were received, in pieces of any size.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.done > 0 {
            self.buffer.drain(..self.done);
            self.done = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame; `None` if more bytes are needed.
    pub fn next_message(&mut self) -> Result<Option<Message>, ProtocolError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.advance().inspect_err(|error| self.failed = Some(*error))
    }

    /// Whether bytes of an incomplete frame are waiting: an end of the stream now is not a clean one.
    pub fn is_mid_frame(&self) -> bool {
        self.done < self.buffer.len()
    }

    fn advance(&mut self) -> Result<Option<Message>, ProtocolError> {
        if !self.greeted && !self.greet()? {
            return Ok(None);
        }
        let pending = &self.buffer[self.done..];
        let Some((header, rest)) = pending.split_first_chunk::<{ wire::HEADER_LEN }>() else {
            return Ok(None);
        };
        let (kind, len) = wire::parse_header(*header).ok_or(ProtocolError::TooLarge)?;
        let Some(body) = rest.get(..len) else {
            return Ok(None);
        };
        let message = Message::decode(kind, body)?;
        self.done += wire::HEADER_LEN + len;
        Ok(Some(message))
    }

    /// Reads the preamble; `false` if more bytes are needed. Noise is refused at its first byte.
    fn greet(&mut self) -> Result<bool, ProtocolError> {
        let pending = &self.buffer[self.done..];
        if pending.iter().zip(wire::MAGIC).any(|(got, magic)| *got != magic) {
            return Err(ProtocolError::NotKache);
        }
        let Some(preamble) = pending.first_chunk::<{ wire::PREAMBLE_LEN }>() else {
            return Ok(false);
        };
        let [.., a, b, c, d] = *preamble;
        let version = u32::from_le_bytes([a, b, c, d]);
        if version != wire::VERSION {
            return Err(ProtocolError::OtherVersion(version));
        }
        self.done += wire::PREAMBLE_LEN;
        self.greeted = true;
        Ok(true)
    }
}
