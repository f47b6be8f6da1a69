//! Clients that cost as little as they can: they verify the host as a machine does, and write HTTP/2 by hand.

use crate::site::{self, Site};
use prost::Message;
use quorate_core::activation::ActivationRequest;
use quorate_core::certificate::Role;
use quorate_core::license_state::LicenseStatus;
use quorate_core::{Code, Error, Result};
use quorate_edge::clock::Clock;
use quorate_edge::random;
use quorate_proto::request;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Clients of one server; cheap to clone.
#[derive(Clone)]
pub struct Client {
    connector: TlsConnector,
    name: ServerName<'static>,
    address: SocketAddr,
    work: Work,
}

/// What is asked.
#[derive(Clone, Copy)]
pub enum Work {
    /// An activation, of one of so many machines.
    Activate(u128),
    /// A call without anything in it.
    Nothing,
    /// As many bytes as an activation has, without HTTP.
    Echo(Bytes),
}

/// How many bytes a request and its answer had inside TLS, all of HTTP/2 included.
#[derive(Clone, Copy)]
pub struct Bytes {
    /// From the client.
    pub sent: usize,
    /// From the server.
    pub received: usize,
}

impl Client {
    /// Clients that believe the vendor of a site.
    pub fn new(site: &Site, address: SocketAddr, work: Work) -> Result<Self> {
        let internal = |error: rustls::Error| {
            Error::new(Code::Internal, format!("TLS cannot be set up ({error})"), "please report this")
        };
        let mut roots = rustls::RootCertStore::empty();
        roots.add(site.root().clone()).map_err(internal)?;
        let provider = rustls::crypto::aws_lc_rs::default_provider().into();
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(internal)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        // Each is another machine, which has never been here.
        tls.resumption = Resumption::disabled();
        let name = Role::Host.server_name(&site::VENDOR.parse()?);
        let name = ServerName::try_from(name).map_err(|error| {
            Error::new(Code::Internal, format!("the host has no name ({error})"), "please report this")
        })?;
        Ok(Self { connector: TlsConnector::from(Arc::new(tls)), name, address, work })
    }

    /// One request on a connection of its own.
    pub async fn once(&self) -> Result<Bytes> {
        self.ask_once().await.map_err(|error| failed(&error))
    }

    /// So many clients, each of which connects, asks, leaves and begins again. Gives how many were answered.
    pub async fn fresh(&self, clients: usize, time: Duration) -> Result<u64> {
        let until = Instant::now() + time;
        self.together(clients, move |client| async move {
            let mut answered = 0;
            while Instant::now() < until {
                client.ask_once().await?;
                answered += 1;
            }
            Ok(answered)
        })
        .await
    }

    /// So many clients, each of which connects once and asks one thing after the other.
    pub async fn kept(&self, clients: usize, time: Duration) -> Result<u64> {
        let until = Instant::now() + time;
        self.together(clients, move |client| async move {
            let mut connection = client.connect().await?;
            let mut answered = 0;
            while Instant::now() < until {
                connection.ask(client.work).await?;
                answered += 1;
            }
            Ok(answered)
        })
        .await
    }

    /// So many clients at once, each with one request. Gives how long each waited.
    pub async fn storm(&self, clients: u32) -> Result<Vec<Duration>> {
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let client = self.clone();
            tasks.spawn(async move {
                let started = Instant::now();
                client.ask_once().await.map(|_| started.elapsed())
            });
        }
        tasks.join_all().await.into_iter().collect::<io::Result<_>>().map_err(|error| failed(&error))
    }

    async fn together<F>(&self, clients: usize, each: impl Fn(Self) -> F) -> Result<u64>
    where
        F: Future<Output = io::Result<u64>> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            tasks.spawn(each(self.clone()));
        }
        let answered: io::Result<Vec<u64>> = tasks.join_all().await.into_iter().collect();
        answered.map(|answered| answered.iter().sum()).map_err(|error| failed(&error))
    }

    async fn ask_once(&self) -> io::Result<Bytes> {
        self.connect().await?.ask(self.work).await
    }

    async fn connect(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        // Thousands of connections a second would use up this machine's ports if each were remembered.
        stream.set_zero_linger()?;
        let stream = self.connector.connect(self.name.clone(), stream).await?;
        Ok(Connection { stream, next: 1, read: Vec::with_capacity(8 * 1024) })
    }
}

/// A connection that speaks HTTP/2, one request after the other.
struct Connection {
    stream: TlsStream<TcpStream>,
    /// The stream of the next request.
    next: u32,
    /// What has come in and was not looked at.
    read: Vec<u8>,
}

impl Connection {
    async fn ask(&mut self, work: Work) -> io::Result<Bytes> {
        let mut out = Vec::with_capacity(1024);
        let message = match work {
            Work::Activate(machines) => activation(machines).encode_to_vec(),
            Work::Nothing => Vec::new(),
            Work::Echo(Bytes { sent, received }) => {
                let mut taken = vec![0; received];
                self.stream.write_all(&vec![7; sent]).await?;
                self.stream.flush().await?;
                self.stream.read_exact(&mut taken).await?;
                return Ok(Bytes { sent, received });
            }
        };
        if self.next == 1 {
            begin(&mut out);
        }
        let id = self.next;
        self.next += 2;
        frame(&mut out, HEADERS, END_HEADERS, id, HEAD);
        let mut data = vec![0];
        data.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
        data.extend(message);
        frame(&mut out, DATA, END_STREAM, id, &data);
        self.stream.write_all(&out).await?;
        self.stream.flush().await?;
        let received = self.answer(id, matches!(work, Work::Activate(_))).await?;
        Ok(Bytes { sent: out.len(), received })
    }

    /// Reads to the end of the answer to a request. Gives how many bytes that were.
    async fn answer(&mut self, id: u32, activation: bool) -> io::Result<usize> {
        let (mut received, mut data) = (0, 0);
        loop {
            while let Some((kind, flags, stream, length)) = head(&self.read) {
                if self.read.len() < FRAME_HEAD + length {
                    break;
                }
                self.read.drain(..FRAME_HEAD + length);
                received += FRAME_HEAD + length;
                match kind {
                    DATA if stream == id => data += length,
                    HEADERS if stream == id && flags & END_STREAM != 0 => {
                        // An error has no message, and an activation that was answered is no empty one.
                        let least = if activation { 1_000 } else { 5 };
                        return if data >= least { Ok(received) } else { Err(refused()) };
                    }
                    SETTINGS if flags & ACK == 0 => {
                        let mut out = Vec::new();
                        frame(&mut out, SETTINGS, ACK, 0, &[]);
                        self.stream.write_all(&out).await?;
                    }
                    RESET | GO_AWAY => return Err(refused()),
                    _ => {}
                }
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn activation(machines: u128) -> quorate_proto::v1::ActivateRequest {
    let nonce = random::nonce();
    let number = nonce.0 % machines;
    request::to_wire(&ActivationRequest {
        application: site::APPLICATION,
        sku: site::EDITION,
        cmid: site::cmid(number),
        hardware: site::hardware(number),
        status: LicenseStatus::InitialGrace,
        minutes_left: 43_200,
        threshold: 5,
        client_time: Clock::system().now(),
        machine_name: "pc-1234567".to_owned(),
        virtual_machine: false,
        nonce,
        previous_cmid: None,
    })
}

/// How HTTP/2 begins: with windows that never close, so that nothing has to be said about them later.
fn begin(out: &mut Vec<u8>) {
    out.extend(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let mut settings = Vec::new();
    for (name, value) in [(HEADER_TABLE_SIZE, 0), (INITIAL_WINDOW_SIZE, LARGEST_WINDOW)] {
        settings.extend(name.to_be_bytes());
        settings.extend(value.to_be_bytes());
    }
    frame(out, SETTINGS, 0, 0, &settings);
    frame(out, WINDOW_UPDATE, 0, 0, &(LARGEST_WINDOW - FIRST_WINDOW).to_be_bytes());
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend(&length[1..]);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
}

/// Kind, flags, stream and length of the frame that begins here.
fn head(read: &[u8]) -> Option<(u8, u8, u32, usize)> {
    let &[l1, l2, l3, kind, flags, s1, s2, s3, s4] = read.first_chunk::<FRAME_HEAD>()?;
    let length = usize::from(l1) << 16 | usize::from(l2) << 8 | usize::from(l3);
    Some((kind, flags, u32::from_be_bytes([s1, s2, s3, s4]), length))
}

fn refused() -> io::Error {
    io::Error::other("the server refused a request; its log is in the temporary directory")
}

fn failed(error: &io::Error) -> Error {
    Error::new(
        Code::HostUnreachable,
        format!("a client failed: {error}"),
        "see what else runs on this machine",
    )
}

/// `POST https://host/quorate.v1.Activation/Activate` in HPACK, with nothing to be remembered (RFC 7541).
const HEAD: &[u8] = b"\x83\x87\x04\x1f/quorate.v1.Activation/Activate\x01\x04host\
    \x0f\x10\x10application/grpc\x00\x02te\x08trailers";
const FRAME_HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const HEADER_TABLE_SIZE: u16 = 1;
const INITIAL_WINDOW_SIZE: u16 = 4;
const LARGEST_WINDOW: u32 = 0x7fff_ffff;
const FIRST_WINDOW: u32 = 0xffff;
