//! Who may do what: tokens of programs, and their scopes.
//!
//! A token is 32 random bytes that are shown once; the database has their hash. What a scope permits is decided where
//! something is asked for, by [`Access::may`].

use crate::service::{Actor, Service};
use crate::sha256::sha256;
use crate::store::tokens::{self, TokenRecord};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use quorate_core::{Code, Error, Interval, Result};
use quorate_edge::random;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// Something that a token or a role permits.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// To see products, customers, keys and activations.
    Read,
    /// The phone desk: Confirmation IDs and license packs.
    Desk,
    /// To issue keys, give them to customers, limit, block and revoke.
    Keys,
    /// To sign catalogs.
    Products,
    /// Tokens, users, webhooks and the audit log.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 5] = [Scope::Read, Scope::Desk, Scope::Keys, Scope::Products, Scope::Admin];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Desk => "desk",
            Scope::Keys => "keys",
            Scope::Products => "products",
            Scope::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or_else(|| {
            Error::new(
                Code::RequestInvalid,
                format!("{text:?} is not a scope"),
                "the scopes are read, desk, keys, products and admin",
            )
        })
    }
}

/// Somebody who has shown who he is.
#[derive(Clone, Debug)]
pub struct Access {
    /// As the audit log names him.
    pub actor: Actor,
    /// What he may do.
    pub scopes: BTreeSet<Scope>,
}

impl Access {
    /// Refuses what is not permitted.
    pub fn may(&self, scope: Scope) -> Result<()> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        let has: Vec<&str> = self.scopes.iter().map(|scope| scope.as_str()).collect();
        Err(Error::new(
            Code::NotPermitted,
            format!(
                "this needs the scope {scope}; there is {}",
                if has.is_empty() { "none".to_owned() } else { has.join(", ") }
            ),
            "use a token, or sign in as somebody, that has it",
        ))
    }
}

/// A token as it is shown once, wiped when dropped.
pub struct Token(Zeroizing<String>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// The token as it is sent.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Service {
    /// Makes a token. It is shown this once: only its hash is kept.
    pub fn add_token(
        &self,
        name: &str,
        scopes: &BTreeSet<Scope>,
        lasts: Option<Interval>,
    ) -> Result<(TokenRecord, Token)> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
            return Err(Error::new(
                Code::RequestInvalid,
                "a token needs a name of at most 100 characters",
                "name what will use it, as in \"web shop\"",
            ));
        }
        if scopes.is_empty() {
            return Err(Error::new(
                Code::RequestInvalid,
                "the token has no scope, and could do nothing",
                "give at least one of read, desk, keys, products and admin",
            ));
        }
        let text = Zeroizing::new(format!("{PREFIX}{}", BASE64URL.encode(random::bytes::<32>())));
        let record = self.change(|turn| {
            let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
            let expires = lasts.map(|lasts| lasts.after(turn.now));
            let id = tokens::add(turn.session, &hash(&text), name, &names.join(","), turn.now, expires)?;
            turn.note("token.add", name, serde_json::json!({ "id": id, "scopes": names }))?;
            known(tokens::find(turn.session, id)?, id)
        })?;
        Ok((record, Token(text)))
    }

    /// Every token that was ever made.
    pub fn tokens(&self) -> Result<Vec<TokenRecord>> {
        self.sql.read(tokens::list)
    }

    /// Takes a token back.
    pub fn revoke_token(&self, id: i64) -> Result<TokenRecord> {
        self.change(|turn| {
            let record = known(tokens::find(turn.session, id)?, id)?;
            if record.revoked.is_some() {
                return Ok(record);
            }
            tokens::revoke(turn.session, id, turn.now)?;
            turn.note("token.revoke", &record.name, serde_json::json!({ "id": id }))?;
            known(tokens::find(turn.session, id)?, id)
        })
    }

    /// Whose token this is, and what it permits.
    pub fn access_by_token(&self, token: &str) -> Result<(i64, Access)> {
        let refused = || {
            Error::new(
                Code::NotSignedIn,
                "the token is not one that is valid",
                "send a token of this service in the header Authorization, as in \"Bearer qv_…\"",
            )
        };
        let record =
            self.sql.read(|session| tokens::with_hash(session, &hash(token)))?.ok_or_else(refused)?;
        let now = self.clock.now();
        if record.revoked.is_some() || record.expires.is_some_and(|expires| expires <= now) {
            return Err(refused());
        }
        let scopes = record.scopes.split(',').filter_map(|scope| scope.parse().ok()).collect();
        let actor = Actor::named(format!("token {} ({})", record.id, record.name));
        Ok((record.id, Access { actor, scopes }))
    }
}

fn known(record: Option<TokenRecord>, id: i64) -> Result<TokenRecord> {
    record.ok_or_else(|| {
        Error::new(Code::NotFound, format!("there is no token {id}"), "list the tokens to find its number")
    })
}

/// A token is random enough that its bare hash gives nothing away.
fn hash(token: &str) -> [u8; 32] {
    sha256(token.as_bytes())
}

/// So that one that lies about is known for what it is.
const PREFIX: &str = "qv_";
