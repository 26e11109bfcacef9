//! The people's side of the socket: HTTP/1.1.
//!
//! | request | answer |
//! |---|---|
//! | `GET /healthz` | `ok` |
//! | `GET /v1/stats` | counters as JSON; names are a contract |
//! | `POST /v1/stats/zero` | starts counting afresh |
//! | `GET /v1/why?crate=NAME`, `GET /v1/report?dir=PATH`, `GET /v1/events` | see [`history`] |
//! | `GET /metrics` | the same counters in Prometheus' text format |
//! | `GET /v1/status` | version, paths, notices |
//! | `GET /v1/artifacts`, `POST /v1/gc`, `POST /v1/purge`, `POST /v1/verify` | see [`crate::housekeeping`] |
//! | `POST /v1/sync` | moves artifacts as the JSON in its body orders; answers with a line of JSON for each event |
//! | `POST /v1/flush?timeout_ms=N` | waits until the bucket has everything, tells what is left |
//! | `POST /v1/sees` | whether the daemon sees the files that the asking process sees, the directory that the JSON in the body names by path, device and inode among them |
//! | `POST /v1/remote/check?write=1` | tries the bucket out; `null` without one |
//! | `POST /v1/stop` | drains and ends the daemon |

mod history;

use crate::bucket::{Condition, Unflushed};
use crate::config_watch::ConfigWatch;
use crate::engine::Engine;
use crate::housekeeping::{self, Refusal};
use crate::process;
use crate::stats::{Snapshot, StoreSnapshot};
use crate::strangers::Strangers;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use kache_store::Store;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

/// Largest order that is read, bytes: a path and some flags.
const MAX_ORDER: usize = 64 << 10;

/// What people can ask for beside the counters.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) engine: Arc<Engine>,
    pub(crate) socket: PathBuf,
    /// A service manager listens on the socket, and starts a daemon for the next connection.
    pub(crate) activated: bool,
    pub(crate) cache_dir: PathBuf,
    pub(crate) unknown_variables: Vec<String>,
    pub(crate) config: Arc<ConfigWatch>,
    pub(crate) started: Instant,
    pub(crate) strangers: Strangers,
    pub(crate) stop: CancellationToken,
}

#[derive(Serialize)]
struct Status<'a> {
    version: &'static str,
    pid: u32,
    uptime_secs: u64,
    socket: &'a PathBuf,
    activated: bool,
    cache_dir: &'a PathBuf,
    unknown_variables: &'a [String],
    notices: Vec<String>,
    /// Keys whose values count from the next start on.
    restart_to_apply: Vec<&'static str>,
    compiling: usize,
    /// Somebody wrote into these in place.
    damaged_libraries: Vec<String>,
    bucket: BucketStatus,
}

/// Whether a bucket is used, which, and how it goes.
#[derive(Serialize)]
struct BucketStatus {
    /// `none`, `off`, `read-only` or `read-write`.
    mode: &'static str,
    #[serde(flatten)]
    condition: Option<Condition>,
}

/// What became of a flush.
#[derive(Serialize)]
struct Flushed {
    /// As in [`BucketStatus::mode`].
    bucket: &'static str,
    #[serde(flatten)]
    left: Unflushed,
    /// What last went wrong.
    last_error: Option<String>,
}

/// Serves one connection, that of the process `peer`, until its client closes it.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(front: Arc<Front>, stream: S, peer: Option<u32>) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let front = Arc::clone(&front);
        async move {
            Ok::<_, Infallible>(match (request.method(), request.uri().path()) {
                (&Method::GET, "/v1/events") => history::events(&front).await,
                (&Method::POST, "/v1/sync") => front.sync(request.into_body()).await,
                (&Method::POST, "/v1/sees") => sees(request.into_body(), peer).await.map(BodyExt::boxed),
                (method, _) => front.answer(method, request.uri()).await.map(BodyExt::boxed),
            })
        }
    });
    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
}

impl Front {
    async fn answer(self: &Arc<Self>, method: &Method, uri: &Uri) -> Response<Full<Bytes>> {
        match (method, uri.path()) {
            (&Method::GET, "/healthz") => text(StatusCode::OK, "ok\n"),
            (&Method::GET, "/v1/stats") => self.with_stats(|stats| json(&stats)).await,
            (&Method::POST, "/v1/stats/zero") => {
                self.engine.stats.zero();
                text(StatusCode::OK, "zeroed\n")
            }
            (&Method::GET, "/metrics") => {
                self.with_stats(|stats| response(StatusCode::OK, "text/plain; version=0.0.4", stats.prometheus())).await
            }
            (&Method::GET, "/v1/status") => json(&self.status()),
            (&Method::GET, "/v1/why") => history::why(self, uri.query()).await,
            (&Method::GET, "/v1/report") => history::report(self, uri.query()).await,
            (&Method::GET, "/v1/artifacts") => self.housekeeping(uri.query(), housekeeping::list).await,
            (&Method::POST, "/v1/gc") => self.housekeeping(uri.query(), housekeeping::gc).await,
            (&Method::POST, "/v1/purge") => self.housekeeping(uri.query(), housekeeping::purge).await,
            (&Method::POST, "/v1/verify") => self.housekeeping(uri.query(), housekeeping::verify).await,
            (&Method::POST, "/v1/flush") => self.flush(uri.query()).await,
            (&Method::POST, "/v1/remote/check") => match self.engine.bucket() {
                Some(bucket) => json(&bucket.check(uri.query() == Some("write=1")).await),
                None => json(&()),
            },
            (&Method::POST, "/v1/stop") => {
                self.stop.cancel();
                text(StatusCode::OK, "stopping\n")
            }
            (
                _,
                "/v1/artifacts" | "/v1/why" | "/v1/report" | "/v1/events" | "/v1/remote/check" | "/v1/sees" | "/v1/gc" | "/v1/purge"
                | "/healthz" | "/v1/stats" | "/v1/stats/zero" | "/metrics" | "/v1/status" | "/v1/verify" | "/v1/flush" | "/v1/sync"
                | "/v1/stop",
            ) => text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"),
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    /// The counters; the journal's books may be busy, or be read from the disk for the first time.
    async fn with_stats(self: &Arc<Self>, show: impl FnOnce(Snapshot) -> Response<Full<Bytes>>) -> Response<Full<Bytes>> {
        let front = Arc::clone(self);
        match tokio::task::spawn_blocking(move || front.stats()).await {
            Ok(stats) => show(stats),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        }
    }

    fn stats(&self) -> Snapshot {
        let usage = self.engine.store.usage();
        let store = StoreSnapshot {
            artifacts: usage.artifacts,
            blobs: usage.blobs,
            bytes: usage.bytes,
            max_bytes: usage.max_bytes,
            evicted_artifacts: usage.evicted_artifacts,
        };
        let remote = self.engine.bucket().map(|bucket| bucket.snapshot());
        self.engine.stats.snapshot(store, remote, self.engine.journal.last_build())
    }

    fn status(&self) -> Status<'_> {
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime_secs: self.started.elapsed().as_secs(),
            socket: &self.socket,
            activated: self.activated,
            cache_dir: &self.cache_dir,
            unknown_variables: &self.unknown_variables,
            notices: self.notices(),
            restart_to_apply: self.config.restart_to_apply(),
            compiling: self.engine.leases.len(),
            damaged_libraries: self.engine.outputs.damaged().iter().map(|path| path.display().to_string()).collect(),
            bucket: BucketStatus { mode: self.config.bucket(), condition: self.engine.bucket().map(|bucket| bucket.condition()) },
        }
    }

    fn notices(&self) -> Vec<String> {
        let bucket = self.engine.bucket().and_then(|bucket| bucket.notice());
        self.config.notices().into_iter().chain(bucket).chain(self.strangers.notice()).collect()
    }

    /// Without a bucket there is nothing to wait for.
    async fn flush(&self, query: Option<&str>) -> Response<Full<Bytes>> {
        let timeout = match query.map(|query| query.strip_prefix("timeout_ms=").and_then(|number| number.parse().ok())) {
            Some(None) => return text(StatusCode::BAD_REQUEST, "timeout_ms: a number of milliseconds\n"),
            Some(Some(millis)) => Some(Duration::from_millis(millis)),
            None => None,
        };
        let (left, last_error) = match self.engine.bucket() {
            Some(bucket) => (bucket.flush(&self.engine, timeout).await, bucket.last_error()),
            None => (Unflushed::default(), None),
        };
        json(&Flushed { bucket: self.config.bucket(), left, last_error })
    }

    async fn sync(&self, body: Incoming) -> Response<BoxBody<Bytes, Infallible>> {
        let Some(bucket) = self.engine.bucket() else {
            let advice = match self.config.bucket() {
                "none" => "no bucket is configured: set KACHE_S3_BUCKET or [cache.remote]\n",
                _ => "the bucket is switched off: set `mode` in [cache.remote], or KACHE_REMOTE_MODE, to read-write or read-only\n",
            };
            return text(StatusCode::CONFLICT, advice).map(BodyExt::boxed);
        };
        let order = match order(body).await {
            Ok(order) => order,
            Err(why) => return text(StatusCode::BAD_REQUEST, &why).map(BodyExt::boxed),
        };
        let (sender, events) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(Arc::clone(bucket).sync(order, sender));
        let lines = futures_util::stream::unfold(events, async |mut events| {
            let event = events.recv().await?;
            let line = serde_json::to_string(&event).unwrap_or_default() + "\n";
            Some((Ok(Frame::data(Bytes::from(line))), events))
        });
        let mut response = Response::new(BodyExt::boxed(StreamBody::new(lines)));
        response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/x-ndjson"));
        response
    }

    /// What `work` says of the store, found out on a thread that may wait for the disk.
    async fn housekeeping<T: Serialize + Send + 'static>(
        &self,
        query: Option<&str>,
        work: impl FnOnce(&Store, Option<&str>) -> Result<T, Refusal> + Send + 'static,
    ) -> Response<Full<Bytes>> {
        let (engine, query) = (Arc::clone(&self.engine), query.map(str::to_owned));
        let done = tokio::task::spawn_blocking(move || work(&engine.store, query.as_deref())).await;
        match done {
            Ok(Ok(answer)) => json(&answer),
            Ok(Err(Refusal::Store(error))) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
            Ok(Err(refusal)) => text(StatusCode::BAD_REQUEST, &format!("{refusal}\n")),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        }
    }
}

/// A directory as somebody else sees it.
#[derive(Deserialize)]
struct Sight {
    path: PathBuf,
    device: u64,
    inode: u64,
}

async fn sees(body: Incoming, peer: Option<u32>) -> Response<Full<Bytes>> {
    let sight: Sight = match order(body).await {
        Ok(sight) => sight,
        Err(why) => return text(StatusCode::BAD_REQUEST, &why),
    };
    let look = move || {
        let found = std::fs::metadata(&sight.path);
        found.is_ok_and(|found| (found.dev(), found.ino()) == (sight.device, sight.inode)) && peer.is_none_or(process::shares_our_files)
    };
    match tokio::task::spawn_blocking(look).await {
        Ok(same) => json(&same),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

/// The JSON of a request's body.
async fn order<T: serde::de::DeserializeOwned>(body: Incoming) -> Result<T, String> {
    let body = Limited::new(body, MAX_ORDER).collect().await.map_err(|error| format!("{error}\n"))?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| format!("{error}\n"))
}

fn json(value: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_string(value) {
        Ok(body) => response(StatusCode::OK, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", body.to_owned())
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}
