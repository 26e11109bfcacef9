//! A real S3 server inside the test's process: it checks signatures, keeps objects as files, and has two users.

use crate::certificate;
use crate::loopback::{Answer, Handler, Loopback};
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::Incoming;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Result, s3_error};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

/// Somebody with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct S3User {
    /// Access key id.
    pub access_key: &'static str,
    /// Secret access key.
    pub secret_key: &'static str,
}

/// See the module. Ends with its value.
#[derive(Debug)]
pub struct S3Server {
    place: TempDir,
    counts: Arc<Counts>,
    tls: bool,
    server: Loopback,
}

#[derive(Debug, Default)]
struct Counts(Mutex<BTreeMap<String, u64>>);

impl S3Server {
    /// The bucket that is there.
    pub const BUCKET: &'static str = "kache-test";
    /// Objects whose key begins like this may be read by everybody.
    pub const PUBLIC: &'static str = "public/";
    /// A user who may do everything.
    pub const OWNER: S3User = S3User { access_key: "AKIAOWNER0000000TEST", secret_key: "owner/secret+with=signs" };
    /// A user who may `GetObject` and `ListBucket`; all else is `AccessDenied`.
    pub const READER: S3User = S3User { access_key: "AKIAREADER000000TEST", secret_key: "reader-secret" };

    /// Over HTTP.
    pub fn start() -> Self {
        Self::launch(false)
    }

    /// Over HTTPS, with a certificate of [`Self::ca_file`].
    pub fn start_tls() -> Self {
        Self::launch(true)
    }

    fn launch(tls: bool) -> Self {
        let place = tempfile::Builder::new().prefix("kt-s3").tempdir().expect("a directory");
        std::fs::create_dir_all(place.path().join("data").join(Self::BUCKET)).expect("a bucket");
        let acceptor = tls.then(|| certificate::acceptor(&place.path().join("ca.pem")));
        let counts = Arc::<Counts>::default();
        let handler = handler(service(&place.path().join("data")), Arc::clone(&counts));
        Self { server: Loopback::start(acceptor, Duration::ZERO, handler), place, counts, tls }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.address())
    }

    /// The certificate authority's PEM file, for `SSL_CERT_FILE`; only of a server with TLS.
    pub fn ca_file(&self) -> PathBuf {
        self.place.path().join("ca.pem")
    }

    /// How many requests of a kind came in, whatever became of them: `GET` (of an object), `LIST`, `PUT`, `HEAD`, `DELETE`, `POST`.
    pub fn requests(&self, kind: &str) -> u64 {
        self.counts.lock().get(kind).copied().unwrap_or(0)
    }

    /// The keys of all objects in the bucket, sorted.
    pub fn keys(&self) -> Vec<String> {
        let bucket = self.object(Path::new(""));
        let mut keys = Vec::new();
        collect(&bucket, &bucket, &mut keys);
        keys.sort();
        keys
    }

    /// The file that holds an object's bytes: read it, damage it, remove it.
    pub fn object(&self, key: impl AsRef<Path>) -> PathBuf {
        self.place.path().join("data").join(Self::BUCKET).join(key)
    }

    /// Goes away with all its connections, or comes back at the same port with the same objects.
    pub fn set_there(&self, there: bool) {
        self.server.set_there(there);
    }
}

fn service(data: &Path) -> S3Service {
    let mut auth = SimpleAuth::new();
    for S3User { access_key, secret_key } in [S3Server::OWNER, S3Server::READER] {
        auth.register(access_key.to_owned(), secret_key.into());
    }
    let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(data).expect("a directory of buckets"));
    builder.set_auth(auth);
    builder.set_access(Rights);
    builder.build()
}

fn handler(service: S3Service, counts: Arc<Counts>) -> Handler {
    Arc::new(move |request: Request<Incoming>, _| -> Answer {
        counts.note(&request);
        let service = service.clone();
        Box::pin(async move {
            // A server that refuses before it has read everything resets connections, which is another trouble.
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            let answer = service
                .call(Request::from_parts(head, s3s::Body::from(body)))
                .await
                .map_err(|error| io::Error::other(format!("{error:?}")))?;
            Ok(answer.map(|body| body.map_err(io::Error::other).boxed_unsync()))
        })
    })
}

impl Counts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note<B>(&self, request: &Request<B>) {
        *self.lock().entry(kind(request).to_owned()).or_default() += 1;
    }
}

/// The method, `LIST` being a GET of a bucket.
pub(crate) fn kind<B>(request: &Request<B>) -> &str {
    let of_bucket = !request.uri().path().trim_matches('/').contains('/');
    if request.method() == "GET" && of_bucket { "LIST" } else { request.method().as_str() }
}

/// Who may do what.
struct Rights;

#[async_trait::async_trait]
impl S3Access for Rights {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let reading = ["GetObject", "HeadObject", "ListObjects", "ListObjectsV2", "HeadBucket"].contains(&context.s3_op().name());
        let public = context.s3_path().get_object_key().is_some_and(|key| key.starts_with(S3Server::PUBLIC));
        match context.credentials() {
            None if reading && public => Ok(()),
            Some(credentials) if reading || credentials.access_key == S3Server::OWNER.access_key => Ok(()),
            _ => Err(s3_error!(AccessDenied, "Access Denied")),
        }
    }
}

fn collect(bucket: &Path, directory: &Path, keys: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(bucket, &path, keys);
        } else if let Ok(key) = path.strip_prefix(bucket) {
            keys.push(key.to_string_lossy().into_owned());
        }
    }
}
