//! Signing in by an OpenID Connect provider: the authorization code flow with PKCE, for the vendor's own people.
//!
//! The browser is sent to the provider with what an [`Attempt`] makes of a secret in a cookie, and comes back with a
//! code. For that the provider gives the service an ID token ([`id_token`]), and the lists of the configuration
//! ([`settings`]) say which role somebody has of whom it says so ([`crate::accounts`] does the rest). What a provider
//! says about itself ([`discovery`]) is kept for an hour. When it does not answer, that is told, and people who have a
//! password still sign in.
//!
//! Rules: OpenID Connect Core 1.0 and Discovery 1.0; RFC 6749, RFC 7636 (PKCE), RFC 9207 (`iss` of the answer), RFC 9700.

pub mod attempt;
mod discovery;
mod id_token;
pub mod settings;

use crate::accounts::{Role, is_name};
use crate::store::accounts::Identity;
use attempt::Attempt;
use discovery::{Discovered, Known};
use form_urlencoded::Serializer;
use id_token::{Claims, Expected, Refused};
use quorate_core::identifier::quoted;
use quorate_core::{Code, Error, Interval, Result, words};
use quorate_edge::clock::Clock;
use quorate_edge::https::{Inquirer, Inquiry};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use settings::Settings;
use std::sync::Arc;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

/// The provider of the configuration, as the service speaks to it.
pub struct Provider {
    settings: Settings,
    secret: Zeroizing<String>,
    inquirer: Inquirer,
    /// Where it sends the browser back to.
    redirect: String,
    clock: Clock,
    known: Mutex<Known>,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Provider({})", self.settings.issuer)
    }
}

/// Somebody whom the provider has signed in.
#[derive(Clone, Debug)]
pub struct Person {
    /// Who he is.
    pub identity: Identity,
    /// What he is called there, which may change and may be another's.
    pub called: String,
    /// The role that the configuration gives for what the provider says of him.
    pub role: Option<Role>,
    /// The claim that was looked at.
    claim: String,
    /// How many values it had.
    values: usize,
}

impl Person {
    /// The error of somebody without a role.
    pub(crate) fn without_role(&self) -> Error {
        let (called, claim) = (quoted(&self.called), quoted(&self.claim));
        let what = match self.values {
            0 => format!("the provider knows {called}, but says nothing of {claim}, which gives a role here"),
            values => format!(
                "the provider knows {called}, but gives no role here by {claim}, of which it says {}",
                words::counted(values, "value")
            ),
        };
        Error::new(
            Code::NoRole,
            what,
            "ask an admin of the vendor: the configuration names the values that give a role \
             (openid.admin, openid.support, openid.read-only), and the claim (openid.claim)",
        )
    }
}

/// With what the provider sends the browser back: RFC 6749, sections 4.1.2 and 4.1.2.1, and RFC 9207.
#[derive(Default, Deserialize)]
pub struct Answer {
    code: Option<Zeroizing<String>>,
    state: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

impl Answer {
    /// Whether it is to this attempt.
    pub(crate) fn is_to(&self, attempt: &Attempt) -> bool {
        attempt.is_answered_by(self.state.as_deref())
    }
}

impl Provider {
    /// The provider of these settings, for the service at this URL. Nothing is asked of it yet: it may come later.
    pub fn new(settings: Settings, service: &str, clock: &Clock) -> Result<Self> {
        let secret = settings.secret()?;
        let inquirer = Inquirer::new(settings.trusted()?, clock)?;
        let redirect = format!("{}{CALLBACK}", service.trim_end_matches('/'));
        Ok(Self { settings, secret, inquirer, redirect, clock: clock.clone(), known: Mutex::default() })
    }

    /// What the button says.
    pub fn called(&self) -> &str {
        &self.settings.name
    }

    /// Where to send a browser that wants to get to a page of the portal, and what it keeps meanwhile.
    pub async fn begin(&self, to: &str) -> Result<(Attempt, String)> {
        let discovered = self.discovered().await?;
        let attempt = Attempt::begin(to, self.clock.now());
        let endpoint = &discovered.document.authorization_endpoint;
        let query = Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", &self.redirect)
            .append_pair("scope", &self.settings.scopes.join(" "))
            .append_pair("state", &attempt.state())
            .append_pair("nonce", &attempt.nonce())
            .append_pair("code_challenge", &attempt.challenge())
            .append_pair("code_challenge_method", "S256")
            .finish();
        let and = if endpoint.contains('?') { '&' } else { '?' };
        Ok((attempt, format!("{endpoint}{and}{query}")))
    }

    /// Who has come back, to the browser that has kept this attempt.
    pub async fn complete(&self, attempt: &Attempt, answer: &Answer) -> Result<Person> {
        if attempt.is_over(self.clock.now()) || !answer.is_to(attempt) {
            return Err(over());
        }
        let discovered = self.discovered().await?;
        self.is_of_provider(answer, &discovered)?;
        if let Some(error) = &answer.error {
            return Err(self.refused_with(error));
        }
        let code = answer.code.as_ref().ok_or_else(|| self.not_believed("its answer holds no code"))?;
        let tokens = self.redeem(&discovered, code, attempt).await?;
        let claims = self.verified(&discovered, &tokens.id_token, attempt).await?;
        self.person(&discovered, claims, tokens.access_token.as_deref().map(String::as_str)).await
    }

    /// The answer is this provider's own, so far as it says of whom it is.
    fn is_of_provider(&self, answer: &Answer, discovered: &Discovered) -> Result<()> {
        match &answer.iss {
            Some(iss) if *iss != self.settings.issuer => {
                Err(self.not_believed(&format!("the answer is of {}", quoted(iss))))
            }
            None if discovered.document.authorization_response_iss_parameter_supported => {
                Err(self.not_believed("the answer does not say of whom it is (iss)"))
            }
            _ => Ok(()),
        }
    }

    /// Gives the code for tokens.
    async fn redeem(&self, discovered: &Discovered, code: &str, attempt: &Attempt) -> Result<Tokens> {
        // RFC 6749, section 2.3.1: both are encoded as in a form before they are joined.
        let encoded =
            |text: &str| Zeroizing::new(form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>());
        let (name, password) = (encoded(&self.settings.client_id), encoded(&self.secret));
        let basic = discovered.document.takes_basic();
        let form = self.form(code, &attempt.verifier(), !basic);
        let who = basic.then_some((name.as_str(), password.as_str()));
        let (status, body) = self.ask(&discovered.document.token_endpoint, Inquiry::Post(form, who)).await?;
        if status == 200 {
            return self.document(&discovered.document.token_endpoint, status, &body);
        }
        let refusal: Refusal = self.document(&discovered.document.token_endpoint, status, &body)?;
        Err(self.refused_with(&refusal.error))
    }

    fn form(&self, code: &str, verifier: &str, with_secret: bool) -> Zeroizing<String> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &self.redirect)
            .append_pair("code_verifier", verifier);
        if with_secret {
            form.append_pair("client_id", &self.settings.client_id)
                .append_pair("client_secret", &self.secret);
        }
        Zeroizing::new(form.finish())
    }

    /// What the ID token says, verified with the keys that are known, or else with those that there are now.
    async fn verified(&self, discovered: &Arc<Discovered>, token: &str, attempt: &Attempt) -> Result<Claims> {
        let nonce = attempt.nonce();
        let expected = Expected {
            issuer: &self.settings.issuer,
            client: &self.settings.client_id,
            nonce: &nonce,
            now: self.clock.now(),
        };
        let refused = match id_token::verify(token, &discovered.keys, &expected) {
            Err(Refused::UnknownKey) => {
                let newer = self.newer_keys(discovered).await?;
                id_token::verify(token, &newer.keys, &expected)
            }
            verified => verified,
        };
        refused.map_err(|refused| self.not_believed(&format!("its ID token {refused}")))
    }

    /// Who that is, and which role he has. What the ID token leaves out, the provider is asked.
    async fn person(
        &self,
        discovered: &Discovered,
        mut claims: Claims,
        access_token: Option<&str>,
    ) -> Result<Person> {
        let endpoint = discovered.document.userinfo_endpoint.as_deref();
        let lacks_role = !claims.says(&self.settings.claim);
        if let (Some(endpoint), Some(token), true) =
            (endpoint, access_token, lacks_role || called(&claims).is_none())
        {
            match self.userinfo(endpoint, token).await {
                Ok(said) => {
                    if !claims.take(said) {
                        return Err(self.not_believed("its userinfo endpoint speaks of somebody else"));
                    }
                }
                // Without a name for people, he is called what the provider calls him for itself.
                Err(_) if !lacks_role => {}
                Err(error) => return Err(error),
            }
        }
        let values = claims.values(&self.settings.claim);
        Ok(Person {
            called: called(&claims).unwrap_or(claims.subject()).chars().take(100).collect(),
            role: self.settings.role(&values),
            claim: self.settings.claim.clone(),
            values: values.len(),
            identity: Identity { issuer: self.settings.issuer.clone(), subject: claims.subject().to_owned() },
        })
    }

    async fn userinfo(&self, endpoint: &str, token: &str) -> Result<Map<String, Value>> {
        let (status, body) = self.ask(endpoint, Inquiry::Get(Some(token))).await?;
        match status {
            200 => self.document(endpoint, status, &body),
            _ => Err(self.no_provider(endpoint, &format!("answered with HTTP status {status}"))),
        }
    }

    async fn ask(&self, url: &str, inquiry: Inquiry<'_>) -> Result<(u16, Zeroizing<Vec<u8>>)> {
        self.inquirer.ask(url, inquiry).await.map_err(|why| self.no_provider(url, &why))
    }

    fn document<T: DeserializeOwned>(&self, url: &str, status: u16, body: &[u8]) -> Result<T> {
        // What the parser says might repeat a token.
        serde_json::from_slice(body).map_err(|_| {
            self.no_provider(url, &format!("answered with HTTP status {status} and no such JSON"))
        })
    }

    fn no_provider(&self, url: &str, why: &str) -> Error {
        // Of a URL that the provider named, whatever follows the path is its own business.
        let url = quoted(url.split(['?', '#']).next().unwrap_or_default());
        self.told(Error::new(
            Code::ProviderUnavailable,
            format!("the OpenID Connect provider cannot be used: {url}: {why}"),
            "sign in by name and password, or try again later; an admin compares openid.issuer with the provider's, and \
             finds out whether this machine reaches it",
        ))
    }

    fn not_believed(&self, why: &str) -> Error {
        self.told(Error::new(
            Code::ProviderNotBelieved,
            format!("the OpenID Connect provider {} is not believed: {why}", self.settings.issuer),
            "sign in again; if it repeats, an admin compares [openid] with what the provider says, and both clocks",
        ))
    }

    /// The error that the provider itself tells, by its name in RFC 6749 or OpenID Connect; its words are its own.
    fn refused_with(&self, error: &str) -> Error {
        let known = error.len() <= 50 && error.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let (error, next) = match error {
            "invalid_client" | "unauthorized_client" => (
                error,
                "an admin compares openid.client-id and the file openid.client-secret-file with the provider's",
            ),
            "access_denied" => (error, "ask whoever keeps the provider for access"),
            "invalid_grant" => (error, "begin again on the sign-in page"),
            _ if known => {
                (error, "begin again on the sign-in page; if it repeats, look at the provider's log")
            }
            _ => ("something unknown", "look at the provider's log"),
        };
        self.told(Error::new(
            Code::ProviderNotBelieved,
            format!("the OpenID Connect provider {} refuses the sign-in: {error}", self.settings.issuer),
            next,
        ))
    }

    /// An error that those who run the service should know of as well.
    fn told(&self, error: Error) -> Error {
        tracing::warn!(%error, next = error.next, "a sign-in by OpenID Connect has failed");
        error
    }
}

/// What somebody is called by people.
fn called(claims: &Claims) -> Option<&str> {
    let names = ["preferred_username", "email", "name"].into_iter().filter_map(|name| claims.text(name));
    names.map(str::trim).find(|name| is_name(name))
}

/// The error of a sign-in that cannot go on.
pub(crate) fn over() -> Error {
    Error::new(
        Code::SignInOver,
        format!(
            "this sign-in is over: it was begun in another browser or another window, more than {LASTS} ago, or has ended \
             already"
        ),
        "begin again on the sign-in page",
    )
}

/// What the token endpoint gives; RFC 6749, section 5.1.
#[derive(Deserialize)]
struct Tokens {
    id_token: Zeroizing<String>,
    access_token: Option<Zeroizing<String>>,
}

/// What it says when it gives none; section 5.2.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// Where the provider sends the browser back to, below the service's URL.
pub const CALLBACK: &str = "/sign-in/openid/callback";
/// So long somebody may take to sign in at the provider.
pub(crate) const LASTS: Interval = Interval::minutes(10);
/// Replicas have clocks of their own, which differ by so much at most.
pub(crate) const CLOCKS: Interval = Interval::minutes(1);
