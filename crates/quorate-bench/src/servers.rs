//! The servers that are measured: the host as it is, and two that do less with the same certificate and the same
//! TLS.

use crate::site;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use quorate_core::{Code, Error, Result};
use quorate_edge::clock::Clock;
use quorate_host::server;
use quorate_proto::v1::activation_server::{Activation, ActivationServer};
use quorate_proto::v1::{ActivateRequest, ActivateResponse};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status};

/// Which server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `quorate-host serve`.
    Host,
    /// A handshake, so many bytes in, so many out.
    Bare,
    /// gRPC whose one method does nothing.
    Empty,
}

impl Kind {
    /// As the first argument names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Bare => "bare",
            Self::Empty => "empty",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Host, Self::Bare, Self::Empty].into_iter().find(|kind| kind.name() == name)
    }
}

/// Runs a server until it is killed.
pub fn run(kind: &str, directory: &str, options: &[&str]) -> ExitCode {
    if kind == Kind::Host.name() {
        let arguments = ["quorate-host", "--dir", directory, "serve", "--listen", "127.0.0.1:0"];
        return quorate_host::command::main(arguments.iter().chain(options).map(Into::into));
    }
    let sizes: Vec<usize> =
        options.iter().flat_map(|option| option.split(' ')).filter_map(|size| size.parse().ok()).collect();
    let ended = quorate_edge::server::runtime()
        .and_then(|runtime| runtime.block_on(less(Path::new(directory), sizes)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error.report());
            ExitCode::FAILURE
        }
    }
}

/// With sizes it echoes, without any it speaks gRPC.
async fn less(directory: &Path, sizes: Vec<usize>) -> Result<()> {
    let listener = quorate_edge::server::listen(([127, 0, 0, 1], 0).into()).await?;
    let acceptor = TlsAcceptor::from(Arc::new(tls(directory)?));
    let port = listener.local_addr().map(|address| address.port()).unwrap_or_default();
    eprintln!("listening port={port}");
    let routes = tonic::service::Routes::new(ActivationServer::new(Nothing)).prepare();
    loop {
        let stream = accept(&listener).await?;
        let (acceptor, routes, sizes) = (acceptor.clone(), routes.clone(), sizes.clone());
        tokio::spawn(async move {
            // Whoever leaves early ends nothing but his own connection.
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let &[take, give] = sizes.as_slice() else {
                let http = Builder::new(TokioExecutor::new());
                let _ = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)).await;
                return;
            };
            let mut taken = vec![0; take];
            if stream.read_exact(&mut taken).await.is_ok() {
                let _ = stream.write_all(&vec![7; give]).await;
                let _ = stream.flush().await;
                // The client closes, as it does with the host.
                let _ = stream.read(&mut taken).await;
            }
        });
    }
}

async fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let accepted = listener.accept().await.and_then(|(stream, _)| {
        stream.set_nodelay(true)?;
        Ok(stream)
    });
    accepted.map_err(|error| {
        Error::new(
            Code::Internal,
            format!("a connection was not accepted ({error})"),
            "check the system's limits",
        )
    })
}

/// The TLS of the host, with its certificate.
fn tls(directory: &Path) -> Result<rustls::ServerConfig> {
    let credential = site::credential(directory)?;
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(credential.private_key.to_vec()));
    let unusable = |error: rustls::Error| {
        Error::new(Code::Internal, format!("the certificate cannot be used ({error})"), "please report this")
    };
    let signing_key = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&private).map_err(unusable)?;
    let certified = rustls::sign::CertifiedKey::new(credential.chain, signing_key);
    server::tls(Arc::new(rustls::sign::SingleCertAndKey::from(certified)), &Clock::system())
}

/// Answers nothing to everything.
struct Nothing;

#[tonic::async_trait]
impl Activation for Nothing {
    async fn activate(
        &self,
        _: Request<ActivateRequest>,
    ) -> std::result::Result<Response<ActivateResponse>, Status> {
        Ok(Response::new(ActivateResponse::default()))
    }
}
