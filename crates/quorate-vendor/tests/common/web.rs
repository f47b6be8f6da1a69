//! The vendor's service over real HTTPS, and a client of it that sends whatever a test wants.

use super::Vendor;
use quorate_core::certificate::VendorRoot;
use quorate_edge::clock::Clock;
use quorate_edge::server;
use quorate_vendor::command::Beside;
use quorate_vendor::service::Service;
use quorate_vendor::voice::signature::Secret;
use reqwest::{Method, Response};
use rustls::RootCertStore;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::TcpListener;

/// A running service and a client that trusts the vendor root alone.
pub struct Web {
    pub address: SocketAddr,
    pub root: VendorRoot,
    pub client: reqwest::Client,
}

impl Web {
    /// Serves the vendor until the test ends.
    pub async fn serve(vendor: &Vendor) -> Self {
        Self::serve_service(vendor.service()).await
    }

    /// The same, from wherever it is kept.
    pub async fn serve_service(service: Service) -> Self {
        Self::serve_with(service, None).await
    }

    /// The same, with a telephone line when there is a secret for it.
    pub async fn serve_with(service: Service, telephone: Option<Secret>) -> Self {
        let listener = server::listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        Self::serve_beside(service, Beside { telephone, ..Beside::default() }, listener).await
    }

    /// The same, with whatever it does besides, where somebody listens already.
    pub async fn serve_beside(service: Service, beside: Beside, listener: TcpListener) -> Self {
        let root = service.authority().root().clone();
        let name = service.service_name().unwrap();
        let tls = service.authority().service_tls(&name, Clock::system().now()).unwrap();
        let address = listener.local_addr().unwrap();
        let never = std::future::pending();
        tokio::spawn(quorate_vendor::command::serve_with(service, beside, tls, listener, never));
        Self { address, client: client_of(&root), root }
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    pub async fn send(&self, method: Method, path: &str, body: impl Into<reqwest::Body>) -> Response {
        self.client.request(method, self.url(path)).body(body).send().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, "").await
    }

    /// Posts what a host posts.
    pub async fn activate(&self, body: impl Into<reqwest::Body>) -> Response {
        self.send(Method::POST, "/v1/host-activations", body).await
    }
}

/// A client that trusts this root alone.
pub fn client_of(root: &VendorRoot) -> reqwest::Client {
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    client(roots)
}

/// The same, which follows no redirect.
pub fn client_that_stays(root: &VendorRoot) -> reqwest::Client {
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    stays(roots)
}

/// A client that trusts these roots and follows no redirect; it speaks TLS 1.2 as well, as browsers do.
pub fn stays(roots: RootCertStore) -> reqwest::Client {
    builder(roots, rustls::DEFAULT_VERSIONS).redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// A client that trusts these roots.
pub fn client(roots: RootCertStore) -> reqwest::Client {
    builder(roots, &[&rustls::version::TLS13]).build().unwrap()
}

fn builder(
    roots: RootCertStore,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> reqwest::ClientBuilder {
    let provider = rustls::crypto::aws_lc_rs::default_provider().into();
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy()
}

/// The answer is this problem, and nothing else.
#[track_caller]
pub fn is_problem(
    answer: (u16, String, Value),
    status: u16,
    code: &str,
    title: &str,
    detail: &str,
    next: &str,
) {
    assert_eq!(
        answer,
        (
            status,
            "application/problem+json".to_owned(),
            json!({
                "type": "about:blank",
                "title": title,
                "status": status,
                "detail": detail,
                "code": code,
                "next": next
            })
        )
    );
}

/// Status, content type and body.
pub async fn parts(response: Response) -> (u16, String, Value) {
    let (status, kind) = (response.status().as_u16(), content_type(&response));
    let body = response.text().await.unwrap();
    let value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status} {kind:?}: {body:?}"));
    (status, kind, value)
}

pub fn content_type(response: &Response) -> String {
    let header = response.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
    header.unwrap_or_default()
}
