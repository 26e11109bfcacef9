//! A right S3 server in this process, which checks signatures: `s3s` over a directory.

use crate::support::{ACCESS_KEY, SECRET_KEY};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Serves the bucket `team` until the test's runtime ends.
pub(crate) struct Server {
    dir: TempDir,
    pub(crate) endpoint: String,
    /// The authority that signed its certificate (DER), if it speaks https.
    pub(crate) authority: Option<rcgen::Certificate>,
}

impl Server {
    pub(crate) async fn http() -> Self {
        Self::start(None).await
    }

    pub(crate) async fn https() -> Self {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = ca.self_signed(&ca_key).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = builder.with_no_client_auth().with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into()).unwrap();
        Self { authority: Some(authority), ..Self::start(Some(TlsAcceptor::from(Arc::new(config)))).await }
    }

    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("team")).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let endpoint = if tls.is_some() { format!("https://localhost:{port}") } else { format!("http://127.0.0.1:{port}") };
        tokio::spawn(accept(listener, service, tls));
        Self { dir, endpoint, authority: None }
    }

    /// Where a key of the bucket lies on disk.
    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.dir.path().join("team").join(key)
    }
}

async fn accept(listener: TcpListener, service: S3Service, tls: Option<TlsAcceptor>) {
    while let Ok((socket, _)) = listener.accept().await {
        let (service, tls) = (service.clone(), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => drop(http1::Builder::new().serve_connection(TokioIo::new(socket), service).await),
                Some(tls) => {
                    if let Ok(socket) = tls.accept(socket).await {
                        drop(http1::Builder::new().serve_connection(TokioIo::new(socket), service).await);
                    }
                }
            }
        });
    }
}
