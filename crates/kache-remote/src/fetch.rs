//! Artifacts over the network: a body that arrives is unpacked while it arrives, an artifact that leaves is packed into a file first.
//!
//! Promises: memory doesn't grow with the artifact (a few chunks wait between network and disk); packing and unpacking run where blocking is
//! allowed; a fetch that fails or is dropped leaves nothing staged; a fetch whose *bytes* are no good isn't repeated, one whose connection was is.

use crate::background;
use crate::body::{Body, Content};
use crate::descriptor::{Asked, Descriptor, Limits};
use crate::error::{ErrorKind, RemoteError};
use crate::name::{ObjectName, PackageName};
use crate::pack::{Packed, pack};
use crate::unpack::{Intake, Unpacked, unpack};
use crate::{Priority, PutOutcome, PutWhen, Remote, retry};
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use kache_model::Output;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

/// Chunks between network and disk.
const CHUNKS: usize = 4;

/// Gets an artifact and stages its outputs; `None` when it isn't there. `progress` grows by the compressed bytes that arrive, those of
/// attempts that fail later among them, so that whoever waits can tell slow from stuck.
///
/// # Errors
/// What [`unpack`] says about the bytes, or why the remote couldn't be asked.
pub async fn fetch_artifact<I: Intake>(
    remote: &dyn Remote,
    asked: &Asked,
    priority: Priority,
    limits: Limits,
    intake: Arc<I>,
    progress: &AtomicU64,
) -> Result<Option<Unpacked<I::Staged>>, RemoteError> {
    let consume = |body: Body| unpack_body(body, asked.clone(), limits, Arc::clone(&intake), progress);
    retry::fetch(remote, &asked.object_name(), priority, consume).await
}

async fn unpack_body<I: Intake>(
    body: Body,
    asked: Asked,
    limits: Limits,
    intake: Arc<I>,
    progress: &AtomicU64,
) -> Result<Unpacked<I::Staged>, RemoteError> {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let unpacking = spawn_blocking(move || unpack(Chunks { receiver, chunk: Bytes::new(), over: false }, &asked, &limits, &*intake));
    let ((), unpacked) = futures_util::future::join(feed(body, &sender, progress), unpacking).await;
    unpacked.unwrap_or_else(|error| Err(RemoteError::new(ErrorKind::Other, format!("unpacking failed: {error}"))))
}

/// What the unpacker is told.
enum Arrival {
    Chunk(Bytes),
    Failed(RemoteError),
    /// The body is complete.
    End,
}

/// Hands on what arrives, until nobody wants more of it.
async fn feed(mut body: Body, sender: &mpsc::Sender<Arrival>, progress: &AtomicU64) {
    loop {
        let next = tokio::select! {
            next = body.next() => next,
            () = sender.closed() => return,
        };
        let arrival = match next {
            Some(Ok(chunk)) => {
                progress.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                Arrival::Chunk(chunk)
            }
            Some(Err(error)) => Arrival::Failed(error),
            None => Arrival::End,
        };
        let last = !matches!(arrival, Arrival::Chunk(_));
        if sender.send(arrival).await.is_err() || last {
            return;
        }
    }
}

/// A body as blocking code reads it.
struct Chunks {
    receiver: mpsc::Receiver<Arrival>,
    chunk: Bytes,
    over: bool,
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !self.over {
            match self.receiver.blocking_recv() {
                Some(Arrival::Chunk(chunk)) => self.chunk = chunk,
                Some(Arrival::Failed(error)) => return Err(io::Error::other(error)),
                Some(Arrival::End) => self.over = true,
                // Never an end: the fetch was dropped in the middle of the body.
                None => return Err(io::Error::other(RemoteError::new(ErrorKind::Reset, "the fetch was given up"))),
            }
        }
        let len = self.chunk.len().min(into.len());
        self.chunk.copy_to_slice(&mut into[..len]);
        Ok(len)
    }
}

/// Packs an artifact into the file `staging`, stores it, and removes the file whatever happens. `outputs` gives each output of the descriptor,
/// in its order, with its bytes; `level` is zstd's.
///
/// After a fetch that found bad bytes under this artifact's name, only [`PutWhen::Always`] mends it.
///
/// # Errors
/// What [`pack`] says, or why the remote couldn't store it.
pub async fn upload_artifact<R, O>(
    remote: &dyn Remote,
    descriptor: Descriptor,
    outputs: O,
    level: i32,
    staging: &Path,
    when: PutWhen,
) -> Result<(PutOutcome, Packed), RemoteError>
where
    R: Read,
    O: IntoIterator<Item = (Output, R)> + Send + 'static,
{
    let Some(package) = PackageName::new(&descriptor.artifact.package) else {
        return Err(RemoteError::new(ErrorKind::Other, format!("{:?} can't be a folder in the bucket", descriptor.artifact.package)));
    };
    let name = ObjectName::Artifact { package, key: descriptor.key };
    let staging = Staging(staging.to_owned());
    let packing = background::run(move || staging.fill(&descriptor, outputs, level).map(|packed| (staging, packed))).await;
    let packing = packing.unwrap_or_else(|| Err(RemoteError::new(ErrorKind::Other, "packing failed")));
    let (staging, packed) = packing.map_err(|error| error.at(format_args!("packing {name}")))?;
    let content = Content::File { path: staging.0.clone(), len: packed.len, md5: Some(packed.md5) };
    let outcome = remote.put(&name, content, when).await?;
    Ok((outcome, packed))
}

/// A file that goes with its value.
struct Staging(PathBuf);

impl Staging {
    fn fill<R: Read>(
        &self,
        descriptor: &Descriptor,
        outputs: impl IntoIterator<Item = (Output, R)>,
        level: i32,
    ) -> Result<Packed, RemoteError> {
        let fail = |error: io::Error| RemoteError::new(ErrorKind::Disk, format!("can't write {}: {error}", self.0.display()));
        let mut file = BufWriter::new(std::fs::File::options().write(true).create_new(true).mode(0o600).open(&self.0).map_err(fail)?);
        let packed = pack(descriptor, outputs, level, &mut file)?;
        file.flush().map_err(fail)?;
        Ok(packed)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_body_that_is_complete_ends() {
        let read = |arrivals: Vec<Arrival>| {
            let (sender, receiver) = mpsc::channel(CHUNKS);
            arrivals.into_iter().for_each(|arrival| assert!(sender.try_send(arrival).is_ok()));
            drop(sender);
            let mut bytes = Vec::new();
            let end = Chunks { receiver, chunk: Bytes::new(), over: false }.read_to_end(&mut bytes);
            (bytes, end.map_err(|error| error.downcast::<RemoteError>().unwrap().kind()))
        };
        let chunk = || Arrival::Chunk(Bytes::from_static(b"ab"));
        assert_eq!(read(vec![chunk(), Arrival::Chunk(Bytes::new()), chunk(), Arrival::End]), (b"abab".to_vec(), Ok(4)));
        assert_eq!(read(vec![chunk()]).1, Err(ErrorKind::Reset));
        assert_eq!(read(vec![chunk(), Arrival::Failed(RemoteError::new(ErrorKind::Stalled, "…"))]).1, Err(ErrorKind::Stalled));
    }
}
