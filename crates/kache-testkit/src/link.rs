//! A slow and narrow line: what benchmarks put between a machine and a server.

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::Frame;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

use crate::loopback::Body;

/// Bytes that pass at once.
const PIECE: usize = 16 << 10;

/// How far behind the clock a line that was idle may be: as precise as sleeping is.
const SLACK: Duration = Duration::from_millis(2);

/// A line's properties. TCP's slow start isn't modelled: a connection has the whole line from its first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Time from a request to the first byte of its answer, on top of the server's own; a new connection takes it once more.
    pub round_trip: Duration,
    /// Bytes per second, in each direction, for all connections together. `None`: no limit.
    pub bytes_per_second: Option<u64>,
}

/// One direction of a line that all connections share.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    bytes_per_second: Option<u64>,
    /// When what was let pass so far will have passed.
    free_at: Arc<Mutex<Instant>>,
}

impl Lane {
    pub(crate) fn new(link: &Link) -> Self {
        Self { bytes_per_second: link.bytes_per_second, free_at: Arc::new(Mutex::new(Instant::now())) }
    }

    /// The body, at the pace of the line.
    pub(crate) fn shape<B>(&self, body: B) -> Body
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let body = body.map_err(io::Error::other);
        if self.bytes_per_second.is_none() {
            return body.boxed_unsync();
        }
        let lane = self.clone();
        let pieces = BodyStream::new(body).flat_map(|frame| futures_util::stream::iter(pieces(frame)));
        let paced = pieces.then(move |frame| {
            let lane = lane.clone();
            async move {
                lane.pass(frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len)).await;
                frame
            }
        });
        StreamBody::new(paced).boxed_unsync()
    }

    async fn pass(&self, len: usize) {
        let Some(rate) = self.bytes_per_second else { return };
        let passed = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = (*free_at).max(Instant::now() - SLACK);
            *free_at = begin + Duration::from_secs_f64(len as f64 / rate.max(1) as f64);
            *free_at
        };
        sleep_until(passed).await;
    }
}

fn pieces(frame: io::Result<Frame<Bytes>>) -> Vec<io::Result<Frame<Bytes>>> {
    match frame.map(Frame::into_data) {
        Ok(Ok(mut data)) => {
            let mut pieces = Vec::with_capacity(data.len() / PIECE + 1);
            while data.len() > PIECE {
                pieces.push(Ok(Frame::data(data.split_to(PIECE))));
            }
            pieces.push(Ok(Frame::data(data)));
            pieces
        }
        Ok(Err(other)) => vec![Ok(other)],
        Err(error) => vec![Err(error)],
    }
}
