//! Opens connections: TCP, TLS where the endpoint says https, both within one deadline, each connection counted.
//!
//! Trusted certificates are the system's; `SSL_CERT_FILE` and `SSL_CERT_DIR` replace them, as everywhere. No proxies, no HTTP/2: S3
//! speaks HTTP/1.1, and a pool of connections is faster for many small objects.

use crate::counters::Counters;
use crate::error::{ErrorKind, RemoteError};
use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service as _;

const KEEPALIVE: Duration = Duration::from_secs(30);

/// Bytes to and from a server.
pub(crate) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Opens connections for a pool.
#[derive(Debug)]
pub(crate) struct Connector {
    inner: HttpsConnector<HttpConnector>,
    deadline: Duration,
    counters: Arc<Counters>,
}

impl Connector {
    pub(crate) fn new(tls: ClientConfig, deadline: Duration, counters: Arc<Counters>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        let inner = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        Self { inner, deadline, counters }
    }

    /// Opens a connection to the server of `uri`.
    pub(crate) async fn open(&self, uri: Uri) -> Result<Stream, RemoteError> {
        let host = uri.authority().map_or_else(String::new, ToString::to_string);
        let mut inner = self.inner.clone();
        let connecting = async {
            poll_fn(|context| inner.poll_ready(context)).await?;
            inner.call(uri).await
        };
        match timeout(self.deadline, connecting).await {
            Ok(Ok(stream)) => {
                self.counters.connections_opened.one();
                Ok(stream)
            }
            Ok(Err(error)) => Err(refused(&host, &*error)),
            Err(_) => {
                let detail = format!("no connection to {host} within {} s", self.deadline.as_secs_f32());
                Err(RemoteError::new(ErrorKind::Connect, detail))
            }
        }
    }
}

fn refused(host: &str, error: &(dyn Error + 'static)) -> RemoteError {
    match find::<rustls::Error>(error) {
        Some(rustls::Error::InvalidCertificate(why)) => RemoteError::new(
            ErrorKind::Tls,
            format!("the certificate of {host} isn't trusted ({why:?}); set SSL_CERT_FILE to a file with your own authority's certificate"),
        ),
        Some(tls) => RemoteError::new(ErrorKind::Tls, format!("no TLS connection to {host}: {tls}")),
        None => RemoteError::new(ErrorKind::Connect, format!("can't connect to {host}: {}", root_cause(error))),
    }
}

/// What is trusted: the system's certificates and `extra` ones (DER). Looked up only when `endpoint` is https.
pub(crate) fn tls(endpoint_is_https: bool, extra: &[Vec<u8>]) -> Result<ClientConfig, RemoteError> {
    let refuse = |detail: String| RemoteError::new(ErrorKind::Tls, detail);
    let mut roots = RootCertStore::empty();
    for der in extra {
        let added = roots.add(CertificateDer::from(der.clone()));
        added.map_err(|error| refuse(format!("not a certificate to trust: {error}")))?;
    }
    if endpoint_is_https {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first().map_or_else(|| "the system has none".to_owned(), ToString::to_string);
            return Err(refuse(format!("no trusted certificates: {why}; install ca-certificates or set SSL_CERT_FILE")));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| refuse(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The first error of type `E` in a chain, looking into `io::Error`s, which don't show what they wrap as their source.
pub(crate) fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = inside(error);
    }
    None
}

/// The text of the innermost error.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(next) = inside(last) {
        last = next;
    }
    last.to_string()
}

fn inside<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
    wrapped.map(|error| error as &(dyn Error + 'static)).or_else(|| error.source())
}
