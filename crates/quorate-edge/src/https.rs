//! The way to the vendor's activation service: HTTPS, through whatever proxy the machine is set up for.
//!
//! The service's certificate must chain to the vendor root or to one that the machine trusts anyway, as it
//! does when the vendor has a public certificate or the proxy looks into TLS. Neither could forge anything:
//! every document that comes back is signed, and the product key is never sent.
//!
//! `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` are heeded, in capitals or small letters, unless a proxy is named.

use crate::clock::Clock;
use crate::problem::Problem;
use quorate_core::certificate::VendorRoot;
use quorate_core::{Code, Error, Result};
use rustls::pki_types::CertificateDer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// A connection to one vendor's service.
pub struct ServiceClient {
    base: String,
    client: reqwest::Client,
    proxied: bool,
    otherwise: &'static str,
}

impl std::fmt::Debug for ServiceClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServiceClient({})", self.base)
    }
}

/// The URL of a forward proxy, as in `http://proxy.example:3128`. It may hold a user's name and password, so it
/// is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(reqwest::Url);

impl std::str::FromStr for ProxyUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let url = reqwest::Url::parse(text).ok();
        // With a scheme that it does not know, reqwest would go without a proxy.
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        url.map(Self).ok_or_else(|| {
            Error::new(
                Code::AddressInvalid,
                "the proxy is not given as a URL",
                "write it as in \"http://proxy.example:3128\"",
            )
        })
    }
}

impl std::fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProxyUrl(…)")
    }
}

impl ServiceClient {
    /// The service at `url`. The proxy is `proxy`, or else what `HTTPS_PROXY` and `NO_PROXY` say. `otherwise` is
    /// what somebody can do when there is no way to the service.
    pub fn new(
        url: &str,
        root: &VendorRoot,
        proxy: Option<&ProxyUrl>,
        otherwise: &'static str,
        clock: &Clock,
    ) -> Result<Self> {
        let base = url.trim_end_matches('/').to_owned();
        let next = "write it as in \"https://activation.contoso.example\"";
        // Somebody may have given the proxy's URL in its place, password and all.
        if url.contains('@') {
            let what = "the URL of the activation service holds a user's name";
            return Err(Error::new(Code::AddressInvalid, what, next));
        }
        let parsed = reqwest::Url::parse(&base).ok().filter(|url| url.scheme() == "https" && url.has_host());
        if parsed.is_none() {
            let url = quorate_core::identifier::quoted(url);
            let what = format!("{url} is not the URL of an activation service");
            return Err(Error::new(Code::AddressInvalid, what, next));
        }
        let trusted = roots([root.der().clone()]).map_err(|error| {
            Error::new(
                Code::DocumentInvalid,
                format!("the vendor root cannot be used ({error})"),
                "install the license pack again",
            )
        })?;
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(trusted, OURS, clock)?)
            .https_only(true)
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(30))
            .user_agent(concat!("quorate/", env!("CARGO_PKG_VERSION")));
        if proxy.is_none() && no_proxy_at_all() {
            builder = builder.no_proxy();
        }
        if let Some(proxy) = proxy {
            let proxy = reqwest::Proxy::all(proxy.0.clone())
                .map_err(|_| Error::new(Code::AddressInvalid, "the proxy cannot be used", "check its URL"))?;
            builder = builder.proxy(proxy);
        }
        let client = builder.build().map_err(no_client)?;
        let is_set = |names: &[&str]| names.iter().any(|name| std::env::var_os(name).is_some());
        // Whether an exception holds for this address, nobody says.
        let proxied = proxy.is_some() || (is_set(PROXY_VARIABLES) && !is_set(&["NO_PROXY", "no_proxy"]));
        Ok(Self { base, client, proxied, otherwise })
    }

    /// Posts a request and reads its answer; an error that the service gives is given on as it is.
    pub async fn post<Q: Serialize, A: DeserializeOwned>(&self, path: &str, request: &Q) -> Result<A> {
        let url = format!("{}{path}", self.base);
        let answer = self.client.post(url).json(request).send().await;
        let (status, body) = self.read(answer.map_err(|error| self.unreachable(&error))?).await?;
        serde_json::from_slice(&body).map_err(|_| self.not_a_service(status))
    }

    /// Fetches a signed document; an error that the service gives is given on as it is. What comes is text
    /// that nobody has verified yet.
    pub async fn get(&self, path: &str) -> Result<String> {
        let url = format!("{}{path}", self.base);
        let answer = self.client.get(url).send().await.map_err(|error| self.unreachable(&error))?;
        let (status, body) = self.read(answer).await?;
        String::from_utf8(body).map_err(|_| self.not_a_service(status))
    }

    /// Reads the body of an answer that succeeded, with its status; an error that the service gives is given on.
    async fn read(&self, mut answer: reqwest::Response) -> Result<(u16, Vec<u8>)> {
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|error| self.unreachable(&error))? {
            body.extend_from_slice(&part);
            if body.len() > LARGEST_DOCUMENT {
                return Err(self.not_a_service(status.as_u16()));
            }
        }
        if status.is_success() {
            return Ok((status.as_u16(), body));
        }
        let problem: Problem =
            serde_json::from_slice(&body).map_err(|_| self.not_a_service(status.as_u16()))?;
        Err(problem.into())
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        let why = innermost(error);
        // What the proxy said comes as text alone; a test with a real proxy notices when the words change.
        let refused = match why.strip_prefix("tunnel error: ") {
            Some("proxy authorization required") => Some("the proxy asks for a user's name and password"),
            Some("unsuccessful") => {
                Some("the proxy refuses to connect to it, or to take the name and password")
            }
            _ => None,
        };
        if let Some(refused) = refused {
            return Error::new(
                Code::ServiceUnreachable,
                format!("the activation service {} cannot be reached: {refused}", self.base),
                "give a name and password in the proxy's URL, HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT or --proxy; \
                 or ask whoever runs the proxy to permit the address",
            );
        }
        if let Some(fault) = why.strip_prefix("invalid peer certificate: ") {
            let fault = if fault == "unknownissuer" { "its issuer is not known" } else { fault };
            return Error::new(
                Code::UntrustedRoot,
                format!(
                    "what answers at {} shows a certificate that is not trusted here: {fault}",
                    self.base
                ),
                "compare the URL with the name in the certificate; it must chain to the vendor root, or to one that this \
                 machine trusts",
            );
        }
        // Whether it was the proxy that could not be reached, nobody says.
        let (through, next) = match self.proxied {
            true => {
                (" through the proxy that is set", "check the proxy's URL (--proxy, HTTPS_PROXY, NO_PROXY)")
            }
            false => ("", "if this network needs a proxy, name it with --proxy or HTTPS_PROXY"),
        };
        Error::new(
            Code::ServiceUnreachable,
            format!("the activation service {} cannot be reached{through}: {why}", self.base),
            format!("{next}; or {}", self.otherwise),
        )
    }

    fn not_a_service(&self, status: u16) -> Error {
        Error::new(
            Code::NotAHost,
            format!("what answers at {} is not an activation service (HTTP status {status})", self.base),
            "check the URL; a proxy may have answered in its place",
        )
    }
}

/// The way to services of others: to this very machine directly, elsewhere through the proxy that the environment names.
/// Follows no redirect. What others have set up often speaks nothing newer than TLS 1.2, so that is taken as well.
#[derive(Clone, Debug)]
struct Others {
    usual: reqwest::Client,
    here: reqwest::Client,
}

impl Others {
    fn new(trusted: rustls::RootCertStore, patience: Duration, clock: &Clock) -> Result<Self> {
        let tls = tls(trusted, rustls::DEFAULT_VERSIONS, clock)?;
        let builder = || {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .connect_timeout(patience / 2)
                .timeout(patience)
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("quorate/", env!("CARGO_PKG_VERSION")))
        };
        let usual = if no_proxy_at_all() { builder().no_proxy() } else { builder() };
        // A proxy has a loopback of its own, and would read what goes there in plain HTTP.
        Ok(Self {
            usual: usual.build().map_err(no_client)?,
            here: builder().no_proxy().build().map_err(no_client)?,
        })
    }

    fn to(&self, url: &str) -> &reqwest::Client {
        if is_here(url) { &self.here } else { &self.usual }
    }
}

/// Sends messages to whatever URLs somebody has chosen.
#[derive(Clone, Debug)]
pub struct Poster(Others);

impl Poster {
    /// Trusts what this machine trusts.
    pub fn new(clock: &Clock) -> Result<Self> {
        Others::new(roots([]).map_err(no_client)?, Duration::from_secs(10), clock).map(Self)
    }

    /// Posts JSON with headers, and says with which status it was answered, or why it was not.
    pub async fn post(
        &self,
        url: &str,
        headers: impl IntoIterator<Item = (&'static str, String)>,
        body: String,
    ) -> std::result::Result<u16, String> {
        let mut request = self.0.to(url).post(url).header("content-type", "application/json").body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.send().await.map(|answer| answer.status().as_u16()).map_err(|error| innermost(&error))
    }
}

/// Whether the environment has this usual way to say "no proxy at all", which reqwest heeds for names alone.
fn no_proxy_at_all() -> bool {
    let everything = |name| std::env::var(name).is_ok_and(|value| value.trim() == "*");
    ["NO_PROXY", "no_proxy"].into_iter().any(everything)
}

/// Whether a URL leads to this very machine, by its words.
pub fn is_here(url: &str) -> bool {
    let url = reqwest::Url::parse(url).ok();
    url.as_ref().and_then(reqwest::Url::host_str).is_some_and(|host| {
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

/// Asks a service of somebody else's for small documents.
#[derive(Clone, Debug)]
pub struct Inquirer(Others);

/// A request of an [`Inquirer`].
pub enum Inquiry<'a> {
    /// For a document, with a bearer token where it is not everybody's.
    Get(Option<&'a str>),
    /// With the fields of a form as they are sent, and a name and a password where those prove who asks.
    Post(Zeroizing<String>, Option<(&'a str, &'a str)>),
}

impl Inquirer {
    /// Trusts what this machine trusts, and these certificates.
    pub fn new(trusted: Vec<CertificateDer<'static>>, clock: &Clock) -> Result<Self> {
        let trusted = roots(trusted).map_err(|error| {
            Error::new(
                Code::DocumentInvalid,
                format!("a certificate that is to be trusted cannot be used ({error})"),
                "give certificates of authorities, in PEM",
            )
        })?;
        Others::new(trusted, Duration::from_secs(5), clock).map(Self)
    }

    /// The status and the body of the answer, or why there is none.
    pub async fn ask(
        &self,
        url: &str,
        inquiry: Inquiry<'_>,
    ) -> std::result::Result<(u16, Zeroizing<Vec<u8>>), String> {
        let request = match inquiry {
            Inquiry::Get(None) => self.0.to(url).get(url),
            Inquiry::Get(Some(token)) => self.0.to(url).get(url).bearer_auth(token),
            Inquiry::Post(form, who) => {
                let request =
                    self.0.to(url).post(url).header("content-type", "application/x-www-form-urlencoded");
                let request = request.body(form.as_bytes().to_vec());
                match who {
                    Some((name, password)) => request.basic_auth(name, Some(password)),
                    None => request,
                }
            }
        };
        let request = request.header("accept", "application/json");
        let mut answer = request.send().await.map_err(|error| innermost(&error))?;
        let mut body = Zeroizing::new(Vec::new());
        while let Some(part) = answer.chunk().await.map_err(|error| innermost(&error))? {
            if body.len() + part.len() > LARGEST_ANSWER {
                return Err(format!("the answer is larger than {} KB", LARGEST_ANSWER / 1024));
            }
            body.extend_from_slice(&part);
        }
        Ok((answer.status().as_u16(), body))
    }
}

fn no_client(error: impl std::fmt::Display) -> Error {
    Error::new(Code::Internal, format!("no HTTPS client can be made ({error})"), "please report this")
}

/// What this machine trusts, and these certificates.
fn roots(
    own: impl IntoIterator<Item = CertificateDer<'static>>,
) -> std::result::Result<rustls::RootCertStore, rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    own.into_iter().try_for_each(|certificate| roots.add(certificate))?;
    // A machine without any root of its own still reaches a service with the vendor's.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Ok(roots)
}

fn tls(
    roots: rustls::RootCertStore,
    versions: &[&'static rustls::SupportedProtocolVersion],
    clock: &Clock,
) -> Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_details(provider, Arc::new(clock.clone()))
        .with_protocol_versions(versions)
        .map_err(|error| {
            Error::new(Code::Internal, format!("TLS is not available ({error})"), "please report this")
        })?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// The cause at the bottom, which says most.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = cause.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// A revocation list of half a million keys.
const LARGEST_DOCUMENT: usize = 16 * 1024 * 1024;
/// What a small document never reaches.
const LARGEST_ANSWER: usize = 512 * 1024;
/// Of TLS between our own programs.
const OURS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];
/// What names a proxy in the environment.
const PROXY_VARIABLES: &[&str] = &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
