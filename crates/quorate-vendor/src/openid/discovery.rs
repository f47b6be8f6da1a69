//! What a provider says about itself: its endpoints (OpenID Connect Discovery 1.0) and its keys (RFC 7517).

use super::Provider;
use crate::address;
use jsonwebtoken::jwk::Jwk;
use quorate_core::identifier::quoted;
use quorate_core::{Error, Result};
use quorate_edge::https::Inquiry;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is known of the provider, and since when.
#[derive(Default)]
pub(super) struct Known {
    /// When it was last asked, and what came of it.
    asked: Option<(Instant, Result<Arc<Discovered>>)>,
    /// When its keys were last fetched because one was not known.
    looked_again: Option<Instant>,
}

/// A provider that has been found.
pub(super) struct Discovered {
    pub document: Document,
    pub keys: Vec<Jwk>,
}

/// Its own description; Discovery, section 3.
#[derive(Clone, Deserialize)]
pub(super) struct Document {
    issuer: String,
    pub authorization_endpoint: String,
    pub token_endpoint: String,
    jwks_uri: String,
    pub userinfo_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// RFC 9207, section 3.
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

impl Document {
    /// Whether the client's name and secret are sent as those of HTTP, which is so unless it says otherwise.
    pub fn takes_basic(&self) -> bool {
        let methods = self.token_endpoint_auth_methods_supported.as_deref();
        methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"))
    }
}

/// Keys of any kind, of which some may be unknown here.
#[derive(Deserialize)]
struct Keys {
    keys: Vec<serde_json::Value>,
}

impl Provider {
    /// What the provider says about itself, asked when it was not asked for an hour. One request asks, others wait for
    /// its answer; when none comes, nobody asks again for a moment.
    pub(super) async fn discovered(&self) -> Result<Arc<Discovered>> {
        let mut known = self.known.lock().await;
        if let Some((at, found)) = &known.asked {
            let lasts = if found.is_ok() { LASTS } else { PAUSE };
            if at.elapsed() < lasts {
                return found.clone();
            }
        }
        let found = self.discover().await.map(Arc::new);
        known.asked = Some((Instant::now(), found.clone()));
        found
    }

    /// The same with the keys of now, when one is not among those that are known; but at most once a minute.
    pub(super) async fn newer_keys(&self, old: &Arc<Discovered>) -> Result<Arc<Discovered>> {
        let mut known = self.known.lock().await;
        match &known.asked {
            Some((_, Ok(newest))) if !Arc::ptr_eq(newest, old) => return Ok(Arc::clone(newest)),
            _ if known.looked_again.is_some_and(|at| at.elapsed() < AGAIN) => return Ok(Arc::clone(old)),
            _ => {}
        }
        known.looked_again = Some(Instant::now());
        let keys = self.keys(&old.document.jwks_uri).await?;
        let newer = Arc::new(Discovered { document: old.document.clone(), keys });
        known.asked = Some((Instant::now(), Ok(Arc::clone(&newer))));
        Ok(newer)
    }

    async fn discover(&self) -> Result<Discovered> {
        let issuer = &self.settings.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let document: Document = self.fetch(&url).await?;
        if document.issuer != *issuer {
            return Err(self.no_provider(
                &url,
                &format!("it is of the issuer {}, and not of {}", quoted(&document.issuer), quoted(issuer)),
            ));
        }
        let endpoints = [&document.authorization_endpoint, &document.token_endpoint, &document.jwks_uri];
        for endpoint in endpoints.into_iter().chain(&document.userinfo_endpoint) {
            self.check(&url, endpoint)?;
        }
        let keys = self.keys(&document.jwks_uri).await?;
        Ok(Discovered { document, keys })
    }

    /// A provider elsewhere names nothing on this machine that is asked without TLS.
    fn check(&self, url: &str, endpoint: &str) -> Result<()> {
        let sound = endpoint.is_ascii() && !endpoint.contains('#') && address::check(endpoint).is_ok();
        match sound && (!address::is_plain_here(endpoint) || address::is_plain_here(&self.settings.issuer)) {
            true => Ok(()),
            false => {
                Err(self.no_provider(url, &format!("it names {}, which is no URL to use", quoted(endpoint))))
            }
        }
    }

    async fn keys(&self, url: &str) -> Result<Vec<Jwk>> {
        let Keys { keys } = self.fetch(url).await?;
        // What is not known here verifies nothing, and keeps nothing else from it.
        Ok(keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).take(MOST_KEYS).collect())
    }

    async fn fetch<T: DeserializeOwned>(&self, url: &str) -> Result<T> {
        let (status, body) = self.ask(url, Inquiry::Get(None)).await?;
        match status {
            200 => self.document(url, status, &body),
            _ => Err::<T, Error>(self.no_provider(url, &format!("answered with HTTP status {status}"))),
        }
    }
}

/// Providers change their keys every few weeks, and publish the next one before.
const LASTS: Duration = Duration::from_secs(60 * 60);
/// After it has not answered.
const PAUSE: Duration = Duration::from_secs(3);
/// Between two looks for a key that is not known.
const AGAIN: Duration = Duration::from_secs(60);
const MOST_KEYS: usize = 100;
