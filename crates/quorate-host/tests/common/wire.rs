//! What is below the client library: TLS and HTTP/2 by hand, for peers that do not behave.

use super::{Site, request};
use bytes::{BufMut, Bytes, BytesMut};
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use prost::Message;
use quorate_client::transport;
use quorate_core::Result;
use quorate_core::certificate::{Role, VendorRoot};
use quorate_core::identifier::VendorId;
use quorate_edge::clock::Clock;
use quorate_proto::v1::{ActivateRequest, ActivateResponse};
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

impl Site {
    /// Sends any message as the client library would.
    pub async fn send(&self, host: SocketAddr, request: ActivateRequest) -> Result<ActivateResponse> {
        let authority = self.vendor.authority();
        send(authority.root(), authority.vendor(), host, request).await
    }

    /// The name of this vendor's hosts.
    pub fn host_name(&self) -> String {
        Role::Host.server_name(self.vendor.authority().vendor())
    }

    /// The TLS of a client that believes this vendor.
    pub fn tls(&self) -> rustls::ClientConfig {
        self.tls_of(&[&rustls::version::TLS13])
    }

    /// The same in these versions of TLS.
    pub fn tls_of(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.vendor.authority().root().der().clone()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider().into();
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        tls
    }

    /// A connection on which the TLS handshake has been done.
    pub async fn connect(&self, host: SocketAddr) -> TlsStream<TcpStream> {
        handshake(self.tls(), &self.host_name(), host).await.unwrap()
    }

    /// A connection on which HTTP/2 has begun.
    pub async fn http2(&self, host: SocketAddr) -> SendRequest<Bytes> {
        let (requests, connection) = h2::client::handshake(self.connect(host).await).await.unwrap();
        tokio::spawn(connection);
        requests.ready().await.unwrap()
    }
}

/// Sends any message as the client library would, believing this vendor.
pub async fn send(
    root: &VendorRoot,
    vendor: &VendorId,
    host: SocketAddr,
    request: ActivateRequest,
) -> Result<ActivateResponse> {
    transport::ask(&transport::Peer { root, vendor, clock: &Clock::system() }, &[host], request)
        .await
        .map_err(|refusal| refusal.error)
}

/// Connects and does the TLS handshake.
pub async fn handshake(
    tls: rustls::ClientConfig,
    name: &str,
    host: SocketAddr,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(tls)).connect(name, TcpStream::connect(host).await?).await
}

/// Begins an `Activate` request, whose body is still to be sent.
pub fn begin(requests: &mut SendRequest<Bytes>) -> (ResponseFuture, SendStream<Bytes>) {
    begin_at(requests, "/quorate.v1.Activation/Activate")
}

fn begin_at(requests: &mut SendRequest<Bytes>, path: &str) -> (ResponseFuture, SendStream<Bytes>) {
    let request = http::Request::post(format!("https://host{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    requests.send_request(request, false).unwrap()
}

/// Asks another method than `Activate`. Gives the one message that it answers, or the gRPC status.
pub async fn ask<A: Message + Default>(
    requests: &mut SendRequest<Bytes>,
    path: &str,
    question: &impl Message,
) -> std::result::Result<A, String> {
    let (response, mut body) = begin_at(requests, path);
    body.send_data(frame(&question.encode_to_vec()), true).unwrap();
    let (head, mut body) = response.await.unwrap().into_parts();
    let mut said = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        said.extend_from_slice(&data);
    }
    let end = body.trailers().await.unwrap().unwrap_or(head.headers);
    match end.get("grpc-status").map(|status| status.to_str().unwrap()) {
        // Before the message stand a flag and its length.
        Some("0") => Ok(A::decode(&said[5..]).unwrap()),
        status => Err(status.unwrap_or_default().to_owned()),
    }
}

/// Sends a message in an `Activate` request. Gives the gRPC status and its message.
pub async fn call(requests: &mut SendRequest<Bytes>, message: &[u8]) -> (String, String) {
    let (response, mut body) = begin(requests);
    body.send_data(frame(message), true).unwrap();
    let response = response.await.unwrap();
    let (head, mut body) = response.into_parts();
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data.unwrap().len()).unwrap();
    }
    // An error without any answer has its status in the head.
    let end = body.trailers().await.unwrap().unwrap_or(head.headers);
    let text = |name| end.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    (text("grpc-status"), text("grpc-message"))
}

/// The message of a machine that has never asked before.
pub fn message() -> Vec<u8> {
    request().encode_to_vec()
}

/// A message as gRPC frames it: not compressed, its length, itself.
pub fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}

/// Waits until the other side has closed a connection. Gives what it said before.
pub async fn closed_within(limit: Duration, stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut said = Vec::new();
    let reading = tokio::time::timeout(limit, stream.read_to_end(&mut said)).await;
    // A reset is an end as well.
    let _ = reading.unwrap_or_else(|_| panic!("the connection is still open after {limit:?}"));
    said
}
