//! One question to one host: TCP, TLS 1.3 with the vendor's host name as SNI, one gRPC call.
//!
//! TCP and TLS are done here rather than inside the gRPC library, because what can go wrong there (nobody
//! listens, something else listens, a host of another vendor) is what an administrator must be told.

use crate::happy_eyeballs;
use hyper_util::rt::TokioIo;
use quorate_core::certificate::{ChainFault, Role, VendorRoot};
use quorate_core::identifier::VendorId;
use quorate_core::{Code, Error, Result};
use quorate_edge::clock::Clock;
use quorate_proto::status;
use quorate_proto::v1::activation_client::ActivationClient;
use quorate_proto::v1::{ActivateRequest, ActivateResponse};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Endpoint;

/// Whom to believe, and by what clock.
#[derive(Clone, Debug)]
pub struct Peer<'a> {
    /// The vendor root.
    pub root: &'a VendorRoot,
    /// The vendor.
    pub vendor: &'a VendorId,
    /// The clock.
    pub clock: &'a Clock,
}

/// Why a host gave no response.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The error.
    pub error: Error,
    /// The revocation list that the host gave as its reason, unverified.
    pub revocations: Option<String>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, revocations: None }
    }
}

/// Asks the host that has these addresses, in this order.
pub async fn ask(
    peer: &Peer<'_>,
    addresses: &[SocketAddr],
    request: ActivateRequest,
) -> Result<ActivateResponse, Refusal> {
    let (address, stream) = connect(peer, addresses).await?;
    // The endpoint's name is not used: the stream is open already, and TLS has its own name.
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        let stream = stream.take().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected));
        std::future::ready(stream)
    });
    let channel = Endpoint::from_static("http://activation.host")
        .connect_with_connector(connector)
        .await
        .map_err(|_| not_a_host(address, "it does not speak HTTP/2"))?;
    let mut client = ActivationClient::new(channel).max_decoding_message_size(LARGEST_RESPONSE);
    match timeout(PATIENCE, client.activate(request)).await {
        Err(_) => Err(unreachable(&format!(
            "at {address} cannot be reached: no answer within {} seconds",
            PATIENCE.as_secs()
        ))
        .into()),
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(refused)) => Err(match status::from_status(&refused) {
            Some((error, revocations)) => Refusal { error, revocations: Some(revocations) },
            None => not_a_host(address, &format!("it answered {:?}", refused.code())).into(),
        }),
    }
}

/// A connection to a host that is believed. An address at which something else answers is left for the others.
async fn connect(peer: &Peer<'_>, addresses: &[SocketAddr]) -> Result<(SocketAddr, TlsStream<TcpStream>)> {
    let mut left = addresses.to_vec();
    let mut failure = None;
    loop {
        let (address, stream) = match reach(&left).await {
            Ok(connected) => connected,
            // What answered says more than that the rest did not.
            Err(error) => return Err(failure.unwrap_or(error)),
        };
        match greet(peer, address, stream).await {
            Ok(stream) => return Ok((address, stream)),
            Err(error) => failure = failure.or(Some(error)),
        }
        left.retain(|other| *other != address);
    }
}

/// Opens a TCP connection to the first of these addresses that answers.
pub async fn reach(addresses: &[SocketAddr]) -> Result<(SocketAddr, TcpStream)> {
    let (address, stream) =
        happy_eyeballs::connect(addresses, PATIENCE).await.map_err(|failures| unreachable_at(&failures))?;
    // One small message each way: waiting to fill a packet would only cost time.
    let _ = stream.set_nodelay(true);
    Ok((address, stream))
}

/// Greets whoever answers there as a host of the vendor, and finds out whether it is one.
pub async fn greet(peer: &Peer<'_>, address: SocketAddr, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(Role::Host.server_name(peer.vendor))
        .map_err(|_| Error::new(Code::IdentifierInvalid, "the vendor id is too long", "ask the vendor"))?;
    let connector = TlsConnector::from(Arc::new(tls(peer)?));
    timeout(PATIENCE, connector.connect(name, stream))
        .await
        .map_err(|_| not_a_host(address, &format!("no TLS within {} seconds", PATIENCE.as_secs())))?
        .map_err(|error| explain(peer, address, &error))
}

fn tls(peer: &Peer<'_>) -> Result<rustls::ClientConfig> {
    let internal = |error: rustls::Error| {
        Error::new(Code::Internal, format!("TLS cannot be set up ({error})"), "please report this")
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(peer.root.der().clone()).map_err(internal)?;
    let provider = rustls::crypto::aws_lc_rs::default_provider().into();
    let mut config = rustls::ClientConfig::builder_with_details(provider, Arc::new(peer.clock.clone()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(internal)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn explain(peer: &Peer<'_>, address: SocketAddr, error: &std::io::Error) -> Error {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return not_a_host(address, &quorate_edge::files::plain(error));
    };
    match error {
        rustls::Error::AlertReceived(AlertDescription::AccessDenied) => Error::new(
            Code::HostNotActivated,
            format!("the host at {address} has no activated key of vendor {}", peer.vendor),
            "activate the host (`quorate-host ato`), or set another",
        ),
        rustls::Error::InvalidCertificate(fault) => {
            let fault = match fault {
                CertificateError::ExpiredContext { time, not_after } => {
                    ChainFault::Ended { now: *time, not_after: *not_after }
                }
                CertificateError::NotValidYetContext { time, not_before } => {
                    ChainFault::NotBegun { now: *time, not_before: *not_before }
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    ChainFault::WrongName
                }
                CertificateError::UnknownIssuer | CertificateError::BadSignature => ChainFault::UnknownIssuer,
                CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                    ChainFault::WrongUsage
                }
                other => ChainFault::Other(other.to_string()),
            };
            let mut error = peer.root.explain(&fault, peer.vendor, Role::Host);
            error.what = format!("the host at {address} is not believed: {}", error.what);
            error
        }
        other => not_a_host(address, &other.to_string()),
    }
}

fn unreachable_at(failures: &[(SocketAddr, String)]) -> Error {
    if let [(address, why)] = failures {
        return unreachable(&format!("at {address} cannot be reached: {why}"));
    }
    let each: Vec<String> = failures.iter().map(|(address, why)| format!("{address}: {why}")).collect();
    unreachable(&format!("cannot be reached at any of its addresses: {}", each.join("; ")))
}

fn unreachable(how: &str) -> Error {
    Error::new(
        Code::HostUnreachable,
        format!("the host {how}"),
        "see that it runs (`quorate-host serve`) and that the firewall lets its TCP port through",
    )
}

fn not_a_host(address: SocketAddr, why: &str) -> Error {
    Error::new(
        Code::NotAHost,
        format!("what answers at {address} is not an activation host: {why}"),
        "compare address and port; the usual port is 1688",
    )
}

const PATIENCE: Duration = Duration::from_secs(5);
/// A response with its revocation list; a list of ten thousand keys is below 300 KB.
const LARGEST_RESPONSE: usize = 4 * 1024 * 1024;
