//! Stands in for `hyper-tls` under `[patch.crates-io]`.
//!
//! `rusoto_core` doesn't compile without one of its TLS features, and each of them brings an HTTP client with a TLS stack that nobody
//! maintains. kache uses rusoto's request types, XML parsing and signing, and sends requests with a transport of its own
//! (`kache-remote/src/transport.rs`). So the feature `native-tls` is on, and this crate is the connector behind it: it satisfies the
//! types and answers every connection attempt with an error.

use hyper::Uri;
use std::future::{Ready, ready};
use std::io;
use std::marker::PhantomData;
use std::task::{Context, Poll};
use tokio::net::TcpStream;

/// A connector that never connects.
#[derive(Clone, Debug)]
pub struct HttpsConnector<T>(PhantomData<T>);

impl<T> HttpsConnector<T> {
    /// Makes one.
    #[expect(clippy::new_without_default, reason = "the shape of the crate that this one stands in for")]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> tower_service::Service<Uri> for HttpsConnector<T> {
    type Response = TcpStream;
    type Error = io::Error;
    type Future = Ready<io::Result<TcpStream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(Err(io::ErrorKind::Unsupported.into()))
    }
}
