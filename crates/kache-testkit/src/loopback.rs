//! An HTTP/1.1 server on a free loopback port, on threads of its own, that ends with its value. What it answers is its owner's business.

use futures_util::future::BoxFuture;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt::set_socket_linger;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, io};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub(crate) type Body = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, io::Error>;
/// `Err` ends the connection without an answer.
pub(crate) type Answer = BoxFuture<'static, io::Result<Response<Body>>>;
pub(crate) type Handler = Arc<dyn Fn(Request<hyper::body::Incoming>, Line) -> Answer + Send + Sync>;

/// See the module.
pub(crate) struct Loopback {
    address: SocketAddr,
    there: watch::Sender<bool>,
    runtime: Option<Runtime>,
}

impl Loopback {
    /// Starts one. `greet` is how long a new connection has to wait.
    pub(crate) fn start(tls: Option<TlsAcceptor>, greet: Duration, handler: Handler) -> Self {
        let builder = &mut tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime");
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
        listener.set_nonblocking(true).expect("a listener that doesn't block");
        let entered = runtime.enter();
        let listener = TcpListener::from_std(listener).expect("a listener");
        drop(entered);
        let address = listener.local_addr().expect("its address");
        let (there, seen) = watch::channel(true);
        runtime.spawn(accept(listener, seen, Door { tls, greet, handler }));
        Self { address, there, runtime: Some(runtime) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Goes away, with all connections, or comes back at the same port.
    pub(crate) fn set_there(&self, there: bool) {
        self.there.send_replace(there);
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Loopback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loopback").field("address", &self.address).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Door {
    tls: Option<TlsAcceptor>,
    greet: Duration,
    handler: Handler,
}

async fn accept(mut listener: TcpListener, mut there: watch::Receiver<bool>, door: Door) {
    let address = listener.local_addr().expect("its address");
    loop {
        let mut connections = JoinSet::new();
        tokio::select! {
            () = welcome(&listener, &door, &mut connections) => {}
            _ = there.wait_for(|there| !*there) => {}
        }
        drop(listener);
        connections.shutdown().await;
        if there.wait_for(|there| *there).await.is_err() {
            return;
        }
        listener = rebind(address).await;
    }
}

async fn welcome(listener: &TcpListener, door: &Door, connections: &mut JoinSet<()>) {
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                connections.spawn(door.clone().serve(stream));
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// Somebody else may hold the port for a moment: connections of its own that are being closed.
async fn rebind(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

impl Door {
    async fn serve(self, stream: TcpStream) {
        tokio::time::sleep(self.greet).await;
        let _ = stream.set_nodelay(true);
        let line = Line(Arc::new(Mutex::new(stream.as_fd().try_clone_to_owned().ok())));
        match self.tls {
            None => converse(stream, line, self.handler).await,
            Some(acceptor) => match acceptor.accept(stream).await {
                Ok(stream) => converse(stream, line, self.handler).await,
                Err(_) => line.close(),
            },
        }
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, line: Line, handler: Handler) {
    let told = line.clone();
    let service = service_fn(move |request| handler(request, told.clone()));
    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let _ = connection.await;
    line.close();
}

/// A second handle on a connection's socket.
#[derive(Clone)]
pub(crate) struct Line(Arc<Mutex<Option<OwnedFd>>>);

impl Line {
    /// From now on the end of this connection is a reset.
    pub(crate) fn will_reset(&self) {
        let handle = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(handle) = handle {
            let _ = set_socket_linger(handle, Some(Duration::ZERO));
        }
    }

    fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
