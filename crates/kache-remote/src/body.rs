//! The bytes of one object: as they arrive ([`Body`]) and as they are handed in ([`Content`]).

use crate::error::{ErrorKind, RemoteError};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{BoxStream, Stream, StreamExt};
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

/// An object's bytes on their way. Ends with an error when they stop for too long, break off, or are fewer than announced; a stream that
/// ends without one is complete. Dropping it gives up the request.
pub struct Body {
    len: Option<u64>,
    chunks: BoxStream<'static, Result<Bytes, RemoteError>>,
}

impl Body {
    /// A body of `len` bytes, if the server said how many. The stream vouches for its own completeness.
    pub fn new(len: Option<u64>, chunks: impl Stream<Item = Result<Bytes, RemoteError>> + Send + 'static) -> Self {
        Self { len, chunks: chunks.boxed() }
    }

    /// How many bytes the server announced.
    pub fn announced_len(&self) -> Option<u64> {
        self.len
    }

    /// All bytes, if they are at most `max`.
    pub async fn collect(mut self, max: u64) -> Result<Bytes, RemoteError> {
        let refuse = || RemoteError::new(ErrorKind::TooLarge, format!("the object is larger than {max} bytes"));
        let announced = self.len.unwrap_or(0);
        if announced > max {
            return Err(refuse());
        }
        let mut all = BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0));
        while let Some(chunk) = self.next().await {
            let chunk = chunk?;
            if (all.len() + chunk.len()) as u64 > max {
                return Err(refuse());
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::new(Some(bytes.len() as u64), futures_util::stream::iter((!bytes.is_empty()).then_some(Ok(bytes))))
    }
}

impl Stream for Body {
    type Item = Result<Bytes, RemoteError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.chunks.poll_next_unpin(context)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("len", &self.len).finish_non_exhaustive()
    }
}

/// What to store.
#[derive(Clone, Debug)]
pub enum Content {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A file, read while it is sent; it must stay as it is until then.
    File {
        /// Where it is.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
        /// Its MD5, if it is known already.
        md5: Option<[u8; 16]>,
    },
}

impl Content {
    /// How many bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
