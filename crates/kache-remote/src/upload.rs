//! Turns [`Content`] into the body of a PUT: a stream that can be made anew for every attempt, and the MD5 by which the server notices
//! bytes that changed on their way (the signature doesn't cover them).
//!
//! Promise: a file is never in memory as a whole, and a file that isn't as long as announced fails instead of sending something else.

use crate::body::Content;
use crate::error::{ErrorKind, RemoteError};
use crate::pace::Pace;
use base64::Engine;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use md5::{Digest, Md5};
use rusoto_core::ByteStream;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

const CHUNK_BYTES: usize = 128 << 10;

/// The content as rusoto takes it, no faster than `pace` allows.
pub(crate) fn byte_stream(content: &Content, pace: &Arc<Pace>) -> ByteStream {
    let len = usize::try_from(content.len()).unwrap_or(usize::MAX);
    match content {
        Content::Bytes(bytes) => ByteStream::new_with_size(paced(stream::iter(pieces(bytes.clone())), pace), len),
        Content::File { path, len: bytes, md5: _ } => ByteStream::new_with_size(paced(file_chunks(path.clone(), *bytes), pace), len),
    }
}

fn paced(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    pace: &Arc<Pace>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let pace = Arc::clone(pace);
    pieces.and_then(move |piece| {
        let pace = Arc::clone(&pace);
        async move {
            pace.wait_for(piece.len()).await;
            Ok(piece)
        }
    })
}

/// In pieces, so that the transport sees how many of them the server has taken.
fn pieces(bytes: Bytes) -> impl Iterator<Item = io::Result<Bytes>> + Send + 'static {
    let len = bytes.len();
    (0..len).step_by(CHUNK_BYTES).map(move |start| Ok(bytes.slice(start..len.min(start + CHUNK_BYTES))))
}

fn file_chunks(path: PathBuf, len: u64) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let open = async move {
        let file = tokio::fs::File::open(&path).await.map_err(|error| io::Error::other(unreadable(&path, &error)))?;
        let chunks = ReaderStream::with_capacity(file.take(len), CHUNK_BYTES);
        Ok::<_, io::Error>(exactly(chunks, len, path))
    };
    stream::once(open).try_flatten()
}

/// The chunks, and an error at the end if they were fewer bytes than `len`.
fn exactly(chunks: impl Stream<Item = io::Result<Bytes>> + Send, len: u64, path: PathBuf) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let counted = chunks.scan(0, |seen, chunk| {
        *seen += chunk.as_ref().map_or(0, |bytes| bytes.len() as u64);
        std::future::ready(Some((*seen, chunk)))
    });
    let end = stream::once(std::future::ready((0, Ok(Bytes::new()))));
    counted.chain(end).scan(0, move |total, (seen, chunk)| {
        *total = seen.max(*total);
        let ended = matches!(&chunk, Ok(bytes) if bytes.is_empty());
        let short = ended && *total < len;
        let chunk = if short { Err(io::Error::other(changed(&path))) } else { chunk };
        std::future::ready((!ended || short).then_some(chunk))
    })
}

/// The content's MD5 as the header `Content-MD5` wants it.
pub(crate) async fn md5(content: &Content) -> Result<String, RemoteError> {
    let content = content.clone();
    let digested = tokio::task::spawn_blocking(move || match content {
        Content::Bytes(bytes) => Ok(Md5::digest(&bytes)),
        Content::File { md5: Some(known), .. } => Ok(known.into()),
        Content::File { path, len, md5: None } => md5_of_file(&path, len),
    });
    let digest = digested.await.map_err(|error| RemoteError::new(ErrorKind::Other, error.to_string()))??;
    Ok(base64::engine::general_purpose::STANDARD.encode(digest))
}

fn md5_of_file(path: &Path, len: u64) -> Result<md5::digest::Output<Md5>, RemoteError> {
    let refuse = |error: io::Error| unreadable(path, &error);
    let mut file = File::open(path).map_err(refuse)?.take(len);
    let (mut md5, mut buffer, mut seen) = (Md5::new(), vec![0; CHUNK_BYTES], 0);
    loop {
        let read = file.read(&mut buffer).map_err(refuse)?;
        if read == 0 {
            return if seen == len { Ok(md5.finalize()) } else { Err(changed(path)) };
        }
        md5.update(&buffer[..read]);
        seen += read as u64;
    }
}

fn unreadable(path: &Path, error: &io::Error) -> RemoteError {
    RemoteError::new(ErrorKind::Disk, format!("can't read {}: {error}", path.display()))
}

fn changed(path: &Path) -> RemoteError {
    RemoteError::new(ErrorKind::Disk, format!("{} is shorter than it was", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    async fn collect(content: &Content) -> io::Result<Vec<u8>> {
        byte_stream(content, &Arc::new(Pace::new(None)))
            .try_fold(Vec::new(), |mut all, chunk| async move {
                all.extend_from_slice(&chunk);
                Ok(all)
            })
            .await
    }

    #[tokio::test]
    async fn files_and_bytes_are_sent_as_they_are_and_can_be_sent_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for len in [0, 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 5] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            fs::write(&path, &bytes).unwrap();
            let file = Content::File { path: path.clone(), len: len as u64, md5: None };
            let memory = Content::Bytes(bytes.clone().into());
            for content in [&file, &file, &memory] {
                assert_eq!(collect(content).await.unwrap(), bytes, "{len}");
            }
            assert_eq!(md5(&file).await.unwrap(), md5(&memory).await.unwrap());
        }
        assert_eq!(md5(&Content::Bytes(Bytes::from_static(b"abc"))).await.unwrap(), "kAFQmDzST7DWlj99KOF/cg==");
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_leave_at_the_rate_that_is_set() {
        let start = tokio::time::Instant::now();
        let content = Content::Bytes(vec![1; 3 * CHUNK_BYTES].into());
        let sent = byte_stream(&content, &Arc::new(Pace::new(Some(CHUNK_BYTES as u64)))).try_collect::<Vec<_>>().await.unwrap();
        assert_eq!((sent.len(), start.elapsed().as_secs()), (3, 2));
    }

    #[tokio::test]
    async fn a_file_that_shrank_or_went_away_is_the_disks_fault() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"abc").unwrap();
        for (path, len) in [(path.clone(), 4), (dir.path().join("none"), 3)] {
            let content = Content::File { path, len, md5: None };
            assert_eq!(md5(&content).await.unwrap_err().kind(), ErrorKind::Disk);
            let error = collect(&content).await.unwrap_err().into_inner().unwrap();
            assert_eq!(error.downcast::<RemoteError>().unwrap().kind(), ErrorKind::Disk);
        }
        assert_eq!(collect(&Content::File { path, len: 2, md5: None }).await.unwrap(), b"ab");
    }
}
