//! The accept loop: TLS 1.3, HTTP/1.1 or HTTP/2 above it, and no connection that can hold others up.
//!
//! Each stage has a time limit: the handshake, the silence between requests, a request itself. A connection
//! that says nothing is closed; garbage ends its own connection and no other. When file descriptors run
//! short, new connections are turned away rather than the program stopped, and so are those of an address
//! that opens them without end.

use crate::rate::{Limiter, Rate};
use bytes::Bytes;
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use quorate_core::{Code, Error, Result};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

/// How long a peer may take, and how many peers there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the TCP connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// Without any request on an open connection.
    pub idle: Duration,
    /// From the first byte of a request to its answer.
    pub request: Duration,
    /// Connections at a time.
    pub connections: usize,
    /// New connections of one address.
    pub per_address: Option<Rate>,
}

impl Default for Limits {
    /// Enough for any honest peer; as many connections as the system lets this program open.
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            request: Duration::from_secs(30),
            connections: open_files().saturating_sub(RESERVED_FILES).max(64),
            per_address: Rate::per_second(CONNECTIONS_PER_ADDRESS),
        }
    }
}

/// What has come in so far, counted while it is served.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Connections that were accepted and have not ended.
    pub open: AtomicUsize,
    /// Connections that were accepted.
    pub accepted: AtomicU64,
    /// Connections that were closed at once, since there were too many at a time.
    pub turned_away: AtomicU64,
    /// Connections that were closed at once, since their address had opened too many.
    pub over_rate: AtomicU64,
    /// Connections that ended in their TLS handshake.
    pub failed_handshakes: AtomicU64,
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The name that it asked for in its TLS greeting.
    pub server_name: Option<String>,
}

/// A tower service that answers every request, with an error page if need be; gRPC and REST routers are such.
pub trait Answers<B>:
    tower_service::Service<http::Request<Incoming>, Response = http::Response<B>, Error = Infallible>
    + Clone
    + Send
    + 'static
{
}

impl<S, B> Answers<B> for S where
    S: tower_service::Service<http::Request<Incoming>, Response = http::Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static
{
}

/// Listens on an address, with the usual mistakes explained.
pub async fn listen(address: SocketAddr) -> Result<TcpListener> {
    bind(address).map_err(|error| {
        let next = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!(
                    "see what uses it (`ss -ltnp 'sport = :{}'`), or choose another port with --listen",
                    address.port()
                )
            }
            std::io::ErrorKind::PermissionDenied => {
                "ports below 1024 need root; choose another port with --listen".to_owned()
            }
            _ => "choose an address of this machine with --listen".to_owned(),
        };
        Error::new(
            Code::AddressUnavailable,
            format!("cannot listen on {address}: {}", crate::files::plain(&error)),
            next,
        )
    })
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart must not wait for the last connections of the run before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop` completes, then lets requests under way finish.
///
/// `service` is cloned for each connection; each request carries its [`Peer`] as an extension. Without `tls`,
/// it is plain HTTP. Limits may change: each connection has those of its beginning. Only the number of connections at the
/// same time stays.
pub async fn serve<S, B>(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    service: S,
    limits_now: impl Fn() -> Limits,
    traffic: Arc<Traffic>,
    stop: impl Future<Output = ()>,
) where
    S: Answers<B>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let acceptor = tls.map(TlsAcceptor::from);
    let mut limits = limits_now();
    let connections = limits.connections;
    let mut limiter = Limiter::new(limits.per_address);
    let places = Arc::new(Semaphore::new(connections));
    let (stopping, stopped) = watch::channel(false);
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or a peer that left at once: wait a moment and go on.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let before = std::mem::replace(&mut limits, limits_now());
        if limits.per_address != before.per_address {
            limiter = Limiter::new(limits.per_address);
        }
        if limiter.take(address.ip(), std::time::Instant::now()).is_err() {
            let over_rate = count(&traffic.over_rate);
            if over_rate.is_power_of_two() {
                tracing::warn!(over_rate, %address, "too many connections of one address: turned away");
            }
            continue;
        }
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            let turned_away = count(&traffic.turned_away);
            if turned_away.is_power_of_two() {
                tracing::warn!(turned_away, limit = connections, "too many connections: turned away");
            }
            continue;
        };
        let open = Open::begin(&traffic);
        let (acceptor, service, stopped) = (acceptor.clone(), service.clone(), stopped.clone());
        tokio::spawn(async move {
            let (_place, open) = (place, open);
            let ended = connection(stream, address, acceptor, service, limits, &open.0, stopped).await;
            if let Err(reason) = ended {
                tracing::debug!(%address, reason, "connection closed");
            }
        });
    }
    drop(listener);
    // Nobody may be left to hear this; then there is nothing to wait for either.
    let _ = stopping.send(true);
    let all = u32::try_from(connections).unwrap_or(u32::MAX);
    let _ = timeout(limits.request, places.acquire_many(all)).await;
}

/// One more; gives how many there are then.
fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}

async fn connection<S, B>(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    service: S,
    limits: Limits,
    traffic: &Traffic,
    stopped: watch::Receiver<bool>,
) -> std::result::Result<(), String>
where
    S: Answers<B>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Answers are small and wanted at once.
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let Some(acceptor) = acceptor else {
        return requests(stream, Peer { address, server_name: None }, service, limits, stopped).await;
    };
    let stream = match timeout(limits.handshake, acceptor.accept(stream)).await {
        Ok(stream) => stream.map_err(|error| error.to_string()),
        Err(_) => Err("no TLS handshake within the time limit".to_owned()),
    };
    let stream = stream.inspect_err(|_| {
        count(&traffic.failed_handshakes);
    })?;
    let server_name = stream.get_ref().1.server_name().map(str::to_owned);
    requests(stream, Peer { address, server_name }, service, limits, stopped).await
}

/// What is said over a connection: HTTP, until either side ends it.
async fn requests<S, B>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    service: S,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) -> std::result::Result<(), String>
where
    S: Answers<B>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let activity = Arc::new(Activity { under_way: AtomicUsize::new(0), finished: AtomicUsize::new(0) });
    let requests = Arc::clone(&activity);
    let service = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let under_way = UnderWay::begin(Arc::clone(&requests));
        let mut service = service.clone();
        async move {
            let _under_way = under_way;
            let answer = async move {
                std::future::poll_fn(|context| service.poll_ready(context)).await?;
                service.call(request).await
            };
            // An error here resets the request's stream, or closes an HTTP/1.1 connection.
            match timeout(limits.request, answer).await {
                Ok(Ok::<_, Infallible>(answer)) => Ok(answer),
                Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut)),
            }
        }
    });

    let mut http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(limits.idle);
    http.http2().timer(TokioTimer::new()).max_concurrent_streams(64).max_header_list_size(16 * 1024);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut finished = 0;
    let mut quiet_since = Instant::now();
    let patience = loop {
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(|error| error.to_string()),
            _ = stopped.wait_for(|stopped| *stopped) => break limits.request,
            () = tokio::time::sleep_until(quiet_since + limits.idle) => {
                let now_finished = activity.finished.load(Ordering::Relaxed);
                if activity.under_way.load(Ordering::Relaxed) == 0 && now_finished == finished {
                    break limits.idle;
                }
                finished = now_finished;
                quiet_since = Instant::now();
            }
        }
    };
    connection.as_mut().graceful_shutdown();
    match timeout(patience, connection).await {
        Ok(ended) => ended.map_err(|error| error.to_string()),
        Err(_) => Err("the peer did not close in time".to_owned()),
    }
}

/// The threads on which a program serves.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Runtime::new().map_err(|error| {
        Error::new(
            Code::Internal,
            format!("no threads can be started ({error})"),
            "check the system's limits",
        )
    })
}

/// Counts one connection for as long as it lives, however it ends.
struct Open(Arc<Traffic>);

impl Open {
    fn begin(traffic: &Arc<Traffic>) -> Self {
        count(&traffic.accepted);
        traffic.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(traffic))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many requests a connection has, and has had.
struct Activity {
    under_way: AtomicUsize,
    finished: AtomicUsize,
}

/// Counts one request for as long as it lives, however it ends.
struct UnderWay(Arc<Activity>);

impl UnderWay {
    fn begin(activity: Arc<Activity>) -> Self {
        activity.under_way.fetch_add(1, Ordering::Relaxed);
        Self(activity)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.finished.fetch_add(1, Ordering::Relaxed);
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The number of files that this program may open, raised to what the system permits.
fn open_files() -> usize {
    let permitted = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    usize::try_from(permitted).unwrap_or(usize::MAX).min(MOST_CONNECTIONS)
}

/// Connections that wait to be accepted. The usual 128 are too few for a network whose machines all start in
/// the morning: those left out try again after seconds only. The system lowers it to its own limit.
const BACKLOG: u32 = 16 * 1024;
/// New connections a second of one address, and ten times as many at once: ten thousand machines behind one
/// router may start in the same second, and who opens them without end has half a processor at the most.
pub const CONNECTIONS_PER_ADDRESS: u32 = 1_000;
/// For the database, the log, name servers and the like.
const RESERVED_FILES: usize = 128;
/// A semaphore's and a memory's limit rather than the system's.
const MOST_CONNECTIONS: usize = 200_000;
