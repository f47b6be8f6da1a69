//! A vendor whose people sign in by an OpenID Connect provider, and a client that does what a browser does meanwhile.

use super::place::Place;
use super::web::{Web, stays};
use quorate_edge::clock::Clock;
use quorate_edge::server;
use quorate_vendor::command::Beside;
use quorate_vendor::config::Config;
use quorate_vendor::openid::Provider;
use quorate_vendor::service::Service;
use reqwest::{Client, Response, StatusCode, Url};
use rustls::RootCertStore;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use tokio::net::TcpListener;

/// Who has which role at the vendor, by the groups of the provider.
pub const ROLES: &str = "admin = ['bosses']\nsupport = ['desk']\nread-only = ['all']\n";
pub const SECRET: &str = "the-client's-secret:100%&more+";

/// A vendor, and where it is going to answer: the provider wants to know that before.
pub struct Stand<'p> {
    pub place: &'p Place,
    listener: TcpListener,
}

impl<'p> Stand<'p> {
    pub async fn new(place: &'p Place) -> Self {
        let listener = server::listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        tokio::task::block_in_place(|| {
            place.meddle(&format!("UPDATE setting SET value = '{url}' WHERE name = 'url'"));
        });
        Self { place, listener }
    }

    /// Where the vendor is going to answer, for a program that does so itself.
    pub fn leave(self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub fn redirect(&self) -> String {
        format!("https://{}/sign-in/openid/callback", self.listener.local_addr().unwrap())
    }

    /// Serves the vendor with this provider, and with what the configuration says besides.
    pub async fn serve(self, issuer: &str, client: &str, besides: &str) -> Web {
        let service = self.place.ask(Service::clone);
        self.serve_at(service, Clock::system(), issuer, client, besides).await
    }

    /// The same, by another clock.
    pub async fn serve_at(
        self,
        service: Service,
        clock: Clock,
        issuer: &str,
        client: &str,
        besides: &str,
    ) -> Web {
        let text = configuration(self.place, issuer, client, besides);
        let settings = Config::parse(&text, &self.place.path("vendor.toml")).unwrap().openid.unwrap();
        let openid = Some(Provider::new(settings, service.url(), &clock).unwrap());
        Web::serve_beside(service, Beside { openid, ..Beside::default() }, self.listener).await
    }
}

/// A configuration file, whose secret is beside it.
pub fn configuration(place: &Place, issuer: &str, client: &str, besides: &str) -> String {
    let secret = place.path("openid-secret");
    std::fs::write(&secret, format!("{}\n", SECRET)).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    format!(
        "[openid]\nissuer = '{issuer}'\nclient-id = '{client}'\nclient-secret-file = '{}'\n{besides}{ROLES}",
        secret.display()
    )
}

/// What a browser does: it follows redirects and keeps cookies, each for its own site.
pub struct Wanderer {
    client: Client,
    cookies: BTreeMap<(String, String), String>,
}

impl Wanderer {
    pub fn new(web: &Web) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(web.root.der().clone()).unwrap();
        Self::with(roots)
    }

    /// The same, who trusts these.
    pub fn with(roots: RootCertStore) -> Self {
        Self { client: stays(roots), cookies: BTreeMap::new() }
    }

    /// The cookie of a site, wherever the site keeps it.
    pub fn cookie(&self, site: &str, name: &str) -> Option<&str> {
        self.cookies.get(&(site.to_owned(), name.to_owned())).map(String::as_str)
    }

    /// Puts back what the site has taken away.
    pub fn put(&mut self, site: &str, name: &str, value: &str) {
        self.cookies.insert((site.to_owned(), name.to_owned()), value.to_owned());
    }

    /// One request, and the cookies that come with its answer.
    pub async fn ask(&mut self, url: &Url, form: Option<&[(&str, &str)]>) -> Response {
        let site = url.authority().to_owned();
        let own = self.cookies.iter().filter(|((of, _), _)| *of == site);
        let cookies: Vec<String> = own.map(|((_, name), value)| format!("{name}={value}")).collect();
        let request = match form {
            Some(form) => self.client.post(url.clone()).form(form),
            None => self.client.get(url.clone()),
        };
        let answer = request.header("cookie", cookies.join("; ")).send().await.unwrap();
        for set in answer.headers().get_all("set-cookie") {
            let (name, rest) = set.to_str().unwrap().split_once('=').unwrap();
            let (value, attributes) = rest.split_once(';').unwrap_or((rest, ""));
            let key = (site.clone(), name.to_owned());
            match attributes.contains("Max-Age=0") || value.is_empty() {
                true => self.cookies.remove(&key),
                false => self.cookies.insert(key, value.to_owned()),
            };
        }
        answer
    }

    /// Follows redirects, until there is a page or the next one goes where `stop` says.
    pub async fn follow(&mut self, url: &str, stop: &str) -> (Url, Option<Response>) {
        let mut url: Url = url.parse().unwrap();
        for _ in 0..10 {
            if !stop.is_empty() && url.as_str().starts_with(stop) {
                return (url, None);
            }
            let answer = self.ask(&url, None).await;
            if answer.status() != StatusCode::SEE_OTHER {
                return (url, Some(answer));
            }
            url = url.join(answer.headers()["location"].to_str().unwrap()).unwrap();
        }
        panic!("too many redirects, to {url}");
    }

    /// Begins at the vendor: where it sends the browser.
    pub async fn begin(&mut self, web: &Web, to: &str) -> Url {
        let answer = self.ask(&web.url(&format!("/sign-in/openid?to={to}")).parse().unwrap(), None).await;
        let status = answer.status();
        let location = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
        match location {
            Some(there) => there.parse().unwrap(),
            None => panic!("{status}: {}", answer.text().await.unwrap()),
        }
    }
}

/// The value of a query's field.
pub fn field(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(of, _)| of == name).map(|(_, value)| value.into_owned())
}

/// The error that a page shows: its code, what happened and what to do next.
pub fn shown(page: &str) -> Option<(String, String, String)> {
    let (_, rest) = page.split_once("role=\"alert\"><p><strong>")?;
    let (code, rest) = rest.split_once("</strong> ")?;
    let (what, rest) = rest.split_once("</p><p>Next: ")?;
    let (next, _) = rest.split_once("</p>")?;
    let plain = |text: &str| {
        text.replace("&#34;", "\"")
            .replace("&#39;", "'")
            .replace("&#60;", "<")
            .replace("&#62;", ">")
            .replace("&#38;", "&")
    };
    Some((code.to_owned(), plain(what), plain(next)))
}

/// Runs a test that asks a service of its own.
pub fn on_the_network(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(test);
}
